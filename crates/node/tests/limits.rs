//! Bounds on what peers may cost, with bounds small enough to be reached.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a broken assumption should stop the test where it is noticed"
)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::json;
use spiderweb_node::{DiskWork, ExportConfig, Limits, Node, NodeConfig, ServicesConfig};
use spiderweb_protocol::Secret;
use spiderweb_testkit::FilePeer;
use spiderweb_testkit::file_peer::writing;
use spiderweb_testkit::raw_peer::{ENDPOINT, RawPeer, upgrade_request};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

struct Bench {
    addr: SocketAddr,
    _home: TempDir,
    _node: Node,
    _runtime: Runtime,
}

impl Bench {
    fn start(limits: Limits) -> Self {
        Self::start_with(limits, None)
    }

    fn start_with(limits: Limits, token: Option<Secret>) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("file"), vec![b'x'; 1 << 20]).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let export = ExportConfig {
            name: "work".to_owned(),
            path: home.path().to_owned(),
            description: "work".to_owned(),
            read_only: false,
        };
        let config = NodeConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            control: None,
            exports: vec![export],
            default_export: false,
            node_name: "test".to_owned(),
            services: ServicesConfig::default(),
            token,
            limits,
            disk_work: DiskWork::default(),
        };
        let node = runtime.block_on(Node::start(config)).unwrap();
        Self {
            addr: node.address().unwrap(),
            _home: home,
            _node: node,
            _runtime: runtime,
        }
    }

    /// Asks for an upgrade; the status of the answer.
    fn knock(&self) -> u16 {
        self.knock_with("")
    }

    /// The same with more header lines.
    fn knock_with(&self, headers: &str) -> u16 {
        let mut peer = RawPeer::dial(self.addr).unwrap();
        let request = upgrade_request(self.addr, ENDPOINT);
        let request = request.strip_suffix("\r\n").unwrap();
        peer.send_bytes(format!("{request}{headers}\r\n").as_bytes())
            .unwrap();
        peer.http_head(SOON).unwrap().status
    }
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "still not so after {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn connections_over_the_limit_are_told_and_those_inside_go_on() {
    let bench = Bench::start(Limits {
        connections: 3,
        ..Limits::default()
    });
    let mut inside: Vec<FilePeer> = (0..2).map(|_| FilePeer::connect(bench.addr)).collect();
    // One that says nothing takes a place as well.
    let silent = RawPeer::dial(bench.addr).unwrap();
    wait_until("the fourth is refused", || bench.knock() == 503);
    for peer in &mut inside {
        peer.getattr(peer.root()).unwrap();
    }
    drop(silent);
    wait_until("a place is free again", || bench.knock() == 101);
}

#[test]
fn pages_of_web_sites_need_a_token() {
    const PAGE: &str = "Origin: https://evil.example\r\n";
    let open = Bench::start(Limits::default());
    assert_eq!(open.knock_with(PAGE), 403);
    assert_eq!(open.knock_with("oRIGIN: null\r\n"), 403);
    assert_eq!(open.knock_with("Origin: http://localhost:3000\r\n"), 101);
    assert_eq!(open.knock(), 101);
    let guarded = Bench::start_with(Limits::default(), Some(Secret::new("t0ken")));
    assert_eq!(guarded.knock_with(PAGE), 101);
}

#[test]
fn a_peer_that_never_says_hello_is_ended() {
    let bench = Bench::start(Limits {
        hello: Duration::from_millis(200),
        ..Limits::default()
    });
    let mut patient = FilePeer::connect(bench.addr);
    let mut silent = RawPeer::connect(bench.addr, ENDPOINT).unwrap();
    // Pings are answered, and are no hello.
    silent.ping(b"here").unwrap();
    silent.expect_end(SOON).unwrap();
    patient.getattr(patient.root()).unwrap();
}

/// What takes no disk is answered behind what does.
#[test]
fn answers_come_in_the_order_of_requests_while_none_stands_still() {
    let bench = Bench::start(Limits {
        overtake_after: SOON,
        ..Limits::default()
    });
    let mut peer = FilePeer::connect(bench.addr);
    let root = peer.root();
    let file = peer.find(root, "file");
    let handle = peer.open(file, 2).unwrap();
    for round in 0..50 {
        let name = format!("d{round}");
        let named = |name: &str| json!({"node": root, "payload": {"name": name}});
        let tags = [
            ("write", writing(handle, 0, b"x")),
            ("lookup", named("..")),
            ("mkdir", named(&name)),
            (
                "hello",
                json!({"payload": {"protocol": "unified-v2-fs", "proto": 2}}),
            ),
            ("read", json!({"h": handle, "payload": {"off": 0, "len": 1}})),
            ("exports", json!({})),
            ("rmdir", named(&name)),
            ("exports", json!({})),
            ("getattr", json!({})),
        ]
        .map(|(op, members)| peer.send(op, members));
        let answered = tags.map(|_| peer.next_answer(SOON).unwrap().0);
        assert_eq!(answered, tags, "round {round}");
    }
}

#[test]
fn few_peers_at_a_time_may_send_large_messages_before_hello() {
    const LARGE: usize = 1 << 20;
    let bench = Bench::start(Limits {
        large_greetings: 1,
        ..Limits::default()
    });
    let knock = || RawPeer::connect(bench.addr, ENDPOINT).unwrap();
    let mut first = knock();
    first.ping(&vec![b'x'; LARGE]).unwrap();
    // A masked text of 4 MiB, of which nothing comes.
    let mut announced = vec![0x81, 0xff];
    announced.extend((4_u64 << 20).to_be_bytes());
    announced.extend([0; 4]);
    let mut second = knock();
    second.send_bytes(&announced).unwrap();
    second.expect_end(SOON).unwrap();
    // The place lasts as long as its owner has not said hello; others need none.
    first.ping(&vec![b'x'; LARGE]).unwrap();
    knock().ping(&vec![b'x'; 16 * 1024]).unwrap();
    let mut welcome = FilePeer::connect(bench.addr);
    let (_, handle) = welcome.create(welcome.root(), "large").unwrap();
    assert_eq!(
        welcome.write(handle, 0, &vec![b'x'; LARGE]).unwrap(),
        LARGE as u64
    );
    welcome.raw.ping(&vec![b'x'; LARGE]).unwrap();
    drop(first);
    wait_until("the place is free", || knock().ping(&vec![b'x'; LARGE]).is_ok());
    // A hello may be large as well, and its place is free as soon as it is answered.
    let padded = json!({"padding": "x".repeat(LARGE)});
    let mut guests = Vec::new();
    for _ in 0..3 {
        wait_until("the place is free", || {
            let guest = RawPeer::hello_with(bench.addr, padded.clone());
            guest.map(|guest| guests.push(guest)).is_ok()
        });
    }
}

#[test]
fn a_peer_that_reads_nothing_at_all_is_dropped_after_a_while() {
    let bench = Bench::start(Limits {
        unread: Duration::from_millis(500),
        ..Limits::default()
    });
    let (mut deaf, mut slow) = (FilePeer::connect(bench.addr), FilePeer::connect(bench.addr));
    let file = deaf.find(deaf.root(), "file");
    let handle = deaf.open(file, 0).unwrap();
    let read = json!({"h": handle, "payload": {"off": 0, "len": 1 << 20}});
    for _ in 0..30 {
        deaf.send("read", read.clone());
    }
    // Silence alone is no offence.
    assert!(slow.next_answer(Duration::from_millis(1_500)).is_none());
    slow.getattr(file).unwrap();
    deaf.raw.drain(SOON).expect("the end of the connection");
    // Its handle waits for it.
    assert_eq!(slow.read(handle, 0, 1).unwrap().0, b"x");
}

#[test]
fn handles_nobody_comes_back_for_are_closed_and_their_locks_released() {
    let bench = Bench::start(Limits {
        handle_grace: Duration::from_millis(300),
        ..Limits::default()
    });
    let (mut lost, mut other) = (FilePeer::connect(bench.addr), FilePeer::connect(bench.addr));
    let file = lost.find(lost.root(), "file");
    let handle = lost.open(file, 0).unwrap();
    lost.lock(handle, "exclusive", false).unwrap();
    let kept = other.open(file, 0).unwrap();
    assert_eq!(other.lock(kept, "shared", false).unwrap_err().errno, 11);
    drop(lost);
    // A waiting client gets the lock when the time of grace is over.
    other.lock(kept, "exclusive", true).unwrap();
    wait_until("the handle is gone", || other.read(handle, 0, 1).is_err());
    assert_eq!(other.read(handle, 0, 1).unwrap_err().errno, 9);
    // Handles of a session that lives never expire.
    other.read(kept, 0, 1).unwrap();
}
