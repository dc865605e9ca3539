//! The Acheron file protocol as values.
//!
//! Bytes in, values out, and back: no sockets, no clock, no filesystem. A text frame becomes an
//! [`Envelope`], the envelope a [`fs::Request`]; a [`fs::Reply`], an error or an [`fs::Event`] becomes text.
//! Both ends use this crate, so a message is described once.
//!
//! JSON of which more must be known than its values is read by [`strict`] and written by [`canonical`].
//!
//! The contract is `docs/protocol-fs.md`; section numbers in the documentation of this crate refer to it.
#![forbid(unsafe_code)]

pub mod canonical;
pub mod control;
pub mod fs;
pub mod limits;
pub mod strict;

mod base64;
mod dialect;
mod envelope;
mod errno;
mod ids;
mod json;
mod name;
mod secret;

pub use base64::{Base64Error, Base64Text};
pub use dialect::Dialect;
pub use envelope::{Envelope, EnvelopeError, MessageKind};
pub use errno::Errno;
pub use ids::{HandleId, InodeId, Tag};
pub use json::Json;
pub use name::{EntryName, InvalidIdentifier, InvalidName, ServiceId, is_identifier};
pub use secret::Secret;
