//! After hello: requests in, replies and events out.
//!
//! The task is one loop that does everything it can without waiting, then waits for whichever comes first: bytes
//! from the peer, room for bytes to the peer, a finished request, news, a deadline.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use spiderweb_fs::{FsError, Mailbox, Patience, SessionId};
use spiderweb_protocol::control::one_line;
use spiderweb_protocol::fs::{Change, Event, Hello, Op, Reply, Request};
use spiderweb_protocol::{Envelope, Errno, MessageKind, Tag};
use spiderweb_transport::{Frame, FrameError, Message, WebSocket};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::door::{Door, Pulse};
use super::footprint::Footprint;
use super::greeting::{UNSUPPORTED_OPCODE, accepted};
use super::lane::{Lane, MOST_UNREAD, Progress};
use super::{Wire, error_frame, event_frame, reply_frame};
use crate::dispatch::Caller;
use crate::shared::Service;

/// News of others leave at once, then at most this often: many changes travel together, and none is late enough
/// to be noticed.
const NEWS_INTERVAL: Duration = Duration::from_millis(1);

/// How long news waits for requests under way. A request that takes longer stands still, and its client learns of
/// changes first.
const LONGEST_HOLD: Duration = Duration::from_millis(20);

/// Why a session ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The peer closed, or hung up between two messages.
    Left,
    /// The hub closed the tunnel, with this payload.
    Closed(Bytes),
    /// Nothing came through the tunnel for too long.
    Silent,
    /// The link broke.
    Lost(io::Error),
    /// The peer broke the framing rules; it is dropped without a word, as the original does.
    Framing(FrameError),
    /// The peer sent something that ends the conversation.
    Refused,
    /// The peer did not read its replies.
    Unread,
    /// The node stops.
    Stopped,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => f.write_str("the peer left"),
            Self::Closed(payload) => match close_reason(payload) {
                Some((code, reason)) => write!(f, "the hub closed it: {code} {reason}"),
                None => f.write_str("the hub closed it"),
            },
            Self::Silent => f.write_str("the hub has fallen silent"),
            Self::Lost(error) => write!(f, "link lost: {error}"),
            Self::Framing(error) => write!(f, "dropped: {error}"),
            Self::Refused => f.write_str("refused a bad request"),
            Self::Unread => f.write_str("dropped: the peer does not read"),
            Self::Stopped => f.write_str("the node stops"),
        }
    }
}

impl End {
    /// The code with which the hub closed the tunnel, if it did and said one.
    pub(crate) fn close_code(&self) -> Option<u16> {
        match self {
            Self::Closed(payload) => close_reason(payload).map(|(code, _)| code),
            _ => None,
        }
    }
}

/// The code and the words of a close frame, if it has any.
fn close_reason(payload: &[u8]) -> Option<(u16, String)> {
    let (code, words) = payload.split_first_chunk()?;
    let words = one_line(&String::from_utf8_lossy(words));
    Some((u16::from_be_bytes(*code), words))
}

/// A lane in which nothing moves.
#[derive(Clone, Copy)]
struct Stall {
    /// Requests finished and requests received: as long as both stand still, so does the lane.
    seen: (u64, u64),
    since: Instant,
    /// How often others were let past meanwhile.
    attempts: u32,
}

impl Stall {
    /// When others may pass next, where the first may after `pause`. A disk that hangs for long is looked after less
    /// and less often.
    fn due(&self, pause: Duration) -> Instant {
        self.since + pause * (1 << self.attempts.min(LONGEST_STALL))
    }
}

/// Doublings of [`Limits::overtake_after`](crate::Limits) after which the interval stays: by default about an eighth of
/// a second.
const LONGEST_STALL: u32 = 6;

/// A peer past its hello.
pub(super) struct Session {
    socket: WebSocket,
    door: Door,
    service: Arc<Service>,
    caller: Caller,
    lane: Arc<Lane>,
    /// News of others, if the peer wants any.
    mailbox: Option<Arc<Mailbox>>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Set once no further request is read: why.
    draining: Option<End>,
    timer: Option<Pin<Box<Sleep>>>,
    /// News may leave again from then on.
    news_from: Instant,
    /// News waits until then, or until the requests before this number are finished.
    news_held: Option<(Instant, u64)>,
    stall: Stall,
    /// Since when the peer has taken this many bytes.
    written: (Instant, u64),
}

impl Session {
    pub(super) fn new(
        socket: WebSocket,
        door: Door,
        hello: Hello,
        id: SessionId,
        service: Arc<Service>,
    ) -> Self {
        let now = Instant::now();
        let caller = Caller {
            session: id,
            peer: socket.peer().map(|peer| peer.ip()),
            frame_limit: door.frame_limit(),
        };
        let wire = Wire {
            masking: socket.masking(),
            frame_limit: caller.frame_limit,
        };
        let stop = door.stop().unwrap_or_else(|| service.tasks.stopped().clone());
        let mut session = Self {
            lane: Lane::new(service.clone(), caller, wire),
            mailbox: None,
            stopped: Box::pin(stop.cancelled_owned()),
            draining: None,
            timer: None,
            news_from: now,
            news_held: None,
            stall: Stall {
                seen: (0, 0),
                since: now,
                attempts: 0,
            },
            written: (now, socket.bytes_written()),
            socket,
            door,
            service,
            caller,
        };
        session.subscribe(hello);
        if session.door.is_return() {
            session.forget_everything();
        }
        session
    }

    /// Tells everybody behind a tunnel that came back to forget what they know: what happened meanwhile went
    /// untold.
    fn forget_everything(&mut self) {
        for id in self.service.roots() {
            let event = Event::Inode {
                id,
                change: Change::All,
                generation: None,
            };
            self.socket.queue(event_frame(self.socket.masking(), &event));
        }
    }

    pub(super) async fn run(mut self) -> End {
        let end = poll_fn(|cx| self.poll_serve(cx)).await;
        self.lane.close();
        self.service.news.unsubscribe(self.caller.session);
        let said = match &end {
            End::Closed(payload) => Some(payload),
            End::Left | End::Refused | End::Stopped => None,
            _ => return end,
        };
        let goodbye = Frame::close(self.socket.masking(), &self.door.goodbye(said));
        self.socket.queue(goodbye);
        // The peer may be gone already; there is nobody else to tell.
        let _ = self.socket.finish().await;
        end
    }

    fn subscribe(&mut self, hello: Hello) {
        match (&self.mailbox, hello.subscribe_invalidations) {
            (None, true) => self.mailbox = Some(self.service.news.subscribe(self.caller.session)),
            (Some(_), false) => {
                self.service.news.unsubscribe(self.caller.session);
                self.mailbox = None;
            }
            _ => {}
        }
    }

    fn poll_serve(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.draining.is_none() && self.stopped.as_mut().poll(cx).is_ready() {
            self.draining = Some(End::Stopped);
        }
        loop {
            let now = Instant::now();
            let progress = self.take_replies(cx);
            let news_at = self.take_news(cx, now, progress);
            let mut worked = false;
            while self.reads_on(progress) {
                match self.socket.next_buffered() {
                    Ok(Some(message)) => self.handle(message),
                    Ok(None) => break,
                    Err(error) => return Poll::Ready(End::Framing(error)),
                }
                worked = true;
                if self.lane.is_full() || self.socket.queued_bytes() > MOST_UNREAD {
                    break;
                }
            }
            self.lane.ensure_runner(self.socket.queued_bytes());
            if worked && self.socket.queued_bytes() == 0 {
                self.socket.acknowledge();
            }
            let flushed = match self.socket.poll_flush(cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(error)) => return Poll::Ready(End::Lost(error)),
                Poll::Pending => false,
            };
            if progress.waiting {
                // The socket may have room again for what the runners paused for.
                self.lane.ensure_runner(self.socket.queued_bytes());
            }
            if worked {
                continue;
            }
            if (flushed && progress.idle || self.is_cut_off()) && self.draining.is_some() {
                return Poll::Ready(self.draining.take().unwrap_or(End::Left));
            }
            if self.reads_on(progress) {
                match self.socket.poll_fill(cx) {
                    Poll::Ready(Ok(0)) => {
                        self.lane.peer_left();
                        self.draining = Some(if self.socket.is_mid_message() {
                            End::Lost(io::ErrorKind::UnexpectedEof.into())
                        } else {
                            End::Left
                        });
                        continue;
                    }
                    Poll::Ready(Ok(_)) => continue,
                    Poll::Ready(Err(error)) => return Poll::Ready(End::Lost(error)),
                    Poll::Pending => {}
                }
            }
            match self.poll_deadlines(cx, now, news_at, progress) {
                Poll::Ready(Some(end)) => return Poll::Ready(end),
                Poll::Ready(None) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether nobody waits for what is still under way: a tunnel that its hub has ended is better opened again at
    /// once.
    fn is_cut_off(&self) -> bool {
        let is_node_stopping = self.service.tasks.stopped().is_cancelled();
        self.door.is_tunnel() && !(is_node_stopping && matches!(self.draining, Some(End::Stopped)))
    }

    /// Whether further requests are taken from the socket now.
    fn reads_on(&self, progress: Progress) -> bool {
        self.draining.is_none() && !progress.full && self.socket.queued_bytes() <= MOST_UNREAD
    }

    /// Queues news of others, unless some left a moment ago; then says when the next may.
    ///
    /// An answer that was found before a change must not arrive behind its news, or the client would keep it. So
    /// news waits for the requests that run when it comes, though not for one that stands still.
    fn take_news(&mut self, cx: &Context<'_>, now: Instant, progress: Progress) -> Option<Instant> {
        let mailbox = self.mailbox.as_ref()?;
        if now < self.news_from {
            return mailbox.has_news().then_some(self.news_from);
        }
        // A peer that reads nothing gets nothing further; its news are merged meanwhile.
        if self.socket.queued_bytes() > MOST_UNREAD {
            return None;
        }
        if progress.oldest.is_some() && mailbox.has_news() {
            let (until, before) = *self.news_held.get_or_insert((now + LONGEST_HOLD, progress.next));
            if now < until && progress.oldest.is_some_and(|oldest| oldest < before) {
                return Some(until);
            }
        }
        self.news_held = None;
        let events = mailbox.take(cx.waker());
        if !events.is_empty() {
            self.news_from = now + NEWS_INTERVAL;
            let masking = self.socket.masking();
            for event in events {
                self.socket.queue(event_frame(masking, &event));
            }
        }
        None
    }

    fn take_replies(&mut self, cx: &Context<'_>) -> Progress {
        let (frames, progress) = self.lane.frames(cx.waker());
        for frame in frames {
            self.socket.queue(frame);
        }
        progress
    }

    fn handle(&mut self, message: Message) {
        let masking = self.socket.masking();
        match message {
            Message::Text(frame) => self.handle_text(&frame.freeze()),
            Message::Ping(payload) => self.socket.queue(Frame::pong(masking, &payload)),
            Message::Pong => {}
            Message::Close(payload) if self.door.is_tunnel() => {
                self.draining = Some(End::Closed(payload.freeze()));
            }
            Message::Close(_) => self.draining = Some(End::Left),
            // Nobody behind a hub could be told.
            Message::Unsupported { .. } if self.door.is_tunnel() => {}
            Message::Unsupported { .. } => {
                self.socket
                    .queue(error_frame(masking, None, Errno::EINVAL, UNSUPPORTED_OPCODE));
            }
        }
    }

    fn handle_text(&mut self, frame: &Bytes) {
        let envelope = match Envelope::parse(frame) {
            Ok(envelope) => envelope,
            Err(error) => {
                self.say(self.door.tag_of(frame, error), &error.to_string());
                if !self.door.is_tunnel() {
                    self.draining = Some(End::Refused);
                }
                return;
            }
        };
        let tag = envelope.tag.unwrap_or_default();
        let op = match envelope.kind {
            MessageKind::Request(Op::Hello) => return self.handle_hello(&envelope, tag),
            MessageKind::Request(op) => op,
            MessageKind::OtherAcheron => return self.say(Some(tag), "UnsupportedType"),
            MessageKind::Control => return self.say(None, "UnsupportedType"),
        };
        if let Err(error) = self.service.check_capability(op, envelope.node) {
            return self.reply(op, tag, &Err(error));
        }
        match Request::from_envelope(op, &envelope, frame) {
            Ok(request) => self.handle_request(request, tag, frame.len()),
            Err(error) => self.say(Some(tag), &error.to_string()),
        }
    }

    /// A further hello is checked in full and answered the same way; a refused one ends the session.
    fn handle_hello(&mut self, envelope: &Envelope<'_>, tag: Tag) {
        if self.door.is_tunnel() {
            // A client's, which its hub has checked. Whether it wants events the hub knows, too.
            let frame = accepted(self.wire(), &self.service, tag);
            return self.answer(frame, tag);
        }
        match Hello::check(envelope.payload.as_ref(), self.service.token.as_ref()) {
            Ok(hello) => {
                self.subscribe(hello);
                let frame = accepted(self.wire(), &self.service, tag);
                self.answer(frame, tag);
            }
            Err(error) => {
                self.say(Some(tag), &error.to_string());
                self.draining = Some(End::Refused);
            }
        }
    }

    fn handle_request(&mut self, request: Request, tag: Tag, bytes: usize) {
        let footprint = Footprint::of(&request, |handle| self.service.handles.inode_of(handle));
        if self.lane.may_answer_now(&footprint) {
            let outcome = self.service.perform(&request, self.caller, Patience::Immediate);
            if !matches!(outcome.result, Err(FsError::NotNow)) {
                return self.reply(request.op(), tag, &outcome.result);
            }
        }
        let client = self.door.client_of(tag);
        self.lane.push(request, footprint, (tag, client), bytes);
    }

    fn reply(&mut self, op: Op, tag: Tag, result: &Result<Reply, FsError>) {
        let frame = reply_frame(self.wire(), op, tag, result);
        self.answer(frame, tag);
    }

    /// Sends an answer that is there already, in its turn.
    fn answer(&mut self, frame: Frame, tag: Tag) {
        let client = self.door.client_of(tag);
        if let Some(frame) = self.lane.queue_answer(frame, (tag, client)) {
            self.socket.queue(frame);
        }
    }

    fn wire(&self) -> Wire {
        Wire {
            masking: self.socket.masking(),
            frame_limit: self.caller.frame_limit,
        }
    }

    fn say(&mut self, tag: Option<Tag>, message: &str) {
        let frame = error_frame(self.socket.masking(), tag, Errno::EINVAL, message);
        self.answer(frame, tag.unwrap_or_default());
    }

    /// Waits for the next deadline. Ready with an end when the peer has gone too far, ready without when there is
    /// something to do again.
    fn poll_deadlines(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        news_at: Option<Instant>,
        progress: Progress,
    ) -> Poll<Option<End>> {
        let mut next = news_at;
        let mut sooner = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));

        let pulse = self
            .door
            .pulse(now, self.socket.bytes_read(), self.reads_on(progress));
        match pulse {
            None => {}
            Some(Pulse::Dead) => return Poll::Ready(Some(End::Silent)),
            Some(Pulse::Ping) => {
                self.socket.queue(Frame::ping(self.socket.masking(), &[]));
                return Poll::Ready(None);
            }
            Some(Pulse::Until(at)) => sooner(at),
        }

        let seen = (progress.finished, progress.next);
        if !progress.waiting || self.stall.seen != seen {
            self.stall = Stall {
                seen,
                since: now,
                attempts: 0,
            };
        }
        if progress.waiting {
            let pause = self.service.limits.overtake_after;
            if now >= self.stall.due(pause) {
                self.lane.overtake();
                self.stall = Stall {
                    since: now,
                    attempts: self.stall.attempts + 1,
                    ..self.stall
                };
            }
            sooner(self.stall.due(pause));
        }
        if self.socket.queued_bytes() > 0 {
            if self.written.1 != self.socket.bytes_written() {
                self.written = (now, self.socket.bytes_written());
            }
            let limit = self.written.0 + self.service.limits.unread;
            if now >= limit {
                return Poll::Ready(Some(End::Unread));
            }
            sooner(limit);
        } else {
            self.written = (now, self.socket.bytes_written());
        }
        let Some(next) = next else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
        if timer.deadline() != next {
            timer.as_mut().reset(next);
        }
        timer.as_mut().poll(cx).map(|()| None)
    }
}
