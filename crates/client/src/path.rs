//! Paths of a node's files as people write them.

use std::fmt;
use std::str::FromStr;

use spiderweb_protocol::EntryName;

/// An absolute path: the names from the top to the file, maybe none.
///
/// `.` and `..` are taken away by their spelling alone, so `..` means the directory the path came through, also
/// behind a symbolic link. Repeated and trailing slashes do not matter.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct RemotePath(Vec<EntryName>);

/// A text that is no path.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid path {path:?}: {reason}")]
pub struct PathError {
    path: String,
    reason: &'static str,
}

impl RemotePath {
    /// The names from the top down.
    pub fn names(&self) -> &[EntryName] {
        &self.0
    }

    /// The last name; `None` at the top.
    pub fn name(&self) -> Option<&EntryName> {
        self.0.last()
    }

    /// The directory the file is in, and its name there; `None` at the top.
    pub fn split(&self) -> Option<(Self, &EntryName)> {
        let (name, parent) = self.0.split_last()?;
        Some((Self(parent.to_vec()), name))
    }

    /// The path of `name` below this one.
    #[must_use]
    pub fn join(&self, name: EntryName) -> Self {
        let mut names = self.0.clone();
        names.push(name);
        Self(names)
    }

    /// Whether this is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl FromIterator<EntryName> for RemotePath {
    fn from_iter<I: IntoIterator<Item = EntryName>>(names: I) -> Self {
        Self(names.into_iter().collect())
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
        Ok(Self(names))
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        for name in &self.0 {
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
