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
//! Every source has its own queue and its own thread: a disk that hangs stops the news of one folder.
//!
//! What our own requests change is announced by them; they leave the state they made in the table, so that the
//! comparison finds nothing new.

mod changes;
#[cfg(target_os = "linux")]
mod inotify;
mod looker;
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
use self::inotify::Threads;
#[cfg(not(target_os = "linux"))]
use self::notified::Threads;

/// The backend's name, as operators of the original know it.
const BACKEND: &str = if cfg!(target_os = "linux") {
    "inotify"
} else {
    "notify"
};

/// Changes that follow each other this closely are looked at together: a program that writes a file in many
/// steps causes one event, and what it replaces is seen when it is complete.
const DEBOUNCE: Duration = Duration::from_millis(15);

/// Watches the folders of a node. Dropping it ends the watching, and waits a moment for it at most: not for a disk that
/// hangs.
pub struct Watcher {
    _threads: Threads,
}

impl Watcher {
    /// Starts to watch what clients of these sources know, and publishes what changes. `None` where this system
    /// or its limits do not allow it; clients then see changes when their caches expire.
    pub fn start(sources: &[Arc<LocalSource>], news: &Arc<Invalidations>) -> Option<Self> {
        let shared = sources.iter().map(|source| source.shared.clone()).collect();
        match Threads::start(shared, news) {
            Ok(threads) => {
                tracing::info!("fs watcher backend active: {BACKEND}");
                Some(Self { _threads: threads })
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::channel;
    use std::task::Waker;
    use std::time::Instant;

    use super::super::shared::Shared;
    use super::*;
    use crate::{Patience, SessionId, Source as _};
    use spiderweb_protocol::EntryName;
    use spiderweb_protocol::fs::Event;

    const SOON: Duration = Duration::from_secs(20);

    /// Two folders, of which one hangs: whoever wants to look at it needs its table, which the test has.
    fn one_hangs<W: Send + 'static>(start: fn(Vec<Arc<Shared>>, &Arc<Invalidations>) -> W) {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let sources = [0, 1].map(|index| LocalSource::open(folders[index].path(), index).unwrap());
        let news = Arc::new(Invalidations::new(sources.each_ref().map(LocalSource::root)));
        let mailbox = news.subscribe(SessionId(1));
        let shared = sources.each_ref().map(|source| source.shared.clone());
        let threads = start(shared.to_vec(), &news);
        for source in &sources {
            // Looked into, and so watched.
            let nothing = EntryName::new("nothing").unwrap();
            source
                .lookup(source.root(), &nothing, Patience::Blocking)
                .unwrap_err();
        }
        let [hanging, _] = &shared;
        let hang = hanging.inodes();
        for _ in 0..3 {
            for folder in &folders {
                fs::write(folder.path().join("new"), "").unwrap();
            }
            let expected = Event::Directory {
                id: sources[1].root(),
            };
            let limit = Instant::now() + SOON;
            let mut told = Vec::new();
            while !told.contains(&expected) {
                assert!(Instant::now() < limit, "{told:?}");
                told.extend(mailbox.take(Waker::noop()));
                std::thread::yield_now();
            }
            fs::remove_file(folders[1].path().join("new")).unwrap();
        }
        let (tell, is_over) = channel();
        std::thread::spawn(move || {
            drop(threads);
            tell.send(()).unwrap();
        });
        is_over.recv_timeout(SOON).expect("an end that waits for no disk");
        drop(hang);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_hangs_keeps_back_its_own_news_only() {
        one_hangs(|sources, news| inotify::Threads::start(sources, news).unwrap());
    }

    #[test]
    fn a_disk_that_hangs_keeps_back_its_own_news_only_elsewhere() {
        one_hangs(|sources, news| notified::Threads::start(sources, news).unwrap());
    }
}
