//! What the sessions of a node share: what it serves, open handles, news, and bounds.
//!
//! What is done with it stands elsewhere: `session` serves peers, `dispatch` carries out their requests.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use spiderweb_fs::{ExportTable, HandleTable, Invalidations};
use spiderweb_protocol::fs::HelloReply;
use spiderweb_protocol::limits::{MAX_FRAME, MAX_READ, MAX_WRITE, SEED_IO};
use spiderweb_protocol::{InodeId, Secret};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::config::Limits;
use spiderweb_daemon::Tasks;
use spiderweb_daemon::WrongTokens;

/// Threads that waits for locks may use at a time; part of what [`Limits::blocking_threads`] keeps for the node.
const LOCK_ATTEMPTS: usize = 8;

/// Everything the sessions of a node share.
pub(crate) struct Service {
    /// What is served, and what hello says of it; replaced whole when services come and go.
    offer: ArcSwap<Offer>,
    pub(crate) handles: HandleTable,
    pub(crate) news: Arc<Invalidations>,
    pub(crate) token: Option<Secret>,
    pub(crate) limits: Limits,
    /// Permits for threads beyond each session's own.
    pub(crate) extra_runners: Arc<Semaphore>,
    lock_released: Notify,
    /// Attempts to take a lock that run at the same time; most are over at once.
    pub(crate) lock_attempts: Arc<Semaphore>,
    pub(crate) wrong_tokens: WrongTokens,
    /// Places for peers that send large messages before hello.
    pub(crate) large_greetings: Semaphore,
    pub(crate) tasks: Tasks,
}

/// The exports at one time.
pub(crate) struct Offer {
    pub(crate) exports: ExportTable,
    hello: Arc<HelloReply>,
}

impl Offer {
    fn new(exports: ExportTable) -> Self {
        let hello = HelloReply {
            name: "spiderweb-fs-node".into(),
            os: std::env::consts::OS.into(),
            ver: "0.1.0".into(),
            caps: exports.caps(),
            max_read: MAX_READ,
            max_write: MAX_WRITE as u32,
        };
        Self {
            exports,
            hello: Arc::new(hello),
        }
    }
}

impl Service {
    pub(crate) fn new(
        exports: ExportTable,
        news: Arc<Invalidations>,
        token: Option<Secret>,
        limits: Limits,
        tasks: Tasks,
    ) -> Self {
        Self {
            offer: ArcSwap::from_pointee(Offer::new(exports)),
            handles: HandleTable::new(limits.handles, limits.handle_grace, Instant::now().into_std()),
            news,
            token,
            limits,
            extra_runners: Arc::new(Semaphore::new(limits.extra_runners)),
            lock_released: Notify::new(),
            lock_attempts: Arc::new(Semaphore::new(LOCK_ATTEMPTS)),
            wrong_tokens: WrongTokens::default(),
            large_greetings: Semaphore::new(limits.large_greetings),
            tasks,
        }
    }

    /// Serves other exports from now on. Requests under way end as they began.
    pub(crate) fn offer(&self, exports: ExportTable) {
        self.news
            .set_roots(exports.iter().map(|export| export.source().root()));
        self.offer.store(Arc::new(Offer::new(exports)));
    }

    /// What is served now, for one request from its beginning to its end.
    pub(crate) fn current(&self) -> Guard<Arc<Offer>> {
        self.offer.load()
    }

    /// What hello answers to a peer that takes frames of this size.
    pub(crate) fn hello(&self, frame_limit: usize) -> Arc<HelloReply> {
        let hello = self.offer.load().hello.clone();
        if frame_limit >= MAX_FRAME {
            return hello;
        }
        Arc::new(HelloReply {
            max_read: SEED_IO,
            max_write: SEED_IO,
            ..HelloReply::clone(&hello)
        })
    }

    /// The roots of what is served.
    pub(crate) fn roots(&self) -> Vec<InodeId> {
        let offer = self.offer.load();
        offer
            .exports
            .iter()
            .map(|export| export.source().root())
            .collect()
    }

    /// Resolves when a lock may have become free.
    pub(crate) fn lock_released(&self) -> tokio::sync::futures::Notified<'_> {
        self.lock_released.notified()
    }

    pub(crate) fn wake_lock_waiters(&self) {
        self.lock_released.notify_waiters();
    }
}
