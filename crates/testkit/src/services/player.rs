//! Plays the script of a service against a node that already listens.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::content::Content;
use super::script::{Action, Change, Event, Reply, Script, Step, Write};
use super::{golden, relations, tree, vector, volatile};
use crate::raw_peer::RawPeer;
use crate::replay::Difference;

/// How long a driver may take: more than the longest deadline in a script.
const REPLY_LIMIT: Duration = Duration::from_secs(20);

/// The longest pause a script may wait for.
const COOLDOWN_LIMIT: Duration = Duration::from_secs(10);

/// Longer texts are cut in messages.
const SHOWN: usize = 700;

/// Plays `script` and returns where the node differs.
pub(super) fn play(script: &Script, addr: SocketAddr) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut report = |line, step: String, found: String| {
        differences.push(Difference {
            topic: script.topic.clone(),
            line,
            step,
            found,
        });
    };
    let mut player = match Player::start(script, addr) {
        Ok((player, problems)) => {
            for problem in problems {
                report(0, "the tree at the start".to_owned(), problem);
            }
            player
        }
        Err(error) => {
            report(0, "the tree at the start".to_owned(), format!("{error:#}"));
            return differences;
        }
    };
    let mut latest = String::new();
    for Step { line, action } in &script.steps {
        if matches!(action, Action::Write(_) | Action::Request { .. }) {
            latest = golden::print_action(action);
        }
        let outcome = player.step(action);
        let is_lost = outcome.is_err();
        for problem in outcome.unwrap_or_else(|error| vec![format!("{error:#}")]) {
            let step = golden::print_action(action);
            let step = step.lines().next().unwrap_or_default();
            report(*line, format!("{step} (after {latest:.100})"), problem);
        }
        if is_lost {
            break;
        }
    }
    differences
}

struct Player {
    peer: RawPeer,
    root: u64,
    /// Ids by path.
    ids: HashMap<String, u64>,
    /// What the files must hold.
    files: BTreeMap<String, Content>,
    /// What some of them really hold.
    raw: BTreeMap<String, Vec<u8>>,
    /// Generations as events told them.
    generations: HashMap<u64, u64>,
    /// The same when an event was compared last.
    compared: HashMap<u64, u64>,
    kept_handle: Value,
    /// The node the latest request was about.
    node: Option<u64>,
    /// The file the latest request made, if it is answered with success.
    made: Option<String>,
    /// What came before the latest reply, and the reply.
    events: VecDeque<Value>,
    reply: Value,
}

/// What differs; an error when nothing that follows could make sense.
type Outcome = Result<Vec<String>>;

impl Player {
    fn start(script: &Script, addr: SocketAddr) -> Result<(Self, Vec<String>)> {
        let mut peer = RawPeer::hello(addr)?;
        let mut problems = Vec::new();
        let name = &script.export["name"];
        let mut exports = tree::ask(&mut peer, "exports", json!({"payload": {}}))?;
        let exports = exports["exports"].as_array_mut().context("exports")?;
        let export = exports.iter_mut().find(|export| export["name"] == *name);
        let export = export.with_context(|| format!("there is no export {name}"))?;
        let root = export["root"].as_u64().context("a root")?;
        problems.extend(export_differs(&script.export, script.root, export));
        let mut player = Self {
            peer,
            root,
            ids: HashMap::new(),
            files: script.files.clone(),
            raw: BTreeMap::new(),
            generations: HashMap::new(),
            compared: HashMap::new(),
            kept_handle: Value::Null,
            node: None,
            made: None,
            events: VecDeque::new(),
            reply: Value::Null,
        };
        problems.extend(player.look(&[], true)?);
        Ok((player, problems))
    }

    fn step(&mut self, action: &Action) -> Outcome {
        match action {
            Action::Note(_) => Ok(Vec::new()),
            Action::WaitForCooldown => self.wait_for_cooldown(),
            Action::Write(write) => self.write(write),
            Action::Request {
                operation,
                node,
                payload,
            } => self.request(operation, node.as_deref(), payload),
            Action::Event(event) => Ok(self.event(event)),
            Action::Reply(reply) => self.compare_reply(reply),
            Action::Look(changes) => self.look(changes, false),
        }
    }

    /// Sleeps until the instant the node itself told.
    fn wait_for_cooldown(&mut self) -> Outcome {
        let health = self.raw.get("/health.json").context("a health file")?;
        let health: Value = serde_json::from_slice(health)?;
        let until = health["cooldown_until_ms"]
            .as_u64()
            .context("an end of the pause")?;
        let rest = Duration::from_millis((until + 1).saturating_sub(now_ms()?));
        ensure!(rest <= COOLDOWN_LIMIT, "the pause takes {rest:?}");
        thread::sleep(rest);
        Ok(Vec::new())
    }

    fn write(&mut self, write: &Write) -> Outcome {
        let node = self.find(&write.path)?;
        if write.truncate {
            tree::ask(
                &mut self.peer,
                "truncate",
                json!({"node": node, "payload": {"sz": 0}}),
            )?;
        }
        let flags = json!({"flags": write.flags});
        let opened = tree::ask(&mut self.peer, "open", json!({"node": node, "payload": flags}))?;
        let handle = opened["h"].clone();
        self.note_generations();
        let data = base64_simd::STANDARD.encode_to_string(write.data.bytes()?);
        let payload = json!({"off": write.offset, "data_b64": data});
        self.exchange("write", json!({"h": handle, "payload": payload}))?;
        let (events, reply) = (std::mem::take(&mut self.events), self.reply.take());
        if write.keep {
            self.kept_handle = handle;
        } else {
            tree::ask(&mut self.peer, "close", json!({"h": handle, "payload": {}}))?;
            self.note_generations();
        }
        (self.events, self.reply) = (events, reply);
        Ok(Vec::new())
    }

    fn request(&mut self, operation: &str, node: Option<&str>, payload: &Value) -> Outcome {
        let mut payload = payload.clone();
        for value in payload
            .as_object_mut()
            .into_iter()
            .flat_map(|members| members.values_mut())
        {
            if let Some(path) = value.as_str().and_then(|text| text.strip_prefix("id of ")) {
                *value = Value::from(self.find(path)?);
            }
        }
        let name = payload["name"].as_str().filter(|_| operation == "create");
        self.made = node.zip(name).map(|(parent, name)| format!("{parent}{name}"));
        self.node = node.map(|path| self.find(path)).transpose()?;
        let mut request = json!({"payload": payload});
        match self.node {
            Some(node) => request["node"] = Value::from(node),
            None if operation == "rename" => {}
            None => request["h"] = self.kept_handle.clone(),
        }
        self.exchange(operation, request)?;
        if operation == "open" && self.reply["ok"] == true {
            self.kept_handle = self.reply["payload"]["h"].clone();
        }
        Ok(Vec::new())
    }

    /// Sends a request; the events before its reply, and the reply, are what the next lines speak of.
    fn exchange(&mut self, operation: &str, mut request: Value) -> Result<()> {
        self.note_generations();
        request["type"] = json!(format!("acheron.t_fs_{operation}"));
        request["channel"] = json!("acheron");
        // Tags of `RawPeer::request` count up from 1; this one stays apart from them.
        request["tag"] = json!(1 << 30);
        self.peer.send_json(&request)?;
        self.reply = self.peer.reply(REPLY_LIMIT)?;
        ensure!(
            self.reply["tag"] == request["tag"],
            "{} came out of turn",
            self.reply
        );
        self.events = self.note_generations();
        Ok(())
    }

    /// Takes the events that came so far and remembers the generations they told.
    fn note_generations(&mut self) -> VecDeque<Value> {
        let mut events = VecDeque::new();
        while let Some(event) = self.peer.take_event(|_| true) {
            let payload = &event["payload"];
            if let (Some(node), Some(generation)) = (payload["node"].as_u64(), payload["gen"].as_u64()) {
                self.generations.insert(node, generation);
            }
            events.push_back(event);
        }
        events
    }

    fn event(&mut self, want: &Event) -> Vec<String> {
        let Some(event) = self.events.pop_front() else {
            return vec!["the reply came before it".to_owned()];
        };
        let payload = &event["payload"];
        let is_directory = event["type"] == "acheron.e_fs_inval_dir";
        let id = payload[if is_directory { "dir" } else { "node" }]
            .as_u64()
            .unwrap_or(0);
        let path = self.ids.iter().find(|(_, known)| **known == id);
        let path = path.map_or("(new)", |(path, _)| path).to_owned();
        let got = if is_directory {
            Event::Directory(path)
        } else {
            let generation = payload["gen"].as_u64();
            let before = self.compared.get(&id).copied().unwrap_or(id);
            if let Some(generation) = generation {
                self.compared.insert(id, generation);
            }
            Event::File {
                path,
                what: payload["what"].as_str().unwrap_or_default().to_owned(),
                grown: generation.map(|generation| generation.wrapping_sub(before)),
            }
        };
        if got == *want {
            return Vec::new();
        }
        vec![format!("{} came", golden::print_action(&Action::Event(got)))]
    }

    fn compare_reply(&mut self, want: &Reply) -> Outcome {
        let mut problems = Vec::new();
        while let Some(event) = self.events.pop_front() {
            problems.push(format!("before it {} came", event["payload"]));
        }
        let got = self.reply.clone();
        match want {
            Reply::Refused { errno, message } => {
                let error = &got["error"];
                if error["errno"] != *errno || error["message"] != **message {
                    problems.push(format!("the answer was {}", shown(&got.to_string())));
                }
            }
            Reply::Page { names, next, eof } => {
                let page = &got["payload"];
                let entries = page["ents"].as_array().context("entries")?;
                let found: Vec<_> = entries
                    .iter()
                    .filter_map(|entry| entry["name"].as_str())
                    .collect();
                if found != *names || page["next"] != *next || page["eof"] != *eof {
                    problems.push(format!("the page was {found:?} {} {}", page["next"], page["eof"]));
                }
            }
            Reply::Done(payload) => {
                if got["ok"] != true {
                    problems.push(format!("the answer was {}", shown(&got.to_string())));
                }
                self.members("", payload, &got["payload"], &mut problems);
            }
        }
        let id = got["payload"]["attr"]["id"].as_u64();
        self.ids.extend(self.made.take().zip(id));
        Ok(problems)
    }

    /// Members a node adds are fine.
    fn members(&self, at: &str, want: &Value, got: &Value, problems: &mut Vec<String>) {
        let fits = match want {
            Value::Object(members) => {
                for (name, want) in members {
                    self.members(&format!("{at}.{name}"), want, &got[name], problems);
                }
                true
            }
            Value::String(text) if text == "(handle)" || text == "(size)" => got.is_u64(),
            Value::String(text) if text == "(gen)" => {
                let known = self.node.and_then(|node| self.generations.get(&node));
                got.as_u64() == known.copied().or(self.node)
            }
            want => want == got,
        };
        if !fits {
            problems.push(format!("{at} is {got} instead of {want}"));
        }
    }

    /// The id of a path; looked up each time, because a name may come back for another file.
    fn find(&mut self, path: &str) -> Result<u64> {
        let mut id = self.root;
        let mut at = "/".to_owned();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let payload = json!({"name": name});
            let found = tree::ask(&mut self.peer, "lookup", json!({"node": id, "payload": payload}))?;
            id = found["attr"]["id"].as_u64().context("an id")?;
            at.push_str(name);
            if found["attr"]["k"] == 2 {
                at.push('/');
            }
            self.ids.insert(at.clone(), id);
        }
        Ok(id)
    }

    /// Reads all files and compares them with what they must hold after `changes`.
    fn look(&mut self, changes: &[Change], is_start: bool) -> Outcome {
        for change in changes {
            self.apply(change)?;
        }
        let began_ms = now_ms()?;
        let found = tree::walk(&mut self.peer, self.root)?;
        self.note_generations();
        let mut problems = Vec::new();
        self.raw.clear();
        let mut got = BTreeMap::new();
        for (path, found) in found {
            self.ids
                .insert(path.clone(), found.attr["id"].as_u64().context("an id")?);
            if is_start {
                problems.extend(attr_differs(&path, &found));
            }
            if let Some(bytes) = found.content {
                got.insert(path.clone(), vector::masked(&path, Content::Bytes(bytes.clone())));
                self.raw.insert(path, bytes);
            }
        }
        for (path, want) in &self.files {
            match got.get(path) {
                Some(got) if want == got || got.bytes().is_ok_and(|bytes| want.is(bytes)) => {}
                Some(got) => {
                    let short = want.text().zip(got.text());
                    let short = short.and_then(|(want, got)| {
                        Some((volatile::changes(got, want)?, volatile::changes(want, got)?))
                    });
                    let (want, got) = short.unwrap_or_else(|| (want.to_string(), got.to_string()));
                    problems.push(format!(
                        "{path}\nmust be {}\nand  is {}",
                        shown(&want),
                        shown(&got)
                    ));
                }
                None => problems.push(format!("{path} is gone")),
            }
        }
        let extra = got.keys().filter(|path| !self.files.contains_key(*path));
        problems.extend(extra.map(|path| format!("{path} is too much")));
        if problems.is_empty() {
            problems.extend(self.contradictions(began_ms)?);
        } else {
            // Said once; what follows is compared with what there is.
            self.files = got;
        }
        Ok(problems)
    }

    fn apply(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Is(path, content) => {
                self.files.insert(path.clone(), content.clone());
            }
            Change::Members(path, members) => {
                let old = self.files.get(path).and_then(Content::text);
                let new = old.and_then(|old| volatile::apply(old, members));
                let Some(new) = new else {
                    bail!("{path} does not have the members {members}, it is {old:?}")
                };
                self.files.insert(path.clone(), Content::from(&*new));
            }
            Change::Gone(path) => {
                self.files.remove(path);
            }
        }
        Ok(())
    }

    fn contradictions(&self, began_ms: u64) -> Result<Vec<String>> {
        let file = |path| self.raw.get(path).map(Vec::as_slice).context("a file");
        let json = |path| Ok::<Value, anyhow::Error>(serde_json::from_slice(file(path)?)?);
        Ok(relations::contradictions(&relations::Seen {
            status: json("/status.json")?,
            metrics: json("/metrics.json")?,
            health: json("/health.json")?,
            result: file("/result.json")?.len(),
            began_ms: began_ms as i64,
        }))
    }
}

fn now_ms() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64)
}

/// What is wrong with the entry of an export.
pub(super) fn export_differs(want: &Value, root: u64, got: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let inode = got["root"].as_u64().map(|id| id & tree::INODE);
    if inode != Some(root) {
        problems.push(format!("the root's inode is {inode:?} instead of {root}"));
    }
    for (name, want) in want.as_object().into_iter().flatten() {
        if got[name] != *want {
            problems.push(format!("{name} of the export is {} instead of {want}", got[name]));
        }
    }
    problems
}

fn attr_differs(path: &str, found: &tree::Found) -> Option<String> {
    let attr = &found.attr;
    let (mode, links, inode) = if path == "/" {
        (tree::ROOT.0, tree::ROOT.1, None)
    } else {
        let (_, inode, mode, links) = tree::NODES.into_iter().find(|node| node.0 == path)?;
        (mode, links, Some(inode))
    };
    let size = found.content.as_ref().map_or(0, Vec::len);
    let kind = if found.content.is_some() { 1 } else { 2 };
    let id = attr["id"].as_u64();
    let fits = attr["k"] == kind
        && attr["m"] == mode
        && attr["n"] == links
        && attr["sz"] == size
        && attr["gen"] == attr["id"]
        && ["at", "mt", "ct"].iter().all(|name| attr[name] == 0)
        && (inode.is_none() || id.map(|id| id & tree::INODE) == inode);
    (!fits).then(|| format!("{path} has {attr}"))
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}
