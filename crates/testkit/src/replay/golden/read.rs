//! Scripts from golden text.

use anyhow::{Context as _, Result, bail, ensure};

use super::message::{self, Way};
use crate::raw_peer::frame::{CLOSE, PING, PONG};
use crate::replay::script::{
    Action, DiskChange, DiskObject, DiskState, HttpOutcome, Incoming, Outgoing, Script, Setup, Step,
    TreeEntry, TreeKind,
};
use crate::replay::term::Scanner;

pub(super) fn script(text: &str) -> Result<Script> {
    let mut topic = None;
    let mut setup = Setup::default();
    let mut steps = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        let mut scanner = Scanner::new(line);
        let in_setup = steps.is_empty();
        let parsed = match scanner.clone().identifier() {
            "topic" if topic.is_none() => name(&mut scanner).map(|name| topic = Some(name)),
            "node" if in_setup => arguments(&mut scanner).map(|arguments| setup.arguments = arguments),
            "variable" if in_setup => variable(&mut scanner).map(|variable| setup.variables.push(variable)),
            "tree" if in_setup => tree_entry(&mut scanner).map(|entry| setup.tree.push(entry)),
            _ => action(line).map(|action| steps.push(Step { line: number, action })),
        };
        parsed.with_context(|| format!("line {number}"))?;
    }
    let topic = topic.context("the line `topic NAME` is missing")?;
    Ok(Script { topic, setup, steps })
}

pub(super) fn action(line: &str) -> Result<Action> {
    let mut scanner = Scanner::new(line);
    let conn = if line.starts_with(|char: char| char.is_ascii_digit()) {
        Some(scanner.decimal()?)
    } else {
        None
    };
    let verb = scanner.word();
    let action = match (verb, conn.unwrap_or(0)) {
        ("open", conn) => Action::Open {
            conn,
            path: scanner.string()?,
        },
        ("drop", conn) => Action::Drop { conn },
        ("quiet", conn) => Action::Quiet { conn },
        (">", conn) => Action::Send {
            conn,
            what: outgoing(&mut scanner)?,
        },
        ("<", conn) => Action::Expect {
            conn,
            what: incoming(&mut scanner)?,
        },
        _ if conn.is_some() => bail!("{verb:?} takes no connection number"),
        ("http", _) => http(&mut scanner)?,
        ("disk", _) => Action::Disk(disk_change(&mut scanner)?),
        ("check", _) => Action::Check(disk_state(&mut scanner)?),
        ("note", _) => Action::Note(scanner.string()?),
        _ => bail!("{verb:?} starts no step"),
    };
    scanner.end()?;
    Ok(action)
}

fn name(scanner: &mut Scanner<'_>) -> Result<String> {
    scanner.require("topic")?;
    let name = scanner.identifier().to_owned();
    ensure!(!name.is_empty(), "a topic has a name");
    scanner.end()?;
    Ok(name)
}

fn arguments(scanner: &mut Scanner<'_>) -> Result<Vec<String>> {
    scanner.require("node")?;
    let list = scanner.term()?;
    scanner.end()?;
    let items = list.as_list().context("arguments are a list")?;
    items
        .iter()
        .map(|item| item.as_str().map(str::to_owned).context("arguments are strings"))
        .collect()
}

fn variable(scanner: &mut Scanner<'_>) -> Result<(String, String)> {
    scanner.require("variable")?;
    let variable = (scanner.string()?, scanner.string()?);
    scanner.end()?;
    Ok(variable)
}

fn tree_entry(scanner: &mut Scanner<'_>) -> Result<TreeEntry> {
    scanner.require("tree")?;
    let kind = scanner.identifier();
    let path = scanner.string()?;
    let kind = match kind {
        "file" => TreeKind::File(scanner.bytes()?),
        "dir" => TreeKind::Directory,
        "symlink" => TreeKind::Symlink(scanner.string()?),
        "hardlink" => TreeKind::Hardlink(scanner.string()?),
        other => bail!("a tree has no {other:?}"),
    };
    let mode = if scanner.eat("mode ") {
        Some(scanner.mode()?)
    } else {
        None
    };
    let mut xattrs = Vec::new();
    while scanner.eat("xattr ") {
        xattrs.push((scanner.string()?, scanner.string()?));
    }
    scanner.end()?;
    Ok(TreeEntry {
        path,
        kind,
        mode,
        xattrs,
    })
}

fn outgoing(scanner: &mut Scanner<'_>) -> Result<Outgoing> {
    if scanner.eat("text ") {
        return Ok(Outgoing::Text(scanner.string()?));
    }
    if scanner.eat("frame ") {
        let (opcode, payload) = frame(scanner)?;
        let fin = !scanner.eat("unfinished");
        let mask = !scanner.eat("unmasked");
        let rsv = if scanner.eat("rsv ") {
            scanner.decimal()?
        } else {
            0
        };
        return Ok(Outgoing::Frame {
            opcode,
            payload,
            fin,
            mask,
            rsv,
        });
    }
    Ok(Outgoing::Message(message::parse(Way::Out, scanner)?))
}

fn incoming(scanner: &mut Scanner<'_>) -> Result<Incoming> {
    if scanner.eat("frame ") {
        let (opcode, payload) = frame(scanner)?;
        return Ok(Incoming::Frame { opcode, payload });
    }
    if scanner.rest() == "end" {
        scanner.word();
        return Ok(Incoming::End);
    }
    Ok(Incoming::Message(message::parse(Way::In, scanner)?))
}

fn frame(scanner: &mut Scanner<'_>) -> Result<(u8, Vec<u8>)> {
    let opcode = match scanner.word() {
        "close" => CLOSE,
        "ping" => PING,
        "pong" => PONG,
        other => other
            .parse()
            .ok()
            .filter(|opcode| *opcode < 16)
            .context("an opcode is less than 16")?,
    };
    Ok((opcode, scanner.bytes()?))
}

fn http(scanner: &mut Scanner<'_>) -> Result<Action> {
    let request = scanner.string()?;
    scanner.require("=>")?;
    let outcome = match scanner.word() {
        "upgraded" => HttpOutcome::Upgraded {
            accept: scanner.string()?,
        },
        "ended" => HttpOutcome::UpgradedThenEnded {
            accept: scanner.string()?,
            message: message::parse(Way::In, scanner)?,
        },
        "refused" => HttpOutcome::Refused,
        "unchecked" => HttpOutcome::Unchecked,
        other => bail!("{other:?} is no outcome of an upgrade"),
    };
    Ok(Action::Http { request, outcome })
}

fn disk_change(scanner: &mut Scanner<'_>) -> Result<DiskChange> {
    let change = scanner.identifier();
    let path = scanner.string()?;
    Ok(match change {
        "write" => DiskChange::Write(path, scanner.string()?),
        "append" => DiskChange::Append(path, scanner.string()?),
        "unlink" => DiskChange::Unlink(path),
        "mkdir" => DiskChange::Mkdir(path),
        "rename" => DiskChange::Rename(path, scanner.string()?),
        "chmod" => DiskChange::Chmod(path, scanner.mode()?),
        "rmtree" => DiskChange::Rmtree(path),
        "symlink" => DiskChange::Symlink(path, scanner.string()?),
        other => bail!("the disk knows no {other:?}"),
    })
}

fn disk_state(scanner: &mut Scanner<'_>) -> Result<DiskState> {
    let kind = scanner.identifier();
    let path = scanner.string()?;
    let object = match kind {
        "missing" => DiskObject::Missing,
        "file" => DiskObject::File(scanner.mode()?, scanner.bytes()?),
        "dir" => DiskObject::Directory(scanner.mode()?),
        "symlink" => DiskObject::Symlink(scanner.string()?),
        other => bail!("the disk holds no {other:?}"),
    };
    Ok(DiskState { path, object })
}
