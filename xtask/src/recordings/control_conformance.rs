//! Replays recorded exchanges between nodes and control servers against a binary of ours.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use spiderweb_testkit::control;
use spiderweb_testkit::replay::recording;

/// Arguments of `cargo xtask control-conformance`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The node to test
    #[arg(long)]
    binary: PathBuf,
    /// Directories of recordings (*.jsonl), one for each generation
    #[arg(long, required = true, num_args = 1..)]
    vectors: Vec<PathBuf>,
    /// Play only scenarios whose names contain this (repeatable)
    #[arg(long)]
    only: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let mut scenarios = Vec::new();
    for directory in &arguments.vectors {
        scenarios.extend(control::scenarios(directory, recording::EXTENSION)?);
    }
    let is_wanted = |name: &str| arguments.only.iter().any(|part| name.contains(part));
    scenarios.retain(|scenario| arguments.only.is_empty() || is_wanted(&scenario.name));
    let all = scenarios.len();
    scenarios.retain(|scenario| {
        let reason = scenario.left_out();
        if let Some(reason) = reason {
            println!("skip {}: {reason}", scenario.name);
        }
        reason.is_none()
    });
    let skipped = all - scenarios.len();
    let (failed, mut gone) = control::play_all(&arguments.binary, &scenarios, report);
    // A list for a whole generation says nothing about a part of it.
    gone.retain(|_| arguments.only.is_empty());
    for entry in &gone {
        println!("{entry}");
    }
    println!(
        "{} ok, {failed} failed, {skipped} skipped",
        scenarios.len() - failed
    );
    ensure!(failed == 0, "the node differs from the recordings");
    ensure!(gone.is_empty(), "listed differences do not occur any more");
    ensure!(all > 0, "there are no such recordings");
    Ok(())
}

/// Prints the outcome of a scenario in one piece.
fn report(name: &str, problems: &[String]) {
    if problems.is_empty() {
        println!("ok   {name}");
        return;
    }
    let mut text = format!("FAIL {name} ({})", problems.len());
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.replace('\n', "\n  "));
    }
    println!("{text}");
}
