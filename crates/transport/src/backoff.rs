//! Delays between attempts: exponential, with jitter, without a clock.
//!
//! The n-th delay lies between half and the whole of `base · 2ⁿ`, capped at `max`. The random half keeps many nodes
//! that lost the same hub from coming back in step; the fixed half keeps a retry from being immediate.

use std::time::Duration;

use crate::random::SplitMix64;

/// A sequence of growing delays.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    attempts: u32,
    random: SplitMix64,
}

impl Backoff {
    /// Delays around `base`, doubling with every attempt, never above `max`.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self {
            base,
            max,
            attempts: 0,
            random: SplitMix64::from_os(),
        }
    }

    /// The same with a fixed seed, for tests that want the same delays every time.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        Self {
            random: SplitMix64::seeded(seed),
            ..self
        }
    }

    /// The delay before the next attempt; every call counts as one failed attempt.
    pub fn next_delay(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        self.attempts = self.attempts.saturating_add(1);
        let whole = self.base.saturating_mul(factor).min(self.max);
        whole / 2 + (whole / 2).mul_f64(self.fraction())
    }

    /// The first delay, with the same jitter: before the next attempt at something that costs the other side nothing.
    pub fn shortest(&mut self) -> Duration {
        let whole = self.base.min(self.max);
        whole / 2 + (whole / 2).mul_f64(self.fraction())
    }

    /// The longest delay, with the same jitter: before the next attempt at something that hardly gets better by
    /// itself.
    pub fn longest(&mut self) -> Duration {
        self.max / 2 + (self.max / 2).mul_f64(self.fraction())
    }

    /// A regular interval spread by a tenth to either side, so that those who started together part.
    pub fn spread(&mut self, interval: Duration) -> Duration {
        interval.mul_f64(0.9 + 0.2 * self.fraction())
    }

    /// 53 random bits are what a double holds exactly: a fraction in [0, 1).
    fn fraction(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Starts over: the last attempt worked.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Failed attempts since the start or the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_within_their_bounds_and_start_over() {
        let base = Duration::from_millis(100);
        let max = Duration::from_secs(5);
        let mut backoff = Backoff::new(base, max).seeded(7);
        for round in 0..2 {
            for attempt in 0..80_u32 {
                let whole = base.saturating_mul(1 << attempt.min(20)).min(max);
                let delay = backoff.next_delay();
                assert!(
                    delay >= whole / 2 && delay <= whole,
                    "round {round}, attempt {attempt}: {delay:?}"
                );
            }
            assert_eq!(backoff.attempts(), 80);
            assert!((max / 2..=max).contains(&backoff.longest()), "round {round}");
            assert!((base / 2..=base).contains(&backoff.shortest()), "round {round}");
            let spread = backoff.spread(base);
            assert!((base * 9 / 10..=base * 11 / 10).contains(&spread), "{spread:?}");
            backoff.reset();
        }
    }

    #[test]
    fn two_nodes_do_not_come_back_in_step() {
        let delays = |seed| {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).seeded(seed);
            [backoff.next_delay(), backoff.next_delay()]
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }
}
