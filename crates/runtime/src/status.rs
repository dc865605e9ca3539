//! The texts of a service's live files (sections 6, 8.2 and 9.6), rendered from values.

use spiderweb_protocol::canonical::ObjectWriter;
use spiderweb_protocol::{Dialect, ServiceId};

use crate::policy::{Machine, Stats, Threshold};
use crate::spec::RuntimeKind;

/// `result.json` and `status.json` before the first invoke, and after a reset.
pub(crate) const IDLE: &str = r#"{"state":"idle"}"#;

/// `status.json` of a disabled service.
pub(crate) const DISABLED: &str = r#"{"state":"offline","reason":"disabled"}"#;

/// What all texts of a service have in common.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) dialect: Dialect,
    pub(crate) id: ServiceId,
    pub(crate) runtime: RuntimeKind,
    pub(crate) timeout_ms: u64,
}

/// An invoke that did not end well, for its status.
pub(crate) struct Failure {
    pub(crate) state: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) retry_after_ms: u64,
}

impl Failure {
    pub(crate) const fn error(retry_after_ms: u64) -> Self {
        Self {
            state: "error",
            reason: "invoke_error",
            retry_after_ms,
        }
    }

    pub(crate) const fn timeout(retry_after_ms: u64) -> Self {
        Self {
            state: "timeout",
            reason: "timeout",
            retry_after_ms,
        }
    }

    pub(crate) const fn disabled(threshold: Threshold) -> Self {
        Self {
            state: "offline",
            reason: threshold.wire(),
            retry_after_ms: 0,
        }
    }

    pub(crate) const CANCELLED: Self = Self {
        state: "error",
        reason: "cancelled",
        retry_after_ms: 0,
    };
}

fn counters(object: ObjectWriter, stats: &Stats) -> ObjectWriter {
    object
        .json("invokes_total", stats.invokes_total)
        .json("failures_total", stats.failures_total)
        .json("consecutive_failures", stats.consecutive_failures)
        .json("timeouts_total", stats.timeouts_total)
        .json("consecutive_timeouts", stats.consecutive_timeouts)
}

fn last(object: ObjectWriter, stats: &Stats) -> ObjectWriter {
    object
        .json("last_duration_ms", stats.last_duration_ms)
        .json("last_started_ms", stats.last_started_ms)
        .json("last_finished_ms", stats.last_finished_ms)
        .json("last_exit_code", stats.last_exit_code)
}

impl Subject {
    fn introduce(&self, object: ObjectWriter) -> ObjectWriter {
        object
            .text(self.dialect.id_member(), self.id.as_str())
            .text("runtime", self.runtime.wire())
    }

    pub(crate) fn running(&self, stats: &Stats, started_ms: u64) -> String {
        let object = self.introduce(ObjectWriter::new().text("state", "running"));
        counters(object.json("started_ms", started_ms), stats)
            .json("timeout_ms", self.timeout_ms)
            .finish()
    }

    /// After a success with this many bytes of result.
    pub(crate) fn ok(&self, stats: &Stats, bytes: usize) -> String {
        let object = self
            .introduce(ObjectWriter::new().text("state", "ok"))
            .json("updated_ms", stats.last_finished_ms)
            .json("duration_ms", stats.last_duration_ms)
            .json("bytes", bytes)
            .json("exit_code", stats.last_exit_code);
        counters(object, stats).finish()
    }

    pub(crate) fn failed(&self, stats: &Stats, failure: &Failure) -> String {
        let object = ObjectWriter::new()
            .text("state", failure.state)
            .text("reason", failure.reason);
        let object = self
            .introduce(object)
            .json("updated_ms", stats.last_finished_ms)
            .json("duration_ms", stats.last_duration_ms)
            .json("exit_code", stats.last_exit_code);
        counters(object, stats)
            .json("retry_after_ms", failure.retry_after_ms)
            .finish()
    }

    pub(crate) fn backoff(&self, rest_ms: u64) -> String {
        let object = ObjectWriter::new()
            .text("state", "backoff")
            .text("reason", "cooldown");
        self.introduce(object).json("retry_after_ms", rest_ms).finish()
    }

    /// `health.json`. `manifest_error` is there only while the manifest on the disk is not the one in force.
    pub(crate) fn health(&self, machine: &Machine, now_ms: u64, manifest_error: Option<&str>) -> String {
        let Machine {
            enabled,
            policy,
            stats,
            cooldown_until_ms,
            restarts_total,
            last_control_op,
            last_control_ms,
        } = machine;
        let rest_ms = machine.cooldown_rest(now_ms);
        let supervision = ObjectWriter::new()
            .json("max_consecutive_failures", policy.max_consecutive_failures)
            .json("max_consecutive_timeouts", policy.max_consecutive_timeouts)
            .json("cooldown_ms", policy.cooldown_ms)
            .json("auto_disable_on_threshold", policy.auto_disable_on_threshold)
            .finish();
        let object = ObjectWriter::new()
            .text("state", machine.health(now_ms).wire())
            .json("enabled", enabled);
        let object = self
            .introduce(object)
            .json("timeout_ms", self.timeout_ms)
            .text("last_control_op", last_control_op.wire())
            .json("last_control_ms", last_control_ms)
            .json("restarts_total", restarts_total);
        let object = counters(object, stats)
            .json("cooldown_until_ms", cooldown_until_ms)
            // Counted from now, so a pause that is over has no rest (section 19, no 16).
            .json("cooldown_remaining_ms", rest_ms)
            .json("supervision", supervision);
        let object = last(object, stats);
        match manifest_error {
            Some(error) => object.text("manifest_error", error).finish(),
            None => object.finish(),
        }
    }
}

/// `metrics.json`: with the times of the last invoke once there was one.
pub(crate) fn metrics(stats: &Stats, with_last: bool) -> String {
    let object = counters(ObjectWriter::new(), stats);
    if with_last {
        last(object, stats).finish()
    } else {
        object.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    fn demo() -> Subject {
        Subject {
            dialect: Dialect::Seed,
            id: ServiceId::new("demo").unwrap(),
            runtime: RuntimeKind::NativeProc,
            timeout_ms: 500,
        }
    }

    const STATS: Stats = Stats {
        invokes_total: 3,
        failures_total: 2,
        consecutive_failures: 2,
        timeouts_total: 1,
        consecutive_timeouts: 1,
        last_duration_ms: 500,
        last_started_ms: 1000,
        last_finished_ms: 1500,
        last_exit_code: -1,
    };

    #[test]
    fn texts_are_those_of_the_contract() {
        assert_eq!(
            demo().running(&STATS, 1000),
            r#"{"state":"running","service_id":"demo","runtime":"native_proc","started_ms":1000,"invokes_total":3,"failures_total":2,"consecutive_failures":2,"timeouts_total":1,"consecutive_timeouts":1,"timeout_ms":500}"#
        );
        assert_eq!(
            demo().failed(&STATS, &Failure::timeout(1500)),
            r#"{"state":"timeout","reason":"timeout","service_id":"demo","runtime":"native_proc","updated_ms":1500,"duration_ms":500,"exit_code":-1,"invokes_total":3,"failures_total":2,"consecutive_failures":2,"timeouts_total":1,"consecutive_timeouts":1,"retry_after_ms":1500}"#
        );
        assert_eq!(
            demo().ok(&Stats::default(), 11),
            r#"{"state":"ok","service_id":"demo","runtime":"native_proc","updated_ms":0,"duration_ms":0,"bytes":11,"exit_code":0,"invokes_total":0,"failures_total":0,"consecutive_failures":0,"timeouts_total":0,"consecutive_timeouts":0}"#
        );
        assert_eq!(
            demo().backoff(1470),
            r#"{"state":"backoff","reason":"cooldown","service_id":"demo","runtime":"native_proc","retry_after_ms":1470}"#
        );
        assert_eq!(
            metrics(&Stats::default(), false),
            r#"{"invokes_total":0,"failures_total":0,"consecutive_failures":0,"timeouts_total":0,"consecutive_timeouts":0}"#
        );
        assert!(metrics(&STATS, true).ends_with(
            r#","last_duration_ms":500,"last_started_ms":1000,"last_finished_ms":1500,"last_exit_code":-1}"#
        ));
    }

    #[test]
    fn health_speaks_the_dialect_and_is_never_stale() {
        let fresh = demo().health(&Machine::default(), 7, None);
        assert_eq!(
            fresh,
            r#"{"state":"online","enabled":true,"service_id":"demo","runtime":"native_proc","timeout_ms":500,"last_control_op":"init","last_control_ms":0,"restarts_total":0,"invokes_total":0,"failures_total":0,"consecutive_failures":0,"timeouts_total":0,"consecutive_timeouts":0,"cooldown_until_ms":0,"cooldown_remaining_ms":0,"supervision":{"max_consecutive_failures":0,"max_consecutive_timeouts":0,"cooldown_ms":0,"auto_disable_on_threshold":true},"last_duration_ms":0,"last_started_ms":0,"last_finished_ms":0,"last_exit_code":0}"#
        );
        let paused = Machine {
            cooldown_until_ms: 100,
            policy: Policy {
                cooldown_ms: 80,
                ..Policy::default()
            },
            ..Machine::default()
        };
        let head = Subject {
            dialect: Dialect::Head,
            ..demo()
        };
        let now = |at| head.health(&paused, at, Some("broken \"file\""));
        assert!(now(40).contains(r#""cooldown_until_ms":100,"cooldown_remaining_ms":60"#));
        assert!(now(100).contains(r#""cooldown_until_ms":100,"cooldown_remaining_ms":0"#));
        assert!(now(40).starts_with(r#"{"state":"degraded","enabled":true,"venom_id":"demo""#));
        assert!(now(100).ends_with(r#","manifest_error":"broken \"file\""}"#));
    }
}
