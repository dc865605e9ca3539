//! A recording as what a player has to do: stages, answers, and tunnels.
//!
//! A stage begins where the operator did something; what is recorded after that can only happen after it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use base64_simd::STANDARD;

use super::sequence::{self, REFRESH, Sequence};
use crate::raw_peer::frame::{self, Frame};
use crate::replay::term::{Scanner, Term};

/// The path of tunnels.
const TUNNEL: &str = "/v2/node";

/// Something the operator did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Starts the next node.
    Start,
    /// Ends the oldest node that runs, politely.
    Stop,
    /// Ends it at once.
    Kill,
    /// Removes the state file.
    ForgetState,
    /// Writes another secret into the state file.
    ReplaceSecret(String),
    /// Takes the server away for a while.
    Outage(Duration),
    /// Writes the manifest of a camera in this version, or removes it.
    Manifest(Option<String>),
}

/// A control operation with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) stage: usize,
    /// A refusal that came after a tunnel was opened: it must not come before, or the node would never open it.
    pub(super) is_after_hello: bool,
    pub(super) operation: String,
    pub(super) request: Term,
    pub(super) reply: Term,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The server sends a frame.
    Say(Frame),
    /// The same, a request whose file and handle are called otherwise here.
    Ask(Term, bool),
    /// The node sends a message.
    Expect(Term),
    ExpectPong(Vec<u8>),
    ExpectClose(Vec<u8>),
    /// The node ends the connection.
    ExpectEnd,
    /// The server ends the connection.
    Cut,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tunnel {
    pub(super) hello: Term,
    /// Each with its stage.
    pub(super) steps: Vec<(usize, Step)>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recording {
    /// Arguments of every node, in the order they start.
    pub(super) nodes: Vec<Vec<String>>,
    /// Exit codes of every node, none for those that still ran.
    pub(super) exits: Vec<Option<i64>>,
    pub(super) final_state: Option<Term>,
    /// What begins each stage.
    pub(super) stages: Vec<Vec<Act>>,
    /// Heads of the first upgrade to each path.
    pub(super) heads: Vec<String>,
    /// What the handshake of a control connection says and is answered, by type.
    pub(super) handshake: Vec<(Term, Term)>,
    pub(super) asks: Vec<Ask>,
    pub(super) tunnels: Vec<Tunnel>,
    pub(super) control: Sequence,
    pub(super) hellos: Sequence,
}

/// A line of the file.
struct Line {
    term: Term,
    number: usize,
    stage: usize,
}

impl Line {
    fn text(&self, name: &str) -> Option<&str> {
        self.term.get(name)?.as_str()
    }

    fn conn(&self) -> Option<u64> {
        self.term.get("conn")?.as_u64()
    }

    fn is_from_node(&self) -> bool {
        self.text("dir") == Some("n2s")
    }

    /// The message, if the line is a whole text frame.
    fn message(&self) -> Option<&Term> {
        let is_whole = self.text("event").is_none() && self.text("op").is_none();
        self.term.get("frame").filter(|_| is_whole)
    }
}

impl Recording {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut stages = vec![vec![Act::Start]];
        let mut lines = Vec::new();
        let mut all: Vec<Term> = Vec::new();
        for line in text.lines() {
            all.push(parse(line)?);
        }
        for (number, term) in all.iter().enumerate() {
            if let Some(note) = term.get("note").and_then(Term::as_str)
                && let Some(acts) = acts(note, &all[number..])
            {
                stages.push(acts);
            }
            lines.push(Line {
                term: term.clone(),
                number,
                stage: stages.len() - 1,
            });
        }
        let setup = all.first().and_then(|line| line.get("setup"));
        let setup = setup.context("a recording begins with its setup")?;
        let nodes = setup.get("node_args").and_then(Term::as_list).unwrap_or_default();
        let nodes = nodes.iter().map(texts).collect();
        let result = all.last().and_then(|line| line.get("result"));
        let result = result.context("a recording ends with its result")?;
        let exits = result.get("nodes").and_then(Term::as_list).unwrap_or_default();
        let exits = exits.iter().map(|node| match node.get("exit_code") {
            Some(Term::Number(code)) => code.parse().ok(),
            _ => None,
        });
        let final_state = result.get("final_state_file").cloned();
        let mut recording = Self {
            nodes,
            exits: exits.collect(),
            final_state: final_state.filter(|state| *state != Term::Null),
            stages,
            ..Self::default()
        };
        recording.read(&lines);
        recording.control.settle();
        recording.hellos.settle();
        Ok(recording)
    }

    fn read(&mut self, lines: &[Line]) {
        let mut stage = None;
        let mut seen = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            while stage != Some(line.stage) {
                let next = stage.map_or(0, |stage| stage + 1);
                let is_new_node = self.stages[next].contains(&Act::Start);
                self.control.begin_stage(is_new_node);
                self.hellos.begin_stage(false);
                stage = Some(next);
            }
            let (Some(conn), true) = (line.conn(), line.is_from_node()) else {
                continue;
            };
            if line.text("event") == Some("http") {
                let head = line.text("frame").unwrap_or_default();
                let known = |known: &String| known.lines().next() == head.lines().next();
                if !self.heads.iter().any(known) {
                    self.heads.push(head.to_owned());
                }
            }
            let Some(message) = line.message() else { continue };
            if line.text("path") == Some(TUNNEL) {
                if !seen.contains(&conn) {
                    seen.push(conn);
                    self.read_tunnel(message, &lines[at..], conn);
                }
            } else {
                self.read_operation(message, lines, line);
            }
        }
    }

    fn read_operation(&mut self, message: &Term, lines: &[Line], asked: &Line) {
        let operation = operation(message).unwrap_or_default();
        let is_handshake = matches!(operation, "version" | "connect");
        // A refused connection hears of it before it said anything.
        let from = if is_handshake { 0 } else { asked.number };
        let reply = lines[from..].iter().find(|line| {
            let is_reply = line.conn() == asked.conn() && line.text("dir") == Some("s2n");
            let answers = |reply: &Term| {
                let id = reply.get("id");
                id.is_none() || id == message.get("id")
            };
            is_reply && line.message().is_some_and(answers)
        });
        let Some(reply) = reply.and_then(Line::message) else {
            return;
        };
        let refusal = refusal(reply);
        if is_handshake {
            if !self.handshake.iter().any(|(known, _)| known == message) {
                self.handshake.push((message.clone(), reply.clone()));
            }
            if let Some(code) = refusal {
                self.control.add(operation, "", Some(code));
            }
            return;
        }
        let operation = sequence::short(operation);
        let payload = json(message.get("payload").unwrap_or(&Term::Null));
        let is_new = self.control.add(operation, &payload, refusal);
        // Each refresh has another lease; other repetitions are like what they repeat.
        if is_new || operation == REFRESH {
            self.asks.push(Ask {
                stage: asked.stage,
                is_after_hello: refusal.is_some() && self.hellos.has_begun(asked.stage),
                operation: operation.to_owned(),
                request: message.clone(),
                reply: reply.clone(),
            });
        }
    }

    fn read_tunnel(&mut self, hello: &Term, lines: &[Line], conn: u64) {
        let mut steps = Vec::new();
        let mut is_masked = false;
        let mut is_first = true;
        for line in &lines[1..] {
            let note = line.text("note").unwrap_or_default();
            is_masked |= note.starts_with("tunnel 3: masked");
            if line.conn() != Some(conn) {
                continue;
            }
            let step = match (line.is_from_node(), line.text("event"), line.text("op")) {
                (true, Some("eof"), _) => {
                    if !ends_by_itself(&lines[line.number - lines[0].number..]) {
                        break;
                    }
                    Step::ExpectEnd
                }
                (false, Some("eof"), _) => Step::Cut,
                (_, Some(_), _) => continue,
                (true, None, Some("pong")) => Step::ExpectPong(payload(line)),
                (true, None, Some(_)) => Step::ExpectClose(payload(line)),
                (false, None, Some(op)) => Step::Say(odd_frame(op, payload(line))),
                (from_node, None, None) => {
                    let Some(message) = line.message().cloned() else {
                        continue;
                    };
                    if is_first && !from_node {
                        is_first = false;
                        let refusal = message.get("error").and_then(|error| error.get("message"));
                        self.hellos.add("hello", "", refusal.and_then(Term::as_str));
                        Step::Ask(message, false)
                    } else if from_node {
                        Step::Expect(message)
                    } else {
                        Step::Ask(message, is_masked)
                    }
                }
            };
            let is_end = matches!(step, Step::Cut);
            steps.push((line.stage, step));
            if is_end {
                break;
            }
        }
        self.tunnels.push(Tunnel {
            hello: hello.clone(),
            steps,
        });
    }

    /// The identity a state file must hold before the first node starts, if there must be one.
    pub(super) fn identity(&self) -> Option<(&str, &str)> {
        let payload = self.asks.first()?.request.get("payload")?;
        Some((
            payload.get("node_id")?.as_str()?,
            payload.get("node_secret")?.as_str()?,
        ))
    }
}

/// Whether a node that left did so of its own will: it dials again before anybody stops or starts one.
fn ends_by_itself(lines: &[Line]) -> bool {
    let stage = lines[0].stage;
    lines.iter().take_while(|line| line.stage == stage).any(|line| {
        line.is_from_node() && line.text("event") == Some("http") && line.text("path") == Some(TUNNEL)
    })
}

/// What to do for a note; nothing for one that is about clients.
fn acts(note: &str, following: &[Term]) -> Option<Vec<Act>> {
    let acts = match note {
        "secret in state file replaced; node restarted" => {
            let secret = following
                .iter()
                .find_map(|line| line.get("frame")?.get("payload")?.get("node_secret")?.as_str());
            let secret = secret.unwrap_or_default().to_owned();
            vec![Act::Stop, Act::ReplaceSecret(secret), Act::Start]
        }
        "second node, empty state, same invite" => vec![Act::Stop, Act::ForgetState, Act::Start],
        "server killed" => vec![Act::Outage(Duration::from_secs(3))],
        "server killed, database removed, restarted" => vec![Act::Outage(Duration::from_millis(300))],
        "manifest camera.json added" => vec![Act::Manifest(Some("1".to_owned()))],
        "manifest version changed to 2" => vec![Act::Manifest(Some("2".to_owned()))],
        "manifest removed" => vec![Act::Manifest(None)],
        "node killed with SIGKILL" => vec![Act::Kill],
        "node started again" | "second process, same state file" => vec![Act::Start],
        "first process killed" => vec![Act::Stop],
        // The server's answers change; it does not say so.
        "operator deletes the node" | "lease over" | "next refresh of the node" => Vec::new(),
        note if note.starts_with("node restarted") => vec![Act::Stop, Act::Start],
        _ => return None,
    };
    Some(acts)
}

fn odd_frame(op: &str, payload: Vec<u8>) -> Frame {
    let (opcode, is_last) = match op {
        "ping" => (frame::PING, true),
        "pong" => (frame::PONG, true),
        "close" => (frame::CLOSE, true),
        "binary" => (frame::BINARY, true),
        "cont" => (frame::CONTINUATION, true),
        _ => (frame::TEXT, false),
    };
    let frame = Frame::new(opcode, payload).unmasked();
    if is_last { frame } else { frame.unfinished() }
}

fn payload(line: &Line) -> Vec<u8> {
    let text = line.text("frame").unwrap_or_default();
    match text.strip_prefix("base64:") {
        Some(coded) => STANDARD.decode_to_vec(coded).unwrap_or_default(),
        None => text.as_bytes().to_vec(),
    }
}

pub(super) fn texts(list: &Term) -> Vec<String> {
    let items = list.as_list().unwrap_or_default().iter();
    items.filter_map(Term::as_str).map(str::to_owned).collect()
}

/// The operation a control message is about.
pub(super) fn operation(message: &Term) -> Option<&str> {
    message.get("type")?.as_str()?.strip_prefix("control.")
}

/// The code of a refusal.
pub(super) fn refusal(reply: &Term) -> Option<&str> {
    let code = reply.get("error").and_then(|error| error.get("code"));
    let is_denied = reply.get("type").and_then(Term::as_str) == Some("error");
    match (code, is_denied) {
        (Some(code), _) => code.as_str(),
        (None, true) => reply.get("code")?.as_str(),
        (None, false) => None,
    }
}

/// Reads JSON.
pub(super) fn parse(text: &str) -> Result<Term> {
    let mut scanner = Scanner::new(text);
    let term = scanner.term()?;
    scanner.end()?;
    Ok(term)
}

/// Writes JSON as it was recorded.
pub(super) fn json(term: &Term) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match term {
        Term::Text(text) => quoted(text),
        Term::List(items) => {
            let items: Vec<_> = items.iter().map(json).collect();
            format!("[{}]", items.join(","))
        }
        Term::Object(members) => {
            let member = |(name, value): &(String, Term)| format!("{}:{}", quoted(name), json(value));
            let members: Vec<_> = members.iter().map(member).collect();
            format!("{{{}}}", members.join(","))
        }
        other => other.to_string(),
    }
}
