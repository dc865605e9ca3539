//! Chores about recordings of the original. They show Linux, with its modes, links and attributes, and are replayed on Unix
//! only.

mod conformance;
mod control_conformance;
mod golden;
mod service_conformance;
mod tally;

use anyhow::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Chore {
    /// Replay recordings of the original node against a binary of ours
    Conformance(conformance::Arguments),
    /// Replay vectors of the original node's services against a binary of ours
    ServiceConformance(service_conformance::Arguments),
    /// Replay recorded exchanges with control servers against a binary of ours
    ControlConformance(control_conformance::Arguments),
    /// Make the golden files from recordings
    Golden(golden::Arguments),
}

pub(crate) fn run(chore: &Chore) -> Result<()> {
    match chore {
        Chore::Conformance(arguments) => conformance::run(arguments),
        Chore::ServiceConformance(arguments) => service_conformance::run(arguments),
        Chore::ControlConformance(arguments) => control_conformance::run(arguments),
        Chore::Golden(arguments) => golden::run(arguments),
    }
}
