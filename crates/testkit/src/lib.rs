//! What the tests of this workspace share.
//!
//! * [`control`]: recorded exchanges with control servers, played against a node in control mode.
//! * [`raw_peer`]: a blocking WebSocket client with the bytes in hand, able to send broken frames.
//! * [`file_peer`]: file operations over it, one method each.
//! * [`model`]: a file tree in memory, to compare with.
//! * [`process`]: a node binary started on a free port, its log kept, its life tied to a value.
//! * [`replay`]: recorded exchanges played against a node, with the rules that say what may differ.
//! * [`services`]: the same for namespace services, their files, drivers and manifests.
//!
//! What was recorded shows Linux, with its modes, links and attributes, and is played on Unix only.
//!
//! Nothing here is part of the product: this crate is a dev-dependency, and of `xtask` a normal one.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "test code: a broken assumption should stop the test where it is noticed"
)]

#[cfg(unix)]
pub mod control;
pub mod file_peer;
pub mod model;
pub mod process;
pub mod raw_peer;
#[cfg(unix)]
pub mod replay;
#[cfg(unix)]
pub mod services;

pub use file_peer::{Answer, FilePeer, Page, Refusal};
pub use process::{NodeCommand, NodeProcess};
pub use raw_peer::{Frame, PeerError, RawPeer};
