//! What a node is started with. Values are checked where they are made, so nothing here can be half right.

mod control;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use spiderweb_protocol::{Dialect, Secret};

pub use self::control::{ControlConfig, Invites, PairMode, TokenFileError, TokenKeeper, TokenSource};
use crate::manifest::Sources;
use spiderweb_daemon::DiskWork;

/// A node's configuration.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Address to listen on; port 0 takes a free one. Without effect in control mode.
    pub listen: SocketAddr,
    /// The hub to serve through, instead of listening.
    pub control: Option<ControlConfig>,
    /// The folders to serve, in the order clients see them.
    pub exports: Vec<ExportConfig>,
    /// The exports are the default one, because none was asked for. It is served only where no service is.
    pub default_export: bool,
    /// The name under which manifests know the node, in place of `{node_id}`.
    pub node_name: String,
    /// The namespace services.
    pub services: ServicesConfig,
    /// What clients must say in hello. `None`: everybody who reaches the address is let in.
    pub token: Option<Secret>,
    /// Bounds on what peers may cost.
    pub limits: Limits,
    /// Where requests wait for a disk.
    pub disk_work: DiskWork,
}

/// Which namespace services a node has, and what they may use.
#[derive(Debug, Clone, Default)]
pub struct ServicesConfig {
    /// The words of their texts.
    pub dialect: Dialect,
    /// Where their manifests are.
    pub manifests: Sources,
    /// Ids of built-in terminals: identifiers, each once.
    pub terminals: Vec<String>,
    /// The service `fs` is published, so no manifest may take its id.
    pub has_fs_service: bool,
    /// How often manifests are looked at besides when their files change; not zero.
    pub reload_every: Duration,
    /// The node's state file, beside which the state of services is kept; nowhere if absent.
    pub state_file: Option<PathBuf>,
    /// The program that plays the helper for libraries: the daemon itself.
    pub helper: PathBuf,
    /// Folder for compiled modules; they are kept in memory only if absent.
    pub module_cache: Option<PathBuf>,
}

/// How often manifests are looked at unless flags say otherwise.
pub const DEFAULT_RELOAD: Duration = Duration::from_secs(2);

/// A folder to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportConfig {
    /// Name, unique within the node and not empty.
    pub name: String,
    /// The folder; may be relative or a link.
    pub path: PathBuf,
    /// What clients are shown as description.
    pub description: String,
    /// Refuse changes.
    pub read_only: bool,
}

/// Bounds on what peers may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time, those in their upgrade included. Further ones are answered with 503.
    pub connections: usize,
    /// Open handles of the whole node; one session may own a quarter.
    pub handles: usize,
    /// How long open handles wait for a client that lost its connection.
    pub handle_grace: Duration,
    /// How long a lock is waited for that is held elsewhere. Shorter than the 15 s after which original clients give up
    /// on any reply (section 8.10).
    pub lock_wait: Duration,
    /// Time from the upgrade to an accepted hello.
    pub hello: Duration,
    /// Connections that may send messages above 16 KiB before their hello at a time. A further one is dropped.
    pub large_greetings: usize,
    /// How long a peer may leave replies unread, without taking a single byte, before it is dropped. Longer than
    /// original clients are known to pause (section 14.4).
    pub unread: Duration,
    /// How long a request may stand still before others of its connection pass it.
    pub overtake_after: Duration,
    /// Threads beyond the one that every session may use, for overtaking requests that wait for a disk.
    pub extra_runners: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            handles: 16_384,
            handle_grace: spiderweb_fs::GRACE,
            lock_wait: Duration::from_secs(13),
            hello: Duration::from_secs(30),
            large_greetings: 16,
            unread: Duration::from_secs(600),
            overtake_after: Duration::from_millis(2),
            extra_runners: 64,
        }
    }
}

impl Limits {
    /// Blocking threads a runtime needs so that no session ever waits for another's disk: one for each
    /// connection, the extra ones, some for drivers, and a few for the node itself. They are started on demand.
    pub fn blocking_threads(&self) -> usize {
        /// Modules that run at a time, of which the runtime lets no more than 224, and starts of programs.
        const DRIVERS: usize = 256;
        self.connections + self.extra_runners + DRIVERS + 16
    }
}
