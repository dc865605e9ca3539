//! Following links without leaving the export.
//!
//! Links are read and walked here, component by component, from the directory they are in: `..` goes to the
//! directory above as the table of inodes knows it, an absolute target that lies inside starts again at the root,
//! and what would climb over the root is outside. Every real entry on the way is noted where it really is; only
//! the place where the walk stands is kept open, however deep it is.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::Stat;
use rustix::io::Errno;
use spiderweb_protocol::EntryName;

use super::attr::{self, Kind};
use super::disk::{LOOK, Root};
use super::inodes::Index;
use super::{Directory, LocalSource, RESERVED_NAME, visible_name};
use crate::{FsError, Patience};

/// Links followed on one path before it counts as a loop; the system's own number.
const MOST_LINKS: u32 = 40;

/// Where a walk stands: an object reached from the root by real entries.
struct Place {
    index: Index,
    path: String,
    file: OwnedFd,
    stat: Stat,
}

struct Walk<'s> {
    source: &'s LocalSource,
    at: Place,
    pending: VecDeque<String>,
    links_left: u32,
}

/// Follows `name` in `parent` to where it really leads: an object that is noted now, and its state.
///
/// # Errors
///
/// [`FsError::AccessDenied`]: outside. [`FsError::NotFound`]: dangling. [`FsError::LinkLoop`].
pub(super) fn follow(
    source: &LocalSource,
    parent: &Directory,
    name: &EntryName,
) -> Result<(Index, Stat), FsError> {
    let at = Place {
        index: parent.index,
        path: parent.path.clone(),
        file: rustix::io::fcntl_dupfd_cloexec(&parent.file, 0)?,
        stat: parent.stat,
    };
    let mut walk = Walk {
        source,
        at,
        pending: VecDeque::from([name.as_str().to_owned()]),
        links_left: MOST_LINKS,
    };
    while let Some(component) = walk.pending.pop_front() {
        walk.step(&component)?;
    }
    Ok((walk.at.index, walk.at.stat))
}

impl Walk<'_> {
    fn root(&self) -> &Root {
        &self.source.shared.root
    }

    fn step(&mut self, component: &str) -> Result<(), FsError> {
        if attr::kind(&self.at.stat) != Kind::Directory {
            return Err(FsError::NotADirectory);
        }
        match component {
            "" | "." => return Ok(()),
            ".." if self.at.index == Index::ROOT => return self.start_again(&self.root().path().join("..")),
            ".." => {
                let above = self.source.shared.inodes().parent(self.at.index);
                return self.enter(above);
            }
            RESERVED_NAME => return Err(FsError::NotFound),
            _ => {}
        }
        self.source.shared.watch(self.at.index, &self.at.file);
        let entry = self.root().open_entry(&self.at.file, component)?;
        let stat = rustix::fs::fstat(&entry)?;
        if attr::kind(&stat) == Kind::Link {
            return self.link(&entry, component);
        }
        let name = visible_name(component)?;
        self.at.index = self.source.register(self.at.index, name, &stat)?;
        if !self.at.path.is_empty() {
            self.at.path.push('/');
        }
        self.at.path.push_str(name);
        (self.at.file, self.at.stat) = (entry, stat);
        Ok(())
    }

    /// Goes to a directory that is known.
    fn enter(&mut self, index: Index) -> Result<(), FsError> {
        let shared = &self.source.shared;
        self.at = shared.at(index, Patience::Blocking, |place| {
            let file = shared.root.open_at(&place.path, LOOK, Patience::Blocking)?;
            let stat = rustix::fs::fstat(&file)?;
            shared.verify(index, place.object, &stat)?;
            let path = place.path.clone();
            Ok(Place {
                index,
                path,
                file,
                stat,
            })
        })?;
        Ok(())
    }

    fn link(&mut self, entry: &OwnedFd, name: &str) -> Result<(), FsError> {
        self.links_left = self.links_left.checked_sub(1).ok_or(FsError::LinkLoop)?;
        // Linux reads what was opened, whatever its name means by now.
        let (from, name) = if cfg!(any(target_os = "linux", target_os = "android")) {
            (entry, "")
        } else {
            (&self.at.file, name)
        };
        let target = rustix::fs::readlinkat(from, name, Vec::new())?;
        // A target that is not UTF-8 leads to a name that is invisible anyway.
        let target = target.into_string().map_err(|_| FsError::NotFound)?;
        if target.starts_with('/') {
            return self.start_again(Path::new(&target));
        }
        if self.climbs_out(&target) {
            return self.start_again(&self.root().path().join(&self.at.path).join(&target));
        }
        self.push_front(Path::new(&target));
        Ok(())
    }

    /// Whether a relative target would pass over the root if no further link came in between.
    fn climbs_out(&self, target: &str) -> bool {
        let mut depth = self.at.path.split('/').filter(|part| !part.is_empty()).count();
        for component in Path::new(target).components() {
            match component {
                Component::ParentDir => match depth.checked_sub(1) {
                    Some(above) => depth = above,
                    None => return true,
                },
                Component::Normal(_) => depth += 1,
                _ => {}
            }
        }
        false
    }

    fn push_front(&mut self, path: &Path) {
        for component in path.components().rev() {
            match component {
                Component::ParentDir => self.pending.push_front("..".to_owned()),
                Component::Normal(name) => self.pending.push_front(name.to_string_lossy().into_owned()),
                _ => {}
            }
        }
    }

    /// A path that is absolute, or climbs over the root. It may still mean something inside: then the walk
    /// starts again at the root and checks every component as usual.
    fn start_again(&mut self, path: &Path) -> Result<(), FsError> {
        self.links_left = self.links_left.checked_sub(1).ok_or(FsError::LinkLoop)?;
        let inside: PathBuf = match path.strip_prefix(self.root().path()) {
            Ok(inside) if !inside.components().any(|part| part == Component::ParentDir) => inside.to_owned(),
            _ => {
                let real = path
                    .canonicalize()
                    .map_err(|error| match Errno::from_io_error(&error) {
                        Some(Errno::NOENT) => FsError::NotFound,
                        Some(Errno::LOOP) => FsError::LinkLoop,
                        _ => FsError::AccessDenied,
                    })?;
                real.strip_prefix(self.root().path())
                    .map_err(|_| FsError::AccessDenied)?
                    .to_owned()
            }
        };
        self.push_front(&inside);
        self.enter(Index::ROOT)
    }
}
