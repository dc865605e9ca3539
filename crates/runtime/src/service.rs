//! One supervised service: its state, its queue and its running invokes.
//!
//! ```text
//!   order ─▶ act ──▶ refused (disabled, cooling down, invalid, queue full)
//!                ├─▶ queued ──▶ started ─▶ Driver::run ─▶ finished ─▶ stored ─▶ answered
//!                └─▶ settled (enable, disable, restart, reset, configure)
//! ```
//!
//! Decisions are [`Machine`]'s; this is the shell around it. A change is complete before anybody can see it, and it
//! is answered once the [`Journal`] has it. An invoke runs to its end whether or not its writer is still there.

mod run;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use spiderweb_protocol::{Dialect, ServiceId, canonical, strict::JsonFaultKind};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::run::Run;
use self::state::{State, Waiting};
use crate::driver::{BoxFuture, Driver, Ended, Fault, Invoke};
use crate::policy::{Admission, Machine};
use crate::saved::Saved;
use crate::settings::Settings;
use crate::spec::RuntimeKind;
use crate::status::{self, Subject};

/// A text that a service shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Surface {
    /// `result.json`
    Result,
    /// `last_error.txt`
    LastError,
    /// `status.json`
    Status,
    /// `metrics.json`
    Metrics,
    /// `config.json`
    Config,
    /// `health.json`
    Health,
}

/// Texts that changed, in the order of section 8.3; one can occur twice.
pub type Changes = SmallVec<[Surface; 6]>;

/// What a service can be told to do.
#[derive(Clone, Debug)]
pub enum Order {
    /// Run the driver.
    Invoke {
        /// What the client wrote, white space around it included.
        content: Bytes,
        /// The name its record is kept under; its number without one.
        name: Option<Box<str>>,
        /// Writers take turns.
        writer: u64,
    },
    /// Nothing yet: the payload goes on. Refused where an invoke would be.
    Await,
    /// Allow invokes.
    Enable,
    /// Refuse them.
    Disable,
    /// Begin afresh, and count that.
    Restart,
    /// Begin afresh, and forgive failures.
    Reset,
    /// Stop the invoke with this number or name, or every running one.
    Cancel(Bytes),
    /// Take over a new `config.json`.
    Configure(Bytes),
}

/// Why an order was not carried out.
#[derive(Debug)]
pub enum Refusal {
    /// The service is disabled.
    Disabled,
    /// It pauses after a failure.
    CoolingDown,
    /// The payload or configuration is no acceptable object.
    Invalid,
    /// The payload ends in the middle of an object.
    Incomplete,
    /// Too many invokes wait already.
    QueueFull,
    /// There is no such invoke to cancel.
    NoSuchInvoke,
    /// The driver could not be run. This counts as a failed invoke.
    Driver(Fault),
    /// The node stops.
    Stopping,
}

/// What came of an order.
#[derive(Debug)]
pub struct Settled {
    /// The answer.
    pub result: Result<(), Refusal>,
    /// What it changed.
    pub changed: Changes,
}

/// How an order goes.
pub enum Response {
    /// It is over.
    Settled(Settled),
    /// It goes on; `changed` is what changed so far.
    Pending {
        /// What changed so far.
        changed: Changes,
        /// The end, with what changed since.
        end: BoxFuture<Settled>,
    },
}

/// What a manifest says about a service, as far as it concerns running it.
#[derive(Clone)]
pub struct Definition {
    /// The words of its texts.
    pub dialect: Dialect,
    /// Its id.
    pub id: ServiceId,
    /// How its driver runs, for the texts.
    pub runtime: RuntimeKind,
    /// Time one invoke has.
    pub timeout: Duration,
    /// Invokes that may run at once; at least 1.
    pub concurrency: usize,
    /// What runs them.
    pub driver: Arc<dyn Driver>,
}

/// Keeps the state of services where it outlives the process.
pub trait Journal: Send + Sync {
    /// Takes note of a state that replaces the service's last one. The future resolves when it is stored, or when
    /// storing it failed and that was reported.
    fn record(&self, service: &ServiceId, saved: Saved) -> BoxFuture<()>;
}

/// What services need of the process they live in.
#[derive(Clone)]
pub struct Host {
    /// Runs a task to its end.
    pub spawn: Arc<dyn Fn(BoxFuture<()>) + Send + Sync>,
    /// The time, in Unix milliseconds.
    pub now_ms: fn() -> u64,
    /// Where state is kept; nowhere if absent.
    pub journal: Option<Arc<dyn Journal>>,
}

/// Told of changes that no order of the moment caused.
pub type Listener = Box<dyn Fn(&[Surface]) + Send + Sync>;

/// A supervised service. Cloning gives another handle on the same one.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    host: Host,
    state: Mutex<State>,
    listener: Mutex<Option<Listener>>,
}

impl Service {
    /// A service as its manifest defines it, in the state in which it was left.
    pub fn new(definition: Definition, host: Host, saved: Option<Saved>) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State::new(definition, saved)),
            host,
            listener: Mutex::default(),
        }))
    }

    /// Has changes told that no order of the moment caused, such as the start of an invoke that waited.
    pub fn listen(&self, listener: Listener) {
        *self.0.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }

    /// Goes on under another definition of the same id. What runs ends as it began.
    pub fn redefine(&self, definition: Definition) {
        let old = self.0.state().define(definition);
        // Without the lock: a driver may have processes to end.
        (self.0.host.spawn)(Box::pin(async move { drop(old) }));
        self.0.start_waiting();
    }

    /// Shows in `health.json` that the manifest on the disk is not the one in force, and why; or no longer.
    /// Whether that is news.
    pub fn set_manifest_error(&self, error: Option<String>) -> bool {
        let mut state = self.0.state();
        let news = state.manifest_error != error;
        state.manifest_error = error;
        news
    }

    /// A text as of now.
    pub fn text(&self, surface: Surface) -> Bytes {
        let now_ms = (self.0.host.now_ms)();
        let state = self.0.state();
        match surface {
            Surface::Result => state.result.clone(),
            Surface::LastError => state.last_error.clone(),
            Surface::Status => state.status_text(),
            Surface::Metrics => status::metrics(&state.machine.stats, state.metrics_full).into(),
            Surface::Config => state.config.clone().into(),
            Surface::Health => state
                .subject
                .health(&state.machine, now_ms, state.manifest_error.as_deref())
                .into(),
        }
    }

    /// The supervision's view of the service.
    pub fn machine(&self) -> Machine {
        self.0.state().machine
    }

    /// Carries out an order.
    pub fn act(&self, order: Order) -> Response {
        match order {
            Order::Invoke {
                content,
                name,
                writer,
            } => self.0.invoke(&content, name, writer),
            Order::Await => self.0.admission(),
            Order::Cancel(content) => Response::Settled(self.0.cancel(&content)),
            Order::Configure(content) => match Settings::parse(&content) {
                None => refused(Refusal::Invalid, smallvec![]),
                Some(settings) => self.0.control(|state, now_ms| state.configure(settings, now_ms)),
            },
            Order::Enable => self.0.control(State::enable),
            Order::Disable => self.0.control(State::disable),
            Order::Restart => self.0.control(State::restart),
            Order::Reset => self.0.control(State::reset),
        }
    }

    /// Number and name of the invokes that are remembered, oldest first.
    pub fn past(&self) -> Vec<(u64, Box<str>)> {
        let state = self.0.state();
        let names = state.history.names();
        names.map(|(number, name)| (number, name.into())).collect()
    }

    /// The record of one of them.
    pub fn record(&self, number: u64) -> Option<Bytes> {
        self.0.state().history.get(number)
    }

    /// What outlives the process.
    pub fn saved(&self) -> Saved {
        self.0.state().saved()
    }

    /// Stops what runs and refuses what waits, now and from now on.
    pub fn stop(&self) {
        self.0.state().stop();
    }

    /// Stops for good: what still comes of it is nobody's any more, and another service may have its id.
    pub fn retire(&self) {
        let mut state = self.0.state();
        state.retired = true;
        state.stop();
    }
}

fn refused(refusal: Refusal, changed: Changes) -> Response {
    Response::Settled(Settled {
        result: Err(refusal),
        changed,
    })
}

/// The content without the white space around it; alone in memory, if that is most of it.
fn payload_of(content: &Bytes) -> Bytes {
    let payload = canonical::trim(content);
    if payload.len() < content.len() / 2 {
        return Bytes::copy_from_slice(payload);
    }
    content.slice_ref(payload)
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, changed: &[Surface]) {
        if changed.is_empty() {
            return;
        }
        if let Some(listener) = &*self.listener.lock().unwrap_or_else(PoisonError::into_inner) {
            listener(changed);
        }
    }

    /// Has the journal take note of the state. To be called with the lock held, so that notes keep their order.
    fn store(&self, state: &State) -> Option<BoxFuture<()>> {
        let journal = self.host.journal.as_ref().filter(|_| !state.retired)?;
        Some(journal.record(&state.subject.id, state.saved()))
    }

    /// An answer that is given once the state is stored.
    fn once_stored(stored: Option<BoxFuture<()>>, settled: Settled) -> Response {
        match stored {
            None => Response::Settled(settled),
            Some(stored) => Response::Pending {
                changed: settled.changed,
                end: Box::pin(async move {
                    stored.await;
                    Settled {
                        result: settled.result,
                        changed: smallvec![],
                    }
                }),
            },
        }
    }

    fn control(self: &Arc<Self>, change: impl FnOnce(&mut State, u64) -> Changes) -> Response {
        let now_ms = (self.host.now_ms)();
        let mut state = self.state();
        if state.stopping {
            return refused(Refusal::Stopping, smallvec![]);
        }
        let changed = change(&mut state, now_ms);
        let stored = self.store(&state);
        drop(state);
        self.start_waiting();
        Self::once_stored(
            stored,
            Settled {
                result: Ok(()),
                changed,
            },
        )
    }

    /// The answer if no invoke may begin now.
    fn refuse(&self, state: &mut State, now_ms: u64) -> Option<Response> {
        if state.stopping {
            return Some(refused(Refusal::Stopping, smallvec![]));
        }
        let (refusal, changed) = state.admit(now_ms).err()?;
        let settled = Settled {
            result: Err(refusal),
            changed,
        };
        Some(Self::once_stored(self.store(state), settled))
    }

    fn admission(&self) -> Response {
        let now_ms = (self.host.now_ms)();
        self.refuse(&mut self.state(), now_ms).unwrap_or_else(|| {
            Response::Settled(Settled {
                result: Ok(()),
                changed: smallvec![],
            })
        })
    }

    /// The checks of section 8.2, in their order, and the invoke.
    fn invoke(self: &Arc<Self>, content: &Bytes, name: Option<Box<str>>, writer: u64) -> Response {
        let now_ms = (self.host.now_ms)();
        let payload = payload_of(content);
        // Looked at without the lock; what is found counts only once the service would run it.
        let fault = canonical::check_object(&payload).err();
        let mut state = self.state();
        if let Some(refused) = self.refuse(&mut state, now_ms) {
            return refused;
        }
        if payload.is_empty() {
            return Response::Settled(Settled {
                result: Ok(()),
                changed: smallvec![],
            });
        }
        if let Some(fault) = fault {
            let refusal = match fault.kind {
                JsonFaultKind::UnexpectedEnd => Refusal::Incomplete,
                _ => Refusal::Invalid,
            };
            return refused(refusal, smallvec![]);
        }
        let (answer, end) = oneshot::channel();
        let waiting = Waiting {
            payload,
            name,
            answer,
            has_waited: false,
        };
        let mut run = None;
        // Room that an invoke left a moment ago is for those that wait.
        let changed = if state.has_room() && state.queue.is_empty() {
            run = Some(self.start(&mut state, waiting));
            smallvec![Surface::Status]
        } else if state.queue.push(writer, waiting.payload.len(), waiting).is_ok() {
            smallvec![]
        } else {
            return refused(Refusal::QueueFull, smallvec![]);
        };
        drop(state);
        match run {
            Some(run) => (self.host.spawn)(run),
            None => self.start_waiting(),
        }
        Response::Pending {
            changed,
            end: Box::pin(async move {
                end.await.unwrap_or_else(|_| Settled {
                    result: Err(Refusal::Stopping),
                    changed: smallvec![],
                })
            }),
        }
    }

    /// Starts an invoke; its number is the count of invokes. The task that runs it is to be spawned without the lock:
    /// where no task can be spawned any more, its end comes at once.
    fn start(self: &Arc<Self>, state: &mut State, waiting: Waiting) -> BoxFuture<()> {
        let cancel = CancellationToken::new();
        let started_ms = (self.host.now_ms)();
        let number = state.begin(started_ms, waiting.name.clone(), cancel.clone());
        let driver = state.driver.clone();
        let invoke = Invoke {
            payload: waiting.payload,
            timeout: state.timeout,
            cancel,
        };
        let run = Run {
            inner: self.clone(),
            number,
            began: Instant::now(),
            answer: Some(waiting.answer),
            // The writer was told of the beginning if it began at once.
            told: if waiting.has_waited {
                smallvec![Surface::Status]
            } else {
                smallvec![]
            },
        };
        Box::pin(async move {
            let outcome = driver.run(invoke).await;
            run.finish(outcome).await;
        })
    }

    /// Starts what waits, as far as there is room.
    fn start_waiting(self: &Arc<Self>) {
        let now_ms = (self.host.now_ms)();
        let mut runs = Vec::new();
        let mut refused = Vec::new();
        let mut state = self.state();
        while state.has_room() {
            let Some(mut waiting) = state.queue.pop() else {
                break;
            };
            waiting.has_waited = true;
            match state.admit(now_ms) {
                Ok(()) => runs.push(self.start(&mut state, waiting)),
                Err((refusal, told)) => refused.push((waiting, refusal, told)),
            }
        }
        let stored = (!refused.is_empty()).then(|| self.store(&state)).flatten();
        drop(state);
        if !runs.is_empty() {
            self.tell(&[Surface::Status]);
        }
        runs.into_iter().for_each(&*self.host.spawn);
        if refused.is_empty() {
            return;
        }
        let inner = self.clone();
        (self.host.spawn)(Box::pin(async move {
            if let Some(stored) = stored {
                stored.await;
            }
            for (waiting, refusal, changed) in refused {
                let settled = Settled {
                    result: Err(refusal),
                    changed,
                };
                inner.answer(waiting.answer, settled);
            }
        }));
    }

    /// Answers a writer. If it is gone, everybody is told instead, so that no change goes untold.
    fn answer(&self, answer: oneshot::Sender<Settled>, settled: Settled) {
        if let Err(settled) = answer.send(settled) {
            self.tell(&settled.changed);
        }
    }

    fn cancel(&self, content: &[u8]) -> Settled {
        let wanted = String::from_utf8_lossy(canonical::trim(content));
        let mut state = self.state();
        let mut found = wanted.is_empty();
        for (number, running) in &state.running {
            if wanted.is_empty() || running.is_called(&wanted, *number) {
                running.cancel.cancel();
                found = true;
            }
        }
        let waiting = match &*wanted {
            "" => None,
            name => state.queue.take(|waiting| waiting.name.as_deref() == Some(name)),
        };
        found |= waiting.is_some();
        if let Some(waiting) = waiting {
            state.cancel_waiting(waiting, (self.host.now_ms)());
        }
        drop(state);
        Settled {
            result: if found { Ok(()) } else { Err(Refusal::NoSuchInvoke) },
            changed: smallvec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Outcome;

    /// Notes what it is asked, and never answers.
    #[derive(Default)]
    struct Silent(Mutex<Vec<Bytes>>);

    impl Driver for Silent {
        fn run(self: Arc<Self>, invoke: Invoke) -> BoxFuture<Outcome> {
            self.0.lock().unwrap().push(invoke.payload);
            Box::pin(std::future::pending())
        }

        fn check(&self) -> Result<(), Fault> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn who_comes_while_room_is_made_goes_behind_those_who_wait() {
        let driver = Arc::new(Silent::default());
        let definition = Definition {
            dialect: Dialect::Seed,
            id: ServiceId::new("demo").unwrap(),
            runtime: RuntimeKind::NativeProc,
            timeout: Duration::from_secs(30),
            concurrency: 1,
            driver: driver.clone(),
        };
        let host = Host {
            spawn: Arc::new(|task| drop(tokio::spawn(task))),
            now_ms: || 1,
            journal: None,
        };
        let service = Service::new(definition, host, None);
        let invoke = |payload: &'static str, writer| {
            service.act(Order::Invoke {
                content: Bytes::from_static(payload.as_bytes()),
                name: None,
                writer,
            })
        };
        let _first = invoke("{\"first\":1}", 1);
        let _second = invoke("{\"second\":1}", 1);
        // The first one ended, and whoever sees to it is about to start the next.
        service.0.state().finish(1, 0, Outcome::failed(Fault::NotFound));
        let _third = invoke("{\"third\":1}", 2);
        tokio::task::yield_now().await;
        assert_eq!(*driver.0.lock().unwrap(), ["{\"first\":1}", "{\"second\":1}"]);
        assert!(service.0.state().queue.pop().is_some());
    }

    #[test]
    fn white_space_around_a_payload_does_not_stay_in_memory() {
        let content = Bytes::from([&[b' '; 100][..], b"{}", &[b'\n'; 100]].concat());
        let payload = payload_of(&content);
        assert_eq!(payload, "{}");
        assert!(!content.as_ptr_range().contains(&payload.as_ptr()));
        let content = Bytes::from_static(b" {\"a\":1}\n");
        let payload = payload_of(&content);
        assert_eq!(payload, "{\"a\":1}");
        assert!(
            content.as_ptr_range().contains(&payload.as_ptr()),
            "it is not copied"
        );
    }
}
