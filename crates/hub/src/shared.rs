//! What all sessions of a hub share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spiderweb_protocol::control::{Code, NodeId, Refusal, VersionAck};
use tokio::sync::{Semaphore, broadcast};

use crate::audit::{Audit, Entry};
use crate::clock::Clock;
use crate::config::Limits;
use crate::metrics::{Counters, Gauges, count};
use crate::random::Random;
use crate::registry::{RecordError, Registry, Terms};
use crate::router::Router;
use crate::store::{Change, Store};
use crate::tokens::Tokens;
use crate::watch::{CatalogEvent, History};
use spiderweb_daemon::Tasks;
use spiderweb_daemon::WrongTokens;

/// Changes a subscriber may be behind before it is told that it missed some.
const FEED: usize = 64;

/// See the module's story.
pub(crate) struct Shared {
    pub(crate) tasks: Tasks,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) generations: VersionAck,
    pub(crate) tokens: Mutex<Tokens>,
    pub(crate) random: Random,
    pub(crate) router: Router,
    pub(crate) counters: Counters,
    pub(crate) wrong_tokens: WrongTokens,
    /// Places for large messages of those who have shown nothing yet.
    pub(crate) large_strangers: Arc<Semaphore>,
    pub(crate) history: Mutex<History>,
    /// Catalog changes, for watchers.
    pub(crate) catalog_feed: broadcast::Sender<Arc<CatalogEvent>>,
    /// What changed nodes, mounts or projects, for subscribers.
    pub(crate) topology_feed: broadcast::Sender<Arc<str>>,
    audit: Audit,
    keeper: Arc<Mutex<Keeper>>,
}

/// The registry and its store.
pub(crate) struct Keeper {
    registry: Registry,
    store: Box<dyn Store>,
    /// The last change could not be stored.
    has_failed: bool,
}

impl Keeper {
    /// Restores what the store holds. Blocks.
    pub(crate) fn open(
        mut store: Box<dyn Store>,
        terms: Terms,
        random: Random,
        now_ms: u64,
    ) -> Result<Self, OpenFailure> {
        let records = store
            .load()
            .map_err(|error| OpenFailure::Store(error.to_string()))?;
        let registry = Registry::restore(records, terms, random, now_ms)?;
        let mut keeper = Self {
            registry,
            store,
            has_failed: false,
        };
        keeper
            .work(now_ms, |registry, _| registry.ensure_ticket_key())
            .map_err(|refusal| OpenFailure::Store(refusal.to_string()))?;
        Ok(keeper)
    }

    /// Does something with the registry. What it changed is stored when this returns, or has not happened.
    fn work<T>(
        &mut self,
        now_ms: u64,
        work: impl FnOnce(&mut Registry, u64) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let result = work(&mut self.registry, now_ms);
        let changes = self.registry.take_changes();
        if changes.is_empty() {
            return result;
        }
        let stored = match &result {
            Ok(_) => self.commit(&changes),
            // Half an operation is none.
            Err(refusal) => Err(refusal.clone()),
        };
        match stored {
            Ok(()) => result,
            Err(refusal) => {
                self.fall_back();
                Err(refusal)
            }
        }
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), Refusal> {
        let stored = self.store.commit(changes);
        match &stored {
            Ok(()) if self.has_failed => tracing::info!("changes can be kept again"),
            Ok(()) => {}
            // Once is enough for the log while it is tried again and again.
            Err(error) if self.has_failed => tracing::debug!(%error, "a change still cannot be kept"),
            Err(error) => {
                tracing::error!(%error, "changes are refused because they cannot be kept");
            }
        }
        self.has_failed = stored.is_err();
        stored.map_err(|error| Refusal::saying(Code::ControlPlaneError, error.to_string()))
    }

    /// Goes back to what is stored.
    fn fall_back(&mut self) {
        let records = self.store.load().map_err(|error| error.to_string());
        let done = records.and_then(|records| {
            self.registry
                .fall_back(records)
                .map_err(|error| error.to_string())
        });
        if let Err(error) = done {
            tracing::error!(%error, "the database cannot be read; the hub goes on from memory");
        }
    }
}

/// What was read at the start.
pub(crate) struct Opened {
    pub(crate) tokens: Tokens,
    pub(crate) random: Random,
    pub(crate) audit: Audit,
    pub(crate) keeper: Keeper,
}

/// Why the registry is not restored.
#[derive(Debug, thiserror::Error)]
pub enum OpenFailure {
    /// The store fails.
    #[error("{0}")]
    Store(String),
    /// A record is not understood.
    #[error("{0}; nothing was changed")]
    Record(#[from] RecordError),
}

impl Shared {
    pub(crate) fn new(
        tasks: Tasks,
        clock: Clock,
        (limits, generations): (Limits, VersionAck),
        opened: Opened,
    ) -> Self {
        let Opened {
            tokens,
            random,
            audit,
            keeper,
        } = opened;
        Self {
            tasks,
            limits,
            clock,
            generations,
            tokens: Mutex::new(tokens),
            random,
            router: Router::new(),
            counters: Counters::default(),
            wrong_tokens: WrongTokens::default(),
            large_strangers: Arc::new(Semaphore::new(limits.large_strangers)),
            history: Mutex::new(History::default()),
            catalog_feed: broadcast::Sender::new(FEED),
            topology_feed: broadcast::Sender::new(FEED),
            audit,
            keeper: Arc::new(Mutex::new(keeper)),
        }
    }

    pub(crate) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the registry, on a thread that may wait for the disk. What it changed is stored when this
    /// returns.
    pub(crate) async fn registry<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Registry, u64) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (keeper, now_ms) = (self.keeper.clone(), self.clock.now_ms());
        let done = self.tasks.blocking(move || {
            let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
            keeper.work(now_ms, work)
        });
        done.await
            .unwrap_or_else(|| Err(Refusal::saying(Code::ControlPlaneError, "the operation failed")))
    }

    /// Whether the last change was stored.
    pub(crate) async fn keeps_changes(&self) -> bool {
        let keeper = self.keeper.clone();
        let looked = self.tasks.blocking(move || {
            let keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
            !keeper.has_failed
        });
        looked.await.unwrap_or(false)
    }

    /// After a change that could not be stored: sees whether that works again. Nobody else may have anything to change,
    /// and those who only send others to hubs that are ready wait for this.
    async fn try_again(&self) {
        let (keeper, now_ms) = (self.keeper.clone(), self.clock.now_ms());
        let tried = self.tasks.blocking(move || {
            let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
            if keeper.has_failed {
                // Why it does not is in the log.
                let _ = keeper.work(now_ms, |registry, _| registry.touch());
            }
        });
        tried.await;
    }

    /// Notes an audit record.
    pub(crate) fn audit(&self, entry: Entry) {
        self.audit.note(entry);
    }

    /// The answer to `audit_tail`.
    pub(crate) fn audit_tail(&self, limit: Option<u64>, agent: Option<&str>) -> String {
        self.audit.tail(limit, agent)
    }

    /// Writes audit records to their file, until the hub stops and the last is written.
    pub(crate) async fn write_audit(self: Arc<Self>) {
        loop {
            let is_last = tokio::select! {
                () = self.tasks.stopped().cancelled() => true,
                () = self.audit.has_news() => false,
            };
            self.flush_audit().await;
            if is_last {
                return;
            }
        }
    }

    /// Writes what was noted until now.
    pub(crate) async fn flush_audit(self: &Arc<Self>) {
        let shared = self.clone();
        self.tasks.blocking(move || shared.audit.flush()).await;
    }

    /// Tells subscribers that nodes, mounts or projects changed.
    pub(crate) fn topology_changed(&self, reason: &str) {
        // Nobody may listen.
        let _ = self.topology_feed.send(reason.into());
    }

    /// A node's lease is over, or it was deleted.
    pub(crate) fn node_is_gone(&self, node: &NodeId) {
        self.router.evict(node);
        self.topology_changed("availability_changed");
    }

    /// What stands at this moment.
    pub(crate) async fn gauges(self: &Arc<Self>) -> Result<Gauges, Refusal> {
        let shared = self.clone();
        let (tunnels, clients) = self.router.counts();
        let watchers = self.catalog_feed.receiver_count();
        let retained = self
            .history
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retained();
        self.registry(move |registry, now_ms| {
            let nodes = registry.nodes();
            let is_online = |id: &NodeId| {
                let is_connected = shared.router.is_connected(id);
                is_connected && registry.has_lease(id, is_connected, now_ms)
            };
            Ok(Gauges {
                open_invites: registry.open_invites(now_ms),
                nodes_online: nodes.iter().filter(|node| is_online(&node.node_id)).count(),
                nodes: nodes.len(),
                projects: registry.projects().count(),
                mounts: registry.projects().map(|project| project.mounts.len()).sum(),
                active_bindings: usize::from(registry.has_active_project()),
                tunnels,
                clients,
                watchers,
                retained,
            })
        })
        .await
    }

    /// Looks at leases, again and again.
    pub(crate) async fn sweep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(self.limits.sweep_every);
        loop {
            tokio::select! {
                () = self.tasks.stopped().cancelled() => return,
                _ = tick.tick() => {}
            }
            self.router.forget_idle(self.limits.tunnel_grace);
            let shared = self.clone();
            let swept = self
                .registry(move |registry, now_ms| {
                    registry.sweep(|node| shared.router.is_connected(node), now_ms)
                })
                .await;
            self.try_again().await;
            let Ok(swept) = swept else { continue };
            for node in &swept.expired {
                count(&self.counters.expired);
                tracing::info!(%node, "lease is over");
            }
            for node in &swept.removed {
                tracing::info!(%node, "node is forgotten");
            }
            for node in swept.expired.iter().chain(&swept.removed) {
                self.node_is_gone(node);
            }
        }
    }
}
