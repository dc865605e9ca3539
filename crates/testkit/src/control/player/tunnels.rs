//! The server's part of tunnels: recorded requests with our numbers of files, and what the node must answer.

use std::time::{Duration, Instant};

use super::super::Difference;
use super::super::recording::{self, Step, json};
use super::super::server::Said;
use super::Player;
use crate::raw_peer::frame::Frame;
use crate::replay::term::Term;

/// How long a frame is waited for: its answer is never far away.
const PATIENCE: Duration = Duration::from_secs(3);

/// A tunnel a node opened.
pub(super) struct Open {
    pub(super) conn: usize,
    pub(super) script: usize,
    pub(super) at: usize,
    pub(super) came: Vec<(usize, Said)>,
    pub(super) count: usize,
    /// Where the last event of the request that is being answered came.
    event: usize,
    waiting: Option<Instant>,
    pub(super) is_gone: bool,
}

impl Player {
    pub(super) fn open_tunnel(&mut self, conn: usize, hello: &Term) {
        let script = self
            .tunnels
            .len()
            .min(self.recording.tunnels.len().saturating_sub(1));
        let Some(recorded) = self.recording.tunnels.get(script) else {
            self.found.push(Difference::new("no tunnel", json(hello)));
            return;
        };
        let recorded_hello = recorded.hello.clone();
        let reply = recorded.steps.first().map(|(_, step)| step.clone());
        if let Some(Step::Ask(reply, _)) = reply {
            let refusal = reply.get("error").and_then(|error| error.get("message"));
            self.hellos.add("hello", "", refusal.and_then(Term::as_str));
        }
        self.compare(&recorded_hello, hello);
        self.tunnels.push(Open {
            conn,
            script,
            at: 0,
            came: Vec::new(),
            count: 0,
            event: 0,
            waiting: None,
            is_gone: false,
        });
    }

    /// Plays one step of a tunnel, if it can be played now.
    pub(super) fn advance(&mut self, at: usize) -> bool {
        let tunnel = &self.tunnels[at];
        let steps = &self.recording.tunnels[tunnel.script].steps;
        let Some((stage, step)) = steps.get(tunnel.at).cloned() else {
            return false;
        };
        if stage > self.stage {
            return false;
        }
        let conn = tunnel.conn;
        let is_played = match step {
            Step::Say(frame) => {
                self.server.say(conn, &frame);
                true
            }
            Step::Ask(message, is_masked) => {
                self.tunnels[at].event = 0;
                let frame = Frame::text(&self.renumbered(message));
                let frame = if is_masked { frame } else { frame.unmasked() };
                self.server.say(conn, &frame);
                true
            }
            Step::Cut => {
                self.server.cut(conn);
                true
            }
            Step::Expect(message) => self.expect(at, &message),
            Step::ExpectPong(payload) => self.expect_said(at, "pong", &Said::Pong(payload)),
            Step::ExpectClose(payload) => self.expect_said(at, "close", &Said::Close(payload)),
            Step::ExpectEnd => self.expect_said(at, "end", &Said::Gone),
        };
        let tunnel = &mut self.tunnels[at];
        if is_played {
            tunnel.at += 1;
            tunnel.waiting = None;
        }
        is_played
    }

    /// A recorded request with our numbers of files and handles.
    fn renumbered(&self, mut message: Term) -> String {
        if let Term::Text(text) = message {
            return text;
        }
        for name in ["node", "h"] {
            if let Some(number) = message.get_mut(name)
                && let Some(ours) = number.as_u64().and_then(|number| self.numbers.get(&number))
            {
                *number = Term::number(*ours);
            }
        }
        json(&message)
    }

    fn expect(&mut self, at: usize, recorded: &Term) -> bool {
        let kind = |message: &Term| message.get("type").cloned();
        let is_wanted = |message: &Term| match recorded.get("tag") {
            Some(tag) if tag.as_u64() != Some(0) => message.get("tag") == Some(tag),
            // An answer whose tag the original lost.
            _ => kind(message) == kind(recorded),
        };
        let tunnel = &mut self.tunnels[at];
        let messages = tunnel.came.iter().enumerate();
        let found = messages.filter_map(|(index, (number, said))| match said {
            Said::Text(text) => Some((index, *number, recording::parse(text).ok()?)),
            _ => None,
        });
        let found = found.into_iter().find(|(_, _, message)| is_wanted(message));
        let name = recorded.message_type().unwrap_or("?");
        let Some((index, number, message)) = found else {
            return self.misses(at, name);
        };
        let tunnel = &mut self.tunnels[at];
        tunnel.came.remove(index);
        if recorded.is_event() {
            tunnel.event = number;
        } else if number < tunnel.event {
            self.found
                .push(Difference::new(format!("events, then {name}"), "events later"));
        }
        self.compare(recorded, &message);
        true
    }

    fn expect_said(&mut self, at: usize, name: &str, wanted: &Said) -> bool {
        let came = &mut self.tunnels[at].came;
        match came.iter().position(|(_, said)| said == wanted) {
            Some(index) => {
                came.remove(index);
                true
            }
            None => self.misses(at, name),
        }
    }

    /// Waits for something that did not come; whether no longer.
    fn misses(&mut self, at: usize, name: &str) -> bool {
        let tunnel = &mut self.tunnels[at];
        let since = *tunnel.waiting.get_or_insert_with(Instant::now);
        let is_over = tunnel.is_gone || since.elapsed() > PATIENCE;
        if is_over {
            let name = format!("tunnel {}: {name}", at + 1);
            self.found.push(Difference::new(name, "nothing"));
        }
        is_over
    }
}
