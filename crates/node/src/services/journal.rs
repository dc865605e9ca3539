//! The state of services in a file (section 11), written before anything that it holds is acknowledged.
//!
//! Whoever waits for its change to be stored takes the pen in turn: the first one writes everything there is, and
//! those behind it find that theirs is on the disk already. So a burst of changes costs two writes, and while
//! nothing changes nothing runs.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spiderweb_daemon::with_causes;
use spiderweb_protocol::{Dialect, ServiceId};
use spiderweb_runtime::{BoxFuture, Journal, Saved};

use crate::state::{self, Contents, MAX_DOCUMENT, StateFile};

/// Keeps the state of every service of a node in one file.
#[derive(Clone)]
pub(super) struct StateJournal(Arc<Shared>);

struct Shared {
    dialect: Dialect,
    kept: Mutex<Kept>,
    pen: tokio::sync::Mutex<Pen>,
}

#[derive(Default)]
struct Kept {
    services: Vec<(ServiceId, Saved)>,
    /// Counts changes.
    version: u64,
}

struct Pen {
    file: Arc<Mutex<StateFile>>,
    /// The version on the disk.
    stored: u64,
}

impl StateJournal {
    /// Opens the file and gives what it holds; what cannot be used is set aside and reported. `None`, with a report,
    /// if there is a file that cannot even be read: it is not ours to replace.
    pub(super) fn open(
        path: &Path,
        dialect: Dialect,
        now_ms: u64,
    ) -> Option<(Self, Vec<(ServiceId, Saved)>)> {
        let understand = |text: &[u8]| {
            let restored = state::parse(text);
            Contents {
                value: Some(restored.services),
                fault: restored.fault,
            }
        };
        let opened = StateFile::open(path, MAX_DOCUMENT, now_ms, understand)
            .inspect_err(|error| {
                let error = with_causes(error);
                tracing::warn!("{error}; what happens to services is not kept");
            })
            .ok()?;
        if let Some(aside) = opened.set_aside {
            tracing::warn!(
                "control tunnel: failed loading runtime state from {}: {}; the file is kept as {}",
                path.display(),
                aside.reason,
                aside.path.display()
            );
        }
        let services = opened.contents.unwrap_or_default();
        let shared = Shared {
            dialect,
            kept: Mutex::new(Kept {
                services: services.clone(),
                version: 0,
            }),
            pen: tokio::sync::Mutex::new(Pen {
                file: Arc::new(Mutex::new(opened.file)),
                stored: 0,
            }),
        };
        Some((Self(Arc::new(shared)), services))
    }

    /// Has the file hold these services and no others, in this order. What is known of one already counts more than
    /// what is given, which may have been overtaken.
    pub(super) fn arrange(&self, services: Vec<(ServiceId, Saved)>) -> BoxFuture<()> {
        self.change(|kept| {
            let mut known: HashMap<ServiceId, Saved> = kept.services.drain(..).collect();
            let services = services.into_iter();
            kept.services = services
                .map(|(id, fresh)| {
                    let saved = known.remove(&id).unwrap_or(fresh);
                    (id, saved)
                })
                .collect();
        })
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) -> BoxFuture<()> {
        let mut kept = self.0.kept();
        change(&mut kept);
        kept.version += 1;
        let version = kept.version;
        drop(kept);
        let shared = self.0.clone();
        Box::pin(async move { shared.store(version).await })
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once `version` or a later one is on the disk, or could not be brought there.
    async fn store(&self, version: u64) {
        let mut pen = self.pen.lock().await;
        if pen.stored >= version {
            return;
        }
        let (services, newest) = {
            let kept = self.kept();
            (kept.services.clone(), kept.version)
        };
        let (file, dialect) = (pen.file.clone(), self.dialect);
        let write = move || {
            let text = state::render(dialect, &services);
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write(text.as_bytes())
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!("{}; it is tried again with the next change", with_causes(&error));
            }
            // The node ends, or the write panicked and said so.
            Err(_) => return,
        }
        pen.stored = newest;
    }
}

impl Journal for StateJournal {
    fn record(&self, service: &ServiceId, saved: Saved) -> BoxFuture<()> {
        self.change(|kept| {
            // A service that is no longer there leaves nothing behind.
            if let Some((_, last)) = kept.services.iter_mut().find(|(id, _)| id == service) {
                *last = saved;
            }
        })
    }
}
