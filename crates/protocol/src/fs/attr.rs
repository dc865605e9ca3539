//! What is known about one file (section 6.2).

use serde::{Deserialize, Serialize};

use super::write::JsonWriter;

/// The three kinds the wire knows. FIFOs, sockets and devices count as files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// Anything that is neither of the others.
    File,
    /// A directory.
    Directory,
    /// A symbolic link. A node follows links, so it never says this; clients accept it.
    Symlink,
}

impl FileKind {
    const fn wire(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Directory => 2,
            Self::Symlink => 3,
        }
    }
}

/// The attribute object. Times are nanoseconds since 1970 and may be negative.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attr {
    /// The file's id.
    pub id: u64,
    /// Kind on the wire: 1 file, 2 directory, 3 link; see [`kind`](Self::kind).
    pub k: u8,
    /// The whole `st_mode`, type bits included.
    pub m: u32,
    /// Links: real for files, 2 for directories.
    pub n: u64,
    /// Owner as the client should see it: the node process's user (section 19).
    pub u: u32,
    /// Group, likewise.
    pub g: u32,
    /// Size in bytes.
    pub sz: u64,
    /// Last access.
    pub at: i64,
    /// Last modification.
    pub mt: i64,
    /// Last change of the attributes.
    pub ct: i64,
    /// Version of the object: for local files the modification time, 0 when negative.
    #[serde(rename = "gen")]
    pub generation: u64,
}

impl Attr {
    /// The kind, taken from `k`; unknown numbers count as files.
    pub const fn kind(&self) -> FileKind {
        match self.k {
            2 => FileKind::Directory,
            3 => FileKind::Symlink,
            _ => FileKind::File,
        }
    }

    /// Number of `kind` for the member `k`.
    pub const fn wire_kind(kind: FileKind) -> u8 {
        kind.wire()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut w = JsonWriter(out);
        w.raw("{\"id\":").int(self.id);
        w.raw(",\"k\":").int(self.k);
        w.raw(",\"m\":").int(self.m);
        w.raw(",\"n\":").int(self.n);
        w.raw(",\"u\":").int(self.u);
        w.raw(",\"g\":").int(self.g);
        w.raw(",\"sz\":").int(self.sz);
        w.raw(",\"at\":").int(self.at);
        w.raw(",\"mt\":").int(self.mt);
        w.raw(",\"ct\":").int(self.ct);
        w.raw(",\"gen\":").int(self.generation);
        w.raw("}");
    }
}
