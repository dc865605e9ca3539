//! Before hello: nothing is answered but pings, nothing is told, and there is not much time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use spiderweb_protocol::fs::{Hello, HelloError, Op, Reply};
use spiderweb_protocol::{Envelope, Errno, MessageKind, Tag};
use spiderweb_transport::{Frame, Message, WebSocket};

use super::{error_frame, refuse, reply_frame};
use crate::dispatch::Service;

/// Answer to anything else that comes first.
const NOT_NEGOTIATED: &str = "acheron.t_fs_hello must be negotiated first";

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
    loop {
        let masking = socket.masking();
        let frame = match socket.receive().await.ok()?? {
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
        let (tag, checked) = match Envelope::parse(&frame) {
            Err(error) => (None, Err(error.to_string())),
            Ok(envelope) if envelope.kind == MessageKind::Request(Op::Hello) => {
                let checked = Hello::check(envelope.payload.as_ref(), service.token.as_ref());
                if checked == Err(HelloError::AuthFailed) {
                    slow_down(socket.peer().map(|peer| peer.ip())).await;
                }
                (
                    Some(envelope.tag.unwrap_or_default()),
                    checked.map_err(|error| error.to_string()),
                )
            }
            Ok(envelope) => (envelope.tag, Err(NOT_NEGOTIATED.to_owned())),
        };
        match checked {
            Ok(hello) => {
                socket.queue(accepted(&socket, service, tag.unwrap_or_default()));
                return Some((socket, hello));
            }
            Err(message) => {
                refuse(socket, tag, Errno::EINVAL, &message).await;
                return None;
            }
        }
    }
}

/// The answer to an accepted hello.
pub(super) fn accepted(socket: &WebSocket, service: &Service, tag: Tag) -> Frame {
    reply_frame(
        socket.masking(),
        Op::Hello,
        tag,
        &Ok(Reply::Hello(service.hello.clone())),
    )
}

/// Addresses with failed attempts, and when the last one was.
static FAILURES: LazyLock<Mutex<HashMap<Option<IpAddr>, (u32, Instant)>>> = LazyLock::new(Mutex::default);

/// Failures are forgotten after this long without a new one.
const FORGIVEN: Duration = Duration::from_secs(60);

/// Delays the answer to a wrong token, longer each time the address tries: guessing gets slow, and a mistyped
/// token costs a tenth of a second. Only the guesser's own connection waits.
async fn slow_down(address: Option<IpAddr>) {
    let count = {
        let mut failures = FAILURES.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        failures.retain(|_, (_, last)| now.duration_since(*last) < FORGIVEN);
        let (count, last) = failures.entry(address).or_insert((0, now));
        *count = count.saturating_add(1);
        *last = now;
        *count
    };
    tokio::time::sleep(Duration::from_millis(100) * count.min(20)).await;
}
