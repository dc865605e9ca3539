//! The nodes a command works on: one by its own address, or those behind a hub.

use spiderweb_client::{
    Client, Error, Hub, HubPlace, KnownNode, NodeError, Options, Place, RemotePath, Routed, View,
};
use spiderweb_protocol::control::NodeId;
use spiderweb_protocol::fs::{Attr, Export};
use spiderweb_protocol::{Errno, Secret};

use crate::called::is_service;
use crate::failure::{Doing as _, Failure};
use crate::global::Global;
use crate::hub;
use crate::output::shown;

/// A connected client and the paths it offers. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) client: Client,
    pub(crate) view: View,
    /// Which node it is, if a hub said so.
    node: Option<NodeId>,
}

impl Remote {
    /// What a path is that can be neither removed nor moved: the root of an export, or what is above.
    pub(crate) fn fixture(&self, path: &RemotePath) -> Option<&'static str> {
        match self.view.place(path) {
            Ok(Place::Inside { names: [], .. }) => Some("an export itself"),
            Ok(Place::Top) if path.names().is_empty() => Some("the list of exports"),
            Ok(Place::Top) => Some("a node itself"),
            Ok(Place::Inside { .. }) | Err(_) => None,
        }
    }

    /// As [`doing`](crate::failure::Doing::doing) for something that was to be changed. A node refuses to change the
    /// tree of a service as it refuses to change a read-only export, though others of its files can be written.
    pub(crate) fn changing<T>(
        &self,
        result: Result<T, Error>,
        verb: &str,
        path: &RemotePath,
    ) -> Result<T, Failure> {
        match result {
            Err(error) if error.errno() == Some(Errno::EROFS) && self.is_in_service(path) => {
                let path = shown(&path.to_string(), true);
                let message = format!("cannot {verb} {path}: this part of a service cannot be changed");
                Err(Failure::message(message).hint(
                    "files that act on what is written to them, such as control/enable, take it by `spiderweb put \
                     --in-place`",
                ))
            }
            result => result.doing(verb, path),
        }
    }

    fn is_in_service(&self, path: &RemotePath) -> bool {
        match self.view.place(path) {
            Ok(Place::Inside { export, .. }) => is_service(export) && !export.ro,
            _ => false,
        }
    }

    /// The exports that a command about exports is about: all of the node, or the one whose path this is.
    pub(crate) fn exports_at(&self, path: Option<&RemotePath>) -> Result<Vec<Export>, Failure> {
        let Some(path) = path else {
            return Ok(self.view.exports().to_vec());
        };
        match self.view.place(path)? {
            Place::Top => Ok(self.view.exports().to_vec()),
            Place::Inside { export, names: [] } => Ok(vec![export.clone()]),
            Place::Inside { export, .. } => Err(Failure::Usage(format!(
                "{path} lies within the export {}; name the export, or nothing for all of the node",
                shown(&export.name, true)
            ))),
        }
    }

    /// Whether both are the same node.
    pub(crate) fn is_same_node(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl From<Routed> for Remote {
    fn from(routed: Routed) -> Self {
        Self {
            client: routed.client,
            view: routed.view,
            node: Some(routed.node.id),
        }
    }
}

/// How the command line reaches nodes.
pub(crate) enum Reach {
    /// One node: that at `--url`, or behind a hub that of `--node`.
    Node(Remote),
    /// All nodes behind a hub, by `/nodes/NODE/…`.
    Hub(Box<Hub>),
}

impl Reach {
    pub(crate) async fn open(global: &Global) -> Result<Self, Failure> {
        Self::open_with(global, false).await
    }

    /// Connects; `subscribe` asks for changes that others make.
    pub(crate) async fn open_with(global: &Global, subscribe: bool) -> Result<Self, Failure> {
        let Some(url) = &global.hub else {
            if global.node.is_some() {
                return Err(Failure::Usage(
                    "--node names a node behind a hub; say which hub with --hub or SPIDERWEB_HUB".to_owned(),
                ));
            }
            let client = Client::connect(options(global)?.subscribe(subscribe)).await?;
            let view = View::of(&client, global.export.as_deref()).await?;
            return Ok(Self::Node(Remote {
                client,
                view,
                node: None,
            }));
        };
        let mut hub = Hub::connect(hub::options(global, url)?, hub::routing(global, subscribe)).await?;
        match &global.node {
            Some(name) => Ok(Self::Node(hub.node(name).await?.into())),
            None => Ok(Self::Hub(Box::new(hub))),
        }
    }

    /// The node a path leads to.
    pub(crate) async fn to(&mut self, path: &RemotePath) -> Result<Remote, Failure> {
        match self {
            Self::Node(remote) => Ok(remote.clone()),
            Self::Hub(hub) => Ok(hub.at(path).await?.into()),
        }
    }

    /// The one node there is, or that of the path if there is one.
    pub(crate) async fn only(&mut self, path: Option<&RemotePath>) -> Result<Remote, Failure> {
        match (self, path) {
            (Self::Node(remote), None) => Ok(remote.clone()),
            (reach, Some(path)) => reach.to(path).await,
            (Self::Hub(hub), None) => {
                let nodes = hub.nodes();
                let names: Vec<_> = nodes.iter().map(|node| hub.path_name(node)).collect();
                Err(Failure::Usage(match names.as_slice() {
                    [] => "the hub shows no nodes to this token".to_owned(),
                    [first, ..] => format!(
                        "say which node: --node {first}, or a path as in /nodes/{first}; the hub shows {}",
                        names.join(", ")
                    ),
                }))
            }
        }
    }

    /// What a path above all nodes holds; `None` when the path leads to a node.
    pub(crate) fn above(&self, path: &RemotePath) -> Result<Option<Vec<Above<'_>>>, NodeError> {
        let Self::Hub(hub) = self else {
            return Ok(None);
        };
        Ok(match HubPlace::of(path)? {
            HubPlace::Top => Some(vec![Above {
                name: "nodes",
                node: None,
            }]),
            HubPlace::Nodes => {
                let named = |node| Above {
                    name: hub.path_name(node),
                    node: Some(node),
                };
                Some(hub.nodes().into_iter().map(named).collect())
            }
            HubPlace::Node { .. } => None,
        })
    }
}

/// A directory that no node has, but the hub.
pub(crate) struct Above<'h> {
    pub(crate) name: &'h str,
    /// The node it stands for.
    pub(crate) node: Option<&'h KnownNode>,
}

impl Above<'_> {
    /// How it is shown; a node changed when the hub last heard of it.
    pub(crate) fn attr(&self) -> Attr {
        let info = self.node.and_then(|node| node.info.as_ref());
        let seen_ms = info.map_or(0, |info| info.last_seen_ms);
        let seen = i64::try_from(seen_ms)
            .unwrap_or_default()
            .saturating_mul(1_000_000);
        Attr {
            id: 0,
            k: 2,
            m: 0o040_555,
            n: 1,
            u: 0,
            g: 0,
            sz: 0,
            at: seen,
            mt: seen,
            ct: seen,
            generation: 0,
        }
    }
}

/// How to connect to a node at its own address, from the command line.
pub(crate) fn options(global: &Global) -> Result<Options, Failure> {
    let options = Options::new(global.url.clone()).token(token(global)?);
    Ok(match global.timeout {
        Some(timeout) => options.timeout(timeout),
        None => options,
    })
}

/// The token to show to the node.
pub(crate) fn token(global: &Global) -> Result<Option<Secret>, Failure> {
    if let Some(path) = &global.token_file {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::local(format!("cannot read the token file {shown}"), error))?;
        return match text.trim() {
            "" => Err(Failure::message(format!("the token file {shown} is empty"))),
            token => Ok(Some(Secret::new(token))),
        };
    }
    Ok(global.token.as_deref().map(Secret::new))
}
