//! Waiting for a child to exit without reaping it.
//!
//! A child that has exited keeps its number until it is reaped, so its group can still be signalled without the
//! risk of hitting a stranger who was given the number since. On Linux a process descriptor says when; where there
//! is none, a thread waits.

use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) enum ExitWatch {
    #[cfg(target_os = "linux")]
    Descriptor(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>),
    Thread(watch::Receiver<bool>),
}

impl ExitWatch {
    /// Watches a child of this process that nobody has reaped.
    pub(crate) fn new(child: Pid) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{PidfdFlags, pidfd_open};
            use tokio::io::Interest;
            use tokio::io::unix::AsyncFd;

            // Refused by kernels before 5.3 and by some sandboxes.
            if let Ok(descriptor) = pidfd_open(child, PidfdFlags::empty()) {
                #[expect(
                    deprecated,
                    reason = "its successor is unsafe, and asks for what `OwnedFd` promises"
                )]
                let descriptor = AsyncFd::with_interest(descriptor, Interest::READABLE)?;
                return Ok(Self::Descriptor(descriptor));
            }
        }
        Ok(Self::on_thread(child))
    }

    fn on_thread(child: Pid) -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::task::spawn_blocking(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(child), options), Err(Errno::INTR)) {}
            // Nobody listens any more: then nobody needs to know.
            let _ = sender.send(true);
        });
        Self::Thread(receiver)
    }

    /// Resolves once the child has exited, at every call. Cancel safe.
    pub(crate) async fn exited(&mut self) {
        match self {
            // An error means that the runtime is shutting down; the group is killed then.
            #[cfg(target_os = "linux")]
            Self::Descriptor(descriptor) => drop(descriptor.readable().await),
            Self::Thread(receiver) => drop(receiver.wait_for(|exited| *exited).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn has_exited(child: Pid) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        waitid(WaitId::Pid(child), options).unwrap().is_some()
    }

    #[tokio::test]
    async fn an_exit_is_seen_and_not_reaped() {
        for on_thread in [false, true] {
            let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            let pid = Pid::from_child(&child);
            let mut watch = if on_thread {
                ExitWatch::on_thread(pid)
            } else {
                ExitWatch::new(pid).unwrap()
            };
            assert!(!has_exited(pid));
            drop(child.stdin.take());
            watch.exited().await;
            watch.exited().await;
            assert!(has_exited(pid));
            assert!(child.wait().unwrap().success());
        }
    }
}
