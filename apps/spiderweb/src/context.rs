//! What commands work with.

use tokio_util::sync::CancellationToken;

use crate::global::Global;
use crate::output::Output;

/// What every command gets.
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) out: Output,
    /// Cancelled by the first interrupt, so that partial copies are removed; the second one ends the program.
    pub(crate) stop: CancellationToken,
}
