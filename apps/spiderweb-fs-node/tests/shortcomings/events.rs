//! Row 20: every change is told, once, to those who want to know.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use spiderweb_testkit::file_peer::{FilePeer, number, subject};

use crate::bench::{Bench, errno, wait_until};

/// Files that the test changes from outside, each once: what was caused before one of them is told with it.
struct Markers {
    ids: BTreeSet<u64>,
    unused: Vec<(u64, PathBuf)>,
}

impl Markers {
    const COUNT: usize = 100;

    /// Makes them, and makes the node watch them.
    fn new(bench: &Bench, peer: &mut FilePeer) -> Self {
        let folder = bench.export.join("markers");
        fs::create_dir(&folder).unwrap();
        for number in 0..Self::COUNT {
            fs::write(folder.join(number.to_string()), "").unwrap();
        }
        let markers = peer.find(peer.root(), "markers");
        let page = peer.list(markers, 0, 1_000).unwrap();
        let known = page.entries.iter().skip(2);
        let unused: Vec<_> = known
            .map(|(name, attr)| (number(&attr["id"]), folder.join(name)))
            .collect();
        assert_eq!(unused.len(), Self::COUNT);
        peer.names(peer.root(), 100);
        let mut markers = Self {
            ids: unused.iter().map(|(id, _)| *id).collect(),
            unused,
        };
        // Nothing of the making may be told later.
        markers.events_so_far(peer);
        markers
    }

    /// Everything this peer was told and will be told of what happened so far.
    ///
    /// With two of them, because the order within one round of the watcher is open.
    #[track_caller]
    fn events_so_far(&mut self, peer: &mut FilePeer) -> Vec<Value> {
        let mut events = Vec::new();
        for _ in 0..2 {
            let (id, path) = self.unused.pop().expect("enough markers");
            fs::write(path, "changed").unwrap();
            events.extend(peer.events_until(|event| subject(event) == id));
        }
        self.strip(events)
    }

    /// The events that are not about markers.
    fn strip(&self, mut events: Vec<Value>) -> Vec<Value> {
        events.retain(|event| !self.ids.contains(&subject(event)));
        events
    }
}

/// Events as `(id, kind)`: `dir`, or what changed.
fn told(events: &[Value]) -> Vec<(u64, &str)> {
    let kind = |event: &'_ Value| match event["payload"]["what"].as_str() {
        Some("attr") => "attr",
        Some("data") => "data",
        Some("all") => "all",
        _ => "dir",
    };
    events.iter().map(|event| (subject(event), kind(event))).collect()
}

#[test]
fn a_clients_change_is_told_once_to_it_and_once_to_others() {
    let bench = Bench::start();
    let (mut peer, mut other) = (bench.peer(), bench.peer());
    let mut markers = Markers::new(&bench, &mut other);
    let root = peer.root();
    let mut check = |peer: &mut FilePeer, what: &str, expected: &[(u64, &str)]| {
        let mine = markers.strip(std::iter::from_fn(|| peer.raw.take_event(|_| true)).collect());
        assert_eq!(
            told(&mine),
            expected,
            "what its cause is told before the reply to {what}"
        );
        let heard = markers.events_so_far(&mut other);
        assert_eq!(told(&heard), expected, "what others are told of {what}");
        let late = markers.events_so_far(peer);
        assert_eq!(told(&late), [], "what its cause is told once more of {what}");
    };
    let (file, handle) = peer.create(root, "new").unwrap();
    check(&mut peer, "create", &[(root, "dir"), (file, "all")]);
    peer.write(handle, 0, b"text").unwrap();
    check(&mut peer, "write", &[(file, "data")]);
    peer.truncate(file, 2).unwrap();
    check(&mut peer, "truncate", &[(file, "all")]);
    peer.open(file, 512 | 1).unwrap();
    check(&mut peer, "open with truncate", &[(file, "all")]);
    peer.set_xattr(file, "user.test", b"value").unwrap();
    check(&mut peer, "setxattr", &[(file, "attr")]);
    let removal = json!({"node": file, "payload": {"name": "user.test"}});
    peer.ask("removexattr", removal).unwrap();
    check(&mut peer, "removexattr", &[(file, "attr")]);
    peer.mkdir(root, "sub").unwrap();
    check(&mut peer, "mkdir", &[(root, "dir")]);
    let sub = peer.find(root, "sub");
    peer.names(sub, 10);
    peer.rename((root, "new"), (sub, "moved")).unwrap();
    check(&mut peer, "rename", &[(root, "dir"), (sub, "dir"), (file, "all")]);
    peer.rename((sub, "moved"), (sub, "again")).unwrap();
    check(&mut peer, "rename in place", &[(sub, "dir"), (file, "all")]);
    peer.symlink(sub, "link", "again").unwrap();
    check(&mut peer, "symlink", &[(sub, "dir")]);
    peer.unlink(sub, "link").unwrap();
    check(&mut peer, "unlink of a link", &[(sub, "dir")]);
    peer.unlink(sub, "again").unwrap();
    check(&mut peer, "unlink", &[(sub, "dir")]);
    peer.rmdir(root, "sub").unwrap();
    check(&mut peer, "rmdir", &[(root, "dir")]);
    assert_eq!(errno(peer.rmdir(root, "sub")), 2);
    check(&mut peer, "a failed request", &[]);
}

#[test]
fn changed_modes_and_rewrites_of_the_same_size_are_told() {
    let bench = Bench::start();
    let mut peer = bench.peer();
    let mut markers = Markers::new(&bench, &mut peer);
    let path = bench.export.join("file");
    let file = peer.find(peer.root(), "file");
    for mode in [0o600, 0o644] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert!(
            told(&markers.events_so_far(&mut peer)).contains(&(file, "all")),
            "mode {mode:o}"
        );
    }
    let times = fs::File::open(&path)
        .unwrap()
        .metadata()
        .unwrap()
        .modified()
        .unwrap();
    let rewritten = OpenOptions::new().write(true).open(&path).unwrap();
    (&rewritten).write_all(b"INSIDE").unwrap();
    rewritten.set_modified(times).unwrap();
    assert!(told(&markers.events_so_far(&mut peer)).contains(&(file, "all")));
    assert_eq!(peer.content(file).unwrap(), b"INSIDE");
}

#[test]
fn what_is_known_by_lookup_alone_is_watched_too() {
    let bench = Bench::start_with(
        |export| {
            fs::create_dir_all(export.join("a/b")).unwrap();
            fs::write(export.join("a/b/file"), "x").unwrap();
        },
        &[],
    );
    let mut peer = bench.peer();
    let root = peer.root();
    let (b, file) = (peer.find(root, "a/b"), peer.find(root, "a/b/file"));
    fs::write(bench.export.join("a/b/file"), "changed").unwrap();
    peer.events_until(|event| subject(event) == file);
    // A name that was looked for and not there may be remembered as well.
    assert_eq!(errno(peer.lookup(b, "missing")), 2);
    fs::write(bench.export.join("a/b/missing"), "now there").unwrap();
    peer.events_until(|event| told(std::slice::from_ref(event)) == [(b, "dir")]);
    fs::remove_file(bench.export.join("a/b/file")).unwrap();
    peer.events_until(|event| subject(event) == file);
}

#[test]
fn a_directory_made_anew_is_watched_again() {
    let bench = Bench::start_with(|export| fs::create_dir(export.join("sub")).unwrap(), &[]);
    let mut peer = bench.peer();
    let mut markers = Markers::new(&bench, &mut peer);
    let root = peer.root();
    let path = bench.export.join("sub");
    // File systems like to give the number of a removed directory to the next one.
    for round in 0..5 {
        let sub = peer.find(root, "sub");
        assert!(peer.names(sub, 10).is_empty());
        fs::write(path.join("file"), "x").unwrap();
        let events = markers.events_so_far(&mut peer);
        assert!(told(&events).contains(&(sub, "dir")), "round {round}: {events:?}");
        fs::remove_dir_all(&path).unwrap();
        fs::create_dir(&path).unwrap();
        markers.events_so_far(&mut peer);
    }
}

#[test]
fn a_directory_that_moves_stays_watched_under_its_id() {
    let bench = Bench::start_with(
        |export| {
            fs::create_dir_all(export.join("a/b")).unwrap();
            fs::create_dir(export.join("c")).unwrap();
        },
        &[],
    );
    let mut peer = bench.peer();
    let mut markers = Markers::new(&bench, &mut peer);
    let root = peer.root();
    let (a, b, c) = (peer.find(root, "a"), peer.find(root, "a/b"), peer.find(root, "c"));
    for id in [a, b, c] {
        peer.names(id, 10);
    }
    fs::rename(bench.export.join("a/b"), bench.export.join("c/d")).unwrap();
    let events = markers.events_so_far(&mut peer);
    for id in [a, b, c] {
        assert!(told(&events).contains(&(id, "dir")), "{id} in {events:?}");
    }
    assert_eq!(peer.find(root, "c/d"), b);
    fs::write(bench.export.join("c/d/file"), "x").unwrap();
    assert!(told(&markers.events_so_far(&mut peer)).contains(&(b, "dir")));
}

#[test]
fn more_changes_than_the_system_keeps_are_all_told() {
    const FILES: usize = 300;
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    if limit > 100_000 {
        eprintln!("SKIPPED: this system keeps {limit} changes, too many to overflow");
        return;
    }
    let folder = |number: usize| format!("folder-{}", number % 3);
    let bench = Bench::start_with(
        |export| {
            for number in 0..FILES {
                let folder = export.join(folder(number));
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(format!("file-{number}")), "old").unwrap();
            }
        },
        &[],
    );
    let mut peer = bench.peer();
    let root = peer.root();
    let mut changed = BTreeSet::new();
    for number in 0..3 {
        let id = peer.find(root, &folder(number));
        let page = peer.list(id, 0, 1_000).unwrap();
        changed.extend(
            page.entries
                .iter()
                .skip(2)
                .map(|(_, attr)| attr["id"].as_u64().unwrap()),
        );
    }
    assert_eq!(changed.len(), FILES);
    let removed = peer.find(root, "folder-0/file-0");

    let pid = Pid::from_raw(i32::try_from(bench.node.id()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let change = |path: &Path, round: u32| {
        fs::set_permissions(path, Permissions::from_mode(0o600 + round % 2)).unwrap();
    };
    for round in 0..=u32::try_from(limit / FILES).unwrap() {
        for number in 0..FILES {
            change(
                &bench.export.join(folder(number)).join(format!("file-{number}")),
                round,
            );
        }
    }
    // After the queue is full: nothing of this is in it.
    for number in 1..FILES {
        fs::write(
            bench.export.join(folder(number)).join(format!("file-{number}")),
            "new text",
        )
        .unwrap();
    }
    fs::remove_file(bench.export.join("folder-0/file-0")).unwrap();
    kill_process(pid, Signal::CONT).unwrap();

    let folder_of_removed = peer.find(root, "folder-0");
    changed.insert(folder_of_removed);
    peer.events_until(|event| {
        changed.remove(&subject(event));
        changed.is_empty()
    });
    assert_eq!(errno(peer.getattr(removed)), 2);
    // And the watching goes on.
    peer.forget_events();
    let file = peer.find(root, "folder-1/file-1");
    wait_until("the watcher has caught up", || {
        fs::write(bench.export.join("folder-1/file-1"), "again").unwrap();
        peer.getattr(file).unwrap();
        peer.raw.take_event(|event| subject(event) == file).is_some()
    });
}

#[test]
fn a_client_that_does_not_subscribe_is_told_of_its_own_changes_alone() {
    let bench = Bench::start();
    let (mut quiet, mut writer) = (
        FilePeer::connect_with(bench.addr(), json!({"subscribe_invalidations": false})),
        bench.peer(),
    );
    let mut markers = Markers::new(&bench, &mut writer);
    let root = quiet.root();
    let file = quiet.find(root, "file");
    writer.truncate(file, 1).unwrap();
    fs::write(bench.export.join("file"), "by another program").unwrap();
    assert!(told(&markers.events_so_far(&mut writer)).contains(&(file, "all")));
    quiet.getattr(file).unwrap();
    assert_eq!(quiet.raw.take_event(|_| true), None);
    quiet.truncate(file, 2).unwrap();
    let own = quiet.events_until(|_| true);
    assert_eq!(told(&own), [(file, "all")]);
    quiet.getattr(file).unwrap();
    assert_eq!(quiet.raw.take_event(|_| true), None);
    // A later hello changes its mind.
    let hello = json!({"protocol": "unified-v2-fs", "proto": 2, "subscribe_invalidations": true});
    quiet
        .raw
        .request(json!({"type": "acheron.t_fs_hello", "payload": hello}))
        .unwrap();
    writer.truncate(file, 3).unwrap();
    quiet.events_until(|event| subject(event) == file);
}

#[test]
fn a_file_replaced_by_another_program_is_told_under_both_ids() {
    let bench = Bench::start();
    let mut peer = bench.peer();
    let mut markers = Markers::new(&bench, &mut peer);
    let root = peer.root();
    let old = peer.find(root, "file");
    fs::write(bench.outside.join("draft"), "new content").unwrap();
    fs::rename(bench.outside.join("draft"), bench.export.join("file")).unwrap();
    let events = markers.events_so_far(&mut peer);
    for expected in [(root, "dir"), (old, "all")] {
        assert!(told(&events).contains(&expected), "{expected:?} in {events:?}");
    }
    let new = peer.find(root, "file");
    assert_ne!(old, new);
    assert_eq!(errno(peer.getattr(old)), 2);
    assert_eq!(peer.content(new).unwrap(), b"new content");
    // A link in its place is none of the two.
    symlink("markers", bench.export.join("link")).unwrap();
    fs::rename(bench.export.join("link"), bench.export.join("file")).unwrap();
    let events = markers.events_so_far(&mut peer);
    assert!(told(&events).contains(&(new, "all")), "{events:?}");
    assert_eq!(errno(peer.getattr(new)), 2);
}
