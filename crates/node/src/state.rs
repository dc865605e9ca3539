//! What of a node outlives its process (section 11 of the contract).
//!
//! `document.rs` is the text of what services remember, `identity.rs` that of who the node is, both pure; `file.rs` puts any text on the disk so that a crash at any moment leaves the last
//! acknowledged one, and never overwrites one that was not read.

mod document;
mod file;
mod identity;
mod lock;
mod store;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use document::{MAX_DOCUMENT, Restored, parse, render};
pub use file::{Contents, Opened, SetAside, StateError, StateFile};
pub use identity::{IdentityFault, Kept, MAX_IDENTITY, parse_identity, render_identity};
pub use lock::{LockError, StateLock};
pub use store::{IdentityStore, StoreError};

/// The file with the state of services, named after the one with the pairing state.
pub fn services_file(state_file: &Path) -> PathBuf {
    let mut name = OsString::from(state_file);
    name.push(".runtime-services.json");
    name.into()
}
