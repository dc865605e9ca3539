//! The hub: pairs nodes, keeps their leases and catalogs, and routes clients to them.
//!
//! ```text
//! listener ─► session/control ─► operations ─► registry (pure) ─► store
//!         ├─► session/tunnel ──┐
//!         └─► session/routed ──┴─► router ─► route (pure)
//! ```
//!
//! [`registry`] and `router/route` decide and do no I/O; everything else carries. A change is in the [`store`] before
//! anybody is told that it happened. The contract with nodes and tools of both generations is `docs/hub.md`.
#![forbid(unsafe_code)]

pub mod registry;
pub mod store;

mod audit;
mod clock;
mod config;
mod hub;
mod listener;
mod metrics;
mod operations;
mod outlet;
mod pump;
mod random;
mod router;
mod session;
mod shared;
mod tasks;
mod tokens;
mod watch;
mod wrong_tokens;

pub use clock::Clock;
pub use config::{Database, HubConfig, Limits, TokenConfig};
pub use hub::{Hub, StartError};
pub use random::{NoRandomness, Random};
pub use shared::OpenFailure;
pub use tasks::DiskWork;
pub use tokens::TokenError;
