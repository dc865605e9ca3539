//! What waits to be written to one peer, filled by others, emptied by the task that owns the socket.
//!
//! Filling never waits: a slow peer costs itself something, nobody else. Replies are always taken, because the peer
//! asked for them and its window of requests bounds them; events that find the queue full end the connection.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use spiderweb_protocol::control::NODE_GONE_CLOSE;
use spiderweb_transport::Frame;
use tokio::sync::Notify;

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
    parcels: VecDeque<Parcel>,
    bytes: usize,
    goodbye: Option<Goodbye>,
}

impl Outlet {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a reply, or a request to a node.
    pub(crate) fn push(&self, parcel: Parcel) {
        let mut queue = self.queue();
        queue.bytes += parcel.frame.payload_len();
        queue.parcels.push_back(parcel);
        drop(queue);
        self.news.notify_one();
    }

    /// Queues an event. A peer for which too much waits already is given up.
    pub(crate) fn push_event(&self, frame: Frame) {
        let mut queue = self.queue();
        if queue.bytes + frame.payload_len() > MOST_QUEUED {
            queue.goodbye.get_or_insert(Goodbye::TOO_SLOW);
        } else {
            queue.bytes += frame.payload_len();
            queue.parcels.push_back(Parcel {
                frame,
                weight: 0,
                is_reply: false,
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
        let mut queue = self.queue();
        let parcel = queue.parcels.pop_front()?;
        queue.bytes -= parcel.frame.payload_len();
        Some(parcel)
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
            });
        }
        assert_eq!(outlet.goodbye(), None);
        outlet.push_event(frame(10));
        assert_eq!(outlet.goodbye(), Some(Goodbye::TOO_SLOW));
        outlet.changed().await;
        assert_eq!(outlet.pop().map(|parcel| parcel.weight), Some(7));
        assert_eq!(outlet.bytes(), 8 << 20);
    }
}
