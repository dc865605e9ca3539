//! Short spellings of the messages nearly every exchange consists of.
//!
//! | line | message |
//! |---|---|
//! | `> lookup 3 node=$d {"name":"x"}` | request `acheron.t_fs_lookup` with tag 3 |
//! | `< lookup 3 {…}` | its reply `acheron.r_fs_lookup` with `"ok":true` |
//! | `< error 3 2 "file not found"` | `acheron.err_fs`; `-` instead of a tag that is left out |
//! | `< inval $f data`, `< inval $f all gen` | event `acheron.e_fs_inval`, the latter with a `gen` member |
//! | `< inval_dir $d` | event `acheron.e_fs_inval_dir` |
//! | `message {…}` | any other message, in full |

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use crate::replay::term::{Scanner, Term, Wildcard};

/// Which way a message goes; the same operation name means a request one way and a reply the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Client to node.
    Out,
    /// Node to client.
    In,
}

/// The shortest spelling that reads back as `message`.
pub(super) fn print(way: Way, message: &Term) -> String {
    let short = match way {
        Way::Out => request(message),
        Way::In => reply(message)
            .or_else(|| error(message))
            .or_else(|| event(message)),
    };
    short
        .filter(|short| parse(way, &mut Scanner::new(short)).is_ok_and(|term| term == *message))
        .unwrap_or_else(|| format!("message {message}"))
}

/// Reads either spelling.
pub(super) fn parse(way: Way, scanner: &mut Scanner<'_>) -> Result<Term> {
    let name = scanner.identifier();
    ensure!(!name.is_empty(), "an operation is missing");
    let message = match (way, name) {
        (_, "message") => scanner.term()?,
        (Way::Out, operation) => parse_request(operation, scanner)?,
        (Way::In, "error") => parse_error(scanner)?,
        (Way::In, "inval") => parse_event(scanner)?,
        (Way::In, "inval_dir") => envelope(
            "e_fs_inval_dir",
            [("payload", Term::object([("dir", scanner.term()?)]))],
        ),
        (Way::In, operation) => {
            let kind = format!("r_fs_{operation}");
            let tag = Term::number(scanner.decimal::<u64>()?);
            envelope(
                &kind,
                [
                    ("tag", tag),
                    ("ok", Term::Bool(true)),
                    ("payload", scanner.term()?),
                ],
            )
        }
    };
    scanner.end()?;
    Ok(message)
}

fn request(message: &Term) -> Option<String> {
    let operation = message.message_type()?.strip_prefix("t_fs_")?;
    let mut line = format!("{operation} {}", message.get("tag")?);
    for name in ["node", "h"] {
        if let Some(value) = message.get(name) {
            let _ = write!(line, " {name}={value}");
        }
    }
    if let Some(payload) = message.get("payload") {
        let _ = write!(line, " {payload}");
    }
    Some(line)
}

fn parse_request(operation: &str, scanner: &mut Scanner<'_>) -> Result<Term> {
    let mut members = vec![("tag", Term::number(scanner.decimal::<u64>()?))];
    for (name, marker) in [("node", "node="), ("h", "h=")] {
        if scanner.eat(marker) {
            members.push((name, scanner.term()?));
        }
    }
    if !scanner.is_at_end() {
        members.push(("payload", scanner.term()?));
    }
    Ok(envelope(&format!("t_fs_{operation}"), members))
}

fn reply(message: &Term) -> Option<String> {
    let operation = message.message_type()?.strip_prefix("r_fs_")?;
    Some(format!(
        "{operation} {} {}",
        message.get("tag")?,
        message.get("payload")?
    ))
}

fn error(message: &Term) -> Option<String> {
    let error = message
        .get("error")
        .filter(|_| message.message_type() == Some("err_fs"))?;
    let tag = message.get("tag").map_or("-".to_owned(), Term::to_string);
    Some(format!(
        "error {tag} {} {}",
        error.get("errno")?,
        error.get("message")?
    ))
}

fn parse_error(scanner: &mut Scanner<'_>) -> Result<Term> {
    let mut members = Vec::new();
    if !scanner.eat("-") {
        members.push(("tag", Term::number(scanner.decimal::<u64>()?)));
    }
    let errno = Term::number(scanner.decimal::<u32>()?);
    members.push(("ok", Term::Bool(false)));
    members.push((
        "error",
        Term::object([("errno", errno), ("message", scanner.term()?)]),
    ));
    Ok(envelope("err_fs", members))
}

fn event(message: &Term) -> Option<String> {
    let payload = message.get("payload")?;
    match message.message_type()? {
        "e_fs_inval" => {
            let what = payload.get("what")?.as_str()?;
            let generation = if payload.get("gen").is_some() { " gen" } else { "" };
            Some(format!("inval {} {what}{generation}", payload.get("node")?))
        }
        "e_fs_inval_dir" => Some(format!("inval_dir {}", payload.get("dir")?)),
        _ => None,
    }
}

fn parse_event(scanner: &mut Scanner<'_>) -> Result<Term> {
    let node = scanner.term()?;
    let what = scanner.identifier();
    ensure!(
        ["attr", "data", "all"].contains(&what),
        "an event says attr, data or all, not {what:?}"
    );
    let mut payload = vec![("node".to_owned(), node), ("what".to_owned(), Term::text(what))];
    if scanner.eat("gen") {
        payload.push(("gen".to_owned(), Term::Any(Wildcard::Natural)));
    }
    Ok(envelope("e_fs_inval", [("payload", Term::Object(payload))]))
}

fn envelope<'a>(kind: &str, members: impl IntoIterator<Item = (&'a str, Term)>) -> Term {
    let head = [
        ("channel", Term::text("acheron")),
        ("type", Term::Text(format!("acheron.{kind}"))),
    ];
    Term::Object(
        head.into_iter()
            .chain(members)
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}
