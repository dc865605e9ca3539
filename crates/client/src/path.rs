//! Paths of a node's files as people write them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use spiderweb_protocol::EntryName;

/// An absolute path: the names from the top to the file, maybe none.
///
/// `.` and `..` are taken away by their spelling alone, so `..` means the directory the path came through, also
/// behind a symbolic link. Repeated slashes do not matter. A slash at the end (or `/.`, or `/..`) says that a directory
/// is meant, and no file may be found or made there; it is no part of what the path names, so paths with and without it
/// are equal and are shown alike.
#[derive(Clone, Debug, Default)]
pub struct RemotePath {
    names: Vec<EntryName>,
    wants_directory: bool,
}

impl PartialEq for RemotePath {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
    }
}

impl Eq for RemotePath {}

impl PartialOrd for RemotePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RemotePath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.names.cmp(&other.names)
    }
}

impl Hash for RemotePath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.names.hash(state);
    }
}

/// A text that is no path.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid path {path:?}: {reason}")]
pub struct PathError {
    path: String,
    reason: &'static str,
}

impl PathError {
    /// What is wrong with it.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

impl RemotePath {
    /// The names from the top down.
    pub fn names(&self) -> &[EntryName] {
        &self.names
    }

    /// Whether it can only name a directory, by the way it was written.
    pub fn wants_directory(&self) -> bool {
        self.wants_directory
    }

    /// The last name; `None` at the top.
    pub fn name(&self) -> Option<&EntryName> {
        self.names.last()
    }

    /// The directory the file is in, and its name there; `None` at the top.
    pub fn split(&self) -> Option<(Self, &EntryName)> {
        let (name, parent) = self.names.split_last()?;
        Some((parent.iter().cloned().collect(), name))
    }

    /// The path of `name` below this one.
    #[must_use]
    pub fn join(&self, name: EntryName) -> Self {
        let mut names = self.names.clone();
        names.push(name);
        names.into_iter().collect()
    }

    /// Whether this is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.names.starts_with(&other.names)
    }
}

impl FromIterator<EntryName> for RemotePath {
    fn from_iter<I: IntoIterator<Item = EntryName>>(names: I) -> Self {
        Self {
            names: names.into_iter().collect(),
            wants_directory: false,
        }
    }
}

impl FromStr for RemotePath {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        let invalid = |reason| PathError {
            path: path.to_owned(),
            reason,
        };
        if !path.starts_with('/') {
            return Err(invalid("remote paths begin with `/`"));
        }
        let mut names = Vec::new();
        let last = path.rsplit('/').next();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    names.pop();
                }
                name => {
                    let name = EntryName::new(name);
                    names.push(name.map_err(|_| invalid("names cannot contain `\\` or NUL"))?);
                }
            }
        }
        Ok(Self {
            names,
            wants_directory: matches!(last, Some("" | "." | "..")),
        })
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.names.is_empty() {
            return f.write_str("/");
        }
        for name in &self.names {
            write!(f, "/{name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_tidied() {
        for (text, tidy) in [
            ("/", "/"),
            ("//", "/"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("//a///b/", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/with space/ü", "/with space/ü"),
        ] {
            let path: RemotePath = text.parse().unwrap();
            assert_eq!(path.to_string(), tidy, "{text}");
            assert_eq!(tidy.parse::<RemotePath>().unwrap(), path);
        }
    }

    #[test]
    fn a_slash_at_the_end_asks_for_a_directory_and_names_the_same() {
        for (text, wants) in [
            ("/a", false),
            ("/a/", true),
            ("/a//", true),
            ("/a/.", true),
            ("/a/b/..", true),
            ("/a/./b", false),
            ("/a/.b", false),
            ("/", true),
        ] {
            let path: RemotePath = text.parse().unwrap();
            assert_eq!(path.wants_directory(), wants, "{text}");
            let below = path.join(EntryName::new("x").unwrap());
            assert!(
                !below.wants_directory() && below.split().unwrap().0 == path,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_path_is_refused_with_a_reason() {
        for text in ["", "a", "a/b", "./a", "/a\\b", "/nul\0"] {
            let error = text.parse::<RemotePath>().unwrap_err().to_string();
            assert!(error.contains("invalid path"), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_path_knows_its_place() {
        let path: RemotePath = "/a/b".parse().unwrap();
        let (parent, name) = path.split().unwrap();
        assert_eq!((parent.to_string().as_str(), name.as_str()), ("/a", "b"));
        assert!(path.is_within(&parent) && path.is_within(&path) && !parent.is_within(&path));
        assert!(
            !"/ab"
                .parse::<RemotePath>()
                .unwrap()
                .is_within(&"/a".parse().unwrap())
        );
        assert_eq!(RemotePath::default().split(), None);
    }
}
