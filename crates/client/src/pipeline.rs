//! One connection with many requests outstanding.
//!
//! A task owns the socket; callers encode their requests and decode their answers themselves, so the task only
//! moves frames and large transfers use every core:
//!
//! ```text
//! caller ── permit ── encode ──► queue ──► task ──► node
//!    ▲                                      │
//!    └────── decode ◄── oneshot by tag ◄────┘──► events to the subscribers
//! ```
//!
//! # Bounds
//!
//! At most [`PipelineOptions::in_flight`] requests are outstanding; further callers wait. Events go to a ring of
//! [`PipelineOptions::events`]; who reads too slowly is told how many it missed.
//!
//! # Time
//!
//! An answer is due within [`PipelineOptions::timeout`]. When it has not come by then, and *nothing at all* moved on
//! the connection in that time, the node or the way to it is taken for dead and the connection ends. While bytes
//! move, the answer may be queued behind others on a slow link, so waiting goes on for a few periods more; then the
//! node is merely slow at this one thing and only the caller fails. A late answer is dropped.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use spiderweb_protocol::fs::{
    Event, Hello, HelloReply, Incoming, Op, Payload, ReplyError, Request, WireError,
};
use spiderweb_protocol::{Errno, Secret, Tag};
use spiderweb_transport::{Frame, Masking, Message, WebSocket};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::error::LinkError;
use crate::glance::Glance;

/// Bytes waiting for the link above which no further request is taken from callers. Two of the largest writes keep
/// the link busy; more would only be memory.
const QUEUED_BYTES: usize = 4 * 1024 * 1024;

/// How often an answer may be late while other things move.
const PERIODS: u32 = 4;

/// Callers on the list at which those who gave up waiting are taken off.
const ABANDONED: usize = 4096;

/// How to use a connection.
#[derive(Clone, Debug)]
pub struct PipelineOptions {
    /// What the node demands, if anything.
    pub token: Option<Secret>,
    /// Whether changes made by others are announced.
    pub subscribe: bool,
    /// Time in which an answer must come or something else must move.
    pub timeout: Duration,
    /// Most requests outstanding.
    pub in_flight: usize,
    /// Events kept for a subscriber that is busy.
    pub events: usize,
}

impl Default for PipelineOptions {
    /// No token, no foreign events, 15 seconds, 64 requests, 1024 events.
    fn default() -> Self {
        Self {
            token: None,
            subscribe: false,
            timeout: Duration::from_secs(15),
            in_flight: 64,
            events: 1024,
        }
    }
}

/// Something a subscriber is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The node says that something changed.
    Event(Event),
    /// The subscriber was too slow and this many notices are gone: anything may have changed.
    Lagged(u64),
    /// The connection was lost and made again: anything may have changed meanwhile.
    Reconnected,
}

/// A connection past its hello.
#[derive(Debug)]
pub(crate) struct Pipeline {
    shared: Arc<Shared>,
    submit: mpsc::Sender<Submission>,
    permits: Semaphore,
    masking: Masking,
    tags: Tags,
    timeout: Duration,
    task: AbortOnDropHandle<()>,
}

/// Numbers for requests.
#[derive(Debug)]
struct Tags(AtomicU32);

impl Tags {
    /// The next one. After the largest they begin again at 1: to some peers 0 means that there is no tag.
    fn fresh(&self) -> Tag {
        loop {
            let tag = self.0.fetch_add(1, Ordering::Relaxed);
            if tag != 0 {
                return Tag(tag);
            }
        }
    }
}

/// What the task tells its callers.
#[derive(Debug, Default)]
struct Shared {
    /// How the connection ended; empty while it lives.
    end: OnceLock<LinkError>,
    /// Bytes that went in either direction: standing still means silence.
    moved: AtomicU64,
}

struct Submission {
    tag: Tag,
    frame: Frame,
    answer: oneshot::Sender<BytesMut>,
}

/// Why a request got no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The connection had ended before the request was handed to it.
    NotSent(LinkError),
    /// The connection ended; the request may have been carried out.
    Lost(LinkError),
    /// The node answers others but not this, for so long.
    TimedOut(Duration),
}

/// A received answer, not parsed yet.
#[derive(Debug)]
pub(crate) struct Answer(BytesMut);

/// Why an answer is not the one that was asked for.
#[derive(Debug)]
pub(crate) enum AnswerError {
    /// The node said no.
    Refused(WireError),
    /// It does not follow the protocol; the text says how.
    Broken(String),
}

impl From<ReplyError> for AnswerError {
    fn from(error: ReplyError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// What a hub answers in the node's place while it has no tunnel to it, with errno 5.
const NO_TUNNEL: &str = "NodeTunnelUnavailable";

impl Answer {
    /// A hub says that it has no tunnel to the node. It may have had one when the request came.
    pub(crate) fn is_unrouted(&self) -> bool {
        // Only errors are worth a look inside.
        if !matches!(Glance::at(&self.0), Ok(Glance::Error(_))) {
            return false;
        }
        matches!(
            Incoming::parse(&self.0),
            Ok(Incoming::Error { error, .. }) if error.errno == Errno::EIO && error.message == NO_TUNNEL
        )
    }

    /// Parses the answer to `op`.
    pub(crate) fn decode<'a, T>(
        &'a self,
        op: Op,
        decode: impl FnOnce(Payload<'a>) -> Result<T, ReplyError>,
    ) -> Result<T, AnswerError> {
        match Incoming::parse(&self.0)? {
            Incoming::Reply {
                op: found, payload, ..
            } if found == op => Ok(decode(payload)?),
            Incoming::Reply { op: found, .. } => Err(AnswerError::Broken(format!(
                "the node answered {op} as if it had been {found}"
            ))),
            Incoming::Error { error, .. } => Err(AnswerError::Refused(error)),
            Incoming::Event(_) => Err(AnswerError::Broken("the node answered with an event".to_owned())),
        }
    }
}

/// Why a connection could not be used.
#[derive(Debug)]
pub(crate) enum HelloFailure {
    Refused(WireError),
    Broken(String),
    Link(LinkError),
    TimedOut(Duration),
}

impl Pipeline {
    /// Takes over a connected socket and says hello.
    ///
    /// Events go to `events`, which may outlive this connection. Once hello was accepted, and before anything else,
    /// `announcement` goes there, too.
    pub(crate) async fn start(
        socket: WebSocket,
        options: &PipelineOptions,
        events: broadcast::Sender<Notice>,
        announcement: Option<Notice>,
    ) -> Result<(Self, HelloReply), HelloFailure> {
        let shared = Arc::new(Shared::default());
        let masking = socket.masking();
        // Permits bound what is outstanding, so the queue is never full for long.
        let (submit, submissions) = mpsc::channel(options.in_flight.max(1));
        let pump = Pump {
            socket,
            submissions,
            waiting: HashMap::new(),
            events,
            announcement,
            shared: Arc::clone(&shared),
        };
        let pipeline = Self {
            shared,
            submit,
            permits: Semaphore::new(options.in_flight.max(1)),
            masking,
            tags: Tags(AtomicU32::new(1)),
            timeout: options.timeout,
            task: AbortOnDropHandle::new(tokio::spawn(pump.run())),
        };
        let hello = pipeline.hello(options).await?;
        Ok((pipeline, hello))
    }

    /// Says hello. The first request of every connection; later ones show that the node is still there.
    pub(crate) async fn hello(&self, options: &PipelineOptions) -> Result<HelloReply, HelloFailure> {
        let hello = Hello {
            subscribe_invalidations: options.subscribe,
        };
        let tag = self.tags.fresh();
        let frame = Frame::text(self.masking, 256, |out| {
            out.extend_from_slice(br#"{"channel":"acheron","type":"acheron.t_fs_hello","tag":"#);
            out.extend_from_slice(tag.0.to_string().as_bytes());
            out.extend_from_slice(br#","payload":"#);
            hello.encode(options.token.as_ref(), out);
            out.push(b'}');
        });
        let answer = match self.submit(tag, frame).await {
            Ok(answered) => self.wait(answered).await,
            Err(error) => Err(error),
        };
        let answer = answer.map_err(|error| match error {
            CallError::NotSent(LinkError::Refused(error)) | CallError::Lost(LinkError::Refused(error)) => {
                HelloFailure::Refused(error)
            }
            CallError::NotSent(end) | CallError::Lost(end) => HelloFailure::Link(end),
            CallError::TimedOut(limit) => HelloFailure::TimedOut(limit),
        })?;
        answer
            .decode(Op::Hello, Payload::hello)
            .map_err(|error| match error {
                AnswerError::Refused(error) => HelloFailure::Refused(error),
                AnswerError::Broken(reason) => HelloFailure::Broken(reason),
            })
    }

    /// Asks, and waits for the answer.
    ///
    /// Dropping the future gives up waiting; the node may still do what was asked.
    pub(crate) async fn call(&self, request: &Request) -> Result<Answer, CallError> {
        let permit = self.permits.acquire().await;
        let answer = self.wait(self.send(request).await?).await;
        drop(permit);
        answer
    }

    /// Asks for something that takes the node a while, and waits for the answer no longer than `patience`. Silence
    /// means nothing here: original nodes say nothing while they are at it.
    pub(crate) async fn call_patiently(
        &self,
        request: &Request,
        patience: Duration,
    ) -> Result<Answer, CallError> {
        let permit = self.permits.acquire().await;
        let answered = self.send(request).await?;
        let answer = match tokio::time::timeout(patience, answered).await {
            Ok(Ok(frame)) => Ok(Answer(frame)),
            Ok(Err(_dropped)) => Err(CallError::Lost(self.end())),
            Err(_elapsed) => Err(CallError::TimedOut(patience)),
        };
        drop(permit);
        answer
    }

    async fn send(&self, request: &Request) -> Result<oneshot::Receiver<BytesMut>, CallError> {
        let tag = self.tags.fresh();
        let frame = Frame::text(self.masking, size_hint(request), |out| request.encode(tag, out));
        self.submit(tag, frame).await
    }

    async fn submit(&self, tag: Tag, frame: Frame) -> Result<oneshot::Receiver<BytesMut>, CallError> {
        let (answer, answered) = oneshot::channel();
        let submission = Submission { tag, frame, answer };
        match self.submit.send(submission).await {
            Ok(()) => Ok(answered),
            Err(_ended) => Err(CallError::NotSent(self.end())),
        }
    }

    async fn wait(&self, mut answered: oneshot::Receiver<BytesMut>) -> Result<Answer, CallError> {
        for _ in 0..PERIODS {
            let moved = self.shared.moved.load(Ordering::Relaxed);
            match tokio::time::timeout(self.timeout, &mut answered).await {
                Ok(Ok(frame)) => return Ok(Answer(frame)),
                Ok(Err(_dropped)) => return Err(CallError::Lost(self.end())),
                Err(_elapsed) if self.shared.moved.load(Ordering::Relaxed) == moved => {
                    let end = LinkError::Silent(self.timeout);
                    self.finish(end.clone());
                    return Err(CallError::Lost(end));
                }
                Err(_elapsed) => {}
            }
        }
        Err(CallError::TimedOut(self.timeout * PERIODS))
    }

    /// Whether the connection has not ended yet, as far as is known.
    pub(crate) fn is_alive(&self) -> bool {
        self.shared.end.get().is_none() && !self.task.is_finished()
    }

    /// Waits until the connection has ended. Cancel safe.
    pub(crate) async fn ended(&self) {
        self.submit.closed().await;
    }

    fn end(&self) -> LinkError {
        self.shared.end.get().cloned().unwrap_or(LinkError::Dropped)
    }

    fn finish(&self, end: LinkError) {
        self.shared.end.get_or_init(|| end);
        self.task.abort();
    }
}

/// About how long the encoded request will be, to allocate once.
fn size_hint(request: &Request) -> usize {
    160 + match request {
        Request::Write { data, .. } => data.as_bytes().len(),
        Request::Setxattr { value, .. } => value.as_bytes().len(),
        Request::Symlink { target, .. } => 256 + target.len(),
        Request::Rename { .. } => 512,
        Request::Lookup { .. } | Request::Create { .. } => 256,
        _ => 64,
    }
}

/// The task that owns the socket.
struct Pump {
    socket: WebSocket,
    submissions: mpsc::Receiver<Submission>,
    /// Callers by the tag they wait for. Bounded by the permits, and by callers that gave up on answers still due.
    waiting: HashMap<Tag, oneshot::Sender<BytesMut>>,
    events: broadcast::Sender<Notice>,
    /// For the subscribers, when the first request, hello, was accepted.
    announcement: Option<Notice>,
    shared: Arc<Shared>,
}

impl Pump {
    async fn run(mut self) {
        let end = poll_fn(|cx| self.poll(cx)).await;
        // Before the callers are dropped: they look here for the reason.
        self.shared.end.get_or_init(|| end);
    }

    /// Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        match self.poll_frames(cx) {
            Ok(pending) => pending,
            Err(end) => Poll::Ready(end),
        }
    }

    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Result<Poll<LinkError>, LinkError> {
        loop {
            while let Some(message) = self.socket.next_buffered()? {
                self.take(message)?;
            }
            while self.socket.queued_bytes() < QUEUED_BYTES {
                match self.submissions.poll_recv(cx) {
                    Poll::Ready(Some(submission)) => self.submit(submission),
                    Poll::Ready(None) => return Ok(Poll::Ready(LinkError::Dropped)),
                    Poll::Pending => break,
                }
            }
            let _ = self.socket.poll_flush(cx)?;
            let moved = self.socket.bytes_read() + self.socket.bytes_written();
            self.shared.moved.store(moved, Ordering::Relaxed);
            match self.socket.poll_fill(cx)? {
                Poll::Ready(0) => return Err(LinkError::Closed),
                Poll::Ready(_) => {}
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
    }

    fn submit(&mut self, submission: Submission) {
        // A caller that gave up before its turn wants nothing sent.
        if submission.answer.is_closed() {
            return;
        }
        if self.waiting.len() >= ABANDONED {
            self.waiting.retain(|_, caller| !caller.is_closed());
        }
        self.waiting.insert(submission.tag, submission.answer);
        self.socket.queue(submission.frame);
    }

    fn take(&mut self, message: Message) -> Result<(), LinkError> {
        let frame = match message {
            Message::Text(frame) => frame,
            Message::Ping(payload) => {
                self.socket.queue(Frame::pong(self.socket.masking(), &payload));
                return Ok(());
            }
            Message::Pong => return Ok(()),
            Message::Close(_) => return Err(LinkError::Closed),
            Message::Unsupported { opcode } => return Err(LinkError::Opcode(opcode)),
        };
        let glance = Glance::at(&frame)?;
        if let (Glance::Reply(_), Some(notice)) = (glance, self.announcement) {
            self.announcement = None;
            let _ = self.events.send(notice);
        }
        match glance {
            Glance::Reply(tag) | Glance::Error(tag) => {
                // Nobody waits for a late answer; nobody being there any more is the same.
                if let Some(caller) = self.waiting.remove(&tag) {
                    let _ = caller.send(frame);
                }
            }
            Glance::ConnectionError => {
                if let Incoming::Error { error, .. } = Incoming::parse(&frame)? {
                    return Err(LinkError::Refused(error));
                }
            }
            Glance::Event => {
                if let Incoming::Event(event) = Incoming::parse(&frame)? {
                    // No subscriber is fine.
                    let _ = self.events.send(Notice::Event(event));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tag_is_0() {
        let tags = Tags(AtomicU32::new(u32::MAX));
        assert_eq!(
            [tags.fresh(), tags.fresh(), tags.fresh()],
            [Tag(u32::MAX), Tag(1), Tag(2)]
        );
    }
}
