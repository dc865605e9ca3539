//! What the system is asked about files: everything else here is the same on all of them.
//!
//! A [`Handle`] is an open file or directory, a [`Stat`] what is known of one, and [`Root`] the only way to a first one.
//! Whoever has a handle of a directory names its entries by it, never by a path.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(super) use self::unix::*;
#[cfg(windows)]
pub(super) use self::windows::*;

use spiderweb_protocol::EntryName;

use super::attr::Kind;

/// An entry of a directory as its listing says.
pub(super) struct Listed {
    /// `None`: no name that could be said on the wire.
    pub(super) name: Option<EntryName>,
    /// `None`: the listing does not say.
    pub(super) kind: Option<Kind>,
}
