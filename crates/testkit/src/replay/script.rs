//! An exchange as steps: what is set up, said, expected, changed on the disk and looked at.
//!
//! Recordings and golden files are two spellings of this.

use super::term::Term;

/// One topic: a fresh folder, a node, and a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its name, also the name of its file.
    pub topic: String,
    /// What must exist before the first step.
    pub setup: Setup,
    /// The conversation, in order.
    pub steps: Vec<Step>,
}

/// A node and the folder it is started in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setup {
    /// Arguments of the node after `--port`.
    pub arguments: Vec<String>,
    /// Variables added to its environment.
    pub variables: Vec<(String, String)>,
    /// What the folder holds, parents first.
    pub tree: Vec<TreeEntry>,
}

/// Something in the folder before the node starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Its path below the folder. Missing parents are made.
    pub path: String,
    /// What it is.
    pub kind: TreeKind,
    /// Permission bits that differ from the usual 0644 and 0755.
    pub mode: Option<u32>,
    /// Extended attributes.
    pub xattrs: Vec<(String, String)>,
}

/// Kinds of [`TreeEntry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeKind {
    /// A file with this content.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Symlink(String),
    /// A further name of the file at this path.
    Hardlink(String),
}

/// One step and where it stands in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The line, counted from 1.
    pub line: usize,
    /// What happens.
    pub action: Action,
}

/// What happens in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A client connects and upgrades on this path.
    Open {
        /// The number by which later steps name the connection.
        conn: u32,
        /// The path of the upgrade request.
        path: String,
    },
    /// A client drops its connection.
    Drop {
        /// Which.
        conn: u32,
    },
    /// A client sends something.
    Send {
        /// On which connection.
        conn: u32,
        /// What.
        what: Outgoing,
    },
    /// The node must send something.
    Expect {
        /// On which connection.
        conn: u32,
        /// What.
        what: Incoming,
    },
    /// No event may have come on this connection since the client last sent something.
    Quiet {
        /// Which.
        conn: u32,
    },
    /// A raw upgrade request on a connection of its own.
    Http {
        /// The bytes sent.
        request: String,
        /// What must follow.
        outcome: HttpOutcome,
    },
    /// A change made directly on the disk.
    Disk(DiskChange),
    /// What must be on the disk now.
    Check(DiskState),
    /// A remark for the reader.
    Note(String),
}

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A JSON message in a text frame.
    Message(Term),
    /// A text frame with exactly this text.
    Text(String),
    /// A frame with every header bit chosen.
    Frame {
        /// Four bits.
        opcode: u8,
        /// The payload.
        payload: Vec<u8>,
        /// Whether the frame is final.
        fin: bool,
        /// Whether it is masked.
        mask: bool,
        /// Three reserved bits.
        rsv: u8,
    },
}

/// What a node must send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A message that matches this term.
    Message(Term),
    /// A control frame.
    Frame {
        /// Four bits.
        opcode: u8,
        /// The payload; that of a close frame is not compared.
        payload: Vec<u8>,
    },
    /// The end of the stream, after a close frame or without one.
    End,
}

/// What must follow a raw upgrade request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpOutcome {
    /// 101 with this accept key, and the connection stays open.
    Upgraded {
        /// The value of `Sec-WebSocket-Accept`.
        accept: String,
    },
    /// 101 with this accept key, one text frame, and the end.
    UpgradedThenEnded {
        /// The value of `Sec-WebSocket-Accept`.
        accept: String,
        /// The message in the frame.
        message: Term,
    },
    /// Any other status or none, and the end.
    Refused,
    /// Not compared.
    Unchecked,
}

/// A change made directly on the disk, below the topic's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskChange {
    /// Writes a file from scratch.
    Write(String, String),
    /// Appends to a file.
    Append(String, String),
    /// Removes a file.
    Unlink(String),
    /// Makes a directory and its parents.
    Mkdir(String),
    /// Moves the first path to the second.
    Rename(String, String),
    /// Changes permission bits.
    Chmod(String, u32),
    /// Removes a directory with everything in it.
    Rmtree(String),
    /// Makes a symbolic link at the first path to the second.
    Symlink(String, String),
}

/// What must be at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskState {
    /// The path below the topic's folder.
    pub path: String,
    /// What must be there.
    pub object: DiskObject,
}

/// What must be at a path, links not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskObject {
    /// Nothing.
    Missing,
    /// A file with these permission bits and this content.
    File(u32, Vec<u8>),
    /// A directory with these permission bits.
    Directory(u32),
    /// A symbolic link with this target.
    Symlink(String),
}
