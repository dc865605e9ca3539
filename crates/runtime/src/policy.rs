//! When a service may run, as a state machine without a clock (sections 8.2, 9.5 and 10).

/// When failures pause or disable a service; the member `supervision` of `config.json` (section 10.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Failures in a row that disable the service; 0 for never.
    pub max_consecutive_failures: u64,
    /// Timeouts in a row that disable it; 0 for never.
    pub max_consecutive_timeouts: u64,
    /// Pause after a failure, in milliseconds.
    pub cooldown_ms: u64,
    /// Whether the two limits above disable at all.
    pub auto_disable_on_threshold: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_consecutive_failures: 0,
            max_consecutive_timeouts: 0,
            cooldown_ms: 0,
            auto_disable_on_threshold: true,
        }
    }
}

/// Counters and times of a service's invokes. Instants are Unix milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Invokes begun.
    pub invokes_total: u64,
    /// Invokes that did not end well.
    pub failures_total: u64,
    /// The same since the last success.
    pub consecutive_failures: u64,
    /// Invokes ended by the deadline.
    pub timeouts_total: u64,
    /// The same, in a row.
    pub consecutive_timeouts: u64,
    /// How long the last invoke took.
    pub last_duration_ms: u64,
    /// When it began.
    pub last_started_ms: u64,
    /// When it ended.
    pub last_finished_ms: u64,
    /// Its exit code; -1 for one that was killed.
    pub last_exit_code: i64,
}

/// What last changed a service besides its invokes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ControlOp {
    /// Nothing yet.
    #[default]
    Init,
    /// A new `config.json`.
    ConfigUpdate,
    /// `control/enable`
    Enable,
    /// `control/disable`
    Disable,
    /// `control/restart`
    Restart,
    /// `control/reset`
    Reset,
    /// The policy, after too many failures.
    AutoDisable,
}

impl ControlOp {
    /// Every one of them.
    pub const ALL: [Self; 7] = [
        Self::Init,
        Self::ConfigUpdate,
        Self::Enable,
        Self::Disable,
        Self::Restart,
        Self::Reset,
        Self::AutoDisable,
    ];

    /// The word in `health.json`.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::ConfigUpdate => "config_update",
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Restart => "restart",
            Self::Reset => "reset",
            Self::AutoDisable => "auto_disable",
        }
    }
}

/// Whether an invoke may begin (section 8.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It may.
    Run,
    /// The service is disabled.
    Disabled,
    /// The service pauses for this many more milliseconds.
    CoolingDown {
        /// Milliseconds left; at least 1.
        rest_ms: u64,
    },
}

/// How an invoke ended, as far as the policy cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Exit code 0 before the deadline.
    Success,
    /// Anything else of the driver's own making.
    Failure,
    /// The deadline came first.
    Timeout,
    /// Somebody stopped it. Says nothing about the driver, so no rule looks at it.
    Cancelled,
}

/// What an invoke's end means for the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// All is well.
    Ok,
    /// A failure, after which the service pauses for so many milliseconds.
    Failed {
        /// 0 for no pause.
        retry_after_ms: u64,
    },
    /// A failure by deadline, likewise.
    TimedOut {
        /// 0 for no pause.
        retry_after_ms: u64,
    },
    /// A failure too many: the service is disabled.
    Disabled(Threshold),
    /// It was stopped.
    Cancelled,
}

/// The limit that disabled a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Threshold {
    /// [`Policy::max_consecutive_failures`]
    Failures,
    /// [`Policy::max_consecutive_timeouts`]
    Timeouts,
}

impl Threshold {
    /// The reason in `status.json`.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Failures => "max_consecutive_failures",
            Self::Timeouts => "max_consecutive_timeouts",
        }
    }
}

/// How a service is, in one word (section 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// Enabled, and the last invoke went well.
    Online,
    /// It pauses, or the last invoke failed.
    Degraded,
    /// Disabled.
    Offline,
}

impl Health {
    /// The word in `health.json`.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Degraded => "degraded",
            Self::Offline => "offline",
        }
    }
}

/// When a service may run.
///
/// ```text
///            begin                finish: success
///   ready ──────────▶ (running) ─────────────────▶ ready
///     ▲                    │ finish: failure
///     │ time, or any       ├──────▶ cooling down (cooldown_ms)
///     │ control            └──────▶ disabled     (a threshold was reached)
///     └──────────────────────────────── enable
/// ```
///
/// It has no clock: every function takes the time, in Unix milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Whether invokes are allowed.
    pub enabled: bool,
    /// The rules.
    pub policy: Policy,
    /// What happened so far.
    pub stats: Stats,
    /// End of the pause after a failure; 0 for none.
    pub cooldown_until_ms: u64,
    /// How often `control/restart` was used.
    pub restarts_total: u64,
    /// The last change besides invokes.
    pub last_control_op: ControlOp,
    /// When that was.
    pub last_control_ms: u64,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            enabled: true,
            policy: Policy::default(),
            stats: Stats::default(),
            cooldown_until_ms: 0,
            restarts_total: 0,
            last_control_op: ControlOp::Init,
            last_control_ms: 0,
        }
    }
}

impl Machine {
    /// Whether an invoke may begin now.
    pub fn admit(&self, now_ms: u64) -> Admission {
        match self.cooldown_rest(now_ms) {
            _ if !self.enabled => Admission::Disabled,
            0 => Admission::Run,
            rest_ms => Admission::CoolingDown { rest_ms },
        }
    }

    /// Milliseconds until the pause after a failure is over. No more than a pause takes, even if the clock was set
    /// back since, or is not set yet on a machine that just started.
    pub fn cooldown_rest(&self, now_ms: u64) -> u64 {
        let rest = self.cooldown_until_ms.saturating_sub(now_ms);
        rest.min(self.policy.cooldown_ms)
    }

    /// How the service is.
    pub fn health(&self, now_ms: u64) -> Health {
        if !self.enabled {
            Health::Offline
        } else if self.cooldown_rest(now_ms) > 0 || self.stats.consecutive_failures > 0 {
            Health::Degraded
        } else {
            Health::Online
        }
    }

    /// An invoke begins.
    pub fn begin(&mut self, now_ms: u64) {
        self.stats.invokes_total = self.stats.invokes_total.saturating_add(1);
        self.stats.last_started_ms = now_ms;
    }

    /// An invoke that began at `started_ms` ends after `duration_ms` (sections 9.5 and 10.2).
    pub fn finish(&mut self, started_ms: u64, duration_ms: u64, verdict: Verdict, exit_code: i64) -> Ending {
        let finished_ms = started_ms.saturating_add(duration_ms);
        let stats = &mut self.stats;
        stats.last_started_ms = started_ms;
        stats.last_finished_ms = finished_ms;
        stats.last_duration_ms = duration_ms;
        stats.last_exit_code = exit_code;
        let timed_out = match verdict {
            Verdict::Cancelled => return Ending::Cancelled,
            Verdict::Success => {
                (stats.consecutive_failures, stats.consecutive_timeouts) = (0, 0);
                self.cooldown_until_ms = 0;
                return Ending::Ok;
            }
            Verdict::Failure => false,
            Verdict::Timeout => true,
        };
        stats.failures_total = stats.failures_total.saturating_add(1);
        stats.consecutive_failures = stats.consecutive_failures.saturating_add(1);
        if timed_out {
            stats.timeouts_total = stats.timeouts_total.saturating_add(1);
            stats.consecutive_timeouts = stats.consecutive_timeouts.saturating_add(1);
        } else {
            stats.consecutive_timeouts = 0;
        }
        if let Some(threshold) = self.threshold_reached() {
            self.control(ControlOp::AutoDisable, finished_ms);
            self.enabled = false;
            return Ending::Disabled(threshold);
        }
        let retry_after_ms = self.policy.cooldown_ms;
        if retry_after_ms > 0 {
            // Above this no peer could read it back (section 3.1 of the file protocol).
            let end = finished_ms.saturating_add(retry_after_ms);
            self.cooldown_until_ms = end.min(spiderweb_protocol::limits::MAX_WIRE_INTEGER);
        }
        if timed_out {
            Ending::TimedOut { retry_after_ms }
        } else {
            Ending::Failed { retry_after_ms }
        }
    }

    fn threshold_reached(&self) -> Option<Threshold> {
        let Policy {
            max_consecutive_failures: failures,
            max_consecutive_timeouts: timeouts,
            auto_disable_on_threshold,
            ..
        } = self.policy;
        if !auto_disable_on_threshold {
            None
        } else if failures > 0 && self.stats.consecutive_failures >= failures {
            Some(Threshold::Failures)
        } else if timeouts > 0 && self.stats.consecutive_timeouts >= timeouts {
            Some(Threshold::Timeouts)
        } else {
            None
        }
    }

    /// What every change by hand or by policy does: it ends a pause and is noted.
    fn control(&mut self, op: ControlOp, now_ms: u64) {
        self.cooldown_until_ms = 0;
        self.last_control_op = op;
        self.last_control_ms = now_ms;
    }

    /// `control/enable`. What disabled the service does not count towards the next disabling (section 19, no 15); a
    /// service that was enabled already keeps its counters (section 10). Whether there was something to forgive.
    pub fn enable(&mut self, now_ms: u64) -> bool {
        self.control(ControlOp::Enable, now_ms);
        let forgives = !std::mem::replace(&mut self.enabled, true) && self.stats.consecutive_failures > 0;
        if forgives {
            self.forgive();
        }
        forgives
    }

    /// `control/disable`
    pub fn disable(&mut self, now_ms: u64) {
        self.control(ControlOp::Disable, now_ms);
        self.enabled = false;
    }

    /// `control/restart`
    pub fn restart(&mut self, now_ms: u64) {
        self.control(ControlOp::Restart, now_ms);
        self.restarts_total = self.restarts_total.saturating_add(1);
    }

    /// `control/reset`
    pub fn reset(&mut self, now_ms: u64) {
        self.control(ControlOp::Reset, now_ms);
        self.forgive();
    }

    /// A new `config.json`.
    pub fn configure(&mut self, policy: Policy, now_ms: u64) {
        self.control(ControlOp::ConfigUpdate, now_ms);
        self.policy = policy;
    }

    fn forgive(&mut self) {
        (self.stats.consecutive_failures, self.stats.consecutive_timeouts) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn machine(policy: Policy) -> Machine {
        Machine {
            policy,
            ..Machine::default()
        }
    }

    fn run(machine: &mut Machine, at: u64, verdict: Verdict) -> Ending {
        machine.begin(at);
        machine.finish(at, 5, verdict, i64::from(verdict != Verdict::Success))
    }

    #[test]
    fn a_failure_pauses_and_a_success_forgives() {
        let mut demo = machine(Policy {
            cooldown_ms: 1500,
            ..Policy::default()
        });
        assert_eq!(
            run(&mut demo, 100, Verdict::Failure),
            Ending::Failed { retry_after_ms: 1500 }
        );
        assert_eq!(demo.admit(105), Admission::CoolingDown { rest_ms: 1500 });
        assert_eq!(demo.health(105), Health::Degraded);
        assert_eq!(demo.admit(1605), Admission::Run);
        assert_eq!(demo.health(1605), Health::Degraded, "the last invoke failed");
        assert_eq!(
            run(&mut demo, 1700, Verdict::Timeout),
            Ending::TimedOut { retry_after_ms: 1500 }
        );
        assert_eq!(
            (demo.stats.consecutive_failures, demo.stats.consecutive_timeouts),
            (2, 1)
        );
        assert_eq!(run(&mut demo, 9000, Verdict::Success), Ending::Ok);
        assert_eq!((demo.health(9005), demo.cooldown_until_ms), (Health::Online, 0));
        assert_eq!((demo.stats.failures_total, demo.stats.timeouts_total), (2, 1));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_prolong_a_pause() {
        let mut demo = machine(Policy {
            cooldown_ms: 1500,
            ..Policy::default()
        });
        run(&mut demo, 1_000_000, Verdict::Failure);
        assert_eq!(demo.admit(50), Admission::CoolingDown { rest_ms: 1500 });
        assert_eq!(demo.admit(1_000_105), Admission::CoolingDown { rest_ms: 1400 });
    }

    #[test]
    fn a_threshold_disables_and_enabling_starts_afresh() {
        let mut demo = machine(Policy {
            max_consecutive_failures: 2,
            max_consecutive_timeouts: 1,
            cooldown_ms: 7,
            auto_disable_on_threshold: true,
        });
        assert_eq!(
            run(&mut demo, 1, Verdict::Failure),
            Ending::Failed { retry_after_ms: 7 }
        );
        assert_eq!(
            run(&mut demo, 20, Verdict::Failure),
            Ending::Disabled(Threshold::Failures)
        );
        assert_eq!((demo.admit(21), demo.cooldown_until_ms), (Admission::Disabled, 0));
        assert_eq!(
            (demo.last_control_op, demo.last_control_ms),
            (ControlOp::AutoDisable, 25)
        );
        demo.enable(30);
        assert_eq!(
            run(&mut demo, 31, Verdict::Failure),
            Ending::Failed { retry_after_ms: 7 }
        );
        demo.enable(35);
        assert_eq!(demo.stats.consecutive_failures, 1, "it was enabled already");
        demo.reset(40);
        assert_eq!(
            run(&mut demo, 41, Verdict::Timeout),
            Ending::Disabled(Threshold::Timeouts)
        );
        demo.configure(
            Policy {
                auto_disable_on_threshold: false,
                ..demo.policy
            },
            50,
        );
        demo.enable(51);
        assert_eq!(
            run(&mut demo, 52, Verdict::Timeout),
            Ending::TimedOut { retry_after_ms: 7 }
        );
    }

    #[test]
    fn a_cancelled_invoke_says_nothing_about_the_driver() {
        let mut demo = machine(Policy {
            max_consecutive_failures: 1,
            ..Policy::default()
        });
        assert_eq!(run(&mut demo, 1, Verdict::Cancelled), Ending::Cancelled);
        assert_eq!((demo.stats.failures_total, demo.health(9)), (0, Health::Online));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Run(Verdict),
        Enable,
        Disable,
        Restart,
        Reset,
        Configure(Policy),
    }

    fn steps() -> impl Strategy<Value = Step> {
        let verdict = prop_oneof![
            Just(Verdict::Success),
            Just(Verdict::Failure),
            Just(Verdict::Timeout),
            Just(Verdict::Cancelled)
        ];
        let small_or_huge = || prop_oneof![0..4u64, Just(u64::MAX), Just(i64::MAX as u64)];
        let policy = (small_or_huge(), small_or_huge(), small_or_huge(), any::<bool>()).prop_map(
            |(failures, timeouts, cooldown_ms, auto_disable_on_threshold)| Policy {
                max_consecutive_failures: failures,
                max_consecutive_timeouts: timeouts,
                cooldown_ms,
                auto_disable_on_threshold,
            },
        );
        prop_oneof![
            6 => verdict.prop_map(Step::Run),
            1 => Just(Step::Enable),
            1 => Just(Step::Disable),
            1 => Just(Step::Restart),
            1 => Just(Step::Reset),
            2 => policy.prop_map(Step::Configure),
        ]
    }

    proptest! {
           #[test]
           fn whatever_happens_the_numbers_stay_true(steps in proptest::collection::vec(steps(), 0..60)) {
               let mut machine = Machine::default();
               for (now, step) in (1_000u64..).step_by(10).zip(steps) {
                   let before = machine;
                   let admitted = machine.admit(now) == Admission::Run;
                   match step {
                       Step::Run(verdict) if admitted => {
                           let ending = run(&mut machine, now, verdict);
                           let failed = matches!(verdict, Verdict::Failure | Verdict::Timeout);
                           prop_assert_eq!(machine.stats.invokes_total, before.stats.invokes_total + 1);
                           prop_assert_eq!(machine.stats.failures_total, before.stats.failures_total + u64::from(failed));
                           prop_assert_eq!(!machine.enabled, matches!(ending, Ending::Disabled(_)));
                           if machine.enabled && failed {
                               prop_assert_eq!(machine.cooldown_rest(now + 5) > 0, machine.policy.cooldown_ms > 0);
                           }
                       }
                       Step::Run(_) => {}
                       Step::Enable => {
    machine.enable(now);
    }
                       Step::Disable => machine.disable(now),
                       Step::Restart => machine.restart(now),
                       Step::Reset => machine.reset(now),
                       Step::Configure(policy) => machine.configure(policy, now),
                   }
                   let stats = machine.stats;
                   prop_assert!(stats.consecutive_timeouts <= stats.consecutive_failures);
                   prop_assert!(stats.consecutive_failures <= stats.failures_total);
                   prop_assert!(stats.timeouts_total <= stats.failures_total);
                   prop_assert!(stats.failures_total <= stats.invokes_total);
                   prop_assert!(machine.enabled || machine.cooldown_until_ms == 0, "a disabled service does not pause");
                   prop_assert!(i64::try_from(machine.cooldown_until_ms).is_ok());
                   prop_assert_eq!(machine.health(now) == Health::Offline, !machine.enabled);
               }
           }
       }
}
