//! Extended attributes (section 8.16).
//!
//! The calls that take descriptors refuse those that only look. An object behind such a one is reached by the name it has
//! in `/proc`, which leads to this object and no other; nothing is looked up by a name that others could change.

use std::os::fd::OwnedFd;

use rustix::fs::XattrFlags as SystemFlags;
use rustix::io::Errno;
use spiderweb_protocol::fs::XattrFlags;

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::root::{LOOK, magic};
use crate::FsError;

/// Longest name the system takes; it says `range error` for longer ones.
const LONGEST_NAME: usize = 255;

/// Largest value or list of names the system has.
const LARGEST: usize = 64 * 1024;

fn checked(name: &str) -> Result<&str, FsError> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        Err(FsError::Range)
    } else {
        Ok(name)
    }
}

/// What the wire calls errno 61 has another number off Linux.
fn error(errno: Errno) -> FsError {
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    if errno == Errno::NOATTR {
        return FsError::NoData;
    }
    errno.into()
}

/// How the object behind a descriptor that only looks is reached; `None` for one that was really opened.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn unopened(file: &OwnedFd) -> Result<Option<String>, FsError> {
    let looks = rustix::fs::fcntl_getfl(file)?.contains(LOOK);
    Ok(looks.then(|| magic(file)))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn unopened(_file: &OwnedFd) -> Result<Option<String>, FsError> {
    Ok(None)
}

pub(super) fn set(file: &OwnedFd, name: &str, value: &[u8], flags: XattrFlags) -> Result<(), FsError> {
    let flags = match flags.0 {
        0 => SystemFlags::empty(),
        1 => SystemFlags::CREATE,
        2 => SystemFlags::REPLACE,
        3 => SystemFlags::CREATE | SystemFlags::REPLACE,
        _ => return Err(FsError::InvalidArgument),
    };
    if value.len() > LARGEST {
        checked(name)?;
        return Err(FsError::ValueTooLarge);
    }
    let name = checked(name)?;
    match unopened(file)? {
        Some(path) => rustix::fs::setxattr(path, name, value, flags),
        None => rustix::fs::fsetxattr(file, name, value, flags),
    }
    .map_err(error)
}

pub(super) fn get(file: &OwnedFd, name: &str) -> Result<Vec<u8>, FsError> {
    let name = checked(name)?;
    let mut value = Vec::with_capacity(LARGEST);
    let room = rustix::buffer::spare_capacity(&mut value);
    match unopened(file)? {
        Some(path) => rustix::fs::getxattr(path, name, room),
        None => rustix::fs::fgetxattr(file, name, room),
    }
    .map_err(error)?;
    Ok(value)
}

pub(super) fn list(file: &OwnedFd) -> Result<Vec<String>, FsError> {
    let mut names = Vec::with_capacity(LARGEST);
    let room = rustix::buffer::spare_capacity(&mut names);
    match unopened(file)? {
        Some(path) => rustix::fs::listxattr(path, room),
        None => rustix::fs::flistxattr(file, room),
    }
    .map_err(error)?;
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    // A name that is not UTF-8 could not be asked for.
    Ok(names
        .filter_map(|name| String::from_utf8(name.to_vec()).ok())
        .collect())
}

pub(super) fn remove(file: &OwnedFd, name: &str) -> Result<(), FsError> {
    let name = checked(name)?;
    match unopened(file)? {
        Some(path) => rustix::fs::removexattr(path, name),
        None => rustix::fs::fremovexattr(file, name),
    }
    .map_err(error)
}
