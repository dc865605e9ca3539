//! There are no extended attributes: what comes nearest, streams, is refused everywhere else.

use spiderweb_protocol::fs::XattrFlags;

use super::Handle;
use crate::FsError;

pub(in crate::local) fn set(
    _file: &Handle,
    _name: &str,
    _value: &[u8],
    _flags: XattrFlags,
) -> Result<(), FsError> {
    Err(FsError::Unsupported)
}

pub(in crate::local) fn get(_file: &Handle, _name: &str) -> Result<Vec<u8>, FsError> {
    Err(FsError::Unsupported)
}

pub(in crate::local) fn list(_file: &Handle) -> Result<Vec<String>, FsError> {
    Err(FsError::Unsupported)
}

pub(in crate::local) fn remove(_file: &Handle, _name: &str) -> Result<(), FsError> {
    Err(FsError::Unsupported)
}
