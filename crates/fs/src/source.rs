//! What stands behind an export.

use std::future::Future;
use std::pin::Pin;

use spiderweb_protocol::fs::{Attr, ExportCaps, ListingEncoder, LockKind, OpenFlags, Statfs, XattrFlags};
use spiderweb_protocol::{EntryName, InodeId};

use crate::{Events, FsError};

/// Longest name of an entry, in bytes, whatever a file system takes; so that every source answers alike.
pub(crate) const LONGEST_NAME: usize = 255;

/// Whether an operation may wait for a disk or another machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// Answer from memory or say [`FsError::NotNow`]; the caller is a thread that serves others.
    Immediate,
    /// Wait as long as it takes.
    Blocking,
}

/// The kind of a source, which decides how clients treat it (section 13.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceKind {
    /// A folder on Linux.
    Linux,
    /// A folder on another Unix.
    Posix,
    /// A folder on Windows.
    Windows,
    /// A namespace service.
    Namespace,
}

impl SourceKind {
    /// The word on the wire.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Posix => "posix",
            Self::Windows => "windows",
            Self::Namespace => "namespace",
        }
    }
}

/// A file that was opened, and what is known of it.
pub struct Opened {
    /// The open file.
    pub file: Box<dyn OpenFile>,
    /// Its attributes at that moment.
    pub attr: Attr,
    /// It was cut to nothing, as the flags asked.
    pub truncated: bool,
}

/// Bytes of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The bytes; fewer than asked for only where the file ends.
    pub bytes: Vec<u8>,
    /// The file is known to end behind them.
    pub eof: bool,
}

/// A future that owns what it needs.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a change came to, for the one who asked and for everybody else.
#[derive(Debug)]
pub struct Effect {
    /// The answer.
    pub result: Result<(), FsError>,
    /// What everybody is told, in this order.
    pub events: Events,
}

/// What follows from a change of a file's content.
pub enum Aftermath {
    /// Nothing but the change itself.
    Nothing,
    /// Something that is over. Its events are all there is to tell, those about the change included.
    Over(Effect),
    /// Something that goes on: the bytes are stored, and the answer comes with its end.
    Pending {
        /// What everybody is told at once.
        events: Events,
        /// The end. To be awaited even if nobody wants the answer any more, for what others have to be told.
        end: BoxFuture<Effect>,
    },
}

/// Answers file operations on one tree.
///
/// The caller may ask from any number of threads at once. The implementer must keep every access inside the
/// tree, whatever ids, names and links it meets, and must answer [`FsError::NotNow`] rather than wait when it is
/// asked with [`Patience::Immediate`]; operations without that argument may always wait.
///
/// Ids are full ones, the export's tag included. Read-only exports are the caller's business.
pub trait Source: Send + Sync {
    /// What the source is.
    fn kind(&self) -> SourceKind;

    /// What identifies the source of the export `name` to clients (section 5). Constant.
    fn source_id(&self, name: &str) -> String {
        format!("{}:{name}", self.kind().wire())
    }

    /// What the source can do. Constant.
    fn caps(&self) -> ExportCaps;

    /// Id of the root directory. Constant.
    fn root(&self) -> InodeId;

    /// Checks that an id is known and its object still there; what `readonly` refusals wait for.
    fn exists(&self, id: InodeId) -> Result<(), FsError>;

    /// The file system behind `id`.
    fn statfs(&self, id: InodeId) -> Result<Statfs, FsError>;

    /// Attributes of `id`.
    fn getattr(&self, id: InodeId, patience: Patience) -> Result<Attr, FsError>;

    /// Attributes of what `name` in `parent` leads to; makes its id known.
    fn lookup(&self, parent: InodeId, name: &EntryName, patience: Patience) -> Result<Attr, FsError>;

    /// Adds entries from number `cookie` on until the page is full, then says whether the directory ended, and
    /// the directory's version. Makes every id it mentions known.
    fn list(&self, dir: InodeId, cookie: u64, page: &mut ListingEncoder) -> Result<(bool, u64), FsError>;

    /// Opens a regular file or a directory.
    fn open(&self, id: InodeId, flags: OpenFlags, patience: Patience) -> Result<Opened, FsError>;

    /// Makes a new file and opens it.
    fn create(
        &self,
        parent: InodeId,
        name: &EntryName,
        mode: u32,
        flags: OpenFlags,
    ) -> Result<Opened, FsError>;

    /// Cuts or extends a file to `size` bytes. Its new version, where the source counts them for its events.
    fn truncate(&self, id: InodeId, size: u64) -> Result<Option<u64>, FsError>;

    /// Removes a file or link.
    fn unlink(&self, parent: InodeId, name: &EntryName) -> Result<(), FsError>;

    /// Makes a directory.
    fn mkdir(&self, parent: InodeId, name: &EntryName) -> Result<(), FsError>;

    /// Removes an empty directory.
    fn rmdir(&self, parent: InodeId, name: &EntryName) -> Result<(), FsError>;

    /// Moves an entry, replacing what a file system lets it replace. The id of what was moved, and what follows
    /// from its new name.
    fn rename(
        &self,
        old_parent: InodeId,
        old_name: &EntryName,
        new_parent: InodeId,
        new_name: &EntryName,
    ) -> Result<(InodeId, Aftermath), FsError>;

    /// Makes a symbolic link that says `target`.
    fn symlink(&self, parent: InodeId, name: &EntryName, target: &str) -> Result<(), FsError>;

    /// Sets an extended attribute.
    fn set_xattr(&self, id: InodeId, name: &str, value: &[u8], flags: XattrFlags) -> Result<(), FsError>;

    /// The value of an extended attribute.
    fn xattr(&self, id: InodeId, name: &str) -> Result<Vec<u8>, FsError>;

    /// Names of the extended attributes.
    fn xattrs(&self, id: InodeId) -> Result<Vec<String>, FsError>;

    /// Removes an extended attribute.
    fn remove_xattr(&self, id: InodeId, name: &str) -> Result<(), FsError>;
}

/// An open file or directory. It keeps working after the name is gone.
///
/// Dropping it closes it and gives its lock back. Dropping may wait for a disk.
pub trait OpenFile: Send + Sync {
    /// Up to `len` bytes from `offset`.
    fn read(&self, offset: u64, len: usize, patience: Patience) -> Result<Chunk, FsError>;

    /// Writes all of `data` at `offset`.
    fn write(&self, offset: u64, data: &[u8]) -> Result<Aftermath, FsError>;

    /// Takes, converts or gives back the whole-file lock; [`FsError::WouldBlock`] when it is held elsewhere.
    fn lock(&self, kind: LockKind) -> Result<(), FsError>;

    /// Whether dropping the last reference can wait for a disk.
    fn closes_at_once(&self) -> bool;
}
