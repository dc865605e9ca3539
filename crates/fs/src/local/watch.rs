//! Changes made behind our back (section 10.3).
//!
//! A directory is watched from the moment before a client first learns of something in it; nobody else can have
//! anything cached about it. So there is no walk at start, nothing is polled, and what nobody asked for costs
//! nothing. On Linux the kernel's own events are used directly: a watch belongs to a directory, not to a path, so
//! it is set on the very descriptor the directory was opened with and stays right when directories move.
//!
//! ```text
//! inotify ──► dirty (directory, name) ──after DEBOUNCE──► compare with what clients were told ──► news
//!    └─ queue overflowed ──► compare everything known
//! ```
//!
//! What our own requests change is announced by them; they leave the state they made in the table, so that the
//! comparison finds nothing new.

mod changes;
#[cfg(target_os = "linux")]
mod inotify;
// Its tests run on Linux as well: the crate behind it hides the difference.
#[cfg(any(test, not(target_os = "linux")))]
mod notified;

use std::sync::Arc;
use std::time::Duration;

#[cfg(target_os = "linux")]
pub(super) use self::inotify::Watches;
use super::LocalSource;
use crate::Invalidations;

#[cfg(target_os = "linux")]
use self::inotify::Thread;
#[cfg(not(target_os = "linux"))]
use self::notified::Thread;

/// The backend's name, as operators of the original know it.
const BACKEND: &str = if cfg!(target_os = "linux") {
    "inotify"
} else {
    "notify"
};

/// Changes that follow each other this closely are looked at together: a program that writes a file in many
/// steps causes one event, and what it replaces is seen when it is complete.
const DEBOUNCE: Duration = Duration::from_millis(15);

/// Watches the folders of a node. Dropping it ends the watching.
pub struct Watcher {
    _thread: Thread,
}

impl Watcher {
    /// Starts to watch what clients of these sources know, and publishes what changes. `None` where this system
    /// or its limits do not allow it; clients then see changes when their caches expire.
    pub fn start(sources: &[Arc<LocalSource>], news: Arc<Invalidations>) -> Option<Self> {
        let shared = sources.iter().map(|source| source.shared.clone()).collect();
        match Thread::start(shared, news) {
            Ok(thread) => {
                tracing::info!("fs watcher backend active: {BACKEND}");
                Some(Self { _thread: thread })
            }
            Err(error) => {
                tracing::warn!(%error, "changes made by other programs will not be announced");
                None
            }
        }
    }
}

/// Where directories are not watched one by one.
#[cfg(not(target_os = "linux"))]
#[derive(Default)]
pub(super) struct Watches;

#[cfg(not(target_os = "linux"))]
impl Watches {
    /// What clients are told of it: sources of the kind `windows` have it, those of the kind `posix` do not (section 13.1).
    pub(super) fn are_possible(&self) -> bool {
        cfg!(windows)
    }

    pub(super) fn add(&self, _directory: &super::disk::Handle, _local: u64) -> bool {
        true
    }
}
