//! Project chores: `cargo xtask --help`.
//!
//! What takes a careful person to remember is a command here, and CI runs it.
#![forbid(unsafe_code)]

mod build;
mod check_deps;
mod conformance;
mod control_conformance;
mod demo;
mod dist;
mod golden;
mod package;
mod schema;
mod service_conformance;
mod wasm;
mod windows_smoke;

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
    /// Replay vectors of the original node's services against a binary of ours
    ServiceConformance(service_conformance::Arguments),
    /// Replay recorded exchanges with control servers against a binary of ours
    ControlConformance(control_conformance::Arguments),
    /// Make the golden files from recordings
    Golden(golden::Arguments),
    /// Write the JSON Schema of manifests to `docs/schema`
    Schema,
    /// Build everything that is shipped and lay it out
    Dist(dist::Arguments),
    /// Make packages of a distribution: archive, Debian package, container image, texts for package managers
    Package(package::Arguments),
    /// Show the whole system at work: hub, node, folder, terminal and services, until Ctrl-C
    Demo(demo::Arguments),
    /// Check that the committed WASM module is what its source gives
    CheckWasm(wasm::Arguments),
    /// See the Windows programs at work under Wine
    WindowsSmoke(windows_smoke::Arguments),
}

fn main() -> Result<()> {
    match Cli::parse().chore {
        Chore::CheckDeps => check_deps::run(),
        Chore::Conformance(arguments) => conformance::run(&arguments),
        Chore::ServiceConformance(arguments) => service_conformance::run(&arguments),
        Chore::ControlConformance(arguments) => control_conformance::run(&arguments),
        Chore::Golden(arguments) => golden::run(&arguments),
        Chore::Schema => schema::run(),
        Chore::Dist(arguments) => dist::run(&arguments),
        Chore::Package(arguments) => package::run(&arguments),
        Chore::Demo(arguments) => demo::run(&arguments),
        Chore::CheckWasm(arguments) => wasm::check(&arguments),
        Chore::WindowsSmoke(arguments) => windows_smoke::run(&arguments),
    }
}
