//! A running hub.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spiderweb_protocol::Secret;
use spiderweb_transport::Link;
use tokio::net::TcpListener;

use crate::audit::Audit;
use crate::config::{Database, HubConfig, TokenConfig};
use crate::listener;
use crate::shared::{Keeper, OpenFailure, Opened, Shared};
use crate::store::{FileStore, OpenError, Store};
use crate::tokens::{TokenError, Tokens};
use spiderweb_daemon::Tasks;

/// Bytes in flight on a link inside this process.
const MEMORY_LINK: usize = 256 * 1024;

/// A hub that listens and serves; clones are the same hub. Dropping it leaves it running until the runtime ends;
/// [`Hub::stop`] ends it.
#[derive(Clone)]
pub struct Hub {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// Why a hub does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// What the database holds cannot be used.
    #[error("the database cannot be used: {0}")]
    Registry(#[from] OpenFailure),
    /// The token file cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// The audit file cannot be used.
    #[error("cannot open the audit file {path}: {reason}", path = path.display())]
    Audit {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        reason: io::Error,
    },
    /// Opening ended in a panic, which was reported on its own.
    #[error("the database could not be opened; please report this")]
    Panicked,
}

/// What operators are told when the hub is up.
struct Notice {
    /// Nothing if everything is forgotten at the end.
    database: Option<PathBuf>,
    token_file: Option<PathBuf>,
    has_operator: bool,
    is_local: bool,
}

impl Notice {
    fn of(database: &Database, tokens: &TokenConfig, listen: SocketAddr) -> Self {
        Self {
            database: match database {
                Database::File(path) => Some(path.clone()),
                Database::Store(_) => None,
            },
            token_file: tokens.file.clone(),
            has_operator: tokens.operator.is_some(),
            is_local: listen.ip().is_loopback(),
        }
    }

    fn log(&self, address: SocketAddr) {
        if let Some(path) = &self.database {
            tracing::info!("Database {}", path.display());
        } else {
            tracing::warn!("nothing is kept: every node has to pair again after a restart");
        }
        if let Some(path) = &self.token_file {
            tracing::info!("Tokens are in {}", path.display());
        }
        if self.has_operator {
            tracing::info!("Nodes that ask to join wait for an operator");
        } else {
            tracing::info!("No operator token: whoever holds the admin token approves nodes");
        }
        if !self.is_local {
            tracing::warn!(
                "tokens travel unencrypted; put a tunnel or a TLS proxy between this hub and others"
            );
        }
        tracing::info!("Hub listening at ws://{address}/");
    }
}

impl Hub {
    /// Opens database and tokens, listens and starts to serve. Must be called inside a tokio runtime.
    pub async fn start(config: HubConfig) -> Result<Self, StartError> {
        let HubConfig {
            listen,
            database,
            tokens,
            terms,
            limits,
            generations,
            audit_file,
            clock,
            mut random,
            disk_work,
        } = config;
        let notice = Notice::of(&database, &tokens, listen);
        let tasks = Tasks::new(disk_work);
        let now_ms = clock.now_ms();
        let opening = tasks.blocking(move || {
            let store: Box<dyn Store> = match database {
                Database::File(path) => Box::new(FileStore::open(&path)?),
                Database::Store(store) => store,
            };
            let tokens = Tokens::open(tokens, &mut random)?;
            let audit = Audit::open(audit_file.as_deref()).map_err(|reason| StartError::Audit {
                path: audit_file.unwrap_or_default(),
                reason,
            })?;
            let keeper = Keeper::open(store, terms, random.clone(), now_ms)?;
            Ok::<_, StartError>(Opened {
                tokens,
                random,
                audit,
                keeper,
            })
        });
        let opened = opening.await.ok_or(StartError::Panicked)??;
        let listening = TcpListener::bind(listen).await;
        let listening = listening.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = listening.map_err(|reason| StartError::Listen {
            address: listen,
            reason,
        })?;
        let shared = Shared::new(tasks, clock, (limits, generations), opened);
        let shared = Arc::new(shared);
        shared
            .tasks
            .spawn("listener", listener::serve(listener, shared.clone()));
        notice.log(address);
        shared.tasks.spawn("sweep", shared.clone().sweep());
        shared.tasks.spawn("audit", shared.clone().write_audit());
        Ok(Self { address, shared })
    }

    /// The address the hub listens on, its real port included.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The token that may do everything.
    pub fn admin_token(&self) -> Secret {
        self.shared.tokens().admin.clone()
    }

    /// The token for nodes.
    pub fn node_token(&self) -> Secret {
        self.shared.tokens().node.clone()
    }

    /// The token for mount clients.
    pub fn user_token(&self) -> Secret {
        self.shared.tokens().user.clone()
    }

    /// Serves a link from its first byte, as if it had been accepted: the upgrade comes first.
    pub fn serve_link(&self, link: Link) {
        let shared = self.shared.clone();
        self.shared
            .tasks
            .spawn("session", listener::connection(link, shared));
    }

    /// A link to this hub inside the process. The caller upgrades it, as it would a TCP connection.
    pub fn connect(&self) -> Link {
        let (ours, theirs) = Link::memory_pair(MEMORY_LINK);
        self.serve_link(ours);
        theirs
    }

    /// Stops accepting and says goodbye to every peer, for at most `grace`. Returns whether everybody ended in time.
    /// Nothing that was acknowledged is lost either way. The database is closed when the last clone is dropped.
    pub async fn stop(&self, grace: Duration) -> bool {
        let stop = async {
            self.shared.tasks.stop().await;
            self.shared.flush_audit().await;
        };
        tokio::time::timeout(grace, stop).await.is_ok()
    }
}
