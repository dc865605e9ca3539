//! Waiting for a lock, without holding anything that others need.
//!
//! ```text
//! attempt ──held elsewhere──► pause ──► attempt …   until taken, refused for good, or the wait's end
//! ```
//!
//! The wait ends between attempts only. An attempt that has begun is always awaited, on whatever disk it hangs: the
//! lock that it takes in the end must not be one that the client was told it has not got. If the client leaves
//! meanwhile, the lock belongs to its handle, as any other: the client finds it when it comes back, and with the handle
//! it is given back. It is not given back sooner, because a client that came back may have asked for it again by then.

use std::sync::Arc;
use std::time::Duration;

use spiderweb_fs::FsError;
use spiderweb_protocol::fs::{LockKind, Op};
use spiderweb_protocol::{HandleId, Tag};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::lane::Lane;
use super::reply_frame;

/// How often a lock is tried that another program may hold; holders of this node say when they let go.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Answers request `number` of the lane once the lock is taken, refused for good or waited for too long.
pub(super) fn wait(lane: Arc<Lane>, handle: HandleId, kind: LockKind, number: u64, tag: Tag) {
    let tasks = lane.service.tasks.clone();
    tasks.spawn("lock wait", async move {
        let result = take(&lane, handle, kind).await;
        let reply = result.map(|()| spiderweb_protocol::fs::Reply::Done);
        lane.unpark(number, vec![reply_frame(lane.wire, Op::Lock, tag, &reply)]);
    });
}

async fn take(lane: &Arc<Lane>, handle: HandleId, kind: LockKind) -> Result<(), FsError> {
    let end = Instant::now() + lane.service.limits.lock_wait;
    let mut pause = FIRST_PAUSE;
    loop {
        let released = lane.service.lock_released();
        tokio::pin!(released);
        // Registered before the attempt, so that no release falls in between.
        released.as_mut().enable();
        let permit = permit(lane, end).await.ok_or(FsError::WouldBlock)?;
        if lane.is_closed() || lane.service.tasks.stopped().is_cancelled() {
            return Err(FsError::WouldBlock);
        }
        match attempt(lane, handle, kind, permit).await {
            Err(FsError::WouldBlock) => {}
            decided => return decided,
        }
        let now = Instant::now();
        if now >= end {
            return Err(FsError::WouldBlock);
        }
        tokio::select! {
            () = released => {}
            () = sleep_until(end.min(now + pause)) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = lane.service.tasks.stopped().cancelled() => {}
        }
    }
}

/// Room for an attempt, or `None` if there was none before the wait's end or the node's.
async fn permit(lane: &Lane, end: Instant) -> Option<OwnedSemaphorePermit> {
    let service = &lane.service;
    tokio::select! {
        permit = service.lock_attempts.clone().acquire_owned() => permit.ok(),
        () = sleep_until(end) => None,
        () = service.tasks.stopped().cancelled() => None,
    }
}

/// One attempt, on a thread that may wait: some file systems ask another machine. Not to be dropped under way.
async fn attempt(
    lane: &Arc<Lane>,
    handle: HandleId,
    kind: LockKind,
    permit: OwnedSemaphorePermit,
) -> Result<(), FsError> {
    let worker = lane.clone();
    let attempt = move || {
        let result = worker.service.lock(handle, kind, worker.caller.session).map(drop);
        // With the thread, not with whoever waits for it.
        drop(permit);
        result
    };
    let attempt = lane.service.tasks.blocking(attempt);
    attempt.await.unwrap_or(Err(FsError::WouldBlock))
}
