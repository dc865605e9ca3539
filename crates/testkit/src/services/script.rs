//! What is done to one service and what must come of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::content::Content;

/// One topic: a node with one service, and what happens to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// Its name, also the name of its file.
    pub topic: String,
    /// How the node is started.
    pub setup: Setup,
    /// The entry of the export, without its root.
    pub export: Value,
    /// The inode of the export's root.
    pub root: u64,
    /// What every file holds at the start, volatile numbers masked.
    pub files: BTreeMap<String, Content>,
    /// The story, in order.
    pub steps: Vec<Step>,
}

/// A node and the folder it is started in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setup {
    /// Arguments of the node after `--port`.
    pub arguments: Vec<String>,
    /// What the folder holds beside the reference drivers.
    pub placed: Vec<Placed>,
}

/// Something in the folder before the node starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its path below the folder.
    pub path: String,
    /// What it is.
    pub what: Thing,
}

/// Kinds of [`Placed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A file that may be executable.
    File {
        /// Permission bits.
        mode: u32,
        /// What it holds.
        content: Content,
    },
    /// A WASM module, from its text form.
    Module(String),
}

/// One step and where it stands in its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The line, counted from 1.
    pub line: usize,
    /// What happens.
    pub action: Action,
}

/// What happens in a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A remark for the reader.
    Note(String),
    /// Waits until the pause after a failure is over.
    WaitForCooldown,
    /// A client writes a file.
    Write(Write),
    /// A client sends any other request.
    Request {
        /// The operation, as in `t_fs_…`.
        operation: String,
        /// The node's path; without one the request goes to the kept handle, or to none when it is a rename.
        node: Option<String>,
        /// The payload; a string `id of PATH` in it becomes the id.
        payload: Value,
    },
    /// This event must have come before the reply, after the events named before it.
    Event(Event),
    /// The reply must be this, and no further event may have come before it.
    Reply(Reply),
    /// All files are read. What changed since they were read last follows; nothing else may have.
    Look(Vec<Change>),
}

/// A write: TRUNCATE if wanted, OPEN, one WRITE, CLOSE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The file.
    pub path: String,
    /// Whether it is emptied first.
    pub truncate: bool,
    /// Whether the handle stays open for the requests that follow.
    pub keep: bool,
    /// The flags of the OPEN.
    pub flags: u64,
    /// Where the bytes go.
    pub offset: u64,
    /// The bytes.
    pub data: Content,
}

/// An invalidation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A file changed.
    File {
        /// Its path; `(new)` for one that was not seen before.
        path: String,
        /// `data`, `attr` or `all`.
        what: String,
        /// By how much its generation grew since the last event about it, or since its id; nothing when the event
        /// has none.
        grown: Option<u64>,
    },
    /// The entries of a directory changed.
    Directory(String),
}

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Success with these members at least. `(handle)` stands for any handle, `(gen)` for the generation the file
    /// has, `(size)` for the size of the file.
    Done(Value),
    /// Names of a page, in this order, and where the next page starts.
    Page {
        /// The names.
        names: Vec<String>,
        /// The cookie of the next page.
        next: u64,
        /// Whether the directory ended.
        eof: bool,
    },
    /// A refusal.
    Refused {
        /// The number.
        errno: i64,
        /// The words.
        message: String,
    },
}

/// How a file changed, volatile numbers masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It holds this now.
    Is(String, Content),
    /// These members of its object have new values.
    Members(String, String),
    /// It is gone.
    Gone(String),
}
