//! Before hello: nothing is answered but pings, nothing is told, and there is not much time or memory.
//!
//! A hello is small, and so is what one peer may make us hold. Pings may be as large as any message, and a message that
//! is no hello is answered whatever its size; but only a few peers may send such at a time, because each of them can
//! stop in the middle.

use spiderweb_protocol::fs::{Hello, HelloError, Op, Reply};
use spiderweb_protocol::limits::MAX_FRAME;
use spiderweb_protocol::{Envelope, EnvelopeError, Errno, MessageKind, Tag};
use spiderweb_transport::{Frame, FrameError, Message, SocketError, WebSocket};
use tokio::time::Instant;

use super::{Wire, error_frame, refuse, reply_frame};
use crate::shared::Service;

/// Largest message, in bytes, that every peer may send: as much as the head of its upgrade. A hello has a few hundred.
const SMALL: usize = 16 * 1024;

/// Answer to frames that carry no text.
pub(super) const UNSUPPORTED_OPCODE: &str = "unsupported websocket opcode";

/// Waits for hello and answers it. `None`: the peer was refused or left.
pub(super) async fn greet(socket: WebSocket, service: &Service) -> Option<(WebSocket, Hello)> {
    tokio::select! {
        () = service.tasks.stopped().cancelled() => None,
        greeted = tokio::time::timeout(service.limits.hello, hello(socket, service)) => greeted.ok().flatten(),
    }
}

async fn hello(mut socket: WebSocket, service: &Service) -> Option<(WebSocket, Hello)> {
    socket.set_max_message(SMALL);
    let mut limit = SMALL;
    // Held until the peer is welcome or gone.
    let mut place = None;
    loop {
        let masking = socket.masking();
        // Pongs and complaints that the peer does not take.
        if socket.queued_bytes() > 2 * limit {
            return None;
        }
        let received = match socket.receive().await {
            // Nothing of it was taken, so that it can be looked at again.
            Err(SocketError::Frame(FrameError::TooLarge { .. })) if place.is_none() => {
                place = Some(service.large_greetings.try_acquire().ok()?);
                limit = MAX_FRAME;
                socket.set_max_message(limit);
                continue;
            }
            received => received.ok()??,
        };
        let frame = match received {
            Message::Text(frame) => frame,
            Message::Ping(payload) => {
                socket.queue(Frame::pong(masking, &payload));
                continue;
            }
            Message::Pong => continue,
            Message::Unsupported { .. } => {
                socket.queue(error_frame(masking, None, Errno::EINVAL, UNSUPPORTED_OPCODE));
                continue;
            }
            Message::Close(_) => {
                let _ = socket.close().await;
                return None;
            }
        };
        let (tag, checked) = judge(&frame, service);
        // What the peer sent is not kept while it waits.
        drop(frame);
        if checked == Err(Refusal::Hello(HelloError::AuthFailed)) {
            let pause = service
                .wrong_tokens
                .pause(socket.peer().map(|peer| peer.ip()), Instant::now());
            tokio::time::sleep(pause).await;
        }
        match checked {
            Ok(hello) => {
                let wire = Wire {
                    masking,
                    frame_limit: MAX_FRAME,
                };
                socket.set_max_message(MAX_FRAME);
                socket.queue(accepted(wire, service, tag.unwrap_or_default()));
                return Some((socket, hello));
            }
            Err(refusal) => {
                refuse(socket, tag, Errno::EINVAL, &refusal.to_string()).await;
                return None;
            }
        }
    }
}

/// Why a first message is no hello that is accepted; the words are the wire's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Envelope(EnvelopeError),
    #[error(transparent)]
    Hello(HelloError),
    #[error("acheron.t_fs_hello must be negotiated first")]
    SomethingElse,
}

fn judge(frame: &[u8], service: &Service) -> (Option<Tag>, Result<Hello, Refusal>) {
    match Envelope::parse(frame) {
        Err(error) => (None, Err(Refusal::Envelope(error))),
        Ok(envelope) if envelope.kind == MessageKind::Request(Op::Hello) => {
            let checked = Hello::check(envelope.payload.as_ref(), service.token.as_ref());
            (
                Some(envelope.tag.unwrap_or_default()),
                checked.map_err(Refusal::Hello),
            )
        }
        Ok(envelope) => (envelope.tag, Err(Refusal::SomethingElse)),
    }
}

/// The answer to an accepted hello.
pub(super) fn accepted(wire: Wire, service: &Service, tag: Tag) -> Frame {
    let hello = service.hello(wire.frame_limit);
    reply_frame(wire, Op::Hello, tag, &Ok(Reply::Hello(hello)))
}
