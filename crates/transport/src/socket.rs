//! A WebSocket owned by one task.
//!
//! Reading and writing are poll-style, so that the owner can wait for the socket, for finished work and for its
//! shutdown signal at the same time without giving the socket to anybody:
//!
//! ```text
//! loop:  next_buffered ──► message? handle it, queue() the answer
//!             │ none
//!             ▼
//!        poll_flush, poll_fill, other wake-ups   (whichever is ready)
//! ```
//!
//! Frames are built anywhere, on any thread, with [`Frame`] and [`WebSocket::masking`]; only the owner queues them.
//! Programs with one thing to do at a time use [`WebSocket::send`] and [`WebSocket::receive`] instead.
//!
//! Nothing here limits the queue or the time a peer may take: the owner watches [`WebSocket::queued_bytes`] and
//! [`WebSocket::bytes_written`] and decides. An idle socket holds no buffer.

use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;

use crate::decode::{Decoded, Decoder, FrameError, Message};
use crate::frame::{Frame, MAX_PAYLOAD, Masking};
use crate::link::Link;
use crate::outbox::Outbox;

/// Bytes that may be queued when one more ping is answered.
const MOST_UNREAD: usize = 64 * 1024;

/// First read after a pause: most requests are a few hundred bytes, and many sockets wake for one at a time.
const FIRST_READ: usize = 4 * 1024;
/// Reads grow up to this size while they come back full.
const BULK_READ: usize = 64 * 1024;
/// Less room than this is not worth a read, and fewer bytes than this are not worth saving a copy.
const WORTHWHILE: usize = 1024;
/// How long [`WebSocket::finish`] tries to deliver what is queued.
const FINISH_LIMIT: Duration = Duration::from_secs(1);

/// A failure of [`WebSocket::send`] or [`WebSocket::receive`]; the socket is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The link failed, or ended inside a message ([`io::ErrorKind::UnexpectedEof`]).
    #[error("link to the peer failed")]
    Io(#[from] io::Error),
    /// The peer broke the framing rules.
    #[error("peer sent a bad frame")]
    Frame(#[from] FrameError),
}

/// A link past its upgrade: messages in, frames out.
#[derive(Debug)]
pub struct WebSocket {
    link: Link,
    masking: Masking,
    decoder: Decoder,
    outbox: Outbox,
    received: BytesMut,
    /// Bytes the decoder is known to miss; 0 when nothing is known.
    missing: usize,
    /// Size of the next read.
    read_size: usize,
    /// Data arrived since the last decoding, and may wait for its acknowledgement.
    fresh: bool,
    bytes_read: u64,
}

impl WebSocket {
    /// The serving side of an upgraded link. `received` is what came behind the upgrade's head.
    pub fn server(link: Link, received: BytesMut) -> Self {
        Self::new(
            link,
            Masking::None,
            Decoder::of_client_frames(MAX_PAYLOAD),
            received,
        )
    }

    /// The dialling side of an upgraded link. `received` is what came behind the response's head.
    pub fn client(link: Link, received: BytesMut) -> Self {
        Self::new(
            link,
            Masking::Client,
            Decoder::of_server_frames(MAX_PAYLOAD),
            received,
        )
    }

    /// A connected server and client inside this process; see [`Link::memory_pair`].
    pub fn memory_pair(capacity: usize) -> (Self, Self) {
        let (server, client) = Link::memory_pair(capacity);
        (
            Self::server(server, BytesMut::new()),
            Self::client(client, BytesMut::new()),
        )
    }

    fn new(link: Link, masking: Masking, decoder: Decoder, received: BytesMut) -> Self {
        let received = if received.is_empty() {
            BytesMut::new()
        } else {
            received
        };
        Self {
            link,
            masking,
            decoder,
            outbox: Outbox::default(),
            received,
            missing: 0,
            read_size: FIRST_READ,
            fresh: true,
            bytes_read: 0,
        }
    }

    /// How frames for this socket are to be masked.
    pub const fn masking(&self) -> Masking {
        self.masking
    }

    /// The peer's address, for links that have one.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.link.peer()
    }

    /// Changes the largest message accepted, in bytes. The default is [`MAX_PAYLOAD`].
    pub const fn set_max_message(&mut self, limit: usize) {
        self.decoder.set_limit(limit);
    }

    /// Bytes received from the peer since the upgrade: grows as long as the peer is alive.
    pub const fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Bytes the link has taken from us. Standing still while [`WebSocket::queued_bytes`] is above zero means that
    /// the peer does not read.
    pub const fn bytes_written(&self) -> u64 {
        self.outbox.written()
    }

    /// Bytes queued and not yet taken by the link.
    pub const fn queued_bytes(&self) -> usize {
        self.outbox.queued()
    }

    /// Takes the next complete message out of the read buffer; does no I/O.
    ///
    /// A text message shares its memory with the read buffer and keeps that alive, up to the larger of 64 KiB and
    /// the message itself. After an error the connection is to be dropped.
    pub fn next_buffered(&mut self) -> Result<Option<Message>, FrameError> {
        match self.decoder.decode(&mut self.received)? {
            Decoded::Message(message) => {
                self.missing = 0;
                Ok(Some(message))
            }
            Decoded::Need(missing) => {
                self.missing = missing;
                if std::mem::take(&mut self.fresh) && self.is_mid_message() {
                    self.link.acknowledge_now();
                }
                Ok(None)
            }
        }
    }

    /// Acknowledges what was received at once. For owners that have no answer to send yet: otherwise the
    /// acknowledgement waits for one, and a peer that leaves Nagle's algorithm on waits with its next request.
    pub fn acknowledge(&self) {
        self.link.acknowledge_now();
    }

    /// Whether the read buffer ends inside a message: end of stream now means that the peer broke off.
    pub fn is_mid_message(&self) -> bool {
        !self.received.is_empty() || self.decoder.is_mid_message()
    }

    /// Reads more into the buffer and says how many bytes came; 0 is the end of the stream.
    ///
    /// To be called after [`WebSocket::next_buffered`] found nothing; calling it before only makes the buffer grow.
    /// While the answer is `Pending` and no message is half received, no buffer is held. A large message gets the
    /// room it announced in one piece, which costs memory only as its bytes arrive.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.received.is_empty() && self.link.poll_read_ready(cx)?.is_pending() {
            self.release();
            return Poll::Pending;
        }
        let room = self.make_room();
        let Poll::Ready(read) = pin!(self.link.read_buf(&mut self.received)).poll(cx)? else {
            if self.received.is_empty() {
                self.release();
            }
            return Poll::Pending;
        };
        if read == room {
            self.read_size = (self.read_size * 4).min(BULK_READ);
        }
        self.missing = self.missing.saturating_sub(read);
        self.fresh = true;
        self.bytes_read += read as u64;
        Poll::Ready(Ok(read))
    }

    /// Makes sure that the next read is worth its system call, and returns the bytes it can take.
    ///
    /// A large message under way already has all its room; asking for more would copy what is there.
    fn make_room(&mut self) -> usize {
        let held = self.received.len();
        let room = self.received.capacity() - held;
        if room < self.missing.max(1) || room.max(held) < WORTHWHILE {
            self.received.reserve(self.missing.max(self.read_size));
        }
        self.received.capacity() - held
    }

    fn release(&mut self) {
        self.received = BytesMut::new();
        self.read_size = FIRST_READ;
    }

    /// Queues a frame built for this socket's [`WebSocket::masking`]; it leaves with the next flush.
    pub fn queue(&mut self, frame: Frame) {
        self.outbox.push(frame);
    }

    /// Queues the answer to a ping, unless the peer has left 64 KiB unread: whoever asks without end and
    /// never reads an answer gets no more of them (RFC 6455, section 5.5.3: the newest may stand for all).
    pub fn answer_ping(&mut self, payload: &[u8]) {
        if self.queued_bytes() <= MOST_UNREAD {
            self.queue(Frame::pong(self.masking, payload));
        }
    }

    /// Writes what is queued; ready when everything is with the link. Many small frames leave in one write.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbox.poll_flush(&mut self.link, cx)
    }

    /// Queues a frame and writes everything queued. Does not read: against a peer that does the same, large frames in
    /// both directions wait for each other for ever; such programs `queue` and let `receive` write.
    ///
    /// Cancel safe: dropped half-way, the frame stays queued as a whole and leaves with the next `send`, `receive` or
    /// flush. It is lost only if the future was never polled.
    pub async fn send(&mut self, frame: Frame) -> Result<(), SocketError> {
        self.queue(frame);
        Ok(poll_fn(|cx| self.poll_flush(cx)).await?)
    }

    /// The next message, or `None` when the peer has ended the stream between two messages. Keeps writing what is
    /// queued while it waits. Pings are handed out like everything else, not answered.
    ///
    /// Cancel safe: a message is only taken when it is returned.
    pub async fn receive(&mut self) -> Result<Option<Message>, SocketError> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, SocketError>> {
        loop {
            if let Some(message) = self.next_buffered()? {
                return Poll::Ready(Ok(Some(message)));
            }
            if self.queued_bytes() > 0 {
                // Pending is fine: the flush goes on whenever this future is woken.
                let _ = self.poll_flush(cx)?;
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(if self.is_mid_message() {
                    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
                } else {
                    Ok(None)
                });
            }
        }
    }

    /// Sends an empty close frame behind everything queued and hangs up; see [`WebSocket::finish`].
    pub async fn close(mut self) -> io::Result<()> {
        self.queue(Frame::close(self.masking, &[]));
        self.finish().await
    }

    /// Delivers what is queued and hangs up, so that the last frame is not lost to a TCP reset: ends our direction,
    /// then ignores the peer until it hangs up too. Takes at most a second for each of the two.
    ///
    /// Not cancel safe: a cancelled call drops the connection.
    pub async fn finish(mut self) -> io::Result<()> {
        let flush = poll_fn(|cx| self.poll_flush(cx));
        match tokio::time::timeout(FINISH_LIMIT, flush).await {
            Ok(flushed) => flushed?,
            Err(_elapsed) => return Err(io::ErrorKind::TimedOut.into()),
        }
        self.link.linger().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn poll_fill_once(socket: &mut WebSocket) -> Option<usize> {
        poll_fn(|cx| match socket.poll_fill(cx) {
            Poll::Ready(read) => Poll::Ready(Some(read.unwrap())),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn an_idle_socket_holds_no_buffer() {
        let (mut server, mut client) = WebSocket::memory_pair(64 * 1024);
        assert_eq!(poll_fill_once(&mut server).await, None);
        assert_eq!(server.received.capacity(), 0);

        client
            .send(Frame::text_from(Masking::Client, "hello"))
            .await
            .unwrap();
        assert_eq!(
            server.receive().await.unwrap(),
            Some(Message::Text("hello".into()))
        );
        assert_eq!(poll_fill_once(&mut server).await, None);
        assert_eq!(server.received.capacity(), 0);
        assert!(size_of::<WebSocket>() < 512, "{}", size_of::<WebSocket>());
    }

    #[tokio::test]
    async fn a_large_message_gets_its_room_once() {
        let (mut server, mut client) = WebSocket::memory_pair(10_000);
        client.queue(Frame::text(Masking::Client, 0, |bytes| {
            bytes.extend(vec![b'x'; 1_400_000]);
        }));
        let mut rooms = Vec::new();
        while server.next_buffered().unwrap().is_none() {
            let _ = poll_fn(|cx| Poll::Ready(client.poll_flush(cx))).await;
            poll_fill_once(&mut server).await;
            rooms.push(server.received.as_ptr());
            // A task that never yields is refused I/O by the runtime after a while.
            tokio::task::yield_now().await;
        }
        rooms.dedup();
        assert!(rooms.len() <= 2, "the message moved {} times", rooms.len());
    }

    #[tokio::test]
    async fn small_leftover_room_is_not_read_into() {
        let (mut server, mut client) = WebSocket::memory_pair(1 << 20);
        for _ in 0..500 {
            client.queue(Frame::text(Masking::Client, 0, |bytes| bytes.extend([b'x'; 100])));
        }
        poll_fn(|cx| client.poll_flush(cx)).await.unwrap();
        let (mut messages, mut reads) = (0, 0);
        while messages < 500 {
            if server.next_buffered().unwrap().is_some() {
                messages += 1;
            } else {
                assert!(poll_fill_once(&mut server).await.is_some());
                reads += 1;
            }
        }
        assert!(reads <= 5, "{reads} reads for 46 KB");
    }
}
