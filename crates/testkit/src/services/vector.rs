//! Vectors of the original node's services (`*.json`) as scripts.
//!
//! Their format, and the rules for what is compared, are those of the vectors' own README. They show every file before
//! and after each step; a script says only what changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::content::Content;
use super::script::{Action, Change, Event, Placed, Reply, Script, Setup, Step, Thing, Write};
use super::{tree, volatile};
use crate::replay::term::Term;

/// Files in which numbers of the moment stand.
const VOLATILE: [&str; 4] = ["/health.json", "/metrics.json", "/result.json", "/status.json"];

/// EAGAIN: the service was in its pause.
const COOLING_DOWN: i64 = 11;

/// Makes the script of a vector that lies in `folder`.
pub(super) fn script(topic: &str, vector: &Term, folder: &Path) -> Result<Script> {
    let export = member(vector, "export")?;
    let root = member(member(export, "root")?, "low48")?;
    let initial = member(vector, "initial")?;
    let files = files(member(initial, "files")?)?;
    check_tree(initial, &files)?;
    let mut export = value(export)?;
    if let Some(export) = export.as_object_mut() {
        export.remove("root");
    }
    let mut story = Story {
        files: files.clone(),
        grown: BTreeMap::new(),
        has_opened: false,
        actions: vec![Action::Note(text(vector, "about")?)],
    };
    let steps = member(vector, "steps")?.as_list().context("steps are a list")?;
    for (index, step) in steps.iter().enumerate() {
        story
            .step(step)
            .with_context(|| format!("in step {}", index + 1))?;
    }
    let steps = story.actions.into_iter();
    Ok(Script {
        topic: topic.to_owned(),
        setup: setup(vector, &export, folder)?,
        export,
        root: root.as_u64().context("an inode is a number")?,
        files,
        steps: steps.map(|action| Step { line: 0, action }).collect(),
    })
}

/// How the node was started, and with what in its folder.
fn setup(vector: &Term, export: &Value, folder: &Path) -> Result<Setup> {
    let is_head = text(vector, "generation")? == "head";
    let Some(manifest) = vector.get("manifest") else {
        let name = export["name"].as_str().unwrap_or_default();
        let id = name
            .strip_prefix("terminal-")
            .context("neither a manifest nor a terminal")?;
        let mut arguments = vec!["--terminal-id".to_owned(), id.to_owned()];
        if is_head {
            // Our node is told by such an option which generation's words to use.
            arguments.push("--no-fs-venom".to_owned());
        }
        return Ok(Setup {
            arguments,
            placed: Vec::new(),
        });
    };
    let (option, path) = if is_head {
        ("--venom-manifest", "venom.json")
    } else {
        ("--service-manifest", "service.json")
    };
    let file = |mode, path: &str, content: String| Placed {
        path: path.trim_start_matches("./").to_owned(),
        what: Thing::File {
            mode,
            content: Content::from(&*content),
        },
    };
    let mut placed = vec![file(0o644, path, json(manifest))];
    let runtime = member(manifest, "runtime")?;
    let mut names = ["runner_path", "executable_path"].into_iter();
    let program = names.find_map(|name| runtime.get(name)).and_then(Term::as_str);
    if let Some(driver) = vector.get("driver") {
        let program = program.context("a driver without a path")?;
        let driver = driver.as_str().unwrap_or_default().to_owned();
        placed.push(file(0o755, program, driver));
    } else if let Some(name) = program.and_then(|program| program.strip_prefix("./drivers/")) {
        // Vectors of the head generation lie in a folder of their own.
        let shared =
            [folder, folder.parent().unwrap_or(folder)].map(|folder| folder.join("drivers").join(name));
        if let Some(shared) = shared.iter().find(|path| path.is_file()) {
            let driver =
                fs::read_to_string(shared).with_context(|| format!("reading {}", shared.display()))?;
            placed.push(file(0o755, &format!("drivers/{name}"), driver));
        }
    }
    if vector.get("module_wat").is_some() {
        placed.push(Placed {
            path: text(runtime, "module_path")?.trim_start_matches("./").to_owned(),
            what: Thing::Module(text(vector, "module_wat")?),
        });
    }
    Ok(Setup {
        arguments: vec![option.to_owned(), path.to_owned()],
        placed,
    })
}

/// The tree is the same for every service, so scripts do not repeat it.
fn check_tree(initial: &Term, files: &BTreeMap<String, Content>) -> Result<()> {
    let root = ("/", 0, tree::ROOT.0, tree::ROOT.1);
    for (path, inode, mode, links) in tree::NODES.into_iter().chain([root]) {
        let attr = member(member(initial, "attrs")?, path)?;
        let found = ["m", "n", "sz"].map(|name| attr.get(name).and_then(Term::as_u64));
        let size = files.get(path).map_or(0, Content::length);
        ensure!(
            found == [Some(mode), Some(links), Some(size)],
            "{path} has {attr}"
        );
        let number = member(initial, "low48_inode")?.get(path).and_then(Term::as_u64);
        ensure!(inode == 0 || number == Some(inode), "{path} has inode {number:?}");
    }
    Ok(())
}

/// The story so far.
struct Story {
    /// What the files held when they were looked at last.
    files: BTreeMap<String, Content>,
    /// Generation of each file's last event, less its id.
    grown: BTreeMap<String, u64>,
    has_opened: bool,
    actions: Vec<Action>,
}

impl Story {
    fn step(&mut self, step: &Term) -> Result<()> {
        let action = self.action(member(step, "do")?)?;
        let reply = reply(&action, member(step, "reply")?)?;
        if let Some(before) = step.get("before") {
            self.look(before, false)?;
        }
        if let Some(note) = step.get("note").and_then(Term::as_str) {
            self.actions.push(Action::Note(note.to_owned()));
        }
        if self.is_after_cooldown(&action, &reply) {
            self.actions.push(Action::WaitForCooldown);
        }
        self.actions.push(action);
        let events = step.get("events_before_reply").and_then(Term::as_list);
        for event in events.unwrap_or_default() {
            let event = self.event(event)?;
            self.actions.push(Action::Event(event));
        }
        self.actions.push(Action::Reply(reply));
        if let Some(after) = step.get("after") {
            self.look(after, true)?;
        }
        Ok(())
    }

    fn action(&mut self, request: &Term) -> Result<Action> {
        let operation = text(request, "op")?;
        if let Some(path) = request.get("path") {
            let number = |name| request.get(name).and_then(Term::as_u64).context("a number");
            return Ok(Action::Write(Write {
                path: path.as_str().context("a path")?.to_owned(),
                truncate: request.get("truncate_first") == Some(&Term::Bool(true)),
                keep: false,
                flags: number("open_flags")?,
                offset: number("offset")?,
                data: content(member(request, "data")?)?,
            }));
        }
        let node = request.get("node").and_then(Term::as_str).map(str::to_owned);
        match (&*operation, &node) {
            ("open", _) => self.has_opened = true,
            ("rename", _) | (_, Some(_)) => {}
            // The handle of the last write was kept for this.
            _ if !self.has_opened => {
                let writes = self.actions.iter_mut().rev();
                let mut writes = writes.filter_map(|action| match action {
                    Action::Write(write) => Some(write),
                    _ => None,
                });
                writes.next().context("a handle that nobody opened")?.keep = true;
            }
            _ => {}
        }
        let payload = value(member(request, "payload")?)?;
        if let ("create", Some(parent), Some(name)) = (&*operation, &node, payload["name"].as_str()) {
            self.grown.remove(&format!("{parent}{name}"));
        }
        Ok(Action::Request {
            operation,
            node,
            payload,
        })
    }

    /// Whether the original can only have done this when the pause was over.
    fn is_after_cooldown(&self, action: &Action, reply: &Reply) -> bool {
        let was_refused = matches!(reply, Reply::Refused { errno, .. } if *errno == COOLING_DOWN);
        let health = self.files.get("/health.json").and_then(Content::text);
        let is_paused = health.is_some_and(|health| health.contains("\"cooldown_until_ms\":@"));
        let needs_its_end = match action {
            Action::Write(write) => write.path == "/control/invoke.json",
            Action::Request { operation, .. } => operation == "getattr",
            _ => false,
        };
        is_paused && needs_its_end && !was_refused
    }

    fn event(&mut self, event: &Term) -> Result<Event> {
        match &*text(event, "event")? {
            "inval_dir" => Ok(Event::Directory(text(event, "dir")?)),
            "inval" => {
                let path = text(event, "file")?;
                let generation = event.get("gen_minus_id").and_then(Term::as_u64);
                let before = self.grown.get(&path).copied().unwrap_or(0);
                let grown = generation.map(|generation| generation.checked_sub(before));
                if let Some(generation) = generation {
                    self.grown.insert(path.clone(), generation);
                }
                let is_new = path.starts_with('(');
                Ok(Event::File {
                    path: if is_new { "(new)".to_owned() } else { path },
                    what: text(event, "what")?,
                    grown: grown
                        .map(|grown| grown.context("a generation that shrank"))
                        .transpose()?,
                })
            }
            other => bail!("unknown event {other}"),
        }
    }

    /// All files were read; a look that shows nothing new may be left out.
    fn look(&mut self, found: &Term, is_needed: bool) -> Result<()> {
        let found = files(found)?;
        let mut changes = Vec::new();
        for (path, new) in &found {
            match self.files.get(path) {
                Some(old) if old == new => {}
                old => changes.push(change(path, old, new)),
            }
        }
        let gone = self.files.keys().filter(|path| !found.contains_key(*path));
        changes.extend(gone.cloned().map(Change::Gone));
        if is_needed || !changes.is_empty() {
            self.actions.push(Action::Look(changes));
        }
        self.files = found;
        Ok(())
    }
}

fn change(path: &str, old: Option<&Content>, new: &Content) -> Change {
    let texts = old.and_then(Content::text).zip(new.text());
    let members = texts.and_then(|(old, new)| volatile::changes(old, new));
    match members {
        Some(members) => Change::Members(path.to_owned(), members),
        None => Change::Is(path.to_owned(), new.clone()),
    }
}

fn reply(action: &Action, reply: &Term) -> Result<Reply> {
    let reply = value(reply)?;
    if let Some(names) = reply["names"].as_array() {
        let names = names.iter().map(|name| name.as_str().map(str::to_owned));
        return Ok(Reply::Page {
            names: names.collect::<Option<_>>().context("names are strings")?,
            next: reply["next"].as_u64().context("a cookie")?,
            eof: reply["eof"].as_bool().context("eof")?,
        });
    }
    if reply["ok"] == false {
        return Ok(Reply::Refused {
            errno: reply["errno"].as_i64().context("an errno")?,
            message: reply["message"].as_str().context("a message")?.to_owned(),
        });
    }
    let mut payload = reply["payload"].clone();
    if let Some(generation) = payload.get_mut("gen") {
        *generation = Value::from("(gen)");
    }
    let is_getattr = matches!(action, Action::Request { operation, .. } if operation == "getattr");
    if let (true, Some(size)) = (is_getattr, payload.pointer_mut("/attr/sz")) {
        *size = Value::from("(size)");
    }
    Ok(Reply::Done(payload))
}

fn files(object: &Term) -> Result<BTreeMap<String, Content>> {
    let Term::Object(members) = object else {
        bail!("files are an object")
    };
    let file = |(path, found): &(String, Term)| Ok((path.clone(), masked(path, content(found)?)));
    members.iter().map(file).collect()
}

/// What a file holds, numbers of the moment masked.
pub(super) fn masked(path: &str, content: Content) -> Content {
    match content.text() {
        Some(text) if VOLATILE.contains(&path) => Content::from(&*volatile::mask(text)),
        _ => content,
    }
}

/// Text, or bytes that are no text, or a digest.
pub(super) fn content(term: &Term) -> Result<Content> {
    if let Some(text) = term.as_str() {
        return Ok(Content::from(text));
    }
    if let Some(base64) = term.get("b64").and_then(Term::as_str) {
        return Ok(Content::Bytes(base64_simd::STANDARD.decode_to_vec(base64)?));
    }
    Ok(Content::Digest {
        length: member(term, "length")?.as_u64().context("a length is a number")?,
        sha256: text(term, "sha256")?,
    })
}

pub(super) fn member<'a>(object: &'a Term, name: &str) -> Result<&'a Term> {
    object.get(name).with_context(|| format!("{name:?} is missing"))
}

pub(super) fn text(object: &Term, name: &str) -> Result<String> {
    let text = member(object, name)?.as_str();
    Ok(text.with_context(|| format!("{name:?} is no string"))?.to_owned())
}

/// The same as a JSON value, which does not keep the order of members.
pub(super) fn value(term: &Term) -> Result<Value> {
    Ok(serde_json::from_str(&json(term))?)
}

/// The same as JSON text, in the order of the vector.
pub(super) fn json(term: &Term) -> String {
    let string = |text: &str| Value::from(text).to_string();
    match term {
        Term::Text(text) => string(text),
        Term::List(items) => format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(",")),
        Term::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| format!("{}:{}", string(name), json(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        constant => constant.to_string(),
    }
}
