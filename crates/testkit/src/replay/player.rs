//! Plays a script against a node that already listens.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::compare::{Known, compare};
use super::listings::Listings;
use super::script::{Action, HttpOutcome, Incoming, Outgoing, Script};
use super::term::Term;
use super::{disk, golden};
use crate::raw_peer::frame::{self, Frame};
use crate::raw_peer::{Message, PeerError, RawPeer};

/// How long a reply may take.
const REPLY_LIMIT: Duration = Duration::from_secs(8);
/// How long an event may take.
const EVENT_LIMIT: Duration = Duration::from_secs(3);
/// How long the end of a connection may take.
const END_LIMIT: Duration = Duration::from_secs(5);
/// How long a node gets to announce a change made behind its back. It need not: such events are never
/// compared.
const NOTICE_LIMIT: Duration = Duration::from_millis(700);
/// When events have stopped coming for so long, the announcement is over.
const NOTICE_PAUSE: Duration = Duration::from_millis(50);
/// After so many differences the rest would only repeat them.
const MAX_DIFFERENCES: usize = 12;
/// After so many missing answers the conversation is out of step.
const MAX_TIMEOUTS: usize = 3;
/// The payload by which a pong is known to answer our own question.
const PROBE: &[u8] = b"still there?";

/// A step in which the node did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The topic.
    pub topic: String,
    /// The line of the step in its file.
    pub line: usize,
    /// The step as a golden file writes it.
    pub step: String,
    /// What happened instead.
    pub found: String,
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let step = self
            .step
            .char_indices()
            .nth(300)
            .map_or(&*self.step, |(end, _)| &self.step[..end]);
        write!(
            f,
            "{} line {}: {step}\n    {}",
            self.topic,
            self.line,
            self.found.replace('\n', "\n    ")
        )
    }
}

/// Plays `script` against the node at `addr` that was started in `root`, and returns where it differs.
pub fn play(script: &Script, addr: SocketAddr, root: &Path) -> Vec<Difference> {
    let mut player = Player {
        addr,
        root,
        peers: HashMap::new(),
        subscribed: HashSet::new(),
        known: Known::default(),
        listings: Listings::default(),
    };
    let mut differences = Vec::new();
    let mut timeouts = 0;
    for step in &script.steps {
        let Err(Failure { found, is_timeout }) = player.step(&step.action) else {
            continue;
        };
        timeouts += usize::from(is_timeout);
        differences.push(Difference {
            topic: script.topic.clone(),
            line: step.line,
            step: golden::print_action(&step.action),
            found,
        });
        if differences.len() >= MAX_DIFFERENCES || timeouts >= MAX_TIMEOUTS {
            break;
        }
    }
    differences
}

struct Player<'a> {
    addr: SocketAddr,
    root: &'a Path,
    peers: HashMap<u32, RawPeer>,
    /// Connections that were welcomed, where events may come.
    subscribed: HashSet<u32>,
    known: Known,
    listings: Listings,
}

/// Why a step failed.
struct Failure {
    found: String,
    is_timeout: bool,
}

type Outcome = Result<(), Failure>;

impl Player<'_> {
    fn step(&mut self, action: &Action) -> Outcome {
        match action {
            Action::Note(_) => {}
            Action::Open { conn, path } => {
                self.peers.insert(*conn, RawPeer::connect(self.addr, path)?);
            }
            Action::Drop { conn } => {
                self.peers.remove(conn);
                self.subscribed.remove(conn);
            }
            Action::Send { conn, what } => self.send(*conn, what)?,
            Action::Expect {
                conn,
                what: Incoming::Message(want),
            } if want.is_event() => self.event(*conn, want)?,
            Action::Expect {
                conn,
                what: Incoming::Message(want),
            } => self.reply(*conn, want)?,
            Action::Expect {
                conn,
                what: Incoming::Frame { opcode, payload },
            } => {
                self.control_frame(*conn, *opcode, payload)?;
            }
            Action::Expect {
                conn,
                what: Incoming::End,
            } => {
                self.subscribed.remove(conn);
                self.peer(*conn)?.expect_end(END_LIMIT)?;
            }
            Action::Quiet { conn } => self.quiet(*conn)?,
            Action::Http { request, outcome } => self.http(request, outcome)?,
            Action::Disk(change) => {
                disk::change(self.root, change)?;
                self.listings.clear();
                self.let_node_notice()?;
            }
            Action::Check(state) => disk::check(self.root, state)?,
        }
        Ok(())
    }

    fn peer(&mut self, conn: u32) -> Result<&mut RawPeer, Failure> {
        self.peers
            .get_mut(&conn)
            .ok_or_else(|| Failure::from(format!("connection {conn} is not open")))
    }

    fn send(&mut self, conn: u32, what: &Outgoing) -> Outcome {
        let mut unknown = Vec::new();
        let frame = match what {
            Outgoing::Text(text) => Frame::text(text),
            Outgoing::Message(message) => {
                self.listings.request(conn, message);
                Frame::text(&self.json(message, &mut unknown))
            }
            Outgoing::Frame {
                opcode,
                payload,
                fin,
                mask,
                rsv,
            } => Frame {
                fin: *fin,
                rsv: *rsv,
                opcode: *opcode,
                masked: *mask,
                payload: payload.clone(),
            },
        };
        let peer = self.peer(conn)?;
        peer.forget_events();
        match peer.send(&frame) {
            // A node that has already ended the connection may refuse more; what it said is compared next.
            Ok(()) | Err(PeerError::Io(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(format!("never learned: {}", unknown.join(", ")).into())
        }
    }

    /// The message as JSON text: symbols become the node's numbers, bytes become base64.
    ///
    /// A symbol the node never gave a number to is sent as 0, so that the conversation stays in step.
    fn json(&self, term: &Term, unknown: &mut Vec<String>) -> String {
        match term {
            Term::Text(text) => json_string(text),
            Term::Base64(bytes) => json_string(&base64_simd::STANDARD.encode_to_string(bytes)),
            Term::Symbol(symbol) => {
                let number = self.known.get(symbol);
                if number.is_none() {
                    unknown.push(term.to_string());
                }
                number.unwrap_or(0).to_string()
            }
            Term::List(items) => {
                let items: Vec<String> = items.iter().map(|item| self.json(item, unknown)).collect();
                format!("[{}]", items.join(","))
            }
            Term::Object(members) => {
                let member = |(name, value): &(String, Term)| {
                    format!("{}:{}", json_string(name), self.json(value, unknown))
                };
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
            }
            // Constants are written in JSON already; patterns have no place in a request.
            other => other.to_string(),
        }
    }

    /// The next reply must match; events before it are set aside.
    fn reply(&mut self, conn: u32, want: &Term) -> Outcome {
        let got = self.peer(conn)?.reply(REPLY_LIMIT)?;
        let comparison = compare(want, &got, &self.known);
        self.known.learn(&comparison);
        let mut problems = comparison.problems;
        problems.extend(self.listings.reply(conn, want, &got));
        if want.message_type() == Some("r_fs_hello") && problems.is_empty() {
            self.subscribed.insert(conn);
        }
        if problems.is_empty() {
            return Ok(());
        }
        problems.push(format!("in {got}"));
        Err(Failure::from(problems.join("\n")))
    }

    /// A matching event must have come, or come before anything but events.
    fn event(&mut self, conn: u32, want: &Term) -> Outcome {
        let known = self.known.clone();
        let matches = |event: &Value| compare(want, event, &known).problems.is_empty();
        let peer = self.peer(conn)?;
        let mut found = peer.take_event(matches);
        let deadline = Instant::now() + EVENT_LIMIT;
        while found.is_none() {
            let frame = peer.frame(deadline.saturating_duration_since(Instant::now()))?;
            match Message::parse(&frame) {
                Ok(Message::Event(event)) if matches(&event) => found = Some(event),
                Ok(Message::Event(event)) => peer.keep_event(event),
                _ => {
                    let instead = String::from_utf8_lossy(&frame.payload).into_owned();
                    peer.push_back(frame);
                    return Err(Failure::from(format!("it did not come before {instead}")));
                }
            }
        }
        self.known
            .learn(&compare(want, &found.unwrap_or_default(), &known));
        Ok(())
    }

    fn control_frame(&mut self, conn: u32, opcode: u8, payload: &[u8]) -> Outcome {
        let peer = self.peer(conn)?;
        let deadline = Instant::now() + REPLY_LIMIT;
        loop {
            let frame = peer.frame(deadline.saturating_duration_since(Instant::now()))?;
            if let Ok(Message::Event(event)) = Message::parse(&frame) {
                peer.keep_event(event);
            } else if frame.opcode == opcode && (opcode == frame::CLOSE || frame.payload == payload) {
                return Ok(());
            } else {
                let payload = String::from_utf8_lossy(&frame.payload);
                return Err(Failure::from(format!("opcode {} came: {payload}", frame.opcode)));
            }
        }
    }

    /// Everything sent before a pong has arrived with the pong; no event may be among it.
    fn quiet(&mut self, conn: u32) -> Outcome {
        let peer = self.peer(conn)?;
        peer.ping(PROBE)?;
        match peer.take_event(|_| true) {
            Some(event) => Err(Failure::from(format!("this event came: {event}"))),
            None => Ok(()),
        }
    }

    fn http(&self, request: &str, outcome: &HttpOutcome) -> Outcome {
        if *outcome == HttpOutcome::Unchecked {
            return Ok(());
        }
        let mut peer = RawPeer::dial(self.addr)?;
        // A refusal may come while the request is still being sent.
        let _ = peer.send_bytes(request.as_bytes());
        let head = match peer.http_head(REPLY_LIMIT) {
            Ok(head) => Some(head),
            Err(PeerError::Closed) => None,
            Err(error) => return Err(error.into()),
        };
        let upgraded = head.as_ref().is_some_and(|head| head.status == 101);
        match outcome {
            HttpOutcome::Unchecked => {}
            HttpOutcome::Refused if upgraded => return Err(Failure::from("it was upgraded".to_owned())),
            HttpOutcome::Refused => peer.drain(END_LIMIT)?,
            HttpOutcome::Upgraded { accept } | HttpOutcome::UpgradedThenEnded { accept, .. } => {
                let text = head.map_or_else(String::new, |head| head.text);
                if !upgraded || !text.contains(&**accept) {
                    return Err(Failure::from(format!("the answer was {text:?}")));
                }
                if let HttpOutcome::UpgradedThenEnded { message, .. } = outcome {
                    let problems = compare(message, &peer.reply(REPLY_LIMIT)?, &self.known).problems;
                    if !problems.is_empty() {
                        return Err(Failure::from(problems.join("\n")));
                    }
                    peer.expect_end(END_LIMIT)?;
                } else {
                    peer.ping(PROBE)?;
                }
            }
        }
        Ok(())
    }

    /// Waits until the node has announced a change made behind its back, or has had the time to.
    fn let_node_notice(&mut self) -> Outcome {
        let Some(peer) = self
            .subscribed
            .iter()
            .min()
            .and_then(|conn| self.peers.get_mut(conn))
        else {
            return Ok(());
        };
        let mut left = NOTICE_LIMIT;
        loop {
            let frame = match peer.frame(left) {
                Err(PeerError::Timeout(_)) => return Ok(()),
                other => other?,
            };
            let Ok(Message::Event(event)) = Message::parse(&frame) else {
                peer.push_back(frame);
                return Ok(());
            };
            peer.keep_event(event);
            left = NOTICE_PAUSE;
        }
    }
}

fn json_string(text: &str) -> String {
    Value::from(text).to_string()
}

impl From<PeerError> for Failure {
    fn from(error: PeerError) -> Self {
        Self {
            is_timeout: matches!(error, PeerError::Timeout(_)),
            found: error.to_string(),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self {
            found: format!("{error:#}"),
            is_timeout: false,
        }
    }
}

impl From<String> for Failure {
    fn from(found: String) -> Self {
        Self {
            found,
            is_timeout: false,
        }
    }
}
