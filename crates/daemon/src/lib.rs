//! What the node and the hub have in common as daemons.
//!
//! [`Tasks`] is who runs and how everybody ends, [`accept`] a listener with a limit, [`WrongTokens`] what guessing costs,
//! [`EndSignals`] what the system says when the end has come, [`private`] files nobody else may read, [`with_causes`] an
//! error in one line, and [`logging`] the lines operators read. What either of them serves is its own business.
#![forbid(unsafe_code)]

mod accept;
mod causes;
#[cfg(feature = "logging")]
pub mod logging;
pub mod private;
mod signals;
mod tasks;
mod wrong_tokens;

pub use accept::accept;
pub use causes::with_causes;
pub use signals::EndSignals;
pub use tasks::{DiskWork, Tasks};
pub use wrong_tokens::WrongTokens;
