//! The operations of a local source, as [`Source`] describes them.

use spiderweb_protocol::fs::{Attr, ExportCaps, ListingEncoder, OpenFlags, Statfs, XattrFlags};
use spiderweb_protocol::{EntryName, InodeId};

use super::attr::{self, Kind};
use super::disk::{self, Handle, Stat, Want, xattr};
use super::{Directory, LocalSource, visible_name};
use crate::{Aftermath, FsError, Opened, Patience, Source, SourceKind};

/// Longest target of a link, in bytes.
const LONGEST_TARGET: usize = 4095;

/// A name as an argument: the reserved one does not exist, and one the system would refuse is refused.
fn checked(name: &EntryName) -> Result<&str, FsError> {
    if disk::is_too_long(name.as_str()) {
        return Err(FsError::NameTooLong);
    }
    visible_name(name.as_str())
}

/// A name to be made; the reserved one is refused, and one that the system would change.
fn new_name(name: &EntryName) -> Result<&str, FsError> {
    if !disk::is_literal(name.as_str()) {
        return Err(FsError::InvalidArgument);
    }
    checked(name).map_err(|error| match error {
        FsError::NotFound => FsError::AccessDenied,
        other => other,
    })
}

const fn access(flags: OpenFlags) -> Want {
    match (flags.reads(), flags.writes()) {
        (true, true) => disk::READ_WRITE,
        (false, true) => disk::WRITE,
        _ => disk::READ,
    }
}

impl Source for LocalSource {
    fn kind(&self) -> SourceKind {
        if cfg!(target_os = "linux") {
            SourceKind::Linux
        } else if cfg!(windows) {
            SourceKind::Windows
        } else {
            SourceKind::Posix
        }
    }

    fn caps(&self) -> ExportCaps {
        ExportCaps {
            native_watch: self.shared.watches.are_possible(),
            case_sensitive: self.shared.root.is_case_sensitive(),
            symlink: disk::LINKS,
            xattr: disk::ATTRIBUTES,
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
        disk::statfs(&file)
    }

    fn getattr(&self, id: InodeId, patience: Patience) -> Result<Attr, FsError> {
        let (_, _, _, stat) = self.look(id, patience)?;
        Ok(attr::attr(id, &stat, self.shared.owner))
    }

    fn lookup(&self, parent: InodeId, name: &EntryName, patience: Patience) -> Result<Attr, FsError> {
        let directory = self.directory(parent, patience)?;
        let text = checked(name)?;
        let stat = match patience {
            Patience::Blocking => disk::stat_entry(&directory.file, text)?,
            Patience::Immediate => {
                let entry = self.shared.root.peek_entry(&directory.file, text)?;
                let stat = disk::stat(&entry)?;
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
            disk::set_length(&file, 0)?;
            let stat = disk::stat(&file)?;
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
            let file = disk::create(&directory.file, text, mode, flags.reads())?;
            let stat = disk::stat(&file)?;
            // Inside the change, so that the watcher finds the file known when it looks.
            let index = self.register(directory.index, text, &stat)?;
            Ok((index, file, stat))
        })?;
        self.opened(index, file, &stat, true)
    }

    fn truncate(&self, id: InodeId, size: u64) -> Result<Option<u64>, FsError> {
        let (_, file, _) = self.open_object(id, disk::WRITE, Patience::Blocking)?;
        self.shared.change(id.local(), || {
            disk::set_length(&file, size)?;
            Ok((None, attr::stamp(&disk::stat(&file)?)))
        })
    }

    fn unlink(&self, parent: InodeId, name: &EntryName) -> Result<(), FsError> {
        let directory = self.directory(parent, Patience::Blocking)?;
        let text = checked(name)?;
        self.change_entries(&directory, || {
            disk::remove_file(&directory.file, text)?;
            self.forget(directory.index, name);
            Ok(())
        })
    }

    fn mkdir(&self, parent: InodeId, name: &EntryName) -> Result<(), FsError> {
        let directory = self.directory(parent, Patience::Blocking)?;
        let text = new_name(name)?;
        self.change_entries(&directory, || disk::make_directory(&directory.file, text))
    }

    fn rmdir(&self, parent: InodeId, name: &EntryName) -> Result<(), FsError> {
        let directory = self.directory(parent, Patience::Blocking)?;
        let text = checked(name)?;
        self.change_entries(&directory, || {
            disk::remove_directory(&directory.file, text)?;
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
        self.change_entries(&directory, || disk::make_link(target, &directory.file, text))
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
        let stat = disk::stat_entry(&from.file, old)?;
        disk::rename(&from.file, old, &to.file, new)?;
        if attr::kind(&stat) == Kind::Link {
            return self.moved_link(to, new, &stat);
        }
        // The way in which the table learns of any object: it is now seen under its new name.
        let index = self.register(to.index, new, &stat)?;
        // Two names of one file: a rename of one over the other does nothing.
        let is_still_there = attr::has_several_names(&stat)
            && disk::stat_entry(&from.file, old).is_ok_and(|left| attr::object(&left) == attr::object(&stat));
        let mut inodes = self.shared.inodes();
        if !is_still_there && inodes.child(from.index, old) != Some(index) {
            inodes.unname(from.index, old);
        }
        let local = inodes.local(index);
        if let Ok(stat) = disk::stat_entry(&to.file, new) {
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
            inodes.unname(to.index, name);
            inodes.local_of(attr::object(stat))
        };
        let name = EntryName::new(name).map_err(|_| FsError::NotFound)?;
        match self.target_attr(to, &name) {
            Ok(target) => InodeId::new(target.id).ok_or(FsError::NotFound),
            Err(_) => self.shared.id(local),
        }
    }

    /// An object for the use of its attributes. Where the system lets us, nothing is opened: then attributes need no right
    /// to the content, and those of FIFOs, sockets and devices are reached, too. Elsewhere they need a descriptor that
    /// was really opened; a file we may not read may be one we may write.
    fn open_for_xattr(&self, id: InodeId) -> Result<Handle, FsError> {
        if self.shared.root.looking_reaches_attributes() {
            let (_, _, file, stat) = self.look(id, Patience::Blocking)?;
            return match attr::kind(&stat) {
                Kind::Link => Err(FsError::Unsupported),
                _ => Ok(file),
            };
        }
        let open = |flags| {
            self.open_object(id, flags, Patience::Blocking)
                .map(|(_, file, _)| file)
        };
        match open(disk::READ) {
            Err(FsError::AccessDenied) => open(disk::WRITE).map_err(|error| match error {
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
        file: &Handle,
        change: impl FnOnce() -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        self.shared.change(id.local(), || {
            change()?;
            Ok(((), attr::stamp(&disk::stat(file)?)))
        })
    }
}
