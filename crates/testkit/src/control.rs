//! Recorded exchanges between nodes and control servers, played against a node of ours.
//!
//! ```text
//! recordings (*.jsonl) ── recording ── player ──┬── server   (the control server's part, on a free port)
//!                                               ├── sequence (what was asked, without what may repeat)
//!                                               ├── compare  (frames, member by member)
//!                                               └── differences
//! cli-cases.jsonl ─────── cli_cases ────────────────────────────┘
//! ```
//!
//! The player answers as the original server did, with the ids and secrets of the recording, and compares what our
//! node says with what the original node said. The original dials anew for every operation and repeats its catalog;
//! ours does not: [`sequence`] holds what is left of an exchange without repetitions. Everything else that differs on
//! purpose stands in [`differences`] with its reason, and an entry that does not occur is a failure.

mod cli_cases;
mod compare;
mod differences;
mod player;
mod recording;
mod sequence;
mod server;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub use self::differences::Expected;
use crate::replay;

/// The topic of the command lines, which no server takes part in.
const CLI_CASES: &str = "cli-cases";

/// Scenarios that are not played.
const LEFT_OUT: &[(&str, &str)] = &[
    ("21-metrics-malformed", "no node takes part"),
    ("23-other-generation-server", "no node takes part"),
    ("26-failover-selection", "no node takes part"),
    ("27-topology-delta-tokens", "no node takes part"),
    ("28-handshake-and-paths", "no node takes part"),
];

/// Where what was recorded and what our node does part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// What the recording shows.
    pub recorded: String,
    /// What ours did instead.
    pub ours: String,
}

impl Difference {
    fn new(recorded: impl Into<String>, ours: impl Into<String>) -> Self {
        Self {
            recorded: recorded.into(),
            ours: ours.into(),
        }
    }
}

/// One recording to be played.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Folder and name, as lists of differences have it.
    pub name: String,
    path: PathBuf,
}

impl Scenario {
    /// Why it is not played, if so.
    pub fn left_out(&self) -> Option<&'static str> {
        let (_, topic) = self.name.split_once('/')?;
        let mut entries = LEFT_OUT.iter();
        entries
            .find(|(left_out, _)| *left_out == topic)
            .map(|(_, reason)| *reason)
    }

    /// Plays it. Differences that were expected are taken out and remembered.
    pub fn play(&self, binary: &Path, expected: &Expected) -> Result<Vec<Difference>> {
        let binary = std::path::absolute(binary)?;
        let read = || std::fs::read_to_string(&self.path);
        let text = read().with_context(|| format!("reading {}", self.path.display()))?;
        let differences = if self.name.ends_with(CLI_CASES) {
            cli_cases::play(&binary, &text)?
        } else {
            player::play(&binary, &self.name, &text)?
        };
        Ok(expected.without(&self.name, differences))
    }
}

/// The scenarios in a directory of recordings.
pub fn scenarios(directory: &Path) -> Result<Vec<Scenario>> {
    let name_of = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
    let generation = name_of(&directory.canonicalize()?).context("a directory without a name")?;
    let mut scenarios = Vec::new();
    for path in replay::files(directory, replay::recording::EXTENSION)? {
        let topic = path.file_stem().and_then(|stem| stem.to_str());
        let topic = topic.context("a recording without a name")?;
        scenarios.push(Scenario {
            name: format!("{generation}/{topic}"),
            path,
        });
    }
    Ok(scenarios)
}
