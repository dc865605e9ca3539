//! How long a program that somebody is still writing is waited for.
//!
//! The system does not start a file that anybody has open for writing. Usually that is a copy about to end, or a
//! process that was forked while somebody wrote and has not become another program yet; both are over in a moment, on
//! a machine with little to do.

use std::time::Duration;

/// All pauses together.
const MOST: Duration = Duration::from_secs(1);

/// The first pause; doubled up to the longest.
const FIRST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(50);

/// What is left of the time to wait.
#[derive(Debug)]
pub(crate) struct Patience {
    next: Duration,
    rest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            next: FIRST,
            rest: MOST,
        }
    }
}

impl Patience {
    /// How long to wait before the next attempt; `None` if there should be none.
    pub(crate) fn pause(&mut self) -> Option<Duration> {
        let pause = self.next.min(self.rest);
        self.rest -= pause;
        self.next = (self.next * 2).min(LONGEST);
        (!pause.is_zero()).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_and_end() {
        let mut patience = Patience::default();
        let pauses: Vec<_> = std::iter::from_fn(|| patience.pause()).collect();
        assert!(
            pauses
                .iter()
                .all(|pause| (Duration::from_millis(1)..=LONGEST).contains(pause))
        );
        assert_eq!(pauses.iter().sum::<Duration>(), MOST);
        assert_eq!(pauses.first(), Some(&FIRST));
    }
}
