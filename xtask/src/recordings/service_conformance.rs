//! Replays vectors of the original node's services against a binary of ours.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use spiderweb_testkit::services::{self, Artifacts};

use super::tally::Tally;

/// Arguments of `cargo xtask service-conformance`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The node to test; the reference drivers are looked for in its folder
    #[arg(long)]
    binary: PathBuf,
    /// Another folder with drivers (repeatable)
    #[arg(long = "drivers")]
    folders: Vec<PathBuf>,
    /// Directory of vectors (*.json)
    #[arg(long)]
    vectors: PathBuf,
    /// Vectors to replay; all when none is given
    topics: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let mut artifacts = Artifacts::beside(&arguments.binary)?;
    artifacts.folders.extend(arguments.folders.iter().cloned());
    let mut tally = Tally::default();
    for path in services::vectors(&arguments.vectors)? {
        let topic = path.file_stem().and_then(|stem| stem.to_str());
        let topic = topic.context("a vector without a name")?;
        if !arguments.topics.is_empty() && !arguments.topics.iter().any(|wanted| wanted == topic) {
            continue;
        }
        if let Some(reason) = services::skipped(topic) {
            tally.skip(topic, reason);
            continue;
        }
        let text = services::read_vector(&path)?;
        match artifacts.missing_from(&text) {
            Some(missing) => tally.skip(topic, format_args!("nothing was built for {missing}")),
            None => tally.take(
                topic,
                services::play(&text, &artifacts).map(|report| report.differences),
            ),
        }
    }
    tally.finish()
}
