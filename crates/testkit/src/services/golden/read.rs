//! Scripts from golden text.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::replay::term::Scanner;
use crate::services::content::Content;
use crate::services::script::{Action, Change, Event, Placed, Reply, Script, Setup, Step, Thing, Write};

pub(super) fn script(text: &str) -> Result<Script> {
    let mut reader = Reader::default();
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with("# ") {
            continue;
        }
        let number = index + 1;
        reader
            .line(number, line)
            .with_context(|| format!("line {number}: {line:.200}"))?;
    }
    Ok(Script {
        topic: reader.topic.context("the line `service NAME` is missing")?,
        setup: reader.setup,
        export: reader.export.context("the line `export {…}` is missing")?,
        root: reader.root.context("the line `root NUMBER` is missing")?,
        files: reader.files,
        steps: reader.steps,
    })
}

#[derive(Default)]
struct Reader {
    topic: Option<String>,
    setup: Setup,
    export: Option<Value>,
    root: Option<u64>,
    files: BTreeMap<String, Content>,
    steps: Vec<Step>,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<()> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(change) = change(verb, rest)? {
            match self.steps.last_mut().map(|step| &mut step.action) {
                Some(Action::Look(changes)) => changes.push(change),
                _ => bail!("a change stands after a look"),
            }
            return Ok(());
        }
        match verb {
            "service" if self.topic.is_none() => self.topic = Some(rest.to_owned()),
            "node" if self.steps.is_empty() => self.setup.arguments = arguments(rest)?,
            "place" if self.steps.is_empty() => self.setup.placed.push(placed(rest)?),
            "export" if self.steps.is_empty() => self.export = Some(json(rest)?),
            "root" if self.steps.is_empty() => self.root = Some(rest.parse()?),
            "file" if self.steps.is_empty() => {
                let (path, content) = path_and(rest)?;
                self.files.insert(path, Content::parse(content)?);
            }
            _ => {
                let action = action(verb, rest)?;
                self.steps.push(Step { line: number, action });
            }
        }
        Ok(())
    }
}

/// The rest of a line `node […]`.
pub(crate) fn arguments(text: &str) -> Result<Vec<String>> {
    serde_json::from_str(text).context("arguments are a list of strings")
}

/// The rest of a line `place …`.
pub(crate) fn placed(text: &str) -> Result<Placed> {
    let (kind, rest) = path_and(text)?;
    let (path, rest) = path_and(rest)?;
    let what = match &*kind {
        "file" => {
            let (mode, content) = path_and(rest)?;
            Thing::File {
                mode: u32::from_str_radix(&mode, 8).context("a mode is octal")?,
                content: Content::parse(content)?,
            }
        }
        "module" => Thing::Module(string(rest)?),
        other => bail!("{other:?} cannot be placed"),
    };
    Ok(Placed { path, what })
}

fn action(verb: &str, rest: &str) -> Result<Action> {
    Ok(match verb {
        "note" => Action::Note(string(rest)?),
        "wait" => {
            ensure!(rest == "cooldown", "nothing but a cooldown is waited for");
            Action::WaitForCooldown
        }
        ">" => {
            let (operation, rest) = path_and(rest)?;
            if operation == "write" && !rest.starts_with('-') {
                Action::Write(write(rest)?)
            } else {
                let (node, payload) = path_and(rest)?;
                Action::Request {
                    operation,
                    node: Some(node).filter(|node| node != "-"),
                    payload: json(payload)?,
                }
            }
        }
        "!" => Action::Event(event(rest)?),
        "<" => Action::Reply(reply(rest)?),
        "look" => {
            ensure!(rest.is_empty(), "changes stand on lines of their own");
            Action::Look(Vec::new())
        }
        _ => bail!("{verb:?} starts no step"),
    })
}

fn write(text: &str) -> Result<Write> {
    let (path, mut rest) = path_and(text)?;
    let mut write = Write {
        path,
        truncate: false,
        keep: false,
        flags: 2,
        offset: 0,
        data: Content::from(""),
    };
    loop {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = match word {
            "truncate" => {
                write.truncate = true;
                after
            }
            "keep" => {
                write.keep = true;
                after
            }
            "flags" | "at" => {
                let (number, after) = path_and(after)?;
                *(if word == "at" {
                    &mut write.offset
                } else {
                    &mut write.flags
                }) = number.parse()?;
                after
            }
            _ => {
                write.data = Content::parse(rest)?;
                return Ok(write);
            }
        };
    }
}

fn event(text: &str) -> Result<Event> {
    let (kind, rest) = path_and(text)?;
    match &*kind {
        "inval_dir" => Ok(Event::Directory(rest.to_owned())),
        "inval" => {
            let (path, rest) = path_and(rest)?;
            let (what, grown) = match rest.split_once(' ') {
                Some((what, grown)) => {
                    let grown = grown.strip_prefix('+').context("a growth starts with +")?;
                    (what, Some(grown.parse()?))
                }
                None => (rest, None),
            };
            let what = what.to_owned();
            Ok(Event::File { path, what, grown })
        }
        other => bail!("{other:?} is no event"),
    }
}

fn reply(text: &str) -> Result<Reply> {
    let (kind, rest) = path_and(text)?;
    Ok(match &*kind {
        "ok" => Reply::Done(json(rest)?),
        "error" => {
            let (errno, message) = path_and(rest)?;
            Reply::Refused {
                errno: errno.parse()?,
                message: string(message)?,
            }
        }
        "page" => {
            let (names, place) = rest.rsplit_once("] ").context("names and a place")?;
            let (next, end) = path_and(place)?;
            Reply::Page {
                names: arguments(&format!("{names}]"))?,
                next: next.parse()?,
                eof: match end {
                    "end" => true,
                    "more" => false,
                    _ => bail!("a page says whether it is the end"),
                },
            }
        }
        other => bail!("{other:?} is no reply"),
    })
}

fn change(verb: &str, rest: &str) -> Result<Option<Change>> {
    Ok(Some(match verb {
        "=" => {
            let (path, content) = path_and(rest)?;
            Change::Is(path, Content::parse(content)?)
        }
        "~" => {
            let (path, members) = path_and(rest)?;
            Change::Members(path, members.to_owned())
        }
        "gone" => Change::Gone(rest.to_owned()),
        _ => return Ok(None),
    }))
}

fn path_and(text: &str) -> Result<(String, &str)> {
    let (path, rest) = text.split_once(' ').context("more words were expected")?;
    Ok((path.to_owned(), rest))
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("{text:.80} is not JSON"))
}

fn string(text: &str) -> Result<String> {
    let mut scanner = Scanner::new(text);
    let string = scanner.string()?;
    scanner.end()?;
    Ok(string)
}
