//! One peer's conversation.
//!
//! ```text
//!  Upgrade ──► Greeting ──hello──► Session ──┬─ close, end of stream, bad frame ──► draining ──► gone
//!                 │ refused          ▲       └─ unread for too long, link lost ───────────────► gone
//!                 ▼                  │
//!                gone         tunnel, after the node's own hello
//! ```
//!
//! One task owns the socket: it reads, answers from memory what it can, puts the rest into the [`lane`], and is
//! the only one to write. When it ends, handles wait for the client to come back ([`Limits::handle_grace`](crate::Limits::handle_grace)).

mod door;
mod footprint;
mod greeting;
mod lane;
mod locks;
mod serving;

use std::sync::Arc;

use spiderweb_fs::FsError;
use spiderweb_protocol::fs::{Event, Hello, Op, Reply, encode_error};
use spiderweb_protocol::limits::{MAX_FRAME, SEED_IO};
use spiderweb_protocol::{Errno, Tag};
use spiderweb_transport::{Frame, Masking, WebSocket};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::door::Door;
pub(crate) use self::serving::End;
use crate::shared::Service;

/// How frames for one peer have to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire {
    masking: Masking,
    /// Bytes of the largest one it takes.
    frame_limit: usize,
}

/// Serves a peer until it leaves.
pub(crate) async fn serve(socket: WebSocket, service: Arc<Service>) {
    let peer = socket.peer();
    if let Some((socket, hello)) = greeting::greet(socket, &service).await {
        let id = service.handles.begin_session();
        tracing::debug!(session = id.0, ?peer, "session begins");
        let end = serving::Session::new(socket, Door::Listener, hello, id, service.clone())
            .run()
            .await;
        service.handles.end_session(id, Instant::now().into_std());
        tracing::debug!(session = id.0, ?peer, %end, "session ended");
    }
}

/// What a tunnel's hub is like, for its session.
pub(crate) struct TunnelTerms {
    /// Bytes of the largest frame it takes.
    pub(crate) frame_limit: usize,
    /// Files may have changed while nobody was told: everybody is to forget what they know.
    pub(crate) is_return: bool,
    /// Tags tell the hub's clients apart.
    pub(crate) tags_by_client: bool,
    /// Ends the session, with a goodbye.
    pub(crate) stop: CancellationToken,
}

/// Serves everybody who comes through a tunnel, until it ends. The node has said hello.
pub(crate) async fn serve_tunnel(socket: WebSocket, service: Arc<Service>, terms: TunnelTerms) -> End {
    let id = service.handles.begin_shared_session();
    let hello = Hello {
        subscribe_invalidations: true,
    };
    let session = serving::Session::new(socket, Door::tunnel(terms), hello, id, service.clone());
    let end = session.run().await;
    service.handles.end_session(id, Instant::now().into_std());
    end
}

/// Says why the peer is not served, and hangs up.
pub(crate) async fn refuse(mut socket: WebSocket, tag: Option<Tag>, errno: Errno, message: &str) {
    socket.queue(error_frame(socket.masking(), tag, errno, message));
    // The peer may be gone already; there is nobody else to tell.
    let _ = socket.close().await;
}

fn error_frame(masking: Masking, tag: Option<Tag>, errno: Errno, message: &str) -> Frame {
    Frame::text(masking, 160 + message.len(), |out| {
        encode_error(tag, errno, message, out);
    })
}

fn event_frame(masking: Masking, event: &Event) -> Frame {
    Frame::text(masking, 160, |out| event.encode(out))
}

fn reply_frame(wire: Wire, op: Op, tag: Tag, result: &Result<Reply, FsError>) -> Frame {
    let Wire { masking, frame_limit } = wire;
    match result {
        Ok(reply) => {
            let frame = Frame::text(masking, reply.size_hint(), |out| reply.encode(op, tag, out));
            if frame.payload_len() <= frame_limit || frame_limit >= MAX_FRAME {
                return frame;
            }
            // Fewer bytes would be taken for the end of the file, and a larger frame ends the connection of
            // everybody who is routed through it.
            let message = format!(
                "the reply is larger than the {frame_limit} bytes this hub takes; ask for at most {SEED_IO} bytes at a time"
            );
            error_frame(masking, Some(tag), Errno::EINVAL, &message)
        }
        Err(error) => {
            // Services tell of their drivers themselves.
            if error.errno() == Errno::EIO && !matches!(error, FsError::Driver(_)) {
                tracing::warn!(%op, %error, "request failed");
            }
            error_frame(masking, Some(tag), error.errno(), &error.to_string())
        }
    }
}
