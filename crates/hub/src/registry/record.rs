//! What is stored, and how it is written: one JSON text for each node, invite, request and project.

use serde::{Deserialize, Serialize};
use spiderweb_protocol::Secret;
use spiderweb_protocol::control::{CatalogEntry, Labels, Mount, NodeId, Platform, ProjectId, RequestId};

/// Numbers that go on counting, and the one project that is active.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) invites: u64,
    pub(super) nodes: u64,
    pub(super) projects: u64,
    pub(super) active_project: Option<ProjectId>,
    /// What file tickets are made from; made once.
    #[serde(with = "optional_secret")]
    pub(super) ticket_key: Option<Secret>,
}

/// A paired node.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) name: String,
    pub(super) fs_url: String,
    #[serde(with = "secret")]
    pub(super) secret: Secret,
    #[serde(with = "secret")]
    pub(super) lease_token: Secret,
    pub(super) platform: Platform,
    pub(super) labels: Labels,
    #[serde(with = "entries")]
    pub(super) entries: Vec<CatalogEntry>,
    pub(super) joined_at_ms: u64,
    pub(super) last_seen_ms: u64,
    pub(super) lease_ttl_ms: u64,
    pub(super) lease_expires_at_ms: u64,
    /// It has used its credentials, so it has them.
    pub(super) has_refreshed: bool,
    /// Its lease is over and that was noticed.
    pub(super) is_expired: bool,
}

/// An invite.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Invite {
    pub(super) id: String,
    #[serde(with = "secret")]
    pub(super) token: Secret,
    pub(super) created_at_ms: u64,
    pub(super) expires_at_ms: u64,
    pub(super) max_uses: u64,
    pub(super) uses: u64,
    pub(super) node_name: Option<String>,
    pub(super) last_use: Option<Use>,
}

impl Invite {
    /// Whether a node may still join with it.
    pub(super) fn is_open(&self, now_ms: u64) -> bool {
        self.uses < self.max_uses && self.expires_at_ms > now_ms
    }
}

/// Who used an invite last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Use {
    pub(super) at_ms: u64,
    pub(super) node_id: NodeId,
    /// The name it asked for.
    pub(super) node_name: Option<String>,
}

/// A request to join.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Join {
    pub(super) id: RequestId,
    pub(super) node_name: String,
    pub(super) fs_url: String,
    pub(super) platform: Platform,
    pub(super) requested_at_ms: u64,
    /// When somebody last asked about it.
    pub(super) touched_at_ms: u64,
    pub(super) address: Option<String>,
    /// A digest of the bearer token it came with: only this one is given the credentials.
    pub(super) bearer: String,
    pub(super) state: JoinState,
}

/// How a request stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum JoinState {
    Waiting,
    Approved { node_id: NodeId },
    Denied,
}

impl JoinState {
    /// The node that it became.
    pub(super) fn node(&self) -> Option<&NodeId> {
        match self {
            Self::Approved { node_id } => Some(node_id),
            Self::Waiting | Self::Denied => None,
        }
    }
}

/// A project.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Project {
    pub(super) id: ProjectId,
    pub(super) name: String,
    pub(super) vision: String,
    pub(super) status: String,
    pub(super) access_policy: String,
    #[serde(with = "optional_secret")]
    pub(super) token: Option<Secret>,
    pub(super) created_at_ms: u64,
    pub(super) updated_at_ms: u64,
    pub(super) mounts: Vec<Mount>,
}

/// Secrets are written out in the store, and nowhere else.
mod secret {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use spiderweb_protocol::Secret;

    pub(super) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

mod optional_secret {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use spiderweb_protocol::Secret;

    #[expect(clippy::ref_option, reason = "the signature the derive wants")]
    pub(super) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::expose).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Secret>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(text.map(Secret::new))
    }
}

/// Catalog entries are written as their own text.
mod entries {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use spiderweb_protocol::Dialect;
    use spiderweb_protocol::control::CatalogEntry;

    pub(super) fn serialize<S: Serializer>(
        entries: &[CatalogEntry],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(entries.iter().map(|entry| entry.encode(Dialect::Seed)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<CatalogEntry>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let read = |text: &String| CatalogEntry::parse(text).map_err(serde::de::Error::custom);
        texts.iter().map(read).collect()
    }
}
