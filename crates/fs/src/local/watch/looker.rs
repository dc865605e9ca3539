//! Threads that look at disks, and what waits for them.
//!
//! Each source has a thread of its own, so a disk that hangs keeps back the news of its own folder and no other's. What
//! happens on it meanwhile costs bounded memory: events wait in the system's queue, which tells when it overflowed, and
//! [`Pending`] forgets names when there are too many. Both end in comparing everything that clients know.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::super::shared::Shared;
use super::changes::{self, Dirty};
use crate::Invalidations;

/// Most changes of one source that are remembered by name, some megabytes; as many as Linux keeps in its queue.
const MOST_DIRTY: usize = 16 * 1024;

/// How long the end of the watching waits for those that are looking. Nobody needs what they would find, and one that
/// waits for a hanging disk is left to itself, as runners are: it ends with its disk's answer or with the process.
const LONGEST_END: Duration = Duration::from_millis(100);

/// The threads.
pub(super) struct Lookers {
    /// Each thread has a copy as long as it runs; nothing is ever sent.
    running: Option<Sender<Infallible>>,
    ended: Receiver<Infallible>,
}

impl Lookers {
    /// None yet.
    pub(super) fn new() -> Self {
        let (running, ended) = channel();
        Self {
            running: Some(running),
            ended,
        }
    }

    /// Starts one.
    pub(super) fn spawn(&self, look: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let running = self.running.clone();
        let body = move || {
            // Until the end, even by a panic.
            let _running = running;
            look();
        };
        std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(body)
            .map(drop)
    }

    /// Waits for all of them to end, which they were told to, but not for a disk that hangs.
    pub(super) fn finish(&mut self) {
        self.running = None;
        let _ = self.ended.recv_timeout(LONGEST_END);
    }
}

/// One source's changes on their way.
#[derive(Default)]
pub(super) struct Pending {
    dirty: HashSet<Dirty>,
    /// Something is not in `dirty`: everything is to be compared.
    lost: bool,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.dirty.is_empty() && !self.lost
    }

    /// Notes something to look at.
    pub(super) fn add(&mut self, dirty: Dirty) {
        if self.lost {
            return;
        }
        if self.dirty.len() < MOST_DIRTY {
            self.dirty.insert(dirty);
        } else {
            self.lose();
        }
    }

    /// Notes that changes went unnoticed. Their names are of no use any more.
    pub(super) fn lose(&mut self) {
        self.lost = true;
        self.dirty = HashSet::new();
    }

    /// Looks at the disk and publishes what is new. What our own requests are changing just now is left for the next
    /// time.
    pub(super) fn look(&mut self, source: &Shared, news: &Invalidations) {
        let Self { dirty, lost } = std::mem::take(self);
        let findings = if lost {
            tracing::warn!("more changes than the system keeps; comparing everything that clients know");
            changes::compare_all(source)
        } else {
            changes::compare(source, dirty)
        };
        news.publish(&findings.events(source), None);
        self.dirty = findings.busy;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_not_collected_without_bound() {
        let mut pending = Pending::default();
        for number in 0..=MOST_DIRTY {
            assert!(!pending.lost, "after {number}");
            pending.add(Dirty {
                directory: 2,
                name: Some(number.to_string().into()),
            });
        }
        assert!(pending.lost && pending.dirty.is_empty() && !pending.is_empty());
    }
}
