//! What a received frame is, from its first bytes.
//!
//! The task that owns a connection only has to know whom a frame is for. Nodes write the members of an answer in a
//! fixed order, so that is found without scanning a megabyte of base64; the one who asked parses the rest, on its
//! own task. A frame in another order is valid too and is parsed in full.

use spiderweb_protocol::Tag;
use spiderweb_protocol::fs::{Incoming, ReplyError};

/// What kind of frame it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Glance {
    /// The answer to the request with this tag.
    Reply(Tag),
    /// The refusal of the request with this tag.
    Error(Tag),
    /// A refusal of the connection itself.
    ConnectionError,
    /// News.
    Event,
}

impl Glance {
    /// Looks at a frame. Parses all of it only when its members are not in the usual order.
    pub fn at(frame: &[u8]) -> Result<Self, ReplyError> {
        if let Some(seen) = Self::quick(frame) {
            return Ok(seen);
        }
        Ok(match Incoming::parse(frame)? {
            Incoming::Reply { tag, .. } => Self::Reply(tag),
            Incoming::Error { tag: Some(tag), .. } => Self::Error(tag),
            Incoming::Error { tag: None, .. } => Self::ConnectionError,
            Incoming::Event(_) => Self::Event,
        })
    }

    fn quick(frame: &[u8]) -> Option<Self> {
        let rest = frame.strip_prefix(br#"{"channel":"acheron","type":"acheron."#)?;
        if let Some(rest) = rest.strip_prefix(b"r_fs_") {
            let end = rest.iter().position(|&byte| byte == b'"')?;
            return Some(Self::Reply(tag(rest.get(end..)?)?));
        }
        if let Some(rest) = rest.strip_prefix(b"err_fs") {
            return Some(Self::Error(tag(rest)?));
        }
        rest.starts_with(b"e_fs_inval").then_some(Self::Event)
    }
}

/// The tag in text that goes on with `","tag":<digits>,`.
fn tag(text: &[u8]) -> Option<Tag> {
    let digits = text.strip_prefix(br#"","tag":"#)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    let (number, rest) = digits.split_at_checked(end)?;
    if number.is_empty() || number.len() > 10 || !rest.starts_with(b",") {
        return None;
    }
    let number = number
        .iter()
        .fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    u32::try_from(number).ok().map(Tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_in_usual_and_unusual_order_are_told_apart() {
        for (frame, seen, quickly) in [
            (
                r#"{"channel":"acheron","type":"acheron.r_fs_lookup","tag":7,"ok":true,"payload":{}}"#,
                Glance::Reply(Tag(7)),
                true,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.r_fs_read","tag":4294967295,"ok":true,"payload":{}}"#,
                Glance::Reply(Tag(u32::MAX)),
                true,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.err_fs","tag":7,"ok":false,"error":{"errno":2,"message":"x"}}"#,
                Glance::Error(Tag(7)),
                true,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.err_fs","ok":false,"error":{"errno":22,"message":"x"}}"#,
                Glance::ConnectionError,
                false,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.e_fs_inval_dir","payload":{"dir":3}}"#,
                Glance::Event,
                true,
            ),
            (
                r#"{"tag":7,"type":"acheron.r_fs_lookup","channel":"acheron"}"#,
                Glance::Reply(Tag(7)),
                false,
            ),
            (
                r#" {"channel":"acheron","type":"acheron.r_fs_lookup","tag": 7 }"#,
                Glance::Reply(Tag(7)),
                false,
            ),
        ] {
            assert_eq!(Glance::at(frame.as_bytes()).unwrap(), seen, "{frame}");
            assert_eq!(Glance::quick(frame.as_bytes()).is_some(), quickly, "{frame}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for frame in [
            "",
            "{",
            "[]",
            r#"{"channel":"acheron","type":"acheron.r_fs_"#,
            r#"{"channel":"acheron","type":"acheron.r_fs_lookup","tag":"#,
            r#"{"channel":"acheron","type":"acheron.r_fs_lookup","tag":4294967296,"ok":true}"#,
            r#"{"channel":"acheron","type":"acheron.r_fs_lookup","tag":,"ok":true}"#,
        ] {
            assert!(Glance::at(frame.as_bytes()).is_err(), "{frame}");
        }
    }
}
