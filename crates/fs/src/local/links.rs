//! Following links without leaving the export.
//!
//! Links are read and walked here, component by component, with a stack of directories that were all reached
//! from the root: `..` goes back on the stack, an absolute target that lies inside starts again at the root, and
//! what would climb over the root is outside. The result is the real place of the target, without links, so that
//! it can be registered under the directory it really is in.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::Stat;
use rustix::io::Errno;
use spiderweb_protocol::EntryName;

use super::attr::{self, Kind};
use super::root::Root;
use super::{RESERVED_NAME, visible_name};
use crate::{FsError, Patience};

/// Links followed on one path before it counts as a loop; the system's own number.
const MOST_LINKS: u32 = 40;

/// A directory on the way, reached from the root by real entries.
pub(super) struct Step {
    pub(super) name: String,
    pub(super) stat: Stat,
    pub(super) file: OwnedFd,
}

/// Where a path ends once every link is followed.
pub(super) struct Target {
    /// The way from the root, the target last; empty when it is the root.
    pub(super) steps: Vec<Step>,
    pub(super) stat: Stat,
}

struct Walk<'r> {
    root: &'r Root,
    steps: Vec<Step>,
    pending: VecDeque<String>,
    links_left: u32,
}

/// Follows `name` in the directory at `parent` (a path without links) to where it really leads.
///
/// # Errors
///
/// [`FsError::AccessDenied`]: outside. [`FsError::NotFound`]: dangling. [`FsError::LinkLoop`].
pub(super) fn follow(root: &Root, parent: &str, name: &EntryName) -> Result<Target, FsError> {
    let pending = parent
        .split('/')
        .filter(|part| !part.is_empty())
        .chain([name.as_str()])
        .map(str::to_owned);
    let mut walk = Walk {
        root,
        steps: Vec::new(),
        pending: pending.collect(),
        links_left: MOST_LINKS,
    };
    while let Some(component) = walk.pending.pop_front() {
        walk.step(&component)?;
    }
    let stat = match walk.steps.last() {
        Some(step) => step.stat,
        None => rustix::fs::fstat(&*root.directory())?,
    };
    Ok(Target {
        steps: walk.steps,
        stat,
    })
}

impl Walk<'_> {
    fn path(&self) -> String {
        self.steps
            .iter()
            .map(|step| step.name.as_str())
            .collect::<Vec<_>>()
            .join("/")
    }

    fn step(&mut self, component: &str) -> Result<(), FsError> {
        match component {
            "" | "." => return Ok(()),
            ".." if self.steps.pop().is_some() => return Ok(()),
            ".." => return self.start_again(&self.root.path().join("..")),
            RESERVED_NAME => return Err(FsError::NotFound),
            _ => {}
        }
        if self
            .steps
            .last()
            .is_some_and(|step| attr::kind(&step.stat) != Kind::Directory)
        {
            return Err(FsError::NotADirectory);
        }
        let directory = self
            .root
            .open_at(&self.path(), super::root::LOOK, Patience::Blocking)?;
        let entry = self.root.open_entry(&directory, component)?;
        let stat = rustix::fs::fstat(&entry)?;
        if attr::kind(&stat) == Kind::Link {
            return self.link(&directory, component);
        }
        self.steps.push(Step {
            name: visible_name(component)?.to_owned(),
            stat,
            file: entry,
        });
        Ok(())
    }

    fn link(&mut self, directory: &OwnedFd, name: &str) -> Result<(), FsError> {
        self.links_left = self.links_left.checked_sub(1).ok_or(FsError::LinkLoop)?;
        let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
        // A target that is not UTF-8 leads to a name that is invisible anyway.
        let target = target.into_string().map_err(|_| FsError::NotFound)?;
        if target.starts_with('/') {
            return self.start_again(Path::new(&target));
        }
        let climbs = self.climbs_out(&target);
        if climbs {
            return self.start_again(&self.root.path().join(self.path()).join(&target));
        }
        self.push_front(Path::new(&target));
        Ok(())
    }

    /// Whether a relative target would pass over the root if no further link came in between.
    fn climbs_out(&self, target: &str) -> bool {
        let mut depth = self.steps.len();
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
        let inside: PathBuf = match path.strip_prefix(self.root.path()) {
            Ok(inside) if !inside.components().any(|part| part == Component::ParentDir) => inside.to_owned(),
            _ => {
                let real = path
                    .canonicalize()
                    .map_err(|error| match Errno::from_io_error(&error) {
                        Some(Errno::NOENT) => FsError::NotFound,
                        Some(Errno::LOOP) => FsError::LinkLoop,
                        _ => FsError::AccessDenied,
                    })?;
                real.strip_prefix(self.root.path())
                    .map_err(|_| FsError::AccessDenied)?
                    .to_owned()
            }
        };
        self.steps.clear();
        self.push_front(&inside);
        Ok(())
    }
}
