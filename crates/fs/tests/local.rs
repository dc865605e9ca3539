//! A folder as a source, with and without what only newer kernels have.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    reason = "a test may fail; its helpers are outside of test functions"
)]

use std::fs;
use std::path::Path;

use spiderweb_fs::{FsError, LocalSource, Patience, Source};
use spiderweb_protocol::fs::{ListingEncoder, OpenFlags};
use spiderweb_protocol::{EntryName, InodeId};

const BLOCKING: Patience = Patience::Blocking;

fn name(text: &str) -> EntryName {
    EntryName::new(text).unwrap()
}

fn lookup(source: &LocalSource, path: &str) -> Result<InodeId, FsError> {
    path.split('/').try_fold(source.root(), |parent, part| {
        let attr = source.lookup(parent, &name(part), BLOCKING)?;
        Ok(InodeId::new(attr.id).unwrap())
    })
}

fn on_both(folder: &Path, test: impl Fn(LocalSource)) {
    test(LocalSource::open(folder, 0).unwrap());
    test(LocalSource::open_plain(folder, 0).unwrap());
}

#[test]
fn an_id_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    fs::write(folder.path().join("a/b/f"), "kept").unwrap();
    let before = LocalSource::open(folder.path(), 0).unwrap();
    let id = lookup(&before, "a/b/f").unwrap();
    drop(before);
    on_both(folder.path(), |after| {
        assert!(matches!(
            after.getattr(id, Patience::Immediate),
            Err(FsError::NotNow)
        ));
        assert_eq!(after.getattr(id, BLOCKING).unwrap().sz, 4);
        let bogus = InodeId::compose(0, 12).unwrap();
        assert!(matches!(after.getattr(bogus, BLOCKING), Err(FsError::NotFound)));
    });
}

#[test]
fn links_are_followed_inside_and_nowhere_else() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "s").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    fs::create_dir_all(at("dir/deep")).unwrap();
    fs::write(at("dir/deep/f"), "inside").unwrap();
    let root = folder.path().canonicalize().unwrap();
    let back = format!("../{}/dir/deep/f", root.file_name().unwrap().to_str().unwrap());
    for (link, target) in [
        ("relative", "dir/deep/f".to_owned()),
        ("dir/up", "../dir/./deep/../deep/f".to_owned()),
        ("absolute", root.join("dir/deep/f").to_str().unwrap().to_owned()),
        ("chain", "absolute".to_owned()),
        ("around", back),
        ("self", ".".to_owned()),
        ("out", outside.path().join("secret").to_str().unwrap().to_owned()),
        ("parent", "..".to_owned()),
        ("climb", "../../../../../../../etc/passwd".to_owned()),
        ("nowhere", "missing".to_owned()),
        ("outside-nowhere", "/nonexistent/at/all".to_owned()),
        ("loop", "loop".to_owned()),
        ("ping", "pong".to_owned()),
        ("pong", "ping".to_owned()),
    ] {
        std::os::unix::fs::symlink(target, at(link)).unwrap();
    }
    on_both(folder.path(), |source| {
        let file = lookup(&source, "dir/deep/f").unwrap();
        for link in ["relative", "dir/up", "absolute", "chain", "around"] {
            assert_eq!(lookup(&source, link).unwrap(), file, "{link}");
        }
        assert_eq!(lookup(&source, "self").unwrap(), source.root());
        for (link, number) in [
            ("out", 13),
            ("parent", 13),
            ("climb", 13),
            ("nowhere", 2),
            ("outside-nowhere", 2),
            ("loop", 40),
            ("ping", 40),
        ] {
            assert_eq!(
                lookup(&source, link).unwrap_err().errno().number(),
                number,
                "{link}"
            );
        }
        let mut page = ListingEncoder::new(0, 100);
        assert!(source.list(source.root(), 0, &mut page).unwrap().0);
        // `.`, `..`, dir and the five links of the root that lead somewhere inside.
        assert_eq!(page.count(), 8);
    });
}

/// In a mount namespace of its own, which takes rights that not everybody has: without them there is nothing to see.
#[cfg(target_os = "linux")]
#[test]
fn a_dead_mount_is_left_out_of_listings_of_any_page_size() {
    const INSIDE: &str = "SPIDERWEB_TEST_DEAD_MOUNT";
    // Both ends of the device are this process's, so the mount is dead once the shell has closed it.
    const SCRIPT: &str = r#"
        exec 3<>/dev/fuse &&
        mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 test "$SPIDERWEB_TEST_DEAD_MOUNT/dead" || exit 77
        exec 3<&-
        exec "$0" --exact a_dead_mount_is_left_out_of_listings_of_any_page_size"#;

    let Ok(folder) = std::env::var(INSIDE) else {
        let folder = tempfile::tempdir().unwrap();
        for entry in ["dead", "dir", "another"] {
            fs::create_dir(folder.path().join(entry)).unwrap();
        }
        let inside = std::process::Command::new("unshare")
            .args(["--mount", "sh", "-c", SCRIPT])
            .arg(std::env::current_exe().unwrap())
            .env(INSIDE, folder.path())
            .output();
        let Ok(output) = inside else { return };
        // Other codes are those of `unshare` and the shell, which were not allowed to.
        assert_ne!(output.status.code(), Some(101), "{output:?}");
        return;
    };
    assert!(
        fs::metadata(Path::new(&folder).join("dead")).is_err(),
        "it is dead"
    );
    on_both(Path::new(&folder), |source| {
        let mut whole = ListingEncoder::new(0, 100);
        assert!(source.list(source.root(), 0, &mut whole).unwrap().0);
        assert_eq!(whole.count(), 4, "`.`, `..` and the two that live");
        for cookie in 2..4 {
            // A new pass each, which counts as the pages do.
            let mut rest = ListingEncoder::new(cookie, 100);
            assert!(source.list(source.root(), cookie, &mut rest).unwrap().0);
            assert_eq!(rest.count(), 4 - cookie, "from {cookie} on");
        }
    });
}

#[test]
fn an_id_never_means_another_object() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    on_both(folder.path(), |source| {
        fs::write(at("f"), "one").unwrap();
        let id = lookup(&source, "f").unwrap();
        fs::write(at("other"), "two!").unwrap();
        fs::rename(at("other"), at("f")).unwrap();
        assert!(matches!(source.getattr(id, BLOCKING), Err(FsError::NotFound)));
        fs::remove_file(at("f")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("f")).unwrap();
        assert!(matches!(
            source.open(id, OpenFlags::READ, BLOCKING),
            Err(FsError::NotFound)
        ));
        fs::remove_file(at("f")).unwrap();
    });
}

#[test]
fn the_root_made_anew_keeps_its_id() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("export");
    fs::create_dir(&folder).unwrap();
    let source = LocalSource::open(&folder, 0).unwrap();
    let root = source.root();
    fs::remove_dir(&folder).unwrap();
    assert!(matches!(source.getattr(root, BLOCKING), Err(FsError::NotFound)));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("f"), "x").unwrap();
    assert_eq!(source.getattr(root, BLOCKING).unwrap().id, root.get());
    assert!(lookup(&source, "f").is_ok());
}

#[test]
fn a_root_made_anew_as_a_link_leads_nowhere() {
    let place = tempfile::tempdir().unwrap();
    let (outer, outside) = (place.path().join("outer"), place.path().join("outside"));
    fs::create_dir_all(outside.join("inner")).unwrap();
    fs::write(outside.join("inner/key"), "secret").unwrap();
    let inner = outer.join("x/inner");
    for open in [LocalSource::open, LocalSource::open_plain] {
        fs::create_dir_all(&inner).unwrap();
        let source = open(&inner, 0).unwrap();
        let root = source.root();
        let assert_gone = || {
            assert!(matches!(source.getattr(root, BLOCKING), Err(FsError::NotFound)));
            assert!(matches!(lookup(&source, "key"), Err(FsError::NotFound)));
            let made = source.create(root, &name("new"), 0o644, OpenFlags::READ_WRITE);
            assert!(matches!(made, Err(FsError::NotFound)));
            let mut page = ListingEncoder::new(0, 100);
            assert!(matches!(source.list(root, 0, &mut page), Err(FsError::NotFound)));
        };
        // What a client of an export that holds this one can do, at every component it can reach.
        fs::remove_dir_all(outer.join("x")).unwrap();
        std::os::unix::fs::symlink(&outside, outer.join("x")).unwrap();
        assert_gone();
        fs::remove_file(outer.join("x")).unwrap();
        fs::create_dir(outer.join("x")).unwrap();
        std::os::unix::fs::symlink(outside.join("inner"), &inner).unwrap();
        assert_gone();
        fs::remove_dir_all(outer.join("x")).unwrap();
        fs::write(outer.join("x"), "a file").unwrap();
        assert_gone();
        fs::remove_file(outer.join("x")).unwrap();
        // Real directories are the folder again.
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("key"), "inside").unwrap();
        assert_eq!(source.getattr(root, BLOCKING).unwrap().id, root.get());
        assert!(lookup(&source, "key").is_ok());
        fs::remove_dir_all(outer.join("x")).unwrap();
        assert_eq!(fs::read_dir(outside.join("inner")).unwrap().count(), 1);
    }
}

#[test]
fn special_files_are_seen_and_never_opened() {
    let folder = tempfile::tempdir().unwrap();
    let socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    on_both(folder.path(), |source| {
        let id = lookup(&source, "socket").unwrap();
        assert_eq!(source.getattr(id, BLOCKING).unwrap().k, 1);
        assert!(matches!(
            source.open(id, OpenFlags::READ, BLOCKING),
            Err(FsError::NotAFile)
        ));
    });
    // How attributes of such files are told on Linux: `rights.rs`.
    let plain = LocalSource::open_plain(folder.path(), 0).unwrap();
    let id = lookup(&plain, "socket").unwrap();
    assert!(matches!(plain.xattrs(id), Err(FsError::Unsupported)));
    drop(socket);
}

#[test]
fn paths_may_be_longer_than_the_system_takes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    on_both(folder.path(), |source| {
        let mut directory = source.root();
        let long = name(&"d".repeat(250));
        // Twice the system's limit of 4096 bytes.
        for _ in 0..32 {
            let _ = source.mkdir(directory, &long);
            directory = InodeId::new(source.lookup(directory, &long, BLOCKING).unwrap().id).unwrap();
        }
        let made = source
            .create(directory, &name("f"), 0o644, OpenFlags::READ_WRITE)
            .unwrap();
        made.file.write(0, b"deep").unwrap();
        let id = InodeId::new(made.attr.id).unwrap();
        assert_eq!(source.getattr(id, BLOCKING).unwrap().sz, 4);
        source.unlink(directory, &name("f")).unwrap();
    });
    // The usual ways to clean up fail on such paths.
    std::process::Command::new("rm")
        .arg("-rf")
        .arg(folder.path())
        .status()
        .unwrap();
}

#[test]
fn pages_of_any_size_show_every_entry_once() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..50 {
        fs::write(folder.path().join(format!("f{number}")), "").unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join(format!("dangling{number}"))).unwrap();
    }
    on_both(folder.path(), |source| {
        for size in [1, 2, 3, 7, 52, 53, 1000] {
            let (mut cookie, mut pages) = (0, 0);
            loop {
                let mut page = ListingEncoder::new(cookie, size);
                let (eof, _) = source.list(source.root(), cookie, &mut page).unwrap();
                cookie += page.count();
                pages += 1;
                assert!(
                    eof || page.count() == u64::from(size),
                    "a page is full or the last"
                );
                if eof {
                    break;
                }
            }
            assert_eq!(
                (cookie, pages),
                (52, 52_u64.div_ceil(size.into())),
                "pages of {size}"
            );
        }
    });
}

#[test]
fn a_file_with_two_names_keeps_its_id_when_one_of_them_goes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    fs::create_dir_all(at("w/s")).unwrap();
    on_both(folder.path(), |source| {
        let both = || {
            fs::write(at("w/a"), "linked").unwrap();
            fs::hard_link(at("w/a"), at("w/s/b")).unwrap();
            let id = lookup(&source, "w/s/b").unwrap();
            assert_eq!(lookup(&source, "w/a").unwrap(), id, "the last one seen");
            id
        };
        let is_served = |id| {
            assert_eq!(source.getattr(id, BLOCKING).unwrap().sz, 6);
            let opened = source.open(id, OpenFlags::READ, BLOCKING).unwrap();
            assert_eq!(opened.attr.id, id.get());
        };
        let is_gone = |id| assert!(matches!(source.getattr(id, BLOCKING), Err(FsError::NotFound)));
        let (w, s) = (lookup(&source, "w").unwrap(), lookup(&source, "w/s").unwrap());

        let id = both();
        source.unlink(w, &name("a")).unwrap();
        is_served(id);
        source.unlink(s, &name("b")).unwrap();
        is_gone(id);

        // Another file takes the name.
        let id = both();
        fs::write(at("w/other"), "other!!").unwrap();
        source.rename(w, &name("other"), w, &name("a")).unwrap();
        is_served(id);
        assert_ne!(lookup(&source, "w/a").unwrap(), id);
        source.unlink(s, &name("b")).unwrap();
        is_gone(id);
        fs::remove_file(at("w/a")).unwrap();

        // It moves itself, and what it was called is not tried again.
        let id = both();
        source.rename(w, &name("a"), w, &name("c")).unwrap();
        fs::write(at("w/a"), "somebody else").unwrap();
        source.unlink(w, &name("c")).unwrap();
        is_served(id);
        // A rename of one name over the other does nothing.
        fs::hard_link(at("w/s/b"), at("w/d")).unwrap();
        source.rename(s, &name("b"), w, &name("d")).unwrap();
        source.unlink(w, &name("d")).unwrap();
        is_served(id);
        source.unlink(s, &name("b")).unwrap();
        is_gone(id);

        // Somebody else removes it, or makes something else of it, and nobody watches.
        let id = both();
        fs::remove_file(at("w/a")).unwrap();
        is_served(id);
        fs::hard_link(at("w/s/b"), at("w/a")).unwrap();
        lookup(&source, "w/a").unwrap();
        fs::remove_file(at("w/a")).unwrap();
        fs::write(at("w/a"), "somebody else").unwrap();
        is_served(id);
        fs::remove_file(at("w/a")).unwrap();
        fs::remove_file(at("w/s/b")).unwrap();
        is_gone(id);
    });
}
