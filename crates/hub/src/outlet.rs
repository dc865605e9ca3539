//! What waits to be written to one peer, filled by others, emptied by the task that owns the socket.
//!
//! Filling never waits: a slow peer costs itself something, nobody else. Replies are always taken, because the peer
//! asked for them and its window of requests bounds them; events that find the queue full end the connection.
//!
//! What clients have for a node takes turns: each keeps its own order, and one that has megabytes waiting holds another
//! one's small request up by no more than a frame.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use spiderweb_protocol::control::NODE_GONE_CLOSE;
use spiderweb_transport::Frame;
use tokio::sync::Notify;

use crate::router::route::ClientId;

/// Bytes that may wait for a peer before an event ends its connection.
pub(crate) const MOST_QUEUED: usize = 8 * 1024 * 1024;

/// A frame and what it gives back to the window of its receiver.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) frame: Frame,
    /// Bytes of the receiver's window that were held for this reply.
    pub(crate) weight: usize,
    /// It answers one of the receiver's requests.
    pub(crate) is_reply: bool,
    /// Whose request to a node it is. All others share one turn.
    pub(crate) from: Option<ClientId>,
}

/// Why a connection ends from this side: what the close frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Goodbye {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

impl Goodbye {
    pub(crate) const STOPPING: Self = Self {
        code: 1001,
        reason: "the hub stops",
    };
    pub(crate) const TOO_LARGE: Self = Self {
        code: 1009,
        reason: "message larger than 4 MiB",
    };
    pub(crate) const TOO_SLOW: Self = Self {
        code: 4000,
        reason: "too slow to read what was sent",
    };
    pub(crate) const REPLACED: Self = Self {
        code: 4001,
        reason: "replaced by a newer tunnel",
    };
    pub(crate) const NODE_GONE: Self = Self {
        code: NODE_GONE_CLOSE,
        reason: "the node was deleted or its lease is over",
    };
    pub(crate) const SILENT: Self = Self {
        code: 4003,
        reason: "nothing was heard of the peer",
    };

    /// The payload of the close frame.
    pub(crate) fn payload(self) -> Vec<u8> {
        let mut payload = self.code.to_be_bytes().to_vec();
        payload.extend_from_slice(self.reason.as_bytes());
        payload
    }
}

/// A queue of frames to one peer.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    queue: Mutex<Queue>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// What waits, by whose it is; nobody has an empty list.
    parcels: HashMap<Option<ClientId>, VecDeque<Parcel>>,
    /// Who is next.
    turns: VecDeque<Option<ClientId>>,
    /// The list that was emptied last, for whoever comes next.
    spare: VecDeque<Parcel>,
    bytes: usize,
    goodbye: Option<Goodbye>,
}

impl Queue {
    fn push(&mut self, parcel: Parcel) {
        self.bytes += parcel.frame.payload_len();
        let whose = parcel.from;
        if let Some(waiting) = self.parcels.get_mut(&whose) {
            return waiting.push_back(parcel);
        }
        let mut waiting = std::mem::take(&mut self.spare);
        waiting.push_back(parcel);
        self.parcels.insert(whose, waiting);
        self.turns.push_back(whose);
    }

    fn pop(&mut self) -> Option<Parcel> {
        let whose = self.turns.pop_front()?;
        let waiting = self.parcels.get_mut(&whose)?;
        let parcel = waiting.pop_front()?;
        if !waiting.is_empty() {
            self.turns.push_back(whose);
        } else if let Some(emptied) = self.parcels.remove(&whose) {
            self.spare = emptied;
        }
        self.bytes -= parcel.frame.payload_len();
        Some(parcel)
    }
}

impl Outlet {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a reply, or a request to a node.
    pub(crate) fn push(&self, parcel: Parcel) {
        self.queue().push(parcel);
        self.news.notify_one();
    }

    /// Queues an event. A peer for which too much waits already is given up.
    pub(crate) fn push_event(&self, frame: Frame) {
        let mut queue = self.queue();
        if queue.bytes + frame.payload_len() > MOST_QUEUED {
            queue.goodbye.get_or_insert(Goodbye::TOO_SLOW);
        } else {
            queue.push(Parcel {
                frame,
                weight: 0,
                is_reply: false,
                from: None,
            });
        }
        drop(queue);
        self.news.notify_one();
    }

    /// Ends the connection.
    pub(crate) fn end(&self, goodbye: Goodbye) {
        self.queue().goodbye.get_or_insert(goodbye);
        self.news.notify_one();
    }

    /// The next frame.
    pub(crate) fn pop(&self) -> Option<Parcel> {
        self.queue().pop()
    }

    /// Why the connection is to end.
    pub(crate) fn goodbye(&self) -> Option<Goodbye> {
        self.queue().goodbye
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.queue().bytes
    }

    /// Waits for something new. Cancel safe: what came while nobody waited is not lost.
    pub(crate) async fn changed(&self) {
        self.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use spiderweb_transport::Masking;

    use super::*;

    fn frame(bytes: usize) -> Frame {
        Frame::text(Masking::None, bytes, |out| out.extend(vec![b'x'; bytes]))
    }

    #[tokio::test]
    async fn events_that_find_no_room_end_the_connection_and_replies_do_not() {
        let outlet = Outlet::default();
        for _ in 0..3 {
            outlet.push(Parcel {
                frame: frame(4 << 20),
                weight: 7,
                is_reply: true,
                from: None,
            });
        }
        assert_eq!(outlet.goodbye(), None);
        outlet.push_event(frame(10));
        assert_eq!(outlet.goodbye(), Some(Goodbye::TOO_SLOW));
        outlet.changed().await;
        assert_eq!(outlet.pop().map(|parcel| parcel.weight), Some(7));
        assert_eq!(outlet.bytes(), 8 << 20);
    }
    #[test]
    fn clients_take_turns_and_each_keeps_its_order() {
        let mut route = crate::router::route::Route::default();
        let (bulk, small) = (route.enter(false), route.enter(false));
        let outlet = Outlet::default();
        let push = |from, weight| {
            outlet.push(Parcel {
                frame: frame(weight),
                weight,
                is_reply: false,
                from: Some(from),
            });
        };
        for (from, weight) in [
            (bulk, 1),
            (bulk, 2),
            (bulk, 3),
            (small, 10),
            (bulk, 4),
            (small, 11),
        ] {
            push(from, weight);
        }
        let weights = std::iter::from_fn(|| outlet.pop().map(|parcel| parcel.weight));
        assert_eq!(weights.collect::<Vec<_>>(), [1, 10, 2, 11, 3, 4]);
        push(small, 5);
        assert_eq!(outlet.bytes(), 5);
    }
}
