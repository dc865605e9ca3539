//! Golden text from scripts.

use std::fmt::Write as _;

use serde_json::Value;

use crate::replay::term::quote;
use crate::services::script::{Action, Change, Event, Placed, Reply, Script, Thing, Write};

pub(super) fn script(script: &Script) -> String {
    let mut out = format!("service {}\n", script.topic);
    line(&mut out, &print_arguments(&script.setup.arguments));
    for placed in &script.setup.placed {
        line(&mut out, &print_placed(placed));
    }
    line(&mut out, &format!("export {}", script.export));
    line(&mut out, &format!("root {}", script.root));
    for (path, content) in &script.files {
        line(&mut out, &format!("file {path} {content}"));
    }
    out.push('\n');
    for step in &script.steps {
        line(&mut out, &action(&step.action));
    }
    out
}

pub(crate) fn print_arguments(arguments: &[String]) -> String {
    format!("node {}", Value::from(arguments))
}

pub(crate) fn print_placed(placed: &Placed) -> String {
    let path = &placed.path;
    match &placed.what {
        Thing::File { mode, content } => format!("place file {path} {mode:04o} {content}"),
        Thing::Module(text) => format!("place module {path} {}", quote(text.as_bytes())),
    }
}

pub(super) fn action(action: &Action) -> String {
    match action {
        Action::Note(remark) => format!("note {}", quote(remark.as_bytes())),
        Action::WaitForCooldown => "wait cooldown".to_owned(),
        Action::Write(write) => format!("> write {}", operands(write)),
        Action::Request {
            operation,
            node,
            payload,
        } => format!("> {operation} {} {payload}", node.as_deref().unwrap_or("-")),
        Action::Event(event) => format!("! {}", print_event(event)),
        Action::Reply(reply) => format!("< {}", print_reply(reply)),
        Action::Look(changes) => {
            let mut look = "look".to_owned();
            for change in changes {
                look.push('\n');
                look.push_str(&print_change(change));
            }
            look
        }
    }
}

fn operands(write: &Write) -> String {
    let mut operands = write.path.clone();
    if write.truncate {
        operands.push_str(" truncate");
    }
    if write.keep {
        operands.push_str(" keep");
    }
    for (name, value, usual) in [("flags", write.flags, 2), ("at", write.offset, 0)] {
        if value != usual {
            let _ = write!(operands, " {name} {value}");
        }
    }
    format!("{operands} {}", write.data)
}

fn print_event(event: &Event) -> String {
    match event {
        Event::Directory(path) => format!("inval_dir {path}"),
        Event::File { path, what, grown } => {
            let grown = grown.map_or_else(String::new, |grown| format!(" +{grown}"));
            format!("inval {path} {what}{grown}")
        }
    }
}

fn print_reply(reply: &Reply) -> String {
    match reply {
        Reply::Done(payload) => format!("ok {payload}"),
        Reply::Page { names, next, eof } => {
            let names = Value::from(&**names);
            format!("page {names} {next} {}", if *eof { "end" } else { "more" })
        }
        Reply::Refused { errno, message } => format!("error {errno} {}", quote(message.as_bytes())),
    }
}

fn print_change(change: &Change) -> String {
    match change {
        Change::Is(path, content) => format!("= {path} {content}"),
        Change::Members(path, members) => format!("~ {path} {members}"),
        Change::Gone(path) => format!("gone {path}"),
    }
}

fn line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}
