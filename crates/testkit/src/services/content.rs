//! What a file holds, as golden files write it: to the end of a line.
//!
//! Most files of a service hold one JSON object. It stands there as it is, because a text full of backslashes is
//! read by nobody. Everything else is a byte expression of the [term notation](crate::replay::term), and what is too
//! long to keep is known by its digest.

use std::fmt::{self, Display, Formatter};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::replay::term::{Scanner, quote};

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// As many bytes as said, with this digest.
    Digest {
        /// How many.
        length: u64,
        /// SHA-256 in hex digits.
        sha256: String,
    },
}

impl Content {
    /// Reads what [`Display`] prints.
    pub fn parse(text: &str) -> Result<Self> {
        if text.starts_with('{') {
            return Ok(Self::from(text));
        }
        let mut scanner = Scanner::new(text);
        let content = if scanner.eat("sha256 ") {
            Self::Digest {
                length: scanner.decimal()?,
                sha256: scanner.word().to_owned(),
            }
        } else {
            Self::Bytes(scanner.bytes()?)
        };
        scanner.end()?;
        Ok(content)
    }

    /// The bytes, where they are known.
    pub fn bytes(&self) -> Result<&[u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Digest { .. } => None.context("only the digest of this content is known"),
        }
    }

    /// The text, where it is one.
    pub fn text(&self) -> Option<&str> {
        self.bytes()
            .ok()
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Digest { length, .. } => *length,
        }
    }

    /// Whether these are the bytes.
    pub fn is(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Bytes(own) => own == bytes,
            Self::Digest { length, sha256 } => *length == bytes.len() as u64 && *sha256 == digest(bytes),
        }
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl Display for Content {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest { length, sha256 } => write!(f, "sha256 {length} {sha256}"),
            Self::Bytes(bytes) => match self.text().filter(|text| is_plain(text)) {
                Some(text) => f.write_str(text),
                None => f.write_str(&quote(bytes)),
            },
        }
    }
}

/// Whether a text can stand in a line as it is.
fn is_plain(text: &str) -> bool {
    let is_one_piece = !quote(text.as_bytes()).contains("repeat(");
    text.starts_with('{') && text.trim_end() == text && is_one_piece && !text.chars().any(char::is_control)
}

fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back_the_same() {
        for (content, printed) in [
            (Content::from(r#"{"a":"b\n"}"#), r#"{"a":"b\n"}"#),
            (Content::from(""), r#""""#),
            (Content::from("{\"a\":\n1}"), r#""{\"a\":\n1}""#),
            (Content::from("{} "), r#""{} ""#),
            (Content::Bytes(vec![0xff, 0]), r#"hex("ff00")"#),
            (Content::Bytes(vec![b'x'; 99]), r#"repeat("x", 99)"#),
        ] {
            assert_eq!(content.to_string(), printed);
            assert_eq!(Content::parse(printed).unwrap(), content);
        }
    }

    #[test]
    fn a_digest_stands_for_its_bytes() {
        let abc = "sha256 3 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let content = Content::parse(abc).unwrap();
        assert_eq!(content.to_string(), abc);
        assert!(content.is(b"abc") && !content.is(b"abd"));
    }
}
