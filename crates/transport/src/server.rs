//! The serving side of the upgrade.
//!
//! [`Upgrade::accept`] reads and judges the request, the caller looks at its path and either
//! [completes](Upgrade::complete) or [refuses](Upgrade::refuse) it. The judgement is lenient, because clients in the
//! field were written against a server that searched for literal strings: header names and the `websocket` token
//! compare without case, the key may be empty, and `Host`, `Connection`, version, protocols and extensions are not
//! looked at. Requests that are no upgrade get a short HTTP answer that says why, then the connection ends.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;

use crate::head::{self, HeadError, MAX_HEADERS};
use crate::link::Link;
use crate::socket::WebSocket;

/// Bounds on what a stranger may cost before the upgrade.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeLimits {
    /// Largest request head in bytes, inclusive.
    pub max_head: usize,
    /// Time for the whole head to arrive.
    pub timeout: Duration,
}

impl Default for UpgradeLimits {
    /// 16 KiB, which is what the original server accepts, and 10 seconds.
    fn default() -> Self {
        Self {
            max_head: 16 * 1024,
            timeout: Duration::from_secs(10),
        }
    }
}

/// Why a connection did not become a request for a WebSocket. The peer has already been told.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The link failed.
    #[error("link failed during the upgrade")]
    Io(#[from] io::Error),
    /// The peer hung up before it had sent a request.
    #[error("peer hung up before its request was complete")]
    Closed,
    /// The head did not arrive in time; answered with 408.
    #[error("request was not complete after {0:?}")]
    TimedOut(Duration),
    /// The head is longer than the limit, given in bytes, or has too many lines; answered with 431.
    #[error("request head exceeds {0} bytes or has too many lines")]
    HeadTooLarge(usize),
    /// Not an HTTP/1 request; answered with 400.
    #[error("request is not HTTP: {0}")]
    Malformed(httparse::Error),
    /// A method other than `GET`; answered with 405.
    #[error("request method is not GET")]
    Method,
    /// No `Upgrade: websocket` header; answered with 426.
    #[error("request does not ask for a WebSocket")]
    NotWebSocket,
    /// No `Sec-WebSocket-Key` header; answered with 400.
    #[error("request has no Sec-WebSocket-Key")]
    NoKey,
}

impl UpgradeError {
    /// Status and extra header lines for the peer; `None` when there is nobody to tell.
    const fn answer(&self) -> Option<(u16, &'static str)> {
        match self {
            Self::Io(_) | Self::Closed => None,
            Self::TimedOut(_) => Some((408, "")),
            Self::HeadTooLarge(_) => Some((431, "")),
            Self::Malformed(_) | Self::NoKey => Some((400, "")),
            Self::Method => Some((405, "Allow: GET\r\n")),
            Self::NotWebSocket => Some((426, "Upgrade: websocket\r\n")),
        }
    }
}

/// A request for a WebSocket that waits for the caller's decision.
pub struct Upgrade {
    link: Link,
    request: Request,
    /// Bytes that came behind the head.
    received: BytesMut,
}

/// What matters of a request head.
struct Request {
    path: String,
    host: Option<String>,
    origin: Option<String>,
    authorization: Option<String>,
    /// The answer to the client's key; nothing if it asks for no WebSocket.
    accept: Option<String>,
}

/// What a peer asks for.
#[derive(Debug)]
pub enum Asked {
    /// A WebSocket.
    WebSocket(Upgrade),
    /// An ordinary HTTP answer.
    Page(PageRequest),
}

/// A `GET` request that asks for no WebSocket and waits for its answer.
#[derive(Debug)]
pub struct PageRequest {
    link: Link,
    path: String,
    authorization: Option<String>,
}

impl PageRequest {
    /// The request target as sent: path and query, not decoded.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of the `Authorization` header, scheme included.
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// Answers with this status and text, and hangs up.
    pub async fn answer(self, status: u16, content_type: &str, text: &str) -> io::Result<()> {
        respond(self.link, status, "", content_type, text).await
    }

    /// Says that a WebSocket is wanted here, and hangs up.
    pub async fn demand_upgrade(self) -> io::Result<()> {
        let error = UpgradeError::NotWebSocket;
        respond(
            self.link,
            426,
            "Upgrade: websocket\r\n",
            PLAIN,
            &format!("{error}\n"),
        )
        .await
    }
}

impl Upgrade {
    /// Reads a request off `link` and checks that it asks for a WebSocket.
    ///
    /// A request that does not is answered here, and the call lasts up to a second longer so that the answer arrives.
    /// Not cancel safe: a cancelled call drops the connection.
    pub async fn accept(link: Link, limits: &UpgradeLimits) -> Result<Self, UpgradeError> {
        match Self::accept_any(link, limits).await? {
            Asked::WebSocket(upgrade) => Ok(upgrade),
            Asked::Page(page) => {
                // The request has failed already; whether the peer could be told changes nothing.
                let _ = page.demand_upgrade().await;
                Err(UpgradeError::NotWebSocket)
            }
        }
    }

    /// The same for a listener that answers ordinary requests as well.
    pub async fn accept_any(mut link: Link, limits: &UpgradeLimits) -> Result<Asked, UpgradeError> {
        let mut received = BytesMut::new();
        match read_request(&mut link, &mut received, limits).await {
            Ok(request) if request.accept.is_none() => Ok(Asked::Page(PageRequest {
                link,
                path: request.path,
                authorization: request.authorization,
            })),
            Ok(request) => Ok(Asked::WebSocket(Self {
                link,
                request,
                received,
            })),
            Err(error) => {
                if let Some((status, headers)) = error.answer() {
                    // As above.
                    let _ = respond(link, status, headers, PLAIN, &format!("{error}\n")).await;
                }
                Err(error)
            }
        }
    }

    /// The request target as sent: path and query, not decoded.
    pub fn path(&self) -> &str {
        &self.request.path
    }

    /// The value of the `Host` header: what the peer calls this machine.
    pub fn host(&self) -> Option<&str> {
        self.request.host.as_deref()
    }

    /// The value of the `Origin` header: the page in a browser that asks; programs rarely send one.
    pub fn origin(&self) -> Option<&str> {
        self.request.origin.as_deref()
    }

    /// The value of the `Authorization` header, scheme included. Bytes that are not UTF-8 show as replacements, so
    /// such a value equals no valid one.
    pub fn authorization(&self) -> Option<&str> {
        self.request.authorization.as_deref()
    }

    /// The peer's address, for links that have one.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.link.peer()
    }

    /// Answers with 101 and hands over the socket, including what the peer has sent behind its request.
    pub async fn complete(mut self) -> io::Result<WebSocket> {
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            self.request.accept.as_deref().unwrap_or_default()
        );
        self.link.write_all(response.as_bytes()).await?;
        Ok(WebSocket::server(self.link, self.received))
    }

    /// Answers with another HTTP status (400 to 599) and a line of text, and hangs up.
    pub async fn refuse(self, status: u16, text: &str) -> io::Result<()> {
        respond(self.link, status, "", PLAIN, &format!("{text}\n")).await
    }
}

/// Shows where the peer wants to go, not what it authorizes itself with.
impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade")
            .field("peer", &self.peer())
            .field("path", &self.request.path)
            .finish_non_exhaustive()
    }
}

async fn read_request(
    link: &mut Link,
    received: &mut BytesMut,
    limits: &UpgradeLimits,
) -> Result<Request, UpgradeError> {
    let head = head::read_head(link, received, limits.max_head);
    let head = match tokio::time::timeout(limits.timeout, head).await {
        Err(_elapsed) => return Err(UpgradeError::TimedOut(limits.timeout)),
        Ok(Err(HeadError::Io(error))) => return Err(error.into()),
        Ok(Err(HeadError::Closed)) => return Err(UpgradeError::Closed),
        Ok(Err(HeadError::TooLarge)) => return Err(UpgradeError::HeadTooLarge(limits.max_head)),
        Ok(Ok(head)) => head,
    };
    judge(&head).map_err(|error| match error {
        UpgradeError::Malformed(httparse::Error::TooManyHeaders) => {
            UpgradeError::HeadTooLarge(limits.max_head)
        }
        error => error,
    })
}

/// Decides what a complete head asks for.
fn judge(head: &[u8]) -> Result<Request, UpgradeError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).map_err(UpgradeError::Malformed)?;
    if request.method != Some("GET") {
        return Err(UpgradeError::Method);
    }
    let wants_websocket = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("Upgrade"))
        .flat_map(|header| header.value.split(|&byte| byte == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"websocket"));
    let accept = if wants_websocket {
        let key = head::header(request.headers, "Sec-WebSocket-Key").ok_or(UpgradeError::NoKey)?;
        Some(head::accept_for(key))
    } else {
        None
    };
    let text = |name| {
        let value = head::header(request.headers, name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    Ok(Request {
        path: request.path.unwrap_or_default().to_owned(),
        host: text("Host"),
        origin: text("Origin"),
        authorization: text("Authorization"),
        accept,
    })
}

const PLAIN: &str = "text/plain; charset=utf-8";

/// Sends a complete response and hangs up.
async fn respond(
    mut link: Link,
    status: u16,
    headers: &str,
    content_type: &str,
    text: &str,
) -> io::Result<()> {
    let response = format!(
        "HTTP/1.1 {status} {reason}\r\n{headers}Connection: close\r\nContent-Type: {content_type}\r\n\
         Content-Length: {length}\r\n\r\n{text}",
        reason = reason(status),
        length = text.len(),
    );
    link.write_all(response.as_bytes()).await?;
    link.linger().await
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Refused",
    }
}
