//! The member names of the objects that are open, to find one that is repeated.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

use super::Quoted;

/// Names of one object up to which they are compared one by one, which is fastest for the handful that most have.
const FEW: usize = 16;

/// Where the names of the open objects stand in the text: one entry of eight bytes for each, and as much again for
/// the tables of large objects. The tables are hashed with a key of this process, so nobody can choose names that
/// collide.
#[derive(Debug, Default)]
pub(super) struct Names {
    spans: Vec<Span>,
    objects: Vec<Object>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Object {
    /// Index of the object's first name.
    first: usize,
    /// All of its names, once they are many.
    table: Option<HashTable<Span>>,
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
        self.objects.push(Object {
            first: self.spans.len(),
            table: None,
        });
    }

    /// The innermost object ends.
    pub(super) fn leave(&mut self) {
        if let Some(object) = self.objects.pop() {
            self.spans.truncate(object.first);
        }
    }

    /// Notes a name of the innermost object, whose opening quote is at `at`; false if it is there already.
    pub(super) fn insert(&mut self, text: &str, at: usize, name: Quoted<'_>) -> bool {
        let Some(object) = self.objects.last_mut() else {
            return true;
        };
        let span = Span {
            start: at as u32 + 1,
            length: (name.raw.len() as u32) << 1 | u32::from(name.has_escapes),
        };
        let same = |other: &Span| match (other.quoted(text).plain(), name.plain()) {
            (Some(other), Some(name)) => other == name,
            _ => other.quoted(text).decode() == name.decode(),
        };
        let names = self.spans.get(object.first..).unwrap_or_default();
        let hash = |span: &Span| self.hasher.hash_one(&*span.quoted(text).decode());
        let repeated = match &object.table {
            None => names.iter().any(same),
            Some(table) => table.find(hash(&span), same).is_some(),
        };
        if repeated {
            return false;
        }
        match &mut object.table {
            Some(table) => {
                table.insert_unique(hash(&span), span, hash);
            }
            None if names.len() < FEW => self.spans.push(span),
            None => {
                let mut table = HashTable::with_capacity(4 * FEW);
                for span in names.iter().chain([&span]) {
                    table.insert_unique(hash(span), *span, hash);
                }
                object.table = Some(table);
            }
        }
        true
    }
}
