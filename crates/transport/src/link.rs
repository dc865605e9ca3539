//! The byte stream under a WebSocket.
//!
//! One enum, not a generic parameter: everything above it exists once in the binary, and a further kind of link
//! (TLS, a Unix socket) is one more variant here.
//!
//! # Latency
//!
//! Peers in the field write a frame's header and its payload with two system calls and leave Nagle's algorithm on, so
//! their payload waits until we acknowledge the header. With delayed acknowledgements that costs 40 ms per request.
//! `TCP_QUICKACK` sends the acknowledgement at once, but the kernel forgets the setting as soon as we send data, so it
//! has to be renewed; [`Link::acknowledge_now`] does, and [`crate::WebSocket`] calls it whenever a receive leaves a
//! message unfinished. A complete request is acknowledged by its reply; an owner that has none yet calls
//! [`crate::WebSocket::acknowledge`]. So every receive is acknowledged at once, without the fifth of the rate that
//! renewing the option after each would cost. Our own frames leave in one write, with `TCP_NODELAY`.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
#[cfg(feature = "tls")]
use tokio_rustls::client::TlsStream;

/// Silence after which the kernel asks whether the peer's machine still exists. Idle sessions are legitimate, so
/// this is the only thing that finds a peer that vanished without a word.
#[cfg(unix)]
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Time between two such questions.
#[cfg(unix)]
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered questions after which the connection counts as broken.
#[cfg(unix)]
const KEEPALIVE_PROBES: u32 = 4;

/// How long [`Link::linger`] waits for the peer to hang up.
const LINGER: Duration = Duration::from_secs(1);

/// A byte stream to one peer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Link {
    /// A TCP connection, tuned by [`Link::tcp`].
    Tcp(TcpStream),
    /// A TCP stream that was dialled and secured; see [`WsUrl::is_secure`](crate::WsUrl::is_secure).
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<TcpStream>>),
    /// One end of a pipe inside this process.
    Memory(DuplexStream),
}

impl Link {
    /// Wraps a connected stream and tunes it: no Nagle delay, kernel keep-alive (60 s idle, 4 probes 15 s apart) and
    /// immediate acknowledgements where the system offers them.
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        #[cfg(unix)]
        {
            use rustix::net::sockopt;
            sockopt::set_socket_keepalive(&stream, true)?;
            sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
            sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
            sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_PROBES)?;
        }
        let link = Self::Tcp(stream);
        link.acknowledge_now();
        Ok(link)
    }

    /// Secures a dialled link; `host` is whom the certificate has to name.
    #[cfg(feature = "tls")]
    pub(crate) async fn secured(self, host: &str) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => Ok(Self::Tls(Box::new(crate::tls::secure(stream, host).await?))),
            other => Ok(other),
        }
    }

    /// Two connected ends inside this process, each direction holding at most `capacity` bytes in flight.
    pub fn memory_pair(capacity: usize) -> (Self, Self) {
        let (a, b) = tokio::io::duplex(capacity);
        (Self::Memory(a), Self::Memory(b))
    }

    /// The peer's address, for links that have one.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0.peer_addr().ok(),
            Self::Memory(_) => None,
        }
    }

    /// Acknowledges received data at once instead of waiting for something to send with it.
    ///
    /// Only speed depends on it, so a failure is ignored: a broken socket will say so on its next use.
    pub(crate) fn acknowledge_now(&self) {
        match self {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Self::Tcp(stream) => drop(rustix::net::sockopt::set_tcp_quickack(stream, true)),
            #[cfg(all(feature = "tls", any(target_os = "linux", target_os = "android")))]
            Self::Tls(stream) => drop(rustix::net::sockopt::set_tcp_quickack(stream.get_ref().0, true)),
            _ => {}
        }
    }

    /// Ready when reading is worth an attempt, so that a buffer is only allocated for data that is there. Where that
    /// is not known it is always worth it.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            // Something may be deciphered already.
            #[cfg(feature = "tls")]
            Self::Tls(_) => Poll::Ready(Ok(())),
            Self::Memory(_) => Poll::Ready(Ok(())),
        }
    }

    /// Says goodbye in a way the last bytes survive: ends our direction, then throws away what the peer still sends
    /// until it hangs up or a second has passed.
    ///
    /// Closing with unread input makes TCP send a reset, and a reset lets the peer's kernel discard what it has
    /// received but its program has not read yet, such as the error message that explains the end.
    pub(crate) async fn linger(mut self) -> io::Result<()> {
        let goodbye = async {
            self.shutdown().await?;
            let mut discarded = [0; 1024];
            while self.read(&mut discarded).await? > 0 {}
            Ok(())
        };
        tokio::time::timeout(LINGER, goodbye).await.unwrap_or(Ok(()))
    }
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Memory(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
