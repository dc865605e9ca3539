//! A driver and all it starts, in one job.
//!
//! A process is put into the job before its first instruction, and what it starts is in the job as well. The job is
//! ended as one; it also ends when its last handle is closed, which the system does for a node that was killed. A task
//! holds the job: everybody else tells it to end, and hears how far it is.
//!
//! Windows has no request to end that any program would understand, so there is none: asking kills.

use std::io;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use process_wrap::tokio::{ChildWrapper, CommandWrap, CreationFlags, JobObject, KillOnDrop};
pub(crate) use tokio::process::ChildStdin as ChildInput;
use tokio::process::{ChildStderr, ChildStdout};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use windows::Win32::System::Threading::CREATE_NO_WINDOW;

use super::LeaderEnd;

/// Killed processes are gone at once, unless the system holds them in a call that cannot be interrupted.
const REAP_PATIENCE: Duration = Duration::from_secs(2);

/// Exit codes from here on are the system's: the process crashed.
const FIRST_CRASH: u32 = 0xc000_0000;

/// The number of the process that leads a job.
pub(crate) type Leader = u32;

/// How far a job is.
#[derive(Debug, Clone, Copy)]
enum State {
    Runs,
    LeaderEnded(LeaderEnd),
    /// Nothing is left of it.
    Gone(LeaderEnd),
}

/// A process that was started, with its pipes.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) stdin: Option<ChildInput>,
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
    leader: Leader,
    end: CancellationToken,
    state: watch::Receiver<State>,
}

/// Starts a program in a job of its own, without a window and out of reach of Ctrl-C.
pub(crate) fn start(command: Command) -> io::Result<Child> {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let mut tree = CommandWrap::from(tokio::process::Command::from(command))
        .wrap(CreationFlags(CREATE_NO_WINDOW))
        .wrap(KillOnDrop)
        .wrap(JobObject)
        .spawn()?;
    let (sender, state) = watch::channel(State::Runs);
    let end = CancellationToken::new();
    let child = Child {
        stdin: tree.stdin().take(),
        stdout: tree.stdout().take(),
        stderr: tree.stderr().take(),
        leader: tree.id().unwrap_or_default(),
        end: end.clone(),
        state,
    };
    runtime.spawn(keep(tree, end, sender));
    Ok(child)
}

/// The runtime this is called in; commands that look at a library without one share their own.
fn runtime() -> io::Result<Handle> {
    static SPARE: Mutex<Option<Runtime>> = Mutex::new(None);

    if let Ok(runtime) = Handle::try_current() {
        return Ok(runtime);
    }
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*spare {
        return Ok(runtime.handle().clone());
    }
    let made = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let handle = made.handle().clone();
    *spare = Some(made);
    Ok(handle)
}

/// Holds a job until somebody wants its end, and then until nothing is left of it. Dropping it kills the job.
async fn keep(mut tree: Box<dyn ChildWrapper>, end: CancellationToken, state: watch::Sender<State>) {
    let ended = tokio::select! {
        biased;
        status = tree.inner_mut().wait() => Some(status.map_or(LeaderEnd::Stuck, how)),
        () = end.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            kill(&mut *tree);
            match timeout(REAP_PATIENCE, tree.inner_mut().wait()).await {
                Ok(_) => LeaderEnd::Signalled,
                Err(_) => LeaderEnd::Stuck,
            }
        }
    };
    state.send_replace(State::LeaderEnded(ended));
    end.cancelled().await;
    kill(&mut *tree);
    if timeout(REAP_PATIENCE, tree.wait()).await.is_err() {
        tracing::warn!("a killed driver does not end");
    }
    state.send_replace(State::Gone(ended));
}

fn kill(tree: &mut dyn ChildWrapper) {
    if let Err(error) = tree.start_kill() {
        tracing::warn!(%error, "a driver cannot be ended");
    }
}

fn how(status: ExitStatus) -> LeaderEnd {
    match status.code() {
        Some(code) if (code as u32) < FIRST_CRASH => LeaderEnd::Exited(code),
        _ => LeaderEnd::Signalled,
    }
}

/// A job, killed when dropped.
#[derive(Debug)]
pub(crate) struct Group {
    leader: Leader,
    end: CancellationToken,
    state: watch::Receiver<State>,
}

impl Group {
    /// The job that this child leads.
    pub(crate) fn of(leader: &Child) -> Self {
        Self {
            leader: leader.leader,
            end: leader.end.clone(),
            state: leader.state.clone(),
        }
    }

    pub(crate) const fn leader(&self) -> Leader {
        self.leader
    }

    /// Sees when the leader ends.
    #[expect(clippy::unnecessary_wraps, reason = "it may fail on other systems")]
    pub(crate) fn exit_watch(&self) -> io::Result<ExitWatch> {
        Ok(ExitWatch(self.state.clone()))
    }

    /// How the leader ended, if it has.
    pub(crate) fn leader_end(&self) -> Option<LeaderEnd> {
        match *self.state.borrow() {
            State::Runs => None,
            State::LeaderEnded(end) | State::Gone(end) => Some(end),
        }
    }

    /// Ends every process of the job.
    pub(crate) fn terminate(&self) {
        self.end.cancel();
    }

    /// Kills what is left of the job, and waits until it is gone.
    pub(crate) async fn end(&mut self) -> LeaderEnd {
        self.end.cancel();
        // The task that says so has a patience of its own; without a runtime the node ends, and the job with it.
        drop(self.state.wait_for(|state| matches!(state, State::Gone(_))).await);
        self.leader_end().unwrap_or(LeaderEnd::Stuck)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Sees when a leader ends.
#[derive(Debug)]
pub(crate) struct ExitWatch(watch::Receiver<State>);

impl ExitWatch {
    /// Resolves once the leader has ended, at every call. Cancel safe.
    pub(crate) async fn exited(&mut self) {
        drop(self.0.wait_for(|state| !matches!(state, State::Runs)).await);
    }
}
