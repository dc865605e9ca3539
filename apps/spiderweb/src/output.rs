//! What is printed, for people or for programs.
//!
//! JSON members are a promise: names stay, members may be added. Times are RFC 3339 in UTC, sizes bytes.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use spiderweb_protocol::fs::{Attr, FileKind};

use crate::failure::Failure;
use crate::global::{Format, Global};
use crate::units;

/// Standard output, and how to write to it.
pub(crate) struct Output {
    stdout: io::BufWriter<anstream::AutoStream<io::Stdout>>,
    format: Format,
    terminal: bool,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            stdout: io::BufWriter::new(anstream::AutoStream::auto(io::stdout())),
            format: global.output,
            terminal: io::stdout().is_terminal(),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// A name or path as it is to be printed: on a terminal, what could steer it is escaped.
    pub(crate) fn name(&self, name: &str) -> String {
        shown(name, self.terminal)
    }

    /// One line for people.
    pub(crate) fn line(&mut self, line: impl std::fmt::Display) -> Result<(), Failure> {
        writeln!(self.stdout, "{line}").map_err(stdout_failed)
    }

    /// One value for programs, on a line of its own.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.stdout, value)
            .map_err(io::Error::from)
            .and_then(|()| self.stdout.write_all(b"\n"))
            .map_err(stdout_failed)
    }

    /// Text as it is, for JSON that is written piece by piece.
    pub(crate) fn raw(&mut self, text: &str) -> Result<(), Failure> {
        self.stdout.write_all(text.as_bytes()).map_err(stdout_failed)
    }

    /// Bytes as they are; on a terminal, the line they end on is ended.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes).map_err(stdout_failed)?;
        match bytes.last() {
            Some(last) if self.terminal && *last != b'\n' => self.raw("\n"),
            _ => Ok(()),
        }
    }

    /// Rows below a header for people, every column as wide as its widest cell; nothing without rows. Cells that
    /// could steer the terminal are escaped.
    pub(crate) fn table(&mut self, header: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        let header = header.iter().map(|&word| word.to_owned()).collect();
        let mut lines: Vec<Vec<String>> = vec![header];
        let escaped = rows
            .into_iter()
            .map(|row| row.iter().map(|cell| self.name(cell)).collect());
        lines.extend(escaped);
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
        for line in &lines {
            let cells = line.iter().zip(&widths);
            let cells: Vec<_> = cells.map(|(cell, &width)| format!("{cell:width$}")).collect();
            self.line(cells.join("  ").trim_end())?;
        }
        Ok(())
    }

    /// Makes everything printed so far visible.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(stdout_failed)
    }
}

/// What somebody else has to complain of, on standard error as it is; our own complaint may follow on a line of its own.
pub(crate) fn complain(text: &[u8]) {
    let mut stderr = io::stderr().lock();
    // Nobody is left to be told.
    let _ = stderr.write_all(text);
    if text.last().is_some_and(|last| *last != b'\n') {
        let _ = stderr.write_all(b"\n");
    }
}

pub(crate) fn stdout_failed(error: io::Error) -> Failure {
    Failure::local("cannot write to standard output", error)
}

/// A text for a terminal: control characters, and characters that reorder what is around them, are escaped.
pub(crate) fn shown(text: &str, terminal: bool) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !terminal || !text.contains(steers) {
        return text.to_owned();
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if steers(c) && c.is_ascii() => {
                let _ = write!(escaped, "\\x{:02x}", c as u32);
            }
            c if steers(c) => {
                let _ = write!(escaped, "\\u{{{:x}}}", c as u32);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// How a name is coloured.
pub(crate) fn style(attr: &Attr) -> Style {
    match attr.kind() {
        FileKind::Directory => AnsiColor::Blue.on_default().bold(),
        FileKind::Symlink => AnsiColor::Cyan.on_default().bold(),
        FileKind::File if attr.m & 0o111 != 0 => AnsiColor::Green.on_default().bold(),
        FileKind::File => Style::new(),
    }
}

/// The word for a kind.
pub(crate) const fn kind_word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
    }
}

/// Type and permission bits as `ls -l` shows them.
pub(crate) fn mode_text(attr: &Attr) -> String {
    let kind = match attr.kind() {
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::File => '-',
    };
    let mode = attr.m;
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// A file for programs.
#[derive(Debug, Serialize)]
pub(crate) struct FileJson<'a> {
    pub(crate) path: &'a str,
    pub(crate) name: &'a str,
    /// `file`, `directory` or `symlink`.
    pub(crate) kind: &'static str,
    pub(crate) size: u64,
    /// Permission bits and type, as a number.
    pub(crate) mode: u32,
    pub(crate) modified: String,
    pub(crate) id: u64,
}

impl<'a> FileJson<'a> {
    pub(crate) fn new(path: &'a str, name: &'a str, attr: &Attr) -> Self {
        Self {
            path,
            name,
            kind: kind_word(attr.kind()),
            size: attr.sz,
            mode: attr.m,
            modified: units::rfc3339(attr.mt),
            id: attr.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_a_terminal() {
        for (name, on_terminal) in [
            ("plain ü 日本", "plain ü 日本"),
            ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
            ("\x1b[31mred", "\\x1b[31mred"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}txt.exe", "a\\u{202e}txt.exe"),
        ] {
            assert_eq!(shown(name, true), on_terminal);
            assert_eq!(shown(name, false), name);
        }
    }

    #[test]
    fn modes_look_like_those_of_ls() {
        let attr = |k, m| Attr {
            id: 1,
            k,
            m,
            n: 1,
            u: 0,
            g: 0,
            sz: 0,
            at: 0,
            mt: 0,
            ct: 0,
            generation: 0,
        };
        for (k, m, text) in [
            (1, 0o100_644, "-rw-r--r--"),
            (2, 0o040_755, "drwxr-xr-x"),
            (2, 0o041_777, "drwxrwxrwt"),
            (1, 0o104_755, "-rwsr-xr-x"),
            (1, 0o102_640, "-rw-r-S---"),
            (3, 0o120_777, "lrwxrwxrwx"),
            (1, 0, "----------"),
        ] {
            assert_eq!(mode_text(&attr(k, m)), text);
        }
    }
}
