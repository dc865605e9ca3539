//! The kernel's change events on Linux.
//!
//! Each source has an inotify instance and a thread, which reads its events and looks at its disk. While it looks, or
//! hangs, further events wait in the kernel.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use spiderweb_protocol::EntryName;

use super::super::RESERVED_NAME;
use super::super::root::magic;
use super::super::shared::Shared;
use super::DEBOUNCE;
use super::changes::Dirty;
use super::looker::{Lookers, Pending};
use crate::Invalidations;

/// What a directory is watched for. Reading is no change.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK);

/// The watched directories of one source.
pub(in crate::local) struct Watches {
    /// `None` when the system gives no further instance.
    inotify: Option<OwnedFd>,
    /// Ids of the watched directories, by watch descriptor.
    directories: Mutex<HashMap<i32, u64>>,
    complained: AtomicBool,
}

impl Default for Watches {
    fn default() -> Self {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        Self {
            inotify: inotify.ok(),
            directories: Mutex::default(),
            complained: AtomicBool::new(false),
        }
    }
}

impl Watches {
    fn directories(&self) -> MutexGuard<'_, HashMap<i32, u64>> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether directories can be watched at all.
    pub(in crate::local) fn are_possible(&self) -> bool {
        self.inotify.is_some()
    }

    /// Watches the directory behind a descriptor. Where the system refuses, its changes go unannounced, and the answer is
    /// no.
    pub(in crate::local) fn add(&self, directory: impl AsFd, local: u64) -> bool {
        let Some(inotify) = &self.inotify else {
            return false;
        };
        // The descriptor itself, not the path it was opened with: nothing can come in between.
        match inotify::add_watch(inotify, magic(directory), CHANGES) {
            Ok(watch) => {
                self.directories().insert(watch, local);
                true
            }
            Err(errno) => {
                if !self.complained.swap(true, Ordering::Relaxed) {
                    let hint = if errno == Errno::NOSPC {
                        "; raise fs.inotify.max_user_watches"
                    } else {
                        ""
                    };
                    tracing::warn!(
                        "some folders cannot be watched: {errno}{hint}; changes in them made by other programs will not be announced"
                    );
                }
                false
            }
        }
    }

    /// Reads what the kernel has to say.
    fn read(&self, shared: &Shared, pending: &mut Pending) {
        let Some(inotify) = &self.inotify else { return };
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = Reader::new(inotify, &mut buffer);
        // Ends with `WOULDBLOCK` once everything is read.
        while let Ok(event) = reader.next() {
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                pending.lose();
                continue;
            }
            if flags.contains(ReadFlags::IGNORED) {
                if let Some(directory) = self.directories().remove(&event.wd()) {
                    // The directory is gone. File systems give its number to the next one that is made, which
                    // then has its id: if there is one it is watched again.
                    pending.add(Dirty {
                        directory,
                        name: None,
                    });
                }
                continue;
            }
            let Some(directory) = self.directories().get(&event.wd()).copied() else {
                continue;
            };
            if shared.inodes().find(directory).is_none() {
                // Forgotten meanwhile; the kernel answers with `IGNORED`.
                let _ = inotify::remove_watch(inotify, event.wd());
                continue;
            }
            let name = match event.file_name() {
                None => None,
                Some(name) => match name.to_str() {
                    Ok(name) if EntryName::is_valid(name.as_bytes()) && name != RESERVED_NAME => {
                        Some(name.into())
                    }
                    // Invisible: not even its directory seems to change.
                    _ => continue,
                },
            };
            pending.add(Dirty { directory, name });
        }
    }
}

#[cfg(test)]
impl Watches {
    /// As if the system refused every watch.
    pub(in crate::local) fn broken() -> Self {
        Self {
            inotify: Some(eventfd(0, EventfdFlags::CLOEXEC).unwrap()),
            ..Self::default()
        }
    }

    /// Whether this directory is watched.
    pub(in crate::local) fn has(&self, local: u64) -> bool {
        self.directories().values().any(|watched| *watched == local)
    }
}

/// The threads that wait for events, one for each source.
pub(super) struct Threads {
    stop: Arc<OwnedFd>,
    lookers: Lookers,
}

impl Threads {
    pub(super) fn start(sources: Vec<Arc<Shared>>, news: &Arc<Invalidations>) -> std::io::Result<Self> {
        if sources.iter().any(|source| source.watches.inotify.is_none()) {
            return Err(std::io::Error::other(
                "the system gives no inotify instance; raise fs.inotify.max_user_instances",
            ));
        }
        let threads = Self {
            stop: Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?),
            lookers: Lookers::new(),
        };
        for source in sources {
            let (news, stop) = (news.clone(), threads.stop.clone());
            threads.lookers.spawn(move || run(&source, &news, &stop))?;
        }
        Ok(threads)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Nobody reads the counter, so all of them see it. Writing to it does not fail.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        self.lookers.finish();
    }
}

fn run(source: &Shared, news: &Invalidations, stop: &OwnedFd) {
    let mut pending = Pending::default();
    // When to look, once something is dirty.
    let mut due: Option<Instant> = None;
    while !wait(source, stop, due) {
        source.watches.read(source, &mut pending);
        match due {
            None if !pending.is_empty() => due = Some(Instant::now() + DEBOUNCE),
            Some(at) if Instant::now() >= at => {
                pending.look(source, news);
                due = (!pending.is_empty()).then(|| Instant::now() + DEBOUNCE);
            }
            _ => {}
        }
    }
}

/// Waits for events or until `due`; while something is due, further events wait in the kernel. `true`: stop.
fn wait(source: &Shared, stop: &OwnedFd, due: Option<Instant>) -> bool {
    let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
    let timeout = due.map(|at| at.saturating_duration_since(Instant::now()));
    if timeout.is_none() {
        let inotify = source.watches.inotify.iter();
        fds.extend(inotify.map(|inotify| PollFd::new(inotify, PollFlags::IN)));
    }
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    // An interrupted wait is a short one.
    let _ = poll(&mut fds, timeout.as_ref());
    fds.first()
        .is_some_and(|stop| stop.revents().contains(PollFlags::IN))
}
