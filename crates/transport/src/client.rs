//! The dialling side of the upgrade.
//!
//! The request has the same headers, in the same spelling and order, as the original node sends: some servers search
//! for literal strings. Nothing is sent behind the request before its answer has come, because those servers throw
//! away what arrives early.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::head::{self, HeadError, MAX_HEADERS};
use crate::link::Link;
use crate::random;
use crate::socket::WebSocket;
use crate::url::WsUrl;

/// Largest response head accepted, in bytes.
const MAX_RESPONSE_HEAD: usize = 16 * 1024;

/// How to dial.
#[derive(Clone, Debug)]
pub struct DialOptions {
    /// What to send as `Authorization`, if anything.
    pub authorization: Option<Authorization>,
    /// Time for everything together: name resolution, connecting and the upgrade.
    pub timeout: Duration,
}

impl Default for DialOptions {
    /// No authorization, 10 seconds.
    fn default() -> Self {
        Self {
            authorization: None,
            timeout: Duration::from_secs(10),
        }
    }
}

/// A valid value of an `Authorization` header. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization(String);

/// A token holds a character that cannot travel in an HTTP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token has a blank, a control or a non-ASCII character")]
pub struct AuthorizationError;

impl Authorization {
    /// `Bearer <token>`, the only scheme in use. The token must be visible ASCII without blanks.
    pub fn bearer(token: &str) -> Result<Self, AuthorizationError> {
        if token.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(format!("Bearer {token}")))
        } else {
            Err(AuthorizationError)
        }
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(***)")
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name was not found or nobody accepted the connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// Host and port.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The connection cannot be secured: usually the certificate is not the host's, or nobody vouches for it.
    #[cfg(feature = "tls")]
    #[error("no TLS with {address}; {hint}", hint = crate::tls::HINT)]
    Tls {
        /// Host and port.
        address: String,
        /// What is wrong.
        source: io::Error,
    },
    /// The link failed during the upgrade.
    #[error("link failed during the upgrade")]
    Io(#[from] io::Error),
    /// Not done in time.
    #[error("no WebSocket after {0:?}")]
    TimedOut(Duration),
    /// The peer hung up instead of answering, which is how the original servers refuse.
    #[error("peer hung up during the upgrade")]
    Closed,
    /// The peer answered with another HTTP status than 101.
    #[error("peer refused the upgrade with HTTP status {status} {reason}")]
    Refused {
        /// The HTTP status code.
        status: u16,
        /// The text beside it.
        reason: String,
    },
    /// The peer's answer is not a valid answer to this upgrade.
    #[error("peer answered the upgrade wrongly: {0}")]
    BadResponse(&'static str),
}

/// Connects over TCP and upgrades.
///
/// Cancel safe in the sense that a cancelled call leaves nothing behind but a dropped connection.
pub async fn dial(url: &WsUrl, options: &DialOptions) -> Result<WebSocket, DialError> {
    let dialled = async {
        let stream = TcpStream::connect((url.host(), url.port())).await;
        let link = stream.and_then(Link::tcp);
        let link = link.map_err(|source| DialError::Connect {
            address: url.authority(),
            source,
        })?;
        // Without it there are no secure addresses.
        #[cfg(feature = "tls")]
        let link = secured(link, url).await?;
        upgrade(
            link,
            &url.authority(),
            url.target(),
            options.authorization.as_ref(),
        )
        .await
    };
    tokio::time::timeout(options.timeout, dialled)
        .await
        .unwrap_or(Err(DialError::TimedOut(options.timeout)))
}

#[cfg(feature = "tls")]
async fn secured(link: Link, url: &WsUrl) -> Result<Link, DialError> {
    if !url.is_secure() {
        return Ok(link);
    }
    link.secured(url.host()).await.map_err(|source| DialError::Tls {
        address: url.authority(),
        source,
    })
}

/// Upgrades a link that is connected already, within `options.timeout`.
///
/// `url` provides the `Host` header and the request target; nothing is resolved or connected.
pub async fn upgrade_over(link: Link, url: &WsUrl, options: &DialOptions) -> Result<WebSocket, DialError> {
    let authority = url.authority();
    let upgraded = upgrade(link, &authority, url.target(), options.authorization.as_ref());
    tokio::time::timeout(options.timeout, upgraded)
        .await
        .unwrap_or(Err(DialError::TimedOut(options.timeout)))
}

async fn upgrade(
    mut link: Link,
    authority: &str,
    target: &str,
    authorization: Option<&Authorization>,
) -> Result<WebSocket, DialError> {
    let key = fresh_key();
    let request = request(authority, target, &key, authorization);
    link.write_all(request.as_bytes()).await?;

    let mut received = BytesMut::new();
    let head = head::read_head(&mut link, &mut received, MAX_RESPONSE_HEAD)
        .await
        .map_err(|error| match error {
            HeadError::Io(error) => DialError::Io(error),
            HeadError::Closed => DialError::Closed,
            HeadError::TooLarge => DialError::BadResponse("its head is too large"),
        })?;
    check_response(&head, &key)?;
    Ok(WebSocket::client(link, received))
}

/// The request, its headers in the order of the original node.
fn request(authority: &str, target: &str, key: &str, authorization: Option<&Authorization>) -> String {
    let mut request = format!(
        "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    );
    if let Some(Authorization(value)) = authorization {
        request.push_str("Authorization: ");
        request.push_str(value);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request
}

/// Sixteen random bytes as base64.
fn fresh_key() -> String {
    let [high, low] = [random::next_u64(), random::next_u64()].map(u128::from);
    base64_simd::STANDARD.encode_to_string((high << 64 | low).to_ne_bytes())
}

fn check_response(head: &[u8], key: &str) -> Result<(), DialError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    response
        .parse(head)
        .map_err(|_| DialError::BadResponse("it is not HTTP"))?;
    match response.code {
        Some(101) => {}
        status => {
            let reason = response.reason.unwrap_or_default().to_owned();
            return Err(DialError::Refused {
                status: status.unwrap_or_default(),
                reason,
            });
        }
    }
    match head::header(response.headers, "Sec-WebSocket-Accept") {
        Some(accept) if accept == head::accept_for(key.as_bytes()).as_bytes() => Ok(()),
        Some(_) => Err(DialError::BadResponse(
            "Sec-WebSocket-Accept does not match the key",
        )),
        None => Err(DialError::BadResponse("Sec-WebSocket-Accept is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_has_the_headers_of_the_original_in_its_order() {
        let token = Authorization::bearer("t0ken").unwrap();
        let head = "GET /v2/node HTTP/1.1\r\nHost: hub:1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: KEY\r\n";
        assert_eq!(request("hub:1", "/v2/node", "KEY", None), format!("{head}\r\n"));
        let authorized = request("hub:1", "/v2/node", "KEY", Some(&token));
        assert_eq!(authorized, format!("{head}Authorization: Bearer t0ken\r\n\r\n"));
    }

    #[test]
    fn tokens_that_could_forge_a_header_are_refused_and_none_is_shown() {
        assert_eq!(Authorization::bearer("a\r\nX: y"), Err(AuthorizationError));
        assert_eq!(Authorization::bearer("a b"), Err(AuthorizationError));
        assert!(!format!("{:?}", Authorization::bearer("t0ken").unwrap()).contains("t0ken"));
    }

    #[test]
    fn keys_are_sixteen_bytes_and_fresh() {
        assert_eq!(fresh_key().len(), 24);
        assert_ne!(fresh_key(), fresh_key());
    }
}
