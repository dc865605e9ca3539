//! Recorded exchanges between nodes and control servers, played against a node of ours.
//!
//! ```text
//! recordings (*.jsonl) ── recording ─┬─ player ──┬── server   (the control server's part, on a free port)
//!                                    │           ├── sequence (what was asked, without what may repeat)
//! golden files (*.golden) ── golden ─┤           ├── compare  (frames, member by member)
//!                                    │           └── differences
//!                                    └─ cli_cases ────────────────┘
//! ```
//!
//! The player answers as the original server did, with the ids and secrets of the recording, and compares what our
//! node says with what the original node said. The original dials anew for every operation and repeats its catalog;
//! ours does not: `sequence` holds what is left of an exchange without repetitions. Everything else that differs on
//! purpose stands in `differences` with its reason, and an entry that does not occur is a failure.

mod cli_cases;
mod compare;
mod differences;
mod golden;
mod player;
mod recording;
mod sequence;
mod server;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result};

use self::differences::Expected;
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

/// How many scenarios are played beside each other: their nodes wait most of the time.
const AT_ONCE: usize = 4;

/// Where what was recorded and what our node does part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Difference {
    /// What the recording shows.
    recorded: String,
    /// What ours did instead.
    ours: String,
}

impl Difference {
    fn new(recorded: impl Into<String>, ours: impl Into<String>) -> Self {
        Self {
            recorded: recorded.into(),
            ours: ours.into(),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recorded {}\n  ours {}", self.recorded, self.ours)
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
        skipped(self.name.split_once('/')?.1)
    }

    fn problems(&self, binary: &Path, expected: &Expected) -> Vec<String> {
        match self.play(binary, expected) {
            Ok(found) => found.iter().map(ToString::to_string).collect(),
            Err(error) => vec![format!("{error:#}")],
        }
    }

    /// Plays it. Differences that were expected are taken out and remembered.
    fn play(&self, binary: &Path, expected: &Expected) -> Result<Vec<Difference>> {
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

/// Why no node can play a topic, if so.
pub fn skipped(topic: &str) -> Option<&'static str> {
    let mut entries = LEFT_OUT.iter();
    entries
        .find(|(left_out, _)| *left_out == topic)
        .map(|(_, reason)| *reason)
}

/// Reads a recording and returns its golden text.
pub fn read_recording(path: &Path) -> Result<String> {
    let topic = path.file_stem().and_then(|stem| stem.to_str());
    let read = || {
        let text = std::fs::read_to_string(path)?;
        golden::from_recording(topic.context("a recording without a name")?, &text)
    };
    read().with_context(|| format!("in {}", path.display()))
}

/// Plays scenarios, some at once, and tells of each: its name and what is wrong with it.
///
/// Gives the number of those that went wrong, and the listed differences that did not occur.
pub fn play_all(
    binary: &Path,
    scenarios: &[Scenario],
    tell: impl Fn(&str, &[String]) + Sync,
) -> (usize, Vec<String>) {
    let expected = Expected::default();
    let next = Mutex::new(scenarios.iter());
    let failed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let scenario = next.lock().expect("no player panics with the list").next();
                    let Some(scenario) = scenario else { break };
                    let problems = scenario.problems(binary, &expected);
                    failed.fetch_add(usize::from(!problems.is_empty()), Ordering::Relaxed);
                    tell(&scenario.name, &problems);
                }
            });
        }
    });
    let played: Vec<&str> = scenarios.iter().map(|scenario| &*scenario.name).collect();
    (failed.into_inner(), expected.gone(&played))
}

/// The scenarios in a directory of recordings, or of golden files, whose names end in `extension`.
pub fn scenarios(directory: &Path, extension: &str) -> Result<Vec<Scenario>> {
    let name_of = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
    let generation = name_of(&directory.canonicalize()?).context("a directory without a name")?;
    let mut scenarios = Vec::new();
    for path in replay::files(directory, extension)? {
        let topic = path.file_stem().and_then(|stem| stem.to_str());
        let topic = topic.context("a recording without a name")?;
        scenarios.push(Scenario {
            name: format!("{generation}/{topic}"),
            path,
        });
    }
    Ok(scenarios)
}
