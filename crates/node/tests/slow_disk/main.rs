//! A disk that hangs is the trouble of those who asked for what is on it.
//!
//! Nothing here measures time: where a node made somebody wait for the disk, that somebody would wait until the end
//! of the test, and the peer's patience ends before.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a broken assumption should stop the test where it is noticed"
)]

mod source;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use spiderweb_fs::{Export, ExportTable, LocalSource};
use spiderweb_node::{Limits, Node};
use spiderweb_testkit::FilePeer;
use spiderweb_testkit::file_peer::{locking, writing};
use spiderweb_testkit::raw_peer::PATIENCE;
use tokio::runtime::Runtime;

use crate::source::{Disk, SlowSource};

/// Two exports on one disk, each with the files `slow` and `fast`.
struct Bench {
    addr: SocketAddr,
    disk: Arc<Disk>,
    folders: [PathBuf; 2],
    _home: tempfile::TempDir,
    _node: Node,
    _runtime: Runtime,
}

impl Bench {
    fn start() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let home = tempfile::tempdir().unwrap();
        let disk = Arc::new(Disk::default());
        let folders = ["one", "two"].map(|name| home.path().join(name));
        let exports = folders.iter().enumerate().map(|(index, folder)| {
            fs::create_dir(folder).unwrap();
            for name in ["slow", "fast"] {
                fs::write(folder.join(name), name).unwrap();
            }
            let source = SlowSource {
                inner: LocalSource::open(folder, index).unwrap(),
                disk: disk.clone(),
            };
            Export::new(format!("export-{index}"), "a slow disk", false, Arc::new(source))
        });
        let table = ExportTable::new(exports.collect()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(limits.blocking_threads())
            .enable_all()
            .build()
            .unwrap();
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        let node = runtime
            .block_on(Node::serve(listen, table, None, limits))
            .unwrap();
        Self {
            addr: node.address().unwrap(),
            disk,
            folders,
            _home: home,
            _node: node,
            _runtime: runtime,
        }
    }

    fn peer(&self) -> FilePeer {
        FilePeer::connect(self.addr)
    }
}

impl Drop for Bench {
    /// Otherwise the runtime would wait for its threads for ever.
    fn drop(&mut self) {
        self.disk.recover();
    }
}

/// Does everything that does not touch a hanging object, and is answered.
#[track_caller]
fn assert_served(peer: &mut FilePeer, export: usize, name: &str) {
    let root = peer.root_of(export);
    let fast = peer.find(root, "fast");
    peer.getattr(fast).unwrap();
    peer.names(root, 10);
    let handle = peer.open(fast, 2).unwrap();
    assert_eq!(peer.read(handle, 0, 4).unwrap().0, b"fast");
    peer.write(handle, 0, b"fast").unwrap();
    peer.lock(handle, "exclusive", false).unwrap();
    peer.close(handle).unwrap();
    peer.put(root, name, b"new").unwrap();
    peer.unlink(root, name).unwrap();
    peer.mkdir(root, name).unwrap();
    peer.rmdir(root, name).unwrap();
}

#[test]
fn a_fault_in_the_node_is_answered_and_ends_nothing_else() {
    let bench = Bench::start();
    let mut peer = bench.peer();
    let slow = peer.find(peer.root(), "slow");
    bench.disk.break_down(slow);
    for _ in 0..10 {
        assert_eq!(peer.getattr(slow).unwrap_err().errno, 5);
    }
    let behind = [
        peer.send("getattr", json!({"node": slow})),
        peer.send("statfs", json!({"node": peer.root()})),
    ];
    peer.answer(behind[0]).unwrap_err();
    peer.answer(behind[1]).unwrap();
    bench.disk.recover();
    peer.getattr(slow).unwrap();
    assert_served(&mut peer, 0, "a");
}

#[test]
fn requests_pass_one_that_hangs_where_no_order_shows() {
    let bench = Bench::start();
    let mut peer = bench.peer();
    let slow = peer.find(peer.root(), "slow");
    let handle = peer.open(slow, 2).unwrap();
    bench.disk.hang(slow);
    let read = peer.send("read", json!({"h": handle, "payload": {"off": 0, "len": 10}}));
    bench.disk.wait_stuck(1);
    assert_served(&mut peer, 0, "a");
    assert_served(&mut peer, 1, "b");
    // What shows the order keeps it: these wait for the read, in their turn.
    let write = peer.send("write", writing(handle, 0, b"NEW"));
    let again = peer.send("read", json!({"h": handle, "payload": {"off": 0, "len": 10}}));
    let close = peer.send("close", json!({"h": handle}));
    peer.ask("exports", json!({})).unwrap();
    bench.disk.recover();
    assert_eq!(peer.answer(read).unwrap()["data_b64"], "c2xvdw==");
    peer.answer(write).unwrap();
    assert_eq!(peer.answer(again).unwrap()["data_b64"], "TkVXdw==");
    peer.answer(close).unwrap();
}

#[test]
fn a_directory_that_hangs_delays_no_other_session_and_no_other_export() {
    let bench = Bench::start();
    let (mut peer, mut other) = (bench.peer(), bench.peer());
    let root = peer.root();
    peer.mkdir(root, "sub").unwrap();
    let sub = peer.find(root, "sub");
    bench.disk.hang(sub);
    let create = peer.send("create", json!({"node": sub, "payload": {"name": "x"}}));
    bench.disk.wait_stuck(1);
    assert_served(&mut other, 0, "a");
    assert_served(&mut other, 1, "b");
    assert_served(&mut peer, 1, "c");
    assert_served(&mut bench.peer(), 0, "d");
    bench.disk.recover();
    peer.answer(create).unwrap();
}

#[test]
fn stuck_requests_of_one_session_use_up_nobody_elses_threads() {
    const SESSIONS: usize = 20;
    const REQUESTS: usize = 10;
    let bench = Bench::start();
    let mut crowd: Vec<(FilePeer, Vec<u32>)> = Vec::new();
    let (mut late, mut bystander) = (bench.peer(), bench.peer());
    let slow = late.find(late.root(), "slow");
    let late_handle = late.open(slow, 0).unwrap();
    let mut opened: Vec<(FilePeer, u64)> = (0..SESSIONS)
        .map(|_| {
            let mut peer = bench.peer();
            let handle = peer.open(slow, 0).unwrap();
            (peer, handle)
        })
        .collect();
    bench.disk.hang(slow);
    for (mut peer, handle) in opened.drain(..) {
        let read = json!({"h": handle, "payload": {"off": 0, "len": 10}});
        let tags = (0..REQUESTS).map(|_| peer.send("read", read.clone())).collect();
        crowd.push((peer, tags));
    }
    // One for each session, and all threads that are there for overtaking.
    bench.disk.wait_stuck(SESSIONS + Limits::default().extra_runners);
    assert_served(&mut bystander, 0, "a");
    // Whoever comes now and gets stuck still gets answers that are at hand.
    let read = late.send(
        "read",
        json!({"h": late_handle, "payload": {"off": 0, "len": 10}}),
    );
    bench
        .disk
        .wait_stuck(SESSIONS + Limits::default().extra_runners + 1);
    late.ask("exports", json!({})).unwrap();
    let fast = bystander.find(bystander.root(), "fast");
    if LocalSource::open(&bench.folders[0], 0).is_ok_and(|source| answers_at_once(&source)) {
        late.getattr(fast).unwrap();
    }
    assert_served(&mut bystander, 1, "b");
    bench.disk.recover();
    late.answer(read).unwrap();
    for (mut peer, tags) in crowd {
        let mut answered = Vec::new();
        while answered.len() < tags.len() {
            let (tag, answer) = peer.next_answer(PATIENCE).expect("an answer to every request");
            answer.unwrap();
            answered.push(tag);
        }
        answered.sort_unstable();
        assert_eq!(answered, tags);
    }
}

/// Whether this kernel and file system answer anything from memory.
fn answers_at_once(source: &LocalSource) -> bool {
    use spiderweb_fs::{Patience, Source as _};
    source.getattr(source.root(), Patience::Immediate).is_ok()
}

#[test]
fn a_full_queue_stops_the_reading_and_loses_nothing() {
    const BLOCK: usize = 64 << 10;
    const BLOCKS: usize = 1_000;
    let bench = Bench::start();
    let (mut peer, mut other) = (bench.peer(), bench.peer());
    let slow = peer.find(peer.root(), "slow");
    let handle = peer.open(slow, 2).unwrap();
    bench.disk.hang(slow);
    let sent = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut tags = Vec::new();
            for block in 0..BLOCKS {
                let data = vec![u8::try_from(block % 251).unwrap(); BLOCK];
                tags.push(peer.send("write", writing(handle, (block * BLOCK) as u64, &data)));
                sent.fetch_add(1, Ordering::Relaxed);
            }
            (peer, tags)
        });
        bench.disk.wait_stuck(1);
        // At rest: nothing more is taken while others are served at length.
        let mut taken = usize::MAX;
        while taken != sent.load(Ordering::Relaxed) {
            taken = sent.load(Ordering::Relaxed);
            for round in 0..20 {
                assert_served(&mut other, 0, &format!("round-{round}"));
            }
        }
        // What waits in the node, 128 requests or 8 MiB, and what the system's buffers hold.
        assert!(
            taken < 500,
            "{taken} blocks were taken from a client whose disk hangs"
        );
        bench.disk.recover();
        let (mut peer, tags) = sender.join().unwrap();
        for tag in tags {
            peer.answer(tag).unwrap();
        }
    });
    let content = fs::read(bench.folders[0].join("slow")).unwrap();
    assert_eq!(content.len(), BLOCK * BLOCKS);
    for (block, data) in content.chunks(BLOCK).enumerate() {
        assert!(
            data.iter().all(|byte| usize::from(*byte) == block % 251),
            "block {block}"
        );
    }
}

#[test]
fn a_client_that_leaves_while_its_disk_hangs_leaves_nothing_behind() {
    let bench = Bench::start();
    let mut other = bench.peer();
    let slow = other.find(other.root(), "slow");
    bench.disk.hang(slow);
    for _ in 0..30 {
        let mut peer = bench.peer();
        peer.send("open", json!({"node": slow, "payload": {"flags": 0}}));
        peer.send("getattr", json!({"node": slow}));
    }
    bench.disk.wait_stuck(30);
    assert_served(&mut other, 0, "a");
    bench.disk.recover();
    let mut answers = BTreeMap::new();
    for _ in 0..10 {
        let tag = other.send("getattr", json!({"node": slow}));
        answers.insert(tag, other.answer(tag).unwrap());
    }
    assert_eq!(answers.len(), 10);
    assert!(
        other.next_answer(Duration::from_millis(50)).is_none(),
        "nobody else's answers"
    );
}

#[test]
fn a_create_that_is_repeated_after_a_lost_link_finds_its_own_file() {
    let bench = Bench::start();
    let mut lost = bench.peer();
    let root = lost.root();
    bench.disk.hang(root);
    lost.send("create", json!({"node": root, "payload": {"name": "lock"}}));
    bench.disk.wait_stuck(1);
    drop(lost);
    let mut back = bench.peer();
    // The node hears of the hang-up while it answers these.
    for _ in 0..100 {
        back.ask("exports", json!({})).unwrap();
    }
    bench.disk.recover();
    let limit = Instant::now() + Duration::from_secs(20);
    while !bench.folders[0].join("lock").exists() {
        assert!(Instant::now() < limit, "the lost request is carried out");
        std::thread::yield_now();
    }
    let (_, handle) = loop {
        match back.create(root, "lock") {
            Ok(created) => break created,
            // The file is there a moment before the node knows that nobody heard of it.
            Err(refusal) => assert!(refusal.errno == 17 && Instant::now() < limit, "{refusal:?}"),
        }
    };
    back.write(handle, 0, b"mine").unwrap();
    assert_eq!(back.create(root, "lock").unwrap_err().errno, 17, "once");
}

/// A bench whose waits for locks end soon, a peer with a handle of `slow`, and the lock of another program on it.
fn contended() -> (Bench, FilePeer, u64, fs::File) {
    let bench = Bench::with(Limits {
        lock_wait: Duration::from_secs(1),
        ..Limits::default()
    });
    let other_program = fs::File::open(bench.folders[0].join("slow")).unwrap();
    rustix::fs::flock(&other_program, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut peer = bench.peer();
    let slow = peer.find(peer.root(), "slow");
    let handle = peer.open(slow, 2).unwrap();
    (bench, peer, handle, other_program)
}

#[test]
fn a_lock_that_is_taken_late_was_never_refused() {
    let (bench, mut peer, handle, other_program) = contended();
    let slow = peer.find(peer.root(), "slow");
    let refused = peer.lock(handle, "exclusive", true).unwrap_err();
    assert_eq!(refused.errno, 11, "a wait ends");
    let waiting = peer.send("lock", locking(handle, "exclusive", true));
    // Behind the first attempt, which begins the wait.
    assert_eq!(peer.lock(handle, "exclusive", false).unwrap_err().errno, 11);
    bench.disk.hang(slow);
    bench.disk.wait_stuck(1);
    drop(other_program);
    // An attempt is under way when the wait would end, and it will succeed.
    let early = peer.next_answer(Duration::from_millis(1_500));
    assert!(early.is_none(), "{early:?}");
    bench.disk.recover();
    peer.answer(waiting).unwrap();
    let mut other = bench.peer();
    let theirs = other.open(slow, 2).unwrap();
    assert_eq!(other.lock(theirs, "exclusive", false).unwrap_err().errno, 11);
    peer.close(handle).unwrap();
    other.lock(theirs, "exclusive", false).unwrap();
}

#[test]
fn a_lock_that_nobody_waits_for_any_more_belongs_to_its_handle() {
    let (bench, mut peer, handle, other_program) = contended();
    let slow = peer.find(peer.root(), "slow");
    peer.send("lock", locking(handle, "exclusive", true));
    assert_eq!(peer.lock(handle, "exclusive", false).unwrap_err().errno, 11);
    bench.disk.hang(slow);
    bench.disk.wait_stuck(1);
    drop((other_program, peer));
    bench.disk.recover();
    // Whoever has the handle has the lock, whether the attempt succeeds before or after this.
    let mut back = bench.peer();
    back.lock(handle, "exclusive", true).unwrap();
    let mut other = bench.peer();
    let theirs = other.open(slow, 2).unwrap();
    for _ in 0..20 {
        assert_eq!(other.lock(theirs, "exclusive", false).unwrap_err().errno, 11);
    }
    back.close(handle).unwrap();
    other.lock(theirs, "exclusive", true).unwrap();
}
