//! The node daemon as a library.
//!
//! [`Node::start`] takes a checked [`NodeConfig`], opens the folders, listens, and serves every peer that says
//! hello. The way of a request is told in `docs/architecture.md`:
//!
//! ```text
//! listener ── connection ──► session (one task owns the socket)
//!                              │ hello, then requests
//!                              ├─ answered from memory, here and now
//!                              └─ lane ──► runners on the blocking pool ──► dispatch ──► fs
//! ```

mod config;
mod dispatch;
mod listener;
mod node;
mod session;
mod tasks;
mod wrong_tokens;

pub use config::{ExportConfig, Limits, NodeConfig};
pub use node::{Node, StartError};
