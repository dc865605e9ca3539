//! A folder of this machine as a source.
//!
//! ```text
//! LocalSource      from an id to an open object
//!  ├─ operations   what is done with it
//!  ├─ disk         what the system is asked, by system
//!  │  └─ root      the only door to the disk: opens paths below the root, never outside
//!  ├─ links        follows symbolic links under the same rules
//!  ├─ inodes       ids ⇄ objects ⇄ (directory, name)
//!  ├─ search       ids from before a restart
//!  ├─ pages        directory listings that go on where the last page ended
//!  ├─ file         open files
//!  └─ watch        changes made behind our back
//! ```
//!
//! Every operation goes the same way: the table says where the id's object was last, [`disk::Root`] opens that place,
//! and the object found there must be the one the id is bound to.

mod attr;
#[cfg(unix)]
mod cases;
mod disk;
mod file;
mod inodes;
#[cfg(unix)]
mod links;
mod operations;
mod pages;
#[cfg(unix)]
mod root;
mod search;
mod shared;
mod watch;
#[cfg(unix)]
mod xattr;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use spiderweb_protocol::fs::Attr;
use spiderweb_protocol::{EntryName, InodeId};

use self::attr::Kind;
use self::disk::{Handle, LOOK, Root, Stat, Want};
use self::file::LocalFile;
use self::inodes::{Index, MOST_OTHER_NAMES, Place};
use self::pages::Pages;
use self::search::Search;
use self::shared::Shared;
pub use self::watch::Watcher;
use crate::source::LONGEST_NAME;
use crate::{FsError, OpenFile, Opened, Patience};

/// A directory that no operation sees or makes, at any depth (section 7.1).
pub const RESERVED_NAME: &str = ".spiderweb-sandbox";

/// A folder of this machine.
pub struct LocalSource {
    shared: Arc<Shared>,
    pages: Pages,
    search: Search,
}

/// Why a folder cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct LocalSourceError {
    path: String,
    reason: FsError,
}

impl LocalSource {
    /// Opens the folder at `path`, which may be relative or a link, as the export at position `export`. The
    /// folder is found once; where a link leads later does not matter.
    pub fn open(path: &Path, export: usize) -> Result<Self, LocalSourceError> {
        Self::with(path, export, false)
    }

    /// The same without what only newer kernels have, for tests, simulations and comparison.
    pub fn open_plain(path: &Path, export: usize) -> Result<Self, LocalSourceError> {
        Self::with(path, export, true)
    }

    fn with(path: &Path, export: usize, plain: bool) -> Result<Self, LocalSourceError> {
        let error = |reason| LocalSourceError {
            path: path.display().to_string(),
            reason,
        };
        let shared = Root::open(path, plain)
            .and_then(|root| Shared::new(root, export))
            .map_err(error)?;
        Ok(Self {
            shared: Arc::new(shared),
            pages: Pages::default(),
            search: Search::default(),
        })
    }

    /// The canonical path of the folder.
    pub fn path(&self) -> &Path {
        self.shared.root.path()
    }

    /// Runs `operation` on the place of an object. Where the object is not, its other names are tried.
    fn at<T>(
        &self,
        index: Index,
        patience: Patience,
        mut operation: impl FnMut(&Place) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        let absent = |error: &FsError| matches!(error, FsError::NotFound | FsError::NotADirectory);
        let mut names_left = MOST_OTHER_NAMES;
        loop {
            let mut tried = None;
            let result = self.shared.at(index, patience, |place| {
                operation(place).inspect_err(|error| {
                    if absent(error) {
                        tried = Some(place.path.clone());
                    }
                })
            });
            if names_left == 0
                || !result.as_ref().is_err_and(absent)
                || !self.shared.inodes().try_another_name(index, tried.as_deref())
            {
                return result;
            }
            names_left -= 1;
        }
    }

    /// Opens the object behind an id to look at it.
    fn look(&self, id: InodeId, patience: Patience) -> Result<(Index, Place, Handle, Stat), FsError> {
        let index = self.index(id, patience)?;
        self.at(index, patience, |place| {
            let file = self.shared.root.open_at(&place.path, LOOK, patience)?;
            let stat = disk::stat(&file)?;
            self.shared.verify(index, place.object, &stat)?;
            Ok((index, place.clone(), file, stat))
        })
    }

    /// Opens the directory behind an id to do something with its entries.
    fn directory(&self, id: InodeId, patience: Patience) -> Result<Directory, FsError> {
        let (index, place, file, stat) = self.look(id, patience)?;
        match attr::kind(&stat) {
            Kind::Directory => {
                // Before anybody learns what is in it, or that something is not: clients remember both.
                self.shared.watch(index, &file);
                Ok(Directory {
                    index,
                    path: place.path,
                    file,
                    stat,
                })
            }
            _ => Err(FsError::NotADirectory),
        }
    }

    /// Opens the object behind an id for reading or writing. Regular files and directories only: opening a FIFO
    /// or a device can have effects.
    fn open_object(
        &self,
        id: InodeId,
        flags: Want,
        patience: Patience,
    ) -> Result<(Index, Handle, Stat), FsError> {
        let index = self.index(id, patience)?;
        self.at(index, patience, |place| {
            if matches!(place.kind, Kind::Special | Kind::Link) {
                return Err(FsError::NotAFile);
            }
            let file = self.shared.root.open_at(&place.path, flags, patience)?;
            let stat = disk::stat(&file)?;
            self.shared.verify(index, place.object, &stat)?;
            match attr::kind(&stat) {
                Kind::File | Kind::Directory => Ok((index, file, stat)),
                Kind::Special | Kind::Link => Err(FsError::NotAFile),
            }
        })
    }

    /// Notes what an entry leads to and answers with its attributes.
    fn entry_attr(&self, parent: &Directory, name: &EntryName, stat: &Stat) -> Result<Attr, FsError> {
        if attr::kind(stat) == Kind::Link {
            return self.target_attr(parent, name);
        }
        let index = self.register(parent.index, name.as_str(), stat)?;
        self.shared.attr(index, stat)
    }

    fn register(&self, parent: Index, name: &str, stat: &Stat) -> Result<Index, FsError> {
        let kind = (attr::kind(stat), attr::has_several_names(stat));
        self.shared
            .inodes()
            .register(attr::object(stat), parent, name, kind, attr::stamp(stat))
            .ok_or(FsError::NotFound)
    }

    /// The same for a link: the target is noted where it really is.
    fn target_attr(&self, parent: &Directory, name: &EntryName) -> Result<Attr, FsError> {
        let (index, stat) = disk::follow(self, parent, name)?;
        self.shared.attr(index, &stat)
    }

    /// Runs a change of a directory's entries.
    fn change_entries<T>(
        &self,
        directory: &Directory,
        change: impl FnOnce() -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        let local = self.shared.inodes().local(directory.index);
        self.shared.change(local, || {
            let value = change()?;
            Ok((value, attr::stamp(&disk::stat(&directory.file)?)))
        })
    }

    fn opened(&self, index: Index, file: Handle, stat: &Stat, writable: bool) -> Result<Opened, FsError> {
        let attr = self.shared.attr(index, stat)?;
        let file = LocalFile {
            file,
            kind: attr::kind(stat),
            writable,
            local: InodeId::LOCAL_MASK & attr.id,
            shared: self.shared.clone(),
            locked: AtomicBool::new(false),
        };
        Ok(Opened {
            file: Box::new(file) as Box<dyn OpenFile>,
            attr,
            truncated: false,
        })
    }

    fn forget(&self, parent: Index, name: &EntryName) {
        self.shared.inodes().unname(parent, name.as_str());
    }
}

/// A directory that was opened to change or look at its entries.
struct Directory {
    index: Index,
    #[cfg_attr(windows, expect(dead_code, reason = "only links are followed from it"))]
    path: String,
    file: Handle,
    stat: Stat,
}

fn visible_name(name: &str) -> Result<&str, FsError> {
    if name == RESERVED_NAME || !EntryName::is_valid(name.as_bytes()) || !disk::is_literal(name) {
        Err(FsError::NotFound)
    } else {
        Ok(name)
    }
}
