//! What of a service outlives the process (section 11).

use bytes::Bytes;

use crate::policy::{ControlOp, Policy, Stats};

/// The state of one service as it is stored. Every member is what it was after the last change that was
/// acknowledged; an invoke that was under way shows only in the counters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Saved {
    /// Whether invokes are allowed.
    pub enabled: bool,
    /// How often `control/restart` was used.
    pub restarts_total: u64,
    /// When the state was last changed by hand or by policy, in Unix milliseconds; 0 for never.
    pub last_control_ms: u64,
    /// What that change was.
    pub last_control_op: ControlOp,
    /// `config.json`, canonical.
    pub config: String,
    /// End of the pause after a failure, in Unix milliseconds; 0 for none.
    pub cooldown_until_ms: u64,
    /// The policy that `config` set.
    pub policy: Policy,
    /// Counters and times.
    pub stats: Stats,
    /// `result.json`, as the driver wrote it.
    pub result: Bytes,
    /// `status.json`.
    pub status: Bytes,
    /// `last_error.txt`, as the driver wrote it.
    pub last_error: Bytes,
}
