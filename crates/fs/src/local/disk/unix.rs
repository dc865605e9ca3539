//! POSIX: descriptors, and the calls that take them.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use spiderweb_protocol::EntryName;
use spiderweb_protocol::fs::{LockKind, Statfs};
use spiderweb_protocol::limits::MAX_WIRE_INTEGER;

use super::Listed;
use crate::FsError;
use crate::local::LONGEST_NAME;
use crate::local::attr::Kind;
pub(in crate::local) use crate::local::links::follow;
pub(in crate::local) use crate::local::root::{LOOK, Root, stat_entry};
pub(in crate::local) use crate::local::xattr;

/// An open file or directory.
pub(in crate::local) type Handle = OwnedFd;

/// What is known of an object.
pub(in crate::local) type Stat = rustix::fs::Stat;

/// What something is opened for.
pub(in crate::local) type Want = OFlags;

/// For looking at it, if it is a directory.
pub(in crate::local) const LOOK_DIRECTORY: Want = LOOK.union(OFlags::DIRECTORY);
pub(in crate::local) const READ: Want = OFlags::RDONLY;
pub(in crate::local) const WRITE: Want = OFlags::WRONLY;
pub(in crate::local) const READ_WRITE: Want = OFlags::RDWR;

/// What is said of a folder's abilities.
pub(in crate::local) const LINKS: bool = true;
pub(in crate::local) const ATTRIBUTES: bool = true;

#[expect(
    clippy::useless_conversion,
    clippy::unnecessary_cast,
    reason = "the types differ between systems"
)]
pub(in crate::local) mod raw {
    use rustix::fs::{FileType, Stat};

    use crate::local::attr::Kind;

    fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
        let whole = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        whole.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    pub(in crate::local) fn modified(stat: &Stat) -> i64 {
        nanoseconds(stat.st_mtime.into(), stat.st_mtime_nsec as i64)
    }

    pub(in crate::local) fn changed(stat: &Stat) -> i64 {
        nanoseconds(stat.st_ctime.into(), stat.st_ctime_nsec as i64)
    }

    pub(in crate::local) fn accessed(stat: &Stat) -> i64 {
        nanoseconds(stat.st_atime.into(), stat.st_atime_nsec as i64)
    }

    pub(in crate::local) fn device(stat: &Stat) -> u64 {
        stat.st_dev as u64
    }

    pub(in crate::local) fn inode(stat: &Stat) -> u64 {
        stat.st_ino as u64
    }

    pub(in crate::local) fn links(stat: &Stat) -> u64 {
        stat.st_nlink as u64
    }

    pub(in crate::local) fn mode(stat: &Stat) -> u32 {
        u32::from(stat.st_mode)
    }

    pub(in crate::local) fn size(stat: &Stat) -> u64 {
        u64::try_from(stat.st_size).unwrap_or(0)
    }

    pub(in crate::local) fn kind(stat: &Stat) -> Kind {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            _ => Kind::Special,
        }
    }
}

/// User and group of this process.
pub(in crate::local) fn owner() -> (u32, u32) {
    (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    )
}

/// The form of a name in which all that mean the same entry are equal.
pub(in crate::local) fn folded(name: &str) -> &str {
    name
}

pub(in crate::local) fn is_too_long(name: &str) -> bool {
    name.len() > LONGEST_NAME
}

/// Whether a name means an entry of that name and nothing else.
pub(in crate::local) fn is_literal(_name: &str) -> bool {
    true
}

pub(in crate::local) fn stat(file: &Handle) -> Result<Stat, FsError> {
    Ok(rustix::fs::fstat(file)?)
}

pub(in crate::local) fn statfs(file: &Handle) -> Result<Statfs, FsError> {
    let s = rustix::fs::fstatvfs(file)?;
    let cap = |number: u64| number.min(MAX_WIRE_INTEGER);
    Ok(Statfs {
        bsize: cap(s.f_bsize),
        frsize: cap(s.f_frsize),
        blocks: cap(s.f_blocks),
        bfree: cap(s.f_bfree),
        bavail: cap(s.f_bavail),
        files: cap(s.f_files),
        ffree: cap(s.f_ffree),
        favail: cap(s.f_favail),
        namemax: LONGEST_NAME as u64,
    })
}

/// Makes a file that does not exist and opens it for writing, and for reading if need be.
pub(in crate::local) fn create(
    directory: &Handle,
    name: &str,
    mode: u32,
    reads: bool,
) -> Result<Handle, FsError> {
    let flags = if reads { OFlags::RDWR } else { OFlags::WRONLY }
        | OFlags::CREATE
        | OFlags::EXCL
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC
        | OFlags::NOCTTY;
    let mode = Mode::from_raw_mode((mode & 0o7777) as rustix::fs::RawMode);
    Ok(rustix::fs::openat(directory, name, flags, mode)?)
}

pub(in crate::local) fn set_length(file: &Handle, length: u64) -> Result<(), FsError> {
    Ok(rustix::fs::ftruncate(file, length)?)
}

pub(in crate::local) fn remove_file(directory: &Handle, name: &str) -> Result<(), FsError> {
    let is_directory = || stat_entry(directory, name).is_ok_and(|stat| raw::kind(&stat) == Kind::Directory);
    rustix::fs::unlinkat(directory, name, AtFlags::empty()).map_err(|errno| match errno {
        // What POSIX prescribes, and other systems than Linux do, for a directory.
        Errno::PERM if is_directory() => FsError::IsADirectory,
        other => other.into(),
    })
}

pub(in crate::local) fn make_directory(directory: &Handle, name: &str) -> Result<(), FsError> {
    let mode = Mode::RWXU | Mode::RWXG | Mode::RWXO;
    Ok(rustix::fs::mkdirat(directory, name, mode)?)
}

pub(in crate::local) fn remove_directory(directory: &Handle, name: &str) -> Result<(), FsError> {
    Ok(rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?)
}

pub(in crate::local) fn rename(from: &Handle, old: &str, to: &Handle, new: &str) -> Result<(), FsError> {
    rustix::fs::renameat(from, old, to, new).map_err(|errno| match errno {
        Errno::NOTEMPTY => FsError::Exists,
        other => other.into(),
    })
}

pub(in crate::local) fn make_link(target: &str, directory: &Handle, name: &str) -> Result<(), FsError> {
    Ok(rustix::fs::symlinkat(target, directory, name)?)
}

/// Reads what the system has in memory, without waiting for a disk.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(in crate::local) fn read_cached(file: &Handle, offset: u64, len: usize) -> Result<Vec<u8>, FsError> {
    use std::cell::RefCell;
    use std::io::IoSliceMut;

    use rustix::io::ReadWriteFlags;

    /// Most bytes read on a thread that serves others: about 30 µs including the encoding. Larger reads are
    /// work for the processor and go where the system shares it fairly.
    const IMMEDIATE_READ: usize = 128 * 1024;

    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    if len > IMMEDIATE_READ {
        return Err(FsError::NotNow);
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.resize(IMMEDIATE_READ, 0);
        let mut data = Vec::new();
        while data.len() < len {
            let want = scratch.get_mut(..len - data.len()).unwrap_or_default();
            let at = offset + data.len() as u64;
            match rustix::io::preadv2(file, &mut [IoSliceMut::new(want)], at, ReadWriteFlags::NOWAIT) {
                Ok(0) => break,
                Ok(count) => data.extend_from_slice(want.get(..count).unwrap_or_default()),
                Err(Errno::INTR) => {}
                Err(_) => return Err(FsError::NotNow),
            }
        }
        Ok(data)
    })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(in crate::local) fn read_cached(_file: &Handle, _offset: u64, _len: usize) -> Result<Vec<u8>, FsError> {
    Err(FsError::NotNow)
}

/// Reads once, into the room there is. Zero is the end of the file.
pub(in crate::local) fn read_at(file: &Handle, data: &mut Vec<u8>, offset: u64) -> Result<usize, FsError> {
    loop {
        match rustix::io::pread(file, rustix::buffer::spare_capacity(data), offset) {
            Err(Errno::INTR) => {}
            read => return Ok(read?),
        }
    }
}

/// Writes once.
pub(in crate::local) fn write_at(file: &Handle, data: &[u8], offset: u64) -> Result<usize, FsError> {
    loop {
        match rustix::io::pwrite(file, data, offset) {
            Err(Errno::INTR) => {}
            written => return Ok(written?),
        }
    }
}

pub(in crate::local) fn lock(file: &Handle, kind: LockKind) -> Result<(), FsError> {
    let operation = match kind {
        LockKind::Shared => FlockOperation::NonBlockingLockShared,
        LockKind::Exclusive => FlockOperation::NonBlockingLockExclusive,
        LockKind::Unlock => FlockOperation::Unlock,
        LockKind::Unknown => return Err(FsError::InvalidLockKind),
    };
    match rustix::fs::flock(file, operation) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(FsError::WouldBlock),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a directory that may be read and not entered: `.` is an entry of it and out of reach.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn reopen(directory: &Handle, flags: OFlags) -> rustix::io::Result<Handle> {
    let path = crate::local::root::magic(directory);
    match rustix::fs::open(path, flags.difference(OFlags::NOFOLLOW), Mode::empty()) {
        // No `/proc`.
        Err(Errno::NOENT) => Err(Errno::ACCESS),
        opened => opened,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn reopen(_directory: &Handle, _flags: OFlags) -> rustix::io::Result<Handle> {
    Err(Errno::ACCESS)
}

/// A directory that is being read.
pub(in crate::local) struct Entries(Dir);

impl Entries {
    pub(in crate::local) fn open(directory: &Handle) -> Result<Self, FsError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(directory, ".", flags, Mode::empty()) {
            Err(Errno::ACCESS) => reopen(directory, flags)?,
            opened => opened?,
        };
        Ok(Self(Dir::new(file)?))
    }

    pub(in crate::local) fn next(&mut self) -> Option<Result<Listed, FsError>> {
        let entry = match self.0.read()? {
            Ok(entry) => entry,
            Err(errno) => return Some(Err(errno.into())),
        };
        let name = entry.file_name().to_str().ok();
        Some(Ok(Listed {
            name: name.and_then(|name| EntryName::new(name).ok()),
            kind: match entry.file_type() {
                FileType::RegularFile => Some(Kind::File),
                FileType::Directory => Some(Kind::Directory),
                FileType::Symlink => Some(Kind::Link),
                FileType::Unknown => None,
                _ => Some(Kind::Special),
            },
        }))
    }
}
