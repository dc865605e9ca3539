//! cat, put, mv, rm, mkdir, ln.

use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use crate::setup::{Setup, contents, names, partial, until};

#[test]
fn what_is_put_can_be_read() {
    let setup = Setup::new();
    for length in [0, 1, 600_000, 5_000_000] {
        let data = contents(length);
        let said = setup.feed("put /work/file", &data);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        assert!(
            std::fs::read(setup.work("file")).unwrap() == data,
            "{length} bytes"
        );
        let output = setup.command("cat /work/file").output().unwrap();
        assert!(output.status.success() && output.stdout == data, "{length} bytes");
    }
    std::fs::write(setup.local("source"), "from a file").unwrap();
    assert_eq!(setup.json("put source /work/file")["bytes"], 11);
    assert_eq!(setup.ok("cat /work/file /work/file"), "from a filefrom a file");
    assert_eq!(setup.feed("put - /work/file", b"dash").code, 0);
    assert_eq!(setup.ok("cat /work/file"), "dash");
    assert_eq!(names(&setup.work("")), ["file"]);
}

#[test]
fn an_existing_file_keeps_its_permissions_and_in_place_keeps_the_file() {
    let setup = Setup::new();
    std::fs::write(setup.work("file"), "a long old text").unwrap();
    std::fs::set_permissions(setup.work("file"), std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(setup.feed("put /work/file", b"new").code, 0);
    assert_eq!(
        setup.work("file").metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    std::fs::hard_link(setup.work("file"), setup.work("other")).unwrap();
    assert_eq!(setup.feed("put --in-place /work/file", b"x").code, 0);
    assert_eq!(std::fs::read(setup.work("other")).unwrap(), b"x");
}

#[test]
fn trees_are_made_moved_and_removed() {
    let setup = Setup::new();
    setup.ok("mkdir /work/a");
    setup.ok("mkdir -p /work/a/b/c /work/a/b/c");
    setup.ok("mkdir -p /work");
    std::fs::write(setup.work("a/b/f"), "f").unwrap();
    setup.ok("mv /work/a/b/f /work/g");
    setup.ok("mv /work/g /work/a/b/c");
    setup.ok("mv /work/a/b/c/g /work/a/b/c/h");
    setup.ok("mv /work/a/b /work/z");
    assert_eq!(
        setup.ok("tree /work"),
        "/work\n├── a\n└── z\n    └── c\n        └── h\n\n3 directories, 1 file\n"
    );
    setup.ok("rm /work/z/c/h");
    setup.ok("rm -r /work/a /work/z");
    setup.ok("rm -f /work/z");
    assert!(names(&setup.work("")).is_empty());
}

#[test]
fn removing_a_tree_spares_what_its_links_lead_to() {
    let setup = Setup::new();
    std::fs::create_dir_all(setup.work("kept")).unwrap();
    std::fs::create_dir_all(setup.work("doomed/deep")).unwrap();
    std::fs::write(setup.work("kept/file"), "precious").unwrap();
    symlink("../kept", setup.work("doomed/link")).unwrap();
    symlink("../../kept/file", setup.work("doomed/deep/link")).unwrap();
    setup.ok("rm -r /work/doomed");
    assert_eq!(names(&setup.work("")), ["kept"]);
    assert_eq!(std::fs::read(setup.work("kept/file")).unwrap(), b"precious");
}

#[test]
fn links_are_made_and_followed_within_the_export() {
    let setup = Setup::new();
    std::fs::write(setup.work("a"), "hello").unwrap();
    setup.ok("mkdir /work/d");
    setup.ok("ln -s ../a /work/d/link");
    assert_eq!(
        std::fs::read_link(setup.work("d/link")).unwrap().to_str(),
        Some("../a")
    );
    assert_eq!(setup.ok("cat /work/d/link"), "hello");
    setup.ok("ln -s /etc/passwd /work/d/out");
    assert_eq!(setup.run("cat /work/d/out").code, 1);
    let said = setup.run("rm -r /work/d");
    assert!(
        said.code == 1 && said.err.contains("remove them by name"),
        "{said:?}"
    );
    setup.ok("rm /work/d/out");
    setup.ok("rm -r /work/d");
}

#[test]
fn a_slash_at_the_end_means_a_directory() {
    let setup = Setup::new();
    std::fs::write(setup.local("l"), "l").unwrap();
    std::fs::write(setup.work("f"), "f").unwrap();
    std::fs::create_dir(setup.work("d")).unwrap();
    for (line, words) in [
        (
            "cp l :/work/nix/",
            "cannot copy to /work/nix: there is no such directory\n  hint: a slash",
        ),
        ("cp l :/work/f/", "cannot copy to /work/f: is not a directory"),
        ("cp :/work/f :/work/nix/", "there is no such directory"),
        ("cp :/work/f/ x", "cannot copy /work/f: is not a directory"),
        (
            "put l /work/nix/",
            "cannot write /work/nix: there is no such directory",
        ),
        ("put l /work/f/", "is not a directory"),
        ("put --in-place l /work/f/", "is not a directory"),
        ("put l /work/d/", "is a directory"),
        ("cat /work/f/", "cannot read /work/f: is not a directory"),
        ("cat /work/f/.", "is not a directory"),
        ("ls /work/f/", "cannot list /work/f: is not a directory"),
        ("stat /work/f/", "is not a directory"),
        ("rm /work/f/", "cannot remove /work/f: is not a directory"),
        ("rm -r /work/f/", "is not a directory"),
        ("mv /work/f/ /work/g", "/work/f: is not a directory"),
        ("mv /work/f /work/g/", "there is no such directory"),
        ("ln -s f /work/link/", "there is no such directory"),
        ("mkdir /work/f/", "it exists"),
    ] {
        let said = setup.run(line);
        assert!(said.code == 1 && said.err.contains(words), "{line}: {said:?}");
        assert_eq!(names(&setup.work("")), ["d", "f"], "{line}");
        assert_eq!(std::fs::read(setup.work("f")).unwrap(), b"f", "{line}");
    }
    std::fs::create_dir(setup.local("tree")).unwrap();
    for line in [
        "cp l :/work/d/",
        "cp -r tree :/work/new/",
        "mkdir /work/made/",
        "mkdir -p /work/made/deep/",
        "mv /work/made/ /work/moved/",
        "mv /work/f /work/moved/",
        "rm -r /work/new/",
        "rm -f /work/nix/",
        "ls /work/d/ /work/moved/",
    ] {
        setup.ok(line);
    }
    assert_eq!(names(&setup.work("")), ["d", "moved"]);
    assert_eq!(names(&setup.work("moved")), ["deep", "f"]);
    assert_eq!(names(&setup.work("d")), ["l"]);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let setup = Setup::new();
    std::fs::write(setup.work("big"), contents(3_000_000)).unwrap();
    for line in ["cat /work/big", "--output json ls /work", "tree /"] {
        let mut child = setup.command(line).spawn().unwrap();
        let mut one = [0];
        child.stdout.take().unwrap().read_exact(&mut one).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), output.stderr.as_slice()),
            (Some(0), &b""[..]),
            "{line}"
        );
    }
}

#[test]
fn an_interrupted_put_leaves_nothing_behind() {
    let setup = Setup::new();
    for signal in ["-INT", "-TERM"] {
        let mut child = setup
            .command("put /work/file")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        until("a partial file", || partial(&setup.work("")).is_some());
        let killed = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        assert_eq!(
            (output.status.code(), output.stderr.as_slice()),
            (Some(130), &b""[..]),
            "{signal}"
        );
        assert!(names(&setup.work("")).is_empty(), "{signal}");
    }
}
