//! Writing golden notation: compact, one line, and equal after reading back.

use std::fmt::{self, Display, Formatter, Write as _};

use super::{Attr, Term, Wildcard};

/// Runs of one byte from this length on are written as `repeat(…)`.
const RUN: usize = 32;

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(lexeme) => f.write_str(lexeme),
            Self::Text(text) => f.write_str(&quote(text.as_bytes())),
            Self::Base64(bytes) => write!(f, "b64({})", quote(bytes)),
            Self::List(items) => sequence(f, "[", items, "]", |f, item| write!(f, "{item}")),
            Self::Object(members) => sequence(f, "{", members, "}", member),
            Self::Symbol(name) => write!(f, "${name}"),
            Self::Any(Wildcard::Natural) => f.write_str("nat"),
            Self::Any(Wildcard::Positive) => f.write_str("pos"),
            Self::Any(Wildcard::Text) => f.write_str("text"),
            Self::Attr(Attr {
                id,
                mode,
                size: Some(size),
            }) => write!(f, "file({id},{mode:04o},{size})"),
            Self::Attr(Attr { id, mode, size: None }) => write!(f, "dir({id},{mode:04o})"),
            Self::Entries(entries) => sequence(f, "entries{", entries, "}", member),
            Self::Names(names) => sequence(f, "names[", names, "]", |f, name| {
                f.write_str(&quote(name.as_bytes()))
            }),
            Self::Page(count) => write!(f, "page({count})"),
        }
    }
}

fn member(f: &mut Formatter<'_>, (name, value): &(String, Term)) -> fmt::Result {
    write!(f, "{}:{value}", quote(name.as_bytes()))
}

fn sequence<T>(
    f: &mut Formatter<'_>,
    open: &str,
    items: &[T],
    close: &str,
    item: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    f.write_str(open)?;
    for (index, each) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(",")?;
        }
        item(f, each)?;
    }
    f.write_str(close)
}

/// Bytes as a string expression: quoted text, with `repeat(…)` for long runs, or `hex(…)` when they are no
/// text.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else {
        let mut hex = String::with_capacity(bytes.len() * 2 + 7);
        hex.push_str("hex(\"");
        for byte in bytes {
            let _ = write!(hex, "{byte:02x}");
        }
        return hex + "\")";
    };
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run = rest.len() - rest.trim_start_matches(first).len();
        let (piece, after) = rest.split_at(run);
        let count = run / first.len_utf8();
        if count >= RUN {
            if !literal.is_empty() {
                pieces.push(literal_of(&literal));
                literal.clear();
            }
            pieces.push(format!("repeat({}, {count})", literal_of(&first.to_string())));
        } else {
            literal.push_str(piece);
        }
        rest = after;
    }
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(literal_of(&literal));
    }
    pieces.join(" + ")
}

fn literal_of(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}
