//! A folder on a disk that hangs when told to.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex};

use spiderweb_fs::{Aftermath, Chunk, FsError, LocalSource, OpenFile, Opened, Patience, Source, SourceKind};
use spiderweb_protocol::fs::{Attr, ExportCaps, ListingEncoder, LockKind, OpenFlags, Statfs, XattrFlags};
use spiderweb_protocol::{EntryName, InodeId};

/// The switch: which objects hang, and how many requests wait for them.
#[derive(Default)]
pub(crate) struct Disk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    hanging: HashSet<u64>,
    /// A request that waits for this object panics.
    faulty: Option<u64>,
    stuck: usize,
}

impl Disk {
    /// From now on whatever touches this object waits.
    pub(crate) fn hang(&self, id: u64) {
        self.state.lock().unwrap().hanging.insert(id);
    }

    /// From now on a thread that touches this object panics.
    pub(crate) fn break_down(&self, id: u64) {
        self.state.lock().unwrap().faulty = Some(id);
    }

    /// Everything goes on.
    pub(crate) fn recover(&self) {
        let mut state = self.state.lock().unwrap();
        state.hanging.clear();
        state.faulty = None;
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until this many requests are stuck.
    pub(crate) fn wait_stuck(&self, count: usize) {
        let state = self.state.lock().unwrap();
        let limit = std::time::Duration::from_secs(20);
        let (state, timeout) = self
            .changed
            .wait_timeout_while(state, limit, |state| state.stuck < count)
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "{} requests are stuck instead of {count}",
            state.stuck
        );
    }

    fn touch(&self, id: InodeId, patience: Patience) -> Result<(), FsError> {
        let mut state = self.state.lock().unwrap();
        let faulty = state.faulty == Some(id.get());
        if !faulty && !state.hanging.contains(&id.get()) {
            return Ok(());
        }
        if patience == Patience::Immediate {
            return Err(FsError::NotNow);
        }
        if faulty {
            drop(state);
            panic!("a fault in the source, on purpose");
        }
        state.stuck += 1;
        self.changed.notify_all();
        let mut state = self
            .changed
            .wait_while(state, |state| state.hanging.contains(&id.get()))
            .unwrap();
        state.stuck -= 1;
        Ok(())
    }
}

pub(crate) struct SlowSource {
    pub(crate) inner: LocalSource,
    pub(crate) disk: Arc<Disk>,
}

struct SlowFile {
    inner: Box<dyn OpenFile>,
    id: InodeId,
    disk: Arc<Disk>,
}

impl SlowSource {
    fn wrap(&self, opened: Opened) -> Opened {
        let file = SlowFile {
            inner: opened.file,
            id: InodeId::new(opened.attr.id).unwrap(),
            disk: self.disk.clone(),
        };
        Opened {
            file: Box::new(file),
            attr: opened.attr,
            truncated: opened.truncated,
        }
    }

    fn touch(&self, id: InodeId) -> Result<&LocalSource, FsError> {
        self.disk.touch(id, Patience::Blocking)?;
        Ok(&self.inner)
    }
}

impl Source for SlowSource {
    fn kind(&self) -> SourceKind {
        self.inner.kind()
    }

    fn caps(&self) -> ExportCaps {
        self.inner.caps()
    }

    fn root(&self) -> InodeId {
        self.inner.root()
    }

    fn exists(&self, id: InodeId) -> Result<(), FsError> {
        self.touch(id)?.exists(id)
    }

    fn statfs(&self, id: InodeId) -> Result<Statfs, FsError> {
        self.touch(id)?.statfs(id)
    }

    fn getattr(&self, id: InodeId, patience: Patience) -> Result<Attr, FsError> {
        self.disk.touch(id, patience)?;
        self.inner.getattr(id, patience)
    }

    fn lookup(&self, parent: InodeId, name: &EntryName, patience: Patience) -> Result<Attr, FsError> {
        self.disk.touch(parent, patience)?;
        self.inner.lookup(parent, name, patience)
    }

    fn list(&self, dir: InodeId, cookie: u64, page: &mut ListingEncoder) -> Result<(bool, u64), FsError> {
        self.touch(dir)?.list(dir, cookie, page)
    }

    fn open(&self, id: InodeId, flags: OpenFlags, patience: Patience) -> Result<Opened, FsError> {
        self.disk.touch(id, patience)?;
        Ok(self.wrap(self.inner.open(id, flags, patience)?))
    }

    fn create(
        &self,
        parent: InodeId,
        name: &EntryName,
        mode: u32,
        flags: OpenFlags,
    ) -> Result<Opened, FsError> {
        Ok(self.wrap(self.touch(parent)?.create(parent, name, mode, flags)?))
    }

    fn truncate(&self, id: InodeId, size: u64) -> Result<Option<u64>, FsError> {
        self.touch(id)?.truncate(id, size)
    }

    fn unlink(&self, parent: InodeId, name: &EntryName) -> Result<(), FsError> {
        self.touch(parent)?.unlink(parent, name)
    }

    fn mkdir(&self, parent: InodeId, name: &EntryName) -> Result<(), FsError> {
        self.touch(parent)?.mkdir(parent, name)
    }

    fn rmdir(&self, parent: InodeId, name: &EntryName) -> Result<(), FsError> {
        self.touch(parent)?.rmdir(parent, name)
    }

    fn rename(
        &self,
        old_parent: InodeId,
        old_name: &EntryName,
        new_parent: InodeId,
        new_name: &EntryName,
    ) -> Result<(InodeId, Aftermath), FsError> {
        self.touch(old_parent)?;
        self.touch(new_parent)?
            .rename(old_parent, old_name, new_parent, new_name)
    }

    fn symlink(&self, parent: InodeId, name: &EntryName, target: &str) -> Result<(), FsError> {
        self.touch(parent)?.symlink(parent, name, target)
    }

    fn set_xattr(&self, id: InodeId, name: &str, value: &[u8], flags: XattrFlags) -> Result<(), FsError> {
        self.touch(id)?.set_xattr(id, name, value, flags)
    }

    fn xattr(&self, id: InodeId, name: &str) -> Result<Vec<u8>, FsError> {
        self.touch(id)?.xattr(id, name)
    }

    fn xattrs(&self, id: InodeId) -> Result<Vec<String>, FsError> {
        self.touch(id)?.xattrs(id)
    }

    fn remove_xattr(&self, id: InodeId, name: &str) -> Result<(), FsError> {
        self.touch(id)?.remove_xattr(id, name)
    }
}

impl OpenFile for SlowFile {
    fn read(&self, offset: u64, len: usize, patience: Patience) -> Result<Chunk, FsError> {
        self.disk.touch(self.id, patience)?;
        self.inner.read(offset, len, patience)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<Aftermath, FsError> {
        self.disk.touch(self.id, Patience::Blocking)?;
        self.inner.write(offset, data)
    }

    fn lock(&self, kind: LockKind) -> Result<(), FsError> {
        self.disk.touch(self.id, Patience::Blocking)?;
        self.inner.lock(kind)
    }

    fn closes_at_once(&self) -> bool {
        self.inner.closes_at_once()
    }
}
