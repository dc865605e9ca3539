//! What a node without an administrator's rights can do with files that it may not read.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a test may fail; its helpers are outside of test functions"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use spiderweb_fs::{FsError, LocalSource, Patience, Source};
use spiderweb_protocol::fs::{ListingEncoder, XattrFlags};
use spiderweb_protocol::{EntryName, InodeId};

const BLOCKING: Patience = Patience::Blocking;

/// From here on the modes of files count for this thread, whoever runs the tests.
fn give_up_rights() {
    let mut sets = capabilities(None).unwrap();
    sets.effective
        .remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    set_capabilities(None, sets).unwrap();
}

fn lookup(source: &LocalSource, parent: InodeId, name: &str) -> InodeId {
    let name = EntryName::new(name).unwrap();
    InodeId::new(source.lookup(parent, &name, BLOCKING).unwrap().id).unwrap()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn attributes_of_what_cannot_be_opened_are_told() {
    give_up_rights();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "").unwrap();
    rustix::fs::setxattr(&file, "user.a", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    set_mode(&file, 0);
    mknodat(CWD, folder.path().join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let source = LocalSource::open(folder.path(), 0).unwrap();

    let secret = lookup(&source, source.root(), "secret");
    assert_eq!(source.xattrs(secret).unwrap(), ["user.a"]);
    assert!(matches!(
        source.xattr(secret, "user.a"),
        Err(FsError::AccessDenied)
    ));
    assert!(matches!(
        source.xattr(secret, "security.none"),
        Err(FsError::NoData | FsError::Unsupported)
    ));
    let refused = source.set_xattr(secret, "user.b", b"2", XattrFlags(0));
    assert!(matches!(refused, Err(FsError::AccessDenied)));
    set_mode(&file, 0o200);
    source.set_xattr(secret, "user.b", b"2", XattrFlags(0)).unwrap();

    // The system has no `user.` attributes there, which is no reason to say that there are no attributes anywhere.
    let fifo = lookup(&source, source.root(), "fifo");
    assert!(
        source
            .xattrs(fifo)
            .unwrap()
            .iter()
            .all(|name| !name.starts_with("user."))
    );
    assert!(matches!(source.xattr(fifo, "user.a"), Err(FsError::NoData)));
    let refused = source.set_xattr(fifo, "user.a", b"1", XattrFlags(0));
    assert!(matches!(refused, Err(FsError::AccessDenied)));
    assert!(matches!(
        source.remove_xattr(fifo, "user.a"),
        Err(FsError::AccessDenied)
    ));
}

#[test]
fn a_folder_that_may_be_read_and_not_entered_looks_empty() {
    give_up_rights();
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::write(closed.join("f"), "").unwrap();
    std::os::unix::fs::symlink("f", closed.join("link")).unwrap();
    set_mode(&closed, 0o400);
    let listed = |source: &LocalSource, id, from, max| {
        let mut page = ListingEncoder::new(from, max);
        let (eof, _) = source.list(id, from, &mut page).unwrap();
        (page.count(), eof)
    };
    for open in [LocalSource::open, LocalSource::open_plain] {
        let source = open(folder.path(), 0).unwrap();
        let id = lookup(&source, source.root(), "closed");
        assert_eq!(listed(&source, id, 0, 100), (2, true));
        assert_eq!(listed(&source, id, 2, 100), (0, true));
    }
    // The other way round it keeps what is in it to itself.
    set_mode(&closed, 0o100);
    let source = LocalSource::open(folder.path(), 0).unwrap();
    let id = lookup(&source, source.root(), "closed");
    lookup(&source, id, "f");
    let mut page = ListingEncoder::new(0, 100);
    let refused = source.list(id, 0, &mut page);
    assert!(matches!(refused, Err(FsError::AccessDenied)));
    set_mode(&closed, 0o700);
}
