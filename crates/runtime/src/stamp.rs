//! Telling one state of a file from another without reading it.

use std::path::Path;
use std::time::SystemTime;

use crate::driver::Fault;
use crate::system::file_number;

/// What a file was when it was last looked at. Another file under the same name has another stamp, and so has a file
/// that was written to, unless within the resolution of its clock and with the same length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: SystemTime,
    length: u64,
    inode: u64,
}

impl Stamp {
    /// Of a regular file.
    pub(crate) fn of(path: &Path) -> Result<Self, Fault> {
        let metadata = path.metadata()?;
        if !metadata.is_file() {
            return Err(Fault::AccessDenied);
        }
        Ok(Self {
            modified: metadata.modified()?,
            length: metadata.len(),
            inode: file_number(&metadata),
        })
    }
}
