//! The member names of the objects that are open, to find one that is repeated.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::Quoted;

/// Names of one object up to which they are compared one by one, which is fastest for the handful that most have.
const FEW: usize = 16;

/// Where the names of the open objects stand in the text: one entry of eight bytes for each, four for each object, and
/// as much again for the tables of large objects. The tables are hashed with a key of this process, so nobody can choose
/// names that collide.
#[derive(Debug, Default)]
pub(super) struct Names {
    spans: SmallVec<[Span; FEW]>,
    /// For each open object the index of its first name.
    firsts: SmallVec<[u32; 8]>,
    /// All names of the objects that have many, with the index of the object. Few are open at a time, and many small
    /// ones may be, so these do not stand with the others.
    tables: Vec<(usize, HashTable<Span>)>,
    hasher: RandomState,
}

/// Where a name stands between its quotes.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    /// Length in bytes, doubled, plus one if there are escapes.
    length: u32,
}

impl Span {
    fn quoted(self, text: &str) -> Quoted<'_> {
        let start = self.start as usize;
        Quoted {
            raw: text
                .get(start..start + (self.length >> 1) as usize)
                .unwrap_or_default(),
            has_escapes: self.length & 1 == 1,
        }
    }
}

impl Names {
    /// An object begins.
    pub(super) fn enter(&mut self) {
        self.firsts.push(self.spans.len() as u32);
    }

    /// The innermost object ends.
    pub(super) fn leave(&mut self) {
        if let Some(first) = self.firsts.pop() {
            self.spans.truncate(first as usize);
        }
        self.tables.pop_if(|(object, _)| *object == self.firsts.len());
    }

    /// Notes a name of the innermost object, whose opening quote is at `at`; false if it is there already.
    pub(super) fn insert(&mut self, text: &str, at: usize, name: Quoted<'_>) -> bool {
        let Some((first, objects_above)) = self.firsts.split_last() else {
            return true;
        };
        let object = objects_above.len();
        let table = self.tables.last_mut().filter(|(owner, _)| *owner == object);
        let span = Span {
            start: at as u32 + 1,
            length: (name.raw.len() as u32) << 1 | u32::from(name.has_escapes),
        };
        let same = |other: &Span| match (other.quoted(text).plain(), name.plain()) {
            (Some(other), Some(name)) => other == name,
            _ => other.quoted(text).decode() == name.decode(),
        };
        let names = self.spans.get(*first as usize..).unwrap_or_default();
        let hash = |span: &Span| self.hasher.hash_one(&*span.quoted(text).decode());
        let repeated = match &table {
            None => names.iter().any(same),
            Some((_, table)) => table.find(hash(&span), same).is_some(),
        };
        if repeated {
            return false;
        }
        match table {
            Some((_, table)) => {
                table.insert_unique(hash(&span), span, hash);
            }
            None if names.len() < FEW => self.spans.push(span),
            None => {
                let mut table = HashTable::with_capacity(4 * FEW);
                for span in names.iter().chain([&span]) {
                    table.insert_unique(hash(span), *span, hash);
                }
                self.tables.push((object, table));
            }
        }
        true
    }
}
