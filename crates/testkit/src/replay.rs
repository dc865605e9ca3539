//! Recorded exchanges played against a node.
//!
//! ```text
//! recordings (*.jsonl) ── recording ──┐                    ┌── compare (terms against JSON)
//!                        departures ──┤                    ├── listings (pages against pages)
//!                                     ├── script ── player ┤
//! golden files (*.golden) ── golden ──┘                    └── disk (the folder behind the node)
//! ```
//!
//! A recording shows what the original node said. The table of [`departures`] says where ours answers
//! differently on purpose; applied to a recording it gives what our node must say, which is what golden files
//! hold.

mod compare;
pub mod departures;
mod disk;
pub mod golden;
mod listings;
mod player;
pub mod recording;
pub mod script;
pub mod term;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use self::departures::Departures;
pub use self::player::{Difference, play};
use self::script::{Action, Script};
use crate::process::NodeCommand;

/// Topics that need something this replay cannot provide, by the start of their names.
const SKIPPED: [(&str, &str); 2] = [
    (
        "gdrive_",
        "was recorded from a program that embeds the node; its cloud source is not there yet",
    ),
    (
        "client_",
        "shows the original clients, which take part in no replay",
    ),
];

/// Files with one extension in a directory, by name.
pub fn files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Why no node of ours can play a topic, if so.
pub fn skipped(topic: &str) -> Option<&'static str> {
    SKIPPED
        .iter()
        .find(|(start, _)| topic.starts_with(start))
        .map(|(_, reason)| *reason)
}

/// Why this machine cannot play a script, if so.
pub fn unmet_need(script: &Script) -> Result<Option<&'static str>> {
    let sends = |text: &str| {
        let mut sent = script
            .steps
            .iter()
            .filter(|step| matches!(step.action, Action::Send { .. }));
        sent.any(|step| golden::print_action(&step.action).contains(text))
    };
    if sends("\"trusted.") && !rustix::process::geteuid().is_root() {
        return Ok(Some("sets a trusted attribute, which takes the superuser"));
    }
    let has_xattrs = script.setup.tree.iter().any(|entry| !entry.xattrs.is_empty());
    if (has_xattrs || sends("> setxattr ")) && !disk::takes_xattrs()? {
        return Ok(Some(
            "sets attributes, which the filesystem of temporary files does not take",
        ));
    }
    Ok(None)
}

/// Reads a recording as our node must play it.
pub fn read_recording(path: &Path) -> Result<Script> {
    let mut script = recording::read(path)?;
    Departures::of_this_node()?.apply(&mut script)?;
    Ok(script)
}

/// What a replay found.
#[derive(Debug)]
pub struct Report {
    /// Steps in which the node did not do what it should; empty when all is well.
    pub differences: Vec<Difference>,
    /// What the node wrote to its log.
    pub log: String,
}

/// Builds the folder of a topic in `root`.
pub fn build(root: &Path, script: &Script) -> Result<()> {
    disk::build(root, &script.setup.tree)
}

/// Builds the folder of a topic, starts the node in it and plays the conversation.
pub fn replay(binary: &Path, script: &Script) -> Result<Report> {
    replay_in(binary, script, |_| Ok(()))
}

/// The same with more put into the folder before it is built.
pub fn replay_in(
    binary: &Path,
    script: &Script,
    prepare: impl FnOnce(&Path) -> Result<()>,
) -> Result<Report> {
    let root = tempfile::Builder::new().prefix("replay-").tempdir()?;
    prepare(root.path())?;
    build(root.path(), script)?;
    let mut command = NodeCommand::new(std::path::absolute(binary)?)
        .directory(root.path())
        .arguments(&script.setup.arguments);
    for (name, value) in &script.setup.variables {
        command = command.variable(name, value);
    }
    let mut node = command.start()?;
    let mut differences = play(script, node.addr(), root.path());
    if let Some(status) = node.exited()? {
        differences.push(Difference {
            topic: script.topic.clone(),
            line: 0,
            step: "the node serves until it is told to stop".to_owned(),
            found: format!("it ended with {status}"),
        });
    }
    Ok(Report {
        differences,
        log: node.log(),
    })
}
