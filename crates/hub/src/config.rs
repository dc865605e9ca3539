//! What a hub is told at its start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spiderweb_protocol::Secret;
use spiderweb_protocol::control::VersionAck;

use crate::clock::Clock;
use crate::random::Random;
use crate::registry::Terms;
use crate::store::Store;
use spiderweb_daemon::DiskWork;

/// Name of the database in a hub's folder.
const DATABASE_FILE: &str = "hub.redb";

/// Name of the file of tokens in a hub's folder.
const TOKEN_FILE: &str = "auth_tokens.json";

/// Name of the audit file in a hub's folder.
const AUDIT_FILE: &str = "audit.jsonl";

/// Where the registry is kept.
pub enum Database {
    /// In a file, see [`FileStore`](crate::store::FileStore).
    File(PathBuf),
    /// In a store of the caller's.
    Store(Box<dyn Store>),
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Store(_) => f.write_str("Store(..)"),
        }
    }
}

/// The tokens. What is not given is read from the file, and made if it is not there either.
#[derive(Debug, Clone, Default)]
pub struct TokenConfig {
    /// The file of tokens. Without one, tokens that are made live as long as the process.
    pub file: Option<PathBuf>,
    /// May do everything.
    pub admin: Option<Secret>,
    /// For nodes: may pair, refresh, publish and attach a tunnel.
    pub node: Option<Secret>,
    /// For mount clients: may read projects and mount.
    pub user: Option<Secret>,
    /// The second factor of operators. With it, a request to join waits until somebody says it.
    pub operator: Option<Secret>,
    /// The second factor for operations on nodes.
    pub node_scope: Option<Secret>,
    /// The second factor for operations on projects.
    pub project_scope: Option<Secret>,
    /// Peers without any bearer token may join by invite, and do what a node's secret authorises.
    pub allows_anonymous: bool,
}

/// See [`Limits::proof`]. Nodes do it at once; whoever does not takes a place from others.
const PROOF: Duration = Duration::from_secs(60);
/// See [`Limits::large_strangers`]. Each can stop in the middle of 4 MiB.
const LARGE_STRANGERS: usize = 16;

/// Times and bounds of connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// How long a peer may say nothing after the upgrade.
    pub first_frame: Duration,
    /// How long somebody without a token may take on a control connection to show an invite or a node's secret.
    pub proof: Duration,
    /// How many of them at a time may send a message above 64 KiB: a catalog comes in one frame with the secret.
    pub large_strangers: usize,
    /// Between two pings.
    pub ping_every: Duration,
    /// Silence after which a tunnel counts as dead.
    pub tunnel_silence: Duration,
    /// How long a request waits for its reply.
    pub request: Duration,
    /// How long requests wait for a tunnel that was lost, in case it comes back.
    pub tunnel_grace: Duration,
    /// How long changes are gathered before subscribers are told.
    pub push_delay: Duration,
    /// How long a peer may read nothing of what waits for it.
    pub unread: Duration,
    /// Between two looks at leases.
    pub sweep_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            first_frame: Duration::from_secs(30),
            proof: PROOF,
            large_strangers: LARGE_STRANGERS,
            ping_every: Duration::from_secs(20),
            tunnel_silence: Duration::from_secs(60),
            // What the original waits; its mount client gives up after 15 s.
            request: Duration::from_secs(45),
            tunnel_grace: Duration::from_secs(2),
            push_delay: Duration::from_millis(100),
            unread: Duration::from_secs(60),
            sweep_every: Duration::from_secs(1),
        }
    }
}

/// Everything a hub is told at its start.
#[derive(Debug)]
pub struct HubConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the registry is kept.
    pub database: Database,
    /// Who may do what.
    pub tokens: TokenConfig,
    /// Leases, invites and what is remembered how long.
    pub terms: Terms,
    /// Times and bounds of connections.
    pub limits: Limits,
    /// Which generations are answered to in the handshake, and whose words a peer hears that has said none of its own.
    /// Operations of both are understood in any case.
    pub generations: VersionAck,
    /// Audit records are appended to this file as well.
    pub audit_file: Option<PathBuf>,
    /// What time it is.
    pub clock: Clock,
    /// Where secrets come from.
    pub random: Random,
    /// Where the registry is worked on.
    pub disk_work: DiskWork,
}

impl HubConfig {
    /// A hub on this address with all its files in one folder, under the names of `docs/hub.md`.
    pub fn in_folder(listen: SocketAddr, folder: &Path) -> Self {
        let mut config = Self::new(listen, Database::File(folder.join(DATABASE_FILE)));
        config.tokens.file = Some(folder.join(TOKEN_FILE));
        config.audit_file = Some(folder.join(AUDIT_FILE));
        config
    }

    /// A hub on this address that keeps its registry here; everything else as usual.
    pub fn new(listen: SocketAddr, database: Database) -> Self {
        Self {
            listen,
            database,
            tokens: TokenConfig {
                allows_anonymous: true,
                ..TokenConfig::default()
            },
            terms: Terms::default(),
            limits: Limits::default(),
            generations: VersionAck::BOTH,
            audit_file: None,
            clock: Clock::system(),
            random: Random::system(),
            disk_work: DiskWork::default(),
        }
    }
}
