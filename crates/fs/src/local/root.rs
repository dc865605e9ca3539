//! Confinement: the only door to the disk.
//!
//! Every path is opened relative to the export's root directory handle, and the system itself refuses to leave
//! it: on Linux by `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`, elsewhere and on old kernels by opening one
//! component after the other without following links. Links are followed only by [`links`](super::links), which
//! reads them and walks their targets under the same rules. A root that was removed is looked for from the top of the
//! file system in the same way. No path is ever compared as text to decide whether
//! it is inside.

use std::ffi::OsStr;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::AsRawFd as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::{Access, AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{attr, cases};
use crate::{FsError, Patience};

/// Opens the object itself, for looking at it, without reading or writing it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) const LOOK: OFlags = OFlags::PATH;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) const LOOK: OFlags = OFlags::RDONLY;

/// Opens a link itself, not what it leads to. Where descriptors are not for looking alone, the usual flag refuses links; Apple
/// has another one.
#[cfg(target_vendor = "apple")]
const UNFOLLOWED: OFlags = OFlags::SYMLINK;
#[cfg(not(target_vendor = "apple"))]
const UNFOLLOWED: OFlags = OFlags::NOFOLLOW;

/// Flags as every open needs them: never hand the descriptor on, never follow the last component, never wait for
/// a FIFO's other end, never become the terminal's owner.
const fn careful(flags: OFlags) -> OFlags {
    let flags = flags.union(OFlags::CLOEXEC).union(UNFOLLOWED);
    if cfg!(any(target_os = "linux", target_os = "android")) && flags.contains(LOOK) {
        // Looking waits for nothing, and `openat2` refuses flags that mean nothing.
        return flags;
    }
    flags.union(OFlags::NONBLOCK).union(OFlags::NOCTTY)
}

/// Paths longer than this are opened in pieces; the system's own limit is 4096 bytes.
const LONGEST_PATH: usize = 3500;

/// What the kernel offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// `openat2` works.
    beneath: bool,
    /// `RESOLVE_CACHED` works, and the file system answers from memory what it has there.
    cached: bool,
    /// What a descriptor stands for has a name in `/proc`, even if the descriptor only looks.
    named: bool,
}

pub(super) struct Root {
    directory: RwLock<Arc<OwnedFd>>,
    /// Canonical path, to find the directory again when it was made anew.
    path: PathBuf,
    abilities: Abilities,
    case_sensitive: bool,
}

impl Root {
    /// Opens a directory as a root. `plain` does without what only newer kernels have.
    pub(super) fn open(path: &Path, plain: bool) -> Result<Self, FsError> {
        let path = path.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => FsError::NotFound,
            std::io::ErrorKind::PermissionDenied => FsError::AccessDenied,
            _ => FsError::Io(error),
        })?;
        let directory = rustix::fs::open(&path, careful(LOOK | OFlags::DIRECTORY), Mode::empty())?;
        check_rights(&directory, &path)?;
        let abilities = if plain {
            Abilities {
                beneath: false,
                cached: false,
                named: false,
            }
        } else {
            probe(&directory)
        };
        let case_sensitive = cases::are_told_apart(&path);
        Ok(Self {
            directory: RwLock::new(Arc::new(directory)),
            path,
            abilities,
            case_sensitive,
        })
    }

    /// Where the root is, for messages and for the watcher.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether names that differ in case mean different entries, as far as could be seen when it was opened.
    pub(super) const fn is_case_sensitive(&self) -> bool {
        self.case_sensitive
    }

    /// Whether anything can be answered from memory at all.
    pub(super) fn answers_at_once(&self) -> bool {
        self.abilities.cached
    }

    /// Whether a descriptor that only looks is enough to use an object's attributes.
    pub(super) fn looking_reaches_attributes(&self) -> bool {
        self.abilities.named
    }

    pub(super) fn directory(&self) -> Arc<OwnedFd> {
        self.directory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Opens `path` below the root. No component may be a link; the last one may when `flags` look only.
    ///
    /// # Errors
    ///
    /// [`FsError::NotFound`] also where a component has become a link: the path was a known object's, which is
    /// not there any more.
    pub(super) fn open_at(&self, path: &str, flags: OFlags, patience: Patience) -> Result<OwnedFd, FsError> {
        let mut at = self.directory();
        let mut rest = path;
        while rest.len() > LONGEST_PATH {
            let cut = rest.get(..LONGEST_PATH).map_or_else(|| floor(rest), str::len);
            let Some(slash) = rest.get(..cut).and_then(|head| head.rfind('/')) else {
                break;
            };
            let (head, tail) = rest.split_at(slash);
            at = Arc::new(self.open_piece(at.as_fd(), head, LOOK | OFlags::DIRECTORY, patience)?);
            rest = tail.trim_start_matches('/');
        }
        self.open_piece(at.as_fd(), rest, flags, patience)
    }

    fn open_piece(
        &self,
        at: impl AsFd,
        path: &str,
        flags: OFlags,
        patience: Patience,
    ) -> Result<OwnedFd, FsError> {
        let flags = careful(flags);
        if patience == Patience::Immediate && !self.abilities.cached {
            return Err(FsError::NotNow);
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if self.abilities.beneath {
            return open_beneath(at, Path::new(path), flags, patience);
        }
        open_by_components(at, Path::new(path), flags)
    }

    /// Opens one entry of a directory that was opened through this root. The entry is not followed.
    pub(super) fn open_entry(&self, directory: impl AsFd, name: &str) -> Result<OwnedFd, FsError> {
        self.open_piece(directory, name, LOOK, Patience::Blocking)
    }

    /// The same from memory or not at all.
    pub(super) fn peek_entry(&self, directory: impl AsFd, name: &str) -> Result<OwnedFd, FsError> {
        self.open_piece(directory, name, LOOK, Patience::Immediate)
    }

    /// Opens the export's path again when the directory behind the handle was removed. Returns the new
    /// directory's state, or `None` when nothing changed.
    ///
    /// The path had no links when it was found. One that is there now was made since, perhaps by a client of
    /// another export that holds this folder, and leads nowhere.
    pub(super) fn reopen(&self) -> Result<Option<Stat>, FsError> {
        if !attr::is_gone(&rustix::fs::fstat(&*self.directory())?) {
            return Ok(None);
        }
        let directory = self.open_canonical().map_err(|error| match error {
            // Something else took its place or that of a folder above.
            FsError::NotADirectory => FsError::NotFound,
            other => other,
        })?;
        let stat = rustix::fs::fstat(&directory)?;
        *self.directory.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(directory);
        Ok(Some(stat))
    }

    /// Opens the export's path from the top of the file system, and follows no link on the way.
    fn open_canonical(&self) -> Result<OwnedFd, FsError> {
        let flags = careful(LOOK | OFlags::DIRECTORY);
        let top = rustix::fs::open("/", flags, Mode::empty())?;
        let path = self.path.strip_prefix("/").unwrap_or(&self.path);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if self.abilities.beneath {
            return open_beneath(top, path, flags, Patience::Blocking);
        }
        open_by_components(top, path, flags)
    }
}

/// A folder that this user can neither list nor enter is a mistake better told at start.
fn check_rights(directory: &OwnedFd, path: &Path) -> Result<(), FsError> {
    let may = |access| rustix::fs::accessat(directory, ".", access, AtFlags::EACCESS).is_ok();
    match (may(Access::READ_OK), may(Access::EXEC_OK)) {
        (true, true) => {}
        (false, false) => return Err(FsError::AccessDenied),
        (false, true) => tracing::warn!(
            "{} cannot be listed by this user; only known names work",
            path.display()
        ),
        (true, false) => tracing::warn!(
            "{} cannot be entered by this user; it will look empty",
            path.display()
        ),
    }
    Ok(())
}

/// The largest character boundary at or below [`LONGEST_PATH`].
fn floor(text: &str) -> usize {
    (0..=LONGEST_PATH)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// The state of an entry itself.
pub(super) fn stat_entry(directory: impl AsFd, name: &str) -> Result<Stat, FsError> {
    Ok(rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn open_beneath(at: impl AsFd, path: &Path, flags: OFlags, patience: Patience) -> Result<OwnedFd, FsError> {
    use rustix::fs::ResolveFlags;

    /// How often a walk that collided with a rename is tried again before giving up.
    const RETRIES: usize = 16;

    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    if patience == Patience::Immediate {
        // What is mounted below may be slow in its own way.
        resolve |= ResolveFlags::CACHED | ResolveFlags::NO_XDEV;
    }
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    for _ in 0..RETRIES {
        match rustix::fs::openat2(&at, path, flags, Mode::empty(), resolve) {
            Ok(file) => return Ok(file),
            Err(Errno::AGAIN | Errno::XDEV) if patience == Patience::Immediate => {
                return Err(FsError::NotNow);
            }
            // A rename somewhere in the system ran at the same time; the kernel could not tell whether it mattered.
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::LOOP) => return Err(FsError::NotFound),
            Err(Errno::XDEV) => return Err(FsError::AccessDenied),
            Err(other) => return Err(other.into()),
        }
    }
    Err(FsError::Busy)
}

/// The same with plain `openat`: each component is opened as a directory and never followed, so the walk is
/// always at a directory that was reached from the root by real entries.
fn open_by_components(at: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, FsError> {
    let mut current: Option<OwnedFd> = None;
    for component in path.parent().into_iter().flat_map(Path::components) {
        let step = careful(LOOK | OFlags::DIRECTORY);
        let next = match &current {
            Some(directory) => rustix::fs::openat(directory, component.as_os_str(), step, Mode::empty()),
            None => rustix::fs::openat(&at, component.as_os_str(), step, Mode::empty()),
        };
        current = Some(next.map_err(|errno| match errno {
            Errno::LOOP => FsError::NotFound,
            other => other.into(),
        })?);
    }
    let last = path.file_name().unwrap_or_else(|| OsStr::new("."));
    let opened = match &current {
        Some(directory) => rustix::fs::openat(directory, last, flags, Mode::empty()),
        None => rustix::fs::openat(&at, last, flags, Mode::empty()),
    };
    opened.map_err(|errno| {
        if errno == Errno::LOOP {
            FsError::NotFound
        } else {
            errno.into()
        }
    })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn probe(directory: &OwnedFd) -> Abilities {
    use rustix::fs::ResolveFlags;

    let works = |resolve| rustix::fs::openat2(directory, ".", careful(LOOK), Mode::empty(), resolve).is_ok();
    let beneath = works(ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS);
    let cached =
        beneath && works(ResolveFlags::BENEATH | ResolveFlags::CACHED) && answers_from_memory(directory);
    Abilities {
        beneath,
        cached,
        named: rustix::fs::stat(magic(directory)).is_ok(),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn probe(_directory: &OwnedFd) -> Abilities {
    Abilities {
        beneath: false,
        cached: false,
        named: false,
    }
}

/// The path that leads to the very object behind a descriptor, whatever it is called and wherever it is by now. It is the
/// process's own, so nobody else can put something in its place. Without `/proc` it leads nowhere.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn magic(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// Whether attributes of a cached object on this file system come without asking a disk or another machine.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn answers_from_memory(directory: &OwnedFd) -> bool {
    /// ext2 to ext4, XFS, Btrfs, tmpfs, ramfs, F2FS, overlayfs, bcachefs, ZFS, EROFS, squashfs.
    const LOCAL: [i64; 11] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0x0102_1994,
        0x8584_58f6,
        0xf2f5_2010,
        0x794c_7630,
        0xca45_1a4e,
        0x2fc1_2fc1,
        0xe0f5_e1e2,
        0x7371_7368,
    ];
    rustix::fs::fstatfs(directory).is_ok_and(|statfs| LOCAL.contains(&i64::from(statfs.f_type as u32)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::fs::ResolveFlags;

    use super::*;

    #[test]
    fn what_the_kernel_offers_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let works = |resolve| {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::openat2(rustix::fs::CWD, ".", flags, Mode::empty(), resolve).is_ok()
        };
        let root = Root::open(folder.path(), false).unwrap();
        assert_eq!(root.abilities.beneath, works(ResolveFlags::BENEATH));
        let cached = works(ResolveFlags::CACHED) && answers_from_memory(&root.directory());
        assert_eq!(root.abilities.cached, cached);
    }
}
