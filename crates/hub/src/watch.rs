//! Catalog changes, for those who watch.

use std::collections::VecDeque;
use std::sync::Arc;

use spiderweb_protocol::control::NodeId;

use crate::metrics::Retained;

/// Events kept for those who come later.
const KEPT: usize = 1024;
/// Bytes of them.
const KEPT_BYTES: usize = 16 * 1024 * 1024;

/// A catalog that changed.
#[derive(Debug)]
pub(crate) struct CatalogEvent {
    pub(crate) node_id: NodeId,
    pub(crate) at_ms: u64,
    /// The whole frame. Only the older generation can watch, so there is one wording.
    pub(crate) frame: String,
}

/// The last events.
#[derive(Debug, Default)]
pub(crate) struct History {
    events: VecDeque<Arc<CatalogEvent>>,
    bytes: usize,
}

impl History {
    /// Notes an event.
    pub(crate) fn push(&mut self, event: Arc<CatalogEvent>) {
        self.bytes += event.frame.len();
        self.events.push_back(event);
        while self.events.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.frame.len();
        }
    }

    /// How many are kept, and from when.
    pub(crate) fn retained(&self) -> Retained {
        let ends = self.events.front().zip(self.events.back());
        Retained {
            events: self.events.len(),
            capacity: KEPT,
            span_ms: ends.map(|(first, last)| (first.at_ms, last.at_ms)),
        }
    }

    /// The last so many events, of one node or of all, oldest first; fewer if they have more than `bytes` bytes.
    pub(crate) fn last(&self, limit: usize, bytes: usize, node: Option<&NodeId>) -> Vec<Arc<CatalogEvent>> {
        let events = self.events.iter().rev();
        let wanted = events.filter(|event| node.is_none_or(|node| *node == event.node_id));
        let mut left = bytes;
        let fitting = wanted.take(limit).take_while(|event| {
            let fits = event.frame.len() <= left;
            left = left.saturating_sub(event.frame.len());
            fits
        });
        let mut last: Vec<_> = fitting.cloned().collect();
        last.reverse();
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(node: &str, size: usize) -> Arc<CatalogEvent> {
        Arc::new(CatalogEvent {
            node_id: NodeId::new(node).unwrap(),
            at_ms: 0,
            frame: "x".repeat(size),
        })
    }

    #[test]
    fn the_last_events_are_kept_as_far_as_there_is_room() {
        let mut history = History::default();
        for size in 1..=2000 {
            history.push(event(if size % 2 == 0 { "even" } else { "odd" }, size));
        }
        assert_eq!(history.events.len(), KEPT);
        let even = NodeId::new("even").unwrap();
        let sizes: Vec<_> = history
            .last(2, KEPT_BYTES, Some(&even))
            .iter()
            .map(|event| event.frame.len())
            .collect();
        assert_eq!(sizes, [1998, 2000], "oldest first");
        assert_eq!(
            history.last(9, 1998 + 1999, Some(&even)).len(),
            1,
            "as far as they fit"
        );
        history.push(event("odd", KEPT_BYTES));
        assert_eq!(history.last(10, KEPT_BYTES, None).len(), 1);
        history.push(event("odd", KEPT_BYTES + 1));
        assert_eq!((history.last(10, KEPT_BYTES, None).len(), history.bytes), (0, 0));
    }
}
