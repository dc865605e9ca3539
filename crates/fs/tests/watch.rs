//! What the watcher of a folder announces, and what it leaves to those who did it.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a test may fail; its helpers are outside of test functions"
)]

use std::fs;
use std::sync::Arc;
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use spiderweb_fs::{Invalidations, LocalSource, Patience, SessionId, Source, Watcher};
use spiderweb_protocol::fs::{Event, OpenFlags};
use spiderweb_protocol::{EntryName, InodeId};

/// Threads that change one directory, and how often each does.
const WRITERS: usize = 4;
const ROUNDS: usize = 400;

fn name(text: &str) -> EntryName {
    EntryName::new(text).unwrap()
}

/// Makes a file, writes it twice, moves it over an older one, and looks it up: everything that clients do, with no other
/// process.
fn change(source: &LocalSource, directory: InodeId, writer: usize) {
    let (made, kept) = (name(&format!("made-{writer}")), name(&format!("kept-{writer}")));
    for round in 0..ROUNDS {
        let opened = source
            .create(directory, &made, 0o644, OpenFlags::READ_WRITE)
            .unwrap();
        for _ in 0..2 {
            opened.file.write(0, round.to_string().as_bytes()).unwrap();
        }
        source.rename(directory, &made, directory, &kept).unwrap();
        let found = source.lookup(directory, &kept, Patience::Blocking).unwrap();
        assert_eq!(found.id, opened.attr.id, "writer {writer}, round {round}");
        // The id leads to it, whatever the watcher makes of what it sees.
        source
            .getattr(InodeId::new(found.id).unwrap(), Patience::Blocking)
            .unwrap();
    }
}

/// The watcher compares what it sees with what is known, and both change while it does.
#[test]
fn our_own_changes_are_not_announced_whenever_the_watcher_looks() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("dir")).unwrap();
    let source = Arc::new(LocalSource::open(folder.path(), 0).unwrap());
    let news = Arc::new(Invalidations::new([source.root()]));
    let mailbox = news.subscribe(SessionId(1));
    let watcher = Watcher::start(std::slice::from_ref(&source), &news).unwrap();
    let directory = source
        .lookup(source.root(), &name("dir"), Patience::Blocking)
        .unwrap();
    let directory = InodeId::new(directory.id).unwrap();

    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let source = &source;
            scope.spawn(move || change(source, directory, writer));
        }
    });
    let mut told: Vec<Event> = mailbox.take(Waker::noop());
    // Somebody else's change comes after all of ours.
    fs::write(folder.path().join("last"), "").unwrap();
    let last = Event::Directory { id: source.root() };
    let limit = Instant::now() + Duration::from_secs(20);
    while !told.contains(&last) {
        assert!(
            Instant::now() < limit,
            "the last change was not announced: {told:?}"
        );
        told.extend(mailbox.take(Waker::noop()));
        thread::yield_now();
    }
    told.retain(|event| match event {
        Event::Directory { id } | Event::Inode { id, .. } => *id != source.root(),
    });
    assert_eq!(told, [], "of {} rounds", WRITERS * ROUNDS);
    drop(watcher);
}
