//! A control connection: version first, then operations in order, and events for those who want them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use spiderweb_protocol::Dialect;
use spiderweb_protocol::canonical::ObjectWriter;
use spiderweb_protocol::control::{
    Code, ConnectAck, ControlEnvelope, ControlFault, Fields, NodeId, Operation, Refusal, check_version,
    debug_event, error, reply, reply_without_id,
};
use spiderweb_protocol::limits::MAX_FRAME;
use spiderweb_transport::{Frame, FrameError, Message, SocketError, WebSocket};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio::time::Instant;

use super::{End, Peer, ReadingWatch, STRANGER, or_never, slow_down};
use crate::audit::Entry;
use crate::metrics::count;
use crate::operations::{self, Call};
use crate::outlet::{Goodbye, MOST_QUEUED};
use crate::pump::{Pumped, pump};
use crate::router::MASKING;
use crate::shared::Shared;
use crate::tokens::Principal;
use crate::watch::CatalogEvent;

/// How long a peer with a wrong token may take to say something to which that can be said.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);
/// Events shown to a watcher that asks for no number, and at most.
const REPLAY: (u64, u64) = (25, 250);

struct Control {
    socket: WebSocket,
    peer: Peer,
    who: Principal,
    shared: Arc<Shared>,
    is_versioned: bool,
    /// The generation the peer was last heard to speak, or the only one of the hub.
    words: Option<Dialect>,
    watch: Option<Watch>,
    topology: Option<broadcast::Receiver<Arc<str>>>,
    /// A change that subscribers will be told of, and when.
    push: Option<(Instant, Arc<str>)>,
    /// The peer has shown nothing yet: no token, no invite, no node's secret.
    stranger: Option<Stranger>,
}

/// What a peer without a token is allowed until the hub has accepted an invite or a node's secret from it.
struct Stranger {
    /// When it has to leave.
    until: Instant,
    /// It may send a large message. Nodes publish their catalog in the frame that has their secret, often as the first
    /// thing on a connection; most need a few kilobytes, original servers took 256, and this hub takes more.
    place: Option<OwnedSemaphorePermit>,
}

struct Watch {
    feed: broadcast::Receiver<Arc<CatalogEvent>>,
    node: Option<NodeId>,
}

impl Watch {
    /// The next event this watcher wants; those it was too slow for are skipped and counted. Cancel safe.
    async fn next(&mut self, dropped: &AtomicU64) -> Option<Arc<CatalogEvent>> {
        loop {
            match self.feed.recv().await {
                Ok(event) if self.node.as_ref().is_none_or(|node| *node == event.node_id) => {
                    return Some(event);
                }
                Ok(_) => {}
                Err(RecvError::Lagged(events)) => {
                    dropped.fetch_add(events, Ordering::Relaxed);
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// Serves a peer until it leaves.
pub(crate) async fn serve(mut socket: WebSocket, peer: Peer, shared: Arc<Shared>) {
    let Some(who) = peer.principal else {
        return turn_away(socket, &peer, &shared).await;
    };
    let stranger = peer.is_stranger().then(|| {
        socket.set_max_message(STRANGER);
        Stranger {
            until: Instant::now() + shared.limits.proof,
            place: None,
        }
    });
    let words = shared.generations.only();
    let mut control = Control {
        socket,
        peer,
        who,
        shared,
        is_versioned: false,
        words,
        watch: None,
        topology: None,
        push: None,
        stranger,
    };
    let end = control.converse().await;
    end.finish(control.socket).await;
}

/// Tells a peer with a wrong token so, in answer to its first request, so that the answer arrives.
async fn turn_away(mut socket: WebSocket, peer: &Peer, shared: &Shared) {
    tracing::warn!(address = ?peer.address, "a control connection came with a wrong bearer token");
    socket.set_max_message(STRANGER);
    let waited = tokio::time::timeout(REFUSAL_PATIENCE, async {
        loop {
            match pump(&mut socket, true).await.ok()? {
                Pumped::Message(Message::Text(text)) => return Some(text),
                Pumped::Message(Message::Close(_)) | Pumped::Ended => return None,
                Pumped::Message(_) | Pumped::Room => {}
            }
        }
    });
    let first = tokio::select! {
        () = shared.tasks.stopped().cancelled() => None,
        waited = waited => waited.ok().flatten(),
    };
    slow_down(peer, shared).await;
    let id = first.and_then(|text| match ControlEnvelope::parse(&text) {
        Ok(envelope) => envelope.id,
        Err(fault) => fault.id,
    });
    let text = error(id.as_deref(), &Code::AuthFailed.into(), None);
    socket.queue(Frame::text_from(MASKING, &text));
    let _ = socket.close().await;
}

impl Control {
    async fn converse(&mut self) -> End {
        let limits = self.shared.limits;
        let mut ping = tokio::time::interval(limits.ping_every);
        ping.reset();
        let mut reading = ReadingWatch::new();
        let mut last_ping = Instant::now();
        let first_frame = Instant::now() + limits.first_frame;
        let mut was_heard = false;
        loop {
            let (proof, most_queued) = match &self.stranger {
                Some(stranger) => (Some(stranger.until), 2 * STRANGER),
                None => (None, MOST_QUEUED),
            };
            if self.socket.queued_bytes() > most_queued {
                return End::Parting(Goodbye::TOO_SLOW);
            }
            let dropped = &self.shared.counters.watch.dropped;
            let push_at = self.push.as_ref().map(|(at, _)| tokio::time::sleep_until(*at));
            let pumped = tokio::select! {
                biased;
                () = self.shared.tasks.stopped().cancelled() => return End::Parting(Goodbye::STOPPING),
                _ = ping.tick() => {
                    if reading.is_stuck(&self.socket, last_ping.elapsed(), limits.unread) {
                        return End::Parting(Goodbye::TOO_SLOW);
                    }
                    last_ping = Instant::now();
                    self.socket.queue(Frame::ping(MASKING, b"hub"));
                    continue;
                }
                () = tokio::time::sleep_until(first_frame), if !was_heard => return End::Refused,
                () = or_never(proof.map(tokio::time::sleep_until)) => return End::Refused,
                event = or_never(self.watch.as_mut().map(|watch| watch.next(dropped))) => {
                    match event {
                        Some(event) => {
                            self.say(&event.frame);
                            count(&self.shared.counters.watch.sent);
                        }
                        None => self.watch = None,
                    }
                    continue;
                }
                change = or_never(self.topology.as_mut().map(broadcast::Receiver::recv)) => {
                    self.note_change(change);
                    continue;
                }
                () = or_never(push_at) => {
                    self.push_topology();
                    continue;
                }
                pumped = pump(&mut self.socket, true) => pumped,
            };
            match pumped {
                Ok(Pumped::Message(Message::Text(text))) => {
                    was_heard = true;
                    if let Some(end) = self.handle(&text).await {
                        return end;
                    }
                }
                Ok(Pumped::Message(Message::Ping(payload))) => {
                    self.socket.queue(Frame::pong(MASKING, &payload));
                }
                Ok(Pumped::Message(Message::Close(payload))) => return End::Closed(payload),
                Ok(Pumped::Message(Message::Pong | Message::Unsupported { .. }) | Pumped::Room) => {}
                Ok(Pumped::Ended) => return End::Left,
                // Nothing of it was taken, so that it can be looked at again.
                Err(SocketError::Frame(FrameError::TooLarge { .. })) if self.take_place() => {}
                Err(error) => return End::Failed(error),
            }
        }
    }

    /// Lets a stranger send one large message, if not too many do.
    fn take_place(&mut self) -> bool {
        let Some(stranger @ Stranger { place: None, .. }) = &mut self.stranger else {
            return false;
        };
        stranger.place = self.shared.large_strangers.clone().try_acquire_owned().ok();
        let has_place = stranger.place.is_some();
        if has_place {
            self.socket.set_max_message(MAX_FRAME);
        }
        has_place
    }

    fn say(&mut self, text: &str) {
        // A peer that gives a huge id gets it back, and would hang up.
        let refusal;
        let text = if text.len() <= MAX_FRAME {
            text
        } else {
            refusal = error(None, &too_large(), None);
            &refusal
        };
        self.socket.queue(Frame::text_from(MASKING, text));
    }

    fn note_change(&mut self, change: Result<Arc<str>, RecvError>) {
        let reason = match change {
            Ok(reason) => reason,
            Err(RecvError::Lagged(_)) => "availability_changed".into(),
            Err(RecvError::Closed) => {
                self.topology = None;
                return;
            }
        };
        let at = Instant::now() + self.shared.limits.push_delay;
        self.push.get_or_insert((at, reason));
    }

    /// Says that something changed. What it is now, the peer asks for itself, with its own rights.
    fn push_topology(&mut self) {
        let Some((_, reason)) = self.push.take() else {
            return;
        };
        let now_ms = self.shared.clock.now_ms();
        let payload = ObjectWriter::new()
            .text("event", "workspace_topology_changed")
            .text("reason", &reason)
            .json("ts_ms", now_ms);
        let text = debug_event(
            "workspace-topology",
            "control.workspace_topology",
            &payload.finish(),
            now_ms,
        );
        self.say(&text);
    }

    /// Answers one frame; the conversation may end with it.
    async fn handle(&mut self, text: &[u8]) -> Option<End> {
        let envelope = match ControlEnvelope::parse(text) {
            Ok(envelope) => envelope,
            Err(fault) => return self.complain(&fault),
        };
        let id = envelope.id.clone();
        let Some((operation, dialect)) = Operation::from_wire(&envelope.name) else {
            if !self.is_versioned {
                return Some(self.mismatch(id.as_deref(), &version_first()));
            }
            self.say(&error(id.as_deref(), &Code::Unsupported.into(), None));
            return None;
        };
        if !self.is_versioned && operation != Operation::Version {
            return Some(self.mismatch(id.as_deref(), &version_first()));
        }
        self.words = dialect.or(self.words);
        match operation {
            Operation::Version => self.version(&envelope),
            Operation::Connect => {
                let ack = ConnectAck {
                    agent_id: self.who.agent(),
                    role: self.who.word(),
                };
                self.reply(&envelope, "connect_ack", &ack.encode());
                None
            }
            Operation::Ping => {
                self.reply(&envelope, "pong", "{}");
                None
            }
            _ => {
                self.operate(&envelope, operation).await;
                None
            }
        }
    }

    fn complain(&mut self, fault: &ControlFault) -> Option<End> {
        if let Some(tag) = fault.file_frame {
            let body = ObjectWriter::new()
                .text("code", Code::Unsupported.as_str())
                .text("message", "this hub runs no agents");
            let frame = ObjectWriter::new()
                .text("channel", "acheron")
                .text("type", "acheron.error");
            let frame = match tag {
                Some(tag) => frame.json("tag", tag),
                None => frame,
            };
            self.say(&frame.json("ok", false).json("error", body.finish()).finish());
            return Some(End::Refused);
        }
        let refusal = Refusal::saying(Code::InvalidEnvelope, fault.error.to_string());
        self.say(&error(fault.id.as_deref(), &refusal, None));
        None
    }

    /// Without an agreed version nothing more can be said.
    fn mismatch(&mut self, id: Option<&str>, refusal: &Refusal) -> End {
        self.say(&error(id, refusal, None));
        End::Refused
    }

    fn version(&mut self, envelope: &ControlEnvelope<'_>) -> Option<End> {
        let fields = Fields::of(envelope.payload.as_ref())
            .map_err(|_| Refusal::saying(Code::ProtocolMismatch, "InvalidPayload"));
        match fields.and_then(check_version) {
            Ok(()) => {
                self.is_versioned = true;
                let ack = self.shared.generations.encode();
                self.reply(envelope, "version_ack", &ack);
                None
            }
            Err(refusal) => Some(self.mismatch(envelope.id.as_deref(), &refusal)),
        }
    }

    fn reply(&mut self, envelope: &ControlEnvelope<'_>, kind: &str, payload: &str) {
        self.say(&reply_text(envelope, kind, payload));
    }

    async fn operate(&mut self, envelope: &ControlEnvelope<'_>, operation: Operation) {
        let began = Instant::now();
        let shared = self.shared.clone();
        count(&shared.counters.operations);
        let correlation = envelope.correlation_id.as_deref().or(envelope.id.as_deref());
        let outcome = self.perform(envelope, operation).await;
        let outcome = outcome.and_then(|payload| {
            let text = payload.map(|payload| reply_text(envelope, &envelope.name, &payload));
            // Whoever asked would hang up.
            match text {
                Some(text) if text.len() > MAX_FRAME => Err(too_large()),
                text => Ok(text),
            }
        });
        shared.counters.took(began.elapsed());
        if outcome.is_ok() && operations::carries_secret(operation) && self.stranger.take().is_some() {
            self.socket.set_max_message(MAX_FRAME);
        }
        self.note(operation, &envelope.name, correlation, outcome.as_ref().err());
        match outcome {
            Ok(Some(text)) => self.say(&text),
            // It has been answered in a shape of its own.
            Ok(None) => {}
            Err(refusal) => {
                count(&shared.counters.refusals);
                tracing::debug!(operation = envelope.name, %refusal, "operation refused");
                self.say(&error(envelope.id.as_deref(), &refusal, Some(correlation)));
            }
        }
    }

    async fn perform(
        &mut self,
        envelope: &ControlEnvelope<'_>,
        operation: Operation,
    ) -> Result<Option<String>, Refusal> {
        let correlation = envelope.correlation_id.as_deref().or(envelope.id.as_deref());
        let payload = envelope.payload.as_ref();
        let scope = operations::check(&self.shared, self.who, operation, correlation, payload)?;
        let fields = Fields::of(payload)?;
        match operation {
            Operation::CatalogWatch => return self.start_watch(fields).map(Some),
            Operation::CatalogUnwatch => {
                self.watch = None;
                return Ok(Some(r#"{"enabled":false}"#.to_owned()));
            }
            Operation::DebugSubscribe | Operation::DebugUnsubscribe => {
                self.subscribe(envelope, operation == Operation::DebugSubscribe);
                return Ok(None);
            }
            _ => {}
        }
        let call = Call {
            shared: &self.shared,
            peer: &self.peer,
            who: self.who,
            operation,
            words: self.words,
            is_operator: scope.is_operator,
        };
        operations::run(&call, fields).await.map(Some)
    }

    fn start_watch(&mut self, fields: Fields<'_>) -> Result<String, Refusal> {
        let node = fields.optional("node_id", NodeId::new)?;
        let (usual, most) = REPLAY;
        let limit = fields.unsigned("replay_limit")?.unwrap_or(usual).min(most);
        // First the feed, so that nothing falls between it and the history.
        let feed = self.shared.catalog_feed.subscribe();
        let history = self.shared.history.lock().unwrap_or_else(PoisonError::into_inner);
        let past = history.last(
            usize::try_from(limit).unwrap_or_default(),
            MOST_QUEUED / 2,
            node.as_ref(),
        );
        drop(history);
        for event in &past {
            self.say(&event.frame);
        }
        let out = ObjectWriter::new().json("enabled", true);
        let out = match &node {
            Some(node) => out.text("node_id", node.as_str()),
            None => out,
        };
        self.watch = Some(Watch { feed, node });
        let counters = &self.shared.counters.watch;
        count(&counters.requests);
        let watchers = self.shared.catalog_feed.receiver_count() as u64;
        counters.peak.fetch_max(watchers, Ordering::Relaxed);
        counters.replayed.fetch_add(past.len() as u64, Ordering::Relaxed);
        let bytes: usize = past.iter().map(|event| event.frame.len()).sum();
        counters.replayed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(out
            .json("replay_limit", limit)
            .json("replayed", past.len())
            .finish())
    }

    fn subscribe(&mut self, envelope: &ControlEnvelope<'_>, enabled: bool) {
        self.topology = enabled.then(|| self.shared.topology_feed.subscribe());
        self.push = None;
        let payload = ObjectWriter::new().json("enabled", enabled).finish();
        let request = envelope.id.as_deref().unwrap_or_default();
        let now_ms = self.shared.clock.now_ms();
        self.say(&debug_event(request, "control.subscription", &payload, now_ms));
    }

    /// Notes what was changed, and what was tried.
    fn note(&self, operation: Operation, name: &str, correlation: Option<&str>, refusal: Option<&Refusal>) {
        let is_identity = refusal.is_some_and(|refusal| matches!(refusal.code, Code::NodeAuthFailed));
        let is_pairing = matches!(operation, Operation::NodeJoin | Operation::NodeJoinRequest);
        // A node that waits for approval asks every few seconds.
        let is_waiting = refusal.is_some_and(|refusal| refusal.code == Code::ApprovalPending);
        let scope = match operation.scope() {
            Some(scope) if !is_waiting => scope.word(),
            None if is_pairing || is_identity => "pairing",
            _ => return,
        };
        self.shared.audit(Entry {
            timestamp_ms: self.shared.clock.now_ms(),
            agent_id: self.who.agent().to_owned(),
            control_type: format!("control.{name}"),
            scope,
            correlation_id: correlation.map(str::to_owned),
            error: refusal.map(|refusal| refusal.code.to_string()),
            address: self.peer.address.map(|address| address.to_string()),
        });
    }
}

fn reply_text(envelope: &ControlEnvelope<'_>, kind: &str, payload: &str) -> String {
    match &envelope.id {
        Some(id) => reply(kind, id, payload),
        None => reply_without_id(kind, payload),
    }
}

fn too_large() -> Refusal {
    Refusal::saying(
        Code::ControlPlaneError,
        "the answer is larger than a frame may be (4 MiB)",
    )
}

fn version_first() -> Refusal {
    Refusal::saying(Code::ProtocolMismatch, "control.version must be negotiated first")
}
