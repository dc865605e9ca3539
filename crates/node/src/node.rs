//! A running node.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use spiderweb_fs::{Export, ExportTable, Invalidations, LocalSource, LocalSourceError, TableError, Watcher};
use spiderweb_protocol::Secret;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::config::{ControlConfig, ExportConfig, Limits, NodeConfig, PairMode};
use crate::control::Control;
use crate::listener;
use crate::manifest::Sources;
use crate::pairing::Stage;
use crate::services::{ManifestFaults, Reloader, Services, now_ms};
use crate::shared::Service;
use crate::state::{IdentityStore, StoreError};
use spiderweb_daemon::{DiskWork, Tasks};

/// How often handles that nobody came back for are looked for, in their time of grace.
const EXPIRY_CHECKS: u32 = 24;

/// A node that listens and serves. Dropping it leaves it running until the runtime ends; [`Node::stop`] ends it.
pub struct Node {
    address: Option<SocketAddr>,
    service: Arc<Service>,
    services: Option<Arc<Mutex<Services>>>,
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
    /// The namespace services cannot be set up.
    #[error(transparent)]
    Services(ManifestFaults),
    /// The node's identity cannot be kept.
    #[error(transparent)]
    State(#[from] StoreError),
    /// There is nothing to pair with.
    #[error("this node is not paired, and there is no invite to pair it with")]
    NoInvite,
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
        let disk_work = config.disk_work;
        let mut sources = Vec::new();
        let mut folders = Vec::new();
        if !config.default_export {
            for (index, export) in config.exports.iter().enumerate() {
                folders.push(open_folder(export, index, disk_work, &mut sources)?);
            }
        }
        let tasks = Tasks::new(disk_work);
        let control = match config.control {
            Some(control) => Some(open_identity(control, &tasks).await?),
            None => None,
        };
        let saved_id = control.as_ref().and_then(|(_, store)| match &store.kept().stage {
            Stage::Paired(identity) => Some(identity.node_id.to_string()),
            _ => None,
        });
        let news = Arc::new(Invalidations::new([]));
        let (has_manifests, every) = (
            config.services.manifests != Sources::default(),
            config.services.reload_every,
        );
        let set_up = {
            let (news, tasks) = (news.clone(), tasks.clone());
            let (services, name) = (config.services, saved_id.unwrap_or(config.node_name));
            move || Services::start(services, name, folders, news, &tasks)
        };
        let (mut services, loader) = tasks
            .blocking(set_up)
            .await
            .ok_or_else(|| StartError::Services(ManifestFaults { faults: Vec::new() }))?
            .map_err(StartError::Services)?;
        if config.default_export && services.is_empty() {
            for (index, export) in config.exports.iter().enumerate() {
                tracing::info!(
                    "No exports configured via CLI; using default export name='{}' path='{}' rw",
                    export.name,
                    export.path.display()
                );
                services.add_folder(open_folder(export, index, disk_work, &mut sources)?);
            }
        }
        let table = ExportTable::of_places(services.exports())?;
        let door = match control {
            Some(control) => Door::Tunnel(Box::new(control), config.token.clone()),
            None => Door::Listener(listen(config.listen).await?),
        };
        news.set_roots(table.iter().map(|export| export.source().root()));
        let watcher = match disk_work {
            DiskWork::OnThreads => Watcher::start(&sources, &news),
            // It has a thread of its own, and what that sees depends on when it runs.
            DiskWork::InTurn => None,
        };
        let service = Service::new(table, news, config.token, config.limits, tasks);
        let mut node = Self::run(watcher, service);
        let services = Arc::new(Mutex::new(services));
        let reloader = Reloader::new(services.clone(), loader, node.service.clone());
        if has_manifests {
            let applied: fn(&str) = match door {
                Door::Listener(_) => |_| {},
                Door::Tunnel(..) => {
                    |node_id| tracing::info!("control tunnel: applied manifest hot-reload for node {node_id}")
                }
            };
            let watch = reloader.clone().watch(every, applied);
            node.service.tasks.spawn("manifest reload", watch);
        }
        match door {
            Door::Listener(listening) => node.listen(listening),
            Door::Tunnel(control, token) => {
                let (config, store) = *control;
                let control = Control {
                    config,
                    store,
                    service: node.service.clone(),
                    reloader,
                    token,
                };
                node.service.tasks.spawn("control", control.run());
            }
        }
        node.services = Some(services);
        Ok(node)
    }

    /// Serves any sources, not only folders. Nothing is watched: what changes behind a source's back goes
    /// unannounced.
    pub async fn serve(
        address: SocketAddr,
        exports: ExportTable,
        token: Option<Secret>,
        limits: Limits,
    ) -> Result<Self, StartError> {
        let listening = listen(address).await?;
        let roots = exports.iter().map(|export| export.source().root());
        let news = Arc::new(Invalidations::new(roots));
        let service = Service::new(exports, news, token, limits, Tasks::new(DiskWork::OnThreads));
        let mut node = Self::run(None, service);
        node.listen(listening);
        Ok(node)
    }

    fn run(watcher: Option<Watcher>, service: Service) -> Self {
        let service = Arc::new(service);
        service
            .tasks
            .spawn("handle expiry", expire_handles(service.clone()));
        Self {
            address: None,
            service,
            services: None,
            _watcher: watcher,
        }
    }

    fn listen(&mut self, (address, listener): (SocketAddr, TcpListener)) {
        self.address = Some(address);
        let serve = listener::serve(listener, self.service.clone());
        self.service.tasks.spawn("listener", serve);
    }

    /// The address the node listens on, its real port included; none in control mode.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Stops accepting, lets requests finish and says goodbye to every peer, for at most `grace`; drivers that still
    /// run after half of it are ended. Returns whether everything ended in time.
    pub async fn stop(self, grace: Duration) -> bool {
        let tasks = &self.service.tasks;
        if tokio::time::timeout(grace / 2, tasks.stop()).await.is_ok() {
            return true;
        }
        if let Some(services) = &self.services {
            let services = services.lock().unwrap_or_else(PoisonError::into_inner).handles();
            for service in services {
                service.stop();
            }
        }
        tokio::time::timeout(grace / 2, tasks.stop()).await.is_ok()
    }
}

fn open_folder(
    export: &ExportConfig,
    index: usize,
    disk_work: DiskWork,
    sources: &mut Vec<Arc<LocalSource>>,
) -> Result<Export, StartError> {
    let source = match disk_work {
        DiskWork::OnThreads => LocalSource::open(&export.path, index),
        // What the system has in memory just now would decide which requests are answered at once, and so their order.
        DiskWork::InTurn => LocalSource::open_plain(&export.path, index),
    };
    let source = source.map_err(|reason| StartError::Export {
        name: export.name.clone(),
        reason,
    })?;
    let source = Arc::new(source);
    sources.push(source.clone());
    Ok(Export::new(
        &export.name,
        &export.description,
        export.read_only,
        source,
    ))
}

/// How peers come in.
enum Door {
    Listener((SocketAddr, TcpListener)),
    Tunnel(Box<(ControlConfig, IdentityStore)>, Option<Secret>),
}

/// Opens the state file, and checks that the node is or can become known to its hub.
async fn open_identity(
    config: ControlConfig,
    tasks: &Tasks,
) -> Result<(ControlConfig, IdentityStore), StartError> {
    let (path, older) = (config.state_file.clone(), config.older_state_file.clone());
    let may_replace = config.may_replace_damaged_state;
    let writers = tasks.clone();
    let open = move || IdentityStore::open(&path, older.as_deref(), may_replace, now_ms(), writers);
    // Work that panics has said so.
    let store = tasks.blocking(open).await.ok_or(StartError::NoInvite)??;
    let is_paired = matches!(store.kept().stage, Stage::Paired(_));
    if config.pair_mode == PairMode::Invite && config.invites.is_empty() && !is_paired {
        return Err(StartError::NoInvite);
    }
    Ok((config, store))
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
        let expired = service.handles.expire(Instant::now().into_std());
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
