//! Rows 24 to 28 and 31: what one client does or waits for is no other client's trouble.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, FlockOperation, Mode};
use serde_json::json;
use spiderweb_testkit::FilePeer;
use spiderweb_testkit::file_peer::{locking, subject, writing};
use spiderweb_testkit::raw_peer::{Message, PATIENCE, frame};

use crate::bench::{Bench, SOON, errno, wait_until};

const WOULD_BLOCK: i64 = 11;
const BAD_HANDLE: i64 = 9;

#[test]
fn a_waiting_lock_delays_nothing_else_and_gets_its_turn() {
    let bench = Bench::start();
    let (mut peer, mut other) = (bench.peer(), bench.peer());
    let root = peer.root();
    let file = peer.find(root, "file");
    let (held, waiting) = (peer.open(file, 2).unwrap(), peer.open(file, 2).unwrap());
    peer.lock(held, "exclusive", false).unwrap();
    let wait = peer.send("lock", locking(waiting, "exclusive", true));
    // Everything on the same connection, the unlock that is waited for last.
    peer.getattr(file).unwrap();
    peer.names(root, 10);
    peer.write(waiting, 0, b"advisory").unwrap();
    assert_eq!(peer.read(waiting, 0, 8).unwrap().0, b"advisory");
    peer.put(root, "new", b"x").unwrap();
    peer.rename((root, "new"), (root, "renamed")).unwrap();
    let impatient = peer.open(file, 0).unwrap();
    assert_eq!(errno(peer.lock(impatient, "shared", false)), WOULD_BLOCK);
    bench.assert_serves();
    other.getattr(file).unwrap();
    // Both answers are due now, in either order.
    let unlock = peer.send("lock", locking(held, "unlock", true));
    for _ in 0..2 {
        let (tag, answer) = peer.next_answer(PATIENCE).expect("an answer");
        answer.unwrap();
        assert!([wait, unlock].contains(&tag));
    }
    let second = other.open(file, 0).unwrap();
    let wait = other.send("lock", locking(second, "shared", true));
    assert_eq!(errno(peer.lock(held, "shared", false)), WOULD_BLOCK);
    peer.lock(waiting, "unlock", false).unwrap();
    other.answer(wait).unwrap();
}

#[test]
fn a_lock_that_stays_held_is_refused_before_clients_give_up() {
    let bench = Bench::start();
    let mut peer = bench.peer();
    let file = peer.find(peer.root(), "file");
    let handle = peer.open(file, 2).unwrap();
    // Held by another program.
    let foreign = fs::File::open(bench.export.join("file")).unwrap();
    rustix::fs::flock(&foreign, FlockOperation::LockExclusive).unwrap();
    let started = Instant::now();
    let wait = peer.send("lock", locking(handle, "shared", true));
    peer.getattr(file).unwrap();
    let (tag, answer) = peer
        .next_answer(Duration::from_secs(15))
        .expect("an answer within 15 s");
    assert_eq!((tag, errno(answer)), (wait, WOULD_BLOCK));
    assert!(started.elapsed() > Duration::from_secs(2), "it did not wait");
    // The wait is over: a lock that becomes free now is nobody's.
    drop(foreign);
    let foreign = fs::File::open(bench.export.join("file")).unwrap();
    rustix::fs::flock(&foreign, FlockOperation::NonBlockingLockExclusive).unwrap();
    drop(foreign);
    peer.lock(handle, "exclusive", true).unwrap();
}

#[test]
fn a_lock_another_program_gives_back_is_taken() {
    let bench = Bench::start();
    let mut peer = bench.peer();
    let file = peer.find(peer.root(), "file");
    let handle = peer.open(file, 0).unwrap();
    let foreign = fs::File::open(bench.export.join("file")).unwrap();
    rustix::fs::flock(&foreign, FlockOperation::LockExclusive).unwrap();
    let wait = peer.send("lock", locking(handle, "exclusive", true));
    peer.getattr(file).unwrap();
    drop(foreign);
    peer.answer(wait).unwrap();
}

#[test]
fn closing_a_handle_ends_its_wait_and_frees_its_lock() {
    let bench = Bench::start();
    let (mut peer, mut other) = (bench.peer(), bench.peer());
    let file = peer.find(peer.root(), "file");
    let held = other.open(file, 0).unwrap();
    other.lock(held, "exclusive", true).unwrap();
    let (waiting, patient) = (peer.open(file, 0).unwrap(), peer.open(file, 2).unwrap());
    let wait = peer.send("lock", locking(waiting, "exclusive", true));
    let close = peer.send("close", json!({"h": waiting}));
    let mut answers: Vec<_> = (0..2)
        .map(|_| peer.next_answer(PATIENCE).expect("an answer"))
        .collect();
    answers.sort_by_key(|(tag, _)| *tag);
    let [(first, ended), (second, closed)] = answers.try_into().unwrap();
    assert_eq!((first, second), (wait, close));
    closed.unwrap();
    assert_eq!(errno(ended), BAD_HANDLE);
    let wait = peer.send("lock", locking(patient, "exclusive", true));
    other.close(held).unwrap();
    peer.answer(wait).unwrap();
}

#[test]
fn clients_that_wait_for_locks_in_crowds_harm_nobody() {
    let bench = Bench::start();
    let mut holder = bench.peer();
    let file = holder.find(holder.root(), "file");
    let held = holder.open(file, 0).unwrap();
    holder.lock(held, "exclusive", true).unwrap();
    let mut crowd: Vec<(FilePeer, Vec<u32>)> = Vec::new();
    for _ in 0..20 {
        let mut peer = bench.peer();
        let handles: Vec<u64> = (0..20).map(|_| peer.open(file, 0).unwrap()).collect();
        let waits = handles
            .iter()
            .map(|handle| peer.send("lock", locking(*handle, "shared", true)))
            .collect();
        crowd.push((peer, waits));
    }
    bench.assert_serves();
    for (peer, _) in &mut crowd {
        peer.getattr(file).unwrap();
    }
    holder.lock(held, "unlock", true).unwrap();
    for (peer, mut waits) in crowd {
        let mut peer = peer;
        while !waits.is_empty() {
            let (tag, answer) = peer.next_answer(PATIENCE).expect("a shared lock for everybody");
            answer.unwrap();
            waits.retain(|wait| *wait != tag);
        }
    }
}

#[test]
fn opening_a_fifo_or_device_waits_for_nobody() {
    let bench = Bench::start_with(
        |export| {
            rustix::fs::mknodat(CWD, export.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
            drop(std::os::unix::net::UnixListener::bind(export.join("socket")).unwrap());
            // Only the superuser may; elsewhere the other two have to do.
            let null = rustix::fs::makedev(1, 3);
            let _ = rustix::fs::mknodat(
                CWD,
                export.join("device"),
                FileType::CharacterDevice,
                Mode::RWXU,
                null,
            );
        },
        &[],
    );
    let mut peer = bench.peer();
    let root = peer.root();
    for name in peer.names(root, 10) {
        let node = peer.find(root, &name);
        for flags in [0, 1, 2, 512 | 1] {
            assert!(
                [6, 13].contains(&errno(peer.open(node, flags))),
                "{name} with {flags}"
            );
        }
        assert!(peer.truncate(node, 0).is_err(), "{name}");
        assert!(peer.set_xattr(node, "user.a", b"x").is_err(), "{name}");
        let listed = peer.ask("listxattr", json!({"node": node}));
        assert_eq!(listed.is_ok(), cfg!(target_os = "linux"), "{name}");
        assert_eq!(peer.getattr(node).unwrap()["k"], 1, "{name}");
        peer.rename((root, &name), (root, "moved")).unwrap();
        peer.unlink(root, "moved").unwrap();
    }
    bench.assert_serves();
}

#[test]
fn a_client_that_stops_reading_costs_itself_alone() {
    const FILES: usize = 9_000;
    const READS: usize = 40;
    const BLOCK: usize = 1 << 20;
    let bench = Bench::start_with(
        |export| {
            fs::write(export.join("block"), vec![b'b'; BLOCK]).unwrap();
            fs::create_dir(export.join("many")).unwrap();
            for number in 0..FILES {
                fs::write(export.join(format!("many/{number}")), "").unwrap();
            }
        },
        &[],
    );
    let (mut deaf, mut other) = (bench.peer(), bench.peer());
    let root = deaf.root();
    let many = other.find(root, "many");
    assert_eq!(other.names(many, 16_384).len(), FILES);
    let block = deaf.find(root, "block");
    let handle = deaf.open(block, 0).unwrap();
    let before = bench.resident();
    let reads: Vec<u32> = (0..READS)
        .map(|_| deaf.send("read", json!({"h": handle, "payload": {"off": 0, "len": BLOCK}})))
        .collect();
    // More news than a mailbox keeps one by one, by another program and by another client.
    for number in 0..FILES {
        let path = bench.export.join(format!("many/{number}"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let (file, writing_handle) = other.create(root, "busy").unwrap();
    for _ in 0..2_000 {
        other.write(writing_handle, 0, b"x").unwrap();
    }
    let last = other.find(many, &(FILES - 1).to_string());
    // One of all, or one for all of them.
    other.events_until(|event| [last, root].contains(&subject(event)));
    bench.assert_serves();
    let grown = bench.resident().saturating_sub(before);
    assert!(
        grown < 96 << 20,
        "{} MiB for one client that does not read",
        grown >> 20
    );

    // It reads again: every reply is there, and the news are either complete or one for everything.
    let mut unanswered: std::collections::BTreeSet<u32> = reads.into_iter().collect();
    while !unanswered.is_empty() {
        let (tag, answer) = deaf.next_answer(SOON).expect("every read is answered");
        assert_eq!(
            answer.unwrap()["data_b64"].as_str().unwrap().len(),
            BLOCK.div_ceil(3) * 4
        );
        assert!(unanswered.remove(&tag));
    }
    let (marker, _) = other.create(root, "marker").unwrap();
    let news = deaf.events_until(|event| subject(event) == marker);
    let about = |id: u64| news.iter().any(|event| subject(event) == id);
    assert!(about(root) || (about(file) && about(last)), "{} news", news.len());
    assert!(news.len() <= 2 * 8192 + 16, "{} news", news.len());
}

#[test]
fn clients_that_stop_reading_in_crowds_do_not_stop_a_writer() {
    let bench = Bench::start();
    let deaf: Vec<FilePeer> = (0..50).map(|_| bench.peer()).collect();
    let mut writer = bench.peer();
    let file = writer.find(writer.root(), "file");
    let handle = writer.open(file, 2).unwrap();
    // The original freezes after some 12 500 small events; here they are sent and answered in bursts.
    for _ in 0..400 {
        let tags: Vec<u32> = (0..50)
            .map(|_| writer.send("write", writing(handle, 0, b"x")))
            .collect();
        for tag in tags {
            writer.answer(tag).unwrap();
        }
        writer.raw.forget_events();
    }
    bench.assert_serves();
    drop(deaf);
}

#[test]
fn an_idle_node_does_nothing_however_much_it_serves() {
    const FILES: usize = 5_000;
    let bench = Bench::start_with(
        |export| {
            for number in 0..FILES {
                fs::write(export.join(format!("file-{number}")), "").unwrap();
            }
        },
        &[],
    );
    let mut peer = bench.peer();
    assert_eq!(peer.names(peer.root(), 16_384).len(), FILES);
    peer.forget_events();
    let before = bench.processor_ticks();
    assert!(peer.next_answer(Duration::from_millis(1_500)).is_none());
    let spent = bench.processor_ticks() - before;
    assert!(spent <= 3, "{spent} ticks of 10 ms while nothing happens");
}

#[test]
fn handles_of_a_lost_connection_serve_its_client_when_it_comes_back() {
    let bench = Bench::start();
    let mut lost = bench.peer();
    let root = lost.root();
    let before = bench.descriptors();
    let file = lost.find(root, "file");
    let handles: Vec<u64> = (0..100).map(|_| lost.open(file, 2).unwrap()).collect();
    lost.lock(handles[0], "exclusive", true).unwrap();
    assert!(bench.descriptors() >= before + 100);
    drop(lost);
    let mut back = bench.peer();
    for handle in &handles {
        assert_eq!(back.read(*handle, 0, 6).unwrap().0, b"inside");
    }
    back.write(handles[7], 0, b"INSIDE").unwrap();
    // Its lock waited for it as well.
    let mut other = bench.peer();
    let rival = other.open(file, 0).unwrap();
    assert_eq!(errno(other.lock(rival, "shared", false)), WOULD_BLOCK);
    back.lock(handles[0], "unlock", true).unwrap();
    other.lock(rival, "shared", false).unwrap();
    for handle in &handles {
        back.close(*handle).unwrap();
        assert_eq!(errno(back.read(*handle, 0, 1)), BAD_HANDLE);
    }
    other.close(rival).unwrap();
    wait_until("closed handles give their descriptors back", || {
        bench.descriptors() <= before + 2
    });
}

#[test]
fn handles_of_clients_that_come_and_go_do_not_use_up_the_node() {
    // 128 handles for everybody, 32 for one client.
    let bench = Bench::start_command(
        |export| fs::write(export.join("file"), "inside").unwrap(),
        |command| command.descriptor_limit(256),
    );
    for round in 0..20 {
        let mut peer = bench.peer();
        let file = peer.find(peer.root(), "file");
        for _ in 0..10 {
            let handle = peer
                .open(file, 0)
                .unwrap_or_else(|refusal| panic!("round {round}: {refusal:?}"));
            peer.read(handle, 0, 1).unwrap();
        }
        drop(peer);
        bench.assert_serves();
    }
    assert!(bench.descriptors() < 200, "{}", bench.descriptors());
}

#[test]
fn a_stopping_node_keeps_what_it_acknowledged_and_says_goodbye() {
    const BLOCK: usize = 256 << 10;
    let mut bench = Bench::start();
    let (mut writer, mut idle, mut waiting) = (bench.peer(), bench.peer(), bench.peer());
    let root = writer.root();
    let (_, handle) = writer.create(root, "log").unwrap();
    let file = waiting.find(root, "file");
    let (held, blocked) = (waiting.open(file, 0).unwrap(), waiting.open(file, 0).unwrap());
    waiting.lock(held, "exclusive", true).unwrap();
    let wait = waiting.send("lock", locking(blocked, "exclusive", true));
    let mut writes = Vec::new();
    for block in 0..20_u64 {
        let data = vec![u8::try_from(block).unwrap() + 1; BLOCK];
        writes.push(writer.send("write", writing(handle, block * BLOCK as u64, &data)));
    }
    bench.node.terminate().unwrap();
    let mut acknowledged = Vec::new();
    loop {
        match writer.raw.message(SOON) {
            Ok(Message::Event(_)) => {}
            Ok(Message::Reply(reply)) => {
                assert_eq!(reply["ok"], true, "{reply}");
                acknowledged.push(writes.iter().position(|tag| reply["tag"] == *tag).unwrap());
            }
            Err(_) => break,
        }
    }
    assert!(!acknowledged.is_empty());
    let (tag, answer) = waiting
        .next_answer(PATIENCE)
        .expect("an answer to the lock that waits");
    assert_eq!((tag, errno(answer)), (wait, WOULD_BLOCK));
    while idle.raw.frame(PATIENCE).unwrap().opcode != frame::CLOSE {}
    idle.raw.expect_end(PATIENCE).unwrap();
    let status = bench.node.wait_exit(SOON).unwrap();
    assert!(status.success(), "{status}");
    let content = fs::read(bench.export.join("log")).unwrap();
    for block in acknowledged {
        let expected = u8::try_from(block).unwrap() + 1;
        assert!(
            content[block * BLOCK..][..BLOCK]
                .iter()
                .all(|byte| *byte == expected),
            "block {block}"
        );
    }
}

#[test]
fn a_stopping_node_does_not_wait_for_a_client_that_does_not_read() {
    let mut bench = Bench::start_with(
        |export| fs::write(export.join("block"), vec![b'b'; 1 << 20]).unwrap(),
        &[],
    );
    let mut deaf = bench.peer();
    let block = deaf.find(deaf.root(), "block");
    let handle = deaf.open(block, 0).unwrap();
    for _ in 0..40 {
        deaf.send(
            "read",
            json!({"h": handle, "payload": {"off": 0, "len": 1 << 20}}),
        );
    }
    bench.assert_serves();
    bench.node.terminate().unwrap();
    let status = bench.node.wait_exit(SOON).unwrap();
    assert!(status.success(), "{status}");
}
