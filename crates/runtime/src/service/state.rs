//! The state of a service, and what each event makes of it. No clock, no tasks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::smallvec;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Admission, Changes, Definition, Ended, Refusal, Settled, Subject, Surface, status};
use crate::driver::{Driver, Outcome};
use crate::history::{History, Record};
use crate::policy::{Ending, Machine, Verdict};
use crate::queue::FairQueue;
use crate::saved::Saved;
use crate::settings::Settings;
use crate::status::Failure;

/// `last_error.txt` after an invoke whose driver said nothing on its standard error (section 9.5).
const TIMED_OUT: &str = "service invocation terminated after timeout_ms";
const FAILED: &str = "service process failed";
const CANCELLED: &str = "service invocation cancelled";

/// An invoke that waits for its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) payload: Bytes,
    pub(super) name: Option<Box<str>>,
    pub(super) answer: oneshot::Sender<Settled>,
    /// It did not begin at once, so its writer knows nothing of the beginning.
    pub(super) has_waited: bool,
}

/// An invoke that runs.
pub(super) struct Running {
    pub(super) cancel: CancellationToken,
    name: Option<Box<str>>,
    started_ms: u64,
}

impl Running {
    pub(super) fn is_called(&self, wanted: &str, number: u64) -> bool {
        self.name.as_deref() == Some(wanted) || wanted.parse() == Ok(number)
    }
}

pub(super) struct State {
    pub(super) subject: Subject,
    pub(super) driver: Arc<dyn Driver>,
    pub(super) timeout: Duration,
    concurrency: usize,
    pub(super) machine: Machine,
    pub(super) config: String,
    pub(super) result: Bytes,
    pub(super) last_error: Bytes,
    /// `status.json`, but for running invokes.
    status: Bytes,
    /// `status.json` while an invoke runs.
    running_status: Option<Bytes>,
    /// There was an invoke, a reset or a restored state, so `metrics.json` has all its members (section 6).
    pub(super) metrics_full: bool,
    pub(super) manifest_error: Option<String>,
    pub(super) running: BTreeMap<u64, Running>,
    pub(super) queue: FairQueue<Waiting>,
    pub(super) history: History,
    pub(super) stopping: bool,
    /// It is no longer the service of its id.
    pub(super) retired: bool,
}

impl State {
    pub(super) fn new(definition: Definition, saved: Option<Saved>) -> Self {
        let subject = subject(&definition);
        let mut state = Self {
            subject,
            driver: definition.driver,
            timeout: definition.timeout,
            concurrency: definition.concurrency.max(1),
            machine: Machine::default(),
            config: Settings::default().text,
            result: Bytes::from_static(status::IDLE.as_bytes()),
            last_error: Bytes::new(),
            status: Bytes::from_static(status::IDLE.as_bytes()),
            running_status: None,
            metrics_full: false,
            manifest_error: None,
            running: BTreeMap::new(),
            queue: FairQueue::default(),
            history: History::default(),
            stopping: false,
            retired: false,
        };
        if let Some(saved) = saved {
            state.restore(saved);
        }
        state
    }

    fn restore(&mut self, saved: Saved) {
        self.machine = Machine {
            enabled: saved.enabled,
            policy: saved.policy,
            stats: saved.stats,
            cooldown_until_ms: saved.cooldown_until_ms,
            restarts_total: saved.restarts_total,
            last_control_op: saved.last_control_op,
            last_control_ms: saved.last_control_ms,
        };
        self.config = saved.config;
        self.result = saved.result;
        self.last_error = saved.last_error;
        self.metrics_full = true;
        // The original leaves `running` behind when a driver could not be run; nothing runs now.
        if !saved.status.starts_with(br#"{"state":"running""#) {
            self.status = saved.status;
        }
    }

    /// What outlives the process: as if what still runs had never begun, since that is what a restart would make of it.
    pub(super) fn saved(&self) -> Saved {
        let Machine {
            enabled,
            policy,
            mut stats,
            cooldown_until_ms,
            restarts_total,
            last_control_op,
            last_control_ms,
        } = self.machine;
        if !self.running.is_empty() {
            stats.invokes_total = stats.invokes_total.saturating_sub(self.running.len() as u64);
            stats.last_started_ms = stats.last_finished_ms.saturating_sub(stats.last_duration_ms);
        }
        Saved {
            enabled,
            restarts_total,
            last_control_ms,
            last_control_op,
            config: self.config.clone(),
            cooldown_until_ms,
            policy,
            stats,
            result: self.result.clone(),
            status: self.status.clone(),
            last_error: self.last_error.clone(),
        }
    }

    /// Takes over a definition; gives back the driver that was replaced.
    pub(super) fn define(&mut self, definition: Definition) -> Arc<dyn Driver> {
        self.subject = subject(&definition);
        self.timeout = definition.timeout;
        self.concurrency = definition.concurrency.max(1);
        std::mem::replace(&mut self.driver, definition.driver)
    }

    /// Stops what runs and refuses what waits.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        for running in self.running.values() {
            running.cancel.cancel();
        }
        while let Some(waiting) = self.queue.pop() {
            // A writer that is gone needs no answer.
            let _ = waiting.answer.send(Settled {
                result: Err(Refusal::Stopping),
                changed: smallvec![],
            });
        }
    }

    /// Answers an invoke that was cancelled before its turn came. It never ran, so no file tells of it; its writer
    /// finds its record all the same, under a number that no invoke has.
    pub(super) fn cancel_waiting(&mut self, waiting: Waiting, now_ms: u64) {
        if let Some(name) = &waiting.name {
            let number = self.history.spare_number();
            self.history.add(&Record {
                number,
                name: Some(name),
                state: Failure::CANCELLED.state,
                exit_code: -1,
                started_ms: now_ms,
                finished_ms: now_ms,
                result: &[],
                error: CANCELLED.as_bytes(),
            });
        }
        // A writer that is gone needs no answer.
        let _ = waiting.answer.send(Settled {
            result: Ok(()),
            changed: smallvec![],
        });
    }

    pub(super) fn status_text(&self) -> Bytes {
        self.running_status.clone().unwrap_or_else(|| self.status.clone())
    }

    pub(super) fn has_room(&self) -> bool {
        !self.stopping && self.running.len() < self.concurrency
    }

    /// Whether an invoke may begin; if not, the files say so (section 8.2).
    pub(super) fn admit(&mut self, now_ms: u64) -> Result<(), (Refusal, Changes)> {
        match self.machine.admit(now_ms) {
            Admission::Run => Ok(()),
            Admission::Disabled => {
                self.last_error = Bytes::from_static(b"service runtime disabled");
                self.status = status::DISABLED.into();
                let changed = smallvec![Surface::LastError, Surface::Status, Surface::Health];
                Err((Refusal::Disabled, changed))
            }
            Admission::CoolingDown { rest_ms } => {
                self.status = self.subject.backoff(rest_ms).into();
                self.last_error = Bytes::from_static(b"service runtime cooling down");
                let changed = smallvec![Surface::Status, Surface::LastError, Surface::Health];
                Err((Refusal::CoolingDown, changed))
            }
        }
    }

    /// An invoke begins. Its number.
    pub(super) fn begin(
        &mut self,
        started_ms: u64,
        name: Option<Box<str>>,
        cancel: CancellationToken,
    ) -> u64 {
        self.machine.begin(started_ms);
        let number = self.machine.stats.invokes_total;
        let running = Running {
            cancel,
            name,
            started_ms,
        };
        self.running.insert(number, running);
        self.running_status = Some(self.subject.running(&self.machine.stats, started_ms).into());
        number
    }

    /// An invoke ends (section 9.5).
    pub(super) fn finish(&mut self, number: u64, duration_ms: u64, outcome: Outcome) -> Settled {
        let Some(running) = self.running.remove(&number) else {
            return Settled {
                result: Ok(()),
                changed: smallvec![],
            };
        };
        let Outcome {
            ended,
            stdout,
            stderr,
        } = outcome;
        let (verdict, exit_code, fallback) = match &ended {
            Ended::Exited(0) => (Verdict::Success, 0, String::new()),
            Ended::Exited(code) => (Verdict::Failure, i64::from(*code), FAILED.to_owned()),
            Ended::Died => (Verdict::Failure, -1, FAILED.to_owned()),
            Ended::TimedOut => (Verdict::Timeout, -1, TIMED_OUT.to_owned()),
            Ended::Cancelled => (Verdict::Cancelled, -1, CANCELLED.to_owned()),
            Ended::Failed(fault) => (Verdict::Failure, -1, fault.to_string()),
        };
        let ending = self
            .machine
            .finish(running.started_ms, duration_ms, verdict, exit_code);
        self.metrics_full = true;
        let error = match (&ended, stderr.is_empty()) {
            (Ended::Exited(0), _) => Vec::new(),
            (Ended::Failed(_), false) => [fallback.as_bytes(), b"\n", &stderr].concat(),
            (_, false) => stderr,
            (_, true) => fallback.into_bytes(),
        };
        self.last_error = error.into();
        let mut changed: Changes = smallvec![
            Surface::LastError,
            Surface::Status,
            Surface::Metrics,
            Surface::Health
        ];
        let result = if ending == Ending::Ok {
            changed.insert(0, Surface::Result);
            let result = if stdout.is_empty() { b"{}".to_vec() } else { stdout };
            self.result = result.into();
            self.result.clone()
        } else {
            Bytes::new()
        };
        let (state, status) = self.verdict_text(ending);
        self.history.add(&Record {
            number,
            name: running.name.as_deref(),
            state,
            exit_code,
            started_ms: running.started_ms,
            finished_ms: self.machine.stats.last_finished_ms,
            result: &result,
            error: &self.last_error,
        });
        // A service that somebody disabled meanwhile stays visibly so.
        if self.machine.enabled || matches!(ending, Ending::Disabled(_)) {
            self.status = status.into();
        }
        if self.running.is_empty() {
            self.running_status = None;
        }
        Settled {
            result: match ended {
                Ended::Failed(fault) => Err(Refusal::Driver(fault)),
                _ => Ok(()),
            },
            changed,
        }
    }

    /// Word and text of the status after an invoke.
    fn verdict_text(&self, ending: Ending) -> (&'static str, String) {
        let failure = match ending {
            Ending::Ok => {
                let text = self.subject.ok(&self.machine.stats, self.result.len());
                return ("ok", text);
            }
            Ending::Failed { retry_after_ms } => Failure::error(retry_after_ms),
            Ending::TimedOut { retry_after_ms } => Failure::timeout(retry_after_ms),
            Ending::Disabled(threshold) => Failure::disabled(threshold),
            Ending::Cancelled => Failure::CANCELLED,
        };
        let text = self.subject.failed(&self.machine.stats, &failure);
        (failure.state, text)
    }

    /// The status after an order; a running invoke keeps its own.
    fn rest(&mut self) {
        if self.machine.enabled {
            self.status = Bytes::from_static(status::IDLE.as_bytes());
        } else {
            self.status = Bytes::from_static(status::DISABLED.as_bytes());
            self.running_status = None;
        }
    }

    pub(super) fn enable(&mut self, now_ms: u64) -> Changes {
        let forgives = self.machine.enable(now_ms);
        self.last_error = Bytes::new();
        self.rest();
        let mut changed: Changes = smallvec![Surface::LastError, Surface::Status];
        if forgives {
            changed.push(Surface::Metrics);
        }
        changed.push(Surface::Health);
        changed
    }

    pub(super) fn disable(&mut self, now_ms: u64) -> Changes {
        self.machine.disable(now_ms);
        self.rest();
        smallvec![Surface::Status, Surface::Health]
    }

    pub(super) fn restart(&mut self, now_ms: u64) -> Changes {
        self.machine.restart(now_ms);
        self.clear();
        smallvec![
            Surface::Result,
            Surface::LastError,
            Surface::Status,
            Surface::Health
        ]
    }

    pub(super) fn reset(&mut self, now_ms: u64) -> Changes {
        self.machine.reset(now_ms);
        self.metrics_full = true;
        self.clear();
        smallvec![
            Surface::Result,
            Surface::LastError,
            Surface::Status,
            Surface::Metrics,
            Surface::Health
        ]
    }

    fn clear(&mut self) {
        self.result = Bytes::from_static(status::IDLE.as_bytes());
        self.last_error = Bytes::new();
        self.rest();
    }

    pub(super) fn configure(&mut self, settings: Settings, now_ms: u64) -> Changes {
        self.machine.configure(settings.policy, now_ms);
        self.config = settings.text;
        smallvec![Surface::Config, Surface::Health]
    }
}

fn subject(definition: &Definition) -> Subject {
    Subject {
        dialect: definition.dialect,
        id: definition.id.clone(),
        runtime: definition.runtime,
        timeout_ms: u64::try_from(definition.timeout.as_millis()).unwrap_or(u64::MAX),
    }
}
