//! Replays recorded exchanges between nodes and control servers against a binary of ours.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use spiderweb_testkit::control;
use spiderweb_testkit::replay::recording;

use super::tally::Tally;

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
    let mut tally = Tally::default();
    scenarios.retain(|scenario| {
        let reason = scenario.left_out();
        if let Some(reason) = reason {
            tally.skip(&scenario.name, reason);
        }
        reason.is_none()
    });
    let tally = Mutex::new(tally);
    let count = |name: &str, problems: &[String]| locked(&tally).count(name, problems);
    let (_, mut gone) = control::play_all(&arguments.binary, &scenarios, count);
    // A list for a whole generation says nothing about a part of it.
    gone.retain(|_| arguments.only.is_empty());
    for entry in &gone {
        println!("{entry}");
    }
    locked(&tally).finish()?;
    ensure!(gone.is_empty(), "listed differences do not occur any more");
    Ok(())
}

fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
