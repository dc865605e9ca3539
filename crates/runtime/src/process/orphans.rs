//! Processes that left the group of their run.
//!
//! A driver may call `setsid` and fork twice; killing its group does not reach what it leaves behind. On Linux a
//! process can declare itself the one that orphans below it are given to. Then whatever outlives a run becomes our
//! child, and is told from other children by the id of the run in its environment. What hides its environment is
//! told by its session, which is not ours, at a moment when no run is under way.
//!
//! Without [`adopt_orphans`], and on other systems, this does nothing. On Windows nothing has to be done: a job holds
//! all that a driver starts.

#[cfg(target_os = "linux")]
pub(crate) use linux::{Running, sweep};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{Running, sweep};

use std::io;

/// Makes this process the parent of all orphans below it, so that nothing a driver started outlives its run. To be
/// called once, by the program, while its main thread lives on.
///
/// A program that does so must not have children of its own in other sessions.
pub fn adopt_orphans() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    linux::adopt()?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
mod other {
    use crate::process::Leader;
    use crate::process::launch::InvokeId;

    #[derive(Debug)]
    pub(crate) struct Running;

    impl Running {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn leads(&mut self, _leader: Leader) {}

        #[cfg(unix)]
        pub(crate) fn rests(&mut self) {}

        #[cfg(unix)]
        pub(crate) fn works(&mut self) {}
    }

    pub(crate) async fn sweep(_id: &InvokeId, _running: &Running) {}
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashSet;
    use std::fs;
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};
    use tokio::time::Instant;

    use crate::process::launch::{INVOKE_ID_VARIABLE, InvokeId};

    static ADOPTING: AtomicBool = AtomicBool::new(false);

    /// Held for one look at our children, which reads files: whoever waits for it blocks. It keeps two sweeps from
    /// reaping one process, and a run from beginning while its processes would be taken for somebody's left-overs.
    static LOOKING: Mutex<()> = Mutex::new(());

    /// What the sweeps must leave alone. Held for a moment only.
    static RUNS: LazyLock<Mutex<Runs>> = LazyLock::new(Mutex::default);

    /// A sweep that finds new processes for longer gives up; the next one goes on.
    const PATIENCE: Duration = Duration::from_secs(2);
    /// One that finds only processes that cannot be told does so sooner: somebody may want to look like that, and the
    /// next moment without a run ends it.
    const UNSETTLED_PATIENCE: Duration = Duration::from_millis(250);
    const PAUSE: Duration = Duration::from_millis(1);

    #[derive(Debug, Default)]
    struct Runs {
        under_way: usize,
        /// Numbers of the groups of runs under way and of helpers that wait for one.
        leaders: HashSet<Pid>,
    }

    pub(super) fn adopt() -> io::Result<()> {
        rustix::process::set_child_subreaper(Some(getpid()))?;
        ADOPTING.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn looking() -> MutexGuard<'static, ()> {
        LOOKING.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runs() -> MutexGuard<'static, Runs> {
        RUNS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a run is under way, from before its driver is started until it is dropped.
    #[derive(Debug)]
    pub(crate) struct Running {
        leader: Option<Pid>,
        is_idle: bool,
    }

    impl Running {
        /// Blocks.
        pub(crate) fn new() -> Self {
            let _nobody_looks = looking();
            runs().under_way += 1;
            Self {
                leader: None,
                is_idle: false,
            }
        }

        /// The process that leads the group of the run.
        pub(crate) fn leads(&mut self, leader: Pid) {
            runs().leaders.insert(leader);
            self.leader = Some(leader);
        }

        /// The process waits for its next run.
        pub(crate) fn rests(&mut self) {
            if !std::mem::replace(&mut self.is_idle, true) {
                runs().under_way -= 1;
            }
        }

        /// It is about to be asked again. Blocks.
        pub(crate) fn works(&mut self) {
            let _nobody_looks = looking();
            if std::mem::take(&mut self.is_idle) {
                runs().under_way += 1;
            }
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.rests();
            if let Some(leader) = self.leader {
                runs().leaders.remove(&leader);
            }
        }
    }

    /// Kills and reaps what is left of the run with this id.
    pub(crate) async fn sweep(id: &InvokeId, running: &Running) {
        if !ADOPTING.load(Ordering::Relaxed) {
            return;
        }
        let begin = Instant::now();
        let is_idle = running.is_idle;
        loop {
            let run = id.clone();
            let look = tokio::task::spawn_blocking(move || pass(&run, is_idle));
            // A look that panicked has said so; without a runtime the node ends.
            match look.await {
                Ok(Look::Killed) if begin.elapsed() > PATIENCE => {
                    tracing::warn!(invoke = id.as_str(), "processes of a driver keep coming");
                    return;
                }
                Ok(Look::Unsettled) if begin.elapsed() > UNSETTLED_PATIENCE => return,
                Ok(Look::Killed | Look::Unsettled) => {}
                Ok(Look::Nothing) | Err(_) => return,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What one look at our children found.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Look {
        Nothing,
        /// Whether something is of this run cannot be told yet.
        Unsettled,
        /// Whose own children may be ours now.
        Killed,
    }

    /// One look at our children. Blocks.
    fn pass(id: &InvokeId, is_idle: bool) -> Look {
        let _alone = looking();
        let (is_quiet, leaders) = {
            let runs = runs();
            (runs.under_way == usize::from(!is_idle), runs.leaders.clone())
        };
        let mark = format!("{INVOKE_ID_VARIABLE}={}", id.as_str());
        let Some(own) = Standing::of(getpid()) else {
            return Look::Nothing;
        };
        let mut found = Look::Nothing;
        for child in adopted() {
            let Some(standing) = Standing::of(child) else {
                continue;
            };
            if leaders.contains(&child)
                || Pid::from_raw(standing.group).is_some_and(|group| leaders.contains(&group))
            {
                continue;
            }
            let is_foreign = standing.session != own.session;
            if standing.is_zombie {
                // It has no environment any more; in another session than ours it can only be an orphan.
                if is_foreign {
                    reap(child);
                }
                continue;
            }
            let origin = Origin::of(child, mark.as_bytes());
            if origin == Origin::Run || (is_quiet && is_foreign) {
                // Ours alone to reap, under the lock: the number cannot mean another process meanwhile.
                let _ = kill_process(child, Signal::KILL);
                found = Look::Killed;
                reap(child);
            } else if origin == Origin::Unsettled && found == Look::Nothing {
                found = Look::Unsettled;
            }
        }
        found
    }

    fn reap(child: Pid) {
        let _ = waitpid(Some(child), WaitOptions::NOHANG);
    }

    /// The children that no other thread than the first one forked; orphans are among them.
    fn adopted() -> Vec<Pid> {
        let main = getpid().as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/self/task/{main}/children")).unwrap_or_default();
        let numbers = children
            .split_ascii_whitespace()
            .filter_map(|word| word.parse().ok());
        numbers.filter_map(Pid::from_raw).collect()
    }

    /// Where a process comes from, as its environment tells.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Origin {
        /// From the run that is asked about.
        Run,
        /// From another, or it hides where from.
        Unknown,
        /// It was becoming another program, or ending, when it was looked at; the text may be missing or cut short.
        Unsettled,
    }

    impl Origin {
        fn of(process: Pid, mark: &[u8]) -> Self {
            let path = format!("/proc/{}/environ", process.as_raw_nonzero());
            let Ok(environ) = fs::read(path) else {
                return Self::Unknown;
            };
            if environ.split(|byte| *byte == 0).any(|entry| entry == mark) {
                return Self::Run;
            }
            let whole = Standing::of(process).and_then(|now| now.environment);
            if whole == u64::try_from(environ.len()).ok() {
                Self::Unknown
            } else {
                Self::Unsettled
            }
        }
    }

    /// What `/proc/PID/stat` says of a process.
    struct Standing {
        is_zombie: bool,
        group: i32,
        /// 0 where its leader is outside of what this process can see: in a container, or below a first process that
        /// never began a session.
        session: i32,
        /// Bytes of its environment; none while its program only begins, or ends.
        environment: Option<u64>,
    }

    impl Standing {
        fn of(process: Pid) -> Option<Self> {
            let text = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).ok()?;
            // The name comes second, in parentheses, and may hold anything.
            let (_, rest) = text.rsplit_once(')')?;
            let mut fields = rest.split_ascii_whitespace();
            let state = fields.next()?;
            let group = fields.nth(1)?.parse().ok()?;
            let session = fields.next()?.parse().ok()?;
            // Fields 26, 50 and 51. The first is the last that a program which begins gets.
            let code: u64 = fields.nth(19)?.parse().ok()?;
            let [from, to]: [u64; 2] = [fields.nth(23)?.parse().ok()?, fields.next()?.parse().ok()?];
            Some(Self {
                is_zombie: state == "Z",
                group,
                session,
                environment: to.checked_sub(from).filter(|_| code != 0),
            })
        }
    }
}
