//! What a paired node is given, and how it stays known.

use super::fields::{FieldFault, Fields};
use super::ids::NodeId;
use super::platform::{Platform, fs_url};
use crate::canonical::ObjectWriter;
use crate::secret::Secret;

pub(super) fn with_ttl(payload: ObjectWriter, ttl: Option<u64>) -> ObjectWriter {
    match ttl {
        Some(ttl) => payload.json("lease_ttl_ms", ttl),
        None => payload,
    }
}

/// What a paired node is given: by join, approval and every lease refresh.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Who it is.
    pub node_id: NodeId,
    /// What the hub calls it, if it says so.
    pub node_name: Option<String>,
    /// The address the hub knows, if it says so.
    pub fs_url: Option<String>,
    /// How it proves to be itself.
    pub node_secret: Secret,
    /// New with every refresh; nothing asks for it.
    pub lease_token: Secret,
    /// What the hub takes it for.
    pub platform: Platform,
    /// When the lease ends; 0 if the hub did not say.
    pub lease_expires_at_ms: u64,
}

impl Credentials {
    /// The payload.
    pub fn encode(&self) -> String {
        let mut payload = ObjectWriter::new().text("node_id", self.node_id.as_str());
        for (name, text) in [("node_name", &self.node_name), ("fs_url", &self.fs_url)] {
            if let Some(text) = text {
                payload = payload.text(name, text);
            }
        }
        payload
            .text("node_secret", self.node_secret.expose())
            .text("lease_token", self.lease_token.expose())
            .json("platform", self.platform.encode())
            .json("lease_expires_at_ms", self.lease_expires_at_ms)
            .finish()
    }

    /// Reads the payload. Id, secret and lease token have to be there; nothing else is worth losing them for.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Ok(Self {
            node_id: fields.checked("node_id", NodeId::new)?,
            node_name: fields.text("node_name").map(str::to_owned),
            fs_url: fields.text("fs_url").map(str::to_owned),
            node_secret: fields.secret("node_secret")?,
            lease_token: fields.secret("lease_token")?,
            platform: Platform::decode(fields).ok().flatten().unwrap_or_default(),
            lease_expires_at_ms: fields
                .unsigned("lease_expires_at_ms")
                .ok()
                .flatten()
                .unwrap_or_default(),
        })
    }
}

/// `node_lease_refresh`; its answer is [`Credentials`].
#[derive(Debug, Clone)]
pub struct RefreshLease {
    /// Who asks.
    pub node_id: NodeId,
    /// Its proof.
    pub node_secret: Secret,
    /// Where clients reach it now.
    pub fs_url: Option<String>,
    /// How long the lease is to be.
    pub lease_ttl_ms: Option<u64>,
}

impl RefreshLease {
    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Ok(Self {
            node_id: fields.checked("node_id", NodeId::new)?,
            node_secret: fields.secret("node_secret")?,
            fs_url: fs_url(fields)?,
            lease_ttl_ms: fields.unsigned("lease_ttl_ms")?,
        })
    }

    /// The payload.
    pub fn encode(&self) -> String {
        let mut payload = ObjectWriter::new()
            .text("node_id", self.node_id.as_str())
            .text("node_secret", self.node_secret.expose());
        if let Some(url) = &self.fs_url {
            payload = payload.text("fs_url", url);
        }
        with_ttl(payload, self.lease_ttl_ms).finish()
    }
}
