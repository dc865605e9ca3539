//! The hub, its store and clock, and the nodes.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use spiderweb_hub::store::MemoryStore;
use spiderweb_hub::{Clock, Database, Hub, HubConfig};
use spiderweb_node::{
    ControlConfig, DEFAULT_RELOAD, Disclosure, DiskWork, ExportConfig, Invites, Limits, Node, NodeConfig,
    PairMode, ServicesConfig, TokenSource,
};
use spiderweb_protocol::Secret;
use spiderweb_transport::Dialer;
use tokio::time::Instant;

use crate::client::look_into;
use crate::dice::Dice;
use crate::network::Network;
use crate::operator::Operator;
use crate::trace::Trace;

pub(crate) const URL: &str = "ws://hub.test:18790/";
pub(crate) const ADMIN: &str = "admin-token";

/// Names of nodes, which are those of their hosts.
pub(crate) const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];

/// First and longest pause of nodes between attempts.
pub(crate) const BACKOFF: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The lease nodes ask for.
const LEASE: Duration = Duration::from_secs(40);

/// A moment in 2001: nodes, whose clock is the machine's, do not believe when the hub says a lease ends.
const NOW: u64 = 1_000_000_000_000;

/// How long whoever stops may take.
const GRACE: Duration = Duration::from_secs(20);

/// So far apart are the secrets of two of the hub's lives, and a thousand node ids, which begin at the upper half.
const SECRETS_OF_A_LIFE: u64 = 1000 << 32;

pub(crate) struct World {
    pub(crate) trace: Trace,
    pub(crate) network: Network,
    pub(crate) clock: Clock,
    pub(crate) store: MemoryStore,
    pub(crate) nodes: Vec<Place>,
    hub: Option<Hub>,
    lives: u64,
}

/// A node's place, whether it runs or not.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) folder: PathBuf,
    home: PathBuf,
    mode: PairMode,
    node: Option<Node>,
}

impl World {
    pub(crate) fn new(root: &Path, dice: &mut Dice, trace: Trace) -> Result<Self> {
        let network = Network::new(dice.fork(), trace.clone());
        let mut nodes = Vec::new();
        for name in NODES {
            let home = root.join(name);
            let folder = home.join("work");
            fs::create_dir_all(&folder)?;
            nodes.push(Place {
                name,
                folder,
                home,
                mode: if dice.percent(50) {
                    PairMode::Invite
                } else {
                    PairMode::Request
                },
                node: None,
            });
        }
        Ok(Self {
            trace,
            network,
            clock: Clock::standing_at(NOW),
            store: MemoryStore::new(),
            nodes,
            hub: None,
            lives: 0,
        })
    }

    pub(crate) async fn start_hub(&mut self) -> Result<()> {
        if self.hub.is_some() {
            return Ok(());
        }
        self.lives += 1;
        self.trace.note(format_args!("hub starts, life {}", self.lives));
        let store = Database::Store(Box::new(self.store.clone()));
        let mut config = HubConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), store);
        config.tokens.admin = Some(Secret::new(ADMIN));
        config.tokens.node = Some(Secret::new("node-token"));
        config.tokens.user = Some(Secret::new("user-token"));
        config.clock = self.clock.clone();
        config.random = spiderweb_hub::Random::counting_from(self.lives * SECRETS_OF_A_LIFE);
        config.disk_work = spiderweb_hub::DiskWork::InTurn;
        let hub = Hub::start(config).await.context("the hub does not start")?;
        self.network.set_hub(Some(hub.clone()));
        self.hub = Some(hub);
        Ok(())
    }

    /// Stops the hub; in a crash nobody hears a goodbye.
    pub(crate) async fn stop_hub(&mut self, is_crash: bool) {
        let Some(hub) = self.hub.take() else { return };
        self.trace
            .note(if is_crash { "hub crashes" } else { "hub stops" });
        self.network.set_hub(None);
        if is_crash {
            self.network.cut(None);
        }
        if !hub.stop(GRACE).await {
            self.trace.violate("the hub did not stop in time");
        }
    }

    /// The hub forgets everything; it has to be stopped.
    pub(crate) fn lose_data(&mut self) {
        self.trace.note("the hub's data is lost");
        self.store = MemoryStore::new();
    }

    /// Connects to the hub past the network.
    fn direct(&self) -> Result<Dialer> {
        let hub = self.hub.clone().context("there is no hub")?;
        Ok(Dialer::over(move || Ok(hub.connect())))
    }

    /// A connection to the hub that nothing happens to.
    pub(crate) async fn console(&self) -> Result<Operator> {
        Operator::connect(&self.direct()?).await
    }

    /// Waits until everything [is whole](Self::is_whole), at most for `patience`; says how long it took.
    pub(crate) async fn until_whole(&self, patience: Duration, after: &str) -> Result<Duration> {
        let since = Instant::now();
        loop {
            match self.is_whole().await {
                Ok(()) => {
                    let took = since.elapsed();
                    self.trace
                        .note(format_args!("whole {} ms after {after}", took.as_millis()));
                    ensure!(
                        took <= patience,
                        "whole again {} ms after {after}, and not within {} ms",
                        took.as_millis(),
                        patience.as_millis()
                    );
                    return Ok(took);
                }
                Err(error) if since.elapsed() > patience => {
                    return Err(error.context(format!("{} ms after {after}", patience.as_millis())));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Gives every node that wants one an invite that is good.
    pub(crate) async fn hand_out_invites(&self) -> Result<()> {
        let mut console = self.console().await?;
        let invite = json!({"max_uses": 1000, "expires_in_ms": 86_400_000});
        let invite = console.ask("node_invite_create", invite).await?;
        let token = invite["invite_token"].as_str().context("no token")?;
        for place in &self.nodes {
            fs::write(place.invites(), token)?;
        }
        Ok(())
    }

    pub(crate) async fn start_node(&mut self, which: usize) -> Result<()> {
        let Some(place) = self.nodes.get_mut(which) else {
            return Ok(());
        };
        if place.node.is_some() {
            return Ok(());
        }
        self.trace.note(format_args!("{} starts", place.name));
        self.network.set_down(place.name, false);
        let config = place.config(self.network.dialer(place.name))?;
        place.node = Some(Node::start(config).await.context("a node does not start")?);
        Ok(())
    }

    /// Stops a node; in a crash the hub hears no goodbye.
    pub(crate) async fn stop_node(&mut self, which: usize, is_crash: bool) {
        let Some(place) = self.nodes.get_mut(which) else {
            return;
        };
        let Some(node) = place.node.take() else { return };
        self.trace.note(format_args!(
            "{} {}",
            place.name,
            if is_crash { "crashes" } else { "stops" }
        ));
        if is_crash {
            self.network.set_down(place.name, true);
        }
        if !node.stop(GRACE).await {
            self.trace
                .violate(format_args!("{} did not stop in time", place.name));
        }
        self.network.set_down(place.name, true);
    }

    /// Whether every node is paired under the identity it keeps, has a lease that runs, a tunnel and a catalog at the
    /// hub; if not, what is missing.
    pub(crate) async fn is_whole(&self) -> Result<()> {
        let mut console = self.console().await?;
        let list = console.ask("node_list", json!({})).await?;
        let known = list["nodes"].as_array().cloned().unwrap_or_default();
        for place in &self.nodes {
            let id = place
                .identity()
                .with_context(|| format!("{} is not paired", place.name))?;
            let node = known.iter().find(|node| node["node_id"] == id.as_str());
            let node = node.with_context(|| format!("the hub does not know {} as {id}", place.name))?;
            ensure!(
                node["node_name"] == place.name,
                "{} goes by a foreign identity: {node}",
                place.name
            );
            ensure!(
                node["tunnel"]["connected"] == true,
                "{} has no tunnel",
                place.name
            );
            let expires = node["lease_expires_at_ms"].as_u64();
            ensure!(expires > Some(self.clock.now_ms()), "{} has no lease", place.name);
            let in_tunnel = self.network.identity(place.name);
            ensure!(
                in_tunnel.as_deref() == Some(&id),
                "{}: the file says {id}, the tunnel {in_tunnel:?}",
                place.name
            );
            let catalog = console.ask("node_service_get", json!({"node_id": id})).await?;
            let services = catalog["services"].as_array().map_or(0, Vec::len);
            ensure!(services > 0, "{} has no catalog: {catalog}", place.name);
        }
        for which in 0..self.nodes.len() {
            look_into(&self.direct()?, which).await?;
        }
        Ok(())
    }
}

impl Place {
    fn invites(&self) -> PathBuf {
        self.home.join("invites")
    }

    fn state_file(&self) -> PathBuf {
        self.home.join("state.json")
    }

    /// Who the node is, as it would know after a restart.
    pub(crate) fn identity(&self) -> Option<String> {
        let state: Value = serde_json::from_slice(&fs::read(self.state_file()).ok()?).ok()?;
        Some(state["node_id"].as_str()?.to_owned())
    }

    fn config(&self, dialer: Dialer) -> Result<NodeConfig> {
        let control = ControlConfig {
            url: URL.parse()?,
            dialer,
            token: match self.mode {
                PairMode::Invite => TokenSource::Absent,
                PairMode::Request => TokenSource::Given(Secret::new(ADMIN)),
            },
            operator_token: TokenSource::Absent,
            pair_mode: self.mode,
            invites: Invites {
                tokens: Vec::new(),
                file: (self.mode == PairMode::Invite).then(|| self.invites()),
            },
            may_replace_damaged_state: false,
            node_name: spiderweb_protocol::control::NodeName::new(self.name)
                .map_err(|_| anyhow::anyhow!("no name: {}", self.name))?,
            fs_url: String::new(),
            state_file: self.state_file(),
            older_state_file: None,
            lease_ttl: LEASE,
            refresh_interval: Duration::from_secs(10),
            backoff: BACKOFF,
            backoff_max: BACKOFF_MAX,
            labels: Vec::new(),
            disclosure: Disclosure::Full,
        };
        Ok(NodeConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            control: Some(control),
            exports: vec![ExportConfig {
                name: "work".to_owned(),
                path: self.folder.clone(),
                description: String::new(),
                read_only: false,
            }],
            default_export: false,
            node_name: self.name.to_owned(),
            services: ServicesConfig {
                has_fs_service: true,
                reload_every: DEFAULT_RELOAD,
                ..ServicesConfig::default()
            },
            token: None,
            limits: Limits::default(),
            disk_work: DiskWork::InTurn,
        })
    }
}
