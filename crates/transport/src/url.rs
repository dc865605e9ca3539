//! WebSocket addresses.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The ports of `ws://` and `wss://`.
const DEFAULT_PORTS: [u16; 2] = [80, 443];

/// A valid `ws://host[:port][/path][?query]`, or `wss://…` for TLS where it is built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WsUrl {
    is_secure: bool,
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    host: String,
    port: u16,
    /// Path and query; begins with a slash.
    target: String,
}

/// Why a text is not a usable address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid WebSocket address {url:?}: {reason}; expected ws://host[:port][/path] or wss://…")]
pub struct WsUrlError {
    url: String,
    reason: &'static str,
}

impl WsUrl {
    /// The host to connect to: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the connection is secured by TLS.
    pub const fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// `ws` or `wss`.
    pub const fn scheme(&self) -> &'static str {
        if self.is_secure { "wss" } else { "ws" }
    }

    /// The port to connect to; 80, or 443 with TLS, unless the address names one.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, `/` if the address has none.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Host and port as they appear in a `Host` header.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The same host and port with another path and query.
    pub fn with_target(&self, target: &str) -> Result<Self, WsUrlError> {
        let target = check_target(target).map_err(|reason| {
            let url = format!("{}://{}{target}", self.scheme(), self.authority());
            WsUrlError { url, reason }
        })?;
        Ok(Self {
            is_secure: self.is_secure,
            host: self.host.clone(),
            port: self.port,
            target,
        })
    }
}

impl From<SocketAddr> for WsUrl {
    /// The root of the server at this address.
    fn from(address: SocketAddr) -> Self {
        Self {
            is_secure: false,
            host: address.ip().to_string(),
            port: address.port(),
            target: "/".to_owned(),
        }
    }
}

impl FromStr for WsUrl {
    type Err = WsUrlError;

    fn from_str(url: &str) -> Result<Self, WsUrlError> {
        parse(url).map_err(|reason| WsUrlError {
            url: url.to_owned(),
            reason,
        })
    }
}

impl fmt::Display for WsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority(), self.target)
    }
}

fn parse(url: &str) -> Result<WsUrl, &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or("it has no scheme")?;
    let is_secure = scheme.eq_ignore_ascii_case("wss");
    if is_secure && !cfg!(feature = "tls") {
        return Err("wss:// needs TLS, which this build does not have");
    }
    if !is_secure && !scheme.eq_ignore_ascii_case("ws") {
        return Err("its scheme is neither ws nor wss");
    }
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (host, port) = parse_authority(authority)?;
    let [plain, secure] = DEFAULT_PORTS;
    Ok(WsUrl {
        is_secure,
        host,
        port: port.unwrap_or(if is_secure { secure } else { plain }),
        target: check_target(target)?,
    })
}

fn parse_authority(authority: &str) -> Result<(String, Option<u16>), &'static str> {
    if authority.contains('@') {
        return Err("it carries a user name, which WebSocket peers ignore");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, port) = bracketed
                .split_once(']')
                .ok_or("its IPv6 address lacks the closing bracket")?;
            host.parse::<Ipv6Addr>()
                .map_err(|_| "what it has in brackets is not an IPv6 address")?;
            match port.strip_prefix(':') {
                None if !port.is_empty() => return Err("only a port may follow the closing bracket"),
                port => (host, port),
            }
        }
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("its IPv6 address is not in brackets"),
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("it has no host");
    }
    if !host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte))
    {
        return Err("its host has a character that no host name has");
    }
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port = digits.parse().ok().filter(|&port| port != 0);
            Some(port.ok_or("its port is not between 1 and 65535")?)
        }
        Some(_) => return Err("its port is not a number"),
    };
    Ok((host.to_owned(), port))
}

/// A path and query fit for a request line.
fn check_target(target: &str) -> Result<String, &'static str> {
    if target.contains('#') {
        return Err("it has a fragment, which a server never sees");
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("its path has a blank, a control or a non-ASCII character; write those as %XX");
    }
    Ok(if target.starts_with('/') {
        target.to_owned()
    } else {
        format!("/{target}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts() {
        let rows = [
            ("ws://hub", "hub", 80, "/", "hub:80"),
            ("WS://hub:8790/", "hub", 8790, "/", "hub:8790"),
            (
                "ws://10.0.0.1:1/v2/fs?x=1",
                "10.0.0.1",
                1,
                "/v2/fs?x=1",
                "10.0.0.1:1",
            ),
            (
                "ws://hub.example?token=a",
                "hub.example",
                80,
                "/?token=a",
                "hub.example:80",
            ),
            ("ws://[::1]/a", "::1", 80, "/a", "[::1]:80"),
            ("ws://[fe80::2]:65535", "fe80::2", 65535, "/", "[fe80::2]:65535"),
        ];
        for (text, host, port, target, authority) in rows {
            let url: WsUrl = text.parse().unwrap();
            assert_eq!(
                (url.host(), url.port(), url.target()),
                (host, port, target),
                "{text}"
            );
            assert_eq!(url.authority(), authority, "{text}");
            assert_eq!(url.to_string().parse(), Ok(url), "{text}");
        }
    }

    #[test]
    fn refuses_and_says_why() {
        let rows = [
            ("", "no scheme"),
            ("hub:8790", "no scheme"),
            ("http://hub", "scheme is neither ws nor wss"),
            ("ws://", "no host"),
            ("ws:///v2/fs", "no host"),
            ("ws://:80", "no host"),
            ("ws://hub:", "between 1 and 65535"),
            ("ws://hub:0", "between 1 and 65535"),
            ("ws://hub:65536", "between 1 and 65535"),
            ("ws://hub:+1", "not a number"),
            ("ws://::1", "not in brackets"),
            ("ws://[::1", "closing bracket"),
            ("ws://[hub]:1", "not an IPv6 address"),
            ("ws://[::1]80", "only a port"),
            ("ws://me:secret@hub", "user name"),
            ("ws://hub name", "no host name has"),
            ("ws://hub\r\nX: y/", "no host name has"),
            ("ws://hub/a b", "%XX"),
            ("ws://hub/a\r\nX: y", "%XX"),
            ("ws://hub/a#b", "fragment"),
        ];
        for (text, reason) in rows {
            let error = text.parse::<WsUrl>().unwrap_err().to_string();
            assert!(
                error.contains(reason)
                    && error.contains(&format!("{text:?}"))
                    && error.contains("expected ws://"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_secure_address_needs_tls_and_has_a_port_of_its_own() {
        let parsed = "WSS://hub/a".parse::<WsUrl>();
        if cfg!(feature = "tls") {
            let url = parsed.unwrap();
            assert!(url.is_secure());
            assert_eq!(url.to_string(), "wss://hub:443/a");
            assert_eq!(url.with_target("/b").unwrap().to_string(), "wss://hub:443/b");
            assert_eq!("wss://hub:8443/".parse::<WsUrl>().unwrap().port(), 8443);
        } else {
            assert!(parsed.unwrap_err().to_string().contains("does not have"));
        }
    }

    #[test]
    fn a_socket_address_is_the_root_of_its_server() {
        for (address, url) in [("10.0.0.1:7", "ws://10.0.0.1:7/"), ("[::1]:9", "ws://[::1]:9/")] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(WsUrl::from(address).to_string(), url);
            assert_eq!(url.parse(), Ok(WsUrl::from(address)));
        }
    }

    #[test]
    fn another_target_keeps_host_and_port() {
        let url: WsUrl = "ws://[::1]:9/control?a".parse().unwrap();
        assert_eq!(
            url.with_target("/v2/node").unwrap().to_string(),
            "ws://[::1]:9/v2/node"
        );
        assert!(url.with_target("/a b").is_err());
    }
}
