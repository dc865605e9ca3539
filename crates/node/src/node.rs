//! A running node.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spiderweb_fs::{
    Export, ExportTable, Invalidations, LocalSource, LocalSourceError, Source as _, TableError, Watcher,
};
use spiderweb_protocol::Secret;
use tokio::net::TcpListener;

use crate::config::{Limits, NodeConfig};
use crate::dispatch::Service;
use crate::listener;
use crate::tasks::Tasks;

/// How often handles that nobody came back for are looked for, in their time of grace.
const EXPIRY_CHECKS: u32 = 24;

/// A node that listens and serves. Dropping it leaves it running until the runtime ends; [`Node::stop`] ends it.
pub struct Node {
    address: SocketAddr,
    tasks: Tasks,
    _watcher: Option<Watcher>,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder cannot be served.
    #[error("export `{name}` cannot be served: {reason}")]
    Export {
        /// The export.
        name: String,
        /// What is wrong with its path.
        reason: LocalSourceError,
    },
    /// The exports do not go together.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        reason: io::Error,
    },
}

impl Node {
    /// Opens the folders, listens and starts to serve. Must be called inside a tokio runtime, best one with
    /// [`Limits::blocking_threads`](crate::Limits::blocking_threads).
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        let mut sources = Vec::new();
        let mut exports = Vec::new();
        for (index, export) in config.exports.iter().enumerate() {
            let source = LocalSource::open(&export.path, index).map_err(|reason| StartError::Export {
                name: export.name.clone(),
                reason,
            })?;
            let source = Arc::new(source);
            sources.push(source.clone());
            exports.push(Export::new(
                &export.name,
                &export.description,
                export.read_only,
                source,
            ));
        }
        let table = ExportTable::new(exports)?;
        let (address, listener) = listen(config.listen).await?;
        let news = Arc::new(Invalidations::new(sources.iter().map(|source| source.root())));
        let watcher = Watcher::start(&sources, news.clone());
        let service = |tasks| Service::new(table, news, config.token, config.limits, tasks);
        Ok(Self::run(address, listener, watcher, service))
    }

    /// Serves any sources, not only folders. Nothing is watched: what changes behind a source's back goes
    /// unannounced.
    pub async fn serve(
        address: SocketAddr,
        exports: ExportTable,
        token: Option<Secret>,
        limits: Limits,
    ) -> Result<Self, StartError> {
        let (address, listener) = listen(address).await?;
        let roots = exports.iter().map(|export| export.source().root());
        let news = Arc::new(Invalidations::new(roots));
        let service = |tasks| Service::new(exports, news, token, limits, tasks);
        Ok(Self::run(address, listener, None, service))
    }

    fn run(
        address: SocketAddr,
        listener: TcpListener,
        watcher: Option<Watcher>,
        service: impl FnOnce(Tasks) -> Service,
    ) -> Self {
        let tasks = Tasks::new();
        let service = Arc::new(service(tasks.clone()));
        tasks.spawn("handle expiry", expire_handles(service.clone()));
        tasks.spawn("listener", listener::serve(listener, service));
        Self {
            address,
            tasks,
            _watcher: watcher,
        }
    }

    /// The address the node listens on, its real port included.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets requests finish and says goodbye to every peer, for at most `grace`. Returns
    /// whether everything ended in time.
    pub async fn stop(self, grace: Duration) -> bool {
        tokio::time::timeout(grace, self.tasks.stop()).await.is_ok()
    }
}

async fn listen(address: SocketAddr) -> Result<(SocketAddr, TcpListener), StartError> {
    let listening = TcpListener::bind(address).await;
    let listening = listening.and_then(|listener| Ok((listener.local_addr()?, listener)));
    listening.map_err(|reason| StartError::Listen { address, reason })
}

async fn expire_handles(service: Arc<Service>) {
    let pause = service.limits.handle_grace / EXPIRY_CHECKS;
    let mut tick = tokio::time::interval(pause.max(Duration::from_millis(10)));
    loop {
        tokio::select! {
            () = service.tasks.stopped().cancelled() => return,
            _ = tick.tick() => {}
        }
        let expired = service.handles.expire(Instant::now());
        if !expired.is_empty() {
            tracing::info!(
                count = expired.len(),
                "closed handles whose client did not come back"
            );
            service.wake_lock_waiters();
            service.tasks.spawn_blocking(move || drop(expired));
        }
    }
}
