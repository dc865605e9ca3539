//! Where the hub keeps what it must not forget.
//!
//! A store holds texts under keys. What they mean is the business of [`registry`](crate::registry); here they are
//! only kept, all changes of one operation together or none of them.

mod file;
mod memory;

pub use file::{FileStore, OpenError};
pub use memory::MemoryStore;

/// One change of a stored text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Keep this text under the key.
    Put {
        /// The key.
        key: String,
        /// The text.
        text: String,
    },
    /// Forget the key.
    Remove {
        /// The key.
        key: String,
    },
}

impl Change {
    /// Which text it changes.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Remove { key } => key,
        }
    }
}

/// What could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the database cannot be {what}: {reason}")]
pub struct StoreError {
    /// `read` or `written`.
    pub what: &'static str,
    /// What the system says.
    pub reason: String,
}

/// Keeps texts under keys.
///
/// The implementer must have all changes of a [`commit`](Store::commit) on the disk when it returns, or none of them
/// if it fails. Both methods may block.
pub trait Store: Send {
    /// Everything that is kept, in any order.
    fn load(&mut self) -> Result<Vec<(String, String)>, StoreError>;

    /// Makes these changes, all or none.
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError>;
}
