//! Becoming known to a hub.
//!
//! ```text
//!             invite accepted
//!   Unpaired ─────────────────────────────► Paired ──(hub does not know us)──► Unpaired
//!      │  ▲                                    ▲
//!      │  └── denied, or forgotten ──┐         │ approved
//!      └── request filed ──► AwaitingApproval ─┘
//! ```
//!
//! `machine.rs` decides, without clock and network; `flow.rs` asks the hub and waits.

mod flow;
mod machine;

pub(crate) use flow::pair;
pub(crate) use machine::is_hopeless;
pub use machine::{Identity, Machine, Outcome, Pace, Stage, Step};
