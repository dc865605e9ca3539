//! The operations of a local source, as [`Source`] describes them.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;
use spiderweb_protocol::fs::{Attr, ExportCaps, ListingEncoder, OpenFlags, Statfs, XattrFlags};
use spiderweb_protocol::limits::MAX_WIRE_INTEGER;
use spiderweb_protocol::{EntryName, InodeId};

use super::attr::{self, Kind};
use super::{Directory, LONGEST_NAME, LocalSource, root, visible_name, xattr};
use crate::{Aftermath, FsError, Opened, Patience, Source, SourceKind};

/// Longest target of a link, in bytes.
const LONGEST_TARGET: usize = 4095;

/// A name as an argument: the reserved one does not exist, and one the system would refuse is refused.
fn checked(name: &EntryName) -> Result<&str, FsError> {
    if name.as_str().len() > LONGEST_NAME {
        return Err(FsError::NameTooLong);
    }
    visible_name(name.as_str())
}

/// A name to be made; the reserved one is refused.
fn new_name(name: &EntryName) -> Result<&str, FsError> {
    checked(name).map_err(|error| match error {
        FsError::NotFound => FsError::AccessDenied,
        other => other,
    })
}

const fn access(flags: OpenFlags) -> OFlags {
    match (flags.reads(), flags.writes()) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        _ => OFlags::RDONLY,
    }
}

impl Source for LocalSource {
    fn kind(&self) -> SourceKind {
        if cfg!(target_os = "linux") {
            SourceKind::Linux
        } else {
            SourceKind::Posix
        }
    }

    fn caps(&self) -> ExportCaps {
        ExportCaps {
            native_watch: self.shared.watches.are_possible(),
            case_sensitive: true,
            symlink: true,
            xattr: true,
            locks: true,
            statfs: true,
        }
    }

    fn root(&self) -> InodeId {
        let local = self.shared.inodes().root_local();
        #[expect(
            clippy::expect_used,
            reason = "the table was given to a source whose index fits"
        )]
        self.shared.id(local).expect("an export's index fits in an id")
    }

    fn exists(&self, id: InodeId) -> Result<(), FsError> {
        self.look(id, Patience::Blocking).map(drop)
    }

    fn statfs(&self, id: InodeId) -> Result<Statfs, FsError> {
        let (_, _, file, _) = self.look(id, Patience::Blocking)?;
        let s = rustix::fs::fstatvfs(&file)?;
        let cap = |number: u64| number.min(MAX_WIRE_INTEGER);
        Ok(Statfs {
            bsize: cap(s.f_bsize),
            frsize: cap(s.f_frsize),
            blocks: cap(s.f_blocks),
            bfree: cap(s.f_bfree),
            bavail: cap(s.f_bavail),
            files: cap(s.f_files),
            ffree: cap(s.f_ffree),
            favail: cap(s.f_favail),
            namemax: LONGEST_NAME as u64,
        })
    }

    fn getattr(&self, id: InodeId, patience: Patience) -> Result<Attr, FsError> {
        let (_, _, _, stat) = self.look(id, patience)?;
        Ok(attr::attr(id, &stat, self.shared.owner))
    }

    fn lookup(&self, parent: InodeId, name: &EntryName, patience: Patience) -> Result<Attr, FsError> {
        let directory = self.directory(parent, patience)?;
        let text = checked(name)?;
        let stat = match patience {
            Patience::Blocking => root::stat_entry(&directory.file, text)?,
            Patience::Immediate => {
                let entry = self.shared.root.peek_entry(&directory.file, text)?;
                let stat = rustix::fs::fstat(&entry)?;
                if attr::kind(&stat) == Kind::Link {
                    return Err(FsError::NotNow);
                }
                stat
            }
        };
        self.entry_attr(&directory, name, &stat)
    }

    fn list(&self, dir: InodeId, cookie: u64, page: &mut ListingEncoder) -> Result<(bool, u64), FsError> {
        let (index, place, file, stat) = self.look(dir, Patience::Blocking)?;
        if attr::kind(&stat) != Kind::Directory {
            return Err(FsError::NodeNotADirectory);
        }
        let directory = Directory {
            index,
            path: place.path,
            file,
            stat,
        };
        self.shared.watch(index, &directory.file);
        let eof = self.pages.fill(self, &directory, cookie, page)?;
        Ok((eof, attr::generation(&directory.stat)))
    }

    fn open(&self, id: InodeId, flags: OpenFlags, patience: Patience) -> Result<Opened, FsError> {
        let (index, file, stat) = self.open_object(id, access(flags), patience)?;
        if !flags.truncates() {
            return self.opened(index, file, &stat, flags.writes());
        }
        let stat = self.shared.change(id.local(), || {
            rustix::fs::ftruncate(&file, 0)?;
            let stat = rustix::fs::fstat(&file)?;
            Ok((stat, attr::stamp(&stat)))
        })?;
        Ok(Opened {
            truncated: true,
            ..self.opened(index, file, &stat, true)?
        })
    }

    fn create(
        &self,
        parent: InodeId,
        name: &EntryName,
        mode: u32,
        flags: OpenFlags,
    ) -> Result<Opened, FsError> {
        let directory = self.directory(parent, Patience::Blocking)?;
        let text = new_name(name)?;
        let (index, file, stat) = self.change_entries(&directory, || {
            let flags = if flags.reads() {
                OFlags::RDWR
            } else {
                OFlags::WRONLY
            } | OFlags::CREATE
                | OFlags::EXCL
                | OFlags::NOFOLLOW
                | OFlags::CLOEXEC
                | OFlags::NOCTTY;
            let mode = Mode::from_raw_mode((mode & 0o7777) as rustix::fs::RawMode);
            let file = rustix::fs::openat(&directory.file, text, flags, mode)?;
            let stat = rustix::fs::fstat(&file)?;
            // Inside the change, so that the watcher finds the file known when it looks.
            let index = self.register(directory.index, text, &stat)?;
            Ok((index, file, stat))
        })?;
        self.opened(index, file, &stat, true)
    }

    fn truncate(&self, id: InodeId, size: u64) -> Result<Option<u64>, FsError> {
        let (_, file, _) = self.open_object(id, OFlags::WRONLY, Patience::Blocking)?;
        self.shared.change(id.local(), || {
            rustix::fs::ftruncate(&file, size)?;
            Ok((None, attr::stamp(&rustix::fs::fstat(&file)?)))
        })
    }

    fn unlink(&self, parent: InodeId, name: &EntryName) -> Result<(), FsError> {
        let directory = self.directory(parent, Patience::Blocking)?;
        let text = checked(name)?;
        self.change_entries(&directory, || {
            rustix::fs::unlinkat(&directory.file, text, AtFlags::empty()).map_err(|errno| match errno {
                // What POSIX prescribes, and other systems than Linux do, for a directory.
                Errno::PERM if is_directory(&directory.file, text) => FsError::IsADirectory,
                other => other.into(),
            })?;
            self.forget(directory.index, name);
            Ok(())
        })
    }

    fn mkdir(&self, parent: InodeId, name: &EntryName) -> Result<(), FsError> {
        let directory = self.directory(parent, Patience::Blocking)?;
        let text = new_name(name)?;
        self.change_entries(&directory, || {
            Ok(rustix::fs::mkdirat(
                &directory.file,
                text,
                Mode::RWXU | Mode::RWXG | Mode::RWXO,
            )?)
        })
    }

    fn rmdir(&self, parent: InodeId, name: &EntryName) -> Result<(), FsError> {
        let directory = self.directory(parent, Patience::Blocking)?;
        let text = checked(name)?;
        self.change_entries(&directory, || {
            rustix::fs::unlinkat(&directory.file, text, AtFlags::REMOVEDIR)?;
            self.forget(directory.index, name);
            Ok(())
        })
    }

    fn rename(
        &self,
        old_parent: InodeId,
        old_name: &EntryName,
        new_parent: InodeId,
        new_name: &EntryName,
    ) -> Result<(InodeId, Aftermath), FsError> {
        let from = self.directory(old_parent, Patience::Blocking)?;
        let to = self.directory(new_parent, Patience::Blocking)?;
        let old = checked(old_name)?;
        let new = self::new_name(new_name)?;
        self.shared.renaming(|| {
            self.change_entries(&from, || {
                self.change_entries(&to, || self.move_entry(&from, old, &to, new))
            })
            .map(|moved| (moved, Aftermath::Nothing))
        })
    }

    fn symlink(&self, parent: InodeId, name: &EntryName, target: &str) -> Result<(), FsError> {
        let directory = self.directory(parent, Patience::Blocking)?;
        let text = new_name(name)?;
        if target.len() > LONGEST_TARGET {
            return Err(FsError::NameTooLong);
        }
        self.change_entries(&directory, || {
            Ok(rustix::fs::symlinkat(target, &directory.file, text)?)
        })
    }

    fn set_xattr(&self, id: InodeId, name: &str, value: &[u8], flags: XattrFlags) -> Result<(), FsError> {
        let file = self.open_for_xattr(id)?;
        self.change_object(id, &file, || xattr::set(&file, name, value, flags))
    }

    fn xattr(&self, id: InodeId, name: &str) -> Result<Vec<u8>, FsError> {
        xattr::get(&self.open_for_xattr(id)?, name)
    }

    fn xattrs(&self, id: InodeId) -> Result<Vec<String>, FsError> {
        xattr::list(&self.open_for_xattr(id)?)
    }

    fn remove_xattr(&self, id: InodeId, name: &str) -> Result<(), FsError> {
        let file = self.open_for_xattr(id)?;
        self.change_object(id, &file, || xattr::remove(&file, name))
    }
}

impl LocalSource {
    /// The rename itself. Its id: the moved object's, or for a link its target's, which is what clients know.
    fn move_entry(&self, from: &Directory, old: &str, to: &Directory, new: &str) -> Result<InodeId, FsError> {
        let stat = root::stat_entry(&from.file, old)?;
        rustix::fs::renameat(&from.file, old, &to.file, new).map_err(|errno| match errno {
            Errno::NOTEMPTY => FsError::Exists,
            other => other.into(),
        })?;
        if attr::kind(&stat) == Kind::Link {
            return self.moved_link(to, new, &stat);
        }
        // The way in which the table learns of any object: it is now seen under its new name.
        let index = self.register(to.index, new, &stat)?;
        let mut inodes = self.shared.inodes();
        // Two names of one file: a rename of one over the other does nothing.
        if let Some(left) = inodes.child(from.index, old).filter(|left| *left != index) {
            inodes.detach(left);
        }
        let local = inodes.local(index);
        if let Ok(stat) = root::stat_entry(&to.file, new) {
            inodes.set_stamp(index, attr::stamp(&stat));
        }
        drop(inodes);
        self.shared.id(local)
    }

    /// What a link that is now called `name` is known by: the id of its target. A link itself is never noted; one
    /// that leads nowhere is told under the id it would have, which nobody can use.
    fn moved_link(&self, to: &Directory, name: &str, stat: &Stat) -> Result<InodeId, FsError> {
        let local = {
            let mut inodes = self.shared.inodes();
            if let Some(replaced) = inodes.child(to.index, name) {
                inodes.detach(replaced);
            }
            inodes.local_of(attr::object(stat))
        };
        let name = EntryName::new(name).map_err(|_| FsError::NotFound)?;
        match self.target_attr(to, &name) {
            Ok(target) => InodeId::new(target.id).ok_or(FsError::NotFound),
            Err(_) => self.shared.id(local),
        }
    }

    /// Attributes need a descriptor that was really opened; a file we may not read may be one we may write.
    fn open_for_xattr(&self, id: InodeId) -> Result<OwnedFd, FsError> {
        let open = |flags| {
            self.open_object(id, flags, Patience::Blocking)
                .map(|(_, file, _)| file)
        };
        match open(OFlags::RDONLY) {
            Err(FsError::AccessDenied) => open(OFlags::WRONLY).map_err(|error| match error {
                FsError::IsADirectory => FsError::AccessDenied,
                other => other,
            }),
            Err(FsError::NotAFile) => Err(FsError::Unsupported),
            other => other,
        }
    }

    fn change_object(
        &self,
        id: InodeId,
        file: &OwnedFd,
        change: impl FnOnce() -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        self.shared.change(id.local(), || {
            change()?;
            Ok(((), attr::stamp(&rustix::fs::fstat(file)?)))
        })
    }
}

fn is_directory(parent: &OwnedFd, name: &str) -> bool {
    root::stat_entry(parent, name).is_ok_and(|stat| attr::kind(&stat) == Kind::Directory)
}
