//! What is known below a directory, and what becomes of it when the directory is lost.
//!
//! A directory whose place turned out wrong was removed, moved out of the export, or moved to where nobody looks. Nobody can
//! tell which, so what is known below it stays for a while and comes back with it; but clients are to be told of all of it,
//! and trees that never come back must not fill the table: beyond [`MOST_LOST`] objects the oldest are forgotten.
//!
//! Siblings are a list through the slots of their nodes; a node is in its directory's list as long as it is attached.

use std::collections::VecDeque;

use super::{Index, Inodes};
use crate::local::attr::Kind;

/// Ends a list of siblings.
pub(super) const NONE: u32 = u32::MAX;

/// Objects below lost directories that stay in the table, about 2 MB. The tree that was lost last stays whatever its size.
pub(super) const MOST_LOST: usize = 1 << 14;

struct Tree {
    top: Index,
    /// Objects below when it was lost.
    size: usize,
    told: bool,
}

/// Directories that lost their place while something below them was known, oldest first.
#[derive(Default)]
pub(super) struct Lost {
    trees: VecDeque<Tree>,
    size: usize,
}

impl Lost {
    fn add(&mut self, top: Index, size: usize) {
        self.remove(|tree| tree.top == top);
        self.trees.push_back(Tree {
            top,
            size,
            told: false,
        });
        self.size += size;
    }

    fn remove(&mut self, which: impl Fn(&Tree) -> bool) {
        self.trees.retain(|tree| !which(tree));
        self.size = self.trees.iter().map(|tree| tree.size).sum();
    }

    /// The oldest tree, if there are more objects than stay.
    fn too_much(&mut self) -> Option<Index> {
        if self.size <= MOST_LOST || self.trees.len() < 2 {
            return None;
        }
        let tree = self.trees.pop_front()?;
        self.size -= tree.size;
        Some(tree.top)
    }
}

impl Inodes {
    /// Puts a node into the list of its directory.
    pub(super) fn link(&mut self, index: Index) {
        let parent = self.parent(index);
        let Some(directory) = self.node_mut(parent) else {
            return;
        };
        directory.children += 1;
        let next = std::mem::replace(&mut directory.first, index.slot);
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.previous = index.slot;
        }
        if let Some(node) = self.nodes.get_mut(index.slot as usize) {
            (node.previous, node.next) = (NONE, next);
        }
    }

    /// Takes a node out of the list of its directory.
    pub(super) fn unlink(&mut self, index: Index) {
        let Some(node) = self.node_mut(index) else { return };
        let parent = node.parent;
        let (previous, next) = (
            std::mem::replace(&mut node.previous, NONE),
            std::mem::replace(&mut node.next, NONE),
        );
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.previous = previous;
        }
        if let Some(previous) = self.nodes.get_mut(previous as usize) {
            previous.next = next;
        }
        if let Some(directory) = self.node_mut(parent) {
            directory.children = directory.children.saturating_sub(1);
            if previous == NONE {
                directory.first = next;
            }
        }
    }

    fn children(&self, index: Index) -> impl Iterator<Item = Index> {
        let mut next = self.node(index).map_or(NONE, |node| node.first);
        std::iter::from_fn(move || {
            let child = self.at(next as usize)?;
            next = self.node(child)?.next;
            Some(child)
        })
    }

    /// Everything known below a directory, each after what it is in.
    pub(in crate::local) fn below(&self, index: Index) -> Vec<Index> {
        let mut found: Vec<Index> = self.children(index).collect();
        let mut seen = 0;
        while let Some(next) = found.get(seen).copied() {
            found.extend(self.children(next));
            seen += 1;
        }
        found
    }

    /// Notes that a directory lost its place, if anything is known below it.
    pub(super) fn lose(&mut self, top: Index) {
        if self.children(top).next().is_none() {
            return;
        }
        self.lost.add(top, self.below(top).len());
        while let Some(oldest) = self.lost.too_much() {
            if self.is_lost(oldest) {
                for index in self.below(oldest).into_iter().rev() {
                    self.detach(index);
                }
            }
        }
    }

    fn is_lost(&self, top: Index) -> bool {
        self.node(top).is_some_and(|node| !node.attached)
    }

    /// What clients know below directories that were lost since this was asked last.
    pub(in crate::local) fn take_lost(&mut self) -> Vec<(u64, Kind)> {
        let mut untold = Vec::new();
        for tree in self.lost.trees.iter_mut().rev() {
            if std::mem::replace(&mut tree.told, true) {
                // What came before it was told with it.
                break;
            }
            untold.push(tree.top);
        }
        let mut known = Vec::new();
        for top in untold.into_iter().filter(|top| self.is_lost(*top)) {
            let tree = std::iter::once(top).chain(self.below(top));
            known.extend(tree.filter_map(|index| self.node(index).map(|node| (node.local, node.kind))));
        }
        known
    }
}
