//! What is wrong with a text, and where.

use std::fmt;

/// Why a text is not the JSON that is wanted, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {what}")]
pub struct JsonFault {
    /// The kind of fault.
    pub kind: JsonFaultKind,
    /// Where it is.
    pub position: Position,
    /// What is wrong, in words.
    pub what: &'static str,
}

/// The kinds of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JsonFaultKind {
    /// Not JSON, or not UTF-8.
    Syntax,
    /// The text ends inside a value, or is empty.
    UnexpectedEnd,
    /// A member name occurs twice in an object.
    DuplicateMember,
    /// Nested beyond [`MAX_JSON_DEPTH`](crate::limits::MAX_JSON_DEPTH).
    TooDeep,
    /// JSON, but no object where one is wanted.
    NotAnObject,
}

impl JsonFaultKind {
    /// The original's name for it (`services.md`, section 3.7).
    pub const fn original_name(self) -> &'static str {
        match self {
            // The original has no bound and dies instead.
            Self::Syntax | Self::TooDeep => "SyntaxError",
            Self::UnexpectedEnd => "UnexpectedEndOfInput",
            Self::DuplicateMember => "DuplicateField",
            Self::NotAnObject => "UnexpectedToken",
        }
    }
}

/// A place in a text, as editors count: both numbers from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Position {
    /// The place of byte `at`.
    pub fn of(text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.bytes().filter(|byte| *byte == b'\n').count() as u32 + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() as u32 + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl JsonFault {
    pub(crate) fn new(kind: JsonFaultKind, what: &'static str, text: &str, at: usize) -> Self {
        Self {
            kind,
            position: Position::of(text, at),
            what,
        }
    }
}

pub(super) fn not_utf8(text: &[u8]) -> JsonFault {
    let valid = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    JsonFault::new(JsonFaultKind::Syntax, "not UTF-8", valid, valid.len())
}
