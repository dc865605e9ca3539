//! Golden files: a [`Script`] as text that people read and edit.
//!
//! ```text
//! topic lookup
//! node ["--export","work=work:rw"]
//! tree file "work/hello.txt" "hello world\n"
//!
//! open "/v2/fs"
//! > hello 1 {"protocol":"unified-v2-fs","proto":2}
//! < hello 1 {"protocol":"unified-v2-fs", …}
//! > lookup 2 node=$work {"name":"hello.txt"}
//! < lookup 2 {"attr":file($hello.txt,0644,12)}
//! > lookup 3 node=$work {"name":"none"}
//! < error 3 2 "file not found"
//! ```
//!
//! One step per line. `>` is said by a client, `<` by the node, on connection 0 unless a number stands before
//! it. The values are [terms](super::term). Lines that start with `#` and empty lines are skipped; any other
//! line that is not understood is an error. `CONTRIBUTING.md` lists every form.

mod message;
mod read;
mod write;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::script::{Action, Script};

/// The file name extension of golden files.
pub const EXTENSION: &str = "golden";

/// Reads a golden file.
pub fn read(path: &Path) -> Result<Script> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let script = parse(&text).with_context(|| format!("in {}", path.display()))?;
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    ensure!(
        stem == Some(&*script.topic),
        "{} is about topic {}",
        path.display(),
        script.topic
    );
    Ok(script)
}

/// Reads the text of a golden file.
pub fn parse(text: &str) -> Result<Script> {
    read::script(text)
}

/// Reads one step.
pub fn parse_action(line: &str) -> Result<Action> {
    read::action(line)
}

/// Writes a script; [`parse`] reads the same one back, line numbers aside.
pub fn print(script: &Script) -> String {
    write::script(script)
}

/// Writes one step.
pub fn print_action(action: &Action) -> String {
    write::action(action)
}
