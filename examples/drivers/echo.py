#!/usr/bin/env python3
"""The echo driver in Python, for the runtime `native_proc`.

A driver reads one JSON object from standard input and prints one JSON value. Exit code 0 makes what was printed the
result; any other makes standard error the reason.

Try it:        echo '{"message":"hello"}' | ./echo.py
Offer it:      spiderweb-fs-node --service-manifest echo-python.json        (in this folder)
Use it:        spiderweb invoke echo-python '{"message":"hello"}'
"""

import json
import sys


def main() -> int:
    try:
        payload = json.load(sys.stdin)
    except ValueError as error:
        print(f"invoke payload must be valid JSON: {error}", file=sys.stderr)
        return 2
    if not isinstance(payload, dict):
        print("invoke payload must be a JSON object", file=sys.stderr)
        return 2
    json.dump({"ok": True, "driver": "echo.py", "echo": payload}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
