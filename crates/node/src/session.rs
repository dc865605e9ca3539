//! One peer's conversation.
//!
//! ```text
//!  Upgrade ──► Greeting ──hello──► Session ──┬─ close, end of stream, bad frame ──► draining ──► gone
//!                 │ refused                  └─ unread for too long, link lost ───────────────► gone
//!                 ▼
//!                gone
//! ```
//!
//! One task owns the socket: it reads, answers from memory what it can, puts the rest into the [`lane`], and is
//! the only one to write. When it ends, handles wait for the client to come back ([`Limits::handle_grace`](crate::Limits::handle_grace)).

mod footprint;
mod greeting;
mod lane;
mod locks;
mod serving;

use std::sync::Arc;
use std::time::Instant;

use spiderweb_fs::FsError;
use spiderweb_protocol::fs::{Event, Op, Reply, encode_error};
use spiderweb_protocol::{Errno, Tag};
use spiderweb_transport::{Frame, Masking, WebSocket};

use crate::dispatch::Service;

/// Serves a peer until it leaves.
pub(crate) async fn serve(socket: WebSocket, service: Arc<Service>) {
    let peer = socket.peer();
    if let Some((socket, hello)) = greeting::greet(socket, &service).await {
        let id = service.handles.begin_session();
        tracing::debug!(session = id.0, ?peer, "session begins");
        let end = serving::Session::new(socket, hello, id, service.clone())
            .run()
            .await;
        service.handles.end_session(id, Instant::now());
        tracing::debug!(session = id.0, ?peer, %end, "session ended");
    }
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

fn reply_frame(masking: Masking, op: Op, tag: Tag, result: &Result<Reply, FsError>) -> Frame {
    match result {
        Ok(reply) => Frame::text(masking, reply.size_hint(), |out| reply.encode(op, tag, out)),
        Err(error) => {
            if error.errno() == Errno::EIO {
                tracing::warn!(%op, %error, "request failed");
            }
            error_frame(masking, Some(tag), error.errno(), &error.to_string())
        }
    }
}
