//! Control mode of the real binary against a hub that follows scripts: the hub's side of recorded exchanges, over real
//! sockets.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a broken assumption should stop the test where it is noticed"
)]

mod catalog;
mod hub;
mod inside;
mod pairing;
mod peers;
mod place;
mod refusals;
mod script;
mod state;
#[cfg(feature = "tls")]
mod tls;
mod tunnel;
mod with_hub;
