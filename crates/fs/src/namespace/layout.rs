//! The fixed part of every tree, and what its files are there for.

use std::ops::Range;

use super::port::LiveFile;

/// A file's number within its tree.
pub(super) type Local = u64;

/// Numbers of `control/cancel`, of `history`, and of remembered invokes; far above what is ever added.
pub(super) const CANCEL: u64 = 1 << 40;
pub(super) const HISTORY: u64 = CANCEL + 1;
pub(super) const PAST: Range<u64> = 1 << 41..1 << 42;

/// A text that comes from the manifest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Text {
    Readme,
    Schema,
    Template,
    Host,
}

/// What a file with content does when it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Invoke(Option<Box<str>>),
    Config,
    Enable,
    Disable,
    Restart,
    Reset,
    Cancel,
    /// Nothing: a file a client made for itself.
    Plain,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Directory,
    Text(Text),
    Live(LiveFile),
    /// `config.json`: live, until somebody writes it.
    Config,
    /// Bytes that clients wrote.
    Stored,
}

/// The fixed tree in the order of its numbers, which begin with 2 (section 6).
pub(super) const LAYOUT: [(&str, Kind); 18] = [
    ("README.md", Kind::Text(Text::Readme)),
    ("SCHEMA.json", Kind::Text(Text::Schema)),
    ("schema.json", Kind::Text(Text::Schema)),
    ("TEMPLATE.json", Kind::Text(Text::Template)),
    ("template.json", Kind::Text(Text::Template)),
    ("HOST.json", Kind::Text(Text::Host)),
    ("result.json", Kind::Live(LiveFile::Result)),
    ("last_error.txt", Kind::Live(LiveFile::LastError)),
    ("status.json", Kind::Live(LiveFile::Status)),
    ("metrics.json", Kind::Live(LiveFile::Metrics)),
    ("config.json", Kind::Config),
    ("health.json", Kind::Live(LiveFile::Health)),
    (CONTROL_NAME, Kind::Directory),
    ("invoke.json", Kind::Stored),
    ("reset", Kind::Stored),
    ("enable", Kind::Stored),
    ("disable", Kind::Stored),
    ("restart", Kind::Stored),
];
pub(super) const FIRST: Local = 2;
pub(super) const CONTROL: Local = 14;
const CONTROL_NAME: &str = "control";
pub(super) const FIRST_ADDED: Local = 20;

/// The files of [`LAYOUT`] that show a live text.
pub(super) const LIVE: [(LiveFile, Local); 6] = [
    (LiveFile::Result, 8),
    (LiveFile::LastError, 9),
    (LiveFile::Status, 10),
    (LiveFile::Metrics, 11),
    (LiveFile::Config, 12),
    (LiveFile::Health, 13),
];

/// The name in `invoke.<name>.json`, if it is an identifier of at most 64 characters.
pub(super) fn named_invoke(file: &str) -> Option<&str> {
    let name = file.strip_prefix("invoke.")?.strip_suffix(".json")?;
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (!name.is_empty() && name.len() <= 64 && name.bytes().all(valid)).then_some(name)
}
