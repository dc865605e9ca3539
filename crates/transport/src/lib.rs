//! WebSocket links that carry text frames.
//!
//! This crate moves messages between a socket and its owner and never reads them: what a text frame means is the
//! business of the crates above. From the bottom up:
//!
//! ```text
//! Link              bytes: a TCP stream or an in-process pipe
//! Frame, Decoder    frames as values, no I/O
//! WebSocket         a link + a read buffer + an output queue, owned by one task
//! Upgrade, dial     how a link becomes a WebSocket, serving and dialling
//! Dialer            where a dialled link comes from
//! Backoff           when to dial again
//! ```
//!
//! Servers go `TcpListener` → [`Link::tcp`] → [`Upgrade::accept`] → look at the path → [`Upgrade::complete`].
//! Clients call [`dial`]. Tests use [`WebSocket::memory_pair`].
#![forbid(unsafe_code)]

mod backoff;
mod client;
mod decode;
mod dialer;
mod frame;
mod head;
mod link;
mod mask;
mod outbox;
mod random;
mod server;
mod socket;
#[cfg(feature = "tls")]
mod tls;
mod url;

pub use backoff::Backoff;
pub use client::{Authorization, AuthorizationError, DialError, DialOptions, dial, upgrade_over};
pub use decode::{Decoded, Decoder, FrameError, Message};
pub use dialer::Dialer;
pub use frame::{Frame, MAX_PAYLOAD, Masking};
pub use link::Link;
pub use server::{Asked, PageRequest, Upgrade, UpgradeError, UpgradeLimits};
pub use socket::{SocketError, WebSocket};
pub use url::{WsUrl, WsUrlError};
