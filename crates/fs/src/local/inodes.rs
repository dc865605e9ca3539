//! Ids of one export's objects, and where they are.
//!
//! An id is bound to an object (device and inode number), not to a path: the table keeps for each object the
//! directory it was last seen in and its name there, so renaming a directory moves everything below it at no
//! cost. Finding an object walks up to the root, and whoever uses the path checks that it still leads to the
//! same object.
//!
//! ```text
//! id ──by_local──► node { object, parent ──► node { parent ──► root }, name }
//!                    ▲
//! (parent, name) ──by_name
//! ```
//!
//! An object on the root's own file system has its inode number as id, so ids survive a restart. Others get a
//! hash with the top bit set, because two file systems may use one number. A node whose name is gone stays
//! *detached* while it has [known children](below), so that they follow when it turns up under another name. Further names of a file
//! that has several are kept as [hints](other_names); when its place goes, it is at one of them.

mod below;
mod other_names;

use std::hash::BuildHasher as _;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use spiderweb_protocol::InodeId;

use super::attr::{Kind, Object, Stamp};
use super::disk::folded;
use below::{Lost, NONE};
pub(super) use other_names::MOST_OF_ONE as MOST_OTHER_NAMES;
use other_names::OtherNames;

/// Objects remembered per export, about 100 bytes each. Beyond it, those that were not used lately are
/// forgotten; their ids answer 2 until they are looked up or listed again.
pub(super) const CAPACITY: usize = 1 << 20;

/// Marks ids that are hashes.
const HASHED: u64 = 1 << (InodeId::LOCAL_BITS - 1);

/// Names a node of the table. A node that was forgotten is not found under it, even if its slot is used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Index {
    slot: u32,
    generation: u32,
}

impl Index {
    /// The export's root.
    pub(super) const ROOT: Self = Self {
        slot: 0,
        generation: 0,
    };
}

const ROOT: Index = Index::ROOT;

struct Node {
    local: u64,
    object: Object,
    parent: Index,
    name: Box<str>,
    /// The state clients were last told of.
    stamp: Stamp,
    children: u32,
    /// Slots of its first child and of its neighbours among its directory's children.
    first: u32,
    previous: u32,
    next: u32,
    /// Changes of our own that are under way.
    busy: u16,
    /// Their beginnings and ends, counted; wraps.
    turns: u16,
    kind: Kind,
    used: bool,
    attached: bool,
    watched: bool,
    free: bool,
    /// How often the slot was used before.
    generation: u32,
}

/// Where an object is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Path below the root, without leading slash; empty for the root.
    pub(super) path: String,
    pub(super) object: Object,
    pub(super) kind: Kind,
}

/// A moment between two changes of our own. What was seen of an object is worth comparing with what is known of it only
/// while the moment lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Turn(u16);

/// What the watcher needs to know of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Known {
    pub(super) stamp: Stamp,
    pub(super) busy: bool,
    /// Differs from what it was when a change of our own began or ended meanwhile.
    pub(super) turn: Turn,
    pub(super) kind: Kind,
}

pub(super) struct Inodes {
    nodes: Vec<Node>,
    free: Vec<Index>,
    by_local: HashTable<Index>,
    by_name: HashTable<Index>,
    others: OtherNames,
    lost: Lost,
    hasher: DefaultHashBuilder,
    hand: usize,
    capacity: usize,
}

impl Inodes {
    pub(super) fn new(root: Object, stamp: Stamp, capacity: usize) -> Self {
        let mut inodes = Self {
            nodes: Vec::new(),
            free: Vec::new(),
            by_local: HashTable::new(),
            by_name: HashTable::new(),
            others: OtherNames::default(),
            lost: Lost::default(),
            hasher: DefaultHashBuilder::default(),
            hand: 0,
            capacity,
        };
        let local = if root.inode <= InodeId::LOCAL_MASK & !HASHED {
            root.inode
        } else {
            hashed(root, 0)
        };
        inodes.add(local, root, ROOT, "", Kind::Directory, stamp);
        inodes
    }

    pub(super) fn root_local(&self) -> u64 {
        self.node(ROOT).map_or(0, |node| node.local)
    }

    /// Binds the root's id to the directory that now stands at the export's path.
    pub(super) fn replace_root(&mut self, object: Object) {
        if let Some(node) = self.node_mut(ROOT) {
            node.object = object;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// The node in a slot.
    fn at(&self, slot: usize) -> Option<Index> {
        let node = self.nodes.get(slot).filter(|node| !node.free)?;
        Some(Index {
            slot: slot as u32,
            generation: node.generation,
        })
    }

    fn node(&self, index: Index) -> Option<&Node> {
        self.nodes
            .get(index.slot as usize)
            .filter(|node| !node.free && node.generation == index.generation)
    }

    fn node_mut(&mut self, index: Index) -> Option<&mut Node> {
        self.nodes
            .get_mut(index.slot as usize)
            .filter(|node| !node.free && node.generation == index.generation)
    }

    fn hash_name(&self, parent: Index, name: &str) -> u64 {
        self.hasher.hash_one((parent, folded(name)))
    }

    /// The node with this id.
    pub(super) fn find(&self, local: u64) -> Option<Index> {
        let hash = self.hasher.hash_one(local);
        self.by_local
            .find(hash, |index| {
                self.node(*index).is_some_and(|node| node.local == local)
            })
            .copied()
    }

    /// The node last seen as `name` in `parent`.
    pub(super) fn child(&self, parent: Index, name: &str) -> Option<Index> {
        let same = |index: &Index| {
            self.node(*index)
                .is_some_and(|node| node.parent == parent && folded(&node.name) == folded(name))
        };
        self.by_name.find(self.hash_name(parent, name), same).copied()
    }

    /// The node that has `name` in `parent`, as its place or besides it.
    pub(super) fn named(&self, parent: Index, name: &str) -> Option<Index> {
        self.child(parent, name)
            .or_else(|| self.others.find(parent, name))
    }

    pub(super) fn local(&self, index: Index) -> u64 {
        self.node(index).map_or(0, |node| node.local)
    }

    /// The node bound to an object.
    pub(super) fn find_object(&self, object: Object) -> Option<Index> {
        self.slot_of(object).1
    }

    /// The id an object has, or would get.
    pub(super) fn local_of(&self, object: Object) -> u64 {
        self.slot_of(object).0
    }

    /// The object a node is bound to.
    pub(super) fn object(&self, index: Index) -> Option<Object> {
        self.node(index).map(|node| node.object)
    }

    /// The directory a node was last seen in; the root is its own.
    pub(super) fn parent(&self, index: Index) -> Index {
        self.node(index).map_or(ROOT, |node| node.parent)
    }

    /// Where a node is, unless it or a directory above it lost its name.
    pub(super) fn place(&mut self, index: Index) -> Option<Place> {
        let node = self.node_mut(index)?;
        node.used = true;
        let (object, kind) = (node.object, node.kind);
        Some(Place {
            path: self.path(index)?,
            object,
            kind,
        })
    }

    fn path(&self, index: Index) -> Option<String> {
        let mut length = 0;
        let mut at = index;
        while at != ROOT {
            let node = self.node(at).filter(|node| node.attached)?;
            length += node.name.len() + 1;
            at = node.parent;
        }
        // Filled from the end, as the walk goes upwards.
        let mut names = Vec::with_capacity(16);
        let mut at = index;
        while at != ROOT {
            let node = self.node(at)?;
            names.push(&*node.name);
            at = node.parent;
        }
        let mut path = String::with_capacity(length);
        for name in names.into_iter().rev() {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(name);
        }
        Some(path)
    }

    /// Notes that `object` is called `name` in `parent`, and returns its node. `several`: it has more names than one.
    ///
    /// `None` when that would put a directory below itself: two observations contradict each other because
    /// directories moved meanwhile, and the caller's is as stale as ours.
    pub(super) fn register(
        &mut self,
        object: Object,
        parent: Index,
        name: &str,
        (kind, several): (Kind, bool),
        stamp: Stamp,
    ) -> Option<Index> {
        self.pin(parent);
        let index = self.register_pinned(object, parent, name, (kind, several), stamp);
        self.unpin(parent);
        index
    }

    /// Keeps a node from being freed while it is about to get a child.
    fn pin(&mut self, index: Index) {
        if let Some(node) = self.node_mut(index) {
            node.children += 1;
        }
    }

    fn unpin(&mut self, index: Index) {
        if let Some(node) = self.node_mut(index) {
            node.children = node.children.saturating_sub(1);
        }
        self.free_if_unused(index);
    }

    fn register_pinned(
        &mut self,
        object: Object,
        parent: Index,
        name: &str,
        (kind, several): (Kind, bool),
        stamp: Stamp,
    ) -> Option<Index> {
        if let Some(index) = self.child(parent, name) {
            let node = self.node_mut(index)?;
            if node.object == object && node.attached {
                (node.kind, node.used) = (kind, true);
                if !several {
                    self.others.forget(index);
                }
                return Some(index);
            }
            self.detach(index);
        }
        let (local, existing) = self.slot_of(object);
        let Some(index) = existing else {
            self.make_room();
            return Some(self.add(local, object, parent, name, kind, stamp));
        };
        if index == ROOT || self.is_below(parent, index) {
            return (index == ROOT).then_some(ROOT);
        }
        self.found(index, parent, name, several);
        let node = self.node_mut(index)?;
        (node.kind, node.used) = (kind, true);
        Some(index)
    }

    /// Notes that a node was seen at another name. If it has several, the one it had is kept.
    pub(super) fn found(&mut self, index: Index, parent: Index, name: &str, several: bool) {
        if several && let Some(node) = self.node(index).filter(|node| node.attached) {
            let (old_parent, old_name) = (node.parent, node.name.clone());
            self.rename(index, parent, name);
            self.keep_name(index, old_parent, &old_name, true);
        } else {
            self.rename(index, parent, name);
        }
        if !several {
            self.others.forget(index);
        }
    }

    /// Id and node of an object; an unused id when the object is not known.
    fn slot_of(&self, object: Object) -> (u64, Option<Index>) {
        let root = self.node(ROOT).map_or(object, |node| node.object);
        if object == root {
            return (self.root_local(), Some(ROOT));
        }
        let native = object.device == root.device && object.inode <= InodeId::LOCAL_MASK & !HASHED;
        for attempt in 0..u64::MAX {
            let local = if native && attempt == 0 {
                object.inode
            } else {
                hashed(object, attempt)
            };
            match self.find(local) {
                None => return (local, None),
                Some(index) if self.node(index).is_some_and(|node| node.object == object) => {
                    return (local, Some(index));
                }
                Some(_) => {}
            }
        }
        (0, None)
    }

    fn add(
        &mut self,
        local: u64,
        object: Object,
        parent: Index,
        name: &str,
        kind: Kind,
        stamp: Stamp,
    ) -> Index {
        let node = Node {
            local,
            object,
            parent,
            name: name.into(),
            stamp,
            children: 0,
            first: NONE,
            previous: NONE,
            next: NONE,
            busy: 0,
            turns: 0,
            kind,
            // Used once somebody asks for it by its id; most of what is listed never is.
            used: false,
            attached: true,
            watched: false,
            free: false,
            generation: 0,
        };
        let index = if let Some(old) = self.free.pop() {
            let index = Index {
                generation: old.generation.wrapping_add(1),
                ..old
            };
            if let Some(slot) = self.nodes.get_mut(index.slot as usize) {
                *slot = Node {
                    generation: index.generation,
                    ..node
                };
            }
            index
        } else {
            self.nodes.push(node);
            Index {
                slot: self.nodes.len() as u32 - 1,
                generation: 0,
            }
        };
        let hasher = self.hasher.clone();
        let nodes = &self.nodes;
        let local_of = |index: &Index| nodes.get(index.slot as usize).map_or(0, |node| node.local);
        self.by_local
            .insert_unique(hasher.hash_one(local), index, |index| {
                hasher.hash_one(local_of(index))
            });
        if index != ROOT {
            self.enter_name(index);
        }
        index
    }

    /// Puts a node's name into the index and counts it with its parent.
    fn enter_name(&mut self, index: Index) {
        if let Some(node) = self.nodes.get(index.slot as usize) {
            self.others.remove(node.parent, &node.name);
        }
        let hasher = self.hasher.clone();
        let nodes = &self.nodes;
        let hash = |index: &Index| {
            nodes
                .get(index.slot as usize)
                .map_or(0, |node| hasher.hash_one((node.parent, folded(&node.name))))
        };
        self.by_name.insert_unique(hash(&index), index, hash);
        self.link(index);
    }

    /// Takes a node's name out of the index; the node keeps its children.
    fn leave_name(&mut self, index: Index) {
        let Some(node) = self.node(index).filter(|node| node.attached) else {
            return;
        };
        let (parent, hash) = (node.parent, self.hash_name(node.parent, &node.name));
        if let Ok(entry) = self.by_name.find_entry(hash, |other| *other == index) {
            entry.remove();
        }
        if let Some(node) = self.node_mut(index) {
            node.attached = false;
        }
        self.unlink(index);
        self.free_if_unused(parent);
    }

    /// Moves a node to another name, whatever is known below it included.
    pub(super) fn rename(&mut self, index: Index, parent: Index, name: &str) {
        if index == ROOT || self.is_below(parent, index) {
            return;
        }
        self.pin(parent);
        self.leave_name(index);
        if let Some(node) = self.node_mut(index) {
            (node.parent, node.attached) = (parent, true);
            node.name = name.into();
        }
        self.enter_name(index);
        self.unpin(parent);
    }

    /// Notes that a node's name leads to it no longer. If another one is known, that is its place from now on.
    pub(super) fn detach(&mut self, index: Index) {
        if index == ROOT {
            return;
        }
        if let Some((parent, name)) = self.other_name(index) {
            self.rename(index, parent, &name);
        } else {
            self.leave_name(index);
            self.lose(index);
            self.free_if_unused(index);
        }
    }

    /// Notes that nothing is called `name` in `parent` any more, or something else.
    pub(super) fn unname(&mut self, parent: Index, name: &str) {
        match self.child(parent, name) {
            Some(index) => self.detach(index),
            None => self.others.remove(parent, name),
        }
    }

    /// The newest name of a node besides its place that leads somewhere.
    fn other_name(&self, index: Index) -> Option<(Index, Arc<str>)> {
        let leads = |parent| self.path(parent).is_some() && !self.is_below(parent, index);
        self.others.of(index).find(|(parent, _)| leads(*parent)).cloned()
    }

    /// After an object was not found at the path that was tried: whether it may be somewhere else. Then that is its place, and
    /// the one it had is tried last, as it may be right again.
    pub(super) fn try_another_name(&mut self, index: Index, tried: Option<&str>) -> bool {
        if self.path(index).as_deref() != tried {
            // Somebody found out before us.
            return true;
        }
        let Some((parent, name)) = self.other_name(index) else {
            return false;
        };
        let Some(node) = self.node(index) else {
            return false;
        };
        let (attached, old_parent, old_name) = (node.attached, node.parent, node.name.clone());
        self.rename(index, parent, &name);
        if attached {
            self.keep_name(index, old_parent, &old_name, false);
        }
        true
    }

    /// Keeps a name that was a node's place, unless it is another's by now.
    fn keep_name(&mut self, index: Index, parent: Index, name: &str, newest: bool) {
        if self.child(parent, name).is_none() && self.node(parent).is_some() {
            self.others.keep(index, parent, name, newest);
        }
    }

    /// Frees a detached node that nothing refers to.
    fn free_if_unused(&mut self, index: Index) {
        if index == ROOT {
            return;
        }
        let Some(node) = self.node(index) else { return };
        if node.attached || node.children > 0 || node.busy > 0 {
            return;
        }
        let hash = self.hasher.hash_one(node.local);
        if let Ok(entry) = self.by_local.find_entry(hash, |other| *other == index) {
            entry.remove();
        }
        self.others.forget(index);
        if let Some(node) = self.node_mut(index) {
            node.free = true;
            node.name = Box::default();
        }
        self.free.push(index);
    }

    fn is_below(&self, index: Index, ancestor: Index) -> bool {
        let mut at = index;
        while at != ROOT {
            if at == ancestor {
                return true;
            }
            at = self.parent(at);
        }
        false
    }

    /// Forgets one node that was not used lately, when the table is full. Directories with known entries and
    /// nodes under change stay.
    fn make_room(&mut self) {
        if self.len() < self.capacity {
            return;
        }
        for _ in 0..self.nodes.len().saturating_mul(2) {
            self.hand = (self.hand + 1) % self.nodes.len().max(1);
            let Some(index) = self.at(self.hand) else { continue };
            let Some(node) = self.node_mut(index) else {
                continue;
            };
            if index == ROOT || node.children > 0 || node.busy > 0 {
                continue;
            }
            if std::mem::take(&mut node.used) {
                continue;
            }
            self.others.forget(index);
            self.detach(index);
            return;
        }
    }

    /// What the watcher compares with.
    pub(super) fn known(&self, index: Index) -> Option<Known> {
        self.node(index).map(|node| Known {
            stamp: node.stamp,
            busy: node.busy > 0,
            turn: Turn(node.turns),
            kind: node.kind,
        })
    }

    /// Notes the state clients have been told of.
    pub(super) fn set_stamp(&mut self, index: Index, stamp: Stamp) {
        if let Some(node) = self.node_mut(index) {
            node.stamp = stamp;
        }
    }

    /// A change of our own begins; until it ends the watcher leaves the node alone.
    pub(super) fn begin_change(&mut self, local: u64) {
        if let Some(node) = self.find(local).and_then(|index| self.node_mut(index)) {
            node.busy = node.busy.saturating_add(1);
            node.turns = node.turns.wrapping_add(1);
        }
    }

    /// A change of our own has ended; `stamp` is the state it left, which its own events announce.
    pub(super) fn end_change(&mut self, local: u64, stamp: Option<Stamp>) {
        let Some(index) = self.find(local) else { return };
        let Some(node) = self.node_mut(index) else { return };
        node.busy = node.busy.saturating_sub(1);
        node.turns = node.turns.wrapping_add(1);
        node.stamp = stamp.unwrap_or(node.stamp);
        self.free_if_unused(index);
    }

    /// Notes whether the system watches a directory.
    pub(super) fn set_watched(&mut self, index: Index, watched: bool) {
        if let Some(node) = self.node_mut(index) {
            node.watched = watched;
        }
    }

    /// Whether the system watches a directory, as far as is known.
    pub(super) fn is_watched(&self, index: Index) -> bool {
        self.node(index).is_some_and(|node| node.watched)
    }

    /// Every node known, for a rescan.
    pub(super) fn all(&self) -> impl Iterator<Item = Index> {
        (0..self.nodes.len()).filter_map(|slot| self.at(slot))
    }
}

/// A 47-bit hash of an object, with the mark of hashes. The same in every run.
fn hashed(object: Object, attempt: u64) -> u64 {
    let mut state = 0x5370_6964_6572_u64;
    for part in [object.device, object.inode, attempt] {
        state = (state ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state ^= state >> 32;
    }
    (state & (HASHED - 1)) | HASHED
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on(device: u64, inode: u64) -> Object {
        Object { device, inode }
    }

    fn table() -> Inodes {
        Inodes::new(on(1, 2), Stamp::default(), CAPACITY)
    }

    fn enter(inodes: &mut Inodes, parent: Index, name: &str, object: Object) -> Index {
        inodes
            .register(object, parent, name, (Kind::Directory, false), Stamp::default())
            .unwrap()
    }

    /// Sees a file that has several names.
    fn see(inodes: &mut Inodes, parent: Index, name: &str, object: Object) -> Index {
        inodes
            .register(object, parent, name, (Kind::File, true), Stamp::default())
            .unwrap()
    }

    fn path(inodes: &mut Inodes, index: Index) -> Option<String> {
        inodes.place(index).map(|place| place.path)
    }

    #[test]
    fn renaming_a_directory_moves_what_is_below() {
        let mut t = table();
        let a = enter(&mut t, ROOT, "a", on(1, 10));
        let b = enter(&mut t, a, "b", on(1, 11));
        let c = enter(&mut t, b, "c", on(1, 12));
        t.rename(a, ROOT, "z");
        assert_eq!(path(&mut t, c).unwrap(), "z/b/c");
        assert_eq!(t.child(ROOT, "a"), None);
        assert_eq!(t.child(ROOT, "z"), Some(a));
        t.rename(a, c, "under-itself");
        assert_eq!(path(&mut t, a).unwrap(), "z", "a contradiction changes nothing");
    }

    #[test]
    fn equal_numbers_on_two_file_systems_are_two_ids() {
        let mut t = table();
        let here = enter(&mut t, ROOT, "here", on(1, 10));
        let there = enter(&mut t, ROOT, "there", on(9, 10));
        assert_eq!(t.local(here), 10);
        assert_ne!(t.local(there), 10);
        assert_eq!(t.find(t.local(there)), Some(there));
        let wide = enter(&mut t, ROOT, "wide", on(1, u64::MAX));
        assert!(t.local(wide) <= InodeId::LOCAL_MASK);
    }

    #[test]
    fn a_replaced_name_belongs_to_the_new_object() {
        let mut t = table();
        let old = enter(&mut t, ROOT, "f", on(1, 10));
        let new = enter(&mut t, ROOT, "f", on(1, 11));
        assert_eq!(t.find(10), None);
        assert_eq!(path(&mut t, new).unwrap(), "f");
        assert_eq!(t.len(), 2);
        assert_eq!(old.slot, new.slot, "the slot is used again");
        assert_eq!(path(&mut t, old), None, "but not under the old index");
    }

    #[test]
    fn children_of_a_lost_directory_come_back_with_it() {
        let mut t = table();
        let a = enter(&mut t, ROOT, "a", on(1, 10));
        let f = enter(&mut t, a, "f", on(1, 11));
        t.detach(a);
        assert_eq!(path(&mut t, f), None);
        assert_eq!(enter(&mut t, ROOT, "elsewhere", on(1, 10)), a);
        assert_eq!(path(&mut t, f).unwrap(), "elsewhere/f");
        t.detach(f);
        t.detach(a);
        assert_eq!(t.len(), 1);
    }

    #[test]
    fn a_full_table_forgets_what_was_not_used() {
        let mut t = Inodes::new(on(1, 2), Stamp::default(), 100);
        let kept = enter(&mut t, ROOT, "kept", on(1, 3));
        for inode in 10..1_000 {
            enter(&mut t, ROOT, &format!("f{inode}"), on(1, inode));
            t.place(kept);
        }
        assert!(t.len() <= 100, "{}", t.len());
        assert_eq!(path(&mut t, kept).unwrap(), "kept");
        assert_eq!(t.find(10), None);
    }

    #[test]
    fn the_root_found_again_keeps_its_id() {
        let mut t = table();
        assert_eq!(
            t.register(on(1, 2), ROOT, "self", (Kind::Directory, false), Stamp::default()),
            Some(ROOT)
        );
        t.replace_root(on(1, 77));
        assert_eq!((t.root_local(), t.place(ROOT).unwrap().object), (2, on(1, 77)));
    }

    #[test]
    fn trees_that_do_not_come_back_are_forgotten() {
        let mut t = table();
        let tree = |t: &mut Inodes, number: u64| {
            let top = enter(t, ROOT, &format!("t{number}"), on(1, number * 10_000));
            let sub = enter(t, top, "sub", on(1, number * 10_000 + 1));
            for file in 2..=1_000 {
                enter(t, sub, &format!("f{file}"), on(1, number * 10_000 + file));
            }
            top
        };
        for number in 1..=60 {
            let top = tree(&mut t, number);
            assert_eq!(t.take_lost(), []);
            t.detach(top);
            assert_eq!(t.take_lost().len(), 1_001);
        }
        assert!(t.len() <= below::MOST_LOST + 100, "{}", t.len());
        assert_eq!(t.find(10_002), None);
        // Those that were lost last come back, and are not forgotten then.
        let last = t.find(60 * 10_000).unwrap();
        let file = t.find(60 * 10_000 + 2).unwrap();
        enter(&mut t, ROOT, "back", on(1, 60 * 10_000));
        for number in 61..=120 {
            let top = tree(&mut t, number);
            t.detach(top);
        }
        assert_eq!(path(&mut t, file).unwrap(), "back/sub/f2");
        assert_eq!(t.below(last).len(), 1_000);
    }

    #[test]
    fn a_file_with_several_names_outlives_each_of_them() {
        let mut t = table();
        let dir = enter(&mut t, ROOT, "dir", on(1, 9));
        let file = see(&mut t, ROOT, "a", on(1, 10));
        for (parent, name) in [(dir, "b"), (ROOT, "c"), (ROOT, "a")] {
            assert_eq!(see(&mut t, parent, name, on(1, 10)), file);
        }
        assert_eq!(t.named(dir, "b"), Some(file));
        t.unname(ROOT, "a");
        assert_eq!(path(&mut t, file).unwrap(), "c");
        // Not where it should be, but perhaps again one day.
        assert!(t.try_another_name(file, Some("c")));
        assert_eq!(path(&mut t, file).unwrap(), "dir/b");
        assert!(t.try_another_name(file, Some("c")), "somebody else was faster");
        assert_eq!(path(&mut t, file).unwrap(), "dir/b");
        // Another file takes one of its names.
        enter(&mut t, ROOT, "c", on(1, 11));
        assert!(!t.try_another_name(file, Some("dir/b")));
        t.unname(dir, "b");
        assert_eq!(t.find(10), None);
        assert_eq!(t.others.all().count(), 0);
    }

    #[test]
    fn a_file_has_few_names() {
        let mut t = table();
        let names = MOST_OTHER_NAMES + 1;
        for number in 0..2 * names {
            see(&mut t, ROOT, &format!("f{number}"), on(1, 10));
        }
        let file = t.find(10).unwrap();
        for _ in 0..names {
            assert_eq!(t.find(10), Some(file));
            t.detach(file);
        }
        assert_eq!(t.find(10), None);
        // Down to one name, the others are forgotten.
        let file = see(&mut t, ROOT, "a", on(1, 10));
        see(&mut t, ROOT, "b", on(1, 10));
        assert_eq!(enter(&mut t, ROOT, "c", on(1, 10)), file);
        t.detach(file);
        assert_eq!(t.find(10), None);
    }

    proptest! {
        /// Random observations, renames and removals leave every index consistent.
        #[test]
        fn indexes_agree(steps in proptest::collection::vec((0..8_u8, 3..30_u64, 0..30_u64, 0..6_u8), 0..200)) {
            let mut t = Inodes::new(on(1, 2), Stamp::default(), 20);
            for (what, inode, parent, name) in steps {
                let parent = t.find(parent).unwrap_or(ROOT);
                let name = format!("n{name}");
                match (what, t.find(inode)) {
                    (0..=2, _) => {
                        t.register(on(1, inode), parent, &name, (Kind::Directory, what > 0), Stamp::default());
                    }
                    (3, Some(index)) => t.found(index, parent, &name, true),
                    (4, _) => t.unname(parent, &name),
                    (5, Some(index)) => {
                        let path = t.path(index);
                        t.try_another_name(index, path.as_deref());
                    }
                    (_, Some(index)) => t.detach(index),
                    _ => {}
                }
                for ((parent, name), node) in t.others.all() {
                    prop_assert!(t.node(node).is_some());
                    prop_assert_eq!(t.child(*parent, name), None);
                }
                let live: Vec<Index> = t.all().collect();
                prop_assert_eq!(live.len(), t.len());
                for index in &live {
                    prop_assert_eq!(t.find(t.local(*index)), Some(*index));
                    let children = live.iter().filter(|other| {
                        **other != ROOT && t.node(**other).unwrap().attached && t.parent(**other) == *index
                    }).count();
                    prop_assert_eq!(t.node(*index).unwrap().children as usize, children);
                    let below = t.below(*index);
                    prop_assert!(*index == ROOT || below.iter().all(|other| other != index && t.is_below(*other, *index)));
                    prop_assert_eq!(below.iter().filter(|other| t.parent(**other) == *index).count(), children);
                }
                prop_assert_eq!(t.by_name.len(), live.iter().filter(|i| **i != ROOT && t.node(**i).unwrap().attached).count());
            }
        }
    }
}
