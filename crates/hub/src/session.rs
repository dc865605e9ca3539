//! One peer's conversation, of one of three kinds.
//!
//! ```text
//!  /                      control     requests in order, replies, pushed events
//!  /v2/node               tunnel      hello, then requests out and replies in
//!  /v2/fs/node/<id>       routed      hello, then requests in and replies out, through the node's tunnel
//! ```
//!
//! One task owns each socket. What others have for the peer waits in its [`Outlet`](crate::outlet::Outlet).

pub(crate) mod control;
pub(crate) mod routed;
pub(crate) mod tunnel;

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use bytes::BytesMut;
use spiderweb_protocol::control::{Code, ControlEnvelope, Refusal, error};
use spiderweb_protocol::limits::MAX_FRAME;
use spiderweb_protocol::{Errno, Tag};
use spiderweb_transport::{Frame, Message, SocketError, WebSocket};
use tokio::time::Instant;

use crate::pump::{Pumped, part_after, pump};
use crate::router::{MASKING, error_frame};
use crate::shared::Shared;
use crate::tokens::Principal;

/// Answer to frames that carry no text.
pub(crate) const UNSUPPORTED_OPCODE: &str = "unsupported websocket opcode";

/// Bytes of pongs and complaints that may wait for a peer. A ping may be as large as a frame.
const MOST_UNREAD: usize = 10 * 1024 * 1024;

/// Largest message, in bytes, of somebody who has shown no token yet, and bytes of answers that may wait for them: what
/// strangers can make the hub hold. A hello has a few hundred.
const STRANGER: usize = 64 * 1024;

/// Who is at the other end, as far as the upgrade told.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Who it is; nothing if it said a token nobody has.
    pub(crate) principal: Option<Principal>,
    /// A digest of the token.
    pub(crate) bearer: String,
    /// Where it comes from.
    pub(crate) address: Option<IpAddr>,
    /// What it calls this hub.
    pub(crate) host: Option<String>,
}

impl Peer {
    /// Whether it has shown no token that anybody has.
    fn is_stranger(&self) -> bool {
        self.principal.is_none_or(|who| who == Principal::Anonymous)
    }
}

/// The first text of a file connection. Everything else is answered as far as it has to be. `None`: the peer left, or
/// took too long, or the hub stops, and the connection is gone.
async fn first_text(mut socket: WebSocket, peer: &Peer, shared: &Shared) -> Option<(WebSocket, BytesMut)> {
    let mut most_unread = MOST_UNREAD;
    if peer.is_stranger() {
        socket.set_max_message(STRANGER);
        most_unread = STRANGER;
    }
    let waited = tokio::time::timeout(shared.limits.first_frame, wait_for_text(&mut socket, most_unread));
    let waited = tokio::select! {
        () = shared.tasks.stopped().cancelled() => Ok(Ok(None)),
        waited = waited => waited,
    };
    match waited {
        Ok(Ok(Some(text))) => {
            socket.set_max_message(MAX_FRAME);
            Some((socket, text))
        }
        Ok(Ok(None)) | Err(_) => {
            let _ = socket.close().await;
            None
        }
        Ok(Err(error)) => {
            part_after(socket, &error).await;
            None
        }
    }
}

async fn wait_for_text(socket: &mut WebSocket, most_unread: usize) -> Result<Option<BytesMut>, SocketError> {
    loop {
        if socket.queued_bytes() > most_unread {
            return Ok(None);
        }
        match pump(socket, true).await? {
            Pumped::Message(Message::Text(text)) => return Ok(Some(text)),
            Pumped::Message(Message::Ping(payload)) => {
                socket.queue(Frame::pong(socket.masking(), &payload));
            }
            Pumped::Message(Message::Unsupported { .. }) => {
                socket.queue(error_frame(None, Errno::EINVAL, UNSUPPORTED_OPCODE));
            }
            Pumped::Message(Message::Pong) | Pumped::Room => {}
            Pumped::Message(Message::Close(_)) | Pumped::Ended => return Ok(None),
        }
    }
}

/// Makes somebody who guesses wait, longer each time. Only their own connection waits.
async fn slow_down(peer: &Peer, shared: &Shared) {
    let pause = shared.wrong_tokens.pause(peer.address, Instant::now());
    tokio::select! {
        () = shared.tasks.stopped().cancelled() => {}
        () = tokio::time::sleep(pause) => {}
    }
}

/// Answers the first frame on the path of the original server's own files: there are none here, and a control frame is
/// told where it belongs.
pub(crate) async fn turn_off(socket: WebSocket, peer: &Peer, shared: &Shared) {
    let Some((socket, text)) = first_text(socket, peer, shared).await else {
        return;
    };
    let frame = match ControlEnvelope::parse(&text) {
        Ok(envelope) => {
            let words = "wrong websocket endpoint: use / for control protocol (/v2/fs is fsrpc-only)";
            let refusal = Refusal::saying(Code::InvalidEndpoint, words);
            Frame::text_from(MASKING, &error(envelope.id.as_deref(), &refusal, None))
        }
        Err(fault) => {
            let tag = fault.file_frame.flatten().map(Tag);
            error_frame(tag, Errno::EINVAL, "local /v2/fs endpoint is disabled")
        }
    };
    refuse(socket, frame).await;
}

/// Sends a last frame and hangs up.
async fn refuse(mut socket: WebSocket, frame: Frame) {
    socket.queue(frame);
    // The peer may be gone already; there is nobody else to tell.
    let _ = socket.close().await;
}

/// How a conversation ended.
enum End {
    /// The peer left, or the link broke.
    Left,
    /// The peer said goodbye, with this payload.
    Closed(BytesMut),
    /// The peer broke the framing rules.
    Failed(SocketError),
    /// This side ends it.
    Parting(crate::outlet::Goodbye),
    /// After what is queued there is nothing more to say.
    Refused,
}

impl End {
    async fn finish(self, mut socket: WebSocket) {
        match self {
            Self::Left => {}
            Self::Closed(payload) => {
                socket.queue(Frame::close(socket.masking(), &payload));
                let _ = socket.finish().await;
            }
            Self::Failed(error) => part_after(socket, &error).await,
            Self::Parting(goodbye) => crate::pump::part(socket, goodbye).await,
            Self::Refused => {
                let _ = socket.close().await;
            }
        }
    }
}

/// Waits for the future if there is one, else for ever.
async fn or_never<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Notices a peer that reads nothing of what waits for it.
struct ReadingWatch {
    written: u64,
    idle: Duration,
}

impl ReadingWatch {
    fn new() -> Self {
        Self {
            written: 0,
            idle: Duration::ZERO,
        }
    }

    /// To be called regularly. Whether the peer has stood still too long.
    fn is_stuck(&mut self, socket: &WebSocket, since_last: Duration, patience: Duration) -> bool {
        if socket.queued_bytes() == 0 || socket.bytes_written() != self.written {
            self.written = socket.bytes_written();
            self.idle = Duration::ZERO;
        } else {
            self.idle += since_last;
        }
        self.idle >= patience
    }
}
