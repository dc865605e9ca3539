//! What the hub knows: nodes and their leases, invites, requests to join, projects. No I/O and no clock; time and
//! the contents of the store are passed in, changes for the store are taken out.
//!
//! ```text
//!             invite ──join──┐                     lease over          retention over, deleted
//!                            ▼                  ┌──────────────► expired ───────────────────► gone
//!  request ─► waiting ─approve─► node (lease) ──┤                   │
//!                │                              └◄──── refresh ─────┘
//!                └─deny─► denied (remembered, so that the node is told)
//! ```
//!
//! A lease that ends takes nothing away: the node keeps its id, its catalog and its mounts, and comes back with its
//! next refresh or its tunnel. It does not end while the tunnel stands. Everything that was acknowledged is in the
//! changes of the same call.

mod nodes;
mod pairing;
mod policy;
mod projects;
mod record;
mod tickets;
mod workspace;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use spiderweb_protocol::control::{Code, MountPath, NodeId, ProjectId, Refusal, RequestId};

pub use self::nodes::{Swept, Upserted};
pub use self::policy::{Action, Asker};
use self::record::{Invite, Join, Meta, Node, Project};
pub use self::workspace::Viewer;
use crate::random::{NoRandomness, Random};
use crate::store::Change;

/// Numbers an operator may change.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Shortest lease.
    pub min_lease: Duration,
    /// Longest lease.
    pub max_lease: Duration,
    /// A lease for those who ask for none in particular.
    pub default_lease: Duration,
    /// Longest time an invite is good for.
    pub max_invite: Duration,
    /// An invite for those who ask for no time in particular.
    pub default_invite: Duration,
    /// How long a node whose lease is over stays known.
    pub retention: Duration,
    /// How long a used or expired invite is remembered.
    pub invite_memory: Duration,
    /// How long a request to join is remembered after it was last asked about.
    pub request_memory: Duration,
    /// Requests that may wait at a time.
    pub waiting_requests: usize,
    /// The same from one address.
    pub waiting_per_address: usize,
    /// Invites that may be open at a time.
    pub open_invites: usize,
    /// How long an invite's last use may be repeated, in case its reply was lost.
    pub repeat_join: Duration,
    /// How long a file ticket is good for; its successor is accepted as long again.
    pub ticket_epoch: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            min_lease: Duration::from_secs(5),
            max_lease: DAY,
            default_lease: Duration::from_secs(15 * 60),
            max_invite: DAY * 30,
            default_invite: Duration::from_secs(30 * 60),
            retention: DAY * 7,
            invite_memory: DAY,
            request_memory: DAY,
            waiting_requests: 256,
            waiting_per_address: 8,
            open_invites: 1024,
            repeat_join: Duration::from_secs(60),
            ticket_epoch: DAY / 2,
        }
    }
}

/// A stored text that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("the record `{key}` is not understood: {reason}")]
pub struct RecordError {
    /// Which one.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// Everything the hub knows. See the module's story.
#[derive(Debug)]
pub struct Registry {
    terms: Terms,
    random: Random,
    meta: Meta,
    nodes: BTreeMap<NodeId, Node>,
    invites: BTreeMap<String, Invite>,
    joins: BTreeMap<RequestId, Join>,
    projects: BTreeMap<ProjectId, Project>,
    /// Which node a path was last resolved to, so that a failover does not flip back.
    selected: HashMap<(ProjectId, MountPath), NodeId>,
    /// For the store.
    changes: Vec<Change>,
}

impl From<NoRandomness> for Refusal {
    fn from(error: NoRandomness) -> Self {
        Self::saying(Code::ControlPlaneError, error.to_string())
    }
}

const fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

impl Registry {
    /// The registry that was stored. Leases that ended while nobody looked are prolonged once, so that nodes have the
    /// time to come back.
    pub fn restore(
        records: impl IntoIterator<Item = (String, String)>,
        terms: Terms,
        random: Random,
        now_ms: u64,
    ) -> Result<Self, RecordError> {
        let mut registry = Self::read(records, terms, random)?;
        registry.grant_grace(now_ms);
        Ok(registry)
    }

    /// Goes back to what is stored. Nobody was away, so no lease is prolonged, and the nodes that were chosen stay chosen.
    pub fn fall_back(
        &mut self,
        records: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), RecordError> {
        let stored = Self::read(records, self.terms, self.random.clone())?;
        let selected = std::mem::take(&mut self.selected);
        *self = Self { selected, ..stored };
        Ok(())
    }

    fn read(
        records: impl IntoIterator<Item = (String, String)>,
        terms: Terms,
        random: Random,
    ) -> Result<Self, RecordError> {
        let mut registry = Self {
            terms,
            random,
            meta: Meta::default(),
            nodes: BTreeMap::new(),
            invites: BTreeMap::new(),
            joins: BTreeMap::new(),
            projects: BTreeMap::new(),
            selected: HashMap::new(),
            changes: Vec::new(),
        };
        for (key, text) in records {
            registry.take_in(&key, &text)?;
        }
        Ok(registry)
    }

    fn take_in(&mut self, key: &str, text: &str) -> Result<(), RecordError> {
        let failed = |reason: &dyn std::fmt::Display| RecordError {
            key: key.to_owned(),
            reason: reason.to_string(),
        };
        let (kind, _) = key.split_once('/').unwrap_or((key, ""));
        match kind {
            "meta" => self.meta = serde_json::from_str(text).map_err(|error| failed(&error))?,
            "node" => {
                let node: Node = serde_json::from_str(text).map_err(|error| failed(&error))?;
                self.nodes.insert(node.id.clone(), node);
            }
            "invite" => {
                let invite: Invite = serde_json::from_str(text).map_err(|error| failed(&error))?;
                self.invites.insert(invite.id.clone(), invite);
            }
            "join" => {
                let join: Join = serde_json::from_str(text).map_err(|error| failed(&error))?;
                self.joins.insert(join.id.clone(), join);
            }
            "project" => {
                let project: Project = serde_json::from_str(text).map_err(|error| failed(&error))?;
                self.projects.insert(project.id.clone(), project);
            }
            _ => return Err(failed(&"nobody knows this kind")),
        }
        Ok(())
    }

    /// What is to be stored before anything is acknowledged. Whoever cannot store it must have the registry
    /// [fall back](Self::fall_back) to what is stored.
    #[must_use]
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    fn save<T: serde::Serialize>(changes: &mut Vec<Change>, key: String, record: &T) -> Result<(), Refusal> {
        let text = serde_json::to_string(record)
            .map_err(|error| Refusal::saying(Code::ControlPlaneError, error.to_string()))?;
        changes.push(Change::Put { key, text });
        Ok(())
    }

    /// Changes nothing, but has something written: whoever could not write sees whether it works again.
    pub fn touch(&mut self) -> Result<(), Refusal> {
        self.save_meta()
    }

    fn save_meta(&mut self) -> Result<(), Refusal> {
        Self::save(&mut self.changes, "meta".to_owned(), &self.meta)
    }

    fn save_node(&mut self, id: &NodeId) -> Result<(), Refusal> {
        match self.nodes.get(id) {
            Some(node) => Self::save(&mut self.changes, format!("node/{id}"), node),
            None => Ok(()),
        }
    }

    fn forget(&mut self, key: String) {
        self.changes.push(Change::Remove { key });
    }
}
