//! Who is next: a bounded queue in which every writer has its turn.

use std::collections::VecDeque;

/// Invokes of one service that may wait, and bytes of their payloads.
pub(crate) const MOST_WAITING: usize = 64;
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// First come, first served among the items of one writer; turn by turn among the writers.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    /// Writers with something waiting, the next one first; items with their bytes.
    turns: VecDeque<(u64, VecDeque<(usize, T)>)>,
    len: usize,
    bytes: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            turns: VecDeque::new(),
            len: 0,
            bytes: 0,
        }
    }
}

impl<T> FairQueue<T> {
    /// Adds an item of so many bytes; gives it back if the queue is full.
    pub(crate) fn push(&mut self, writer: u64, bytes: usize, item: T) -> Result<(), T> {
        if self.len >= MOST_WAITING || self.bytes + bytes > MOST_BYTES {
            return Err(item);
        }
        self.len += 1;
        self.bytes += bytes;
        match self.turns.iter_mut().find(|(other, _)| *other == writer) {
            Some((_, items)) => items.push_back((bytes, item)),
            None => self.turns.push_back((writer, VecDeque::from([(bytes, item)]))),
        }
        Ok(())
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the next item; its writer goes to the end.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let (writer, mut items) = self.turns.pop_front()?;
        let item = items.pop_front();
        if !items.is_empty() {
            self.turns.push_back((writer, items));
        }
        self.leaves(item)
    }

    /// Takes out the first item that is `wanted`.
    pub(crate) fn take(&mut self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        for (_, items) in &mut self.turns {
            if let Some(at) = items.iter().position(|(_, item)| wanted(item)) {
                let item = items.remove(at);
                self.turns.retain(|(_, items)| !items.is_empty());
                return self.leaves(item);
            }
        }
        None
    }

    fn leaves(&mut self, item: Option<(usize, T)>) -> Option<T> {
        let (bytes, item) = item?;
        self.len -= 1;
        self.bytes -= bytes;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_cannot_hold_up_the_others() {
        let mut queue = FairQueue::default();
        for item in ["a1", "a2", "a3"] {
            queue.push(1, 1, item).unwrap();
        }
        queue.push(2, 1, "b1").unwrap();
        queue.push(3, 1, "c1").unwrap();
        queue.push(3, 1, "c2").unwrap();
        assert_eq!(queue.take(|item| *item == "c2"), Some("c2"));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["a1", "b1", "c1", "a2", "a3"]);
    }

    #[test]
    fn it_is_bounded_and_drains_to_nothing() {
        let mut queue = FairQueue::default();
        for item in 0..MOST_WAITING {
            queue.push(item as u64 % 5, 1, item).unwrap();
        }
        assert_eq!(queue.push(9, 1, 1000), Err(1000));
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), MOST_WAITING);
        queue.push(9, 1, 1000).unwrap();
        assert_eq!((queue.pop(), queue.pop(), queue.len), (Some(1000), None, 0));
        for item in 0..4 {
            queue.push(item, MOST_BYTES / 4, 0).unwrap();
        }
        assert_eq!(queue.push(9, 1, 7), Err(7));
    }
}
