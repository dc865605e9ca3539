//! Waiting for a lock, without holding anything that others need.

use std::sync::Arc;
use std::time::Duration;

use spiderweb_fs::FsError;
use spiderweb_protocol::fs::{LockKind, Op};
use spiderweb_protocol::{HandleId, Tag};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::lane::Lane;
use super::reply_frame;

/// A wait ends before original clients give up on any reply, after 15 s (section 8.10).
const LONGEST_WAIT: Duration = Duration::from_secs(13);

/// How often a lock is tried that another program may hold; holders of this node say when they let go.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Answers request `number` of the lane once the lock is taken, refused for good or waited for too long.
pub(super) fn wait(lane: Arc<Lane>, handle: HandleId, kind: LockKind, number: u64, tag: Tag) {
    let tasks = lane.service.tasks.clone();
    tasks.spawn("lock wait", async move {
        let result = match timeout_at(Instant::now() + LONGEST_WAIT, take(&lane, handle, kind)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(FsError::WouldBlock),
        };
        let reply = result.map(|()| spiderweb_protocol::fs::Reply::Done);
        lane.unpark(number, vec![reply_frame(lane.wire, Op::Lock, tag, &reply)]);
    });
}

async fn take(lane: &Arc<Lane>, handle: HandleId, kind: LockKind) -> Result<(), FsError> {
    let mut pause = FIRST_PAUSE;
    loop {
        let released = lane.service.lock_released();
        tokio::pin!(released);
        // Registered before the attempt, so that no release falls in between.
        released.as_mut().enable();
        if lane.is_closed() || lane.service.tasks.stopped().is_cancelled() {
            return Err(FsError::WouldBlock);
        }
        match attempt(lane, handle, kind).await {
            Err(FsError::WouldBlock) => {}
            decided => return decided,
        }
        tokio::select! {
            () = released => {}
            () = sleep_until(Instant::now() + pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = lane.service.tasks.stopped().cancelled() => {}
        }
    }
}

/// One attempt, on a thread that may wait: some file systems ask another machine.
async fn attempt(lane: &Arc<Lane>, handle: HandleId, kind: LockKind) -> Result<(), FsError> {
    let service = &lane.service;
    let Ok(_permit) = service.lock_attempts.acquire().await else {
        return Err(FsError::WouldBlock);
    };
    let worker = lane.clone();
    let attempt = move || worker.service.lock(handle, kind, worker.caller.session).map(drop);
    service
        .tasks
        .blocking(attempt)
        .await
        .unwrap_or(Err(FsError::WouldBlock))
}
