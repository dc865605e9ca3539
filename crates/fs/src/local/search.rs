//! Ids from before a restart.
//!
//! An id is an inode number, so it stays right when the node restarts; but the new process does not know where
//! the object is. The first time a client asks for an id that was never handed out, the export is walked once and
//! everything in it is noted. Clients that reconnect go on where they were; nobody pays at start, and somebody who
//! makes ids up causes one walk in the life of the process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use spiderweb_protocol::InodeId;

use super::attr::{self, Kind};
use super::disk::{self, Entries};
use super::inodes::Index;

use super::{LocalSource, visible_name};
use crate::{FsError, Patience};

/// Objects noted by the walk: about 30 MB of memory.
const MOST_NOTED: usize = 1 << 18;

/// Clients give up on a reply after 15 s.
const LONGEST_WALK: Duration = Duration::from_secs(8);

#[derive(Default)]
pub(super) struct Search {
    done: AtomicBool,
    /// Held by whoever walks; others with unknown ids wait for what is found.
    walking: Mutex<()>,
}

impl LocalSource {
    /// The node of an id, looked for on the disk if it was never handed out.
    pub(super) fn index(&self, id: InodeId, patience: Patience) -> Result<Index, FsError> {
        let known = self.shared.index(id);
        if known.is_ok() || self.search.done.load(Ordering::Acquire) {
            return known;
        }
        if patience == Patience::Immediate {
            return Err(FsError::NotNow);
        }
        let walking = self.search.walking.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.search.done.load(Ordering::Acquire) {
            self.walk();
            self.search.done.store(true, Ordering::Release);
        }
        drop(walking);
        self.shared.index(id)
    }

    fn walk(&self) {
        let end = Instant::now() + LONGEST_WALK;
        let mut directories = vec![Index::ROOT];
        let mut noted = 0;
        while let Some(directory) = directories.pop() {
            // A directory that cannot be read hides what is in it, as everywhere.
            let _ = self.note_entries(directory, &mut directories, &mut noted, end);
            if noted >= MOST_NOTED || Instant::now() > end {
                tracing::info!(noted, "the search for ids from before a restart stopped early");
                return;
            }
        }
    }

    fn note_entries(
        &self,
        directory: Index,
        directories: &mut Vec<Index>,
        noted: &mut usize,
        end: Instant,
    ) -> Result<(), FsError> {
        let file = self.shared.at(directory, Patience::Blocking, |place| {
            self.shared
                .root
                .open_at(&place.path, disk::LOOK_DIRECTORY, Patience::Blocking)
        })?;
        self.shared.watch(directory, &file);
        let mut stream = Entries::open(&file)?;
        while let Some(entry) = stream.next() {
            let Some(name) = entry?.name.filter(|name| visible_name(name.as_str()).is_ok()) else {
                continue;
            };
            let Ok(stat) = disk::stat_entry(&file, name.as_str()) else {
                continue;
            };
            if attr::kind(&stat) == Kind::Link {
                continue;
            }
            let index = self.register(directory, name.as_str(), &stat)?;
            if attr::kind(&stat) == Kind::Directory {
                directories.push(index);
            }
            *noted += 1;
            if *noted >= MOST_NOTED || Instant::now() > end {
                break;
            }
        }
        Ok(())
    }
}
