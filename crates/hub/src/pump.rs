//! Waiting for a socket: for a message, for room, or for both.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use spiderweb_transport::{Frame, FrameError, Message, SocketError, WebSocket};

use crate::outlet::{Goodbye, Outlet, Parcel};

/// Bytes handed to a socket at a time; the rest stays in the outlet, where it can be counted.
const HANDED_OVER: usize = 256 * 1024;

/// What a socket has for its owner.
#[derive(Debug)]
pub(crate) enum Pumped {
    /// A message.
    Message(Message),
    /// It takes more to write.
    Room,
    /// The peer has hung up.
    Ended,
}

/// Moves waiting frames from the outlet to the socket, as far as it takes them, and tells of each.
pub(crate) fn hand_over(socket: &mut WebSocket, outlet: &Outlet, mut sent: impl FnMut(&Parcel)) {
    while socket.queued_bytes() < HANDED_OVER {
        let Some(parcel) = outlet.pop() else { return };
        sent(&parcel);
        socket.queue(parcel.frame);
    }
}

/// Waits for the socket, writing what is queued meanwhile. Without `reads` nothing is read, so that a peer that asks
/// for too much has to wait.
///
/// Cancel safe: a message is only taken when it is returned.
pub(crate) async fn pump(socket: &mut WebSocket, reads: bool) -> Result<Pumped, SocketError> {
    let was_full = socket.queued_bytes() >= HANDED_OVER;
    poll_fn(|cx| poll(socket, reads, was_full, cx)).await
}

fn poll(
    socket: &mut WebSocket,
    reads: bool,
    was_full: bool,
    cx: &mut Context<'_>,
) -> Poll<Result<Pumped, SocketError>> {
    loop {
        if reads && let Some(message) = socket.next_buffered()? {
            return Poll::Ready(Ok(Pumped::Message(message)));
        }
        if socket.queued_bytes() > 0 {
            // Pending is fine: the flush goes on whenever this future is woken.
            let _ = socket.poll_flush(cx)?;
            if was_full && socket.queued_bytes() < HANDED_OVER {
                return Poll::Ready(Ok(Pumped::Room));
            }
        }
        if !reads {
            return Poll::Pending;
        }
        if ready!(socket.poll_fill(cx))? == 0 {
            return Poll::Ready(if socket.is_mid_message() {
                Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
            } else {
                Ok(Pumped::Ended)
            });
        }
    }
}

/// Ends a connection with a close frame that says why.
pub(crate) async fn part(mut socket: WebSocket, goodbye: Goodbye) {
    socket.queue(Frame::close(socket.masking(), &goodbye.payload()));
    // The peer may be gone already; there is nobody else to tell.
    let _ = socket.finish().await;
}

/// Ends a connection whose socket failed, as politely as that allows.
pub(crate) async fn part_after(socket: WebSocket, error: &SocketError) {
    if let SocketError::Frame(FrameError::TooLarge { .. }) = error {
        part(socket, Goodbye::TOO_LARGE).await;
    }
}
