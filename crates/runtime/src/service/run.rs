//! The run of an invoke, from its start to its answer.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{Changes, Inner, Settled};
use crate::driver::{BoxFuture, Ended, Fault, Outcome};

/// A running invoke. Even one whose driver panics comes to an end.
pub(super) struct Run {
    pub(super) inner: Arc<Inner>,
    pub(super) number: u64,
    pub(super) began: Instant,
    pub(super) answer: Option<oneshot::Sender<Settled>>,
    /// What the writer has still to be told of the beginning.
    pub(super) told: Changes,
}

impl Run {
    pub(super) async fn finish(mut self, outcome: Outcome) {
        let (settled, stored) = self.settle(outcome);
        self.inner.start_waiting();
        if let Some(stored) = stored {
            stored.await;
        }
        self.answer(settled);
    }

    fn settle(&self, outcome: Outcome) -> (Settled, Option<BoxFuture<()>>) {
        let duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut state = self.inner.state();
        if let Ended::Failed(fault) = &outcome.ended {
            let (id, number) = (&state.subject.id, self.number);
            // Clients are told a word; whoever mends the machine needs the system's own.
            let cause = std::error::Error::source(fault);
            let cause = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
            tracing::warn!("{id}: invoke {number} could not be carried out: {fault}{cause}");
        }
        let settled = state.finish(self.number, duration_ms, outcome);
        let stored = self.inner.store(&state);
        (settled, stored)
    }

    fn answer(&mut self, mut settled: Settled) {
        if let Some(answer) = self.answer.take() {
            settled.changed.insert_many(0, std::mem::take(&mut self.told));
            self.inner.answer(answer, settled);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.answer.is_some() {
            let lost = Fault::Io(std::io::Error::other("the run was lost"));
            let (settled, stored) = self.settle(Outcome::failed(lost));
            self.inner.start_waiting();
            if let Some(stored) = stored {
                (self.inner.host.spawn)(stored);
            }
            self.answer(settled);
        }
    }
}
