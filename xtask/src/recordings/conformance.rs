//! Replays recordings of the original node against a binary of ours.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use spiderweb_testkit::replay::departures::Departures;
use spiderweb_testkit::replay::{self, recording};

use super::tally::Tally;

/// Arguments of `cargo xtask conformance`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The node to test
    #[arg(long, required_unless_present = "list_unchanged")]
    binary: Option<PathBuf>,
    /// Directory of recordings (*.jsonl)
    #[arg(long)]
    recordings: PathBuf,
    /// Only print the topics in which ours must answer exactly as the original, on one line
    #[arg(long, conflicts_with = "binary")]
    list_unchanged: bool,
    /// Topics to replay; all when none is given
    topics: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let mut recordings = Vec::new();
    for path in replay::files(&arguments.recordings, recording::EXTENSION)? {
        let topic = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .context("a recording without a name")?;
        if arguments.topics.is_empty() || arguments.topics.iter().any(|wanted| wanted == topic) {
            recordings.push((topic.to_owned(), path));
        }
    }
    for wanted in &arguments.topics {
        if !recordings.iter().any(|(topic, _)| topic == wanted) {
            bail!(
                "there is no recording {wanted} in {}",
                arguments.recordings.display()
            );
        }
    }
    match &arguments.binary {
        Some(binary) => replay_all(binary, &recordings),
        None => list_unchanged(&recordings),
    }
}

fn replay_all(binary: &Path, recordings: &[(String, PathBuf)]) -> Result<()> {
    let mut tally = Tally::default();
    for (topic, path) in recordings {
        if let Some(reason) = replay::skipped(topic) {
            tally.skip(topic, reason);
            continue;
        }
        let script = replay::read_recording(path)?;
        match replay::unmet_need(&script)? {
            Some(reason) => tally.skip(topic, reason),
            None => tally.take(
                topic,
                replay::replay(binary, &script).map(|report| report.differences),
            ),
        }
    }
    tally.finish()
}

fn list_unchanged(recordings: &[(String, PathBuf)]) -> Result<()> {
    let departures = Departures::of_this_node()?;
    let changed = departures.topics();
    let topics = recordings.iter().map(|(topic, _)| &**topic);
    let unchanged = topics.filter(|topic| replay::skipped(topic).is_none() && !changed.contains(topic));
    println!("{}", unchanged.collect::<Vec<_>>().join(" "));
    Ok(())
}
