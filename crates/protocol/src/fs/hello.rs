//! The first request of every connection (section 4).

use std::borrow::Cow;

use serde::Deserialize;

use super::write::JsonWriter;
use crate::json::Json;
use crate::limits::{MAX_READ, MAX_WRITE};
use crate::secret::Secret;

/// The only value of `protocol` there is.
pub const HELLO_PROTOCOL: &str = "unified-v2-fs";
const PROTO: u64 = 2;

/// An accepted hello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Whether this connection wants events that others cause. Absent or of another type counts as yes, as
    /// the original sends them regardless (section 10.2).
    pub subscribe_invalidations: bool,
}

/// Why a hello is refused. The words are the wire's; each ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The payload, `protocol` or `proto` is missing.
    #[error("MissingField")]
    MissingField,
    /// A member of the wrong type.
    #[error("InvalidType")]
    InvalidType,
    /// Another protocol or version.
    #[error("ProtocolMismatch")]
    ProtocolMismatch,
    /// The node wants a token and there is none.
    #[error("AuthMissing")]
    AuthMissing,
    /// The token is wrong.
    #[error("AuthFailed")]
    AuthFailed,
}

impl Hello {
    /// Checks a hello's payload in the order of section 4; `token` is what the node demands, if anything.
    pub fn check(payload: Option<&Json<'_>>, token: Option<&Secret>) -> Result<Self, HelloError> {
        let payload = payload.ok_or(HelloError::MissingField)?;
        let members = payload.as_object().ok_or(HelloError::InvalidType)?;
        let member = |name: &str| {
            members
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value)
        };

        let protocol = member("protocol").ok_or(HelloError::MissingField)?;
        if protocol.as_text().ok_or(HelloError::InvalidType)? != HELLO_PROTOCOL {
            return Err(HelloError::ProtocolMismatch);
        }
        let proto = member("proto").ok_or(HelloError::MissingField)?;
        match proto.as_unsigned() {
            Some(PROTO) => {}
            Some(_) => return Err(HelloError::ProtocolMismatch),
            None if matches!(proto, Json::Integer(_)) => return Err(HelloError::ProtocolMismatch),
            None => return Err(HelloError::InvalidType),
        }
        if let Some(token) = token {
            let given = member("auth_token").ok_or(HelloError::AuthMissing)?;
            if !token.matches(given.as_text().ok_or(HelloError::InvalidType)?) {
                return Err(HelloError::AuthFailed);
            }
        }
        let subscribe_invalidations = member("subscribe_invalidations") != Some(&Json::Bool(false));
        Ok(Self {
            subscribe_invalidations,
        })
    }

    /// Appends the payload a client sends.
    pub fn encode(&self, token: Option<&Secret>, out: &mut Vec<u8>) {
        let mut w = JsonWriter(out);
        w.raw(r#"{"protocol":"#)
            .text(HELLO_PROTOCOL)
            .raw(r#","proto":"#)
            .int(PROTO);
        if let Some(token) = token {
            w.raw(r#","auth_token":"#).text(token.expose());
        }
        w.raw(r#","subscribe_invalidations":"#)
            .bool(self.subscribe_invalidations)
            .raw("}");
    }
}

/// What all exports of a node can do together (section 4). Clients use the per-export flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeCaps {
    /// Symbolic links can be made.
    pub symlink: bool,
    /// Extended attributes work.
    pub xattr: bool,
    /// Advisory locks work.
    pub locks: bool,
    /// Names differ by case.
    pub case_sensitive: bool,
}

/// A node's answer to hello.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HelloReply {
    /// The node's name: a constant of the product, not its configured name.
    pub name: Cow<'static, str>,
    /// The node's operating system: `linux`, `windows`, `macos`, ….
    pub os: Cow<'static, str>,
    /// The node's version.
    pub ver: Cow<'static, str>,
    /// The logical AND over its exports.
    pub caps: NodeCaps,
    /// Most bytes to read at a time.
    pub max_read: u32,
    /// Most bytes to write at a time.
    pub max_write: u32,
}

impl HelloReply {
    pub(super) fn decode(payload: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Wire {
            node: Node,
            caps: Caps,
        }
        #[derive(Deserialize)]
        struct Caps {
            symlink: bool,
            xattr: bool,
            locks: bool,
            case_sensitive: bool,
            max_read: Option<u64>,
            max_write: Option<u64>,
        }
        #[derive(Deserialize)]
        struct Node {
            name: String,
            os: String,
            ver: String,
        }
        let Wire { node, caps } = serde_json::from_str(payload)?;
        Ok(Self {
            name: node.name.into(),
            os: node.os.into(),
            ver: node.ver.into(),
            caps: NodeCaps {
                symlink: caps.symlink,
                xattr: caps.xattr,
                locks: caps.locks,
                case_sensitive: caps.case_sensitive,
            },
            max_read: within(caps.max_read, MAX_READ),
            max_write: within(caps.max_write, MAX_WRITE as u32),
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut w = JsonWriter(out);
        w.raw(r#"{"protocol":"#)
            .text(HELLO_PROTOCOL)
            .raw(r#","proto":"#)
            .int(PROTO);
        w.raw(r#","node":{"name":"#).text(&self.name);
        w.raw(r#","os":"#)
            .text(&self.os)
            .raw(r#","ver":"#)
            .text(&self.ver);
        w.raw(r#"},"caps":{"readdirp":true,"symlink":"#)
            .bool(self.caps.symlink);
        w.raw(r#","xattr":"#)
            .bool(self.caps.xattr)
            .raw(r#","locks":"#)
            .bool(self.caps.locks);
        w.raw(r#","case_sensitive":"#).bool(self.caps.case_sensitive);
        w.raw(r#","max_read":"#).int(self.max_read);
        w.raw(r#","max_write":"#).int(self.max_write).raw("}}");
    }
}

/// What a peer announced, up to what this protocol allows; all of that if it announced nothing of use.
fn within(announced: Option<u64>, most: u32) -> u32 {
    let announced = announced.filter(|&bytes| bytes > 0).unwrap_or(most.into());
    u32::try_from(announced).unwrap_or(most).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payload: &str, token: Option<&str>) -> Result<Hello, HelloError> {
        let token = token.map(Secret::new);
        Hello::check(Some(&Json::parse(payload).unwrap()), token.as_ref())
    }

    #[test]
    fn refusals_come_in_the_contracts_order() {
        use HelloError as E;
        const GOOD: &str = r#""protocol":"unified-v2-fs","proto":2"#;
        assert_eq!(Hello::check(None, None), Err(E::MissingField));
        for (payload, token, fault) in [
            ("5".into(), None, E::InvalidType),
            ("{}".into(), None, E::MissingField),
            (r#"{"protocol":5}"#.into(), None, E::InvalidType),
            (r#"{"protocol":"unified-v2"}"#.into(), None, E::ProtocolMismatch),
            (r#"{"protocol":"unified-v2-fs"}"#.into(), None, E::MissingField),
            (
                r#"{"protocol":"unified-v2-fs","proto":"2"}"#.into(),
                None,
                E::InvalidType,
            ),
            (
                r#"{"protocol":"unified-v2-fs","proto":3}"#.into(),
                None,
                E::ProtocolMismatch,
            ),
            (format!("{{{GOOD}}}"), Some("t"), E::AuthMissing),
            (
                format!("{{{GOOD},\"auth_token\":null}}"),
                Some("t"),
                E::InvalidType,
            ),
            (
                format!("{{{GOOD},\"auth_token\":\"x\"}}"),
                Some("t"),
                E::AuthFailed,
            ),
            (
                format!("{{{GOOD},\"auth_token\":\"x\"}}"),
                Some(""),
                E::AuthFailed,
            ),
        ] {
            assert_eq!(check(&payload, token), Err(fault), "{payload}");
        }
        let accepted = |extra: &str| check(&format!("{{{GOOD}{extra}}}"), Some("t")).unwrap();
        assert!(accepted(r#","auth_token":"t""#).subscribe_invalidations);
        assert!(accepted(r#","auth_token":"t","subscribe_invalidations":7"#).subscribe_invalidations);
        assert!(
            check(r#"{"protocol":"unified-v2-fs","proto":2.0}"#, None).is_ok(),
            "recorded"
        );
        assert!(!accepted(r#","auth_token":"t","subscribe_invalidations":false"#).subscribe_invalidations);
    }

    #[test]
    fn what_a_client_says_is_accepted() {
        let token = Secret::new("a \"quoted\" token");
        let mut out = Vec::new();
        Hello {
            subscribe_invalidations: false,
        }
        .encode(Some(&token), &mut out);
        let text = String::from_utf8(out).unwrap();
        let hello = Hello::check(Some(&Json::parse(&text).unwrap()), Some(&token)).unwrap();
        assert!(!hello.subscribe_invalidations);
    }
}
