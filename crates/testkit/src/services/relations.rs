//! What the numbers of the moment must be to each other.

use serde_json::Value;

/// What a look at a service showed.
pub(super) struct Seen {
    /// `status.json`
    pub(super) status: Value,
    /// `metrics.json`
    pub(super) metrics: Value,
    /// `health.json`
    pub(super) health: Value,
    /// How many bytes `result.json` holds.
    pub(super) result: usize,
    /// When the look began, in Unix milliseconds.
    pub(super) began_ms: i64,
}

/// What contradicts itself.
pub(super) fn contradictions(seen: &Seen) -> Vec<String> {
    let Seen {
        status,
        metrics,
        health,
        result,
        began_ms,
    } = seen;
    let number = |object: &Value, name: &str| object[name].as_i64();
    let mut equal = Vec::new();
    let in_health = |name| (format!("health.{name}"), number(health, name));
    // Before the first run the metrics have five members.
    for name in [
        "last_duration_ms",
        "last_started_ms",
        "last_finished_ms",
        "last_exit_code",
    ] {
        if let Some(found) = number(metrics, name) {
            equal.push(((format!("metrics.{name}"), Some(found)), in_health(name)));
        }
    }
    let started = number(health, "last_started_ms").unwrap_or(0);
    let finished = number(health, "last_finished_ms").unwrap_or(0);
    if finished != 0 {
        let lasted = ("finished less started".to_owned(), Some(finished - started));
        equal.push((in_health("last_duration_ms"), lasted));
    }
    let cooldown = number(&health["supervision"], "cooldown_ms").unwrap_or(0);
    if let Some(until) = number(health, "cooldown_until_ms").filter(|until| *until != 0) {
        let sum = finished.saturating_add(cooldown);
        let until = ("health.cooldown_until_ms".to_owned(), Some(until));
        equal.push((until, ("finished and cooldown_ms".to_owned(), Some(sum))));
        if let (Some(rest), "error" | "timeout") = (
            number(status, "retry_after_ms"),
            status["state"].as_str().unwrap_or_default(),
        ) {
            let rest = ("status.retry_after_ms".to_owned(), Some(rest));
            equal.push((rest, ("cooldown_ms".to_owned(), Some(cooldown))));
        }
    }
    if let Some(updated) = number(status, "updated_ms") {
        let updated = ("status.updated_ms".to_owned(), Some(updated));
        equal.push((updated, in_health("last_finished_ms")));
        let lasted = ("status.duration_ms".to_owned(), number(status, "duration_ms"));
        equal.push((lasted, in_health("last_duration_ms")));
    }
    if let Some(bytes) = number(status, "bytes") {
        let bytes = ("status.bytes".to_owned(), Some(bytes));
        equal.push((
            bytes,
            ("the result's size".to_owned(), i64::try_from(*result).ok()),
        ));
    }
    let mut problems = Vec::new();
    let until = number(health, "cooldown_until_ms").unwrap_or(0);
    let rest = number(health, "cooldown_remaining_ms").unwrap_or(0);
    let most = (until - began_ms).clamp(0, cooldown);
    if !(0..=most).contains(&rest) {
        problems.push(format!(
            "{rest} ms of the pause are left instead of at most {most}"
        ));
    }
    let different = equal.into_iter().filter(|(one, other)| one.1 != other.1);
    problems
        .extend(different.map(|((one, is), (other, of))| format!("{one} is {is:?} and {other} is {of:?}")));
    problems
}
