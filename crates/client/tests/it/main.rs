//! The client against scripted peers: what it sends, and how it reads what comes back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod control;
mod hub;
mod peer;
mod pipeline;
mod recovery;
mod service;
mod store;
mod transfer;
mod tree;
