//! The hub through its public door: real sockets on port 0, scripted nodes and clients.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers"
)]

mod catalog;
mod generations;
mod lease;
mod metrics;
mod pairing;
mod peer;
mod projects;
mod refusals;
mod registry;
mod replay;
mod restart;
mod routing;
