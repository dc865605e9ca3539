//! Further names of files that have several.
//!
//! An object has one place in the table, the one it was last seen at. When a file with several names (hard links) is seen at
//! another, the one it had is kept here, so that its id lives on when the new one goes. They are hints: whoever uses one
//! checks that the object is there, as with every place. A name is either some node's place or in here, never both.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Index;

/// Names kept for one file besides its place; the oldest go first.
pub(in crate::local) const MOST_OF_ONE: usize = 8;

/// Names kept for all, about 5 MB. Beyond it no more are kept until some go.
const MOST: usize = 1 << 15;

/// A directory, and a name in it.
pub(super) type Name = (Index, Arc<str>);

#[derive(Default)]
pub(super) struct OtherNames {
    /// Oldest first.
    of: HashMap<Index, VecDeque<Name>>,
    whose: HashMap<Name, Index>,
}

impl OtherNames {
    /// Keeps a name that no node has as its place, as the newest of this node or as its oldest.
    pub(super) fn keep(&mut self, node: Index, parent: Index, name: &str, newest: bool) {
        self.remove(parent, name);
        if self.whose.len() >= MOST {
            return;
        }
        let name: Name = (parent, name.into());
        let names = self.of.entry(node).or_default();
        if names.len() >= MOST_OF_ONE
            && let Some(oldest) = names.pop_front()
        {
            self.whose.remove(&oldest);
        }
        if newest {
            names.push_back(name.clone());
        } else {
            names.push_front(name.clone());
        }
        self.whose.insert(name, node);
    }

    /// Whose name this is.
    pub(super) fn find(&self, parent: Index, name: &str) -> Option<Index> {
        if self.whose.is_empty() {
            return None;
        }
        self.whose.get(&(parent, name.into())).copied()
    }

    /// Forgets a name.
    pub(super) fn remove(&mut self, parent: Index, name: &str) {
        if self.whose.is_empty() {
            return;
        }
        let name: Name = (parent, name.into());
        let Some(node) = self.whose.remove(&name) else {
            return;
        };
        if let Some(names) = self.of.get_mut(&node) {
            names.retain(|other| *other != name);
            if names.is_empty() {
                self.of.remove(&node);
            }
        }
    }

    /// Forgets all names of a node.
    pub(super) fn forget(&mut self, node: Index) {
        if self.of.is_empty() {
            return;
        }
        for name in self.of.remove(&node).unwrap_or_default() {
            self.whose.remove(&name);
        }
    }

    /// The names of a node, newest first.
    pub(super) fn of(&self, node: Index) -> impl Iterator<Item = &Name> {
        self.of.get(&node).into_iter().flatten().rev()
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = (&Name, Index)> {
        let listed: usize = self.of.values().map(VecDeque::len).sum();
        assert_eq!(listed, self.whose.len());
        self.whose.iter().map(|(name, node)| (name, *node))
    }
}
