//! Requests of one session that may wait for a disk, and the threads that carry them out.
//!
//! Requests run in their order ([`Queue`]), on one *runner*: a thread of the blocking pool that works through the queue
//! and leaves when it is empty. One hop to another thread thus serves everything that came meanwhile. When a request
//! stands still for [`Limits::overtake_after`](crate::Limits), the session starts further runners, which take the
//! requests whose order against those before them cannot be told ([`Footprint`]).
//!
//! Answers that took no disk, such as refusals, go through the queue as well while something is before them, so that
//! answers come in the order of the requests.
//!
//! Every session may always have one runner: the pool has as many threads as there may be connections. The
//! others come from a budget of the node. So a client whose disk hangs waits alone.
//!
//! Bounds: a session takes no further requests from its socket while [`MOST_WAITING`] requests, or as many bytes of them
//! as the queue may hold, wait; runners pause while [`MOST_UNREAD`] bytes of replies wait for the peer.

mod queue;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use spiderweb_fs::{BoxFuture, Creation, Effect, FsError, Patience};
use spiderweb_protocol::fs::{Event, Op, Reply, Request};
use spiderweb_protocol::{Errno, HandleId, Tag};
use spiderweb_transport::Frame;
use tokio::sync::OwnedSemaphorePermit;

use self::queue::{Job, MOST_WAITING, Queue, Work};
pub(super) use self::queue::{MOST_UNREAD, Progress};
use super::footprint::Footprint;
use super::{Wire, error_frame, event_frame, locks, reply_frame};
use crate::dispatch::{Caller, Outcome};
use crate::shared::Service;

/// Runners of one session at a time.
const MOST_RUNNERS: usize = 8;

/// The queue of one session, shared by its task and its runners.
pub(super) struct Lane {
    pub(super) service: Arc<Service>,
    pub(super) caller: Caller,
    pub(super) wire: Wire,
    queue: Mutex<Queue>,
}

impl Lane {
    pub(super) fn new(service: Arc<Service>, caller: Caller, wire: Wire) -> Arc<Self> {
        Arc::new(Self {
            service,
            caller,
            wire,
            queue: Mutex::default(),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every section below leaves the queue consistent even if a later one panics.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request may be answered by the session itself, without changing an order that shows.
    pub(super) fn may_answer_now(&self, footprint: &Footprint) -> bool {
        self.queue().lets_pass(footprint)
    }

    /// Adds a request; `bytes` is what it keeps in memory.
    pub(super) fn push(
        self: &Arc<Self>,
        request: Request,
        footprint: Footprint,
        (tag, client): (Tag, u32),
        bytes: usize,
    ) {
        let mut queue = self.queue();
        queue.add(Work::Request(request), footprint, (tag, client), bytes);
    }

    /// Puts an answer behind those of the requests before it; gives it back if there are none to wait for, or if one of
    /// them stands still.
    pub(super) fn queue_answer(&self, frame: Frame, (tag, client): (Tag, u32)) -> Option<Frame> {
        let mut queue = self.queue();
        if queue.is_clear() || queue.stalled {
            return Some(frame);
        }
        let bytes = frame.as_bytes().len();
        queue.add(Work::Answered(frame), Footprint::Nothing, (tag, client), bytes);
        None
    }

    /// Starts the session's own runner if there is work and none runs.
    pub(super) fn ensure_runner(self: &Arc<Self>, unsent_bytes: usize) {
        let mut queue = self.queue();
        queue.unsent_bytes = unsent_bytes;
        if queue.needs_runner() {
            queue.runners = 1;
            drop(queue);
            self.start_runner(None);
        }
    }

    /// A request stands still: starts one more runner, if it would find work. Where there is
    /// none to be had, what is at hand is answered here.
    pub(super) fn overtake(self: &Arc<Self>) {
        let mut queue = self.queue();
        if !queue.is_running() {
            return;
        }
        queue.stalled = true;
        if queue.is_congested() || queue.eligible(|_| true).is_none() {
            return;
        }
        let permit = match queue.runners {
            MOST_RUNNERS.. => None,
            _ => self.service.extra_runners.clone().try_acquire_owned().ok(),
        };
        queue.runners += usize::from(permit.is_some());
        drop(queue);
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
                        self.queue().put_back(job);
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
        self.queue().take_if(|job| !job.needs_thread)
    }

    /// The next request a runner may carry out; `None` ends the runner.
    fn take(&self) -> Option<Job> {
        let mut queue = self.queue();
        let job = queue.take_if(|_| true);
        if job.is_none() {
            queue.runners -= 1;
            // Whoever fills the queue or empties the socket next starts another.
            queue.wake();
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
        let mut queue = self.queue();
        queue.park(number, Footprint::Nothing);
        // Before the end can be there, which may be at once.
        queue.deliver(begun);
        drop(queue);
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
        let mut queue = self.queue();
        if queue.parked() >= MOST_WAITING {
            return false;
        }
        queue.park(job.number, job.footprint);
        true
    }

    /// Ends a parked request with its answer.
    pub(super) fn unpark(&self, number: u64, frames: Vec<Frame>) {
        self.queue().unpark(number, frames);
    }

    /// Notes that the peer has hung up.
    pub(super) fn peer_left(&self) {
        self.queue().peer_left = true;
    }

    /// Takes the finished frames; `waker` is woken when there are more, or room.
    pub(super) fn frames(&self, waker: &Waker) -> (Vec<Frame>, Progress) {
        let mut queue = self.queue();
        (queue.take_frames(waker), queue.progress())
    }

    /// Whether no further request may be added now.
    pub(super) fn is_full(&self) -> bool {
        self.queue().progress().full
    }

    /// Whether the session is over.
    pub(super) fn is_closed(&self) -> bool {
        self.queue().closed
    }

    /// Ends the lane: what waits is dropped, what runs is finished and not told.
    pub(super) fn close(&self) {
        self.queue().close();
        self.service.wake_lock_waiters();
    }
}

/// Takes a runner that panicked out of the count, so that the session gets another.
struct RunnerGuard<'l>(&'l Lane);

impl Drop for RunnerGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = self.0.queue();
            queue.runners -= 1;
            queue.wake();
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
        let mut queue = self.lane.queue();
        queue.finish(self.number, std::mem::take(&mut self.frames));
        if let (true, Some((handle, creation))) = (queue.closed || queue.peer_left, self.created.take()) {
            drop(queue);
            self.lane.service.handles.mark_undelivered(handle, creation);
        }
    }
}
