//! The nodes behind a hub, and how paths lead to them.
//!
//! Through a hub, paths are `/nodes/<node>/<export>/<names…>`; a node goes by its id or by its name, if that is
//! unique. What follows the node is a path of its [`View`].
//!
//! An admin's token opens every node. With a user's token the hub shows projects and gives a ticket for each node they
//! mount, so the nodes are those and no others. Original hubs route nobody by an admin's token; there, too, a project that
//! mounts the node helps.

use std::collections::HashMap;

use spiderweb_protocol::control::{CatalogEntry, NodeId, NodeInfo};
use spiderweb_protocol::fs::Export;
use spiderweb_protocol::{EntryName, Errno, Secret};

use crate::client::Client;
use crate::control::{Control, ControlError, ControlOptions, is_forbidden};
use crate::error::{Error, listed};
use crate::path::RemotePath;
use crate::session::Options;
use crate::view::{Alias, View};

/// The directory that holds the nodes.
const NODES: &str = "nodes";

/// Where a path leads on a hub.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HubPlace {
    /// The top, which holds `nodes` and nothing else.
    Top,
    /// The list of nodes.
    Nodes,
    /// A node, or something on it.
    Node {
        /// Its id or name.
        name: EntryName,
        /// The node's own path, which everything on it begins with.
        prefix: RemotePath,
    },
}

impl HubPlace {
    /// Reads a path.
    pub fn of(path: &RemotePath) -> Result<Self, NodeError> {
        match path.names() {
            [] => Ok(Self::Top),
            [nodes] if nodes.as_str() == NODES => Ok(Self::Nodes),
            [nodes, name, ..] if nodes.as_str() == NODES => Ok(Self::Node {
                name: name.clone(),
                prefix: [nodes, name].into_iter().cloned().collect(),
            }),
            _ => Err(NodeError::Nowhere {
                path: path.to_string(),
            }),
        }
    }
}

/// A node the hub tells of.
#[derive(Clone, Debug)]
pub struct KnownNode {
    /// Its id.
    pub id: NodeId,
    /// What people call it.
    pub name: String,
    /// What else the hub says; nothing to a user's token.
    pub info: Option<NodeInfo>,
    ticket: Option<Secret>,
}

/// Why a node cannot be reached through a hub.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Nobody of this id or name.
    #[error("the hub shows no node {name:?}; it shows {}", listed(.known))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names of those there are.
        known: Vec<String>,
    },
    /// Several of this name.
    #[error("several nodes are called {name:?}: {}", listed(.ids))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// The hub knows the node but has no tunnel to it.
    #[error("the node {node} is not connected to its hub")]
    Offline {
        /// Its name and id.
        node: String,
    },
    /// The token is not enough for the node's files.
    #[error("the hub does not let this token use the files of the node {node}")]
    Forbidden {
        /// Its name and id.
        node: String,
    },
    /// A path that leads nowhere.
    #[error("there is no {path} on a hub; its paths are /nodes/NODE/EXPORT/PATH")]
    Nowhere {
        /// The path.
        path: String,
    },
    /// A path on a node was expected.
    #[error("{path} is the list of nodes; name a node, as in /nodes/edge")]
    List {
        /// The path.
        path: String,
    },
    /// The hub itself.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The node.
    #[error(transparent)]
    Client(#[from] Error),
}

/// What connections to nodes are like.
#[derive(Clone, Debug)]
pub struct Routing {
    /// Events are wanted.
    pub subscribe: bool,
    /// Time for one answer of a node; as [`Options`] has it otherwise.
    pub timeout: Option<std::time::Duration>,
    /// Paths on a node are paths within its export of this name.
    pub export: Option<String>,
}

/// A node past its hello, through the hub.
#[derive(Clone, Debug)]
pub struct Routed {
    /// Which one.
    pub node: KnownNode,
    /// The connection.
    pub client: Client,
    /// Its exports, without a prefix.
    pub view: View,
}

/// A hub, and the nodes behind it.
#[derive(Debug)]
pub struct Hub {
    control: Control,
    routing: Routing,
    nodes: Vec<KnownNode>,
    routed: HashMap<NodeId, Routed>,
}

impl Hub {
    /// Connects to the hub and asks which nodes there are.
    pub async fn connect(options: ControlOptions, routing: Routing) -> Result<Self, NodeError> {
        let mut control = Control::connect(options).await?;
        let nodes = match control.nodes().await {
            Ok(nodes) => nodes.into_iter().map(KnownNode::from).collect(),
            Err(error) if is_forbidden(&error) => mounted(&mut control).await?,
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            control,
            routing,
            nodes,
            routed: HashMap::new(),
        })
    }

    /// The nodes, by name.
    pub fn nodes(&self) -> Vec<&KnownNode> {
        let mut nodes: Vec<_> = self.nodes.iter().collect();
        nodes.sort_by(|a, b| (&a.name, a.id.as_str()).cmp(&(&b.name, b.id.as_str())));
        nodes
    }

    /// What to call a node in a path: its name if that leads to it and nowhere else, else its id.
    pub fn path_name<'n>(&self, node: &'n KnownNode) -> &'n str {
        let leads_here = EntryName::new(&node.name).is_ok()
            && self.find(&node.name).is_ok_and(|found| found.id == node.id);
        if leads_here { &node.name } else { node.id.as_str() }
    }

    /// Finds a node by its id or its unique name.
    pub fn find(&self, name: &str) -> Result<&KnownNode, NodeError> {
        KnownNode::find(&self.nodes, name)
    }

    /// Connects to a node, or gives the connection there is.
    pub async fn node(&mut self, name: &str) -> Result<Routed, NodeError> {
        let node = self.find(name)?.clone();
        if let Some(routed) = self.routed.get(&node.id) {
            return Ok(routed.clone());
        }
        let client = self.dial(&node).await?;
        let mut view = View::of(&client, self.routing.export.as_deref()).await?;
        if self.routing.export.is_none() {
            // Without the catalog services still go by their usual names.
            let catalog = self.control.catalog(&node.id).await.unwrap_or_default();
            view.also(aliases(&node, &catalog, view.exports()));
        }
        let id = node.id.clone();
        let routed = Routed { node, client, view };
        self.routed.insert(id, routed.clone());
        Ok(routed)
    }

    /// The node a path leads to, with a view in which its paths begin like this one.
    pub async fn at(&mut self, path: &RemotePath) -> Result<Routed, NodeError> {
        match HubPlace::of(path)? {
            HubPlace::Top | HubPlace::Nodes => Err(NodeError::List {
                path: path.to_string(),
            }),
            HubPlace::Node { name, prefix } => {
                let routed = self.node(name.as_str()).await?;
                Ok(Routed {
                    view: routed.view.clone().below(prefix),
                    ..routed
                })
            }
        }
    }

    async fn dial(&mut self, node: &KnownNode) -> Result<Client, NodeError> {
        if let Some(ticket) = &node.ticket {
            return self.route(node, Some(ticket.clone())).await;
        }
        let bearer = self.control.options().token.clone();
        let refused = match self.route(node, bearer).await {
            Err(refused @ NodeError::Forbidden { .. }) => refused,
            routed => return routed,
        };
        // An original hub wants what it gives to those who mount the node.
        let mounted = mounted(&mut self.control).await?;
        let ticket = mounted.into_iter().find(|mounted| mounted.id == node.id);
        match ticket.and_then(|mounted| mounted.ticket) {
            Some(ticket) => self.route(node, Some(ticket)).await,
            None => Err(refused),
        }
    }

    async fn route(&self, node: &KnownNode, token: Option<Secret>) -> Result<Client, NodeError> {
        let control = self.control.options();
        let url = control.url.with_target(&format!("/v2/fs/node/{}", node.id));
        let mut options = Options::new(url.map_err(Error::from)?)
            .token(token)
            .subscribe(self.routing.subscribe);
        options.dial_timeout = control.dial_timeout;
        if let Some(timeout) = self.routing.timeout {
            options = options.timeout(timeout);
        }
        Client::connect(options)
            .await
            .map_err(|error| match error.errno() {
                Some(Errno::EIO) => NodeError::Offline {
                    node: node.to_string(),
                },
                Some(Errno::EACCES) => NodeError::Forbidden {
                    node: node.to_string(),
                },
                // It was there a moment ago.
                Some(Errno::ENOENT) => NodeError::Unknown {
                    name: node.id.to_string(),
                    known: names(&self.nodes, Some(&node.id)),
                },
                _ => error.into(),
            })
    }
}

impl From<NodeInfo> for KnownNode {
    fn from(info: NodeInfo) -> Self {
        Self {
            id: info.node_id.clone(),
            name: info.node_name.clone(),
            info: Some(info),
            ticket: None,
        }
    }
}

impl KnownNode {
    /// Finds a node by its id or its unique name. An id comes before a name: nobody can hide a node by taking its id
    /// for a name.
    pub fn find<'n>(nodes: &'n [Self], name: &str) -> Result<&'n Self, NodeError> {
        if let Some(node) = nodes.iter().find(|node| node.id.as_str() == name) {
            return Ok(node);
        }
        let called: Vec<_> = nodes.iter().filter(|node| node.name == name).collect();
        match called.as_slice() {
            [node] => Ok(*node),
            [] => Err(NodeError::Unknown {
                name: name.to_owned(),
                known: names(nodes, None),
            }),
            several => {
                let mut ids: Vec<_> = several.iter().map(|node| node.id.to_string()).collect();
                ids.sort();
                Err(NodeError::Ambiguous {
                    name: name.to_owned(),
                    ids,
                })
            }
        }
    }
}

impl std::fmt::Display for KnownNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.name.is_empty() || self.name == self.id.as_str() {
            write!(f, "{}", self.id)
        } else {
            write!(f, "{} ({})", self.name, self.id)
        }
    }
}

fn names(nodes: &[KnownNode], without: Option<&NodeId>) -> Vec<String> {
    let others = nodes.iter().filter(|node| Some(&node.id) != without);
    let mut names: Vec<_> = others.map(ToString::to_string).collect();
    names.sort();
    names
}

/// The nodes that projects mount, with tickets for them. A project that cannot be looked at hides no other.
async fn mounted(control: &mut Control) -> Result<Vec<KnownNode>, ControlError> {
    let mut nodes: Vec<KnownNode> = Vec::new();
    for project in control.projects().await? {
        let mounts = match control.workspace(&project.project_id).await {
            Ok(mounts) => mounts,
            Err(ControlError::Refused { .. }) => continue,
            Err(error) => return Err(error),
        };
        for mount in mounts {
            let Some(ticket) = mount.fs_auth_token else {
                continue;
            };
            if nodes.iter().all(|node| node.id != mount.mount.node_id) {
                nodes.push(KnownNode {
                    id: mount.mount.node_id,
                    name: mount.node_name.unwrap_or_default(),
                    info: None,
                    ticket: Some(ticket),
                });
            }
        }
    }
    Ok(nodes)
}

/// What a node's exports are called besides their own names: first as its catalog wants, then as is usual.
fn aliases(node: &KnownNode, catalog: &[CatalogEntry], exports: &[Export]) -> Vec<Alias> {
    let folder = exports.iter().find(|export| export.source_kind != "namespace");
    let folder = folder.map(|export| export.name.clone());
    let has = |name: &str| exports.iter().any(|export| export.name == name);
    let mut aliases = Vec::new();
    for entry in catalog {
        let prefixed = format!("svc-{}", entry.id());
        let name = match entry.id() {
            "fs" => folder.clone(),
            _ if has(&prefixed) => Some(prefixed),
            id => has(id).then(|| id.to_owned()),
        };
        for mount in entry.mounts() {
            let Ok(path) = mount.parse::<RemotePath>() else {
                continue;
            };
            if let (Some(name), [nodes, of, below @ ..]) = (&name, path.names())
                && nodes.as_str() == NODES
                && [node.id.as_str(), &node.name].contains(&of.as_str())
            {
                aliases.push(Alias {
                    is_shown: below.len() == 1 && Some(name) != folder.as_ref(),
                    path: below.iter().cloned().collect(),
                    name: name.clone(),
                });
            }
        }
    }
    let usual = |path: String, name: &str, is_shown| {
        Some(Alias {
            path: path.parse().ok()?,
            name: name.to_owned(),
            is_shown,
        })
    };
    for export in exports.iter().map(|export| &export.name) {
        if let Some(id) = export.strip_prefix("svc-") {
            aliases.extend(usual(format!("/{id}"), export, true));
        } else if let Some(id) = export.strip_prefix("terminal-") {
            aliases.extend(usual(format!("/terminal/{id}"), export, false));
        }
    }
    aliases.extend(folder.and_then(|folder| usual("/fs".to_owned(), &folder, false)));
    aliases
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, name: &str) -> KnownNode {
        KnownNode {
            id: NodeId::new(id).unwrap(),
            name: name.to_owned(),
            info: None,
            ticket: None,
        }
    }

    #[test]
    fn nodes_go_by_id_or_unique_name() {
        let nodes = [
            node("node-1", "edge"),
            node("node-2", "twin"),
            node("node-3", "twin"),
            node("node-4", "node-1"),
        ];
        for (name, found) in [
            ("node-2", "twin (node-2)"),
            ("edge", "edge (node-1)"),
            ("node-1", "edge (node-1)"),
            ("twin", "several nodes are called \"twin\": node-2, node-3"),
            (
                "nope",
                "the hub shows no node \"nope\"; it shows edge (node-1), node-1 (node-4), twin (node-2), twin (node-3)",
            ),
        ] {
            let said = match KnownNode::find(&nodes, name) {
                Ok(node) => node.to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(said, found, "{name}");
        }
    }

    #[test]
    fn paths_lead_to_nodes() {
        for (path, place) in [
            ("/", Some(HubPlace::Top)),
            ("/nodes/", Some(HubPlace::Nodes)),
            (
                "/nodes/edge/work/a",
                Some(HubPlace::Node {
                    name: EntryName::new("edge").unwrap(),
                    prefix: "/nodes/edge".parse().unwrap(),
                }),
            ),
            ("/work", None),
        ] {
            assert_eq!(HubPlace::of(&path.parse().unwrap()).ok(), place, "{path}");
        }
    }
}
