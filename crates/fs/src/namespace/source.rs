//! The tree as the source of an export: file operations, one by one.

use spiderweb_protocol::fs::{Attr, ExportCaps, ListingEncoder, OpenFlags, Statfs, XattrFlags};
use spiderweb_protocol::{EntryName, InodeId};

use super::Namespace;
use super::layout::Kind;
use crate::source::{Aftermath, LONGEST_NAME};
use crate::{FsError, Opened, Patience, Source, SourceKind};

impl Source for Namespace {
    fn kind(&self) -> SourceKind {
        SourceKind::Namespace
    }

    fn source_id(&self, _name: &str) -> String {
        self.0.identity.source_id()
    }

    fn caps(&self) -> ExportCaps {
        ExportCaps {
            native_watch: false,
            case_sensitive: true,
            symlink: false,
            xattr: false,
            locks: false,
            statfs: true,
        }
    }

    fn root(&self) -> InodeId {
        self.0.root
    }

    fn exists(&self, id: InodeId) -> Result<(), FsError> {
        let file = self.0.local(id)?;
        match self.0.past(file) {
            Some(_) => self.0.text(file).map(drop),
            None => self.0.tree().node(file).map(drop),
        }
    }

    fn statfs(&self, id: InodeId) -> Result<Statfs, FsError> {
        self.exists(id)?;
        Ok(Statfs {
            bsize: 4096,
            frsize: 4096,
            blocks: 0,
            bfree: 0,
            bavail: 0,
            files: 0,
            ffree: 0,
            favail: 0,
            namemax: LONGEST_NAME as u64,
        })
    }

    fn getattr(&self, id: InodeId, _patience: Patience) -> Result<Attr, FsError> {
        self.0.attr(self.0.local(id)?)
    }

    fn lookup(&self, parent: InodeId, name: &EntryName, _patience: Patience) -> Result<Attr, FsError> {
        self.0.attr(self.0.lookup(self.0.local(parent)?, name)?)
    }

    fn list(&self, dir: InodeId, cookie: u64, page: &mut ListingEncoder) -> Result<(bool, u64), FsError> {
        let directory = self.0.local(dir)?;
        let entries = self.0.entries(directory)?;
        let generation = self.0.attr(directory)?.generation;
        let first = usize::try_from(cookie).unwrap_or(usize::MAX);
        for (name, file) in entries.iter().skip(first) {
            if page.is_full() {
                return Ok((false, generation));
            }
            // A remembered invoke may be forgotten meanwhile; its place in the listing stays.
            match self.0.attr(*file) {
                Ok(attr) => page.push(name, &attr),
                Err(FsError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((true, generation))
    }

    fn open(&self, id: InodeId, flags: OpenFlags, _patience: Patience) -> Result<Opened, FsError> {
        self.0.open(self.0.local(id)?, flags)
    }

    fn create(
        &self,
        parent: InodeId,
        name: &EntryName,
        _mode: u32,
        _flags: OpenFlags,
    ) -> Result<Opened, FsError> {
        let parent = self.0.local(parent)?;
        let file = self.0.tree().create(parent, name, Kind::Stored)?;
        self.0.open(file, OpenFlags::READ_WRITE)
    }

    fn truncate(&self, id: InodeId, size: u64) -> Result<Option<u64>, FsError> {
        let file = self.0.local(id)?;
        let changes = self.0.truncate(file, size)?;
        Ok(Some(id.get() + changes))
    }

    fn unlink(&self, parent: InodeId, name: &EntryName) -> Result<(), FsError> {
        let parent = self.0.local(parent)?;
        self.0.tree().remove(parent, name, false)
    }

    fn mkdir(&self, parent: InodeId, name: &EntryName) -> Result<(), FsError> {
        let parent = self.0.local(parent)?;
        self.0.tree().create(parent, name, Kind::Directory).map(drop)
    }

    fn rmdir(&self, parent: InodeId, name: &EntryName) -> Result<(), FsError> {
        let parent = self.0.local(parent)?;
        self.0.tree().remove(parent, name, true)
    }

    fn rename(
        &self,
        old_parent: InodeId,
        old_name: &EntryName,
        new_parent: InodeId,
        new_name: &EntryName,
    ) -> Result<(InodeId, Aftermath), FsError> {
        let from = (self.0.local(old_parent)?, old_name);
        let to = (self.0.local(new_parent)?, new_name);
        self.0.rename(from, to)
    }

    fn symlink(&self, _parent: InodeId, _name: &EntryName, _target: &str) -> Result<(), FsError> {
        Err(FsError::NotImplemented)
    }

    fn set_xattr(&self, _id: InodeId, _name: &str, _value: &[u8], _flags: XattrFlags) -> Result<(), FsError> {
        Err(FsError::NotImplemented)
    }

    fn xattr(&self, _id: InodeId, _name: &str) -> Result<Vec<u8>, FsError> {
        Err(FsError::NotImplemented)
    }

    fn xattrs(&self, _id: InodeId) -> Result<Vec<String>, FsError> {
        Err(FsError::NotImplemented)
    }

    fn remove_xattr(&self, _id: InodeId, _name: &str) -> Result<(), FsError> {
        Err(FsError::NotImplemented)
    }
}
