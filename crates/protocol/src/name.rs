//! Names that were checked.

use std::fmt;

/// The name of one directory entry: not empty, not `.` or `..`, without `/`, `\` and NUL (section 7.1).
///
/// Length and everything else is the operating system's business.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryName(Box<str>);

/// A string that cannot name a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid child name")]
pub struct InvalidName;

impl EntryName {
    /// Checks and wraps a name.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        if Self::is_valid(name.as_bytes()) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidName)
        }
    }

    /// Whether these bytes could be the name of an entry, valid UTF-8 or not.
    pub fn is_valid(name: &[u8]) -> bool {
        !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0))
    }

    /// Whether Windows takes the name as it is. It changes some names and gives others a meaning: it drops dots and
    /// blanks at the end, `:` begins a stream or names a drive, `con` and `con.txt` are the console, and `*` stands
    /// for other names. Whoever lets such a name through reaches something else than was asked for.
    pub fn is_literal_on_windows(&self) -> bool {
        /// Devices, with any extension and in any case; the superscripts are digits to Windows.
        const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
        const DIGITS: &str = "0123456789¹²³";

        let name = self.as_str();
        if name.ends_with(['.', ' ']) || name.chars().any(|c| c < ' ' || "<>:\"|?*".contains(c)) {
            return false;
        }
        let stem = name.split('.').next().unwrap_or_default().trim_end();
        let stem = stem.to_lowercase();
        let is_port = ["com", "lpt"].iter().any(|port| {
            let number = stem.strip_prefix(port);
            number.is_some_and(|digit| digit.chars().count() == 1 && DIGITS.contains(digit))
        });
        !is_port && !DEVICES.contains(&&*stem)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for EntryName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a namespace service: an [identifier](is_identifier) of at most [`ServiceId::MAX`] bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(Box<str>);

/// A string that is no identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 128 of the characters A-Z a-z 0-9 . _ -")]
pub struct InvalidIdentifier;

/// Whether a text is an identifier: at least one of `A-Z a-z 0-9 . _ -`, and nothing else (`services.md`,
/// section 2).
pub fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

impl ServiceId {
    /// Most bytes of an id.
    pub const MAX: usize = 128;

    /// Checks and wraps an id.
    pub fn new(id: &str) -> Result<Self, InvalidIdentifier> {
        if is_identifier(id) && id.len() <= Self::MAX {
            Ok(Self(id.into()))
        } else {
            Err(InvalidIdentifier)
        }
    }

    /// The id as text. It needs no escaping in JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ServiceId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_components_are_names() {
        for bad in ["", ".", "..", "a/b", "/", "/etc/passwd", "a\\b", "nul\0", "../x"] {
            assert_eq!(EntryName::new(bad), Err(InvalidName), "{bad:?}");
        }
        for good in [
            "a",
            "...",
            ".hidden",
            "-rf",
            " ",
            "a:b",
            "NUL",
            "日本語",
            "line\nbreak",
            "trailing.",
        ] {
            assert_eq!(EntryName::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn what_windows_would_change_or_interpret_is_told_apart() {
        for bad in [
            "a.",
            "a ",
            "...",
            " ",
            "a:b",
            "C:",
            "C:x",
            "a::$DATA",
            "con",
            "CON",
            "Con.txt",
            "nul .tar.gz",
            "aux.",
            "COM1",
            "lpt9.log",
            "com¹",
            "LPT³.x",
            "CONIN$",
            "line\nbreak",
            "\u{1}",
            "a*",
            "a?",
            "<a>",
            "a|b",
            "\"a\"",
        ] {
            assert!(!EntryName::new(bad).unwrap().is_literal_on_windows(), "{bad:?}");
        }
        for good in [
            "a",
            ".hidden",
            "a.b.c",
            " a",
            "console",
            "com",
            "com10",
            "comx",
            "nullo.txt",
            "日本語",
            "a;b",
            "$mft",
        ] {
            assert!(EntryName::new(good).unwrap().is_literal_on_windows(), "{good:?}");
        }
    }

    #[test]
    fn ids_are_plain_ascii() {
        let longest = "a".repeat(ServiceId::MAX);
        for good in ["echo-main", "..", "A.b_9-", "-", &longest] {
            assert_eq!(ServiceId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a/b", "a b", "a:b", "é", "a\n", &(longest.clone() + "a")] {
            assert_eq!(ServiceId::new(bad), Err(InvalidIdentifier), "{bad:?}");
        }
    }
}
