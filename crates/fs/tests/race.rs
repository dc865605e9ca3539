//! Whatever moves while requests run, nothing outside the export is reached.
//!
//! Some threads are the neighbours: they swap directories for links that lead outside and back again, in one step
//! so that both always exist, and move directories around inside. Others are the clients: they do everything a
//! client can, by ids that were true a moment ago. Outside lie canaries.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail; its helpers are outside of test functions"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use spiderweb_fs::{FsError, LocalSource, OpenFile, Patience, Source};
use spiderweb_protocol::fs::{ListingEncoder, OpenFlags, XattrFlags};
use spiderweb_protocol::{EntryName, InodeId};

/// How long each round runs; every thread goes through thousands of turns.
const ROUND: Duration = Duration::from_millis(1_500);

/// A round that takes this much longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

const CLIENTS: u64 = 4;

/// Turns of all clients that must have worked for a round to have shown anything.
const ENOUGH: u64 = 200;

/// What files outside say. Files inside never do.
const CANARY: &str = "canary: nobody may read this";

/// Names that are swapped: each is a directory now and a link that leads outside a moment later.
const SWAPPED: [&str; 3] = ["d0", "d1", "d2"];

/// Names below them, on both sides, and names that clients make.
const BELOW: [&str; 5] = ["file", "sub", "new", "moved", "link"];

struct Scene {
    _home: tempfile::TempDir,
    export: PathBuf,
    outside: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (export, outside) = (home.path().join("export"), home.path().join("outside"));
        // The same names on both sides: whoever is on the wrong side finds what it looks for.
        for (place, text) in [(&export, "inside"), (&outside, CANARY)] {
            for name in SWAPPED {
                fs::create_dir_all(place.join(name).join("sub")).unwrap();
                fs::write(place.join(name).join("file"), text).unwrap();
                fs::write(place.join(name).join("sub/file"), text).unwrap();
            }
        }
        fs::create_dir(export.join("attic")).unwrap();
        for name in SWAPPED {
            symlink(outside.join(name), export.join(format!("{name}.swap"))).unwrap();
        }
        symlink("../outside/d0", export.join("way-out")).unwrap();
        Self {
            _home: home,
            export,
            outside,
        }
    }

    /// Swaps a directory and a link in one step, and moves a directory up and down.
    fn neighbours(&self, number: usize, stop: &AtomicBool) {
        let at = |path: String| self.export.join(path);
        let name = SWAPPED.get(number).copied().unwrap_or("d0");
        while !stop.load(Ordering::Relaxed) {
            let (here, swap) = (at(name.to_owned()), at(format!("{name}.swap")));
            for _ in 0..2 {
                // Clients remove and move things, so any of this may fail.
                let _ = renameat_with(CWD, &here, CWD, &swap, RenameFlags::EXCHANGE);
                thread::yield_now();
            }
            let _ = fs::rename(&here, at(format!("attic/{name}")));
            let _ = symlink(self.outside.join(name), &here);
            thread::yield_now();
            let _ = fs::remove_file(&here);
            let _ = fs::rename(at(format!("attic/{name}")), &here);
            let _ = fs::create_dir_all(here.join("sub"));
            let _ = fs::write(here.join("sub/file"), "inside");
        }
    }
}

/// Every path outside with its content, directories included.
fn snapshot(folder: &Path, into: &mut BTreeMap<PathBuf, Option<String>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            snapshot(&path, into);
            into.insert(path, None);
        } else {
            let content = fs::read_to_string(&path).unwrap();
            into.insert(path, Some(content));
        }
    }
}

/// A small generator of its own, so that a run needs nothing but its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of.get(self.roll(of.len())).unwrap().clone()
    }
}

struct Client<'s> {
    source: &'s LocalSource,
    dice: Dice,
    ids: Vec<InodeId>,
    files: Vec<Box<dyn OpenFile>>,
    /// Operations that worked: a race in which everything fails shows nothing.
    worked: &'s AtomicU64,
}

impl Client<'_> {
    fn id(&mut self) -> InodeId {
        self.dice.pick(&self.ids)
    }

    fn name(&mut self) -> EntryName {
        let names = [&SWAPPED[..], &BELOW[..], &["attic", "way-out", "d0.swap"]].concat();
        EntryName::new(self.dice.pick(&names)).unwrap()
    }

    fn learn(&mut self, id: u64) {
        let id = InodeId::new(id).unwrap();
        if !self.ids.contains(&id) {
            self.ids.push(id);
        }
        if self.ids.len() > 64 {
            let oldest = 1 + self.dice.roll(32);
            self.ids.remove(oldest);
        }
    }

    fn turn(&mut self) -> Result<(), FsError> {
        let (id, name) = (self.id(), self.name());
        let patience = self
            .dice
            .pick(&[Patience::Blocking, Patience::Blocking, Patience::Immediate]);
        match self.dice.roll(14) {
            0..=3 => {
                let attr = self.source.lookup(id, &name, patience)?;
                self.learn(attr.id);
            }
            4 => drop(self.source.getattr(id, patience)?),
            5 => {
                let mut page = ListingEncoder::new(0, 100);
                self.source.list(id, 0, &mut page)?;
            }
            6 | 7 => {
                let flags = self
                    .dice
                    .pick(&[OpenFlags::READ, OpenFlags::READ_WRITE, OpenFlags(513)]);
                let opened = self.source.open(id, flags, patience)?;
                self.keep(opened.file)?;
            }
            8 => {
                let flags = OpenFlags::READ_WRITE;
                let opened = self.source.create(id, &name, 0o644, flags)?;
                self.learn(opened.attr.id);
                self.keep(opened.file)?;
            }
            9 => self.source.mkdir(id, &name)?,
            10 => {
                // Nobody removes what the neighbours need.
                let name = EntryName::new(self.dice.pick(&["file", "new", "moved", "link"])).unwrap();
                self.source.unlink(id, &name)?;
            }
            11 => {
                let to = self.id();
                let (old, new) = (self.dice.pick(&BELOW), self.dice.pick(&["new", "moved"]));
                let (old, new) = (EntryName::new(old).unwrap(), EntryName::new(new).unwrap());
                self.source.rename(id, &old, to, &new)?;
            }
            12 => {
                self.source.truncate(id, 3)?;
                self.source.set_xattr(id, "user.race", b"x", XattrFlags(0))?;
            }
            _ => {
                let target = self
                    .dice
                    .pick(&["../d0", "../../outside/d1", "d2/sub", "../way-out/file"]);
                self.source
                    .symlink(id, &EntryName::new("link").unwrap(), target)?;
            }
        }
        Ok(())
    }

    /// Reads what was opened, and writes to it now or later.
    fn keep(&mut self, file: Box<dyn OpenFile>) -> Result<(), FsError> {
        self.files.push(file);
        if self.files.len() > 16 {
            let at = self.dice.roll(self.files.len());
            drop(self.files.swap_remove(at));
        }
        let at = self.dice.roll(self.files.len());
        let Some(file) = self.files.get(at) else {
            return Ok(());
        };
        let content = file.read(0, 4096, Patience::Blocking)?;
        let content = String::from_utf8_lossy(&content.bytes);
        assert!(!content.contains("canary"), "a file outside was read");
        match file.write(0, b"inside, written") {
            // Opened for reading only.
            Err(FsError::Io(_)) => Ok(()),
            written => written.map(drop),
        }
    }
}

fn race(open: fn(&Path) -> LocalSource) {
    let scene = Scene::new();
    let source = open(&scene.export);
    let mut before = BTreeMap::new();
    snapshot(&scene.outside, &mut before);
    let (stop, worked) = (AtomicBool::new(false), AtomicU64::new(0));
    let end = Instant::now() + ROUND;
    let late = end + PATIENCE / 2;
    thread::scope(|scope| {
        for number in 0..SWAPPED.len() {
            let (scene, stop) = (&scene, &stop);
            scope.spawn(move || scene.neighbours(number, stop));
        }
        let clients: Vec<_> = (1..=CLIENTS)
            .map(|seed| {
                let mut client = Client {
                    source: &source,
                    dice: Dice(seed * 0x9e37_79b9),
                    ids: vec![source.root()],
                    files: Vec::new(),
                    worked: &worked,
                };
                scope.spawn(move || {
                    // On a busy machine a round takes as long as it takes to show something.
                    let too_little =
                        || client.worked.load(Ordering::Relaxed) <= ENOUGH && Instant::now() < late;
                    while Instant::now() < end || too_little() {
                        if client.turn().is_ok() {
                            client.worked.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        for client in clients {
            // A client that saw a canary panicked; the neighbours must end all the same.
            let result = client.join();
            stop.store(true, Ordering::Relaxed);
            result.unwrap();
        }
    });
    let mut after = BTreeMap::new();
    snapshot(&scene.outside, &mut after);
    assert_eq!(before, after, "something outside changed");
    assert!(
        worked.into_inner() > ENOUGH,
        "hardly anything worked, so nothing was shown"
    );
}

/// Runs a round on a thread of its own, and notices when it hangs.
fn race_that_ends(open: fn(&Path) -> LocalSource) {
    let (done, ended) = channel();
    let round = thread::spawn(move || {
        race(open);
        // Nobody listens only after the time was up.
        let _ = done.send(());
    });
    match ended.recv_timeout(PATIENCE) {
        Ok(()) => {}
        Err(RecvTimeoutError::Disconnected) => std::panic::resume_unwind(round.join().unwrap_err()),
        Err(RecvTimeoutError::Timeout) => panic!("some operation hangs"),
    }
}

#[test]
fn swapped_links_and_moving_directories_never_lead_outside() {
    race_that_ends(|folder| LocalSource::open(folder, 0).unwrap());
}

#[test]
fn swapped_links_never_lead_outside_on_older_kernels_either() {
    race_that_ends(|folder| LocalSource::open_plain(folder, 0).unwrap());
}

/// What is a link at one moment and a file at the next is always one of them, and never a mistake of the client's.
#[test]
fn an_entry_that_is_swapped_with_a_link_is_found_at_every_moment() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("target"), "").unwrap();
    fs::write(at("here"), "").unwrap();
    symlink("target", at("there")).unwrap();
    let stop = AtomicBool::new(false);
    for source in [
        LocalSource::open(folder.path(), 0).unwrap(),
        LocalSource::open_plain(folder.path(), 0).unwrap(),
    ] {
        stop.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    renameat_with(CWD, at("here"), CWD, at("there"), RenameFlags::EXCHANGE).unwrap();
                }
            });
            let name = EntryName::new("here").unwrap();
            let end = Instant::now() + ROUND;
            let mut failed = None;
            while failed.is_none() && Instant::now() < end {
                failed = source.lookup(source.root(), &name, Patience::Blocking).err();
            }
            stop.store(true, Ordering::Relaxed);
            assert!(failed.is_none(), "{failed:?}");
        });
    }
}
