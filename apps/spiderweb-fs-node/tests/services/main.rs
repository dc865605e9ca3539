//! Namespace services of the real binary, with real drivers and through raw sockets: what waits for what, what is kept
//! over a restart and a reload, and how drivers end that mean no good.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a broken assumption should stop the test where it is noticed"
)]

mod examples;
mod hostile;
mod place;
mod recorded;
mod reload;
mod restart;
mod turns;
