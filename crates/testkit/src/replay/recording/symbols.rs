//! Names for the numbers of a recording.
//!
//! A recorded id is an inode number, and a filesystem gives the number of a removed file to the next one it
//! makes. So a number is not a name: an id gets a new symbol when it comes back for another object, that is,
//! from a `create`, or from a lookup or listing after its last known name was removed. Within one symbol a
//! node must always say the same number.

use std::collections::{HashMap, HashSet};

use crate::replay::term::{Term, is_symbol_char};

/// Longer names are cut.
const MAX_NAME: usize = 24;

#[derive(Debug, Default)]
pub(super) struct Symbols {
    ids: HashMap<u64, String>,
    handles: HashMap<u64, String>,
    taken: HashSet<String>,
    /// Objects by parent and name, as far as the conversation tells.
    children: HashMap<(u64, String), u64>,
    /// Ids whose object may be gone.
    removed: HashSet<u64>,
    /// Requests without a reply so far, per connection.
    pending: Vec<(u32, Term)>,
    /// What the reply being read answers.
    answered: Option<Term>,
}

impl Symbols {
    /// Notes a request. A `create` makes a new object, whose id an event may tell before the reply does: look
    /// it up there.
    pub(super) fn request(&mut self, conn: u32, request: &Term, following: &[Term]) {
        self.pending.push((conn, request.clone()));
        if request.message_type() == Some("t_fs_create") {
            let reply = following
                .iter()
                .filter_map(|line| line.get("frame"))
                .find(|frame| {
                    frame.message_type() == Some("r_fs_create") && frame.get("tag") == request.get("tag")
                });
            if let Some(id) = reply.and_then(created_id) {
                self.name_id(id, argument(request, "name"));
            }
        }
    }

    /// Notes a message of the node, before its numbers are learned.
    pub(super) fn reply(&mut self, conn: u32, message: &Term) {
        self.answered = None;
        if message.is_event() {
            return;
        }
        let tag = message.get("tag");
        if let Some(at) = self
            .pending
            .iter()
            .position(|(on, request)| *on == conn && request.get("tag") == tag)
        {
            let (_, request) = self.pending.remove(at);
            if message.get("ok") == Some(&Term::Bool(true)) {
                self.note_success(&request, message);
            }
            self.answered = Some(request);
        }
    }

    /// The symbol of a number that was learned before.
    pub(super) fn known(&self, number: u64, is_handle: bool) -> Option<String> {
        if is_handle {
            self.handles.get(&number).cloned()
        } else {
            self.ids.get(&number).cloned()
        }
    }

    /// The symbol of a number the node just said, as the id of the entry called `entry` if it is one.
    pub(super) fn learn(&mut self, number: u64, is_handle: bool, entry: Option<&str>) -> String {
        if let (true, Some(symbol)) = (is_handle, self.handles.get(&number)) {
            return symbol.clone();
        }
        if is_handle {
            let symbol = self.unique("h", Some(number));
            self.handles.insert(number, symbol.clone());
            return symbol;
        }
        let operation = self.answered.as_ref().and_then(Term::message_type);
        let finds_objects = matches!(operation, Some("t_fs_lookup" | "t_fs_readdirp"));
        match self.ids.get(&number) {
            Some(symbol) if !(finds_objects && self.removed.contains(&number)) => symbol.clone(),
            _ => {
                let asked = self
                    .answered
                    .as_ref()
                    .and_then(|request| argument(request, "name").map(str::to_owned));
                self.name_id(number, entry.or(asked.as_deref()))
            }
        }
    }

    /// From here on any id may come back for another object.
    pub(super) fn forget_all(&mut self) {
        self.removed.extend(self.ids.keys());
    }

    fn name_id(&mut self, id: u64, hint: Option<&str>) -> String {
        let hint: String = hint
            .unwrap_or("node")
            .chars()
            .filter(|char| is_symbol_char(*char))
            .take(MAX_NAME)
            .collect();
        let symbol = self.unique(if hint.is_empty() { "node" } else { &hint }, None);
        self.ids.insert(id, symbol.clone());
        self.removed.remove(&id);
        symbol
    }

    fn unique(&mut self, name: &str, number: Option<u64>) -> String {
        let name = number.map_or_else(|| name.to_owned(), |number| format!("{name}{number}"));
        let mut symbol = name.clone();
        let mut times = 1;
        while !self.taken.insert(symbol.clone()) {
            times += 1;
            symbol = format!("{name}~{times}");
        }
        symbol
    }

    fn note_success(&mut self, request: &Term, reply: &Term) {
        let parent = request.get("node").and_then(Term::as_u64);
        let child = parent
            .zip(argument(request, "name"))
            .map(|(parent, name)| (parent, name.to_owned()));
        match (request.message_type(), child) {
            (Some("t_fs_lookup" | "t_fs_create"), Some(child)) => {
                if let Some(id) = created_id(reply) {
                    self.children.insert(child, id);
                }
            }
            (Some("t_fs_unlink" | "t_fs_rmdir"), Some(child)) => {
                let gone = self.children.remove(&child);
                self.note_gone(gone);
            }
            (Some("t_fs_rename"), _) => {
                let side = |parent, name| {
                    let parent = request.get("payload")?.get(parent)?.as_u64()?;
                    Some((parent, argument(request, name)?.to_owned()))
                };
                let from = side("old_parent", "old_name");
                let moved = from.and_then(|from| self.children.remove(&from));
                let Some(to) = side("new_parent", "new_name") else {
                    return;
                };
                let replaced = self.children.remove(&to);
                if let Some(moved) = moved {
                    self.children.insert(to, moved);
                }
                self.note_gone(replaced);
            }
            _ => {}
        }
    }

    /// An object lost a name; it may live on under another.
    fn note_gone(&mut self, id: Option<u64>) {
        self.removed
            .extend(id.filter(|id| !self.children.values().any(|other| other == id)));
    }
}

fn argument<'a>(request: &'a Term, name: &str) -> Option<&'a str> {
    request.get("payload")?.get(name)?.as_str()
}

fn created_id(reply: &Term) -> Option<u64> {
    reply.get("payload")?.get("attr")?.get("id")?.as_u64()
}
