//! Windows has neither limit.

use std::io;

use spiderweb_node::Limits;

/// There is no limit of a process for the size of files.
#[expect(clippy::unnecessary_wraps, reason = "it may fail on other systems")]
pub(crate) const fn survive_file_size_limit() -> io::Result<()> {
    Ok(())
}

/// A process may have millions of handles, so the limits stay as they are.
pub(crate) const fn fit_into_descriptor_limit(_limits: &mut Limits) {}
