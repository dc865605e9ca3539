//! Project chores: `cargo xtask --help`.
//!
//! What takes a careful person to remember is a command here, and CI runs it.

mod check_deps;
mod conformance;
mod golden;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Project chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Check that no crate of this workspace depends on one it must not know
    CheckDeps,
    /// Replay recordings of the original node against a binary of ours
    Conformance(conformance::Arguments),
    /// Make the golden files from recordings
    Golden(golden::Arguments),
}

fn main() -> Result<()> {
    match Cli::parse().chore {
        Chore::CheckDeps => check_deps::run(),
        Chore::Conformance(arguments) => conformance::run(&arguments),
        Chore::Golden(arguments) => golden::run(&arguments),
    }
}
