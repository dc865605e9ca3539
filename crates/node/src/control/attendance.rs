//! Life with an identity: the lease is kept, the catalog is told, until the hub does not know the node any more.
//!
//! One task asks one question at a time. The tunnel is another task's business; each tells the other when the
//! identity is lost.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use spiderweb_protocol::Dialect;
use spiderweb_protocol::control::{Code, Credentials, Operation, RefreshLease, VersionAck};
use spiderweb_protocol::limits::{MAX_FRAME, SEED_FRAME};
use spiderweb_transport::Backoff;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::complaint::Complaints;
use super::connection::{HubError, REPLY};
use super::line::Line;
use super::publication::{Digest, Inventory, leave_out_invalid, leave_out_packages};
use crate::catalog::Catalog;
use crate::config::ControlConfig;
use crate::lease::Lease;
use crate::pairing::Identity;
use crate::services::now_ms;
use crate::state::{IdentityStore, Kept};
use spiderweb_daemon::Tasks;

/// Changes of the catalog that come within this time travel together.
const COALESCE: Duration = Duration::from_millis(250);

/// How often it is looked at whether services stand as they stood.
const HEALTH_CHECKS: Duration = Duration::from_secs(1);

/// Bytes of a frame that are not the catalog's.
const ENVELOPE: usize = 256;

/// The hub does not know this node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IdentityLost;

/// How often the hub was asked for the lease under one identity.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Rounds {
    /// Whatever came of it.
    pub(crate) asked: u64,
    /// And it was renewed.
    pub(crate) renewed: u64,
}

/// Why a round did not renew the lease.
enum Failure {
    IdentityLost,
    /// Nothing but a person can change it.
    Hopeless,
    /// There is no hub just now.
    NobodyThere,
    /// The next may.
    Passing,
}

impl Failure {
    fn of(error: &HubError) -> Self {
        if error.is_identity_lost() {
            Self::IdentityLost
        } else if error.is_hopeless() {
            Self::Hopeless
        } else if error.is_nobody_there() {
            Self::NobodyThere
        } else {
            Self::Passing
        }
    }
}

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
    /// The tunnel was told that the lease may be over.
    pub(super) doubt: Arc<Notify>,
    pub(super) rounds: watch::Sender<Rounds>,
    pub(super) lease: Lease,
    /// What the hub heard last, and on which connection: behind the next there may be another hub.
    pub(super) told: Option<(u64, Digest)>,
    pub(super) complaints: Complaints,
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
        let mut backoff = Backoff::new(self.config.backoff, self.config.backoff_max);
        let mut is_first = true;
        loop {
            let pause = match self.round(is_first).await {
                Ok(()) => {
                    backoff.reset();
                    self.complaints.clear();
                    backoff.spread(self.lease.pause())
                }
                Err(Failure::IdentityLost) => return IdentityLost,
                Err(Failure::Hopeless) => backoff.longest(),
                Err(Failure::NobodyThere) => self.lease.retry(Instant::now(), backoff.shortest()),
                Err(Failure::Passing) => self.lease.retry(Instant::now(), backoff.next_delay()),
            };
            self.rounds.send_modify(|rounds| rounds.asked += 1);
            is_first = false;
            if self.idle(pause, &mut backoff).await.is_err() {
                return IdentityLost;
            }
        }
    }

    /// Tells the hub what is new and renews the lease. The catalog goes first, as original nodes do: a lost identity
    /// shows in either.
    async fn round(&mut self, is_first: bool) -> Result<(), Failure> {
        self.publish(is_first).await?;
        self.renew(is_first).await?;
        self.rounds.send_modify(|rounds| rounds.renewed += 1);
        // Nothing, unless the lease was renewed on another connection, or the hub had a fault of its own when it was
        // told: originals tell it again then as well (recorded as 19 of the newer generation).
        self.publish(is_first).await
    }

    /// How long the hub may take to answer.
    fn patience(&self) -> Duration {
        self.lease.patience(Instant::now(), REPLY)
    }

    /// Waits until the lease is due, and tells the hub of changes meanwhile. Ends early when the hub left the line:
    /// it may be another one when it comes back.
    async fn idle(&mut self, pause: Duration, backoff: &mut Backoff) -> Result<(), IdentityLost> {
        let due = Instant::now() + pause;
        let mut checks = tokio::time::interval(HEALTH_CHECKS);
        checks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut healths = self.healths().await;
        loop {
            tokio::select! {
                () = self.doubted(due) => return Ok(()),
                error = self.line.ended() => {
                    tracing::debug!("control connection ended: {error}");
                    self.doubted(due.min(Instant::now() + backoff.next_delay())).await;
                    return Ok(());
                }
                () = self.news.notified() => {
                    self.line.wait(COALESCE).await;
                    if let Err(Failure::IdentityLost) = self.publish(false).await {
                        return Err(IdentityLost);
                    }
                    if !self.line.is_connected() {
                        self.doubted(due.min(Instant::now() + backoff.next_delay())).await;
                        return Ok(());
                    }
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

    /// Waits until then, or until the tunnel has doubts. Cancel safe.
    fn doubted(&self, until: Instant) -> impl Future<Output = ()> + use<> {
        let doubt = self.doubt.clone();
        async move {
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = doubt.notified() => {}
            }
        }
    }

    async fn healths(&self) -> Vec<(spiderweb_protocol::ServiceId, spiderweb_runtime::PublishedState)> {
        let inventory = self.inventory.clone();
        let healths = self.tasks.blocking(move || inventory.healths());
        healths.await.unwrap_or_default()
    }

    async fn renew(&mut self, is_first: bool) -> Result<(), Failure> {
        let asked = Instant::now();
        let fs_url = routed_url(self.config, &self.identity);
        let payload = RefreshLease {
            node_id: self.identity.node_id.clone(),
            node_secret: self.identity.node_secret.clone(),
            fs_url: Some(fs_url),
            lease_ttl_ms: u64::try_from(self.config.lease_ttl.as_millis()).ok(),
        };
        let (operation, payload, patience) = (Operation::NodeLeaseRefresh, payload.encode(), self.patience());
        let renewed = self
            .line
            .ask(operation, Dialect::Seed, &payload, patience, Credentials::decode);
        let error = match renewed.await {
            Ok(credentials) => {
                self.take(&credentials).await;
                self.lease
                    .renewed(asked, now_ms(), credentials.lease_expires_at_ms);
                return Ok(());
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
        let words = match error.refusal() {
            Some(refusal) => format!("{rejected}: code={} message={}", refusal.code, refusal.message),
            None => error.told_as(failed),
        };
        self.report(&error, &words);
        if error.is_identity_lost() {
            tracing::warn!(
                "{}",
                if is_first {
                    "initial node lease refresh rejected saved node identity; clearing local node state and re-pairing"
                } else {
                    "lease refresh: clearing stale local node pairing state after identity rejection"
                }
            );
        }
        Err(Failure::of(&error))
    }

    /// Says what went wrong, once if nothing but a person can change it.
    fn report(&mut self, error: &HubError, words: &str) {
        if error.is_hopeless() || error.is_nobody_there() {
            self.complaints.say(words);
        } else {
            tracing::warn!("{words}");
        }
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

    /// Tells the hub what this node offers, unless it knows. That it did not take it is no failure; that there is no
    /// connection is.
    async fn publish(&mut self, is_first: bool) -> Result<(), Failure> {
        let (what, patience) = ("the connection", self.patience());
        let connected = tokio::time::timeout(patience, self.line.connect()).await;
        let connected = connected.unwrap_or(Err(HubError::Silent {
            what: what.to_owned(),
            after: patience,
        }));
        let dialect = match connected {
            Ok(dialect) => dialect,
            Err(error) => {
                let words = if is_first {
                    "initial node service catalog upsert failed"
                } else {
                    "lease refresh RPC failed"
                };
                self.report(&error, &error.told_as(words));
                return Err(Failure::of(&error));
            }
        };
        let Some((digest, mut catalog, left_out)) = self.catalog(dialect).await else {
            return Ok(());
        };
        let news = (self.line.epoch(), digest);
        if self.told.as_ref() == Some(&news) {
            return Ok(());
        }
        for fault in left_out {
            tracing::warn!("left out of the catalog: {fault}");
        }
        let mut sent = self.send(&catalog).await;
        if is_unknown_operation(&sent) {
            // It speaks the other generation's words after all.
            if let Some((_, translated, _)) = self.catalog(dialect.other()).await {
                catalog = translated;
            }
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
        let Err(error) = sent else {
            // It may have been sent on another connection than it was made for.
            self.told = Some((self.line.epoch(), news.1));
            return Ok(());
        };
        let Some(refusal) = error.refusal() else {
            let words = if is_first {
                "initial node service catalog upsert failed"
            } else {
                "control tunnel: service catalog upsert after reload failed"
            };
            self.report(&error, &error.told_as(words));
            return Ok(());
        };
        self.complaints.say(&format!(
            "node service upsert rejected: code={} message={}",
            refusal.code, refusal.message
        ));
        if error.is_identity_lost() {
            tracing::warn!(
                "paired node identity missing on control plane; clearing local node state and re-pairing"
            );
            return Err(Failure::IdentityLost);
        }
        // The same again would be refused again, unless it is the hub that has a fault.
        if !matches!(refusal.code, Code::ControlPlaneError | Code::Other(_)) {
            self.told = Some(news);
        }
        Ok(())
    }

    /// What there is to tell, what identifies it, and what had to be left out.
    async fn catalog(&self, dialect: Dialect) -> Option<(Digest, Catalog, Vec<String>)> {
        let (inventory, node_id) = (self.inventory.clone(), self.identity.node_id.clone());
        let catalog = self.tasks.blocking(move || {
            let mut catalog = inventory.catalog(dialect, node_id.as_str());
            let left_out = leave_out_invalid(&mut catalog);
            (Digest::of(&catalog), catalog, left_out)
        });
        catalog.await
    }

    /// Whether the hub has labels that the catalog has not.
    async fn send(&mut self, catalog: &Catalog) -> Result<bool, HubError> {
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
        let patience = self.patience();
        let asked = self.line.ask(operation, dialect, payload, patience, |fields| {
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

/// Where clients find this node: at its hub. The scheme is always this one (section 5.1): hubs refuse any other, also from
/// a node that reaches them through TLS.
pub(super) fn routed_url(config: &ControlConfig, identity: &Identity) -> String {
    format!("ws://{}/v2/fs/node/{}", config.url.authority(), identity.node_id)
}
