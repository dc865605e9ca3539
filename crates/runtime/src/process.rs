//! A program as a driver: one process for each invoke.
//!
//! ```text
//! start ── exit ────────────────► drain ─┐
//!   │ ── deadline, cancel ► ask, grace ──┼─► kill the group ─► reap ─► sweep ─► outcome
//!   └ ── too much output ────────────────┘
//! ```
//!
//! The payload, both outputs, the exit and the deadline are served at once, so that no order in which a driver reads,
//! writes and closes can stall a run. The end is the same for all: whatever is left of the group is killed, also
//! after a success, and nothing is said of the outcome before it is gone.

mod busy;
#[cfg(unix)]
mod exit;
#[cfg(unix)]
mod group;
mod input;
mod launch;
mod orphans;
#[cfg(windows)]
mod windows;

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spiderweb_protocol::limits::MAX_DRIVER_OUTPUT;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use busy::Patience;
#[cfg(unix)]
pub(crate) use exit::ExitWatch;
#[cfg(unix)]
pub(crate) use group::Group;
pub(crate) use launch::{InvokeId, Launch};
pub use orphans::adopt_orphans;
pub(crate) use orphans::{Running, sweep};
#[cfg(unix)]
pub(crate) use std::process::{Child, ChildStdin as ChildInput};
#[cfg(windows)]
pub(crate) use windows::{Child, ChildInput, ExitWatch, Group, Leader, start};

use crate::driver::{BoxFuture, Driver, Ended, Fault, Invoke, Outcome};
use crate::output::{Outputs, Stream};
use crate::process::input::Input;
use crate::spec::ProcessSpec;

/// The number of the process that leads a group.
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) type Leader = rustix::process::Pid;

/// How the leader of a group ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaderEnd {
    /// It exited with this code.
    Exited(i32),
    /// A signal ended it.
    Signalled,
    /// The system does not let go of it.
    Stuck,
}

/// Time between the request to end and the end.
pub(crate) const GRACE: Duration = Duration::from_millis(100);

/// How long a finished driver's outputs are read on while somebody it left behind holds them open.
const DRAIN: Duration = Duration::from_millis(250);

/// Runs a program for each invoke (sections 9.2 to 9.4).
#[derive(Debug)]
pub struct ProcessDriver {
    launch: Arc<Launch>,
}

impl ProcessDriver {
    /// A driver that runs this program.
    pub fn new(spec: ProcessSpec) -> Self {
        Self::from_launch(Launch {
            program: spec.executable,
            args: spec.args.into_iter().map(Into::into).collect(),
            surroundings: spec.surroundings,
        })
    }

    pub(crate) fn from_launch(launch: Launch) -> Self {
        Self {
            launch: Arc::new(launch),
        }
    }
}

impl Driver for ProcessDriver {
    fn run(self: Arc<Self>, invoke: Invoke) -> BoxFuture<Outcome> {
        Box::pin(execute(Arc::clone(&self.launch), invoke, MAX_DRIVER_OUTPUT))
    }

    fn check(&self) -> Result<(), Fault> {
        self.launch.check()
    }
}

/// Runs a program once, with at most `limit` bytes from each output. Dropping the future ends the run like a
/// cancellation, in the background.
pub(crate) async fn execute(launch: Arc<Launch>, mut invoke: Invoke, limit: usize) -> Outcome {
    invoke.cancel = invoke.cancel.child_token();
    let _cancel_when_dropped = invoke.cancel.clone().drop_guard();
    let run = tokio::spawn(run(launch, invoke, limit));
    run.await
        .unwrap_or_else(|lost| Outcome::failed(Fault::Io(io::Error::other(lost))))
}

async fn run(launch: Arc<Launch>, invoke: Invoke, limit: usize) -> Outcome {
    let deadline = Instant::now() + invoke.timeout;
    let id = InvokeId::new();
    let start = {
        let (id, payload) = (id.clone(), invoke.payload);
        move || Process::start(&launch, &id, payload.clone(), limit)
    };
    let mut process = match start_within(start, deadline, &invoke.cancel).await {
        Ok(process) => process,
        Err(ended) => return outcome(ended, Vec::new(), Vec::new()),
    };
    let verdict = process.serve(deadline, &invoke.cancel).await;
    process.finish(verdict, &id).await
}

/// Forks off the threads that serve everybody else. A run whose time is up before its turn to start comes is not
/// started at all. A program that is busy is tried again for a while, but not beyond the end of the run.
pub(crate) async fn start_within<T: Send + 'static>(
    start: impl Fn() -> Result<T, Fault> + Send + Sync + 'static,
    deadline: Instant,
    cancel: &CancellationToken,
) -> Result<T, Ended> {
    let start = Arc::new(start);
    let mut patience = Patience::default();
    loop {
        let started = start_once(Arc::clone(&start), deadline, cancel).await;
        let Err(Ended::Failed(Fault::FileBusy)) = &started else {
            return started;
        };
        let Some(pause) = patience.pause() else {
            return started;
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Ended::Cancelled),
            // Nothing ran, so nothing ran out of time.
            () = sleep_until(deadline) => return started,
            () = sleep(pause) => {}
        }
    }
}

async fn start_once<T: Send + 'static>(
    start: Arc<impl Fn() -> Result<T, Fault> + Send + Sync + 'static>,
    deadline: Instant,
    cancel: &CancellationToken,
) -> Result<T, Ended> {
    let mut starting = tokio::task::spawn_blocking(move || start());
    let ended = tokio::select! {
        biased;
        started = &mut starting => return started.map_err(lost_thread)?.map_err(Ended::Failed),
        () = cancel.cancelled() => Ended::Cancelled,
        () = sleep_until(deadline) => Ended::TimedOut,
    };
    starting.abort();
    match starting.await {
        // Too late to stop it; whoever serves it sees at once that its time is up.
        Ok(started) => started.map_err(Ended::Failed),
        Err(_) => Err(ended),
    }
}

/// Looks at what may be on a slow disk, on a thread that may wait for it. What is found too late is dropped there.
pub(crate) async fn look_within<T: Send + 'static>(
    look: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    deadline: Instant,
    cancel: &CancellationToken,
) -> Result<T, Ended> {
    let mut looking = tokio::task::spawn_blocking(look);
    let ended = tokio::select! {
        biased;
        found = &mut looking => return found.map_err(lost_thread)?.map_err(Ended::Failed),
        () = cancel.cancelled() => Ended::Cancelled,
        () = sleep_until(deadline) => Ended::TimedOut,
    };
    looking.abort();
    Err(ended)
}

fn lost_thread(error: tokio::task::JoinError) -> Ended {
    Ended::Failed(Fault::Io(io::Error::other(error)))
}

const fn outcome(ended: Ended, stdout: Vec<u8>, stderr: Vec<u8>) -> Outcome {
    Outcome {
        ended,
        stdout,
        stderr,
    }
}

/// What ended the life of a process, as far as the run is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Exited,
    TimedOut,
    Cancelled,
    TooLong(Stream),
}

/// A driver that runs, with its pipes.
#[derive(Debug)]
struct Process {
    group: Group,
    running: Running,
    exit: ExitWatch,
    input: Input,
    outputs: Outputs,
    limit: usize,
}

impl Process {
    fn start(launch: &Launch, id: &InvokeId, payload: Bytes, limit: usize) -> Result<Self, Fault> {
        let mut running = Running::new();
        let mut child = launch.spawn(id, Stdio::piped())?;
        let group = Group::of(&child);
        running.leads(group.leader());
        Ok(Self {
            exit: group.exit_watch()?,
            input: Input::new(child.stdin.take(), payload)?,
            outputs: Outputs::of(&mut child, limit)?,
            limit,
            group,
            running,
        })
    }

    /// Serves the process until something ends it.
    async fn serve(&mut self, deadline: Instant, cancel: &CancellationToken) -> Verdict {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Verdict::Cancelled,
            () = sleep_until(deadline) => Verdict::TimedOut,
            Err(stream) = transfer(&mut self.input, &mut self.outputs) => Verdict::TooLong(stream),
            () = self.exit.exited() => self.drain(cancel).await,
        }
    }

    /// Reads what the process wrote before it exited, and for a moment what somebody it left behind writes.
    async fn drain(&mut self, cancel: &CancellationToken) -> Verdict {
        let mut result = self.outputs.fill_now();
        if result.is_ok() && !self.outputs.are_complete() {
            result = tokio::select! {
                result = timeout(DRAIN, self.outputs.fill()) => result.unwrap_or(Ok(())),
                () = cancel.cancelled() => Ok(()),
            };
        }
        result.map_or_else(Verdict::TooLong, |()| Verdict::Exited)
    }

    /// Leaves nothing running, and says what came of it.
    async fn finish(mut self, verdict: Verdict, id: &InvokeId) -> Outcome {
        if matches!(verdict, Verdict::TimedOut | Verdict::Cancelled) {
            self.group.terminate();
            // What the driver has to say about it is heard; that it says too much changes nothing any more.
            let farewell = async { tokio::join!(self.exit.exited(), self.outputs.fill()) };
            let _ = timeout(GRACE, farewell).await;
        }
        let end = self.group.end().await;
        let overflow = self.outputs.fill_rest().await.err();
        sweep(id, &self.running).await;
        let ended = match (verdict, overflow, end) {
            (Verdict::TimedOut, _, _) => Ended::TimedOut,
            (Verdict::Cancelled, _, _) => Ended::Cancelled,
            (Verdict::TooLong(stream), _, _) | (Verdict::Exited, Some(stream), _) => {
                return Outcome::failed(stream.into());
            }
            (Verdict::Exited, None, LeaderEnd::Exited(code)) => Ended::Exited(code),
            (Verdict::Exited, None, LeaderEnd::Signalled | LeaderEnd::Stuck) => Ended::Died,
        };
        let (mut stdout, mut stderr) = self.outputs.take();
        stdout.truncate(self.limit);
        stderr.truncate(self.limit);
        outcome(ended, stdout, stderr)
    }
}

/// Moves the payload in and the outputs out until both outputs are closed. Cancel safe.
async fn transfer(input: &mut Input, outputs: &mut Outputs) -> Result<(), Stream> {
    tokio::try_join!(input.feed(), outputs.fill()).map(drop)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A program that somebody has open for writing.
    fn busy_program(folder: &std::path::Path) -> (Launch, File) {
        let program = folder.join("driver");
        fs::write(&program, "#!/bin/sh\nexit 0\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let writer = File::options().append(true).open(&program).unwrap();
        let launch = Launch {
            program,
            args: Vec::new(),
            surroundings: crate::spec::Surroundings::default(),
        };
        (launch, writer)
    }

    fn start_of(launch: Launch) -> impl Fn() -> Result<Process, Fault> + Send + Sync + 'static {
        move || Process::start(&launch, &InvokeId::new(), Bytes::new(), 100)
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_is_being_written_is_waited_for() {
        let begin = Instant::now();
        let start = move || {
            let is_written = begin.elapsed() >= Duration::from_millis(700);
            is_written.then_some("started").ok_or(Fault::FileBusy)
        };
        let deadline = begin + Duration::from_secs(60);
        let started = start_within(start, deadline, &CancellationToken::new()).await;
        assert_eq!(started.unwrap(), "started");
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_stays_busy_is_named_and_the_end_of_the_run_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (launch, _writer) = busy_program(folder.path());
        let start = Arc::new(start_of(launch));
        let attempt = || {
            let start = Arc::clone(&start);
            move || start()
        };
        let never = CancellationToken::new();
        for (timeout_ms, least_ms, most_ms) in [(70, 70, 90), (60_000, 900, 2000)] {
            let begin = Instant::now();
            let deadline = begin + Duration::from_millis(timeout_ms);
            let ended = start_within(attempt(), deadline, &never).await;
            let Err(Ended::Failed(fault)) = ended else {
                panic!("it was started");
            };
            assert_eq!(fault.to_string(), "FileBusy");
            let took = begin.elapsed().as_millis();
            assert!((least_ms..=most_ms).contains(&took), "{took} ms of {timeout_ms}");
        }
        let cancel = CancellationToken::new();
        cancel.cancel();
        let deadline = Instant::now() + Duration::from_secs(60);
        let ended = start_within(attempt(), deadline, &cancel).await;
        assert!(matches!(ended, Err(Ended::Cancelled)));
    }
}
