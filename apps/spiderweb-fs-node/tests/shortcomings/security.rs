//! Rows 1 to 9: what a client must not be able to do.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use serde_json::json;
use spiderweb_testkit::file_peer::{FilePeer, subject};
use spiderweb_testkit::raw_peer::{ENDPOINT, PATIENCE, PeerError, RawPeer};

use crate::bench::{Bench, SECRET, SOON, errno, guessed_id, names, wait_until};

const NOT_FOUND: i64 = 2;
const ACCESS: i64 = 13;
const INVALID: i64 = 22;

/// Asks for everything that can be done with the id of a directory or file, and must be told that there is none.
#[track_caller]
fn assert_unknown(peer: &mut FilePeer, id: u64) {
    let root = peer.root();
    assert_eq!(errno(peer.getattr(id)), NOT_FOUND);
    assert_eq!(errno(peer.lookup(id, "secret")), NOT_FOUND);
    assert_eq!(errno(peer.list(id, 0, 100)), NOT_FOUND);
    for flags in [0, 1, 2, 512 | 1] {
        assert_eq!(errno(peer.open(id, flags)), NOT_FOUND);
    }
    assert_eq!(errno(peer.create(id, "made")), NOT_FOUND);
    assert_eq!(errno(peer.mkdir(id, "made")), NOT_FOUND);
    assert_eq!(errno(peer.symlink(id, "made", "x")), NOT_FOUND);
    assert_eq!(errno(peer.unlink(id, "secret")), NOT_FOUND);
    assert_eq!(errno(peer.rmdir(id, "room")), NOT_FOUND);
    assert_eq!(errno(peer.truncate(id, 0)), NOT_FOUND);
    assert_eq!(errno(peer.rename((id, "secret"), (root, "stolen"))), NOT_FOUND);
    assert_eq!(errno(peer.rename((root, "file"), (id, "moved"))), NOT_FOUND);
    assert_eq!(errno(peer.set_xattr(id, "user.a", b"x")), NOT_FOUND);
    for op in ["statfs", "listxattr"] {
        assert_eq!(errno(peer.ask(op, json!({"node": id}))), NOT_FOUND);
    }
}

#[test]
fn an_id_guessed_from_an_inode_number_outside_is_unknown() {
    let bench = Bench::start();
    // Links that were there before anybody asked.
    symlink(&bench.outside, bench.export.join("way-out")).unwrap();
    symlink(bench.outside.join("secret"), bench.export.join("peephole")).unwrap();
    symlink("../outside/secret", bench.export.join("climb")).unwrap();
    let mut peer = bench.peer();
    let root = peer.root();
    assert_eq!(peer.names(root, 100), ["file"]);
    for name in ["way-out", "peephole", "climb"] {
        assert_eq!(errno(peer.lookup(root, name)), ACCESS, "{name}");
    }
    for path in [
        bench.outside.clone(),
        bench.outside.join("secret"),
        bench.outside.join("room"),
    ] {
        assert_unknown(&mut peer, guessed_id(0, &path));
    }
    bench.assert_outside_untouched();
}

#[test]
fn a_link_made_by_a_client_gives_it_no_id_outside() {
    let bench = Bench::start();
    let (mut peer, mut other) = (bench.peer(), bench.peer());
    let root = peer.root();
    peer.names(root, 100);
    peer.mkdir(root, "sub").unwrap();
    let sub = peer.find(root, "sub");
    let outside = bench.outside.display().to_string();
    let targets = [
        outside.clone(),
        format!("{outside}/secret"),
        "../outside".to_owned(),
        "sub/../../outside".to_owned(),
        // Through another link, and one that only leads outside from where it is moved to.
        "l0/secret".to_owned(),
        format!("{}/../outside", bench.export.display()),
    ];
    for (number, target) in targets.iter().enumerate() {
        peer.symlink(root, &format!("l{number}"), target).unwrap();
    }
    peer.symlink(sub, "later", "../outside").unwrap();
    assert_eq!(errno(peer.lookup(sub, "later")), NOT_FOUND);
    peer.rename((sub, "later"), (root, "later")).unwrap();
    for name in ["l0", "l1", "l2", "l3", "l4", "l5", "later"] {
        assert_eq!(errno(peer.lookup(root, name)), ACCESS, "{name}");
        assert_eq!(errno(peer.create(root, name)), 17, "{name}");
    }
    assert_eq!(peer.names(root, 2), ["file", "sub"].map(str::to_owned));
    for path in [
        bench.outside.clone(),
        bench.outside.join("secret"),
        bench.outside.join("room"),
    ] {
        assert_unknown(&mut peer, guessed_id(0, &path));
    }
    // Nor does anybody hear of what is outside.
    fs::write(bench.export.join("file"), "a marker").unwrap();
    let file = peer.find(root, "file");
    let outside_ids = [bench.outside.clone(), bench.outside.join("secret")].map(|path| guessed_id(0, &path));
    let events = other.events_until(|event| subject(event) == file);
    assert!(
        !events.iter().any(|event| outside_ids.contains(&subject(event))),
        "{events:?}"
    );
    bench.assert_outside_untouched();
}

#[test]
fn a_read_only_export_does_not_leak_through_links() {
    let bench = Bench::start();
    symlink(&bench.outside, bench.export.join("way-out")).unwrap();
    let mut peer = bench.peer();
    let root = peer.root_of(1);
    assert_eq!(peer.names(root, 100), ["file"]);
    assert_eq!(errno(peer.lookup(root, "way-out")), ACCESS);
    for path in [bench.outside.clone(), bench.outside.join("secret")] {
        let id = guessed_id(1, &path);
        assert_eq!(errno(peer.getattr(id)), NOT_FOUND);
        assert_eq!(errno(peer.open(id, 0)), NOT_FOUND);
        assert_eq!(errno(peer.list(id, 0, 10)), NOT_FOUND);
        assert_eq!(errno(peer.unlink(id, "secret")), NOT_FOUND);
    }
    assert_eq!(errno(peer.unlink(root, "way-out")), 30);
}

#[test]
fn renaming_an_outward_link_makes_its_target_no_part_of_the_export() {
    let bench = Bench::start();
    let (mut peer, mut other) = (bench.peer(), bench.peer());
    let root = peer.root();
    other.names(root, 10);
    peer.symlink(root, "link", bench.outside.to_str().unwrap())
        .unwrap();
    peer.rename((root, "link"), (root, "renamed")).unwrap();
    peer.symlink(root, "link", bench.outside.join("secret").to_str().unwrap())
        .unwrap();
    peer.rename((root, "link"), (root, "again")).unwrap();
    for path in [bench.outside.clone(), bench.outside.join("secret")] {
        assert_unknown(&mut peer, guessed_id(0, &path));
    }
    let (marker, _) = peer.create(root, "marker").unwrap();
    let secret = guessed_id(0, &bench.outside.join("secret"));
    let events = other.events_until(|event| subject(event) == marker);
    assert!(!events.iter().any(|event| subject(event) == secret), "{events:?}");
    assert_eq!(
        fs::read_to_string(bench.export.join("again")).unwrap(),
        SECRET,
        "the link was moved as it is"
    );
    bench.assert_outside_untouched();
}

#[test]
fn deep_json_before_hello_is_refused_and_the_node_lives() {
    let bench = Bench::start();
    let deep = |open: &str, levels: usize, close: &str| {
        let value = format!("{}0{}", open.repeat(levels), close.repeat(levels));
        format!(r#"{{"channel":"acheron","type":"acheron.t_fs_hello","tag":1,"payload":{{"x":{value}}}}}"#)
    };
    for text in [
        deep("[", 300, "]"),
        deep("[", 100_000, "]"),
        deep(r#"{"a":"#, 100_000, "}"),
        deep("[", 2_000_000, "]"),
        // Never closed, up to the frame limit.
        "[".repeat(4 << 20),
        r#"{"a":"#.repeat((4 << 20) / 5),
    ] {
        let mut peer = RawPeer::connect(bench.addr(), ENDPOINT).unwrap();
        peer.send_text(&text).unwrap();
        let refusal = peer.reply(SOON).unwrap();
        assert_eq!(refusal["error"]["errno"], INVALID, "{refusal}");
        peer.expect_end(SOON).unwrap();
        bench.assert_serves();
    }
}

#[test]
fn deep_json_after_hello_harms_nobody_else() {
    let bench = Bench::start();
    let mut bystander = bench.peer();
    let mut peer = RawPeer::hello(bench.addr()).unwrap();
    let payload = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    peer.send_text(&format!(
        r#"{{"channel":"acheron","type":"acheron.t_fs_getattr","tag":7,"node":1,"payload":{{"x":{payload}}}}}"#
    ))
    .unwrap();
    assert_eq!(peer.reply(SOON).unwrap()["error"]["errno"], INVALID);
    bystander.getattr(bystander.root()).unwrap();
}

#[test]
fn offsets_at_the_end_of_the_number_range_are_just_past_the_file() {
    const LAST: u64 = i64::MAX as u64;
    let bench = Bench::start();
    let mut peer = bench.peer();
    let file = peer.find(peer.root(), "file");
    let handle = peer.open(file, 2).unwrap();
    for (offset, len) in [
        (LAST, 1),
        (LAST, 1 << 20),
        (LAST - 1, 5),
        (LAST - (1 << 20), u32::MAX),
        (LAST, 0),
    ] {
        let (data, eof) = peer.read(handle, offset, len).unwrap();
        assert!(data.is_empty(), "{offset} {len}");
        assert_eq!(eof, len > 0, "{offset} {len}");
    }
    assert_eq!(errno(peer.write(handle, LAST, b"x")), INVALID);
    assert_eq!(peer.read(handle, 0, 100).unwrap().0, b"inside");
}

#[test]
fn a_directory_renamed_into_itself_is_refused() {
    let bench = Bench::start();
    let mut peer = bench.peer();
    let root = peer.root();
    peer.mkdir(root, "a").unwrap();
    let a = peer.find(root, "a");
    peer.mkdir(a, "b").unwrap();
    let b = peer.find(a, "b");
    for (parent, name) in [(a, "x"), (b, "x"), (a, "b")] {
        assert_eq!(errno(peer.rename((root, "a"), (parent, name))), INVALID);
    }
    assert_eq!(peer.find(root, "a/b"), b);
    assert!(bench.export.join("a/b").is_dir());
    bench.assert_serves();
}

#[test]
fn clients_that_reset_their_connections_during_broadcasts_harm_nobody() {
    const ROUNDS: usize = 10;
    const CLIENTS: usize = 60;
    let bench = Bench::start();
    let mut writer = bench.peer();
    let file = writer.find(writer.root(), "file");
    let handle = writer.open(file, 2).unwrap();
    let before = bench.descriptors();
    for round in 0..ROUNDS {
        let victims: Vec<FilePeer> = (0..CLIENTS).map(|_| bench.peer()).collect();
        let mut unanswered = Vec::new();
        for (number, victim) in victims.into_iter().enumerate() {
            unanswered.push(writer.send(
                "write",
                spiderweb_testkit::file_peer::writing(handle, 0, &[b'x'; 64]),
            ));
            // Half of them with a request under way.
            let mut victim = victim;
            if number % 2 == 0 {
                victim.send("readdirp", json!({"node": victim.root()}));
            }
            rustix::net::sockopt::set_socket_linger(victim.raw.stream(), Some(Duration::ZERO)).unwrap();
        }
        for tag in unanswered {
            assert!(writer.answer(tag).is_ok(), "round {round}");
        }
    }
    bench.assert_serves();
    wait_until("descriptors of the clients that left are closed", || {
        bench.descriptors() <= before + 2
    });
}

#[test]
fn guessing_tokens_slows_down_the_guesser_alone() {
    let bench = Bench::start_with(|_| {}, &["--auth-token", "right"]);
    let hello = |token: &str| {
        json!({"channel": "acheron", "type": "acheron.t_fs_hello", "tag": 1,
            "payload": {"protocol": "unified-v2-fs", "proto": 2, "auth_token": token}})
    };
    let started = Instant::now();
    let mut guessers: Vec<RawPeer> = Vec::new();
    for guess in 0..20 {
        let mut guesser = RawPeer::connect(bench.addr(), ENDPOINT).unwrap();
        guesser.send_json(&hello(&format!("wrong {guess}"))).unwrap();
        guessers.push(guesser);
    }
    // Twenty wrong tokens from this address wait for their answers; the right one does not.
    let mut peer = RawPeer::hello_with(bench.addr(), json!({"auth_token": "right"})).unwrap();
    peer.ping(b"in").unwrap();
    let mut last = guessers.pop().unwrap();
    assert!(matches!(
        last.reply(Duration::from_millis(1)),
        Err(PeerError::Timeout(_))
    ));
    for guesser in &mut guessers {
        let refusal = guesser.reply(PATIENCE).unwrap();
        assert_eq!(refusal["error"]["message"], "AuthFailed");
        guesser.expect_end(PATIENCE).unwrap();
    }
    last.reply(PATIENCE).unwrap();
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "twenty guesses in {:?}",
        started.elapsed()
    );
}

#[test]
fn handles_cannot_be_counted_up_to_anothers() {
    let bench = Bench::start();
    let (mut owner, mut thief) = (bench.peer(), bench.peer());
    let file = owner.find(owner.root(), "file");
    let handles: Vec<u64> = (0..50).map(|_| owner.open(file, 0).unwrap()).collect();
    assert!(
        handles
            .iter()
            .all(|handle| (1..=i64::MAX as u64).contains(handle))
    );
    for pair in handles.windows(2) {
        assert!(
            pair[0].abs_diff(pair[1]) > 1 << 20,
            "{pair:?} can be guessed from each other"
        );
    }
    assert!(handles.iter().max().unwrap() > &(1 << 55), "the range is used");
    for guess in (0..200).chain(handles.iter().flat_map(|h| [h - 1, h + 1])) {
        assert_eq!(errno(thief.read(guess, 0, 1)), 9);
    }
}

#[test]
fn an_upgrade_that_never_ends_is_ended() {
    let bench = Bench::start();
    let mut silent = RawPeer::dial(bench.addr()).unwrap();
    let mut slow = RawPeer::dial(bench.addr()).unwrap();
    let started = Instant::now();
    let mut rest = b"GET /v2/fs HTTP/1.1\r\nX-Slow: "
        .iter()
        .copied()
        .chain(std::iter::repeat(b'x'));
    loop {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "a byte at a time holds a connection for ever"
        );
        // The pause between two bytes, and the answer when it comes.
        match slow.http_head(Duration::from_millis(300)) {
            Err(PeerError::Timeout(_)) => {}
            Ok(head) => break assert_eq!(head.status, 408),
            Err(PeerError::Closed) => break,
            Err(error) => panic!("{error}"),
        }
        match slow.send_bytes(&[rest.next().unwrap()]) {
            Err(PeerError::Io(error)) if error.kind() == ErrorKind::BrokenPipe => break,
            sent => sent.unwrap(),
        }
    }
    silent.drain(SOON).unwrap();
    bench.assert_serves();
}

#[test]
fn the_reserved_directory_does_not_exist_for_anybody() {
    const RESERVED: &str = ".spiderweb-sandbox";
    let bench = Bench::start_with(
        |export| {
            for place in [export.to_owned(), export.join("sub")] {
                fs::create_dir_all(place.join(RESERVED).join("deep")).unwrap();
                fs::write(place.join(RESERVED).join("file"), SECRET).unwrap();
            }
            fs::write(export.join("plain"), "plain").unwrap();
            symlink(RESERVED, export.join("link")).unwrap();
            symlink(format!("{RESERVED}/file"), export.join("link-in")).unwrap();
            symlink(
                export.join("sub").join(RESERVED).join("deep"),
                export.join("absolute"),
            )
            .unwrap();
        },
        &[],
    );
    let mut peer = bench.peer();
    let root = peer.root();
    let sub = peer.find(root, "sub");
    assert_eq!(peer.names(root, 100).len(), 2, "plain and sub");
    assert!(peer.names(sub, 1).is_empty());
    for parent in [root, sub] {
        assert_eq!(errno(peer.lookup(parent, RESERVED)), NOT_FOUND);
        assert_eq!(errno(peer.unlink(parent, RESERVED)), NOT_FOUND);
        assert_eq!(errno(peer.rmdir(parent, RESERVED)), NOT_FOUND);
        assert_eq!(errno(peer.rename((parent, RESERVED), (root, "mine"))), NOT_FOUND);
        assert!([ACCESS, INVALID].contains(&errno(peer.create(parent, RESERVED))));
        assert!([ACCESS, INVALID].contains(&errno(peer.mkdir(parent, RESERVED))));
        assert!([ACCESS, INVALID].contains(&errno(peer.symlink(parent, RESERVED, "plain"))));
        assert!([ACCESS, INVALID].contains(&errno(peer.rename((root, "plain"), (parent, RESERVED)))));
    }
    for name in ["link", "link-in", "absolute"] {
        assert_eq!(errno(peer.lookup(root, name)), NOT_FOUND, "{name}");
    }
    let hidden = [
        bench.export.join(RESERVED),
        bench.export.join("sub").join(RESERVED),
    ];
    let ids: Vec<u64> = hidden
        .iter()
        .flat_map(|path| [path.clone(), path.join("file"), path.join("deep")])
        .map(|path| guessed_id(0, &path))
        .collect();
    for id in &ids {
        assert_eq!(errno(peer.getattr(*id)), NOT_FOUND);
        assert_eq!(errno(peer.open(*id, 0)), NOT_FOUND);
        assert_eq!(errno(peer.list(*id, 0, 10)), NOT_FOUND);
        assert_eq!(errno(peer.create(*id, "x")), NOT_FOUND);
    }
    // Changes inside are nobody's news, and something that is moved in is gone.
    peer.forget_events();
    fs::write(hidden[0].join("file"), "changed").unwrap();
    fs::create_dir(hidden[1].join("more")).unwrap();
    let plain = peer.find(root, "plain");
    fs::rename(bench.export.join("plain"), hidden[0].join("plain")).unwrap();
    let events = peer.events_until(|event| subject(event) == plain);
    assert!(
        !events.iter().any(|event| ids.contains(&subject(event))),
        "{events:?}"
    );
    assert_eq!(errno(peer.getattr(plain)), NOT_FOUND);
    assert_eq!(names(&hidden[0]), ["deep", "file", "plain"]);
}
