//! Recordings of the original node (`*.jsonl`) as scripts.
//!
//! Their line format and the rules for what is compared are those of the recordings' own README. The rules
//! are applied here, once: what varies becomes a wildcard, what the node chooses becomes a symbol, and from
//! then on a comparison needs no knowledge of fields.
//!
//! Lines marked `watch` came from the original's tree scanner; they are left out.

mod symbols;

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use base64_simd::STANDARD;

use self::symbols::Symbols;
use super::script::{
    Action, DiskChange, DiskObject, DiskState, HttpOutcome, Incoming, Outgoing, Script, Setup, Step,
    TreeEntry, TreeKind,
};
use super::term::{Attr, Scanner, Term, Wildcard};

/// The file name extension of recordings.
pub const EXTENSION: &str = "jsonl";

/// Members that hold a number of the node's choice.
const LEARNED: [&str; 5] = ["root", "id", "h", "node", "dir"];

/// Members that hold times, versions or figures of the filesystem.
const VOLATILE: [&str; 13] = [
    "at", "mt", "ct", "gen", "dir_gen", "bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree",
    "favail",
];

/// The members of an attribute object.
const ATTRIBUTES: [&str; 11] = ["id", "k", "m", "n", "u", "g", "sz", "at", "mt", "ct", "gen"];

/// Type bits of `st_mode`, with the `k` that goes with them.
const FILE_TYPE: (u64, u64) = (0o100_000, 1);
const DIRECTORY_TYPE: (u64, u64) = (0o040_000, 2);

/// Topics whose pages depend on the order of a directory, so that only their lengths are stable.
const PAGING: [&str; 3] = ["readdir_paging", "readdir_128_default", "dev_paging_duplicates"];

/// Reads a recording as the original played it.
pub fn read(path: &Path) -> Result<Script> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    parse(&text).with_context(|| format!("in {}", path.display()))
}

/// Reads the text of a recording.
pub fn parse(text: &str) -> Result<Script> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut scanner = Scanner::new(line);
        let term = scanner.term().and_then(|term| scanner.end().map(|()| term));
        lines.push(term.with_context(|| format!("line {}", index + 1))?);
    }
    let (first, lines) = lines.split_first().context("a recording starts with its setup")?;
    let setup = first.get("setup").context("a recording starts with its setup")?;
    let topic = string(setup, "topic")?;
    let mut reader = Reader {
        symbols: Symbols::default(),
        is_paging: PAGING.contains(&&*topic),
    };
    let mut steps: Vec<Step> = ["note", "deviation"]
        .iter()
        .filter_map(|name| setup.get(name)?.as_str())
        .map(|text| Step {
            line: 1,
            action: Action::Note(text.to_owned()),
        })
        .collect();
    for (index, line) in lines.iter().enumerate() {
        let number = index + 2;
        let action = reader
            .action(line, &lines[index + 1..])
            .with_context(|| format!("line {number}"))?;
        steps.extend(action.map(|action| Step { line: number, action }));
    }
    Ok(Script {
        topic,
        setup: read_setup(setup).context("in the setup")?,
        steps,
    })
}

struct Reader {
    symbols: Symbols,
    is_paging: bool,
}

impl Reader {
    fn action(&mut self, line: &Term, following: &[Term]) -> Result<Option<Action>> {
        let conn = line.get("conn").and_then(Term::as_u64).unwrap_or(0) as u32;
        Ok(Some(match &*string(line, "dir")? {
            "s2c" if line.get("watch") == Some(&Term::Bool(true)) => return Ok(None),
            "s2c" => Action::Expect {
                conn,
                what: self.incoming(conn, line)?,
            },
            "c2s" => Action::Send {
                conn,
                what: self.outgoing(conn, line, following)?,
            },
            "open" => Action::Open {
                conn,
                path: string(line, "path")?,
            },
            "close" => Action::Drop { conn },
            "http" => self.http(line)?,
            "local" => {
                let change = disk_change(line)?;
                if matches!(change, DiskChange::Unlink(_) | DiskChange::Rmtree(_)) {
                    self.symbols.forget_all();
                }
                Action::Disk(change)
            }
            "check" => Action::Check(disk_state(line)?),
            "note" => Action::Note(string(line, "text")?),
            other => bail!("unknown kind of line {other:?}"),
        }))
    }

    fn outgoing(&mut self, conn: u32, line: &Term, following: &[Term]) -> Result<Outgoing> {
        if let Some(text) = line.get("text") {
            return Ok(Outgoing::Text(
                text.as_str().context("text is a string")?.to_owned(),
            ));
        }
        if let Some(ws) = line.get("ws") {
            return Ok(Outgoing::Frame {
                opcode: number(ws, "opcode")? as u8,
                payload: base64(ws, "payload_b64")?,
                fin: ws.get("fin").is_none_or(|fin| fin.as_u64() == Some(1)),
                mask: ws.get("mask").is_none_or(|mask| *mask == Term::Bool(true)),
                rsv: ws.get("rsv").and_then(Term::as_u64).unwrap_or(0) as u8,
            });
        }
        let message = line.get("frame").context("a line that sends nothing")?;
        self.symbols.request(conn, message, following);
        let mut message = with_base64(message.clone());
        for (name, is_handle) in [("node", false), ("h", true)] {
            self.translate(message.get_mut(name), is_handle);
        }
        if let Some(payload) = message.get_mut("payload") {
            for name in ["old_parent", "new_parent", "node"] {
                self.translate(payload.get_mut(name), false);
            }
        }
        Ok(Outgoing::Message(message))
    }

    /// Writes the symbol of a number that was learned; any other number is sent as recorded.
    fn translate(&self, value: Option<&mut Term>, is_handle: bool) {
        let Some(value) = value else { return };
        if let Some(symbol) = value
            .as_u64()
            .and_then(|number| self.symbols.known(number, is_handle))
        {
            *value = Term::Symbol(symbol);
        }
    }

    fn incoming(&mut self, conn: u32, line: &Term) -> Result<Incoming> {
        if line.get("eof") == Some(&Term::Bool(true)) {
            return Ok(Incoming::End);
        }
        if let Some(ws) = line.get("ws") {
            return Ok(Incoming::Frame {
                opcode: number(ws, "opcode")? as u8,
                payload: base64(ws, "payload_b64")?,
            });
        }
        let message = line.get("frame").context("a line that expects nothing")?;
        self.symbols.reply(conn, message);
        Ok(Incoming::Message(self.pattern(None, message, None)))
    }

    fn http(&mut self, line: &Term) -> Result<Action> {
        let upgraded = line.get("status").and_then(Term::as_u64) == Some(101);
        let closed = line.get("closed") == Some(&Term::Bool(true));
        let outcome = match (line.get("note"), upgraded, closed) {
            (Some(_), ..) => HttpOutcome::Unchecked,
            (None, true, false) => HttpOutcome::Upgraded {
                accept: string(line, "accept")?,
            },
            (None, true, true) => HttpOutcome::UpgradedThenEnded {
                accept: string(line, "accept")?,
                message: self.pattern(None, line.get("first_frame").context("no first frame")?, None),
            },
            (None, false, true) => HttpOutcome::Refused,
            (None, false, false) => bail!("a refused upgrade that leaves the connection open"),
        };
        Ok(Action::Http {
            request: string(line, "request")?,
            outcome,
        })
    }

    /// What must be matched where the original sent `value` as the member `key` of an entry called `entry`.
    fn pattern(&mut self, key: Option<&str>, value: &Term, entry: Option<&str>) -> Term {
        let key = key.unwrap_or_default();
        match value {
            Term::Number(_) if LEARNED.contains(&key) => value.as_u64().map_or_else(
                || value.clone(),
                |number| Term::Symbol(self.symbols.learn(number, key == "h", entry)),
            ),
            Term::Number(_) if VOLATILE.contains(&key) => Term::Any(Wildcard::Natural),
            Term::Text(text) if key.ends_with("_b64") => base64_or(text, value),
            Term::List(entries) if key == "ents" && self.is_paging => Term::Page(entries.len()),
            Term::List(entries) if key == "ents" => self.entries(entries),
            Term::List(names) if key == "names" => {
                Term::Names(names.iter().filter_map(Term::as_str).map(str::to_owned).collect())
            }
            Term::List(items) => {
                Term::List(items.iter().map(|item| self.pattern(None, item, None)).collect())
            }
            Term::Object(members) => self.attr(value, entry).unwrap_or_else(|| {
                let name = value.get("name").and_then(Term::as_str).or(entry);
                let members = members
                    .iter()
                    .map(|(key, value)| (key.clone(), self.pattern(Some(key), value, name)));
                Term::Object(members.collect())
            }),
            _ => value.clone(),
        }
    }

    fn entries(&mut self, entries: &[Term]) -> Term {
        let mut pattern = Vec::new();
        for entry in entries {
            let name = entry.get("name").and_then(Term::as_str).unwrap_or_default();
            let attr = entry.get("attr").unwrap_or(&Term::Null);
            pattern.push((name.to_owned(), self.pattern(None, attr, Some(name))));
        }
        pattern.sort_by(|one, other| one.0.cmp(&other.0));
        Term::Entries(pattern)
    }

    fn attr(&mut self, value: &Term, entry: Option<&str>) -> Option<Term> {
        let Term::Object(members) = value else { return None };
        if members.len() != ATTRIBUTES.len() || !ATTRIBUTES.iter().all(|name| value.get(name).is_some()) {
            return None;
        }
        let field = |name| value.get(name).and_then(Term::as_u64);
        let (mode, kind) = (field("m")?, field("k")?);
        let size = match (mode & 0o170_000, kind) {
            FILE_TYPE => Some(field("sz")?),
            DIRECTORY_TYPE => None,
            _ => return None,
        };
        let id = Box::new(Term::Symbol(self.symbols.learn(field("id")?, false, entry)));
        Some(Term::Attr(Attr {
            id,
            mode: mode as u32 & 0o7777,
            size,
        }))
    }
}

fn read_setup(setup: &Term) -> Result<Setup> {
    let flags = setup
        .get("flags")
        .and_then(Term::as_list)
        .context("no flags: not recorded from a command line")?;
    let flags: Option<Vec<&str>> = flags.iter().map(Term::as_str).collect();
    let flags = flags.context("flags are strings")?;
    let ["--port", "$PORT", arguments @ ..] = &*flags else {
        bail!("flags start with the port")
    };
    ensure!(
        setup.get("umask").and_then(Term::as_str) == Some("0022"),
        "another umask than 0022"
    );
    let Some(Term::Object(env)) = setup.get("env") else {
        bail!("env is an object")
    };
    let variables: Option<Vec<_>> = env
        .iter()
        .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    let tree = setup.get("tree").and_then(Term::as_list).context("no tree")?;
    Ok(Setup {
        arguments: arguments.iter().map(ToString::to_string).collect(),
        variables: variables.context("variables are strings")?,
        tree: tree.iter().map(tree_entry).collect::<Result<_>>()?,
    })
}

fn tree_entry(entry: &Term) -> Result<TreeEntry> {
    let kind = match &*string(entry, "type")? {
        "dir" => TreeKind::Directory,
        "symlink" => TreeKind::Symlink(string(entry, "target")?),
        "hardlink" => TreeKind::Hardlink(string(entry, "of")?),
        "file" => match entry.get("fill").map(Term::as_list) {
            Some(Some([byte, count])) => {
                let byte = byte
                    .as_u64()
                    .and_then(|byte| u8::try_from(byte).ok())
                    .context("a byte")?;
                TreeKind::File(vec![byte; count.as_u64().context("a count")? as usize])
            }
            Some(_) => bail!("fill is a byte and a count"),
            None => TreeKind::File(string(entry, "content")?.into_bytes()),
        },
        other => bail!("a tree has no {other:?}"),
    };
    let mut xattrs = Vec::new();
    if let Some(Term::Object(members)) = entry.get("xattr") {
        for (name, value) in members {
            xattrs.push((
                name.clone(),
                value.as_str().context("xattr values are strings")?.to_owned(),
            ));
        }
    }
    let mode = entry.get("mode").map(|_| mode(entry)).transpose()?;
    Ok(TreeEntry {
        path: string(entry, "path")?,
        kind,
        mode,
        xattrs,
    })
}

fn disk_change(line: &Term) -> Result<DiskChange> {
    let path = string(line, "path")?;
    Ok(match &*string(line, "do")? {
        "write" => DiskChange::Write(path, string(line, "content")?),
        "append" => DiskChange::Append(path, string(line, "content")?),
        "unlink" => DiskChange::Unlink(path),
        "mkdir" => DiskChange::Mkdir(path),
        "rename" => DiskChange::Rename(path, string(line, "to")?),
        "chmod" => DiskChange::Chmod(path, mode(line)?),
        "rmtree" => DiskChange::Rmtree(path),
        "symlink" => DiskChange::Symlink(path, string(line, "target")?),
        other => bail!("the disk knows no {other:?}"),
    })
}

fn disk_state(line: &Term) -> Result<DiskState> {
    let path = string(line, "path")?;
    if line.get("exists") == Some(&Term::Bool(false)) {
        return Ok(DiskState {
            path,
            object: DiskObject::Missing,
        });
    }
    let object = match &*string(line, "kind")? {
        "file" => DiskObject::File(mode(line)?, base64(line, "content_b64")?),
        "dir" => DiskObject::Directory(mode(line)?),
        "symlink" => DiskObject::Symlink(string(line, "target")?),
        other => bail!("the disk holds no {other:?}"),
    };
    Ok(DiskState { path, object })
}

/// File data in a request, as bytes where it is base64.
fn with_base64(mut message: Term) -> Term {
    if let Some(Term::Object(members)) = message.get_mut("payload") {
        for (name, value) in members {
            if let (true, Term::Text(text)) = (name.ends_with("_b64"), &*value) {
                *value = base64_or(text, value);
            }
        }
    }
    message
}

/// The bytes behind canonical base64, else the value as it is.
fn base64_or(text: &str, otherwise: &Term) -> Term {
    let canonical = STANDARD
        .decode_to_vec(text)
        .ok()
        .filter(|bytes| STANDARD.encode_to_string(bytes) == *text);
    canonical.map_or_else(|| otherwise.clone(), Term::Base64)
}

fn string(object: &Term, name: &str) -> Result<String> {
    let text = object.get(name).and_then(Term::as_str);
    Ok(text
        .with_context(|| format!("the string {name:?} is missing"))?
        .to_owned())
}

fn number(object: &Term, name: &str) -> Result<u64> {
    object
        .get(name)
        .and_then(Term::as_u64)
        .with_context(|| format!("the number {name:?} is missing"))
}

fn mode(object: &Term) -> Result<u32> {
    u32::from_str_radix(&string(object, "mode")?, 8).context("a mode is octal")
}

fn base64(object: &Term, name: &str) -> Result<Vec<u8>> {
    STANDARD
        .decode_to_vec(string(object, name)?)
        .with_context(|| format!("{name:?} is not base64"))
}
