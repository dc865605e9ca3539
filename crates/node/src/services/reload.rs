//! When manifests are read again (section 12): soon after their files change, and every interval in case that was
//! not noticed. What did not change is not even opened.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use spiderweb_fs::ExportTable;
use tokio::sync::{Notify, mpsc};

use super::{Loader, Services};
use crate::manifest::Sources;
use crate::shared::Service;

/// How long a changed folder must rest before it is read: whoever writes a file is usually done then.
const REST: Duration = Duration::from_millis(50);

/// Reads manifests again, and has served and published what comes of it.
#[derive(Clone)]
pub(crate) struct Reloader {
    services: Arc<Mutex<Services>>,
    loader: Arc<Mutex<Loader>>,
    serving: Arc<Service>,
    /// Told when services came, changed or went.
    reloaded: Arc<Notify>,
}

impl Reloader {
    pub(crate) fn new(services: Arc<Mutex<Services>>, loader: Loader, serving: Arc<Service>) -> Self {
        Self {
            services,
            loader: Arc::new(Mutex::new(loader)),
            serving,
            reloaded: Arc::default(),
        }
    }

    /// The services.
    pub(crate) fn services(&self) -> Arc<Mutex<Services>> {
        self.services.clone()
    }

    /// Resolves when services came, changed or went; also if that was before.
    pub(crate) async fn reloaded(&self) {
        self.reloaded.notified().await;
    }

    /// Reads manifests again whenever they change, until the node stops. What came of a change is told `applied` with the
    /// id of the node.
    pub(crate) async fn watch(self, every: Duration, applied: fn(&str)) {
        let (noticed, mut notices) = mpsc::channel(1);
        let tasks = self.serving.tasks.clone();
        let reloader = self.clone();
        // Somebody may be reading manifests, and the folders may be on a slow disk.
        let watch = move || {
            let sources = reloader.loader().sources().clone();
            watch_files(&sources, noticed)
        };
        let _watcher = tasks.blocking(watch).await;
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick is now, and the manifests were just read.
        tick.tick().await;
        loop {
            tokio::select! {
                () = tasks.stopped().cancelled() => return,
                _ = tick.tick() => {}
                Some(()) = notices.recv() => tokio::time::sleep(REST).await,
            }
            let reloader = self.clone();
            let reload = move || {
                let mut loader = reloader.loader();
                if reloader.reload(&mut loader) {
                    applied(loader.node_id());
                }
            };
            tasks.blocking(reload).await;
        }
    }

    /// Has manifests know the node under this name.
    pub(crate) async fn rename(&self, node_id: String) {
        let reloader = self.clone();
        let rename = move || {
            let mut loader = reloader.loader();
            if loader.rename(node_id) {
                reloader.reload(&mut loader);
            }
        };
        self.serving.tasks.blocking(rename).await;
    }

    fn loader(&self) -> MutexGuard<'_, Loader> {
        self.loader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what changed, and serves what comes of it; says whether that is something else than before. Blocks.
    fn reload(&self, loader: &mut Loader) -> bool {
        if !loader.is_stale() {
            return false;
        }
        let loaded = loader.load();
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let files = match loaded {
            Ok(files) => files,
            Err(fault) => {
                services.tell_once(format!("manifest reload failed: {fault}"));
                return false;
            }
        };
        let (is_changed, has_faults) = services.reload(files);
        loader.await_better(has_faults);
        if !is_changed {
            return false;
        }
        match ExportTable::of_places(services.exports()) {
            Ok(table) => self.serving.offer(table),
            Err(error) => tracing::error!("the exports stay as they were: {error}"),
        }
        services.tell_gone();
        self.reloaded.notify_one();
        true
    }
}

/// Has changes of the files noticed where the system can tell; elsewhere the interval has to do.
fn watch_files(sources: &Sources, noticed: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let notice = move |event: notify::Result<notify::Event>| {
        // Looking at the files is itself an event.
        let is_access = event.is_ok_and(|event| event.kind.is_access());
        if !is_access {
            // A full channel holds a notice already.
            let _ = noticed.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(notice)
        .inspect_err(|error| tracing::debug!("changes of manifests are noticed by interval only: {error}"))
        .ok()?;
    let parents = sources.files.iter().map(|file| match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    });
    for folder in sources.folders.iter().map(PathBuf::as_path).chain(parents) {
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            tracing::debug!(
                "{}: changes are noticed by interval only: {error}",
                folder.display()
            );
        }
    }
    Some(watcher)
}
