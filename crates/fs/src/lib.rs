//! Exports, and everything a file protocol needs to serve them.
//!
//! An [`ExportTable`] names the exports of a node; behind each stands a [`Source`] that answers file
//! operations. [`LocalSource`] is a folder of this machine. Open files live in a [`HandleTable`], news about
//! changes travel through [`Invalidations`].
//!
//! Everything here is synchronous and may block, except where [`Patience::Immediate`] is asked for: then an
//! operation that would have to wait for a disk says [`FsError::NotNow`] instead, and the caller takes it to a
//! thread that may wait.

mod error;
mod export;
mod handle;
mod invalidate;
mod local;
mod source;

pub use error::FsError;
pub use export::{Export, ExportTable, TableError};
pub use handle::{Creation, GRACE, HandleError, HandleTable, OpenHandle, SessionId};
pub use invalidate::{Events, Invalidations, Mailbox, PENDING_LIMIT};
pub use local::{LocalSource, LocalSourceError, RESERVED_NAME, Watcher};
pub use source::{OpenFile, Opened, Patience, Source, SourceKind};
