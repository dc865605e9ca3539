//! `spiderweb`: shows, reads and writes what nodes export.
//!
//! The program is in a library so that its command line can be described without running it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

mod bench;
mod called;
mod cli;
mod commands;
mod context;
mod failure;
mod global;
mod hub;
mod output;
mod progress;
mod remote;
mod units;

use cli::Cli;
use failure::Failure;

/// The command line, for completions and manual pages.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// The program.
pub fn main() -> ExitCode {
    let cli = Cli::read();
    cli.global.color.write_global();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::local("cannot start", error).report(),
    };
    let result = runtime.block_on(commands::run(cli));
    // A thread may be reading standard input and would not notice.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
