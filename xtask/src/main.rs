//! Project chores: `cargo xtask --help`.
//!
//! What takes a careful person to remember is a command here, and CI runs it.
#![forbid(unsafe_code)]

mod build;
mod check_deps;
mod demo;
mod dist;
mod package;
#[cfg(unix)]
mod recordings;
mod schema;
mod wasm;
#[cfg(unix)]
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
    #[cfg(unix)]
    #[command(flatten)]
    Recordings(recordings::Chore),
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
    #[cfg(unix)]
    WindowsSmoke(windows_smoke::Arguments),
}

fn main() -> Result<()> {
    match Cli::parse().chore {
        Chore::CheckDeps => check_deps::run(),
        #[cfg(unix)]
        Chore::Recordings(chore) => recordings::run(&chore),
        Chore::Schema => schema::run(),
        Chore::Dist(arguments) => dist::run(&arguments),
        Chore::Package(arguments) => package::run(&arguments),
        Chore::Demo(arguments) => demo::run(&arguments),
        Chore::CheckWasm(arguments) => wasm::check(&arguments),
        #[cfg(unix)]
        Chore::WindowsSmoke(arguments) => windows_smoke::run(&arguments),
    }
}
