//! Drivers of all runtimes through the public door.
#![allow(clippy::unwrap_used, reason = "test helpers")]

// Their drivers are written for a shell of Unix.
#[cfg(unix)]
mod contract;
#[cfg(unix)]
mod library;
#[cfg(unix)]
mod process;
mod support;
#[cfg(unix)]
mod terminal;
#[cfg(feature = "wasm")]
mod wasm;
