#!/bin/sh
# A node that only says where to go: the address of the server that plays its part, from the environment.
echo "arguments: $*"  >&2
echo "pid: $$, umask: $(umask), folder: $(ls)" >&2
echo "info: FS node websocket server listening at ws://$FAKE_NODE_ADDRESS/v2/fs" >&2
exec sleep 60
