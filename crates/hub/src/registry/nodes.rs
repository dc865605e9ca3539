//! Nodes: leases, catalogs, and how they leave.

use spiderweb_protocol::control::{
    CatalogEntry, CatalogReply, Code, Credentials, DeleteNode, Delta, EnsureNode, NodeId, NodeInfo, Platform,
    RefreshLease, Refusal, UpsertCatalog,
};
use spiderweb_protocol::{Dialect, Secret};

use super::record::{JoinState, Node};
use super::{Registry, millis};

/// Most bytes of a catalog: each is kept in memory, sent to watchers, and kept for later watchers.
const MAX_CATALOG: usize = 1024 * 1024;

/// What an upsert did.
#[derive(Debug, Clone)]
pub struct Upserted {
    /// What changed in the list of services.
    pub delta: Delta,
    /// Whether anything at all changed, labels and platform included.
    pub is_changed: bool,
}

/// What a sweep found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Leases that have just ended.
    pub expired: Vec<NodeId>,
    /// Nodes that are not known any more.
    pub removed: Vec<NodeId>,
}

impl Registry {
    /// A fresh node with a lease.
    pub(super) fn add_node(
        &mut self,
        name: Option<&str>,
        fs_url: &str,
        platform: Platform,
        ttl_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<NodeId, Refusal> {
        self.meta.nodes += 1;
        let id = format!("node-{}", self.meta.nodes);
        let id = NodeId::new(&id).map_err(|_| Refusal::new(Code::ControlPlaneError))?;
        let ttl = self.lease_ttl(ttl_ms);
        let node = Node {
            id: id.clone(),
            name: name.map_or_else(|| id.to_string(), str::to_owned),
            fs_url: fs_url.to_owned(),
            secret: self.random.secret("secret-")?,
            lease_token: self.random.secret("lease-")?,
            platform,
            labels: spiderweb_protocol::control::Labels::default(),
            entries: Vec::new(),
            joined_at_ms: now_ms,
            last_seen_ms: now_ms,
            lease_ttl_ms: ttl,
            lease_expires_at_ms: now_ms.saturating_add(ttl),
            has_refreshed: false,
            is_expired: false,
        };
        self.nodes.insert(id.clone(), node);
        self.save_meta()?;
        self.save_node(&id)?;
        Ok(id)
    }

    /// A number that grows with every node that is made.
    pub const fn nodes_made(&self) -> u64 {
        self.meta.nodes
    }

    /// Where a hub that knows nobody begins to count. A hub that lost its data must not give a node an id that another
    /// node had: clients that come back under it would take that node's files for those they know.
    pub(super) fn choose_first_node(&mut self) -> Result<(), Refusal> {
        if self.meta.nodes == 0 {
            let [.., a, b, c, d, _, _, _, _] = self.random.bytes()?;
            self.meta.nodes = u64::from(u32::from_be_bytes([a, b, c, d]));
        }
        Ok(())
    }

    fn lease_ttl(&self, asked_ms: Option<u64>) -> u64 {
        let terms = &self.terms;
        asked_ms
            .unwrap_or(millis(terms.default_lease))
            .clamp(millis(terms.min_lease), millis(terms.max_lease))
    }

    /// What the node is given.
    pub(super) fn credentials(&self, id: &NodeId) -> Result<Credentials, Refusal> {
        let node = self.nodes.get(id).ok_or(Code::NodeNotFound)?;
        Ok(Credentials {
            node_id: node.id.clone(),
            node_name: Some(node.name.clone()),
            fs_url: Some(node.fs_url.clone()),
            node_secret: node.secret.clone(),
            lease_token: node.lease_token.clone(),
            platform: node.platform.clone(),
            lease_expires_at_ms: node.lease_expires_at_ms,
        })
    }

    fn authentic(&mut self, id: &NodeId, secret: &Secret) -> Result<&mut Node, Refusal> {
        let node = self.nodes.get_mut(id).ok_or(Code::NodeNotFound)?;
        if node.secret.matches(secret.expose()) {
            Ok(node)
        } else {
            Err(Code::NodeAuthFailed.into())
        }
    }

    /// Whether this is the node's secret.
    pub fn authenticate(&self, id: &NodeId, secret: &Secret) -> Result<(), Refusal> {
        let node = self.nodes.get(id).ok_or(Code::NodeNotFound)?;
        if node.secret.matches(secret.expose()) {
            Ok(())
        } else {
            Err(Code::NodeAuthFailed.into())
        }
    }

    /// Renews a lease. An expired node is itself again.
    pub fn refresh_lease(&mut self, request: &RefreshLease, now_ms: u64) -> Result<Credentials, Refusal> {
        let ttl = self.lease_ttl(request.lease_ttl_ms);
        let lease_token = self.random.secret("lease-")?;
        let node = self.authentic(&request.node_id, &request.node_secret)?;
        node.lease_token = lease_token;
        node.lease_ttl_ms = ttl;
        node.lease_expires_at_ms = now_ms.saturating_add(ttl);
        node.last_seen_ms = now_ms;
        node.has_refreshed = true;
        node.is_expired = false;
        if let Some(url) = &request.fs_url {
            node.fs_url.clone_from(url);
        }
        self.save_node(&request.node_id)?;
        self.close_requests_of(&request.node_id);
        self.credentials(&request.node_id)
    }

    /// The node has its credentials, so nobody has to keep them for it.
    fn close_requests_of(&mut self, id: &NodeId) {
        let state = JoinState::Approved { node_id: id.clone() };
        let mut keys = Vec::new();
        self.joins.retain(|id, join| {
            let is_open = join.state != state;
            if !is_open {
                keys.push(format!("join/{id}"));
            }
            is_open
        });
        for key in keys {
            self.forget(key);
        }
    }

    /// Finds a node by its name or makes it: a join for admins that can be repeated.
    pub fn ensure_node(&mut self, request: &EnsureNode, now_ms: u64) -> Result<Credentials, Refusal> {
        let name = request.node_name.as_str();
        let known = self.nodes.values().find(|node| node.name == name);
        let id = match known.map(|node| node.id.clone()) {
            None => {
                let url = request.fs_url.as_deref().unwrap_or_default();
                self.add_node(Some(name), url, Platform::default(), request.lease_ttl_ms, now_ms)?
            }
            Some(id) => {
                let ttl = self.lease_ttl(request.lease_ttl_ms);
                let node = self.nodes.get_mut(&id).ok_or(Code::NodeNotFound)?;
                node.lease_ttl_ms = ttl;
                node.lease_expires_at_ms = now_ms.saturating_add(ttl);
                node.is_expired = false;
                if let Some(url) = &request.fs_url {
                    node.fs_url.clone_from(url);
                }
                self.save_node(&id)?;
                id
            }
        };
        self.credentials(&id)
    }

    /// Forgets a node. Its mounts stay wished for.
    pub fn delete_node(&mut self, request: &DeleteNode) -> Result<(), Refusal> {
        match &request.node_secret {
            Some(secret) => self.authenticate(&request.node_id, secret)?,
            None if self.nodes.contains_key(&request.node_id) => {}
            None => return Err(Code::NodeNotFound.into()),
        }
        self.remove_node(&request.node_id);
        Ok(())
    }

    fn remove_node(&mut self, id: &NodeId) {
        self.nodes.remove(id);
        self.forget(format!("node/{id}"));
        self.close_requests_of(id);
    }

    /// Takes in a catalog: all of it or nothing.
    pub fn upsert_catalog(&mut self, request: UpsertCatalog, now_ms: u64) -> Result<Upserted, Refusal> {
        let size = |entry: &CatalogEntry| entry.encode(Dialect::Seed).len();
        if request.entries.iter().flatten().map(size).sum::<usize>() > MAX_CATALOG {
            return Err(Refusal::saying(
                Code::InvalidPayload,
                "a catalog may have a megabyte",
            ));
        }
        let node = self.authentic(&request.node_id, &request.node_secret)?;
        node.last_seen_ms = now_ms;
        let mut is_changed = false;
        if let Some(platform) = request.platform {
            is_changed |= node.platform != platform;
            node.platform = platform;
        }
        if let Some(labels) = request.labels {
            is_changed |= node.labels != labels;
            node.labels = labels;
        }
        let entries = request.entries.unwrap_or_else(|| node.entries.clone());
        let delta = Delta::between(&node.entries, &entries, now_ms);
        is_changed |= delta.is_changed();
        node.entries = entries;
        // Nodes repeat themselves every few seconds; what they said before is not worth a write.
        if is_changed {
            self.save_node(&request.node_id)?;
        }
        Ok(Upserted { delta, is_changed })
    }

    /// A node's catalog.
    pub fn catalog<'r>(&'r self, id: &NodeId, delta: Option<&'r Delta>) -> Result<CatalogReply<'r>, Refusal> {
        let node = self.nodes.get(id).ok_or(Code::NodeNotFound)?;
        Ok(CatalogReply {
            node_id: &node.id,
            node_name: &node.name,
            platform: &node.platform,
            labels: &node.labels,
            entries: &node.entries,
            delta,
        })
    }

    /// One node, as others see it.
    pub fn node(&self, id: &NodeId) -> Result<NodeInfo, Refusal> {
        let node = self.nodes.get(id).ok_or(Code::NodeNotFound)?;
        Ok(info(node))
    }

    /// All nodes, expired ones too.
    pub fn nodes(&self) -> Vec<NodeInfo> {
        self.nodes.values().map(info).collect()
    }

    /// Whether the node's lease runs. While its tunnel stands it does, whatever the clock says: the next sweep writes
    /// that down.
    pub fn has_lease(&self, id: &NodeId, is_connected: bool, now_ms: u64) -> bool {
        self.nodes
            .get(id)
            .is_some_and(|node| is_connected || !node.is_expired && node.lease_expires_at_ms > now_ms)
    }

    /// Looks at the clock: leases end, old things are forgotten. A node whose tunnel answers is alive, so its lease
    /// is prolonged instead, or begins again.
    pub fn sweep(&mut self, is_connected: impl Fn(&NodeId) -> bool, now_ms: u64) -> Result<Swept, Refusal> {
        let mut swept = Swept::default();
        let retention = millis(self.terms.retention);
        let mut touched = Vec::new();
        for node in self.nodes.values_mut() {
            if node.lease_expires_at_ms > now_ms {
                continue;
            }
            if is_connected(&node.id) {
                node.is_expired = false;
                node.lease_expires_at_ms = now_ms.saturating_add(node.lease_ttl_ms);
                node.last_seen_ms = now_ms;
                touched.push(node.id.clone());
            } else if node.lease_expires_at_ms.saturating_add(retention) <= now_ms {
                swept.removed.push(node.id.clone());
            } else if !node.is_expired {
                node.is_expired = true;
                touched.push(node.id.clone());
                swept.expired.push(node.id.clone());
            }
        }
        for id in &touched {
            self.save_node(id)?;
        }
        for id in self.forget_old_pairings(now_ms) {
            let node = self.nodes.get(&id);
            if node.is_some_and(|node| node.is_expired && !node.has_refreshed) && !swept.removed.contains(&id)
            {
                swept.removed.push(id);
            }
        }
        for id in &swept.removed {
            self.remove_node(id);
        }
        Ok(swept)
    }

    /// Prolongs leases that ended while the hub was away.
    pub(super) fn grant_grace(&mut self, now_ms: u64) {
        for node in self.nodes.values_mut() {
            if !node.is_expired && node.lease_expires_at_ms <= now_ms {
                node.lease_expires_at_ms = now_ms.saturating_add(node.lease_ttl_ms);
            }
        }
    }
}

fn info(node: &Node) -> NodeInfo {
    NodeInfo {
        node_id: node.id.clone(),
        node_name: node.name.clone(),
        fs_url: node.fs_url.clone(),
        platform: node.platform.clone(),
        service_count: node.entries.len(),
        joined_at_ms: node.joined_at_ms,
        last_seen_ms: node.last_seen_ms,
        lease_expires_at_ms: node.lease_expires_at_ms,
        labels: node.labels.encode(),
        tunnel: None,
    }
}
