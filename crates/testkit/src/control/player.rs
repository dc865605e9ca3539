//! Plays the server's part of a recording to a node and compares the node's.

mod tunnels;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};

use self::tunnels::Open;
use super::Difference;
use super::compare::{self, Numbers};
use super::differences::known_sequence;
use super::golden;
use super::recording::{self, Act, Ask, Recording, Step, json, operation, refusal};
use super::sequence::{self, Sequence, UPSERT};
use super::server::{Arrival, Said, Server};
use crate::process::{NodeCommand, NodeProcess};
use crate::raw_peer::frame::{self, Frame};
use crate::replay::term::Term;

/// How long nothing may happen before the player stops to wait for what should.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one stage may take with something happening all the time.
const STAGE_LIMIT: Duration = Duration::from_secs(40);
/// How long a node is watched after it did all it should: it may do more.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// How often tunnels are looked after.
const TURN: Duration = Duration::from_millis(20);

/// Plays a recording; `scenario` is how lists of differences call it.
pub(super) fn play(binary: &Path, scenario: &str, text: &str) -> Result<Vec<Difference>> {
    let place = tempfile::Builder::new().prefix("control-").tempdir()?;
    let root = place.path();
    let server = Server::start()?;
    let text = text
        .replace("127.0.0.1:20311", &server.address().to_string())
        .replace("/opt/node/bin/", &format!("{}/", root.display()))
        .replace("/data/", &format!("{}/", root.display()));
    let recording = if golden::is_golden(&text) {
        golden::parse(&text)?
    } else {
        Recording::parse(&text)?
    };
    build(root, &recording)?;
    let mut player = Player {
        expected: Expectations::of(scenario, &recording),
        used: vec![false; recording.asks.len()],
        last: HashMap::new(),
        tunnels: Vec::new(),
        control: Sequence::default(),
        hellos: Sequence::default(),
        numbers: Numbers::new(),
        found: Vec::new(),
        nodes: Vec::new(),
        ends: Vec::new(),
        lease: None,
        stage: 0,
        is_over: false,
        is_starting: false,
        binary: binary.to_owned(),
        root: root.to_owned(),
        recording,
        server,
    };
    player.run().with_context(|| {
        let logs = player.nodes.iter().flatten().map(NodeProcess::log);
        format!("the nodes' logs:\n{}", logs.collect::<Vec<_>>().join("\n--\n"))
    })?;
    Ok(player.found)
}

/// Builds the folder behind the node and, where the recording starts with one, the state file.
fn build(root: &Path, recording: &Recording) -> Result<()> {
    fs::create_dir(root.join("export"))?;
    fs::create_dir(root.join("services.d"))?;
    fs::write(root.join("export/hello.txt"), "hello\n")?;
    let is_asked_for = |step: &Step| matches!(step, Step::Ask(ask, _) if json(ask).contains("big.bin"));
    let mut steps = recording.tunnels.iter().flat_map(|tunnel| &tunnel.steps);
    if steps.any(|(_, step)| is_asked_for(step)) {
        let content: Vec<u8> = (0..=u8::MAX).cycle().take(300 * 1024).collect();
        fs::write(root.join("export/big.bin"), content)?;
    }
    // The service of scenario 22 is there from the beginning.
    if let Some(ask) = recording.asks.iter().find(|ask| ask.operation == UPSERT)
        && json(&ask.request).contains("\"echo-main\"")
    {
        let program = root.join("spiderweb-echo-driver");
        fs::write(&program, "#!/bin/sh\ncat\n")?;
        #[cfg(unix)]
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let manifest = format!(
            r#"{{"service_id":"echo-main","kind":"echo","capabilities":{{"invoke":true}},"runtime":{{"type":"native_proc","abi":"namespace-driver-v1","executable_path":{}}}}}"#,
            json(&Term::text(program.display().to_string()))
        );
        fs::write(root.join("services.d/echo.json"), manifest)?;
    }
    if let Some((id, secret)) = recording.identity() {
        let state = format!(
            r#"{{"schema":1,"node_id":"{id}","node_secret":"{secret}","lease_token":"lease-0","lease_expires_at_ms":0,"request_id":null,"node_name":"edge","fs_url":""}}"#
        );
        fs::write(root.join("state.json"), state)?;
    }
    Ok(())
}

/// What the sequences of each stage must be, listed differences taken in.
struct Expectations {
    control: Vec<String>,
    hellos: Vec<String>,
    /// Whether the node goes another way than the recorded one, for which the recording has no answers.
    is_other_way: bool,
}

impl Expectations {
    fn of(scenario: &str, recording: &Recording) -> Self {
        let stages = |what: &str, sequence: &Sequence| {
            let recorded = sequence.print();
            let known = known_sequence(scenario, &format!("{what}: {recorded}"));
            let stages = known.unwrap_or(&recorded).split(" | ").map(str::to_owned);
            (stages.collect(), known.is_some())
        };
        let (control, is_other_way) = stages("control", &recording.control);
        let (hellos, _) = stages("tunnels", &recording.hellos);
        Self {
            control,
            hellos,
            is_other_way,
        }
    }
}

struct Player {
    server: Server,
    recording: Recording,
    expected: Expectations,
    /// Which of the recorded operations were answered.
    used: Vec<bool>,
    /// The last one of each kind.
    last: HashMap<String, usize>,
    tunnels: Vec<Open>,
    control: Sequence,
    hellos: Sequence,
    numbers: Numbers,
    found: Vec<Difference>,
    nodes: Vec<Option<NodeProcess>>,
    /// Exit codes of nodes that were stopped or ended.
    ends: Vec<Option<i64>>,
    /// Token and end of the last lease given.
    lease: Option<(Term, Term)>,
    stage: usize,
    is_over: bool,
    /// Whether the last node that was started has neither dialled nor ended.
    is_starting: bool,
    binary: PathBuf,
    root: PathBuf,
}

impl Player {
    fn run(&mut self) -> Result<()> {
        for stage in 0..self.recording.stages.len() {
            self.stage = stage;
            let acts = self.recording.stages[stage].clone();
            self.control.begin_stage(acts.contains(&Act::Start));
            self.hellos.begin_stage(false);
            for act in acts {
                self.act(act)?;
            }
            let limit = Instant::now() + STAGE_LIMIT;
            let mut patience = Instant::now() + PATIENCE;
            while !self.is_done() && Instant::now() < patience.min(limit) {
                if self.is_starting
                    && let Some(Some(node)) = self.nodes.last_mut()
                {
                    self.is_starting = node.exited()?.is_none();
                }
                if self.turn() {
                    patience = Instant::now() + PATIENCE;
                }
            }
        }
        let end = Instant::now() + AFTERWARDS;
        while Instant::now() < end {
            self.turn();
        }
        self.conclude()
    }

    fn act(&mut self, act: Act) -> Result<()> {
        let state = self.root.join("state.json");
        let manifest = self.root.join("services.d/camera.json");
        match act {
            Act::Start => {
                let arguments = self.recording.nodes.get(self.nodes.len());
                let arguments = arguments.context("a node without arguments")?;
                let node = NodeCommand::new(&self.binary)
                    .directory(&self.root)
                    .arguments(arguments)
                    .launch()?;
                self.nodes.push(Some(node));
                self.is_starting = true;
                self.ends.push(None);
            }
            Act::Stop | Act::Kill => {
                let running = self.nodes.iter().position(Option::is_some);
                let at = running.context("no node to stop")?;
                let mut node = self.nodes[at].take().context("a node that runs")?;
                if act == Act::Stop {
                    node.terminate()?;
                    self.ends[at] = node.wait_exit(PATIENCE)?.code().map(i64::from);
                } else {
                    self.ends[at] = self.recording.exits[at];
                }
            }
            Act::ForgetState => fs::remove_file(state)?,
            Act::ReplaceSecret(secret) => {
                let text = fs::read_to_string(&state)?;
                let known = recording::parse(&text)?;
                let known = known.get("node_secret").and_then(Term::as_str);
                fs::write(state, text.replace(known.context("no secret")?, &secret))?;
            }
            Act::Outage(time) => {
                self.server.go_down();
                thread::sleep(time);
                self.server.come_back();
            }
            Act::Manifest(Some(version)) => {
                // Members of both generations; each reads its own.
                let text = format!(
                    r#"{{"service_id":"camera-main","package_id":"terminal","kind":"camera","version":"{version}","help_md":"Camera"}}"#
                );
                fs::write(self.root.join("new"), text)?;
                fs::rename(self.root.join("new"), manifest)?;
            }
            Act::Manifest(None) => fs::remove_file(manifest)?,
        }
        Ok(())
    }

    /// Whether everything of this stage happened.
    fn is_done(&self) -> bool {
        let is_played = |tunnel: &Open| {
            let steps = &self.recording.tunnels[tunnel.script].steps;
            steps.get(tunnel.at).is_none_or(|(stage, _)| *stage > self.stage)
        };
        let expected = |stages: &[String]| stages.get(self.stage).cloned().unwrap_or_default();
        !self.is_starting
            && self.control.stage(self.stage) == expected(&self.expected.control)
            && self.hellos.stage(self.stage) == expected(&self.expected.hellos)
            && self.tunnels.iter().all(is_played)
    }

    /// Takes what came and looks after the tunnels. Whether anything came.
    fn turn(&mut self) -> bool {
        let arrival = self.server.next(TURN);
        let has_come = arrival.is_some();
        if let Some(arrival) = arrival {
            self.take(arrival);
        }
        for at in 0..self.tunnels.len() {
            while self.advance(at) {}
        }
        has_come
    }

    fn take(&mut self, Arrival { conn, said }: Arrival) {
        if let Some(tunnel) = self.tunnels.iter_mut().find(|tunnel| tunnel.conn == conn) {
            tunnel.is_gone |= said == Said::Gone;
            tunnel.count += 1;
            tunnel.came.push((tunnel.count, said));
            return;
        }
        match said {
            Said::Head(head) => {
                self.is_starting = false;
                self.compare_head(&head);
            }
            Said::Text(text) => match recording::parse(&text) {
                Ok(message) if operation(&message).is_some() => self.answer(conn, &message),
                Ok(message) => self.open_tunnel(conn, &message),
                Err(_) => self.found.push(Difference::new("JSON", text)),
            },
            Said::Pong(_) | Said::Close(_) | Said::Gone => {}
        }
    }

    fn compare_head(&mut self, head: &str) {
        let same = |recorded: &&String| recorded.lines().next() == head.lines().next();
        let Some(recorded) = self.recording.heads.iter().find(same) else {
            let line = head.lines().next().unwrap_or_default();
            self.found.push(Difference::new("no such upgrade", line));
            return;
        };
        let lines = |head: &str| {
            let lines = head.lines().map(|line| match line.split_once("-Key: ") {
                Some((name, _)) => format!("{name}-Key"),
                None => line.to_owned(),
            });
            lines.collect::<Vec<_>>().join(", ")
        };
        if lines(recorded) != lines(head) {
            self.found.push(Difference::new(lines(recorded), lines(head)));
        }
    }

    /// Answers a control operation as the recording does.
    fn answer(&mut self, conn: usize, message: &Term) {
        let name = operation(message).unwrap_or_default();
        if matches!(name, "version" | "connect") {
            let same = |(asked, _): &&(Term, Term)| operation(asked) == Some(name);
            let Some((asked, reply)) = self.recording.handshake.iter().find(same).cloned() else {
                return;
            };
            if let Some(code) = refusal(&reply) {
                self.control.add(name, "", Some(code));
            }
            self.compare(&asked, message);
            self.reply(conn, message, &reply);
            if operation(&reply).is_none() {
                let close = Frame::new(frame::CLOSE, []).unmasked();
                self.server.say(conn, &close);
                self.server.cut(conn);
            }
            return;
        }
        let short = sequence::short(name);
        let payload = json(message.get("payload").unwrap_or(&Term::Null));
        let Some(at) = self.choose(short, message, &payload) else {
            self.control.add(short, &payload, Some("unknown"));
            self.found.push(Difference::new("no such operation", name));
            return;
        };
        let Ask { request, reply, .. } = self.recording.asks[at].clone();
        self.control.add(short, &payload, refusal(&reply));
        self.compare(&request, message);
        let is_last = self.stage + 1 == self.recording.stages.len();
        self.is_over |= self.expected.is_other_way && is_last && self.is_done();
        if !self.is_over {
            self.reply(conn, message, &reply);
        }
    }

    /// The recorded operation to answer with: the next one of this stage, or the last one again.
    ///
    /// Of catalogs the one that says what ours says: the original publishes before it looked at its services, ours may
    /// have looked already.
    fn choose(&mut self, operation: &str, message: &Term, payload: &str) -> Option<usize> {
        let last = self.last.get(operation).copied();
        let is_repeated = operation == UPSERT && self.control.is_known_catalog(payload);
        let asks = self.recording.asks.iter().enumerate();
        let mut open = asks.filter(|(at, ask)| ask.operation == operation && !self.used[*at]);
        let has_tunnel = self.hellos.has_begun(self.stage);
        let is_due = |ask: &Ask| ask.stage == self.stage && (has_tunnel || !ask.is_after_hello);
        let mut of_stage = open.clone().filter(|(_, ask)| is_due(ask));
        let is_same = |(_, ask): &(usize, &Ask)| {
            operation != UPSERT || self.differences(&ask.request, message).is_empty()
        };
        let next = of_stage.clone().find(is_same).or_else(|| of_stage.next());
        let at = match (next, last) {
            (Some(_), Some(last)) if is_repeated => last,
            (Some((at, _)), _) => at,
            (None, Some(last)) => last,
            (None, None) => open.next()?.0,
        };
        self.used[at] = true;
        self.last.insert(operation.to_owned(), at);
        Some(at)
    }

    fn compare(&mut self, recorded: &Term, ours: &Term) {
        let mut numbers = std::mem::take(&mut self.numbers);
        self.found.extend(differences(recorded, ours, &mut numbers));
        self.numbers = numbers;
    }

    fn differences(&self, recorded: &Term, ours: &Term) -> Vec<Difference> {
        differences(recorded, ours, &mut self.numbers.clone())
    }

    fn reply(&mut self, conn: usize, message: &Term, reply: &Term) {
        let mut reply = reply.clone();
        if let (Some(id), Some(asked)) = (reply.get_mut("id"), message.get("id")) {
            *id = asked.clone();
        }
        let asked = message.get("id").cloned();
        if let (Some(error), Some(asked)) = (reply.get_mut("error"), asked)
            && let Some(id) = error.get_mut("correlation_id")
        {
            *id = asked;
        }
        if let Some(payload) = reply.get_mut("payload") {
            let asked = message
                .get("payload")
                .and_then(|payload| payload.get("lease_ttl_ms"));
            let lifetime = asked.and_then(Term::as_u64);
            if let (Some(end), Some(lifetime)) = (payload.get_mut("lease_expires_at_ms"), lifetime) {
                let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
                *end = Term::number(now.as_millis() as u64 + lifetime);
            }
            if let Some(token) = payload.get("lease_token") {
                let end = payload.get("lease_expires_at_ms");
                self.lease = Some((token.clone(), end.cloned().unwrap_or(Term::number(0))));
            }
        }
        self.server.say(conn, &Frame::text(&json(&reply)).unmasked());
    }

    /// Compares what is left when everything was played.
    fn conclude(&mut self) -> Result<()> {
        for (what, recorded, ours) in [
            ("control", self.recording.control.print(), self.control.print()),
            ("tunnels", self.recording.hellos.print(), self.hellos.print()),
        ] {
            if recorded != ours {
                self.found
                    .push(Difference::new(format!("{what}: {recorded}"), ours));
            }
        }
        let (recorded, ours) = (
            self.recording.control.repeated_catalogs(),
            self.control.repeated_catalogs(),
        );
        if ours > recorded {
            let times = |count: usize| format!("{count} repeated catalogs");
            self.found.push(Difference::new(times(recorded), times(ours)));
        }
        for (at, tunnel) in self.tunnels.iter().enumerate() {
            for (_, said) in &tunnel.came {
                let Said::Text(text) = said else { continue };
                let message = recording::parse(text)?;
                // A folder is watched here, so there may be more of these.
                if !message.is_event() {
                    let name = message.message_type().unwrap_or("?");
                    let error = message.get("error").map(json).unwrap_or_default();
                    let nothing = format!("tunnel {}: nothing", at + 1);
                    self.found
                        .push(Difference::new(nothing, format!("{name} {error}").trim_end()));
                }
            }
        }
        self.compare_state()?;
        self.compare_exits()
    }

    fn compare_state(&mut self) -> Result<()> {
        let Some(mut recorded) = self.recording.final_state.clone() else {
            return Ok(());
        };
        let is_leased = recorded
            .get("lease_token")
            .is_some_and(|token| *token != Term::Null);
        if let (true, Some((token, end))) = (is_leased, self.lease.clone()) {
            for (name, value) in [("lease_token", token), ("lease_expires_at_ms", end)] {
                if let Some(member) = recorded.get_mut(name) {
                    *member = value;
                }
            }
        }
        let path = self.root.join("state.json");
        let ours = fs::read_to_string(&path).context("reading the state file")?;
        compare::compare(
            "state",
            &recorded,
            &recording::parse(&ours)?,
            &mut self.numbers,
            &mut self.found,
        );
        Ok(())
    }

    fn compare_exits(&mut self) -> Result<()> {
        for (at, recorded) in self.recording.exits.iter().enumerate() {
            let ours = match self.nodes.get_mut(at) {
                Some(Some(node)) => node.exited()?.map(|status| status.code().unwrap_or(-1).into()),
                _ => self.ends.get(at).copied().flatten(),
            };
            if *recorded != ours {
                let words = |end: Option<i64>| match end {
                    Some(code) => format!("exit {code}"),
                    None => "runs".to_owned(),
                };
                let recorded = format!("node {}: {}", at + 1, words(*recorded));
                self.found.push(Difference::new(recorded, words(ours)));
            }
        }
        Ok(())
    }
}

/// A recorded message against ours.
fn differences(recorded: &Term, ours: &Term, numbers: &mut Numbers) -> Vec<Difference> {
    let kind = ours.get("type").and_then(Term::as_str).unwrap_or_default();
    let at = kind.split_once('.').map_or(kind, |(_, name)| name);
    let mut ours = ours.clone();
    // Ours are unique.
    if let (Some(id), Some(recorded)) = (ours.get_mut("id"), recorded.get("id"))
        && id.as_str().is_some()
    {
        *id = recorded.clone();
    }
    let mut found = Vec::new();
    compare::compare(at, recorded, &ours, numbers, &mut found);
    found
}
