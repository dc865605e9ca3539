//! Simulation: nodes, a hub and clients on one thread, under a clock that the runtime moves and a network that fails.
//!
//! One number decides everything; `docs/simulation.md` says what, and what holds in the end. Each seed is played by a
//! process of its own.

#![allow(
    missing_docs,
    clippy::indexing_slicing,
    reason = "a program of tests: whoever indexes wrongly has failed"
)]

mod client;
mod dice;
mod ear;
mod entropy;
mod network;
mod operator;
mod run;
mod seeds;
mod trace;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::var("SPIDERWEB_SIM_PLAY") {
        Ok(seed) => run::play(&seed),
        Err(_) => seeds::run(),
    }
}
