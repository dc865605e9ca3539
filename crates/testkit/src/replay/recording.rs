//! Recordings of the original node (`*.jsonl`) as scripts.
//!
//! Their line format and the rules for what is compared are those of the recordings' own README. The rules
//! are applied here, once: what varies becomes a wildcard, what the node chooses becomes a symbol, and from
//! then on a comparison needs no knowledge of fields.
//!
//! Lines marked `watch` came from the original's tree scanner; they are left out.

mod folder;
mod symbols;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use base64_simd::STANDARD;

use self::symbols::Symbols;
use super::script::{Action, DiskChange, HttpOutcome, Incoming, Outgoing, Script, Step};
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
        setup: folder::setup(setup).context("in the setup")?,
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
                let change = folder::disk_change(line)?;
                if matches!(change, DiskChange::Unlink(_) | DiskChange::Rmtree(_)) {
                    self.symbols.forget_all();
                }
                Action::Disk(change)
            }
            "check" => Action::Check(folder::disk_state(line)?),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::golden;

    /// The steps of a recording in golden notation.
    fn steps(topic: &str, lines: &[&str]) -> Result<Vec<String>> {
        let setup = format!(
            r#"{{"setup":{{"topic":"{topic}","flags":["--port","$PORT"],"env":{{}},"umask":"0022","tree":[]}}}}"#
        );
        let script = parse(&[&[&*setup], lines].concat().join("\n"))?;
        Ok(script
            .steps
            .iter()
            .map(|step| golden::print_action(&step.action))
            .collect())
    }

    fn attr(id: u64, kind: u64, mode: u64, size: u64) -> String {
        format!(
            r#"{{"id":{id},"k":{kind},"m":{mode},"n":1,"u":0,"g":0,"sz":{size},"at":1,"mt":2,"ct":3,"gen":4}}"#
        )
    }

    fn request(operation: &str, tag: u64, rest: &str) -> String {
        format!(
            r#"{{"dir":"c2s","frame":{{"channel":"acheron","type":"acheron.t_fs_{operation}","tag":{tag},{rest}}}}}"#
        )
    }

    fn reply(operation: &str, tag: u64, payload: &str) -> String {
        format!(
            r#"{{"dir":"s2c","frame":{{"channel":"acheron","type":"acheron.r_fs_{operation}","tag":{tag},"ok":true,"payload":{payload}}}}}"#
        )
    }

    fn event(kind: &str, payload: &str, rest: &str) -> String {
        format!(
            r#"{{"dir":"s2c","frame":{{"channel":"acheron","type":"acheron.e_fs_{kind}","payload":{payload}}}{rest}}}"#
        )
    }

    #[test]
    fn numbers_become_symbols_where_they_were_learned() {
        let file = attr(70, 1, 0o100_644, 12);
        let got = steps(
            "t",
            &[
                &request("getattr", 1, r#""node":70,"payload":{}"#),
                &reply("exports", 2, r#"{"exports":[{"name":"work","root":50}]}"#),
                &request("lookup", 3, r#""node":50,"payload":{"name":"a b"}"#),
                &reply("lookup", 3, &format!(r#"{{"attr":{file}}}"#)),
                &request("getattr", 4, r#""node":70,"payload":{}"#),
                &request("read", 5, r#""h":1,"payload":{"off":1.0}"#),
                &reply("open", 6, r#"{"h":1,"caps":{"rd":true,"wr":false},"gen":5}"#),
                &request("read", 7, r#""h":1"#),
            ],
        );
        let want = [
            "> getattr 1 node=70 {}",
            r#"< exports 2 {"exports":[{"name":"work","root":$work}]}"#,
            r#"> lookup 3 node=$work {"name":"a b"}"#,
            r#"< lookup 3 {"attr":file($ab,0644,12)}"#,
            "> getattr 4 node=$ab {}",
            r#"> read 5 h=1 {"off":1.0}"#,
            r#"< open 6 {"h":$h1,"caps":{"rd":true,"wr":false},"gen":nat}"#,
            "> read 7 h=$h1",
        ];
        assert_eq!(got.unwrap(), want);
    }

    #[test]
    fn a_reused_number_becomes_another_symbol() {
        let file = format!(r#"{{"attr":{},"h":1}}"#, attr(70, 1, 0o100_644, 0));
        let again = format!(r#"{{"attr":{},"h":2}}"#, attr(70, 1, 0o100_644, 0));
        let got = steps(
            "t",
            &[
                &request("create", 1, r#""node":5,"payload":{"name":"one"}"#),
                &event("inval", r#"{"node":70,"what":"all","gen":1}"#, ""),
                &reply("create", 1, &file),
                &request("unlink", 2, r#""node":5,"payload":{"name":"one"}"#),
                &reply("unlink", 2, "{}"),
                &request("create", 3, r#""node":5,"payload":{"name":"two"}"#),
                &event("inval", r#"{"node":70,"what":"all","gen":1}"#, ""),
                &reply("create", 3, &again),
                &request("lookup", 4, r#""node":5,"payload":{"name":"two"}"#),
                &reply(
                    "lookup",
                    4,
                    &format!(r#"{{"attr":{}}}"#, attr(70, 1, 0o100_644, 0)),
                ),
            ],
        );
        let got: Vec<String> = got
            .unwrap()
            .into_iter()
            .filter(|line| line.starts_with('<'))
            .collect();
        let want = [
            "< inval $one all gen",
            r#"< create 1 {"attr":file($one,0644,0),"h":$h1}"#,
            "< unlink 2 {}",
            "< inval $two all gen",
            r#"< create 3 {"attr":file($two,0644,0),"h":$h2}"#,
            r#"< lookup 4 {"attr":file($two,0644,0)}"#,
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn what_the_scanner_said_is_left_out() {
        let got = steps("t", &[&event("inval_dir", r#"{"dir":5}"#, r#","watch":true"#)]);
        assert_eq!(got.unwrap(), [""; 0]);
    }

    #[test]
    fn only_the_length_of_a_page_is_stable() {
        let entry = format!(r#"{{"name":".","attr":{}}}"#, attr(5, 2, 0o040_755, 4096));
        let page = reply(
            "readdirp",
            1,
            &format!(r#"{{"ents":[{entry}],"next":1,"eof":false,"dir_gen":9}}"#),
        );
        let rest = r#""next":1,"eof":false,"dir_gen":nat}"#;
        assert_eq!(
            steps("readdir_paging", &[&page]).unwrap(),
            [format!(r#"< readdirp 1 {{"ents":page(1),{rest}"#)]
        );
        let whole = format!(r#"< readdirp 1 {{"ents":entries{{".":dir($.,0755)}},{rest}"#);
        assert_eq!(steps("readdir", &[&page]).unwrap(), [whole]);
    }

    #[test]
    fn lines_that_are_not_understood_are_errors() {
        for line in [
            r#"{"dir":"sideways"}"#,
            r#"{"dir":"c2s"}"#,
            r#"{"dir":"s2c"}"#,
            r#"{"dir":"local","do":"shred","path":"x"}"#,
            r#"{"dir":"check","path":"x","exists":true,"kind":"fifo","mode":"0644"}"#,
            r#"{"dir":"http","request":"x","status":400,"closed":false}"#,
            r#"{"dir":"open"}"#,
            "[]",
            " ",
        ] {
            assert!(steps("t", &[line]).is_err(), "{line}");
        }
    }
}
