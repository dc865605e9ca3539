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
#![forbid(unsafe_code)]

pub mod catalog;
pub mod manifest;
pub mod pairing;
pub mod state;

mod config;
mod control;
mod dispatch;
mod lease;
mod listener;
mod node;
mod services;
mod session;
mod shared;

pub use catalog::Disclosure;
pub use config::{
    ControlConfig, DEFAULT_RELOAD, ExportConfig, Invites, Limits, NodeConfig, PairMode, ServicesConfig,
    TokenFileError, TokenKeeper, TokenSource,
};
pub use manifest::Sources as ManifestSources;
pub use node::{Node, StartError};
pub use services::ManifestFaults;
pub use spiderweb_daemon::DiskWork;
pub use spiderweb_transport::{Authorization, Dialer, WsUrl, WsUrlError};
pub use state::{LockError, StoreError};
