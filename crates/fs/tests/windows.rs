//! A folder of Windows as a source.

#![cfg(windows)]
#![expect(
    clippy::unwrap_used,
    reason = "a test may fail; its helpers are outside of test functions"
)]

use std::fs;
use std::process::Command;

use spiderweb_fs::{FsError, LocalSource, Patience, Source};
use spiderweb_protocol::fs::{ListingEncoder, LockKind, OpenFlags};
use spiderweb_protocol::{EntryName, InodeId};

const BLOCKING: Patience = Patience::Blocking;

/// Wine 8 renames over no open file, keeps its name until it is closed, changes no letter's case, and asks nobody who is
/// root.
fn is_wine() -> bool {
    std::env::var_os("WINELOADER").is_some()
}

fn name(text: &str) -> EntryName {
    EntryName::new(text).unwrap()
}

fn lookup(source: &LocalSource, path: &str) -> Result<InodeId, FsError> {
    path.split('/').try_fold(source.root(), |parent, part| {
        let attr = source.lookup(parent, &name(part), BLOCKING)?;
        Ok(InodeId::new(attr.id).unwrap())
    })
}

fn create(source: &LocalSource, file: &str) -> Result<InodeId, FsError> {
    let opened = source.create(source.root(), &name(file), 0o644, OpenFlags::READ)?;
    Ok(InodeId::new(opened.attr.id).unwrap())
}

#[test]
fn what_windows_would_change_or_interpret_is_neither_found_nor_made() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "kept").unwrap();
    let source = LocalSource::open(folder.path(), 0).unwrap();
    for odd in [
        "a.", "a ", "a::$DATA", "a:s", "CON", "nul.txt", "com1", "C:", "a*", "a?",
    ] {
        assert!(matches!(lookup(&source, odd), Err(FsError::NotFound)), "{odd}");
        assert!(
            matches!(create(&source, odd), Err(FsError::InvalidArgument)),
            "{odd}"
        );
        let made = source.mkdir(source.root(), &name(odd));
        assert!(matches!(made, Err(FsError::InvalidArgument)), "{odd}");
        let moved = source.rename(source.root(), &name("a"), source.root(), &name(odd));
        assert!(matches!(moved, Err(FsError::InvalidArgument)), "{odd}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"kept");
}

#[test]
fn a_folder_can_do_what_the_contract_says_of_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    let caps = LocalSource::open(folder.path(), 0).unwrap().caps();
    assert!(caps.native_watch && caps.locks && caps.statfs);
    assert!(!caps.case_sensitive && !caps.symlink && !caps.xattr);
}

#[test]
fn names_that_differ_in_case_mean_one_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("Read.Me"), "x").unwrap();
    let source = LocalSource::open(folder.path(), 0).unwrap();
    assert!(!source.caps().case_sensitive);
    let id = lookup(&source, "read.me").unwrap();
    assert_eq!(lookup(&source, "Read.Me").unwrap(), id);
    assert!(matches!(create(&source, "READ.ME"), Err(FsError::Exists)));
    let moved = source.rename(source.root(), &name("read.me"), source.root(), &name("READ.me"));
    assert_eq!(moved.unwrap().0, id);
    let left = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
    assert!(is_wine() || left.file_name() == "READ.me");
    assert_eq!(source.getattr(id, BLOCKING).unwrap().sz, 1);
}

#[test]
fn files_are_written_read_and_replaced_while_they_are_open() {
    let folder = tempfile::tempdir().unwrap();
    let source = LocalSource::open(folder.path(), 0).unwrap();
    let opened = source
        .create(source.root(), &name("new"), 0o644, OpenFlags::READ_WRITE)
        .unwrap();
    opened.file.write(0, b"contents").unwrap();
    opened.file.write(3, b"T").unwrap();
    assert_eq!(opened.file.read(0, 100, BLOCKING).unwrap().bytes, b"conTents");
    fs::write(folder.path().join("old"), "old").unwrap();
    let open = || {
        let id = lookup(&source, "old").unwrap();
        source.open(id, OpenFlags::READ, BLOCKING).unwrap()
    };
    let old = (!is_wine()).then(open);
    source
        .rename(source.root(), &name("new"), source.root(), &name("old"))
        .unwrap();
    assert_eq!(fs::read(folder.path().join("old")).unwrap(), b"conTents");
    if let Some(old) = old {
        assert_eq!(old.file.read(0, 100, BLOCKING).unwrap().bytes, b"old");
    }
    source.truncate(lookup(&source, "old").unwrap(), 3).unwrap();
    assert_eq!(opened.file.read(0, 100, BLOCKING).unwrap().bytes, b"con");
    source.unlink(source.root(), &name("old")).unwrap();
    // There the name goes with the last handle.
    if is_wine() {
        drop(opened);
    }
    assert!(matches!(lookup(&source, "old"), Err(FsError::NotFound)));
}

#[test]
fn directories_are_made_listed_moved_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let source = LocalSource::open(folder.path(), 0).unwrap();
    source.mkdir(source.root(), &name("dir")).unwrap();
    fs::create_dir_all(folder.path().join("dir/deep")).unwrap();
    fs::write(folder.path().join("dir/deep/f"), "1234").unwrap();
    let file = lookup(&source, "dir/deep/f").unwrap();
    let mut page = ListingEncoder::new(0, 100);
    assert!(
        source
            .list(lookup(&source, "dir").unwrap(), 0, &mut page)
            .unwrap()
            .0
    );
    assert_eq!(page.count(), 3);
    source
        .rename(source.root(), &name("dir"), source.root(), &name("moved"))
        .unwrap();
    assert_eq!(source.getattr(file, BLOCKING).unwrap().sz, 4, "ids follow");
    fs::create_dir(folder.path().join("empty")).unwrap();
    source
        .rename(source.root(), &name("moved"), source.root(), &name("empty"))
        .unwrap();
    assert_eq!(lookup(&source, "empty/deep/f").unwrap(), file);
    let full = source.rmdir(source.root(), &name("empty"));
    assert!(matches!(full, Err(FsError::NotEmpty)), "{full:?}");
    assert!(matches!(
        source.unlink(source.root(), &name("empty")),
        Err(FsError::IsADirectory)
    ));
    assert!(source.statfs(source.root()).unwrap().blocks > 0);
}

#[test]
fn read_only_files_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    fs::write(&path, "x").unwrap();
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions.clone()).unwrap();
    let source = LocalSource::open(folder.path(), 0).unwrap();
    let id = lookup(&source, "f").unwrap();
    assert_eq!(source.getattr(id, BLOCKING).unwrap().m & 0o777, 0o444);
    let opened = source.open(id, OpenFlags::WRITE, BLOCKING).map(drop);
    assert!(is_wine() || matches!(opened, Err(FsError::AccessDenied)));
    #[expect(
        clippy::permissions_set_readonly_false,
        reason = "so that the folder can be removed"
    )]
    permissions.set_readonly(false);
    fs::set_permissions(&path, permissions).unwrap();
}

#[test]
fn a_lock_keeps_other_handles_from_locking() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("f"), "x").unwrap();
    let source = LocalSource::open(folder.path(), 0).unwrap();
    let id = lookup(&source, "f").unwrap();
    let open = || source.open(id, OpenFlags::READ, BLOCKING).unwrap().file;
    let (one, two) = (open(), open());
    one.lock(LockKind::Exclusive).unwrap();
    assert!(matches!(two.lock(LockKind::Shared), Err(FsError::WouldBlock)));
    assert_eq!(two.read(0, 1, BLOCKING).unwrap().bytes, b"x");
    drop(one);
    two.lock(LockKind::Exclusive).unwrap();
}

#[test]
fn a_junction_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "s").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("out");
    let made = Command::new("cmd")
        .args(["/C", "mklink", "/J"])
        .args([&link, outside.path()])
        .output()
        .unwrap();
    if fs::symlink_metadata(&link).is_err() {
        eprintln!("no junction can be made here: {made:?}");
        return;
    }
    let source = LocalSource::open(folder.path(), 0).unwrap();
    assert!(matches!(lookup(&source, "out"), Err(FsError::AccessDenied)));
    assert!(lookup(&source, "out/secret").is_err());
    let mut page = ListingEncoder::new(0, 100);
    assert!(source.list(source.root(), 0, &mut page).unwrap().0);
    assert_eq!(page.count(), 2, "`.` and `..`");
    assert!(matches!(
        source.rmdir(source.root(), &name("out")),
        Err(FsError::AccessDenied)
    ));
    assert!(outside.path().join("secret").exists());
}
