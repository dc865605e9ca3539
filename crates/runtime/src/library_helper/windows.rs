//! A helper serves one invoke: there is no link to the node yet that the library could not get into.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::helper::HELPER_FAILED;

/// Nobody asks for it here.
pub(crate) fn serve(_args: impl Iterator<Item = OsString>) -> ExitCode {
    ExitCode::from(HELPER_FAILED)
}

/// The node ends them with the helper's job.
pub(super) const fn has_children() -> bool {
    false
}
