//! Messages of the file protocol: 22 requests, their replies, one error and two events.

mod attr;
mod event;
mod hello;
mod incoming;
mod op;
mod outgoing;
mod reply;
mod request;
mod write;

pub use attr::{Attr, FileKind};
pub use event::{Change, Event};
pub use hello::{HELLO_PROTOCOL, Hello, HelloError, HelloReply, NodeCaps};
pub use incoming::{Incoming, Listing, ListingEntry, Payload, ReplyError, WireError};
pub use op::Op;
pub use reply::{EncodedListing, Export, ExportCaps, ListingEncoder, Opened, Reply, Statfs, encode_error};
pub use request::{ArgumentError, LockKind, OpenFlags, Request, XattrFlags};
