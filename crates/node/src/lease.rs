//! When a lease is renewed: a pure function of the time and of what the hub granted.
//!
//! A lease that ends takes the node's record with it, so it is renewed long before: after a third of it, or earlier if
//! the operator wants. An attempt that fails is repeated with growing pauses, which get short again when the end is
//! near.

use std::time::Duration;

use tokio::time::Instant;

/// Shortest wait: whatever is configured, nothing spins.
const SHORTEST: Duration = Duration::from_millis(100);

/// Shortest pause that the nearing end of a lease makes.
const HURRY: Duration = Duration::from_secs(1);

/// Shortest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A lease, and how it is to be kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    ttl: Duration,
    interval: Duration,
    length: Duration,
    ends: Instant,
}

impl Lease {
    /// A lease that may end any moment, as far as is known: `ttl` is what is asked for, `interval` the longest wait.
    pub(crate) fn unknown(ttl: Duration, interval: Duration, now: Instant) -> Self {
        Self {
            ttl,
            interval,
            length: ttl,
            ends: now,
        }
    }

    /// Takes a renewal that was asked for at `asked`. The hub's clock may be wrong, or ours: an end that cannot be
    /// is not believed.
    pub(crate) fn renewed(&mut self, asked: Instant, now_ms: u64, expires_at_ms: u64) {
        let granted = Duration::from_millis(expires_at_ms.saturating_sub(now_ms));
        self.length = if granted.is_zero() {
            self.ttl
        } else {
            granted.max(HURRY).min(self.ttl)
        };
        self.ends = asked + self.length;
    }

    /// How long to wait for an answer: one that never comes must not cost the lease.
    pub(crate) fn patience(&self, now: Instant, longest: Duration) -> Duration {
        let left = self.ends.saturating_duration_since(now);
        let within = if left.is_zero() { self.length } else { left };
        (within / 3).max(PATIENCE).min(longest)
    }

    /// How long to wait after a renewal.
    pub(crate) fn pause(&self) -> Duration {
        self.interval.min(self.length / 3).max(SHORTEST)
    }

    /// How long to wait after an attempt that failed, where `usual` would be the pause.
    pub(crate) fn retry(&self, now: Instant, usual: Duration) -> Duration {
        let left = self.ends.saturating_duration_since(now);
        let pause = if left.is_zero() {
            usual
        } else {
            usual.min((left / 4).max(HURRY))
        };
        pause.max(SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_answer_is_awaited_for_a_third_of_what_is_left() {
        let (now, longest) = (Instant::now(), Duration::from_secs(45));
        for (ttl_s, left_s, patience_s) in [(900, 900, 45), (30, 20, 6), (30, 5, 2), (1, 1, 2), (30, 0, 10)] {
            let mut lease = Lease::unknown(Duration::from_secs(ttl_s), MINUTE, now);
            if left_s > 0 {
                lease.renewed(now, 1_000, 1_000 + left_s * 1_000);
            }
            assert_eq!(
                lease.patience(now, longest).as_secs(),
                patience_s,
                "{ttl_s} {left_s}"
            );
        }
    }

    #[test]
    fn a_lease_is_renewed_after_a_third_of_it_or_earlier() {
        let now = Instant::now();
        for (ttl, interval, granted_ms, pause) in [
            (900_000, 60_000, 900_000, 60_000),
            (900_000, 600_000, 900_000, 300_000),
            (3_000, 60_000, 3_000, 1_000),
            (900_000, 600_000, 30_000, 10_000),
            (900_000, 60_000, 0, 60_000),
            (900_000, 0, 900_000, 100),
        ] {
            let millis = Duration::from_millis;
            let mut lease = Lease::unknown(millis(ttl), millis(interval), now);
            lease.renewed(now, 5_000, if granted_ms == 0 { 17 } else { 5_000 + granted_ms });
            assert_eq!(lease.pause(), millis(pause), "{ttl} {interval} {granted_ms}");
        }
    }

    #[test]
    fn attempts_come_quickly_when_the_end_is_near() {
        let now = Instant::now();
        let mut lease = Lease::unknown(MINUTE, MINUTE, now);
        assert_eq!(lease.retry(now, MINUTE), MINUTE, "nothing to lose");
        lease.renewed(now, 0, 60_000);
        assert_eq!(lease.retry(now, Duration::from_secs(5)), Duration::from_secs(5));
        let near = now + Duration::from_secs(52);
        assert_eq!(lease.retry(near, MINUTE), Duration::from_secs(2));
        assert_eq!(lease.retry(now + Duration::from_secs(59), MINUTE), HURRY);
        assert_eq!(lease.retry(now + MINUTE, MINUTE), MINUTE);
    }

    proptest! {
        #[test]
        fn whatever_the_clocks_say_there_are_three_attempts_before_the_end(
            ttl_ms in 1_000u64..2_592_000_000,
            interval_ms in 0u64..10_000_000,
            now_ms in 0u64..u64::MAX / 2,
            expires_at_ms in any::<u64>(),
            usual_ms in 0u64..600_000,
        ) {
            let now = Instant::now();
            let ttl = Duration::from_millis(ttl_ms);
            let mut lease = Lease::unknown(ttl, Duration::from_millis(interval_ms), now);
            lease.renewed(now, now_ms, expires_at_ms);
            let pause = lease.pause();
            prop_assert!(pause >= SHORTEST);
            prop_assert!(pause * 3 <= ttl);
            prop_assert!(pause <= Duration::from_millis(interval_ms).max(SHORTEST));
            let usual = Duration::from_millis(usual_ms);
            let retry = lease.retry(now + pause, usual);
            prop_assert!(retry >= SHORTEST && retry <= usual.max(SHORTEST));
        }
    }
}
