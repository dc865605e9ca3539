//! The state file of pairing, in use: locked, read once, written on every change.
//!
//! What is in memory counts. A file that goes away or is damaged while the node runs is written again; the one thing
//! taken from it then are credentials that somebody put there for a node that has none.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::file::{self, Contents, StateError, StateFile};
use super::identity::{IdentityFault, Kept, MAX_IDENTITY, parse_identity, render_identity};
use super::lock::{LockError, StateLock};
use crate::pairing::{Identity, Stage};
use crate::tasks::Tasks;

/// What is known of a node's identity, in memory and in its file.
#[derive(Debug)]
pub struct IdentityStore {
    kept: Kept,
    /// The last identity that the hub did not know.
    refused: Option<Identity>,
    file: Arc<Mutex<Locked>>,
    tasks: Tasks,
}

/// The file, and the lock for as long as somebody writes to it.
#[derive(Debug)]
struct Locked {
    file: StateFile,
    _lock: StateLock,
}

/// Why a node cannot use its state file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process uses it, or it cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] StateError),
    /// It is damaged, and nobody said that this node may become a new one.
    #[error("state file {} is damaged: {fault}", path.display())]
    Damaged {
        /// The file, untouched.
        path: PathBuf,
        /// What is wrong with it.
        fault: IdentityFault,
    },
}

impl StoreError {
    /// What the system says, if it is that.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Lock(LockError::Io { reason, .. }) => Some(reason.kind()),
            Self::File(error) => Some(error.kind()),
            Self::Lock(LockError::Held { .. }) | Self::Damaged { .. } => None,
        }
    }
}

impl IdentityStore {
    /// Locks and reads the file; if there is none, the one at `older` once. A damaged one ends the start, or is set
    /// aside if `may_replace_damaged`. Blocks.
    pub(crate) fn open(
        path: &Path,
        older: Option<&Path>,
        may_replace_damaged: bool,
        now_ms: u64,
        tasks: Tasks,
    ) -> Result<Self, StoreError> {
        let path = &file::resolve(path);
        // A folder is told as one, before anything is made beside it.
        let present = file::read_text(path, MAX_IDENTITY)?;
        let lock = StateLock::take(path)?;
        if let (Some(text), false) = (&present, may_replace_damaged) {
            parse_identity(text).map_err(|fault| StoreError::Damaged {
                path: path.to_owned(),
                fault,
            })?;
        }
        let opened = StateFile::open(path, MAX_IDENTITY, now_ms, understand)?;
        if let Some(aside) = opened.set_aside {
            tracing::error!(
                "state file {} is damaged: {}; it is kept as {}, and this node pairs anew. If it was paired before, \
                 its old identity stays with the hub until the lease ends",
                path.display(),
                aside.reason,
                aside.path.display()
            );
        }
        let older = older.filter(|_| present.is_none());
        let inherited = older.and_then(|older| Some((older, file::read_text(older, MAX_IDENTITY).ok()??)));
        let inherited = inherited.and_then(|(older, text)| {
            let kept = parse_identity(&text).ok()?;
            tracing::info!(
                "read the state file {} of an earlier version; from now on it is {}",
                older.display(),
                path.display()
            );
            Some(kept)
        });
        Ok(Self {
            kept: opened.contents.or(inherited).unwrap_or_default(),
            refused: None,
            file: Arc::new(Mutex::new(Locked {
                file: opened.file,
                _lock: lock,
            })),
            tasks,
        })
    }

    /// What is known.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Forgets the identity, which the hub does not know. It is not taken back from a file that could not be written.
    pub async fn forget(&mut self, refused: Identity) {
        self.refused = Some(refused);
        self.keep(Kept::default()).await;
    }

    /// Remembers, and writes it down. A write that fails is reported and tried again with the next change: the node
    /// can do without until it starts again. What was begun is finished, even if the node ends meanwhile.
    pub async fn keep(&mut self, kept: Kept) {
        self.kept = kept;
        let text = render_identity(&self.kept);
        let written = self.with_file(move |file| file.write(text.as_bytes())).await;
        if let Some(Err(error)) = written {
            let reason = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(
                "{error}: {}; the node goes on, but would not know itself after a restart",
                reason.unwrap_or_default()
            );
        }
    }

    /// What is in the file now, if it can be read and is of use.
    pub async fn reread(&self) -> Option<Kept> {
        let text = self.with_file(|file| file::read_text(file.path(), MAX_IDENTITY).ok().flatten());
        let found = parse_identity(&text.await.flatten()?).ok()?;
        let is_refused = match (&found.stage, &self.refused) {
            (Stage::Paired(identity), Some(refused)) => identity.is(refused),
            _ => false,
        };
        (!is_refused).then_some(found)
    }

    /// `None` if the work panicked or the node ends.
    async fn with_file<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut StateFile) -> T + Send + 'static,
    ) -> Option<T> {
        let file = self.file.clone();
        let work = move || work(&mut file.lock().unwrap_or_else(PoisonError::into_inner).file);
        self.tasks.blocking(work).await
    }
}

fn understand(text: &[u8]) -> Contents<Kept> {
    match parse_identity(text) {
        Ok(kept) => Contents {
            value: Some(kept),
            fault: None,
        },
        Err(fault) => Contents {
            value: None,
            fault: Some(fault.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tasks::DiskWork;

    const PAIRED: &str = r#"{"node_id":"node-2","node_secret":"s"}"#;

    fn node_id(store: &IdentityStore) -> Option<String> {
        match &store.kept().stage {
            Stage::Paired(identity) => Some(identity.node_id.to_string()),
            _ => None,
        }
    }

    #[test]
    fn a_damaged_file_ends_the_start_or_is_set_aside_and_never_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        fs::write(&path, "{\"node_id\"").unwrap();
        let open =
            |may_replace| IdentityStore::open(&path, None, may_replace, 7, Tasks::new(DiskWork::OnThreads));
        let error = open(false).unwrap_err();
        assert!(
            error.to_string().ends_with("is damaged: it is cut off"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"node_id\"");
        let store = open(true).unwrap();
        assert_eq!(node_id(&store), None);
        let aside = folder.path().join("state.json.corrupt-7");
        assert_eq!(fs::read_to_string(aside).unwrap(), "{\"node_id\"");
    }

    #[test]
    fn the_hidden_file_of_an_original_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let (path, hidden) = (
            folder.path().join("state.json"),
            folder.path().join(".state.json"),
        );
        fs::write(&hidden, PAIRED).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut store =
            IdentityStore::open(&path, Some(&hidden), false, 1, Tasks::new(DiskWork::OnThreads)).unwrap();
        assert_eq!(node_id(&store).as_deref(), Some("node-2"));
        runtime.block_on(store.keep(store.kept().clone()));
        drop(store);
        fs::write(&hidden, PAIRED.replace("node-2", "node-3")).unwrap();
        let store =
            IdentityStore::open(&path, Some(&hidden), false, 1, Tasks::new(DiskWork::OnThreads)).unwrap();
        assert_eq!(node_id(&store).as_deref(), Some("node-2"));
    }

    #[tokio::test]
    async fn credentials_that_somebody_puts_there_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let mut store = IdentityStore::open(&path, None, false, 1, Tasks::new(DiskWork::OnThreads)).unwrap();
        assert!(store.reread().await.is_none());
        fs::write(&path, PAIRED).unwrap();
        assert!(matches!(store.reread().await.unwrap().stage, Stage::Paired(_)));
        assert_eq!(node_id(&store), None, "it is for the machine to take them");
        store.keep(Kept::default()).await;
        assert!(matches!(store.reread().await.unwrap().stage, Stage::Unpaired));

        let Stage::Paired(identity) = parse_identity(PAIRED.as_bytes()).unwrap().stage else {
            panic!()
        };
        store.forget(identity).await;
        fs::write(&path, PAIRED).unwrap();
        assert!(store.reread().await.is_none(), "the hub does not know it");
        fs::write(&path, PAIRED.replace("node-2", "node-3")).unwrap();
        assert!(store.reread().await.is_some());
    }
}
