//! Windows: handles, and the paths they were opened by.
//!
//! There is no call that opens a name below a handle, so a path is used after all; what makes it safe is that every
//! directory on it is held open, and not shared for deleting: while a [`Handle`] lives, none of them can be moved,
//! removed, or replaced by a link. Each was opened without following links and found to be a directory. Paths begin
//! with `\\?\`, so that nothing in them is interpreted, and may be long; names that Windows would change without that
//! are refused all the same, because other programs could not use them.
//!
//! Files are shared for everything, so that other programs may rename and remove what a client has open.
//!
//! Links of any kind (symbolic links, junctions, mount points) are neither followed nor made: they are not listed, and
//! who names one is refused. What else the system resolves on its own (files in the cloud, for example) is seen and
//! cannot be opened.

mod errors;
mod locks;
mod names;
pub(in crate::local) mod raw;
pub(in crate::local) mod xattr;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use spiderweb_protocol::EntryName;
use spiderweb_protocol::fs::{LockKind, Statfs};
use spiderweb_protocol::limits::MAX_WIRE_INTEGER;

use self::locks::Held;
use self::names::is_short_name;
pub(in crate::local) use self::names::{folded, is_literal, is_too_long};
pub(in crate::local) use self::raw::Stat;
use super::Listed;
use crate::local::attr::Kind;
use crate::local::inodes::Index;
use crate::local::{Directory, LONGEST_NAME, LocalSource};
use crate::{FsError, Patience};

pub(in crate::local) const LINKS: bool = false;
pub(in crate::local) const ATTRIBUTES: bool = false;

const FILE_LIST_DIRECTORY: u32 = 0x1;
const FILE_READ_ATTRIBUTES: u32 = 0x80;
const FILE_SHARE_READ_WRITE: u32 = 0x3;
const FILE_SHARE_ALL: u32 = 0x7;
const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
const ERROR_SHARING_VIOLATION: i32 = 32;

/// Another request may hold a directory for the moment it takes; how often and how long that is waited for.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// What something is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::local) enum Want {
    Look,
    LookDirectory,
    Read,
    Write,
    ReadWrite,
}

pub(in crate::local) const LOOK: Want = Want::Look;
pub(in crate::local) const LOOK_DIRECTORY: Want = Want::LookDirectory;
pub(in crate::local) const READ: Want = Want::Read;
pub(in crate::local) const WRITE: Want = Want::Write;
pub(in crate::local) const READ_WRITE: Want = Want::ReadWrite;

/// An open file or directory, and the directories above it.
#[derive(Debug)]
pub(in crate::local) struct Handle {
    file: File,
    path: PathBuf,
    /// Held so that the path stays what it was.
    _above: Option<Arc<Handle>>,
    held: Held,
}

/// There are no numbers for users.
pub(in crate::local) const fn owner() -> (u32, u32) {
    (0, 0)
}

/// The folder that is exported.
pub(in crate::local) struct Root {
    /// Held for ever: the folder cannot be moved or removed while it is exported.
    directory: Arc<Handle>,
}

impl Root {
    pub(in crate::local) fn open(path: &Path, _plain: bool) -> Result<Self, FsError> {
        let path = path.canonicalize()?;
        let file = open_directory(&path)?;
        let directory = Handle {
            file,
            path,
            _above: None,
            held: Held::default(),
        };
        if raw::kind(&stat(&directory)?) != Kind::Directory {
            return Err(FsError::NotADirectory);
        }
        // Whoever cannot list it is told at start.
        drop(fs::read_dir(&directory.path)?);
        Ok(Self {
            directory: Arc::new(directory),
        })
    }

    /// Where the root is, for messages and for the watcher.
    pub(in crate::local) fn path(&self) -> &Path {
        &self.directory.path
    }

    /// Directories that tell cases apart are possible, and rare.
    #[expect(clippy::unused_self, reason = "it depends on the folder on other systems")]
    pub(in crate::local) const fn is_case_sensitive(&self) -> bool {
        false
    }

    /// Nothing is answered from memory: the system does not say what it would have to wait for.
    pub(in crate::local) const fn answers_at_once(&self) -> bool {
        false
    }

    /// There are no attributes.
    #[expect(clippy::unused_self, reason = "it depends on the system elsewhere")]
    pub(in crate::local) const fn looking_reaches_attributes(&self) -> bool {
        false
    }

    pub(in crate::local) fn directory(&self) -> Arc<Handle> {
        self.directory.clone()
    }

    /// Opens `path` below the root. No component may be a link; the last one may when it is only looked at.
    pub(in crate::local) fn open_at(
        &self,
        path: &str,
        want: Want,
        patience: Patience,
    ) -> Result<Handle, FsError> {
        if patience == Patience::Immediate {
            return Err(FsError::NotNow);
        }
        let mut at = self.directory();
        let (above, last) = path.rsplit_once('/').unwrap_or(("", path));
        for component in above.split('/').filter(|component| !component.is_empty()) {
            at = Arc::new(open_in(&at, component, Want::LookDirectory)?);
        }
        if last.is_empty() {
            return Ok(Handle {
                file: self.directory.file.try_clone()?,
                path: self.directory.path.clone(),
                _above: Some(at),
                held: Held::default(),
            });
        }
        open_in(&at, last, want)
    }

    /// Looks at one entry of a directory; not without waiting.
    pub(in crate::local) fn peek_entry(&self, _directory: &Handle, _name: &str) -> Result<Handle, FsError> {
        Err(FsError::NotNow)
    }

    /// The folder is always there.
    #[expect(clippy::unnecessary_wraps, reason = "it may fail on other systems")]
    pub(in crate::local) const fn reopen(&self) -> Result<Option<Stat>, FsError> {
        Ok(None)
    }
}

/// Opens an entry of a directory that is held.
fn open_in(directory: &Arc<Handle>, name: &str, want: Want) -> Result<Handle, FsError> {
    if !is_literal(name) {
        return Err(FsError::NotFound);
    }
    let path = directory.path.join(name);
    if is_short_name(&path, name) {
        return Err(FsError::NotFound);
    }
    let handle = |file, path| Handle {
        file,
        path,
        _above: Some(directory.clone()),
        held: Held::default(),
    };
    let looked = handle(look_at(&path)?, path.clone());
    let kind = raw::kind(&stat(&looked)?);
    match (want, kind) {
        (Want::Look, Kind::File | Kind::Link | Kind::Special) => Ok(looked),
        // What was known as a directory has become a link.
        (_, Kind::Link) => Err(FsError::NotFound),
        (Want::LookDirectory, Kind::File | Kind::Special) => Err(FsError::NotADirectory),
        (Want::Read | Want::Write | Want::ReadWrite, Kind::Special) => Err(FsError::NotAFile),
        (Want::Write | Want::ReadWrite, Kind::Directory) => Err(FsError::IsADirectory),
        // A client may keep it open; that is no reason to keep it where it is.
        (Want::Read, Kind::Directory) => Ok(Handle {
            _above: None,
            ..looked
        }),
        (_, Kind::Directory) => {
            let opened = handle(open_directory(&path)?, path);
            // It may be another one by now.
            match raw::kind(&stat(&opened)?) {
                Kind::Directory => Ok(opened),
                _ => Err(FsError::NotFound),
            }
        }
        (_, Kind::File) => {
            let mut options = OpenOptions::new();
            options.read(want != Want::Write).write(want != Want::Read);
            let options = options.share_mode(FILE_SHARE_ALL);
            let file = options.custom_flags(FILE_FLAG_OPEN_REPARSE_POINT).open(&path)?;
            let opened = Handle {
                file,
                path,
                // An open file keeps nobody from moving what is above it.
                _above: None,
                held: Held::default(),
            };
            match raw::kind(&stat(&opened)?) {
                Kind::File => Ok(opened),
                _ => Err(FsError::NotFound),
            }
        }
    }
}

/// Opens whatever is there to look at it, in nobody's way.
fn look_at(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .access_mode(FILE_READ_ATTRIBUTES)
        .share_mode(FILE_SHARE_ALL)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS)
        .open(path)
}

/// Opens a directory so that it stays where it is.
fn open_directory(path: &Path) -> io::Result<File> {
    patiently(|| {
        OpenOptions::new()
            .access_mode(FILE_LIST_DIRECTORY | FILE_READ_ATTRIBUTES)
            .share_mode(FILE_SHARE_READ_WRITE)
            .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS)
            .open(path)
    })
}

/// Tries again while somebody holds what is needed, which another request does for a moment only.
fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(error) if error.raw_os_error() == Some(ERROR_SHARING_VIOLATION) => thread::sleep(PAUSE),
            result => return result,
        }
    }
    attempt()
}

pub(in crate::local) fn stat(file: &Handle) -> Result<Stat, FsError> {
    Stat::of(&file.file)
}

/// The state of an entry itself.
pub(in crate::local) fn stat_entry(directory: &Handle, name: &str) -> Result<Stat, FsError> {
    Stat::of(&look_at(&entry(directory, name)?)?)
}

/// The path of an entry of a directory that is held.
fn entry(directory: &Handle, name: &str) -> Result<PathBuf, FsError> {
    let path = directory.path.join(name);
    if is_literal(name) && !is_short_name(&path, name) {
        Ok(path)
    } else {
        Err(FsError::NotFound)
    }
}

pub(in crate::local) fn statfs(file: &Handle) -> Result<Statfs, FsError> {
    let folder = match raw::kind(&stat(file)?) {
        Kind::Directory => Some(file.path.as_path()),
        _ => file.path.parent(),
    };
    let stats = fs4::statvfs(folder.ok_or(FsError::NotFound)?)?;
    let unit = stats.allocation_granularity().max(1);
    let cap = |number: u64| number.min(MAX_WIRE_INTEGER);
    Ok(Statfs {
        bsize: cap(unit),
        frsize: cap(unit),
        blocks: cap(stats.total_space() / unit),
        bfree: cap(stats.free_space() / unit),
        bavail: cap(stats.available_space() / unit),
        // There is no limit for their number.
        files: 0,
        ffree: 0,
        favail: 0,
        namemax: LONGEST_NAME as u64,
    })
}

/// A link leads nowhere that a client may go.
pub(in crate::local) fn follow(
    _source: &LocalSource,
    _parent: &Directory,
    _name: &EntryName,
) -> Result<(Index, Stat), FsError> {
    Err(FsError::AccessDenied)
}

/// Makes a file that does not exist and opens it for writing, and for reading if need be. A mode without any right to
/// write has no meaning here until the file is closed, so it has none.
pub(in crate::local) fn create(
    directory: &Handle,
    name: &str,
    _mode: u32,
    reads: bool,
) -> Result<Handle, FsError> {
    let path = entry(directory, name)?;
    let mut options = OpenOptions::new();
    options.read(reads).write(true).create_new(true);
    let file = options
        .share_mode(FILE_SHARE_ALL)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
        .open(&path)?;
    Ok(Handle {
        file,
        path,
        _above: None,
        held: Held::default(),
    })
}

pub(in crate::local) fn set_length(file: &Handle, length: u64) -> Result<(), FsError> {
    Ok(file.file.set_len(length)?)
}

pub(in crate::local) fn remove_file(directory: &Handle, name: &str) -> Result<(), FsError> {
    let path = entry(directory, name)?;
    match raw::kind(&Stat::of(&look_at(&path)?)?) {
        Kind::Directory => Err(FsError::IsADirectory),
        // Nobody sees it, so nobody means it.
        Kind::Link => Err(FsError::AccessDenied),
        Kind::File | Kind::Special => Ok(patiently(|| fs::remove_file(&path))?),
    }
}

pub(in crate::local) fn make_directory(directory: &Handle, name: &str) -> Result<(), FsError> {
    Ok(fs::create_dir(entry(directory, name)?)?)
}

pub(in crate::local) fn remove_directory(directory: &Handle, name: &str) -> Result<(), FsError> {
    let path = entry(directory, name)?;
    match raw::kind(&Stat::of(&look_at(&path)?)?) {
        Kind::Directory => Ok(patiently(|| fs::remove_dir(&path))?),
        Kind::Link => Err(FsError::AccessDenied),
        Kind::File | Kind::Special => Err(FsError::NotADirectory),
    }
}

/// Renames over what is there, as POSIX does: a file over a file, a directory over an empty one.
pub(in crate::local) fn rename(from: &Handle, old: &str, to: &Handle, new: &str) -> Result<(), FsError> {
    let (old, new) = (entry(from, old)?, entry(to, new)?);
    let moved = Stat::of(&look_at(&old)?)?;
    if raw::kind(&moved) == Kind::Link {
        return Err(FsError::AccessDenied);
    }
    let replaced = match look_at(&new) {
        Ok(file) => Some(Stat::of(&file)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    // The system says so as well, but not before what is replaced is gone.
    if is_below(&new, &old) {
        return Err(FsError::InvalidArgument);
    }
    // Another case of the same name is the object itself.
    let replaced = replaced.filter(|stat| stat.object() != moved.object());
    match replaced.map(|stat| (raw::kind(&moved), raw::kind(&stat))) {
        Some((_, Kind::Link)) => return Err(FsError::AccessDenied),
        Some((Kind::Directory, Kind::Directory)) => {
            // The system replaces no directory. For a moment there is none of that name.
            patiently(|| fs::remove_dir(&new)).map_err(|error| match error.into() {
                FsError::NotEmpty => FsError::Exists,
                other => other,
            })?;
        }
        Some((Kind::Directory, _)) => return Err(FsError::NotADirectory),
        Some((_, Kind::Directory)) => return Err(FsError::IsADirectory),
        _ => {}
    }
    Ok(patiently(|| fs::rename(&old, &new))?)
}

/// Whether a path leads through another.
fn is_below(path: &Path, other: &Path) -> bool {
    let form = |path: &Path| PathBuf::from(folded(&path.to_string_lossy()));
    let (path, other) = (form(path), form(other));
    path != other && path.starts_with(other)
}

/// Links are not followed, so none are made.
pub(in crate::local) fn make_link(_target: &str, _directory: &Handle, _name: &str) -> Result<(), FsError> {
    Err(FsError::Unsupported)
}

pub(in crate::local) fn read_cached(_file: &Handle, _offset: u64, _len: usize) -> Result<Vec<u8>, FsError> {
    Err(FsError::NotNow)
}

/// Reads once, into the room there is. Zero is the end of the file.
pub(in crate::local) fn read_at(file: &Handle, data: &mut Vec<u8>, offset: u64) -> Result<usize, FsError> {
    let filled = data.len();
    data.resize(data.capacity(), 0);
    let read = file
        .file
        .seek_read(data.get_mut(filled..).unwrap_or_default(), offset);
    data.truncate(filled + read.as_ref().map_or(0, |count| *count));
    Ok(read?)
}

/// Writes once.
pub(in crate::local) fn write_at(file: &Handle, data: &[u8], offset: u64) -> Result<usize, FsError> {
    Ok(file.file.seek_write(data, offset)?)
}

pub(in crate::local) fn lock(file: &Handle, kind: LockKind) -> Result<(), FsError> {
    let stat = stat(file)?;
    file.held.change(stat.object(), kind)
}

/// A directory that is being read.
pub(in crate::local) struct Entries(fs::ReadDir);

impl Entries {
    pub(in crate::local) fn open(directory: &Handle) -> Result<Self, FsError> {
        Ok(Self(fs::read_dir(&directory.path)?))
    }

    /// Names that mean something else to other programs stay out.
    pub(in crate::local) fn next(&mut self) -> Option<Result<Listed, FsError>> {
        let entry = match self.0.next()? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error.into())),
        };
        let name = entry.file_name();
        let name = name.to_str().and_then(|name| EntryName::new(name).ok());
        Some(Ok(Listed {
            name: name.filter(EntryName::is_literal_on_windows),
            kind: entry.file_type().ok().and_then(|kind| {
                if kind.is_symlink() {
                    Some(Kind::Link)
                } else if kind.is_dir() {
                    Some(Kind::Directory)
                } else {
                    // A file, or what the system resolves on its own.
                    None
                }
            }),
        }))
    }
}
