//! What a node says without being asked (section 10).

use std::fmt;

use super::write::JsonWriter;
use crate::ids::InodeId;

/// What about a file changed. A larger value includes the smaller ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Change {
    /// Attributes only.
    Attr,
    /// The content.
    Data,
    /// Anything.
    All,
}

impl Change {
    /// The word on the wire.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Attr => "attr",
            Self::Data => "data",
            Self::All => "all",
        }
    }
}

/// A message telling a client that something it may have cached has changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// `acheron.e_fs_inval`
    Inode {
        /// The file that changed.
        id: InodeId,
        /// What about it.
        change: Change,
        /// Its new version; only said after `create`.
        generation: Option<u64>,
    },
    /// `acheron.e_fs_inval_dir`: the directory's list of entries.
    Directory {
        /// The directory.
        id: InodeId,
    },
}

impl Event {
    /// Appends the frame's text.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut w = JsonWriter(out);
        match self {
            Self::Inode {
                id,
                change,
                generation,
            } => {
                w.raw(r#"{"channel":"acheron","type":"acheron.e_fs_inval","payload":{"node":"#)
                    .int(id.get());
                w.raw(r#","what":""#).raw(change.wire()).raw("\"");
                if let Some(generation) = generation {
                    w.raw(r#","gen":"#).int(*generation);
                }
            }
            Self::Directory { id } => {
                w.raw(r#"{"channel":"acheron","type":"acheron.e_fs_inval_dir","payload":{"dir":"#)
                    .int(id.get());
            }
        }
        w.raw("}}");
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inode { id, change, .. } => write!(f, "{} of {id}", change.wire()),
            Self::Directory { id } => write!(f, "entries of {id}"),
        }
    }
}
