//! Requests of one session that may wait for a disk, and the threads that carry them out.
//!
//! Requests run in their order, on one *runner*: a thread of the blocking pool that works through the queue and
//! leaves when it is empty. One hop to another thread thus serves everything that came meanwhile. When a request
//! stands still for [`Limits::overtake_after`](crate::Limits), the session starts further runners, which take the requests whose order
//! against those before them cannot be told ([`Footprint`]).
//!
//! Answers that took no disk, such as refusals, go through the queue as well while something is before them, so that
//! answers come in the order of the requests.
//!
//! Every session may always have one runner: the pool has as many threads as there may be connections. The
//! others come from a budget of the node. So a client whose disk hangs waits alone.
//!
//! Bounds: a session takes no further requests from its socket while [`MOST_WAITING`] requests or
//! [`MOST_WAITING_BYTES`] of them wait; runners pause while [`MOST_UNREAD`] bytes of replies wait for the peer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use spiderweb_fs::{BoxFuture, Creation, Effect, FsError, Patience};
use spiderweb_protocol::fs::{Event, Op, Reply, Request};
use spiderweb_protocol::{Errno, HandleId, Tag};
use spiderweb_transport::Frame;
use tokio::sync::OwnedSemaphorePermit;

use super::footprint::Footprint;
use super::{Wire, error_frame, event_frame, locks, reply_frame};
use crate::dispatch::{Caller, Outcome, Service};

/// Requests that wait in one session, running ones not counted.
const MOST_WAITING: usize = 128;

/// Parked requests at which no more are taken from the socket. Waits for locks alone never are so many, since what
/// ends them may have to come from there.
const MOST_PARKED: usize = 2 * MOST_WAITING;

/// Bytes of waiting requests in one session: file data, mostly.
const MOST_WAITING_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of finished replies that wait for a peer before its requests pause.
pub(super) const MOST_UNREAD: usize = 8 * 1024 * 1024;

/// Runners of one session at a time.
const MOST_RUNNERS: usize = 8;

/// A request on its way.
struct Job {
    number: u64,
    footprint: Footprint,
    work: Work,
    tag: Tag,
    /// Whose it is, if the session is that of many; 0 may be anybody's.
    client: u32,
    bytes: usize,
    /// Cannot be answered from memory: it was tried.
    needs_thread: bool,
}

enum Work {
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

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    waiting_bytes: usize,
    running: Vec<(u64, Footprint)>,
    /// Whose request was taken last.
    served: u32,
    runners: usize,
    next_number: u64,
    /// Requests ever finished: stands still when a disk does.
    finished: u64,
    /// Some request stood still, and since then the lane was never empty.
    stalled: bool,
    /// Frames for the peer, in the order in which they came about.
    frames: Vec<Frame>,
    frame_bytes: usize,
    /// Bytes the socket has not sent yet, as of the session's last look.
    unsent_bytes: usize,
    /// Requests that wait for a lock or a driver. They hold no runner, and hold up only what their lock orders.
    parked: Vec<(u64, Footprint)>,
    waker: Option<Waker>,
    /// The peer has hung up: it may still read, but can never use what an answer gives it.
    peer_left: bool,
    /// The session is over: what is still finished has nobody to go to.
    closed: bool,
}

/// The queue of one session, shared by its task and its runners.
pub(super) struct Lane {
    pub(super) service: Arc<Service>,
    pub(super) caller: Caller,
    pub(super) wire: Wire,
    state: Mutex<State>,
}

/// What the session has to know before it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Progress {
    pub(super) finished: u64,
    /// The oldest request that runs.
    pub(super) oldest: Option<u64>,
    /// Number of the next request.
    pub(super) next: u64,
    /// Requests wait that no runner has taken.
    pub(super) waiting: bool,
    /// Nothing waits, runs or is parked.
    pub(super) idle: bool,
    /// No further request may be added now.
    pub(super) full: bool,
}

impl Lane {
    pub(super) fn new(service: Arc<Service>, caller: Caller, wire: Wire) -> Arc<Self> {
        Arc::new(Self {
            service,
            caller,
            wire,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every section below leaves the state consistent even if a later one panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request may be answered by the session itself, without changing an order that shows.
    pub(super) fn may_answer_now(&self, footprint: &Footprint) -> bool {
        let state = self.state();
        // What is finished leaves first, so that answers keep their order.
        if !state.frames.is_empty() || state.is_held_up(footprint) {
            return false;
        }
        state.waiting.is_empty() && state.running.is_empty()
            || state.stalled && !state.waiting.iter().any(|job| job.footprint.conflicts(footprint))
    }

    /// Adds a request; `bytes` is what it keeps in memory.
    pub(super) fn push(
        self: &Arc<Self>,
        request: Request,
        footprint: Footprint,
        (tag, client): (Tag, u32),
        bytes: usize,
    ) {
        let mut state = self.state();
        state.add(Work::Request(request), footprint, (tag, client), bytes);
    }

    /// Puts an answer behind those of the requests before it; gives it back if there are none to wait for, or if one of
    /// them stands still.
    pub(super) fn queue_answer(&self, frame: Frame, (tag, client): (Tag, u32)) -> Option<Frame> {
        let mut state = self.state();
        let is_clear = state.frames.is_empty() && state.waiting.is_empty() && state.running.is_empty();
        if is_clear || state.stalled {
            return Some(frame);
        }
        let bytes = frame.as_bytes().len();
        state.add(Work::Answered(frame), Footprint::Nothing, (tag, client), bytes);
        None
    }

    /// Starts the session's own runner if there is work and none runs.
    pub(super) fn ensure_runner(self: &Arc<Self>, unsent_bytes: usize) {
        let mut state = self.state();
        state.unsent_bytes = unsent_bytes;
        if state.runners == 0 && !state.waiting.is_empty() && !state.is_congested() {
            state.runners = 1;
            drop(state);
            self.start_runner(None);
        }
    }

    /// A request stands still: starts one more runner, if it would find work. Where there is
    /// none to be had, what is at hand is answered here.
    pub(super) fn overtake(self: &Arc<Self>) {
        let mut state = self.state();
        if state.running.is_empty() {
            return;
        }
        state.stalled = true;
        if state.is_congested() || state.eligible(|_| true).is_none() {
            return;
        }
        let permit = match state.runners {
            MOST_RUNNERS.. => None,
            _ => self.service.extra_runners.clone().try_acquire_owned().ok(),
        };
        state.runners += usize::from(permit.is_some());
        drop(state);
        match permit {
            Some(permit) => self.start_runner(Some(permit)),
            None => self.answer_from_memory(),
        }
    }

    /// Answers what needs no thread among the requests that may go first. Each is tried once.
    fn answer_from_memory(self: &Arc<Self>) {
        while let Some(mut job) = self.take_untried() {
            let frame = match &job.work {
                Work::Answered(frame) => frame.clone(),
                Work::Request(request) => {
                    let outcome = self.service.perform(request, self.caller, Patience::Immediate);
                    if matches!(outcome.result, Err(FsError::NotNow)) {
                        job.needs_thread = true;
                        self.state().put_back(job);
                        continue;
                    }
                    reply_frame(self.wire, request.op(), job.tag, &outcome.result)
                }
            };
            self.running(&job).frames.push(frame);
        }
    }

    fn start_runner(self: &Arc<Self>, permit: Option<OwnedSemaphorePermit>) {
        let lane = self.clone();
        self.service.tasks.spawn_blocking(move || {
            let guard = RunnerGuard(&lane);
            while let Some(job) = lane.take() {
                lane.carry_out(&job);
            }
            drop(guard);
            drop(permit);
        });
    }

    fn take_untried(&self) -> Option<Job> {
        self.state().take_if(|job| !job.needs_thread)
    }

    /// The next request a runner may carry out; `None` ends the runner.
    fn take(&self) -> Option<Job> {
        let mut state = self.state();
        let job = state.take_if(|_| true);
        if job.is_none() {
            state.runners -= 1;
            // Whoever fills the queue or empties the socket next starts another.
            state.wake();
        }
        job
    }

    /// A request that runs until the value is dropped.
    fn running(&self, job: &Job) -> Finish<'_> {
        Finish {
            lane: self,
            number: job.number,
            tag: job.tag,
            frames: Vec::new(),
            created: None,
        }
    }

    fn carry_out(self: &Arc<Self>, job: &Job) {
        let mut finish = self.running(job);
        let request = match &job.work {
            Work::Request(request) => request,
            Work::Answered(frame) => return finish.frames.push(frame.clone()),
        };
        let Outcome {
            result,
            events,
            pending,
        } = self.service.perform(request, self.caller, Patience::Blocking);
        match (&result, request) {
            (
                Err(FsError::WouldBlock),
                Request::Lock {
                    handle,
                    kind,
                    wait: true,
                },
            ) if self.begin_lock_wait(job) => {
                return locks::wait(self.clone(), *handle, *kind, job.number, job.tag);
            }
            (Ok(Reply::Created { handle, .. }), Request::Create { parent, name, .. }) => {
                let creation = Creation {
                    peer: self.caller.peer,
                    parent: *parent,
                    name: name.clone(),
                };
                finish.created = Some((*handle, creation));
            }
            _ => {}
        }
        self.tell(&events, &mut finish.frames);
        match pending {
            Some(pending) => {
                let begun = std::mem::take(&mut finish.frames);
                self.park(job, request.op(), begun, result, pending);
            }
            None => finish
                .frames
                .push(reply_frame(self.wire, request.op(), job.tag, &result)),
        }
    }

    /// Tells the other sessions of changes, and gives the frames that tell this one.
    fn tell(&self, events: &[Event], frames: &mut Vec<Frame>) {
        frames.extend(events.iter().map(|event| event_frame(self.wire.masking, event)));
        self.service.news.publish(events, Some(self.caller.session));
    }

    /// Answers a request when what it began is over; `begun` are the frames that tell of the beginning. Whoever asks
    /// meanwhile is not held up; and if this session ends first, the others still hear of what has changed.
    fn park(
        self: &Arc<Self>,
        job: &Job,
        op: Op,
        begun: Vec<Frame>,
        result: Result<Reply, FsError>,
        pending: BoxFuture<Effect>,
    ) {
        let (lane, number, tag) = (self.clone(), job.number, job.tag);
        let mut state = self.state();
        state.parked.push((number, Footprint::Nothing));
        // Before the end can be there, which may be at once.
        state.deliver(begun);
        drop(state);
        self.service.tasks.spawn("pending request", async move {
            let effect = pending.await;
            let mut frames = Vec::new();
            lane.tell(&effect.events, &mut frames);
            let result = effect.result.and(result);
            frames.push(reply_frame(lane.wire, op, tag, &result));
            lane.unpark(number, frames);
        });
    }

    fn begin_lock_wait(&self, job: &Job) -> bool {
        let mut state = self.state();
        if state.parked.len() >= MOST_WAITING {
            return false;
        }
        state.parked.push((job.number, job.footprint));
        true
    }

    /// Ends a parked request with its answer.
    pub(super) fn unpark(&self, number: u64, frames: Vec<Frame>) {
        let mut state = self.state();
        state.parked.retain(|(waiting, _)| *waiting != number);
        state.deliver(frames);
    }

    /// Notes that the peer has hung up.
    pub(super) fn peer_left(&self) {
        self.state().peer_left = true;
    }

    /// Takes the finished frames; `waker` is woken when there are more, or room.
    pub(super) fn frames(&self, waker: &Waker) -> (Vec<Frame>, Progress) {
        let mut state = self.state();
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        state.frame_bytes = 0;
        (std::mem::take(&mut state.frames), state.progress())
    }

    /// Whether no further request may be added now.
    pub(super) fn is_full(&self) -> bool {
        self.state().progress().full
    }

    /// Whether the session is over.
    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Ends the lane: what waits is dropped, what runs is finished and not told.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.waiting.clear();
        state.frames.clear();
        state.waker = None;
        drop(state);
        self.service.wake_lock_waiters();
    }
}

/// Takes a runner that panicked out of the count, so that the session gets another.
struct RunnerGuard<'l>(&'l Lane);

impl Drop for RunnerGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut state = self.0.state();
            state.runners -= 1;
            state.wake();
        }
    }
}

/// Ends a request's run. Even if it panics: it is answered, and those behind it are not held up for ever.
struct Finish<'l> {
    lane: &'l Lane,
    number: u64,
    tag: Tag,
    frames: Vec<Frame>,
    /// The handle that the answer carries, if the request made a file.
    created: Option<(HandleId, Creation)>,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.frames.clear();
            self.frames.push(error_frame(
                self.lane.wire.masking,
                Some(self.tag),
                Errno::EIO,
                "internal error",
            ));
        }
        let mut state = self.lane.state();
        let number = self.number;
        state.running.retain(|(running, _)| *running != number);
        state.finished += 1;
        state.stalled &= !(state.waiting.is_empty() && state.running.is_empty());
        state.deliver(std::mem::take(&mut self.frames));
        if let (true, Some((handle, creation))) = (state.closed || state.peer_left, self.created.take()) {
            drop(state);
            self.lane.service.handles.mark_undelivered(handle, creation);
        }
    }
}

impl State {
    fn add(&mut self, work: Work, footprint: Footprint, (tag, client): (Tag, u32), bytes: usize) {
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
    fn eligible(&self, wanted: impl Fn(&Job) -> bool) -> Option<usize> {
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
    fn take_if(&mut self, wanted: impl Fn(&Job) -> bool) -> Option<Job> {
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
    fn put_back(&mut self, job: Job) {
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

    fn is_congested(&self) -> bool {
        self.frame_bytes + self.unsent_bytes > MOST_UNREAD
    }

    fn progress(&self) -> Progress {
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

    fn deliver(&mut self, frames: Vec<Frame>) {
        if !self.closed {
            self.frame_bytes += frames.iter().map(|frame| frame.as_bytes().len()).sum::<usize>();
            self.frames.extend(frames);
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use spiderweb_protocol::InodeId;

    use super::*;

    /// Serves all that waits, one after the other, and tells whose it was.
    fn served(requests: &[(u32, Footprint)]) -> Vec<u32> {
        let mut state = State::default();
        for (number, (client, footprint)) in (0..).zip(requests) {
            state.waiting.push_back(Job {
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
            let job = state.take_if(|_| true)?;
            state.running.clear();
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
        let mut state = State::default();
        state.running.push((7, write));
        assert!(state.is_held_up(&look));
    }
}
