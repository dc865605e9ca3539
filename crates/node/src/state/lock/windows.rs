//! By not sharing: whoever has the file open for writing is the only one.
//!
//! A lock on a range of bytes would keep others from reading who holds it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::Path;

const FILE_SHARE_READ: u32 = 1;
const ERROR_SHARING_VIOLATION: i32 = 32;

/// The file, made if need be, and whether it is ours now.
pub(super) fn take(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    match options.share_mode(FILE_SHARE_READ).open(path) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.raw_os_error() == Some(ERROR_SHARING_VIOLATION) => Ok((File::open(path)?, false)),
        Err(error) => Err(error),
    }
}
