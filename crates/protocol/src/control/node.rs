//! Nodes as others see them.

use super::fields::{FieldFault, Fields};
use super::ids::{NodeId, NodeName};
use super::lease::with_ttl;
use super::platform::{Platform, fs_url};
use crate::canonical::ObjectWriter;
use crate::dialect::Dialect;
use crate::secret::Secret;

/// The payload of operations about one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRef {
    /// Which one.
    pub node_id: NodeId,
}

impl NodeRef {
    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        let node_id = fields.checked("node_id", NodeId::new)?;
        Ok(Self { node_id })
    }

    /// The payload.
    pub fn encode(&self) -> String {
        ObjectWriter::new()
            .text("node_id", self.node_id.as_str())
            .finish()
    }
}

/// `node_delete`.
#[derive(Debug, Clone)]
pub struct DeleteNode {
    /// Which one.
    pub node_id: NodeId,
    /// Its secret. The original insists on it, although only the node has it.
    pub node_secret: Option<Secret>,
}

impl DeleteNode {
    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Ok(Self {
            node_id: fields.checked("node_id", NodeId::new)?,
            node_secret: fields.optional_secret("node_secret")?,
        })
    }

    /// The payload.
    pub fn encode(&self) -> String {
        let payload = ObjectWriter::new().text("node_id", self.node_id.as_str());
        match &self.node_secret {
            Some(secret) => payload.text("node_secret", secret.expose()),
            None => payload,
        }
        .finish()
    }
}

/// The answer to `node_delete`.
pub fn node_deleted(node_id: &NodeId) -> String {
    ObjectWriter::new()
        .json("deleted", true)
        .text("node_id", node_id.as_str())
        .finish()
}

/// `node_ensure`: finds a node by name or makes it. Its answer is [`Credentials`](super::Credentials).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnsureNode {
    /// The name.
    pub node_name: NodeName,
    /// Where clients reach it.
    pub fs_url: Option<String>,
    /// How long the lease is to be.
    pub lease_ttl_ms: Option<u64>,
}

impl EnsureNode {
    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Ok(Self {
            node_name: fields.checked("node_name", NodeName::new)?,
            fs_url: fs_url(fields)?,
            lease_ttl_ms: fields.unsigned("lease_ttl_ms")?,
        })
    }

    /// The payload.
    pub fn encode(&self) -> String {
        let mut payload = ObjectWriter::new().text("node_name", self.node_name.as_str());
        if let Some(url) = &self.fs_url {
            payload = payload.text("fs_url", url);
        }
        with_ttl(payload, self.lease_ttl_ms).finish()
    }
}

/// A node's tunnel, as far as others may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelInfo {
    /// Since when it stands.
    pub since_ms: u64,
    /// Clients whose requests go through it.
    pub clients: usize,
}

/// One node in `node_list` and `node_get`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Who it is.
    pub node_id: NodeId,
    /// What people call it.
    pub node_name: String,
    /// Where clients reach it.
    pub fs_url: String,
    /// What it is.
    pub platform: Platform,
    /// Entries in its catalog.
    pub service_count: usize,
    /// When it was paired.
    pub joined_at_ms: u64,
    /// When it was last heard of.
    pub last_seen_ms: u64,
    /// When its lease ends.
    pub lease_expires_at_ms: u64,
    /// Labels, as a JSON object; the original does not show them. Nothing at all if they were left out.
    pub labels: String,
    /// Its tunnel, if it has one; the original does not show it.
    pub tunnel: Option<TunnelInfo>,
}

impl NodeInfo {
    /// Reads the object. Only the id has to be there; either generation's count will do.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        let number = |name| fields.unsigned(name).map(Option::unwrap_or_default);
        let count = match fields.unsigned("service_count")? {
            Some(count) => count,
            None => number("venom_count")?,
        };
        let tunnel = Fields::of(fields.object("tunnel")?)?;
        let tunnel = match tunnel.flag("connected")? {
            Some(true) => Some(TunnelInfo {
                since_ms: tunnel.unsigned("since_ms")?.unwrap_or_default(),
                clients: usize::try_from(tunnel.unsigned("clients")?.unwrap_or_default())
                    .map_err(|_| FieldFault::Invalid)?,
            }),
            _ => None,
        };
        Ok(Self {
            node_id: fields.checked("node_id", NodeId::new)?,
            node_name: fields.text("node_name").unwrap_or_default().to_owned(),
            fs_url: fields.text("fs_url").unwrap_or_default().to_owned(),
            platform: Platform::decode(fields)?.unwrap_or_default(),
            service_count: usize::try_from(count).map_err(|_| FieldFault::Invalid)?,
            joined_at_ms: number("joined_at_ms")?,
            last_seen_ms: number("last_seen_ms")?,
            lease_expires_at_ms: number("lease_expires_at_ms")?,
            labels: fields
                .object("labels")?
                .map_or("{}", |labels| labels.source)
                .to_owned(),
            tunnel,
        })
    }

    /// The JSON object, for somebody who knows the words of one generation, or of whom that is not known.
    pub fn encode(&self, words: Option<Dialect>) -> String {
        let counts: &[&str] = match words {
            Some(Dialect::Seed) => &["service_count"],
            Some(Dialect::Head) => &["venom_count"],
            None => &["service_count", "venom_count"],
        };
        let tunnel = ObjectWriter::new().json("connected", self.tunnel.is_some());
        let tunnel = match self.tunnel {
            Some(TunnelInfo { since_ms, clients }) => {
                tunnel.json("since_ms", since_ms).json("clients", clients)
            }
            None => tunnel,
        };
        let out = ObjectWriter::new()
            .text("node_id", self.node_id.as_str())
            .text("node_name", &self.node_name)
            .text("fs_url", &self.fs_url)
            .json("platform", self.platform.encode());
        let out = counts
            .iter()
            .fold(out, |out, count| out.json(count, self.service_count))
            .json("joined_at_ms", self.joined_at_ms)
            .json("last_seen_ms", self.last_seen_ms)
            .json("lease_expires_at_ms", self.lease_expires_at_ms);
        let out = match self.labels.as_str() {
            "" => out,
            labels => out.json("labels", labels),
        };
        out.json("tunnel", tunnel.finish()).finish()
    }
}

/// The answer to `node_list`.
pub fn nodes_payload<'n>(nodes: impl IntoIterator<Item = &'n NodeInfo>, words: Option<Dialect>) -> String {
    let nodes = nodes.into_iter().map(|node| node.encode(words));
    ObjectWriter::new().array("nodes", nodes).finish()
}

/// Reads the answer to `node_list`.
pub fn read_nodes(fields: Fields<'_>) -> Result<Vec<NodeInfo>, FieldFault> {
    let nodes = fields.array("nodes")?.ok_or(FieldFault::Missing)?;
    nodes
        .iter()
        .map(|node| NodeInfo::decode(Fields::of(Some(node))?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strict::Value;

    #[test]
    fn recorded_lists_are_read_and_ours_round_trip() {
        let recorded = r#"{"nodes":[{"node_id":"node-2","node_name":"edge","fs_url":"ws://127.0.0.1:20311/v2/fs/node/node-2","platform":{"os":"linux","arch":"x86_64","runtime_kind":"native"},"venom_count":2,"joined_at_ms":1795405378689,"last_seen_ms":1795405379674,"lease_expires_at_ms":1795406279285}]}"#;
        let value = Value::parse(recorded.as_bytes()).unwrap();
        let mut nodes = read_nodes(Fields::of(Some(&value)).unwrap()).unwrap();
        assert_eq!((nodes[0].service_count, nodes[0].tunnel), (2, None));
        nodes[0].tunnel = Some(TunnelInfo {
            since_ms: 5,
            clients: 2,
        });
        nodes[0].labels = r#"{"site":"lab"}"#.to_owned();
        for words in [Some(Dialect::Seed), Some(Dialect::Head), None] {
            let text = nodes_payload(&nodes, words);
            let value = Value::parse(text.as_bytes()).unwrap();
            assert_eq!(read_nodes(Fields::of(Some(&value)).unwrap()).unwrap(), nodes);
        }
    }
}
