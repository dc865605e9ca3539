//! The Acheron file protocol as values.
//!
//! Bytes in, values out, and back: no sockets, no clock, no filesystem. A text frame becomes an
//! [`Envelope`], the envelope a [`fs::Request`]; a [`fs::Reply`], an error or an [`fs::Event`] becomes text.
//! Both ends use this crate, so a message is described once.
//!
//! The contract is `docs/protocol-fs.md`; section numbers in the documentation of this crate refer to it.

pub mod fs;
pub mod limits;

mod base64;
mod envelope;
mod errno;
mod ids;
mod json;
mod name;
mod secret;

pub use base64::{Base64Error, Base64Text};
pub use envelope::{Envelope, EnvelopeError, MessageKind};
pub use errno::Errno;
pub use ids::{HandleId, InodeId, Tag};
pub use json::Json;
pub use name::{EntryName, InvalidName};
pub use secret::Secret;
