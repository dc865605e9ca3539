//! Whether a driver could be run, watched as a state machine without a clock (section 13).
//!
//! ```text
//!            good                  bad
//! starting ───────► running ◄──┐ ───────► backing off ──(pause over)──► starting
//!    │                 └─ good ┘               │
//!    └── bad ──────────────────────────────────┤ too many in a row, and the policy says so
//!                                              ▼
//!                                           disabled
//! ```
//!
//! The machine says when it wants to be [asked](Probe::due_at), its owner runs [`Driver::check`](crate::Driver) and
//! [tells](Probe::note) what came of it. No driver is run. What is known is published in the catalog (section 4.5)
//! and has no part in whether invokes are allowed.

use std::time::Duration;

/// Most bytes of an error in the catalog.
const MAX_ERROR: usize = 256;

/// What the catalog says of a start that failed, whatever the reason.
const START_FAILED: &str = "DriverProbeOffline";

/// When a driver is probed; the member `supervision` of a manifest's `runtime` (section 13.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbePolicy {
    /// Time between two checks of a driver that is well; not zero.
    pub check_interval: Duration,
    /// Pause after the first failure; zero to try again at once.
    pub backoff: Duration,
    /// Longest pause; at least `backoff`.
    pub max_backoff: Duration,
    /// Failures in a row that disable the service; 0 for never.
    pub max_consecutive_failures: u32,
    /// Whether that limit disables at all.
    pub auto_disable: bool,
}

impl Default for ProbePolicy {
    fn default() -> Self {
        Self {
            check_interval: Duration::from_secs(5),
            backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(30),
            max_consecutive_failures: 0,
            auto_disable: false,
        }
    }
}

impl ProbePolicy {
    /// The pause after this many failures in a row.
    fn pause(&self, failures: u64) -> Duration {
        let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let factor = 2u32.checked_pow(doublings).unwrap_or(u32::MAX);
        self.backoff.saturating_mul(factor).min(self.max_backoff)
    }
}

/// How a service stands in the catalog. Ordered from best to worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PublishedState {
    /// It can be used.
    Online,
    /// It failed lately.
    Degraded,
    /// It cannot be used.
    Offline,
}

impl PublishedState {
    /// The word in the catalog.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Degraded => "degraded",
            Self::Offline => "offline",
        }
    }
}

/// What the catalog says of a service's driver: `supervision_status` (section 4.5). Instants are Unix milliseconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProbeStatus {
    /// How it stands.
    pub state: PublishedState,
    /// Whether it is tried at all.
    pub enabled: bool,
    /// The last start succeeded, and no check failed since.
    pub running: bool,
    /// Starts tried.
    pub start_attempts_total: u64,
    /// Starts that succeeded after the first.
    pub restarts_total: u64,
    /// Failures since the last success.
    pub consecutive_failures: u64,
    /// End of the pause after a failure; 0 for none.
    pub backoff_until_ms: u64,
    /// Last change of `state`; 0 for never.
    pub last_transition_ms: u64,
    /// Last start that succeeded.
    pub last_healthy_ms: Option<u64>,
    /// What was wrong the last time, while it is.
    pub last_error: Option<String>,
}

impl ProbeStatus {
    /// Of a service without driver, or of one that was not probed yet.
    pub const fn unprobed(state: PublishedState) -> Self {
        Self {
            state,
            enabled: true,
            running: false,
            start_attempts_total: 0,
            restarts_total: 0,
            consecutive_failures: 0,
            backoff_until_ms: 0,
            last_transition_ms: 0,
            last_healthy_ms: None,
            last_error: None,
        }
    }

    /// The later of the two instants, if there was any.
    pub fn updated_at_ms(&self) -> Option<u64> {
        let transition = (self.last_transition_ms > 0).then_some(self.last_transition_ms);
        transition.max(self.last_healthy_ms)
    }
}

/// The probes of one service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    policy: ProbePolicy,
    status: ProbeStatus,
    /// When to probe next; `None` once disabled.
    due_at_ms: Option<u64>,
}

impl Probe {
    /// A service that is to be probed at once.
    pub const fn new(policy: ProbePolicy) -> Self {
        Self {
            policy,
            status: ProbeStatus::unprobed(PublishedState::Offline),
            due_at_ms: Some(0),
        }
    }

    /// When the next probe is due, in Unix milliseconds; `None` if there will be no further one.
    pub const fn due_at(&self) -> Option<u64> {
        self.due_at_ms
    }

    /// Whether it is due now. A clock that was set back does not put it off.
    pub fn is_due(&self, now_ms: u64) -> bool {
        let longest = self.policy.check_interval.max(self.policy.max_backoff);
        self.due_at_ms
            .is_some_and(|due| due <= now_ms || due > after(now_ms, longest))
    }

    /// What the catalog says.
    pub const fn status(&self) -> &ProbeStatus {
        &self.status
    }

    /// Takes what came of a probe. A disabled service stays so.
    pub fn note(&mut self, now_ms: u64, outcome: Result<(), &str>) {
        if !self.status.enabled {
            return;
        }
        let was_running = self.status.running;
        if !was_running {
            self.status.start_attempts_total += 1;
        }
        match outcome {
            Ok(()) => self.healthy(now_ms, was_running),
            Err(reason) => self.failed(now_ms, if was_running { reason } else { START_FAILED }),
        }
    }

    fn healthy(&mut self, now_ms: u64, was_running: bool) {
        if !was_running {
            if self.status.last_healthy_ms.is_some() {
                self.status.restarts_total += 1;
            }
            self.status.last_healthy_ms = Some(now_ms);
        }
        self.status.running = true;
        self.status.consecutive_failures = 0;
        self.status.backoff_until_ms = 0;
        self.status.last_error = None;
        self.due_at_ms = Some(after(now_ms, self.policy.check_interval));
        self.enter(now_ms, PublishedState::Online);
    }

    fn failed(&mut self, now_ms: u64, reason: &str) {
        self.status.running = false;
        self.status.consecutive_failures += 1;
        self.status.last_error = Some(cut(reason).to_owned());
        let limit = u64::from(self.policy.max_consecutive_failures);
        if self.policy.auto_disable && limit > 0 && self.status.consecutive_failures >= limit {
            self.status.enabled = false;
            self.status.backoff_until_ms = 0;
            self.due_at_ms = None;
            self.enter(now_ms, PublishedState::Offline);
        } else {
            let until = after(now_ms, self.policy.pause(self.status.consecutive_failures));
            self.status.backoff_until_ms = until;
            self.due_at_ms = Some(until);
            self.enter(now_ms, PublishedState::Degraded);
        }
    }

    fn enter(&mut self, now_ms: u64, state: PublishedState) {
        // What the first probe finds is news, whatever was assumed before.
        if self.status.state != state || self.status.last_transition_ms == 0 {
            self.status.state = state;
            self.status.last_transition_ms = now_ms;
        }
    }
}

/// As much of an error as the catalog takes.
fn cut(reason: &str) -> &str {
    let longest = (0..=MAX_ERROR).rev().find_map(|end| reason.get(..end));
    if reason.len() <= MAX_ERROR {
        reason
    } else {
        longest.unwrap_or_default()
    }
}

fn after(now_ms: u64, wait: Duration) -> u64 {
    now_ms.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(backoff: u64, max_backoff: u64, limit: u32) -> ProbePolicy {
        ProbePolicy {
            check_interval: Duration::from_millis(300),
            backoff: Duration::from_millis(backoff),
            max_backoff: Duration::from_millis(max_backoff),
            max_consecutive_failures: limit,
            auto_disable: limit > 0,
        }
    }

    #[test]
    fn a_driver_that_never_was_there_is_disabled_as_recorded() {
        let mut probe = Probe::new(policy(200, 400, 3));
        for (now, due) in [(1000, Some(1200)), (1200, Some(1600)), (1600, None)] {
            assert!(probe.due_at().unwrap() <= now);
            probe.note(now, Err("FileNotFound"));
            assert_eq!(probe.due_at(), due);
        }
        let expected = ProbeStatus {
            state: PublishedState::Offline,
            enabled: false,
            start_attempts_total: 3,
            consecutive_failures: 3,
            last_transition_ms: 1600,
            last_error: Some("DriverProbeOffline".to_owned()),
            ..ProbeStatus::unprobed(PublishedState::Offline)
        };
        assert_eq!(probe.status(), &expected);
        assert_eq!(probe.status().updated_at_ms(), Some(1600));
        probe.note(9999, Ok(()));
        assert_eq!(probe.status(), &expected, "it stays disabled");
    }

    #[test]
    fn a_driver_that_goes_and_comes_back() {
        let mut probe = Probe::new(policy(200, 800, 0));
        probe.note(1000, Ok(()));
        let status = probe.status().clone();
        assert_eq!((status.state, status.running), (PublishedState::Online, true));
        assert_eq!(
            (status.last_transition_ms, status.last_healthy_ms),
            (1000, Some(1000))
        );
        probe.note(1300, Ok(()));
        assert_eq!(
            probe.status(),
            &status,
            "a good check is no news, so nothing is published"
        );

        probe.note(1600, Err("FileNotFound"));
        assert_eq!(probe.status().state, PublishedState::Degraded);
        assert_eq!(probe.status().last_error.as_deref(), Some("FileNotFound"));
        assert_eq!(
            (probe.due_at(), probe.status().backoff_until_ms),
            (Some(1800), 1800)
        );
        probe.note(1800, Ok(()));
        let status = probe.status();
        assert_eq!(
            (
                status.restarts_total,
                status.start_attempts_total,
                status.consecutive_failures
            ),
            (1, 2, 0)
        );
        assert_eq!((&status.last_error, status.last_healthy_ms), (&None, Some(1800)));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_put_a_probe_off() {
        let mut probe = Probe::new(policy(200, 800, 0));
        probe.note(1_000_000, Ok(()));
        for (now, expected) in [
            (1_000_299, false),
            (1_000_300, true),
            (999_500, false),
            (999_499, true),
            (5, true),
        ] {
            assert_eq!(probe.is_due(now), expected, "{now}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut probe = Probe::new(ProbePolicy::default());
        probe.note(1, Ok(()));
        probe.note(2, Err(&"é".repeat(200)));
        assert_eq!(probe.status().last_error.as_ref().unwrap().len(), 256);
        probe.note(3, Ok(()));
        probe.note(4, Err(&format!("x{}", "é".repeat(200))));
        assert_eq!(probe.status().last_error.as_ref().unwrap().len(), 255);
    }

    proptest! {
        #[test]
        fn whatever_happens_the_status_makes_sense(
            backoff in 0u64..5_000,
            extra in 0u64..u64::MAX / 2,
            limit in 0u32..4,
            start in 1u64..u64::MAX / 2,
            outcomes in prop::collection::vec((any::<bool>(), 0u64..10_000), 1..80),
        ) {
            let policy = policy(backoff, backoff.saturating_add(extra), limit);
            let mut probe = Probe::new(policy);
            let mut now = start;
            for (is_good, wait) in outcomes {
                now = now.saturating_add(wait);
                let before = probe.status().clone();
                probe.note(now, if is_good { Ok(()) } else { Err("FileNotFound") });
                let status = probe.status();
                prop_assert_eq!(status.running, status.state == PublishedState::Online);
                prop_assert_eq!(status.running, status.consecutive_failures == 0);
                prop_assert_eq!(status.last_error.is_some(), status.consecutive_failures > 0);
                prop_assert_eq!(status.enabled, probe.due_at().is_some());
                prop_assert_eq!(status.enabled, status.state != PublishedState::Offline);
                prop_assert!(status.enabled || limit > 0 && status.consecutive_failures == u64::from(limit));
                prop_assert!(status.restarts_total < status.start_attempts_total);
                prop_assert!(status.updated_at_ms().unwrap() <= now);
                if status.state != before.state {
                    prop_assert_eq!(status.last_transition_ms, now);
                }
                if let Some(due) = probe.due_at() {
                    prop_assert!(due >= now);
                    let longest = if status.running { policy.check_interval } else { policy.max_backoff };
                    prop_assert!(due <= after(now, longest));
                    prop_assert!(probe.is_due(due));
                    prop_assert!(due == now || due == u64::MAX || !probe.is_due(due - 1));
                }
            }
        }
    }
}
