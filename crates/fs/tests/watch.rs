//! What the watcher of a folder announces, and what it leaves to those who did it.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a test may fail; its helpers are outside of test functions"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use spiderweb_fs::{FsError, Invalidations, LocalSource, Mailbox, Patience, SessionId, Source, Watcher};
use spiderweb_protocol::fs::{Change, Event, OpenFlags};
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

/// A folder that is served and watched, and a client's view of it.
struct Scene {
    folder: tempfile::TempDir,
    source: Arc<LocalSource>,
    news: Arc<Mailbox>,
    told: Vec<Event>,
    _watcher: Watcher,
}

impl Scene {
    fn new(make: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path());
        let source = Arc::new(LocalSource::open(folder.path(), 0).unwrap());
        let news = Arc::new(Invalidations::new([source.root()]));
        let mailbox = news.subscribe(SessionId(1));
        let watcher = Watcher::start(std::slice::from_ref(&source), &news).unwrap();
        Self {
            folder,
            source,
            news: mailbox,
            told: Vec::new(),
            _watcher: watcher,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn find(&self, path: &str) -> InodeId {
        path.split('/').fold(self.source.root(), |parent, part| {
            let attr = self
                .source
                .lookup(parent, &name(part), Patience::Blocking)
                .unwrap();
            InodeId::new(attr.id).unwrap()
        })
    }

    /// Waits until all of these are told, and forgets what was told.
    fn wait_for(&mut self, expected: &[Event]) {
        let limit = Instant::now() + Duration::from_secs(20);
        while !expected.iter().all(|event| self.told.contains(event)) {
            assert!(Instant::now() < limit, "{expected:?} not in {:?}", self.told);
            self.told.extend(self.news.take(Waker::noop()));
            thread::yield_now();
        }
        self.told.clear();
    }

    /// Waits until all that happened so far has been looked at.
    fn settle(&mut self) {
        fs::write(self.at("settled"), "").unwrap();
        let root = self.source.root();
        self.wait_for(&[Event::Directory { id: root }]);
        fs::remove_file(self.at("settled")).unwrap();
        self.wait_for(&[Event::Directory { id: root }]);
    }

    fn kind(&self, id: InodeId) -> Result<u32, FsError> {
        self.source
            .getattr(id, Patience::Blocking)
            .map(|attr| attr.m & 0o170_000)
    }
}

fn changed(id: InodeId) -> Event {
    Event::Inode {
        id,
        change: Change::All,
        generation: None,
    }
}

fn make_tree(folder: &Path) {
    fs::create_dir_all(folder.join("tree/sub/deep")).unwrap();
    fs::create_dir_all(folder.join("seen/unseen")).unwrap();
    fs::write(folder.join("tree/sub/deep/f"), "").unwrap();
    fs::write(folder.join("tree/g"), "").unwrap();
}

/// Everything below that clients know, directories as both.
fn all_of(tree: &[InodeId; 3], files: &[InodeId; 2]) -> Vec<Event> {
    let directories = tree.iter().map(|id| Event::Directory { id: *id });
    let objects = tree.iter().chain(files).map(|id| changed(*id));
    directories.chain(objects).collect()
}

#[test]
fn all_that_is_known_of_a_tree_is_told_when_it_goes() {
    let outside = tempfile::tempdir().unwrap();
    let aside = outside.path().join("tree");
    for removed in [true, false] {
        let mut scene = Scene::new(make_tree);
        let tree = ["tree", "tree/sub", "tree/sub/deep"].map(|path| scene.find(path));
        let files = ["tree/sub/deep/f", "tree/g"].map(|path| scene.find(path));
        if removed {
            fs::remove_dir_all(scene.at("tree")).unwrap();
        } else {
            fs::rename(scene.at("tree"), &aside).unwrap();
        }
        scene.wait_for(&all_of(&tree, &files));
        for id in tree.iter().chain(&files) {
            assert!(matches!(scene.kind(*id), Err(FsError::NotFound)));
        }
        // And when something else has its name.
        if !removed {
            fs::rename(&aside, scene.at("tree")).unwrap();
            let files = ["tree/sub/deep/f", "tree/g"].map(|path| scene.find(path));
            scene.settle();
            scene.source.getattr(files[0], Patience::Blocking).unwrap();
            fs::create_dir(outside.path().join("new")).unwrap();
            let (new, tree_now) = (outside.path().join("new"), scene.at("tree"));
            renameat_with(CWD, new, CWD, tree_now, RenameFlags::EXCHANGE).unwrap();
            scene.wait_for(&all_of(&tree, &files));
        }
    }
}

#[test]
fn all_that_is_known_is_told_when_the_export_goes() {
    let mut scene = Scene::new(make_tree);
    let tree = [scene.source.root(), scene.find("tree"), scene.find("tree/sub")];
    let files = ["tree/sub/deep", "tree/g"].map(|path| scene.find(path));
    fs::remove_dir_all(scene.folder.path()).unwrap();
    scene.wait_for(&all_of(&tree, &files));
    fs::create_dir(scene.folder.path()).unwrap();
    make_tree(scene.folder.path());
    scene.source.getattr(tree[0], Patience::Blocking).unwrap();
    scene.find("tree/sub");
}

#[test]
fn a_tree_that_is_moved_within_the_export_keeps_its_ids() {
    // To where clients have looked, and to where they have not: there it is known again once it is seen.
    for to in ["moved", "seen/moved", "seen/unseen/moved"] {
        let mut scene = Scene::new(make_tree);
        scene.find("seen/unseen");
        let tree = ["tree", "tree/sub", "tree/sub/deep"].map(|path| scene.find(path));
        let files = ["tree/sub/deep/f", "tree/g"].map(|path| scene.find(path));
        fs::rename(scene.at("tree"), scene.at(to)).unwrap();
        scene.settle();
        if to.contains("unseen") {
            assert_eq!(scene.find(to), tree[0]);
        }
        for id in tree {
            assert_eq!(scene.kind(id).unwrap(), 0o040_000, "{to}");
        }
        for id in files {
            assert_eq!(scene.kind(id).unwrap(), 0o100_000, "{to}");
        }
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
