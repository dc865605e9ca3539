//! Change events on systems other than Linux, through the `notify` crate.
//!
//! One recursive watch on each root: the system tells of everything below by path, and what no client knows is
//! skipped. Paths only say where to look; what is there is opened through the root like everything else.
//!
//! Each source has a thread that looks. Paths wait for it in a queue of bounded length.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};

use notify::{RecursiveMode, Watcher as _};
use spiderweb_protocol::EntryName;

use super::super::RESERVED_NAME;
use super::super::inodes::Index;
use super::super::shared::Shared;
use super::DEBOUNCE;
use super::changes::Dirty;
use super::looker::{Lookers, Pending};
use crate::Invalidations;

/// Events of one source that wait; beyond them everything known is compared.
const MOST_WAITING: usize = 4096;

/// What reaches a source's thread.
enum Told {
    /// Something at this path.
    Path(PathBuf),
    /// The watching ends.
    Stop,
}

/// The threads that wait for events, one for each source.
pub(super) struct Threads {
    watchers: Vec<notify::RecommendedWatcher>,
    tell: Vec<SyncSender<Told>>,
    lookers: Lookers,
}

impl Threads {
    pub(super) fn start(sources: Vec<Arc<Shared>>, news: &Arc<Invalidations>) -> Result<Self, notify::Error> {
        let mut threads = Self {
            watchers: Vec::new(),
            tell: Vec::new(),
            lookers: Lookers::new(),
        };
        for source in sources {
            let (tell, told) = sync_channel(MOST_WAITING);
            let lost = Arc::new(AtomicBool::new(false));
            threads.tell.push(tell.clone());
            let is_lost = lost.clone();
            let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                forward(event, &tell, &is_lost);
            })?;
            watcher.watch(source.root.path(), RecursiveMode::Recursive)?;
            threads.watchers.push(watcher);
            let news = news.clone();
            threads
                .lookers
                .spawn(move || run(&source, &news, &told, &lost))
                .map_err(notify::Error::io)?;
        }
        Ok(threads)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.watchers.clear();
        for tell in self.tell.drain(..) {
            // Where there is no room for it, the thread will find that nobody is left to tell it anything.
            let _ = tell.try_send(Told::Stop);
        }
        self.lookers.finish();
    }
}

/// Hands an event on without ever waiting.
fn forward(event: notify::Result<notify::Event>, tell: &SyncSender<Told>, lost: &AtomicBool) {
    match event {
        Ok(event) if !event.need_rescan() => {
            for path in event.paths {
                if let Err(TrySendError::Full(_)) = tell.try_send(Told::Path(path)) {
                    lost.store(true, Ordering::Release);
                }
            }
        }
        _ => lost.store(true, Ordering::Release),
    }
}

fn run(source: &Shared, news: &Invalidations, told: &Receiver<Told>, lost: &AtomicBool) {
    let mut pending = Pending::default();
    loop {
        let nothing = pending.is_empty() && !lost.load(Ordering::Acquire);
        let first = if nothing {
            told.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            told.recv_timeout(DEBOUNCE)
        };
        match first {
            Ok(Told::Path(path)) => note(source, &mut pending, &path),
            Ok(Told::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if nothing {
            // What belongs together comes together.
            std::thread::sleep(DEBOUNCE);
        }
        for event in told.try_iter() {
            match event {
                Told::Path(path) => note(source, &mut pending, &path),
                Told::Stop => return,
            }
        }
        if lost.swap(false, Ordering::AcqRel) {
            pending.lose();
        }
        if !pending.is_empty() {
            pending.look(source, news);
        }
    }
}

/// Notes where to look, if a client knows the directory the path is in.
fn note(shared: &Shared, pending: &mut Pending, path: &Path) {
    let Ok(below) = path.strip_prefix(shared.root.path()) else {
        return;
    };
    let names: Option<Vec<&str>> = below.iter().map(|name| name.to_str()).collect();
    let Some(names) = names else { return };
    if names
        .iter()
        .any(|name| *name == RESERVED_NAME || !EntryName::is_valid(name.as_bytes()))
    {
        return;
    }
    let inodes = shared.inodes();
    let Some((last, above)) = names.split_last() else {
        pending.add(Dirty {
            directory: inodes.root_local(),
            name: None,
        });
        return;
    };
    let directory = above
        .iter()
        .try_fold(Index::ROOT, |parent, name| inodes.child(parent, name));
    if let Some(directory) = directory {
        pending.add(Dirty {
            directory: inodes.local(directory),
            name: Some((*last).into()),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::task::Waker;
    use std::time::{Duration, Instant};

    use spiderweb_protocol::InodeId;
    use spiderweb_protocol::fs::{Change, Event};

    use super::*;
    use crate::{LocalSource, Patience, SessionId, Source as _};

    #[test]
    fn what_clients_know_is_announced() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("dir")).unwrap();
        fs::write(folder.path().join("dir/known"), "old").unwrap();
        fs::write(folder.path().join("dir/unknown"), "old").unwrap();
        let source = LocalSource::open(folder.path(), 0).unwrap();
        let find = |parent, name| {
            let name = EntryName::new(name).unwrap();
            InodeId::new(source.lookup(parent, &name, Patience::Blocking).unwrap().id).unwrap()
        };
        let news = Arc::new(Invalidations::new([source.root()]));
        let mailbox = news.subscribe(SessionId(1));
        let threads = Threads::start(vec![source.shared.clone()], &news).unwrap();
        let directory = find(source.root(), "dir");
        let known = find(directory, "known");

        let wait_for = |what: &str, expected: Event| {
            let limit = Instant::now() + Duration::from_secs(20);
            let mut told = Vec::new();
            while !told.contains(&expected) {
                assert!(Instant::now() < limit, "{what}: {told:?}");
                told.extend(mailbox.take(Waker::noop()));
                std::thread::yield_now();
            }
        };
        let changed = |id| Event::Inode {
            id,
            change: Change::All,
            generation: None,
        };
        fs::write(folder.path().join("dir/known"), "newer").unwrap();
        wait_for("a rewrite", changed(known));
        fs::write(folder.path().join("dir/another"), "new").unwrap();
        wait_for("a new entry", Event::Directory { id: directory });
        fs::rename(folder.path().join("dir/known"), folder.path().join("moved")).unwrap();
        wait_for("a move", Event::Directory { id: source.root() });
        fs::remove_file(folder.path().join("moved")).unwrap();
        wait_for("a removal", changed(known));
        drop(threads);
    }
}
