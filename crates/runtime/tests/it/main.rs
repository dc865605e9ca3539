//! Drivers of all runtimes through the public door.
#![allow(clippy::unwrap_used, reason = "test helpers")]

mod contract;
mod library;
mod process;
mod support;
mod terminal;
#[cfg(feature = "wasm")]
mod wasm;
