//! The files of a projected tree (section 6): the fixed ones, and those that clients make below `control`.
//!
//! ```text
//! /                      r-x  fixed; README.md, SCHEMA.json, … are texts, result.json, … live files
//! ├─ config.json         rw
//! ├─ control/            rwx  invoke.json, reset, enable, disable, restart, and what clients add
//! │  └─ cancel           rw   found by name, not listed
//! └─ history/            r-x  found by name, not listed: one file for each invoke that is remembered
//! ```
//!
//! What is not listed is ours: a listing stays what peers of the original know.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use spiderweb_protocol::EntryName;
use spiderweb_protocol::canonical::is_white;

use super::layout::{
    CANCEL, CONTROL, FIRST, FIRST_ADDED, HISTORY, Kind, LAYOUT, LIVE, Local, Role, Text, named_invoke,
};
use super::port::LiveFile;
use crate::FsError;
use crate::source::LONGEST_NAME;

/// Most bytes of `control/invoke.json` and its named siblings.
const MAX_PAYLOAD: usize = 4 * 1024 * 1024;

/// Most bytes of any other file that clients write.
const MAX_OTHER: usize = 1024 * 1024;

/// Most bytes of all files that clients made.
const MAX_ADDED_BYTES: usize = 16 * 1024 * 1024;

/// Most files and directories that clients may add.
const MAX_ADDED: usize = 128;

/// One file or directory.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    parent: Local,
    name: Box<str>,
    /// Changes so far; the version on the wire grows with it.
    pub(super) changes: u64,
    children: BTreeMap<Box<str>, Local>,
    /// What clients wrote; of `config.json`, what was not accepted yet.
    pub(super) content: Option<Vec<u8>>,
    /// Where the object ends that was last run from this content, if nothing before that changed since.
    pub(super) ran_to: Option<usize>,
    /// Handles on it.
    open: usize,
}

impl Node {
    fn new(kind: Kind, parent: Local, name: &str) -> Self {
        Self {
            kind,
            parent,
            name: name.into(),
            changes: 0,
            children: BTreeMap::new(),
            content: (kind == Kind::Stored).then(Vec::new),
            ran_to: None,
            open: 0,
        }
    }
}

/// The tree of one service.
pub(super) struct Tree {
    root: Local,
    nodes: HashMap<Local, Node>,
    next: Local,
}

impl Tree {
    pub(super) fn new(root: Local) -> Self {
        let mut tree = Self {
            root,
            nodes: HashMap::new(),
            next: FIRST_ADDED,
        };
        tree.nodes.insert(root, Node::new(Kind::Directory, root, ""));
        for ((name, kind), number) in LAYOUT.into_iter().zip(FIRST..) {
            let parent = if number > CONTROL { CONTROL } else { root };
            tree.add(number, kind, parent, name);
        }
        // Not among the children: found, not listed.
        tree.nodes
            .insert(CANCEL, Node::new(Kind::Stored, CONTROL, "cancel"));
        tree.nodes
            .insert(HISTORY, Node::new(Kind::Directory, root, "history"));
        tree
    }

    fn add(&mut self, number: Local, kind: Kind, parent: Local, name: &str) {
        self.nodes.insert(number, Node::new(kind, parent, name));
        if let Some(directory) = self.nodes.get_mut(&parent) {
            directory.children.insert(name.into(), number);
        }
    }

    pub(super) fn node(&self, id: Local) -> Result<&Node, FsError> {
        self.nodes.get(&id).ok_or(FsError::NotFound)
    }

    fn node_mut(&mut self, id: Local) -> Result<&mut Node, FsError> {
        self.nodes.get_mut(&id).ok_or(FsError::NotFound)
    }

    fn directory(&self, id: Local) -> Result<&Node, FsError> {
        let node = self.node(id)?;
        match node.kind {
            Kind::Directory => Ok(node),
            _ => Err(FsError::NodeNotADirectory),
        }
    }

    /// The number of the live file, for those who tell of its change.
    pub(super) fn live(file: LiveFile) -> Local {
        LIVE.iter()
            .find(|(live, _)| *live == file)
            .map_or(FIRST, |(_, number)| *number)
    }

    /// The files that show a text.
    pub(super) fn showing(text: Text) -> impl Iterator<Item = Local> {
        let shown = LAYOUT.into_iter().zip(FIRST..);
        shown.filter_map(move |((_, kind), number)| (kind == Kind::Text(text)).then_some(number))
    }

    /// Whether `id` is the directory of remembered invokes.
    pub(super) fn is_history(id: Local) -> bool {
        id == HISTORY
    }

    /// The parent of a directory; the root's is itself.
    pub(super) fn parent(&self, id: Local) -> Result<Local, FsError> {
        Ok(self.node(id)?.parent)
    }

    pub(super) fn lookup(&self, parent: Local, name: &EntryName) -> Result<Local, FsError> {
        let name = name.as_str();
        let directory = self.directory(parent)?;
        match directory.children.get(name) {
            Some(number) => Ok(*number),
            None if parent == CONTROL && name == "cancel" => Ok(CANCEL),
            None if parent == self.root && name == "history" => Ok(HISTORY),
            None => Err(FsError::NotFound),
        }
    }

    /// The listed entries of a directory, in byte order.
    pub(super) fn children(&self, id: Local) -> Result<impl Iterator<Item = (&str, Local)>, FsError> {
        Ok(self
            .directory(id)?
            .children
            .iter()
            .map(|(name, id)| (&**name, *id)))
    }

    /// Counts a change of `id` and says how many there were.
    pub(super) fn bump(&mut self, id: Local) -> u64 {
        self.nodes.get_mut(&id).map_or(0, |node| {
            node.changes += 1;
            node.changes
        })
    }

    /// Whether clients may write the file; a directory is none.
    pub(super) fn check_file(&self, id: Local, writing: bool) -> Result<(), FsError> {
        match self.node(id)?.kind {
            Kind::Directory => Err(FsError::IsADirectory),
            Kind::Text(_) | Kind::Live(_) if writing => Err(FsError::ExportReadOnly),
            _ => Ok(()),
        }
    }

    /// What a file does when it is written. Its path decides, not its number.
    pub(super) fn role(&self, id: Local) -> Result<Role, FsError> {
        let node = self.node(id)?;
        if node.kind == Kind::Config {
            return Ok(Role::Config);
        }
        if node.parent != CONTROL {
            return Ok(Role::Plain);
        }
        Ok(match &*node.name {
            "invoke.json" => Role::Invoke(None),
            "enable" => Role::Enable,
            "disable" => Role::Disable,
            "restart" => Role::Restart,
            "reset" => Role::Reset,
            "cancel" => Role::Cancel,
            other => named_invoke(other).map_or(Role::Plain, |name| Role::Invoke(Some(name.into()))),
        })
    }

    /// Whether directories and files may be made, moved and removed in `parent`.
    fn check_changeable(&self, parent: Local) -> Result<(), FsError> {
        self.directory(parent)?;
        let mut id = parent;
        while id != CONTROL {
            if id == self.root || id == HISTORY {
                return Err(FsError::ExportReadOnly);
            }
            id = self.node(id)?.parent;
        }
        Ok(())
    }

    fn entry(&self, parent: Local, name: &EntryName) -> Option<Local> {
        self.lookup(parent, name).ok()
    }

    fn make_room(&mut self) -> Result<(), FsError> {
        let fixed = LAYOUT.len() + 3;
        while self.nodes.len() >= fixed + MAX_ADDED {
            if !self.evict(None) {
                return Err(FsError::NoSpace);
            }
        }
        Ok(())
    }

    pub(super) fn create(&mut self, parent: Local, name: &EntryName, kind: Kind) -> Result<Local, FsError> {
        self.check_changeable(parent)?;
        check_length(name)?;
        if self.entry(parent, name).is_some() {
            return Err(FsError::Exists);
        }
        self.make_room()?;
        let number = self.next;
        self.next += 1;
        self.add(number, kind, parent, name.as_str());
        self.bump(parent);
        Ok(number)
    }

    /// Removes a file (`directory` false) or an empty directory.
    pub(super) fn remove(&mut self, parent: Local, name: &EntryName, directory: bool) -> Result<(), FsError> {
        self.check_changeable(parent)?;
        let id = self.lookup(parent, name)?;
        let node = self.node(id)?;
        match (node.kind, directory) {
            (Kind::Directory, false) => return Err(FsError::IsADirectory),
            (Kind::Directory, true) if !node.children.is_empty() => return Err(FsError::NotEmpty),
            (Kind::Directory, true) => {}
            (_, true) => return Err(FsError::NotADirectory),
            (_, false) if id < FIRST_ADDED || id == CANCEL => return Err(FsError::ControlFile),
            (_, false) => {}
        }
        self.detach(parent, name.as_str());
        self.nodes.remove(&id);
        self.bump(parent);
        Ok(())
    }

    fn detach(&mut self, parent: Local, name: &str) {
        if let Some(directory) = self.nodes.get_mut(&parent) {
            directory.children.remove(name);
        }
    }

    /// Moves an entry. A payload may be replaced by another file, as editors do that write a new file and give it
    /// the old one's name; anything else that is in the way stays.
    pub(super) fn rename(
        &mut self,
        (old_parent, old_name): (Local, &EntryName),
        (new_parent, new_name): (Local, &EntryName),
    ) -> Result<Local, FsError> {
        self.check_changeable(old_parent)?;
        self.check_changeable(new_parent)?;
        check_length(old_name)?;
        check_length(new_name)?;
        let moved = self.lookup(old_parent, old_name)?;
        let target = self.entry(new_parent, new_name);
        if let Some(target) = target {
            let replaceable = matches!(self.role(target)?, Role::Invoke(_));
            let is_file = self.node(moved)?.kind == Kind::Stored;
            if !replaceable || !is_file || target == moved {
                return Err(FsError::Exists);
            }
        }
        if moved < FIRST_ADDED || moved == CANCEL {
            return Err(FsError::ControlFile);
        }
        let mut above = new_parent;
        while above != CONTROL {
            if above == moved {
                return Err(FsError::InvalidArgument);
            }
            above = self.node(above)?.parent;
        }
        match target {
            // The fixed file keeps its number and takes the content: handles on it stay good.
            Some(target) if target < FIRST_ADDED => {
                let content = self.nodes.remove(&moved).and_then(|node| node.content);
                self.detach(old_parent, old_name.as_str());
                let node = self.node_mut(target)?;
                (node.content, node.ran_to) = (content, None);
                self.bump(old_parent);
                self.bump(target);
                return Ok(target);
            }
            Some(target) => {
                self.nodes.remove(&target);
            }
            None => {}
        }
        self.detach(old_parent, old_name.as_str());
        let node = self.node_mut(moved)?;
        (node.parent, node.name) = (new_parent, new_name.as_str().into());
        node.ran_to = None;
        if let Some(directory) = self.nodes.get_mut(&new_parent) {
            directory.children.insert(new_name.as_str().into(), moved);
        }
        self.bump(old_parent);
        if new_parent != old_parent {
            self.bump(new_parent);
        }
        Ok(moved)
    }

    /// The content to be changed; of `config.json`, beginning with the text in force.
    fn content_mut(&mut self, id: Local, config: impl FnOnce() -> Vec<u8>) -> Result<&mut Node, FsError> {
        self.check_file(id, true)?;
        let node = self.node_mut(id)?;
        node.content.get_or_insert_with(config);
        Ok(node)
    }

    fn check_size(&mut self, id: Local, size: u64) -> Result<(), FsError> {
        let payload = matches!(self.role(id)?, Role::Invoke(_));
        let limit = if payload { MAX_PAYLOAD } else { MAX_OTHER };
        if usize::try_from(size).map_or(true, |size| size > limit) {
            return Err(FsError::NoSpace);
        }
        // The fixed files have their room whatever clients added.
        while id >= FIRST_ADDED && self.added_bytes(id) + size > MAX_ADDED_BYTES as u64 {
            if !self.evict(Some(id)) {
                return Err(FsError::NoSpace);
            }
        }
        Ok(())
    }

    /// Bytes of the files that clients added, but for one.
    fn added_bytes(&self, but: Local) -> u64 {
        let added = self
            .nodes
            .iter()
            .filter(|(id, _)| **id >= FIRST_ADDED && **id != but);
        let contents = added.filter_map(|(_, node)| node.content.as_ref());
        contents.map(|content| content.len() as u64).sum()
    }

    /// Cuts or extends a file. The number of changes afterwards; a size that stays is none.
    pub(super) fn truncate(
        &mut self,
        id: Local,
        size: u64,
        config: impl FnOnce() -> Vec<u8>,
    ) -> Result<u64, FsError> {
        self.check_file(id, true)?;
        self.check_size(id, size)?;
        let node = self.content_mut(id, config)?;
        let content = node.content.get_or_insert_default();
        let before = content.len();
        content.resize(size as usize, 0);
        node.ran_to = node
            .ran_to
            .filter(|end| *end <= content.len() && content.len() <= before);
        if before != size as usize {
            node.changes += 1;
        }
        Ok(node.changes)
    }

    /// Stores bytes. Says whether they were nothing but white space behind an object that was run already.
    pub(super) fn write(
        &mut self,
        id: Local,
        offset: u64,
        data: &[u8],
        config: impl FnOnce() -> Vec<u8>,
    ) -> Result<bool, FsError> {
        self.check_file(id, true)?;
        let end = offset
            .checked_add(data.len() as u64)
            .ok_or(FsError::FileTooLarge)?;
        if !data.is_empty() {
            let size = self.node(id)?.content.as_ref().map_or(0, Vec::len) as u64;
            self.check_size(id, end.max(size))?;
        }
        let node = self.content_mut(id, config)?;
        let content = node.content.get_or_insert_default();
        let blank = |bytes: &[u8]| bytes.iter().copied().all(is_white);
        let mut already_ran = false;
        if !data.is_empty() {
            let (start, end) = (offset as usize, end as usize);
            already_ran =
                node.ran_to.is_some_and(|ran_to| ran_to <= start) && start <= content.len() && blank(data);
            if content.len() < end {
                content.resize(end, 0);
            }
            if let Some(place) = content.get_mut(start..end) {
                place.copy_from_slice(data);
            }
            node.changes += 1;
            if !already_ran {
                node.ran_to = None;
            }
        }
        Ok(already_ran)
    }

    /// What clients wrote to a file.
    pub(super) fn content(&self, id: Local) -> Result<&[u8], FsError> {
        Ok(self.node(id)?.content.as_deref().unwrap_or_default())
    }

    /// Notes that the object that ends at `end` is being run, or was not after all, if nothing changed since it was
    /// read.
    pub(super) fn ran(&mut self, id: Local, end: Option<usize>, changes: u64) {
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| node.changes == changes) {
            node.ran_to = end;
        }
    }

    /// Counts an open handle, so that its file stays.
    pub(super) fn opened(&mut self, id: Local) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.open += 1;
        }
    }

    /// Counts it no more.
    pub(super) fn closed(&mut self, id: Local) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.open = node.open.saturating_sub(1);
        }
    }

    /// Removes the oldest named payload that nobody has open: its client is gone and did not tidy up. Whether there
    /// was one.
    fn evict(&mut self, but: Option<Local>) -> bool {
        let is_left = |(id, node): &(&Local, &Node)| {
            (FIRST_ADDED..CANCEL).contains(*id)
                && Some(**id) != but
                && node.open == 0
                && matches!(self.role(**id), Ok(Role::Invoke(_)))
        };
        let Some(oldest) = self.nodes.iter().filter(is_left).map(|(id, _)| *id).min() else {
            return false;
        };
        if let Some(node) = self.nodes.remove(&oldest) {
            self.detach(node.parent, &node.name);
            self.bump(node.parent);
        }
        true
    }

    /// Forgets what was written to `config.json`: it shows the text in force again.
    pub(super) fn settle_config(&mut self) {
        if let Some(node) = self.nodes.get_mut(&Self::live(LiveFile::Config)) {
            node.content = None;
        }
    }
}

/// A listing of many long names would not fit in a frame, and names take memory that no other bound counts.
fn check_length(name: &EntryName) -> Result<(), FsError> {
    if name.as_str().len() > LONGEST_NAME {
        return Err(FsError::NameTooLong);
    }
    Ok(())
}
