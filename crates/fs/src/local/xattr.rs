//! Extended attributes of an opened file or directory (section 8.16).

use std::os::fd::OwnedFd;

use rustix::fs::XattrFlags as SystemFlags;
use rustix::io::Errno;
use spiderweb_protocol::fs::XattrFlags;

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
    rustix::fs::fsetxattr(file, checked(name)?, value, flags).map_err(error)
}

pub(super) fn get(file: &OwnedFd, name: &str) -> Result<Vec<u8>, FsError> {
    let name = checked(name)?;
    let mut value = Vec::with_capacity(LARGEST);
    rustix::fs::fgetxattr(file, name, rustix::buffer::spare_capacity(&mut value)).map_err(error)?;
    Ok(value)
}

pub(super) fn list(file: &OwnedFd) -> Result<Vec<String>, FsError> {
    let mut names = Vec::with_capacity(LARGEST);
    rustix::fs::flistxattr(file, rustix::buffer::spare_capacity(&mut names)).map_err(error)?;
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    // A name that is not UTF-8 could not be asked for.
    Ok(names
        .filter_map(|name| String::from_utf8(name.to_vec()).ok())
        .collect())
}

pub(super) fn remove(file: &OwnedFd, name: &str) -> Result<(), FsError> {
    rustix::fs::fremovexattr(file, checked(name)?).map_err(error)
}
