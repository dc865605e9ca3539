//! Which request of a session comes next, and what is finished.

use std::collections::VecDeque;
use std::task::Waker;

use spiderweb_protocol::Tag;
use spiderweb_protocol::fs::Request;
use spiderweb_transport::Frame;

use crate::session::footprint::Footprint;

/// Requests that wait in one session, running ones not counted.
pub(super) const MOST_WAITING: usize = 128;

/// Parked requests at which no more are taken from the socket. Waits for locks alone never are so many, since what
/// ends them may have to come from there.
const MOST_PARKED: usize = 2 * MOST_WAITING;

/// Bytes of waiting requests in one session: file data, mostly.
const MOST_WAITING_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of finished replies that wait for a peer before its requests pause.
pub(in crate::session) const MOST_UNREAD: usize = 8 * 1024 * 1024;

/// A request on its way.
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) footprint: Footprint,
    pub(super) work: Work,
    pub(super) tag: Tag,
    /// Whose it is, if the session is that of many; 0 may be anybody's.
    client: u32,
    bytes: usize,
    /// Cannot be answered from memory: it was tried.
    pub(super) needs_thread: bool,
}

pub(super) enum Work {
    Request(Request),
    /// Nothing is left to do; only its turn has not come.
    Answered(Frame),
}

impl Job {
    /// Whether this one, which came earlier, has to be carried out before the other. Clients are as little ordered
    /// behind a tunnel as they are in sessions of their own; what runs is never overtaken, though, because what it
    /// changes is told through the same tunnel.
    fn precedes(&self, later: &Self) -> bool {
        let may_be_one = self.client == later.client || self.client == 0 || later.client == 0;
        may_be_one && self.footprint.conflicts(&later.footprint)
    }
}

/// The requests of one session and their order. It knows no threads.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Job>,
    waiting_bytes: usize,
    running: Vec<(u64, Footprint)>,
    /// Whose request was taken last.
    served: u32,
    pub(super) runners: usize,
    next_number: u64,
    /// Requests ever finished: stands still when a disk does.
    finished: u64,
    /// Some request stood still, and since then the lane was never empty.
    pub(super) stalled: bool,
    /// Frames for the peer, in the order in which they came about.
    frames: Vec<Frame>,
    frame_bytes: usize,
    /// Bytes the socket has not sent yet, as of the session's last look.
    pub(super) unsent_bytes: usize,
    /// Requests that wait for a lock or a driver. They hold no runner, and hold up only what their lock orders.
    parked: Vec<(u64, Footprint)>,
    waker: Option<Waker>,
    /// The peer has hung up: it may still read, but can never use what an answer gives it.
    pub(super) peer_left: bool,
    /// The session is over: what is still finished has nobody to go to.
    pub(super) closed: bool,
}

/// What the session has to know before it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::session) struct Progress {
    pub(in crate::session) finished: u64,
    /// The oldest request that runs.
    pub(in crate::session) oldest: Option<u64>,
    /// Number of the next request.
    pub(in crate::session) next: u64,
    /// Requests wait that no runner has taken.
    pub(in crate::session) waiting: bool,
    /// Nothing waits, runs or is parked.
    pub(in crate::session) idle: bool,
    /// No further request may be added now.
    pub(in crate::session) full: bool,
}

impl Queue {
    /// Whether a request may be answered without a place here, and nobody could tell.
    pub(super) fn lets_pass(&self, footprint: &Footprint) -> bool {
        // What is finished leaves first, so that answers keep their order.
        if !self.frames.is_empty() || self.is_held_up(footprint) {
            return false;
        }
        self.waiting.is_empty() && self.running.is_empty()
            || self.stalled && !self.waiting.iter().any(|job| job.footprint.conflicts(footprint))
    }

    /// Whether nothing is before an answer that is there already.
    pub(super) fn is_clear(&self) -> bool {
        self.frames.is_empty() && self.waiting.is_empty() && self.running.is_empty()
    }

    /// Whether something waits for a runner that could begin now.
    pub(super) fn needs_runner(&self) -> bool {
        self.runners == 0 && !self.waiting.is_empty() && !self.is_congested()
    }

    /// Whether something runs.
    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    pub(super) fn add(&mut self, work: Work, footprint: Footprint, (tag, client): (Tag, u32), bytes: usize) {
        let number = self.next_number;
        self.next_number += 1;
        self.waiting_bytes += bytes;
        self.waiting.push_back(Job {
            number,
            footprint,
            work,
            tag,
            client,
            bytes,
            needs_thread: false,
        });
    }

    /// The first `wanted` request that may go before everything ahead of it; of several clients behind a tunnel, one
    /// of another than was served last if there is any. So whoever has much waiting holds nobody else up.
    pub(super) fn eligible(&self, wanted: impl Fn(&Job) -> bool) -> Option<usize> {
        let mut eligible = self.waiting.iter().enumerate().filter(|(index, job)| {
            wanted(job)
                && !self.is_held_up(&job.footprint)
                && !self.waiting.iter().take(*index).any(|ahead| ahead.precedes(job))
        });
        let (first, job) = eligible.next()?;
        if job.client == 0 || job.client != self.served {
            return Some(first);
        }
        let other = eligible.find(|(_, job)| job.client != self.served);
        Some(other.map_or(first, |(index, _)| index))
    }

    /// Takes that request out; from now on it runs.
    pub(super) fn take_if(&mut self, wanted: impl Fn(&Job) -> bool) -> Option<Job> {
        if self.closed || self.is_congested() {
            return None;
        }
        let job = self
            .eligible(wanted)
            .and_then(|index| self.waiting.remove(index))?;
        self.waiting_bytes -= job.bytes;
        self.served = job.client;
        self.running.push((job.number, job.footprint));
        Some(job)
    }

    /// Puts a request back where it was.
    pub(super) fn put_back(&mut self, job: Job) {
        self.running.retain(|(running, _)| *running != job.number);
        self.waiting_bytes += job.bytes;
        let place = self
            .waiting
            .partition_point(|waiting| waiting.number < job.number);
        self.waiting.insert(place, job);
    }

    /// Whether something that runs or waits for a lock has to end first.
    fn is_held_up(&self, footprint: &Footprint) -> bool {
        self.running
            .iter()
            .chain(&self.parked)
            .any(|(_, other)| other.conflicts(footprint))
    }

    pub(super) fn is_congested(&self) -> bool {
        self.frame_bytes + self.unsent_bytes > MOST_UNREAD
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            finished: self.finished,
            oldest: self.running.iter().map(|(number, _)| *number).min(),
            next: self.next_number,
            waiting: !self.waiting.is_empty(),
            idle: self.waiting.is_empty() && self.running.is_empty() && self.parked.is_empty(),
            full: self.waiting.len() >= MOST_WAITING
                || self.waiting_bytes >= MOST_WAITING_BYTES
                || self.parked.len() >= MOST_PARKED,
        }
    }

    /// Ends the run of a request.
    pub(super) fn finish(&mut self, number: u64, frames: Vec<Frame>) {
        self.running.retain(|(running, _)| *running != number);
        self.finished += 1;
        self.stalled &= !(self.waiting.is_empty() && self.running.is_empty());
        self.deliver(frames);
    }

    /// A request waits for something else than a disk from now on.
    pub(super) fn park(&mut self, number: u64, footprint: Footprint) {
        self.parked.push((number, footprint));
    }

    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Ends a parked request with its answer.
    pub(super) fn unpark(&mut self, number: u64, frames: Vec<Frame>) {
        self.parked.retain(|(waiting, _)| *waiting != number);
        self.deliver(frames);
    }

    /// Takes the finished frames; `waker` is woken when there are more, or room.
    pub(super) fn take_frames(&mut self, waker: &Waker) -> Vec<Frame> {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
        self.frame_bytes = 0;
        std::mem::take(&mut self.frames)
    }

    /// Drops what waits and what nobody will be told.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.waiting.clear();
        self.frames.clear();
        self.waker = None;
    }

    pub(super) fn deliver(&mut self, frames: Vec<Frame>) {
        if !self.closed {
            self.frame_bytes += frames.iter().map(|frame| frame.as_bytes().len()).sum::<usize>();
            self.frames.extend(frames);
        }
        self.wake();
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use spiderweb_protocol::{HandleId, InodeId};

    use super::*;

    /// Serves all that waits, one after the other, and tells whose it was.
    fn served(requests: &[(u32, Footprint)]) -> Vec<u32> {
        let mut queue = Queue::default();
        for (number, (client, footprint)) in (0..).zip(requests) {
            queue.waiting.push_back(Job {
                number,
                footprint: *footprint,
                work: Work::Request(Request::Exports),
                tag: Tag(1),
                client: *client,
                bytes: 0,
                needs_thread: true,
            });
        }
        let next = || {
            let job = queue.take_if(|_| true)?;
            queue.running.clear();
            Some(job.client)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn clients_behind_a_tunnel_take_turns_and_each_keeps_its_order() {
        let handle = HandleId::new(1).unwrap();
        let inode = InodeId::compose(0, 5);
        let write = Footprint::Write { handle, inode };
        let look = Footprint::Look { export: Some(0) };
        let (bulk, small, other) = (1, 2, 3);
        assert_eq!(
            served(&[
                (bulk, write),
                (bulk, write),
                (bulk, write),
                (small, look),
                (small, look),
                (other, look)
            ]),
            [bulk, small, bulk, small, bulk, other]
        );
        // Nobody knows whether it is one client.
        assert_eq!(
            served(&[(bulk, write), (bulk, write), (0, look), (small, look)]),
            [bulk, small, bulk, 0]
        );
        // What runs is not overtaken: its news would come behind an answer that was found before.
        let mut queue = Queue::default();
        queue.running.push((7, write));
        assert!(queue.is_held_up(&look));
    }
}
