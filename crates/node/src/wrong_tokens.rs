//! Wrong tokens, and how they slow a guesser down.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures are forgotten after this long without a new one.
const FORGIVEN: Duration = Duration::from_secs(60);

/// Delay of the first answer to a wrong token, and what each further one adds.
const PAUSE: Duration = Duration::from_millis(100);

/// The delay stops growing after so many failures.
const MOST_PAUSES: u32 = 20;

/// Addresses told apart. Further ones count together: somebody who has that many is one guesser.
const MOST_ADDRESSES: usize = 1024;

/// Wrong tokens by the address they came from.
///
/// The answer to a wrong token is delayed, longer each time the address tries: guessing gets slow, and a mistyped
/// token costs a tenth of a second. Only the guesser's own connection waits.
#[derive(Default)]
pub(crate) struct WrongTokens(Mutex<HashMap<Option<IpAddr>, Failures>>);

struct Failures {
    count: u32,
    last: Instant,
}

impl WrongTokens {
    /// Notes a failure, and says how long its answer has to wait.
    pub(crate) fn pause(&self, address: Option<IpAddr>, now: Instant) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, failures| now.duration_since(failures.last) < FORGIVEN);
        let crowded = failures.len() >= MOST_ADDRESSES && !failures.contains_key(&address);
        let failures = failures
            .entry(if crowded { None } else { address })
            .or_insert(Failures { count: 0, last: now });
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        PAUSE * failures.count.min(MOST_PAUSES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn very_many_addresses_count_as_one() {
        let tokens = WrongTokens::default();
        let now = Instant::now();
        let from = |number: u32| tokens.pause(Some(std::net::Ipv4Addr::from(number).into()), now);
        for number in 0..10_000 {
            from(number);
        }
        assert!(tokens.0.lock().unwrap().len() <= MOST_ADDRESSES + 1);
        assert_eq!(from(20_000), PAUSE * MOST_PAUSES);
        assert_eq!(from(1), PAUSE * 2);
    }

    #[test]
    fn guessing_gets_slow_and_is_forgiven() {
        let tokens = WrongTokens::default();
        let now = Instant::now();
        let here = Some([127, 0, 0, 1].into());
        assert_eq!(tokens.pause(here, now), PAUSE);
        assert_eq!(tokens.pause(here, now), PAUSE * 2);
        assert_eq!(tokens.pause(None, now), PAUSE, "others do not wait");
        for _ in 0..100 {
            tokens.pause(here, now);
        }
        assert_eq!(tokens.pause(here, now), PAUSE * MOST_PAUSES);
        assert_eq!(tokens.pause(here, now + FORGIVEN), PAUSE);
    }
}
