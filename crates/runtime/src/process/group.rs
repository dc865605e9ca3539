//! The process group of one driver: signalled as one, reaped as one.
//!
//! The group is signalled only while its leader is not reaped; until then its number belongs to it, whoever else
//! of it may be alive. On Windows a job takes this place (`windows`).

use std::io;
use std::process::Child;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, kill_process_group, test_kill_process_group,
    waitid, waitpgid,
};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::LeaderEnd;
use super::exit::ExitWatch;

/// Killed processes are gone at once, unless the system holds them in a call that cannot be interrupted.
const REAP_PATIENCE: Duration = Duration::from_secs(2);

/// First pause between two looks; doubled up to [`REAP_PAUSE_MAX`].
const REAP_PAUSE: Duration = Duration::from_millis(1);
const REAP_PAUSE_MAX: Duration = Duration::from_millis(20);

/// Members that others must reap, because this process adopts no orphans, are waited for no longer: who knows
/// whether anybody does.
const MEMBER_PATIENCE: Duration = Duration::from_millis(100);

/// How often a group that was dropped is looked at, a millisecond apart, before it is left to the system.
const DROP_LOOKS: u32 = 50;

/// A process group, killed when dropped.
#[derive(Debug)]
pub(crate) struct Group {
    leader: Pid,
    status: Option<WaitStatus>,
    is_gone: bool,
}

impl Group {
    /// The group that this child leads. The child must not be waited for by anybody else.
    pub(crate) fn of(leader: &Child) -> Self {
        let leader = Pid::from_child(leader);
        Self {
            leader,
            status: None,
            is_gone: false,
        }
    }

    pub(crate) const fn leader(&self) -> Pid {
        self.leader
    }

    /// Sees when the leader ends.
    pub(crate) fn exit_watch(&self) -> io::Result<ExitWatch> {
        ExitWatch::new(self.leader)
    }

    /// How the leader ended, if it has. Nothing is reaped.
    pub(crate) fn leader_end(&self) -> Option<LeaderEnd> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.leader), options) {
            Ok(status) => status.map(|status| {
                status
                    .exit_status()
                    .map_or(LeaderEnd::Signalled, LeaderEnd::Exited)
            }),
            Err(_) => Some(LeaderEnd::Stuck),
        }
    }

    /// Asks every process of the group to end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Kills what is left of the group, and waits until it is gone.
    pub(crate) async fn end(&mut self) -> LeaderEnd {
        self.signal(Signal::KILL);
        if !until(REAP_PATIENCE, || self.reap()).await {
            tracing::warn!(
                group = self.leader.as_raw_nonzero().get(),
                "a killed driver does not end"
            );
            self.is_gone = true;
        }
        let leader = self.leader;
        until(MEMBER_PATIENCE, || test_kill_process_group(leader).is_err()).await;
        match self.status {
            Some(status) => status
                .exit_status()
                .map_or(LeaderEnd::Signalled, LeaderEnd::Exited),
            None => LeaderEnd::Stuck,
        }
    }

    fn signal(&self, signal: Signal) {
        if self.status.is_some() || self.is_gone {
            return;
        }
        match kill_process_group(self.leader, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            // A process that took another user's rights; nothing but that user can end it.
            Err(error) => tracing::warn!(error = %io::Error::from(error), "a driver cannot be signalled"),
        }
    }

    /// Reaps those that have ended; true once there is none left. Members whose parents died are our children,
    /// if this process adopts orphans; elsewhere the system reaps them.
    fn reap(&mut self) -> bool {
        while !self.is_gone {
            match waitpgid(self.leader, WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if pid == self.leader {
                        self.status = Some(status);
                    }
                }
                Ok(None) => return false,
                Err(Errno::INTR) => {}
                Err(_) => self.is_gone = true,
            }
        }
        true
    }
}

/// Looks again and again whether something holds; false if it does not in time.
async fn until(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let give_up = Instant::now() + patience;
    let mut pause = REAP_PAUSE;
    while !holds() {
        if Instant::now() > give_up {
            return false;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(REAP_PAUSE_MAX);
    }
    true
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.is_gone {
            return;
        }
        self.signal(Signal::KILL);
        if self.reap() {
            return;
        }
        // The number stays theirs until they are reaped, which nobody else does.
        let rest = self.leader;
        match Handle::try_current() {
            // The thread may be one that serves others.
            Ok(runtime) => drop(runtime.spawn_blocking(move || reap_all(rest))),
            Err(_) => reap_all(rest),
        }
    }
}

/// Waits a moment for a killed group to be gone.
fn reap_all(group: Pid) {
    for _ in 0..DROP_LOOKS {
        loop {
            match waitpgid(group, WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    #[expect(clippy::zombie_processes, reason = "the group waits")]
    fn start(script: &str) -> Group {
        let child = Command::new("sh")
            .args(["-c", script])
            .process_group(0)
            .spawn()
            .unwrap();
        Group::of(&child)
    }

    #[tokio::test]
    async fn the_end_of_a_group_says_how_its_leader_ended() {
        assert_eq!(start("exec sleep 60").end().await, LeaderEnd::Signalled);
        let mut group = start("exit 7");
        crate::process::ExitWatch::new(group.leader())
            .unwrap()
            .exited()
            .await;
        assert_eq!(group.end().await, LeaderEnd::Exited(7));
        assert_eq!(group.end().await, LeaderEnd::Exited(7));
    }

    #[test]
    fn a_dropped_group_is_killed() {
        let group = start("sleep 60 & exec sleep 60");
        let leader = group.leader();
        drop(group);
        assert_eq!(rustix::process::test_kill_process(leader), Err(Errno::SRCH));
    }

    #[tokio::test]
    async fn a_group_that_a_task_drops_is_waited_for_by_others() {
        let group = start("sleep 60 & exec sleep 60");
        let leader = group.leader();
        drop(group);
        let is_gone = || rustix::process::test_kill_process(leader) == Err(Errno::SRCH);
        assert!(until(Duration::from_secs(30), is_gone).await);
    }
}
