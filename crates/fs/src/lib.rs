//! Exports, and everything a file protocol needs to serve them.
//!
//! An [`ExportTable`] names the exports of a node; behind each stands a [`Source`] that answers file
//! operations. [`LocalSource`] is a folder of this machine, [`Namespace`](namespace::Namespace) a service shown as
//! files. Open files live in a [`HandleTable`], news about
//! changes travel through [`Invalidations`].
//!
//! Everything here is synchronous and may block, except where [`Patience::Immediate`] is asked for: then an
//! operation that would have to wait for a disk says [`FsError::NotNow`] instead, and the caller takes it to a
//! thread that may wait.
#![forbid(unsafe_code)]

mod error;
mod export;
mod handle;
mod invalidate;
mod local;
pub mod namespace;
mod source;

pub use error::FsError;
pub use export::{Export, ExportTable, TableError};
pub use handle::{Closed, Creation, GRACE, HandleError, HandleTable, LONGEST_IDLE, OpenHandle, SessionId};
pub use invalidate::{Events, Invalidations, Mailbox, PENDING_LIMIT};
pub use local::{LocalSource, LocalSourceError, RESERVED_NAME, Watcher};
pub use source::{Aftermath, BoxFuture, Chunk, Effect, OpenFile, Opened, Patience, Source, SourceKind};
