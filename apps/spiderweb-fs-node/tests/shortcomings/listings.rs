//! Rows 11 to 13, 19 and 27: directories must be told completely, whatever is in them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::time::Instant;

use spiderweb_testkit::file_peer::{FilePeer, subject};

use crate::bench::{Bench, SOON, errno};

#[test]
fn a_listing_over_the_frame_limit_comes_in_pages_that_lose_nothing() {
    const FILES: usize = 16_384;
    let name = |number: usize| format!("{number:06}-{}", "n".repeat(248));
    let bench = Bench::start_with(
        |export| {
            for number in 0..FILES {
                rustix::fs::mknodat(
                    rustix::fs::CWD,
                    export.join(name(number)),
                    rustix::fs::FileType::RegularFile,
                    rustix::fs::Mode::RUSR,
                    0,
                )
                .unwrap();
            }
        },
        &[],
    );
    let mut peer = bench.peer();
    let root = peer.root();
    // `names` checks `next`, `next_cookie` and `eof` of every page; the peer that a frame has at most 4 MiB.
    let page = peer.list(root, 0, 16_384).unwrap();
    assert!(!page.eof && page.entries.len() > 5_000, "{}", page.entries.len());
    let listed = peer.names(root, 16_384);
    assert_eq!(listed.len(), FILES);
    assert_eq!(
        listed.into_iter().collect::<BTreeSet<_>>(),
        (0..FILES).map(name).collect()
    );
}

#[test]
fn dangling_links_neither_repeat_nor_hide_entries_on_any_page_size() {
    let shown: BTreeSet<String> = (0..9).map(|number| format!("file-{number}")).collect();
    let bench = Bench::start_with(
        |export| {
            for (number, name) in shown.iter().enumerate() {
                fs::write(export.join(name), "").unwrap();
                symlink("nowhere", export.join(format!("dangling-{number}"))).unwrap();
                symlink("../outside", export.join(format!("outward-{number}"))).unwrap();
                symlink(format!("loop-{number}"), export.join(format!("loop-{number}"))).unwrap();
            }
            fs::create_dir(export.join(".spiderweb-sandbox")).unwrap();
        },
        &[],
    );
    let mut peer = bench.peer();
    let root = peer.root();
    let whole = peer.names(root, 1_000);
    assert_eq!(whole.iter().cloned().collect::<BTreeSet<_>>(), shown);
    for max in 1..=12 {
        assert_eq!(peer.names(root, max), whole, "pages of {max}");
    }
    // Every cookie a client may compute itself starts where it says, in any order.
    for cookie in (0..=whole.len() as u64 + 2).rev() {
        let page = peer.list(root, cookie, 3).unwrap();
        let all: Vec<&str> = [".", ".."]
            .into_iter()
            .chain(whole.iter().map(String::as_str))
            .collect();
        let rest = &all[usize::try_from(cookie).unwrap()..];
        let listed: Vec<&str> = page.entries.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(listed, rest[..rest.len().min(3)], "from {cookie}");
        assert_eq!(page.eof, rest.len() <= 3, "from {cookie}");
    }
    let past = peer.list(root, 1_000, 3).unwrap();
    assert!(past.eof && past.entries.is_empty() && past.next == 1_000);
}

#[test]
fn a_looping_link_neither_hides_its_directory_nor_stops_the_watching() {
    let bench = Bench::start();
    for name in ["loop", "other-loop"] {
        symlink(name, bench.export.join(name)).unwrap();
    }
    let mut peer = bench.peer();
    let root = peer.root();
    assert_eq!(peer.names(root, 1), ["file"]);
    let file = peer.find(root, "file");
    peer.forget_events();
    fs::write(bench.export.join("file"), "changed outside").unwrap();
    peer.events_until(|event| subject(event) == file);
}

#[test]
fn a_path_longer_than_the_systems_limit_is_served_like_any_other() {
    const LEVELS: usize = 40;
    let bench = Bench::start();
    let mut peer = bench.peer();
    let root = peer.root();
    let name = "d".repeat(200);
    let mut deepest = root;
    for _ in 0..LEVELS {
        peer.mkdir(deepest, &name).unwrap();
        deepest = peer.find(deepest, &name);
    }
    let file = peer.put(deepest, "file", b"far down").unwrap();
    assert_eq!(peer.content(file).unwrap(), b"far down");
    assert_eq!(peer.names(deepest, 10), ["file"]);
    peer.rename((deepest, "file"), (root, "risen")).unwrap();
    assert_eq!(fs::read(bench.export.join("risen")).unwrap(), b"far down");
    peer.rename((root, "risen"), (deepest, "file")).unwrap();
    peer.symlink(deepest, "link", "file").unwrap();
    assert_eq!(peer.find(deepest, "link"), file);
    // Another client lists the way down, and hears of what another program changes up here and down there.
    let mut other = bench.peer();
    let mut at = root;
    for _ in 0..LEVELS {
        assert!(other.names(at, 10).contains(&name));
        at = other.find(at, &name);
    }
    assert_eq!((at, other.names(at, 10).len()), (deepest, 2));
    let above = other.find(root, "file");
    other.forget_events();
    fs::write(bench.export.join("file"), "changed outside").unwrap();
    other.events_until(|event| subject(event) == above);
    let mut folder = fs::File::open(&bench.export).unwrap();
    for _ in 0..LEVELS {
        let flags = rustix::fs::OFlags::DIRECTORY;
        folder = rustix::fs::openat(&folder, &name, flags, rustix::fs::Mode::empty())
            .unwrap()
            .into();
    }
    let flags = rustix::fs::OFlags::WRONLY;
    let written = rustix::fs::openat(&folder, "file", flags, rustix::fs::Mode::empty()).unwrap();
    rustix::io::write(&written, b"changed").unwrap();
    other.events_until(|event| subject(event) == file);
}

#[test]
fn a_link_far_down_costs_no_descriptors_and_little_time() {
    const LEVELS: usize = 1_500;
    let bench = Bench::start_command(|_| {}, |command| command.descriptor_limit(256));
    let mut peer = bench.peer();
    let mut deepest = peer.root();
    for _ in 0..LEVELS {
        peer.mkdir(deepest, "d").unwrap();
        deepest = peer.find(deepest, "d");
    }
    let file = peer.put(deepest, "file", b"far down").unwrap();
    for number in 0..20 {
        peer.symlink(deepest, &format!("link-{number}"), "../d/file")
            .unwrap();
    }
    let started = Instant::now();
    for number in 0..20 {
        assert_eq!(peer.find(deepest, &format!("link-{number}")), file);
    }
    assert_eq!(peer.names(deepest, 5).len(), 21);
    assert!(started.elapsed() < SOON, "40 links took {:?}", started.elapsed());
}

#[test]
fn small_pages_of_a_large_directory_are_not_quadratic() {
    const FILES: usize = 20_000;
    let bench = Bench::start_with(
        |export| {
            for number in 0..FILES {
                fs::write(export.join(format!("file-{number:05}")), "").unwrap();
            }
        },
        &[],
    );
    let mut peer = bench.peer();
    let root = peer.root();
    let cost = |peer: &mut FilePeer, max| {
        let before = bench.processor_ticks();
        assert_eq!(peer.names(root, max).len(), FILES);
        bench.processor_ticks() - before
    };
    cost(&mut peer, 16_384);
    let in_two_pages = cost(&mut peer, 16_384);
    let in_157_pages = cost(&mut peer, 128);
    assert!(
        in_157_pages < 4 * in_two_pages + 100,
        "157 pages cost {in_157_pages} ticks, two cost {in_two_pages}"
    );
}

#[test]
fn names_that_cannot_be_said_stay_out_and_all_others_are_told() {
    let bench = Bench::start_with(
        |export| {
            for name in [
                &b"latin-\xe9"[..],
                b"\xff\xfe",
                b"half-\xc3",
                b"surrogate-\xed\xa0\x80",
                b"back\\slash",
            ] {
                fs::write(export.join(OsStr::from_bytes(name)), "x").unwrap();
            }
            symlink(OsStr::from_bytes(b"latin-\xe9"), export.join("link")).unwrap();
            for name in [
                "gr\u{fc}n",
                "\u{1f577}",
                "tab\there",
                "quote\"",
                "new\nline",
                "\u{1}",
                "-dash",
                "dots..",
            ] {
                fs::write(export.join(name), "x").unwrap();
            }
        },
        &[],
    );
    let mut peer = bench.peer();
    let root = peer.root();
    let expected = [
        "gr\u{fc}n",
        "\u{1f577}",
        "tab\there",
        "quote\"",
        "new\nline",
        "\u{1}",
        "-dash",
        "dots..",
    ];
    let expected: BTreeSet<String> = expected.map(str::to_owned).into();
    for max in 1..=9 {
        // The peer accepts valid UTF-8 only.
        let listed = peer.names(root, max);
        assert_eq!(listed.len(), expected.len(), "pages of {max}: {listed:?}");
        assert_eq!(
            listed.into_iter().collect::<BTreeSet<_>>(),
            expected,
            "pages of {max}"
        );
    }
    for name in &expected {
        let file = peer.find(root, name);
        assert_eq!(peer.content(file).unwrap(), b"x");
    }
    for name in ["back\\slash", "a/b", "nul\0", ".", "..", ""] {
        assert_eq!(errno(peer.lookup(root, name)), 22, "{name:?}");
        assert_eq!(errno(peer.create(root, name)), 22, "{name:?}");
        assert_eq!(errno(peer.rename((root, "-dash"), (root, name))), 22, "{name:?}");
    }
}
