//! Names of the control plane that were checked: an identifier of at most 128 bytes each.

use std::fmt;

use crate::name::{InvalidIdentifier, is_identifier};

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// Most bytes of one.
            pub const MAX: usize = 128;

            /// Checks and wraps a text.
            pub fn new(text: &str) -> Result<Self, InvalidIdentifier> {
                if is_identifier(text) && text.len() <= Self::MAX {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidIdentifier)
                }
            }

            /// The text. It needs no escaping in JSON.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

identifier! {
    /// Names one paired node, for as long as its hub remembers it.
    NodeId
}
identifier! {
    /// What people call a node. Two nodes may have the same.
    NodeName
}
identifier! {
    /// Names one project; the newer generation calls it a workspace.
    ProjectId
}
identifier! {
    /// Names one export of a node.
    ExportName
}
identifier! {
    /// Names one request to join that waits for approval.
    RequestId
}

/// An absolute path inside a workspace, without slash at the end, without empty, `.` and `..` components.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MountPath(Box<str>);

impl MountPath {
    /// Most bytes of one.
    pub const MAX: usize = 512;

    /// Normalises and checks a path as a person typed it: white space and then slashes are trimmed, a slash is put in
    /// front (`hub.md`, section 5). `None` if it cannot be one.
    pub fn new(text: &str) -> Option<Self> {
        let trimmed = text.trim_matches([' ', '\t', '\r', '\n']);
        if trimmed.is_empty() {
            return None;
        }
        let inner = trimmed.trim_matches('/');
        let is_clean = inner.is_empty()
            || inner
                .split('/')
                .all(|part| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control));
        (is_clean && inner.len() < Self::MAX).then(|| Self(format!("/{inner}").into()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both could not be mounted side by side: they differ, and one contains the other.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let contains = |outer: &str, inner: &str| {
            outer == "/"
                || inner
                    .strip_prefix(outer)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        self != other && (contains(&self.0, &other.0) || contains(&other.0, &self.0))
    }
}

impl serde::Serialize for MountPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for MountPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| serde::de::Error::custom("no mount path"))
    }
}

impl fmt::Display for MountPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_paths_are_normalised_or_refused() {
        for (text, path) in [
            ("src/", Some("/src")),
            (" /a/b/ ", Some("/a/b")),
            ("///", Some("/")),
            ("/", Some("/")),
            ("", None),
            ("  ", None),
            ("a//b", None),
            ("a/./b", None),
            ("../b", None),
            ("a\u{1}", None),
        ] {
            assert_eq!(
                MountPath::new(text).as_ref().map(MountPath::as_str),
                path,
                "{text:?}"
            );
        }
    }

    #[test]
    fn paths_conflict_when_one_holds_the_other() {
        let path = |text| MountPath::new(text).unwrap();
        for (a, b, conflict) in [
            ("/src", "/src/sub", true),
            ("/", "/src", true),
            ("/src", "/src", false),
            ("/src", "/srcs", false),
        ] {
            assert_eq!(path(a).conflicts_with(&path(b)), conflict, "{a} {b}");
            assert_eq!(path(b).conflicts_with(&path(a)), conflict, "{b} {a}");
        }
    }

    #[test]
    fn ids_are_plain() {
        assert!(NodeId::new("node-2").is_ok());
        assert!(NodeName::new("a b").is_err() && NodeName::new("").is_err());
        assert!(NodeName::new(&"a".repeat(129)).is_err());
    }
}
