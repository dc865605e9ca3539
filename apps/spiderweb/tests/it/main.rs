//! The program against a real node, as a person would use it.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod bench;
mod copies;
mod failures;
mod files;
mod hub_files;
mod hub_operator;
mod hub_setup;
mod listings;
mod services;
mod setup;
mod watching;
