//! What a local source, its open files and its watcher share.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spiderweb_protocol::InodeId;
use spiderweb_protocol::fs::Attr;

use super::attr::{self, Object, Owner, Stamp};
use super::disk::{self, Handle, Root, Stat};
use super::inodes::{CAPACITY, Index, Inodes, Place};
use super::watch::Watches;
use crate::{FsError, Patience};

/// How often an operation looks again when a rename moved its object under way.
const RETRIES: u32 = 8;

/// How long an operation waits for a rename that may have moved its object. One that hangs holds up only what
/// looks for a name that is not there.
const LONGEST_RENAME: Duration = Duration::from_secs(2);

pub(super) struct Shared {
    pub(super) root: Root,
    pub(super) owner: Owner,
    /// Position of the export, part of every id.
    export: usize,
    inodes: Mutex<Inodes>,
    renames: Mutex<Renames>,
    rename_done: Condvar,
    pub(super) watches: Watches,
}

/// Renames of our own. While one runs, what a path means and what the table says may differ.
#[derive(Default)]
struct Renames {
    running: u32,
    finished: u64,
}

impl Shared {
    pub(super) fn new(root: Root, export: usize) -> Result<Self, FsError> {
        let stat = disk::stat(&root.directory())?;
        Ok(Self {
            root,
            owner: Owner::of_this_process(),
            export,
            inodes: Mutex::new(Inodes::new(attr::object(&stat), attr::stamp(&stat), CAPACITY)),
            renames: Mutex::default(),
            rename_done: Condvar::new(),
            watches: Watches::default(),
        })
    }

    pub(super) fn inodes(&self) -> MutexGuard<'_, Inodes> {
        // The table is consistent after each of its methods.
        self.inodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renames(&self) -> MutexGuard<'_, Renames> {
        self.renames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn answers_at_once(&self) -> bool {
        self.root.answers_at_once()
    }

    pub(super) fn id(&self, local: u64) -> Result<InodeId, FsError> {
        InodeId::compose(self.export, local).ok_or(FsError::NotFound)
    }

    pub(super) fn attr(&self, index: Index, stat: &Stat) -> Result<Attr, FsError> {
        let id = self.id(self.inodes().local(index))?;
        Ok(attr::attr(id, stat, self.owner))
    }

    pub(super) fn index(&self, id: InodeId) -> Result<Index, FsError> {
        self.inodes().find(id.local()).ok_or(FsError::NotFound)
    }

    fn place(&self, index: Index) -> Result<Place, FsError> {
        self.inodes().place(index).ok_or(FsError::NotFound)
    }

    /// Makes sure that a directory is watched before anybody learns what is in it.
    ///
    /// It counts as watched only once the system has said so: whoever comes while somebody else is about to add the
    /// watch adds it as well, which changes nothing, rather than read what may change untold in between. Where the
    /// system refuses, the next one asks again.
    pub(super) fn watch(&self, index: Index, directory: &Handle) {
        let local = {
            let inodes = self.inodes();
            if inodes.is_watched(index) {
                return;
            }
            inodes.local(index)
        };
        if self.watches.add(directory, local) {
            self.inodes().set_watched(index, true);
        }
    }

    /// Watches a directory again that the system may have stopped watching.
    pub(super) fn watch_again(&self, index: Index, directory: &Handle) {
        let local = {
            let inodes = self.inodes();
            if !inodes.is_watched(index) {
                return;
            }
            inodes.local(index)
        };
        if !self.watches.add(directory, local) {
            self.inodes().set_watched(index, false);
        }
    }

    /// Runs `operation` on the place of an object. Looks again when the object was not there because one of our
    /// own renames was moving it.
    pub(super) fn at<T>(
        &self,
        index: Index,
        patience: Patience,
        mut operation: impl FnMut(&Place) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        let mut attempt = 0;
        loop {
            let seen = self.finished_renames();
            let result = self.place(index).and_then(|place| operation(&place));
            let gone = matches!(result, Err(FsError::NotFound | FsError::NotADirectory));
            if !gone || attempt == RETRIES || !self.renamed_since(seen, patience)? {
                if gone && index == Index::ROOT && attempt == 0 && self.find_root_again()? {
                    attempt += 1;
                    continue;
                }
                return result;
            }
            attempt += 1;
        }
    }

    fn finished_renames(&self) -> u64 {
        self.renames().finished
    }

    /// Whether a rename ended since `seen`, after waiting for those that run.
    fn renamed_since(&self, seen: u64, patience: Patience) -> Result<bool, FsError> {
        let renames = self.renames();
        if renames.running > 0 && patience == Patience::Immediate {
            return Err(FsError::NotNow);
        }
        let under_way = |renames: &mut Renames| renames.running > 0 && renames.finished == seen;
        let waited = self
            .rename_done
            .wait_timeout_while(renames, LONGEST_RENAME, under_way);
        let (renames, _) = waited.unwrap_or_else(PoisonError::into_inner);
        Ok(renames.finished != seen)
    }

    /// Runs a rename: the system call and the table's change count as one for [`at`](Self::at).
    pub(super) fn renaming<T>(&self, rename: impl FnOnce() -> Result<T, FsError>) -> Result<T, FsError> {
        let _running = RunningRename::begin(self);
        rename()
    }

    /// Opens the export's path again when its directory was removed and made anew; its id stays.
    fn find_root_again(&self) -> Result<bool, FsError> {
        let Some(stat) = self.root.reopen()? else {
            return Ok(false);
        };
        self.inodes().replace_root(attr::object(&stat));
        Ok(true)
    }

    /// Checks that what was opened is the object the id is bound to; forgets the place when it is not.
    pub(super) fn verify(&self, index: Index, expected: Object, stat: &Stat) -> Result<(), FsError> {
        if attr::object(stat) == expected && !attr::is_gone(stat) {
            return Ok(());
        }
        let mut inodes = self.inodes();
        // Only if nobody has meanwhile found it elsewhere.
        if inodes.place(index).is_some_and(|place| place.object == expected) && self.renames_are_quiet() {
            inodes.detach(index);
        }
        Err(FsError::NotFound)
    }

    fn renames_are_quiet(&self) -> bool {
        self.renames().running == 0
    }

    /// Runs a change of one object. Until it ends the watcher leaves the object alone; the state it leaves is
    /// noted, so that the watcher does not announce it a second time.
    pub(super) fn change<T>(
        &self,
        local: u64,
        change: impl FnOnce() -> Result<(T, Stamp), FsError>,
    ) -> Result<T, FsError> {
        let mut running = RunningChange::begin(self, local);
        let (value, stamp) = change()?;
        running.left = Some(stamp);
        Ok(value)
    }
}

/// A rename that ends with this value: even if it panics, nobody waits for it any more.
struct RunningRename<'s>(&'s Shared);

impl<'s> RunningRename<'s> {
    fn begin(shared: &'s Shared) -> Self {
        shared.renames().running += 1;
        Self(shared)
    }
}

impl Drop for RunningRename<'_> {
    fn drop(&mut self) {
        let mut renames = self.0.renames();
        renames.running -= 1;
        renames.finished += 1;
        drop(renames);
        self.0.rename_done.notify_all();
    }
}

/// A change that ends with this value: even if it panics, the watcher looks at the object again.
struct RunningChange<'s> {
    shared: &'s Shared,
    local: u64,
    /// The state it left, if it came to one.
    left: Option<Stamp>,
}

impl<'s> RunningChange<'s> {
    fn begin(shared: &'s Shared, local: u64) -> Self {
        shared.inodes().begin_change(local);
        Self {
            shared,
            local,
            left: None,
        }
    }
}

impl Drop for RunningChange<'_> {
    fn drop(&mut self) {
        self.shared.inodes().end_change(self.local, self.left);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::attr::Kind;
    use super::*;

    fn shared(folder: &Path) -> Result<Shared, FsError> {
        Shared::new(Root::open(folder, false)?, 0)
    }

    #[test]
    fn a_change_that_panics_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(folder.path()).unwrap();
        let root = shared.inodes().root_local();
        let fault = std::panic::AssertUnwindSafe(|| {
            let change = || -> Result<((), Stamp), FsError> { panic!("a fault, on purpose") };
            shared.renaming(|| shared.change(root, change))
        });
        assert!(std::panic::catch_unwind(fault).is_err());
        assert!(shared.renames_are_quiet());
        assert!(!shared.inodes().known(Index::ROOT).unwrap().busy);
        assert_eq!(shared.finished_renames(), 1, "whoever waited for it looks again");
    }

    #[test]
    fn a_directory_that_the_system_refused_to_watch_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut shared = shared(folder.path()).unwrap();
        let working = std::mem::replace(&mut shared.watches, Watches::broken());
        let root = shared.root.directory();
        shared.watch(Index::ROOT, &root);
        assert!(!shared.inodes().is_watched(Index::ROOT));
        shared.watches = working;
        shared.watch(Index::ROOT, &root);
        assert!(shared.watches.has(shared.inodes().root_local()));
        assert!(shared.inodes().is_watched(Index::ROOT));
        shared.watches = Watches::broken();
        shared.watch_again(Index::ROOT, &root);
        assert!(!shared.inodes().is_watched(Index::ROOT));
    }

    /// Two who look into a directory at once: what the second one reads is watched, too.
    #[test]
    fn nobody_reads_a_directory_before_its_watch_is_there() {
        const ROUNDS: usize = 500;
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(folder.path()).unwrap();
        let directories: Vec<_> = (0..ROUNDS)
            .map(|round| {
                let name = format!("d{round}");
                std::fs::create_dir(folder.path().join(&name)).unwrap();
                let file = shared
                    .root
                    .open_at(&name, disk::LOOK, Patience::Blocking)
                    .unwrap();
                let stat = disk::stat(&file).unwrap();
                let object = attr::object(&stat);
                let index = shared.inodes().register(
                    object,
                    Index::ROOT,
                    &name,
                    (Kind::Directory, false),
                    attr::stamp(&stat),
                );
                (index.unwrap(), file)
            })
            .collect();
        // Spinning: what wakes a thread takes longer than what is looked for.
        let arrived = AtomicUsize::new(0);
        let unwatched = || {
            let mut unwatched = 0;
            for (round, (index, file)) in directories.iter().enumerate() {
                arrived.fetch_add(1, Ordering::SeqCst);
                while arrived.load(Ordering::SeqCst) < 2 * (round + 1) {
                    std::thread::yield_now();
                }
                shared.watch(*index, file);
                let local = shared.inodes().local(*index);
                unwatched += usize::from(!shared.watches.has(local));
            }
            unwatched
        };
        let unwatched: usize = std::thread::scope(|scope| {
            let both = [scope.spawn(unwatched), scope.spawn(unwatched)];
            both.map(|thread| thread.join().unwrap()).into_iter().sum()
        });
        assert_eq!(unwatched, 0, "of {ROUNDS}");
    }
}
