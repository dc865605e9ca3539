//! Rows 10 and 14 to 18: answers that must be right.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::json;
use spiderweb_testkit::file_peer::number;

use crate::bench::{Bench, errno, wait_until};

#[test]
fn opening_with_the_truncate_bit_leaves_no_old_tail() {
    let bench = Bench::start();
    let (mut peer, mut other) = (bench.peer(), bench.peer());
    let root = peer.root();
    let file = peer.put(root, "text", b"a long line of text\n").unwrap();
    other.forget_events();
    // What a mounted client sends for O_WRONLY | O_TRUNC.
    let handle = peer.open(file, 33_281).unwrap();
    peer.write(handle, 0, b"short").unwrap();
    peer.close(handle).unwrap();
    assert_eq!(peer.content(file).unwrap(), b"short");
    assert_eq!(fs::read(bench.export.join("text")).unwrap(), b"short");
    let truncated = |event: &serde_json::Value| event["payload"]["what"] == "all";
    assert_eq!(
        other.events_until(truncated).last().unwrap()["payload"]["node"],
        file
    );
    // Without write access the bit means nothing.
    let handle = peer.open(file, 512).unwrap();
    assert_eq!(peer.read(handle, 0, 100).unwrap().0, b"short");
}

#[test]
fn ids_below_a_renamed_directory_stay_valid() {
    let bench = Bench::start_with(
        |export| {
            fs::create_dir_all(export.join("a/b/c")).unwrap();
            fs::create_dir_all(export.join("elsewhere")).unwrap();
            fs::write(export.join("a/b/c/leaf"), "leaf").unwrap();
        },
        &[],
    );
    let (mut peer, mut other) = (bench.peer(), bench.peer());
    let root = peer.root();
    let (a, b) = (peer.find(root, "a"), peer.find(root, "a/b"));
    let (c, leaf) = (peer.find(root, "a/b/c"), peer.find(root, "a/b/c/leaf"));
    let elsewhere = peer.find(root, "elsewhere");
    peer.names(elsewhere, 10);
    let handle = peer.open(leaf, 2).unwrap();
    for (from, to) in [
        ((root, "a"), (root, "z")),
        ((root, "z"), (elsewhere, "deep")),
        ((a, "b"), (root, "b")),
    ] {
        peer.rename(from, to).unwrap();
        for id in [a, b, c, leaf] {
            assert_eq!(number(&other.getattr(id).unwrap()["id"]), id);
        }
        assert_eq!(other.content(leaf).unwrap(), b"leaf");
        assert_eq!(number(&other.lookup(c, "leaf").unwrap()["id"]), leaf);
    }
    // The same when another program moves them, once the node has heard of it.
    fs::rename(bench.export.join("b"), bench.export.join("elsewhere/again")).unwrap();
    wait_until("ids follow a rename by another program", || {
        other.getattr(leaf).is_ok()
    });
    peer.write(handle, 0, b"LEAF").unwrap();
    assert_eq!(
        fs::read(bench.export.join("elsewhere/again/c/leaf")).unwrap(),
        b"LEAF"
    );
}

/// Mounts, and unmounts when the test ends.
struct Mount<'p>(&'p Path);

impl<'p> Mount<'p> {
    /// `None`, said loudly, where this user or machine may not mount.
    fn tmpfs(at: &'p Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "none"])
            .arg(at)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at)),
            other => {
                eprintln!("SKIPPED: no second file system can be mounted here: {other:?}");
                None
            }
        }
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "{} stays mounted",
            self.0.display()
        );
    }
}

#[test]
fn equal_inode_numbers_on_two_file_systems_are_two_ids() {
    let bench = Bench::start_with(
        |export| {
            for folder in ["one", "two"] {
                fs::create_dir(export.join(folder)).unwrap();
            }
        },
        &[],
    );
    let (one, two) = (bench.export.join("one"), bench.export.join("two"));
    let (Some(_one), Some(_two)) = (Mount::tmpfs(&one), Mount::tmpfs(&two)) else {
        return;
    };
    // A fresh tmpfs numbers its objects alike.
    for (folder, text) in [(&one, "first"), (&two, "second")] {
        fs::write(folder.join("file"), text).unwrap();
    }
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&one.join("file")), inode(&two.join("file")), "the premise");
    assert_eq!(inode(&one), inode(&two), "the premise");
    let mut peer = bench.peer();
    let root = peer.root();
    let (first, second) = (peer.find(root, "one/file"), peer.find(root, "two/file"));
    assert_ne!(first, second);
    assert_ne!(peer.find(root, "one"), peer.find(root, "two"));
    assert_eq!(peer.content(first).unwrap(), b"first");
    assert_eq!(peer.content(second).unwrap(), b"second");
    peer.truncate(second, 3).unwrap();
    assert_eq!(fs::read(one.join("file")).unwrap(), b"first");
    assert_eq!(fs::read(two.join("file")).unwrap(), b"sec");
    let (from, to) = (peer.find(root, "one"), peer.find(root, "two"));
    assert_eq!(errno(peer.rename((from, "file"), (to, "moved"))), 18);
    peer.unlink(to, "file").unwrap();
    assert_eq!(peer.content(first).unwrap(), b"first");
    assert_eq!(errno(peer.getattr(second)), 2);
}

#[test]
fn every_refusal_has_its_own_number() {
    let bench = Bench::start_with(
        |export| {
            fs::create_dir_all(export.join("full/entry")).unwrap();
            fs::create_dir(export.join("empty")).unwrap();
            fs::write(export.join("file"), "text").unwrap();
            symlink("loop-b", export.join("loop-a")).unwrap();
            symlink("loop-a", export.join("loop-b")).unwrap();
            symlink("self", export.join("self")).unwrap();
            rustix::fs::mknodat(
                rustix::fs::CWD,
                export.join("fifo"),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RWXU,
                0,
            )
            .unwrap();
        },
        &[],
    );
    let mut peer = bench.peer();
    let root = peer.root();
    let (file, full, fifo) = (
        peer.find(root, "file"),
        peer.find(root, "full"),
        peer.find(root, "fifo"),
    );
    assert_eq!(errno(peer.rmdir(root, "full")), 39);
    assert_eq!(errno(peer.lookup(root, "loop-a")), 40);
    assert_eq!(errno(peer.lookup(root, "self")), 40);
    assert_eq!(errno(peer.lookup(file, "below")), 20);
    assert_eq!(errno(peer.list(file, 0, 10)), 20);
    assert_eq!(
        errno(peer.set_xattr(file, "user.big", &vec![b'x'; (64 << 10) + 1])),
        7
    );
    assert_eq!(errno(peer.set_xattr(file, &"n".repeat(256), b"x")), 34);
    assert!([6, 13].contains(&errno(peer.open(fifo, 0))));
    assert_eq!(errno(peer.open(full, 2)), 21);
    assert_eq!(errno(peer.truncate(full, 0)), 21);
    assert_eq!(errno(peer.unlink(root, "empty")), 21);
    assert_eq!(errno(peer.rmdir(root, "file")), 20);
    assert!([17, 39].contains(&errno(peer.rename((root, "empty"), (root, "full")))));
    assert_eq!(errno(peer.rename((root, "file"), (root, "full"))), 21);
    assert_eq!(errno(peer.rename((root, "full"), (root, "file"))), 20);
    assert_eq!(errno(peer.truncate(file, i64::MAX as u64)), 27);
    assert_eq!(errno(peer.create(root, &"n".repeat(256))), 22);
    assert_eq!(errno(peer.symlink(root, "long", &"t".repeat(4096))), 22);
    assert_eq!(errno(peer.symlink(root, "empty-target", "")), 2);
}

#[test]
fn a_file_over_the_size_limit_of_the_process_is_27() {
    // `ulimit -f` counts blocks of 512 bytes here; the node must outlive the signal as well.
    let bench = Bench::start_command(
        |export| fs::write(export.join("file"), "").unwrap(),
        |command| command.file_size_limit(64 << 10),
    );
    let mut peer = bench.peer();
    let file = peer.find(peer.root(), "file");
    let handle = peer.open(file, 2).unwrap();
    assert_eq!(peer.write(handle, 0, &[b'x'; 4096]).unwrap(), 4096);
    assert_eq!(errno(peer.write(handle, 1 << 20, b"x")), 27);
    assert_eq!(errno(peer.truncate(file, 1 << 20)), 27);
    assert_eq!(fs::metadata(bench.export.join("file")).unwrap().len(), 4096);
    bench.assert_serves();
}

#[test]
fn handles_used_up_by_one_client_are_24_and_others_go_on() {
    let bench = Bench::start_command(
        |export| fs::write(export.join("file"), "inside").unwrap(),
        |command| command.descriptor_limit(256),
    );
    let (mut hog, mut other) = (bench.peer(), bench.peer());
    let root = hog.root();
    let file = hog.find(root, "file");
    let mut handles = Vec::new();
    let refused = loop {
        match hog.open(file, 0) {
            Ok(handle) => handles.push(handle),
            Err(refusal) => break refusal,
        }
        assert!(handles.len() < 10_000, "no end of handles");
    };
    assert_eq!(refused.errno, 24);
    // A refused open or create changes nothing.
    assert_eq!(errno(hog.create(root, "left-over")), 24);
    assert!(
        !bench.export.join("left-over").exists(),
        "a create that was refused left its file"
    );
    assert_eq!(errno(hog.open(file, 512 | 2)), 24);
    assert_eq!(
        fs::read(bench.export.join("file")).unwrap(),
        b"inside",
        "an open that was refused emptied the file"
    );
    // Others open, read and make files; the hog itself looks and closes.
    assert_eq!(other.content(file).unwrap(), b"inside");
    other.put(root, "new", b"new").unwrap();
    hog.getattr(file).unwrap();
    assert_eq!(hog.read(handles[0], 0, 10).unwrap().0, b"inside");
    hog.close(handles.pop().unwrap()).unwrap();
    hog.open(file, 0).unwrap();
}

#[test]
fn link_counts_and_sizes_of_the_file_system_are_real() {
    let bench = Bench::start();
    fs::hard_link(bench.export.join("file"), bench.export.join("second")).unwrap();
    let mut peer = bench.peer();
    let root = peer.root();
    let attr = peer.lookup(root, "file").unwrap();
    assert_eq!(
        (&attr["n"], &attr["id"]),
        (&json!(2), &peer.lookup(root, "second").unwrap()["id"])
    );
    fs::remove_file(bench.export.join("second")).unwrap();
    assert_eq!(peer.lookup(root, "file").unwrap()["n"], 1);
    assert_eq!(peer.getattr(root).unwrap()["n"], 2);

    let told = peer.ask("statfs", json!({"node": root})).unwrap();
    let real = rustix::fs::statvfs(&bench.export).unwrap();
    for (name, value) in [
        ("frsize", real.f_frsize),
        ("blocks", real.f_blocks),
        ("files", real.f_files),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
    assert!(number(&told["bavail"]) > 0 && number(&told["bfree"]) <= real.f_blocks);
    assert_eq!(told["namemax"], 255);
}

#[test]
fn a_dangling_link_can_be_renamed() {
    let bench = Bench::start();
    let mut peer = bench.peer();
    let root = peer.root();
    peer.symlink(root, "dangling", "nowhere").unwrap();
    peer.rename((root, "dangling"), (root, "moved")).unwrap();
    assert_eq!(
        fs::read_link(bench.export.join("moved")).unwrap(),
        Path::new("nowhere")
    );
    assert_eq!(errno(peer.lookup(root, "moved")), 2);
    // Over a file, and onto a link that then leads somewhere.
    peer.rename((root, "moved"), (root, "file")).unwrap();
    assert!(bench.export.join("file").is_symlink());
    peer.unlink(root, "file").unwrap();
    assert_eq!(peer.names(root, 10), Vec::<String>::new());
}
