//! Who runs, and how everybody ends.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Starts the node's tasks and waits for them. Nobody spawns without it.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
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
        self.tracker.spawn_blocking(work);
    }

    /// The same, with a result; `None` if the work panicked.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.tracker.spawn_blocking(work).await.ok()
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
