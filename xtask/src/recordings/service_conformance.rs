//! Replays vectors of the original node's services against a binary of ours.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use spiderweb_testkit::services::{self, Artifacts};

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
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for path in services::vectors(&arguments.vectors)? {
        let topic = path.file_stem().and_then(|stem| stem.to_str());
        let topic = topic.context("a vector without a name")?;
        if !arguments.topics.is_empty() && !arguments.topics.iter().any(|wanted| wanted == topic) {
            continue;
        }
        if let Some(reason) = services::skipped(topic) {
            println!("skip {topic}: {reason}");
            skipped += 1;
            continue;
        }
        let text = services::read_vector(&path)?;
        if let Some(missing) = artifacts.missing_from(&text) {
            println!("skip {topic}: nothing was built for {missing}");
            skipped += 1;
            continue;
        }
        let problems: Vec<String> = match services::play(&text, &artifacts) {
            Ok(report) => report.differences.iter().map(ToString::to_string).collect(),
            Err(error) => vec![format!("{error:#}")],
        };
        if problems.is_empty() {
            println!("ok   {topic}");
            passed += 1;
            continue;
        }
        println!("FAIL {topic} ({})", problems.len());
        for problem in problems {
            println!("  {}", problem.replace('\n', "\n  "));
        }
        failed += 1;
    }
    println!("{passed} ok, {failed} failed, {skipped} skipped");
    ensure!(failed == 0, "the node differs from the vectors");
    ensure!(passed > 0 || skipped > 0, "there are no such vectors");
    Ok(())
}
