//! Golden text from scripts.

use std::fmt::Write as _;

use super::message::{self, Way};
use crate::raw_peer::frame::{CLOSE, PING, PONG};
use crate::replay::script::{
    Action, DiskChange, DiskObject, DiskState, HttpOutcome, Incoming, Outgoing, Script, TreeEntry, TreeKind,
};
use crate::replay::term::quote;

pub(super) fn script(script: &Script) -> String {
    let mut out = format!("topic {}\n", script.topic);
    let arguments: Vec<String> = script
        .setup
        .arguments
        .iter()
        .map(|argument| text(argument))
        .collect();
    line(&mut out, &format!("node [{}]", arguments.join(",")));
    for (name, value) in &script.setup.variables {
        line(&mut out, &format!("variable {} {}", text(name), text(value)));
    }
    for entry in &script.setup.tree {
        line(&mut out, &tree_entry(entry));
    }
    out.push('\n');
    for step in &script.steps {
        line(&mut out, &action(&step.action));
    }
    out
}

pub(super) fn action(action: &Action) -> String {
    match action {
        Action::Open { conn, path } => format!("{}open {}", prefix(*conn), text(path)),
        Action::Drop { conn } => format!("{}drop", prefix(*conn)),
        Action::Send { conn, what } => format!("{}> {}", prefix(*conn), outgoing(what)),
        Action::Expect { conn, what } => format!("{}< {}", prefix(*conn), incoming(what)),
        Action::Quiet { conn } => format!("{}quiet", prefix(*conn)),
        Action::Http { request, outcome } => format!("http {} => {}", text(request), http_outcome(outcome)),
        Action::Disk(change) => format!("disk {}", disk_change(change)),
        Action::Check(state) => format!("check {}", disk_state(state)),
        Action::Note(remark) => format!("note {}", text(remark)),
    }
}

fn tree_entry(entry: &TreeEntry) -> String {
    let path = text(&entry.path);
    let mut line = match &entry.kind {
        TreeKind::File(content) => format!("tree file {path} {}", quote(content)),
        TreeKind::Directory => format!("tree dir {path}"),
        TreeKind::Symlink(target) => format!("tree symlink {path} {}", text(target)),
        TreeKind::Hardlink(of) => format!("tree hardlink {path} {}", text(of)),
    };
    if let Some(mode) = entry.mode {
        let _ = write!(line, " mode {mode:04o}");
    }
    for (name, value) in &entry.xattrs {
        let _ = write!(line, " xattr {} {}", text(name), text(value));
    }
    line
}

fn outgoing(what: &Outgoing) -> String {
    match what {
        Outgoing::Message(message) => message::print(Way::Out, message),
        Outgoing::Text(exact) => format!("text {}", text(exact)),
        Outgoing::Frame {
            opcode,
            payload,
            fin,
            mask,
            rsv,
        } => {
            let mut line = frame(*opcode, payload);
            if !fin {
                line.push_str(" unfinished");
            }
            if !mask {
                line.push_str(" unmasked");
            }
            if *rsv != 0 {
                let _ = write!(line, " rsv {rsv}");
            }
            line
        }
    }
}

fn incoming(what: &Incoming) -> String {
    match what {
        Incoming::Message(message) => message::print(Way::In, message),
        Incoming::Frame { opcode, payload } => frame(*opcode, payload),
        Incoming::End => "end".to_owned(),
    }
}

fn frame(opcode: u8, payload: &[u8]) -> String {
    let kind = match opcode {
        CLOSE => "close".to_owned(),
        PING => "ping".to_owned(),
        PONG => "pong".to_owned(),
        other => other.to_string(),
    };
    format!("frame {kind} {}", quote(payload))
}

fn http_outcome(outcome: &HttpOutcome) -> String {
    match outcome {
        HttpOutcome::Upgraded { accept } => format!("upgraded {}", text(accept)),
        HttpOutcome::UpgradedThenEnded { accept, message } => {
            format!("ended {} {}", text(accept), message::print(Way::In, message))
        }
        HttpOutcome::Refused => "refused".to_owned(),
        HttpOutcome::Unchecked => "unchecked".to_owned(),
    }
}

fn disk_change(change: &DiskChange) -> String {
    match change {
        DiskChange::Write(path, content) => format!("write {} {}", text(path), text(content)),
        DiskChange::Append(path, content) => format!("append {} {}", text(path), text(content)),
        DiskChange::Unlink(path) => format!("unlink {}", text(path)),
        DiskChange::Mkdir(path) => format!("mkdir {}", text(path)),
        DiskChange::Rename(from, to) => format!("rename {} {}", text(from), text(to)),
        DiskChange::Chmod(path, mode) => format!("chmod {} {mode:04o}", text(path)),
        DiskChange::Rmtree(path) => format!("rmtree {}", text(path)),
        DiskChange::Symlink(path, target) => format!("symlink {} {}", text(path), text(target)),
    }
}

fn disk_state(state: &DiskState) -> String {
    let path = text(&state.path);
    match &state.object {
        DiskObject::Missing => format!("missing {path}"),
        DiskObject::File(mode, content) => format!("file {path} {mode:04o} {}", quote(content)),
        DiskObject::Directory(mode) => format!("dir {path} {mode:04o}"),
        DiskObject::Symlink(target) => format!("symlink {path} {}", text(target)),
    }
}

fn prefix(conn: u32) -> String {
    if conn == 0 {
        String::new()
    } else {
        format!("{conn} ")
    }
}

fn text(text: &str) -> String {
    quote(text.as_bytes())
}

fn line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}
