//! Life with an identity: the lease is kept, the catalog is told, until the hub does not know the node any more.
//!
//! One task asks one question at a time. The tunnel is another task's business; each tells the other when the
//! identity is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use spiderweb_protocol::Dialect;
use spiderweb_protocol::control::{Code, Credentials, Operation, RefreshLease, VersionAck};
use spiderweb_protocol::limits::{MAX_FRAME, SEED_FRAME};
use spiderweb_transport::Backoff;
use tokio::sync::{Notify, watch};

use super::connection::HubError;
use super::line::Line;
use super::publication::{Digest, Inventory, leave_out_invalid, leave_out_packages};
use crate::config::ControlConfig;
use crate::lease::Lease;
use crate::pairing::Identity;
use crate::services::now_ms;
use crate::state::{IdentityStore, Kept};
use crate::tasks::Tasks;

/// Changes of the catalog that come within this time travel together.
const COALESCE: Duration = Duration::from_millis(250);

/// How often it is looked at whether services stand as they stood.
const HEALTH_CHECKS: Duration = Duration::from_secs(1);

/// Bytes of a frame that are not the catalog's.
const ENVELOPE: usize = 256;

/// The hub does not know this node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IdentityLost;

/// Attends to one identity.
pub(super) struct Attendance<'a> {
    pub(super) config: &'a ControlConfig,
    pub(super) line: &'a mut Line,
    pub(super) store: &'a mut IdentityStore,
    pub(super) identity: Identity,
    pub(super) inventory: Inventory,
    pub(super) tasks: &'a Tasks,
    /// The catalog may say something else.
    pub(super) news: Arc<Notify>,
    /// The tunnel was told that the hub does not know this identity.
    pub(super) lost: Arc<Notify>,
    /// Counts how often the lease was asked for.
    pub(super) rounds: watch::Sender<u64>,
    /// The tunnel wants the lease to be asked for now.
    pub(super) doubt: Arc<Notify>,
    /// What the hub heard last; it may have forgotten when the line broke.
    pub(super) told: Option<Digest>,
}

impl Attendance<'_> {
    /// Until the identity is lost.
    pub(super) async fn attend(mut self) -> IdentityLost {
        let lost = self.lost.clone();
        tokio::select! {
            IdentityLost = self.keep() => {}
            () = lost.notified() => {}
        }
        IdentityLost
    }

    async fn keep(&mut self) -> IdentityLost {
        let mut lease = Lease::unknown(
            self.config.lease_ttl,
            self.config.refresh_interval,
            Instant::now(),
        );
        let mut backoff = Backoff::new(self.config.backoff, self.config.backoff_max);
        let mut is_first = true;
        loop {
            // The catalog goes first, as original nodes do: a lost identity shows in either.
            let renewed = match self.publish(is_first).await {
                Ok(()) => self.renew(&mut lease, is_first).await,
                Err(IdentityLost) => return IdentityLost,
            };
            self.rounds.send_modify(|rounds| *rounds += 1);
            let pause = match renewed {
                Ok(true) => {
                    backoff.reset();
                    backoff.spread(lease.pause())
                }
                Ok(false) => lease.retry(Instant::now(), backoff.next_delay()),
                Err(IdentityLost) => return IdentityLost,
            };
            is_first = false;
            if self.idle(pause, &mut backoff).await.is_err() {
                return IdentityLost;
            }
        }
    }

    /// Waits until the lease is due, and tells the hub of changes meanwhile. Ends early when the hub left the line:
    /// it may be another one when it comes back.
    async fn idle(&mut self, pause: Duration, backoff: &mut Backoff) -> Result<(), IdentityLost> {
        let due = tokio::time::Instant::now() + pause;
        let mut checks = tokio::time::interval(HEALTH_CHECKS);
        checks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut healths = self.healths().await;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => return Ok(()),
                () = self.doubt.notified() => return Ok(()),
                error = self.line.ended() => {
                    tracing::debug!("control connection ended: {error}");
                    self.told = None;
                    let pause = backoff.next_delay();
                    tokio::time::sleep_until(due.min(tokio::time::Instant::now() + pause)).await;
                    return Ok(());
                }
                () = self.news.notified() => {
                    self.line.wait(COALESCE).await;
                    self.publish(false).await?;
                }
                _ = checks.tick() => {
                    let now = self.healths().await;
                    if now != healths {
                        healths = now;
                        self.news.notify_one();
                    }
                }
            }
        }
    }

    async fn healths(&self) -> Vec<(spiderweb_protocol::ServiceId, spiderweb_runtime::PublishedState)> {
        let inventory = self.inventory.clone();
        let healths = self.tasks.blocking(move || inventory.healths());
        healths.await.unwrap_or_default()
    }

    /// Whether the lease was renewed.
    async fn renew(&mut self, lease: &mut Lease, is_first: bool) -> Result<bool, IdentityLost> {
        let asked = Instant::now();
        let fs_url = routed_url(self.config, &self.identity);
        let payload = RefreshLease {
            node_id: self.identity.node_id.clone(),
            node_secret: self.identity.node_secret.clone(),
            fs_url: Some(fs_url),
            lease_ttl_ms: u64::try_from(self.config.lease_ttl.as_millis()).ok(),
        };
        let operation = Operation::NodeLeaseRefresh;
        let payload = payload.encode();
        let renewed = self
            .line
            .ask(operation, Dialect::Seed, &payload, Credentials::decode);
        let error = match renewed.await {
            Ok(credentials) => {
                self.take(&credentials).await;
                lease.renewed(asked, now_ms(), credentials.lease_expires_at_ms);
                return Ok(true);
            }
            Err(error) => error,
        };
        let (rejected, failed) = if is_first {
            (
                "initial lease refresh rejected",
                "initial node lease refresh failed",
            )
        } else {
            ("lease refresh rejected", "lease refresh RPC failed")
        };
        if let Some(refusal) = error.refusal() {
            tracing::warn!("{rejected}: code={} message={}", refusal.code, refusal.message);
        } else {
            tracing::warn!("{failed}: {error}");
        }
        if error.is_identity_lost() {
            tracing::warn!(
                "{}",
                if is_first {
                    "initial node lease refresh rejected saved node identity; clearing local node state and re-pairing"
                } else {
                    "lease refresh: clearing stale local node pairing state after identity rejection"
                }
            );
            return Err(IdentityLost);
        }
        Ok(false)
    }

    /// Keeps what came with a renewal, unless it is somebody else's.
    async fn take(&mut self, credentials: &Credentials) {
        let theirs = Identity {
            node_id: credentials.node_id.clone(),
            node_secret: credentials.node_secret.clone(),
        };
        if theirs.is(&self.identity) {
            self.store.keep(Kept::of(credentials)).await;
        } else {
            tracing::warn!("lease refresh returned mismatched node identity; ignoring update");
        }
    }

    /// Tells the hub what this node offers, unless it knows.
    async fn publish(&mut self, is_first: bool) -> Result<(), IdentityLost> {
        let (dialect, is_new) = match self.line.connect().await {
            Ok(connected) => connected,
            Err(error) => {
                if is_first {
                    tracing::warn!("initial node service catalog upsert failed: {error}");
                }
                return Ok(());
            }
        };
        if is_new {
            self.told = None;
        }
        let (inventory, node_id) = (self.inventory.clone(), self.identity.node_id.clone());
        let catalog = self
            .tasks
            .blocking(move || {
                let mut catalog = inventory.catalog(dialect, node_id.as_str());
                let left_out = leave_out_invalid(&mut catalog);
                (Digest::of(&catalog), catalog, left_out)
            })
            .await;
        let Some((digest, mut catalog, left_out)) = catalog else {
            return Ok(());
        };
        if self.told.as_ref() == Some(&digest) {
            return Ok(());
        }
        for fault in left_out {
            tracing::warn!("left out of the catalog: {fault}");
        }
        let mut sent = self.send(&catalog).await;
        if is_unknown_operation(&sent) {
            // It speaks the other generation's words after all.
            catalog = self.translated(dialect.other()).await.unwrap_or(catalog);
            sent = self.send(&catalog).await;
        }
        if is_unknown_package(&sent) {
            let left_out = leave_out_packages(&mut catalog);
            tracing::warn!(
                "the hub has no package for some of these services, so they are not in its catalog: {}; declare a \
                 package_id that it knows",
                left_out.join(", ")
            );
            sent = self.send(&catalog).await;
        }
        if let Ok(true) = sent {
            // The hub kept labels of an earlier start: an empty list removes them, none does not.
            let Identity { node_id, node_secret } = &self.identity;
            let payload = catalog.payload_with_labels(node_id.as_str(), node_secret);
            sent = self.send_payload(catalog.dialect, &payload).await;
        }
        match sent {
            Ok(_) => self.told = Some(digest),
            Err(error) => match error.refusal() {
                Some(refusal) => {
                    tracing::warn!(
                        "node service upsert rejected: code={} message={}",
                        refusal.code,
                        refusal.message
                    );
                    if error.is_identity_lost() {
                        tracing::warn!(
                            "paired node identity missing on control plane; clearing local node state and re-pairing"
                        );
                        return Err(IdentityLost);
                    }
                    // The same again would be refused again.
                    self.told = Some(digest);
                }
                None if is_first => tracing::warn!("initial node service catalog upsert failed: {error}"),
                None => tracing::warn!("control tunnel: service catalog upsert failed: {error}"),
            },
        }
        Ok(())
    }

    async fn translated(&self, dialect: Dialect) -> Option<crate::catalog::Catalog> {
        let (inventory, node_id) = (self.inventory.clone(), self.identity.node_id.clone());
        let catalog = self
            .tasks
            .blocking(move || inventory.catalog(dialect, node_id.as_str()));
        catalog.await
    }

    /// Whether the hub has labels that the catalog has not.
    async fn send(&mut self, catalog: &crate::catalog::Catalog) -> Result<bool, HubError> {
        let payload = catalog.payload(self.identity.node_id.as_str(), &self.identity.node_secret);
        let has_labels = self.send_payload(catalog.dialect, &payload).await?;
        Ok(has_labels && catalog.labels.is_empty())
    }

    /// Whether the hub has labels now.
    async fn send_payload(&mut self, dialect: Dialect, payload: &str) -> Result<bool, HubError> {
        let generation = *self.line.generation().borrow();
        let limit = match generation {
            Some(VersionAck { head: true, .. }) => MAX_FRAME,
            _ => SEED_FRAME,
        };
        if payload.len() + ENVELOPE > limit {
            return Err(HubError::Unreadable {
                what: "catalog".to_owned(),
                why: format!("it has {} bytes, and the hub takes {limit}", payload.len()),
            });
        }
        let operation = Operation::CatalogUpsert;
        let asked = self.line.ask(operation, dialect, payload, |fields| {
            let labels = fields.object("labels").ok().flatten();
            let labels = labels.and_then(|labels| labels.as_object());
            Ok(labels.is_some_and(|labels| !labels.is_empty()))
        });
        asked.await
    }
}

fn is_unknown_operation<T>(sent: &Result<T, HubError>) -> bool {
    let refusal = sent.as_ref().err().and_then(HubError::refusal);
    refusal.is_some_and(|refusal| {
        matches!(
            refusal.code,
            Code::InvalidEnvelope | Code::UnsupportedLegacyApi | Code::Unsupported
        )
    })
}

fn is_unknown_package<T>(sent: &Result<T, HubError>) -> bool {
    let refusal = sent.as_ref().err().and_then(HubError::refusal);
    refusal.is_some_and(|refusal| refusal.message.contains("PackageNotFound"))
}

/// Where clients find this node: at its hub.
pub(super) fn routed_url(config: &ControlConfig, identity: &Identity) -> String {
    format!("ws://{}/v2/fs/node/{}", config.url.authority(), identity.node_id)
}
