//! What the process asks of its system at start.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use self::unix::{fit_into_descriptor_limit, survive_file_size_limit};
#[cfg(windows)]
pub(crate) use self::windows::{fit_into_descriptor_limit, survive_file_size_limit};
