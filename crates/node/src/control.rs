//! Control mode: a node that serves through its hub.
//!
//! ```text
//!            ┌────────── identity lost ◄───────────┐
//!            ▼                                     │
//!  pairing (or the saved identity) ──► attendance: lease and catalog over the line
//!                                  └─► tunnel: requests of clients
//! ```
//!
//! Two tasks share one fate: whichever learns that the hub does not know this identity ends both, and pairing begins
//! at once.

mod attendance;
pub(crate) mod complaint;
pub(crate) mod connection;
pub(crate) mod line;
mod probes;
mod publication;
mod tunnel;

use std::sync::Arc;
use std::time::Duration;

use spiderweb_protocol::Secret;
use spiderweb_transport::Backoff;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::attendance::{Attendance, Rounds, routed_url};
use self::complaint::Complaints;
use self::line::Line;
use self::probes::ProbeBook;
use self::publication::Inventory;
use self::tunnel::Tunnel;
use crate::config::ControlConfig;
use crate::lease::Lease;
use crate::pairing::{Identity, pair};
use crate::services::Reloader;
use crate::shared::Service;
use crate::state::IdentityStore;

/// So many identities may be lost one after the other before the next one has to wait: a hub that forgets whom it
/// just met is not asked without pause.
const QUICK_LOSSES: u32 = 3;

/// Manifests that name the node are read again when it has another name; lease and tunnel do not wait longer for it.
const RENAME: Duration = Duration::from_secs(2);

/// An identity that lasted this long was a good one: if it is lost, the next is asked for at once.
const GOOD_IDENTITY: Duration = Duration::from_secs(30);

/// A node's side of control mode.
pub(crate) struct Control {
    pub(crate) config: ControlConfig,
    pub(crate) store: IdentityStore,
    pub(crate) service: Arc<Service>,
    pub(crate) reloader: Reloader,
    /// What `--auth-token` said, which has no function here.
    pub(crate) token: Option<Secret>,
}

impl Control {
    /// Runs until the node stops.
    pub(crate) async fn run(self) {
        let stop = self.service.tasks.stopped().clone();
        // What was received is on its way to the state file, which is waited for; there is nothing else to finish.
        stop.run_until_cancelled(self.live()).await;
    }

    async fn live(mut self) {
        let tasks = self.service.tasks.clone();
        let book = ProbeBook::default();
        let (changed, news) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        tasks.spawn("probes", {
            let (services, tasks) = (self.reloader.services(), tasks.clone());
            probes::watch(book.clone(), services, tasks, changed.clone(), news.clone())
        });
        tasks.spawn("reload notices", {
            let (reloader, stop, news) = (self.reloader.clone(), tasks.stopped().clone(), news.clone());
            async move {
                while stop.run_until_cancelled(reloader.reloaded()).await.is_some() {
                    changed.notify_one();
                    news.notify_one();
                }
            }
        });
        // The file is written before it is needed: a folder that cannot be written to shows now, not when an invite
        // is spent.
        self.store.keep(self.store.kept().clone()).await;
        let mut line = Line::new(self.config.clone(), tasks.clone());
        let mut backoff = Backoff::new(self.config.backoff, self.config.backoff_max);
        let (mut is_first, mut losses) = (true, 0);
        loop {
            let identity = pair(&mut line, &mut self.store, &self.config, &tasks).await;
            self.introduce(&identity, std::mem::take(&mut is_first)).await;
            let since = Instant::now();
            let rounds = watch::Sender::new(Rounds::default());
            let tunnel = Tunnel {
                config: self.config.clone(),
                identity: identity.clone(),
                service: self.service.clone(),
                generation: line.generation(),
                rounds: rounds.subscribe(),
                doubt: Arc::new(Notify::new()),
                lost: Arc::new(Notify::new()),
                stop: tasks.stopped().child_token(),
            };
            let (doubt, lost, stop) = (tunnel.doubt.clone(), tunnel.lost.clone(), tunnel.stop.clone());
            let stop_tunnel = stop.drop_guard();
            tasks.spawn("tunnel", tunnel.run());
            let attendance = Attendance {
                config: &self.config,
                line: &mut line,
                store: &mut self.store,
                identity: identity.clone(),
                inventory: Inventory {
                    services: self.reloader.services(),
                    probes: book.clone(),
                    labels: self.config.labels.clone(),
                    disclosure: self.config.disclosure,
                },
                tasks: &tasks,
                news: news.clone(),
                lost,
                rounds,
                doubt,
                lease: Lease::unknown(self.config.lease_ttl, self.config.refresh_interval, since),
                told: None,
                complaints: Complaints::default(),
            };
            attendance.attend().await;
            drop(stop_tunnel);
            self.store.forget(identity).await;
            if since.elapsed() >= GOOD_IDENTITY {
                losses = 0;
                backoff.reset();
            }
            losses += 1;
            if losses > QUICK_LOSSES {
                line.wait(backoff.next_delay()).await;
            }
        }
    }

    /// Goes by this identity from now on, and says so.
    async fn introduce(&self, identity: &Identity, is_first: bool) {
        let rename = self.reloader.rename(identity.node_id.to_string());
        if tokio::time::timeout(RENAME, rename).await.is_err() {
            tracing::warn!(
                "manifests are still being read; services may be offered under the node's old name until then"
            );
        }
        tracing::info!("FS node session auth enabled");
        let differs = self
            .token
            .as_ref()
            .is_some_and(|token| !token.matches(identity.node_secret.expose()));
        if differs {
            tracing::warn!(
                "--auth-token differs from paired node_secret; node_secret should be used for control-routed mounts"
            );
        }
        if is_first {
            tracing::info!("Starting spiderweb-fs-node control tunnel");
            tracing::info!(
                "Control pairing enabled via {} ({})",
                self.config.url,
                self.config.pair_mode
            );
        }
        tracing::info!("Advertised routed FS URL: {}", routed_url(&self.config, identity));
    }
}
