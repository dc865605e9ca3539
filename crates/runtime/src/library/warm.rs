//! Helpers that keep a library loaded, and the pool in which they wait for the next invoke.

use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use spiderweb_protocol::limits::MAX_DRIVER_OUTPUT;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::link::{ANSWER_HEAD, Answer, AnswerHead, Greeting, encode_question};
use super::stamp_of;
use crate::driver::{Ended, Fault, Invoke, Outcome};
use crate::output::{Outputs, Stream};
use crate::process::{
    ExitWatch, GRACE, Group, InvokeId, Launch, LeaderEnd, Running, look_within, start_within, sweep,
};
use crate::stamp::Stamp;

/// How long a helper waits for the next invoke before it is let go.
const IDLE: Duration = Duration::from_secs(60);

/// The helpers of one service.
#[derive(Debug)]
pub(super) struct Pool {
    launch: Arc<Launch>,
    library: PathBuf,
    idle: Mutex<Idle>,
}

/// The helpers that wait.
#[derive(Debug, Default)]
struct Idle {
    /// In the order in which they are let go.
    parked: Vec<Parked>,
    /// Whether a task lets them go when their time is over.
    is_looked_after: bool,
}

#[derive(Debug)]
struct Parked {
    until: Instant,
    helper: Helper,
}

/// What there is for the next invoke.
#[derive(Debug)]
struct Found {
    stamp: Option<Stamp>,
    helper: Option<Helper>,
    /// Helpers that are of no use any more.
    stale: Vec<Helper>,
}

impl Pool {
    pub(super) fn new(launch: Launch, library: PathBuf) -> Self {
        Self {
            launch: Arc::new(launch),
            library,
            idle: Mutex::default(),
        }
    }

    /// Runs one invoke. Dropping the future ends it like a cancellation, in the background.
    pub(super) async fn run(self: Arc<Self>, mut invoke: Invoke) -> Outcome {
        invoke.cancel = invoke.cancel.child_token();
        let _cancel_when_dropped = invoke.cancel.clone().drop_guard();
        let run = tokio::spawn(self.serve(invoke));
        run.await
            .unwrap_or_else(|lost| Outcome::failed(Fault::Io(io::Error::other(lost))))
    }

    async fn serve(self: Arc<Self>, invoke: Invoke) -> Outcome {
        let deadline = Instant::now() + invoke.timeout;
        let helper = match self.helper(deadline, &invoke.cancel).await {
            Ok(helper) => helper,
            Err(ended) => {
                return Outcome {
                    ended,
                    stdout: Vec::new(),
                    stderr: Vec::new(),
                };
            }
        };
        let (outcome, kept) = helper.invoke(&invoke, deadline).await;
        if let Some(helper) = kept {
            self.park(helper);
        }
        outcome
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn helper(
        self: &Arc<Self>,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<Helper, Ended> {
        let pool = Arc::clone(self);
        let found = look_within(move || pool.look(), deadline, cancel).await?;
        for helper in found.stale {
            helper.end().await;
        }
        match found.helper {
            Some(helper) => Ok(helper),
            None => self.start(found.stamp, deadline, cancel).await,
        }
    }

    /// Looks at the library's file, and for the helper that was used last, lives and has just that loaded. Blocks.
    fn look(&self) -> Result<Found, Fault> {
        let mut found = Found {
            stamp: stamp_of(&self.library)?,
            helper: None,
            stale: Vec::new(),
        };
        while found.helper.is_none() {
            let Some(Parked { mut helper, .. }) = self.idle().parked.pop() else {
                break;
            };
            helper.running.works();
            if helper.stamp == found.stamp && helper.is_ready() {
                found.helper = Some(helper);
            } else {
                found.stale.push(helper);
            }
        }
        Ok(found)
    }

    async fn start(
        &self,
        stamp: Option<Stamp>,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<Helper, Ended> {
        let launch = Arc::clone(&self.launch);
        let start = move || Helper::start(&launch, stamp.clone());
        let helper = start_within(start, deadline, cancel).await?;
        helper.greeted(deadline, cancel).await
    }

    fn park(self: &Arc<Self>, mut helper: Helper) {
        helper.running.rests();
        let until = Instant::now() + IDLE;
        let mut idle = self.idle();
        idle.parked.push(Parked { until, helper });
        if !mem::replace(&mut idle.is_looked_after, true) {
            tokio::spawn(look_after(Arc::downgrade(self)));
        }
    }

    /// Takes out what has waited for long enough; also says when the next one has. Without one, nobody looks any more.
    fn expired(&self) -> (Vec<Parked>, Option<Instant>) {
        let now = Instant::now();
        let mut idle = self.idle();
        let count = idle.parked.partition_point(|parked| parked.until <= now);
        let expired = idle.parked.drain(..count).collect();
        let next = idle.parked.first().map(|parked| parked.until);
        idle.is_looked_after = next.is_some();
        (expired, next)
    }
}

/// Lets helpers go when their time is over: one task for each pool in which some wait, however often they are used.
async fn look_after(pool: Weak<Pool>) {
    loop {
        let Some((expired, next)) = pool.upgrade().map(|pool| pool.expired()) else {
            return;
        };
        for parked in expired {
            parked.helper.end().await;
        }
        match next {
            Some(next) => sleep_until(next).await,
            None => return,
        }
    }
}

/// What came of asking a helper.
enum Reply {
    Answered(Answer),
    /// The link broke: the helper crashed, exited, or speaks nonsense.
    Lost,
    TimedOut,
    Cancelled,
    TooLong(Stream),
}

/// A process that has the library loaded.
#[derive(Debug)]
struct Helper {
    link: UnixStream,
    group: Group,
    exit: ExitWatch,
    outputs: Outputs,
    id: InvokeId,
    running: Running,
    /// The library's file as it was before it was loaded.
    stamp: Option<Stamp>,
}

impl Helper {
    fn start(launch: &Launch, stamp: Option<Stamp>) -> Result<Self, Fault> {
        let id = InvokeId::new();
        let mut running = Running::new();
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut child = launch.spawn(&id, Stdio::from(OwnedFd::from(theirs)))?;
        let group = Group::of(&child);
        running.leads(group.leader());
        Ok(Self {
            link: UnixStream::from_std(ours)?,
            exit: group.exit_watch()?,
            outputs: Outputs::of(&mut child, MAX_DRIVER_OUTPUT)?,
            group,
            id,
            running,
            stamp,
        })
    }

    /// Waits until the library is loaded.
    async fn greeted(mut self, deadline: Instant, cancel: &CancellationToken) -> Result<Self, Ended> {
        let greeting = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Ended::Cancelled),
            () = sleep_until(deadline) => Err(Ended::TimedOut),
            Err(stream) = self.outputs.fill() => Err(Ended::Failed(stream.into())),
            byte = self.link.read_u8() => Ok(byte.ok().and_then(Greeting::from_byte)),
        };
        let ended = match greeting {
            Ok(Some(Greeting::Ready)) => return Ok(self),
            Ok(Some(Greeting::MissingSymbol)) => Ended::Failed(Fault::MissingSymbol),
            // A file that is there and that the loader will not have is no library.
            Ok(Some(Greeting::NotFound)) if self.stamp.is_some() => Ended::Failed(Fault::InvalidExecutable),
            Ok(Some(Greeting::NotFound)) => Ended::Failed(Fault::NotFound),
            // The library's initialisers ended the process.
            Ok(None) => Ended::Died,
            Err(ended) => ended,
        };
        self.end().await;
        Err(ended)
    }

    /// Whether it lives, and says nothing that belongs to no invoke any more.
    fn is_ready(&mut self) -> bool {
        let is_quiet = self.outputs.fill_now().is_ok();
        drop(self.outputs.take());
        is_quiet && self.group.leader_end().is_none()
    }

    /// Serves one invoke; gives the helper back if it can serve another.
    async fn invoke(mut self, invoke: &Invoke, deadline: Instant) -> (Outcome, Option<Self>) {
        let reply = tokio::select! {
            biased;
            () = invoke.cancel.cancelled() => Reply::Cancelled,
            () = sleep_until(deadline) => Reply::TimedOut,
            Err(stream) = self.outputs.fill() => Reply::TooLong(stream),
            answer = ask(&mut self.link, &invoke.payload) => answer.map_or(Reply::Lost, Reply::Answered),
        };
        // What was printed before the answer is in the pipes by now.
        let overflow = self.outputs.fill_now().err();
        match (reply, overflow) {
            (Reply::Answered(answer), None) => {
                let (mut stdout, mut stderr) = self.outputs.take();
                stdout.extend(answer.out);
                stderr.extend(answer.err);
                // What made it fail may be in its memory.
                let kept = if answer.has_children || answer.code != 0 {
                    self.end().await;
                    None
                } else {
                    sweep(&self.id, &self.running).await;
                    Some(self)
                };
                (finished(answer.code, stdout, stderr), kept)
            }
            (Reply::TooLong(stream), _) | (Reply::Answered(_), Some(stream)) => {
                self.end().await;
                (Outcome::failed(stream.into()), None)
            }
            (Reply::Lost, _) => (self.lost().await, None),
            (Reply::TimedOut, _) => (self.stopped(Ended::TimedOut).await, None),
            (Reply::Cancelled, _) => (self.stopped(Ended::Cancelled).await, None),
        }
    }

    /// The process ended by itself, or closed the link: what it exited with counts, as it would without a helper.
    async fn lost(mut self) -> Outcome {
        let _ = timeout(GRACE, self.exit.exited()).await;
        let ended = match self.group.end().await {
            LeaderEnd::Exited(code) => Ended::Exited(code),
            LeaderEnd::Signalled | LeaderEnd::Stuck => Ended::Died,
        };
        self.leave(ended).await
    }

    async fn stopped(mut self, ended: Ended) -> Outcome {
        self.group.terminate();
        let farewell = async { tokio::join!(self.exit.exited(), self.outputs.fill()) };
        let _ = timeout(GRACE, farewell).await;
        self.group.end().await;
        self.leave(ended).await
    }

    /// Says what was printed until the end.
    async fn leave(mut self, ended: Ended) -> Outcome {
        // Too much of it changes nothing any more.
        let _ = self.outputs.fill_now();
        sweep(&self.id, &self.running).await;
        let (mut stdout, mut stderr) = self.outputs.take();
        stdout.truncate(MAX_DRIVER_OUTPUT);
        stderr.truncate(MAX_DRIVER_OUTPUT);
        Outcome {
            ended,
            stdout,
            stderr,
        }
    }

    async fn end(mut self) {
        self.group.end().await;
        sweep(&self.id, &self.running).await;
    }
}

fn finished(code: u8, stdout: Vec<u8>, stderr: Vec<u8>) -> Outcome {
    if stdout.len() > MAX_DRIVER_OUTPUT {
        return Outcome::failed(Fault::StdoutTooLong);
    }
    if stderr.len() > MAX_DRIVER_OUTPUT {
        return Outcome::failed(Fault::StderrTooLong);
    }
    Outcome {
        ended: Ended::Exited(code.into()),
        stdout,
        stderr,
    }
}

/// Asks for one call of the library's function. None if there is no answer.
async fn ask(link: &mut UnixStream, payload: &[u8]) -> Option<Answer> {
    let question = encode_question(payload).ok()?;
    link.write_all(&question).await.ok()?;
    let mut head = [0; ANSWER_HEAD];
    link.read_exact(&mut head).await.ok()?;
    let head = AnswerHead::decode(head)?;
    let mut out = vec![0; head.out];
    link.read_exact(&mut out).await.ok()?;
    let mut err = vec![0; head.err];
    link.read_exact(&mut err).await.ok()?;
    Some(Answer {
        code: head.code,
        has_children: head.has_children,
        out,
        err,
    })
}
