//! Who runs, and how everybody ends.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where work is done that may wait for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiskWork {
    /// On threads that may wait, so that nothing else has to.
    #[default]
    OnThreads,
    /// By the runtime itself, one after the other. A disk that hangs holds up everything, but on a runtime of one
    /// thread the order of all events follows from that of what comes in: for simulations.
    InTurn,
}

/// Starts the node's tasks and waits for them. Nobody spawns without it.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    disk_work: DiskWork,
}

impl Tasks {
    pub(crate) fn new(disk_work: DiskWork) -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            disk_work,
        }
    }

    /// Runs a task to its end; [`stopped`](Self::stopped) tells it when to come to one.
    pub(crate) fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = PanicGuard(name);
        self.tracker.spawn(async move {
            task.await;
            std::mem::forget(guard);
        });
    }

    /// Runs work that may wait for a disk on a thread of its own.
    pub(crate) fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        drop(self.on_disk(work));
    }

    /// The same, with a result; `None` if the work panicked.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.on_disk(work).await.ok()
    }

    fn on_disk<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        match self.disk_work {
            DiskWork::OnThreads => self.tracker.spawn_blocking(work),
            DiskWork::InTurn => self.tracker.spawn(async { work() }),
        }
    }

    /// The signal to end.
    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Tells every task to end and waits for the last one.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Says so when a task ended by a panic; the panic's own message went to stderr.
struct PanicGuard(&'static str);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.0, "task ended unexpectedly; please report this");
        }
    }
}
