//! A store that forgets when the process ends, and can be told to fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Change, Store, StoreError};

/// Texts in memory. A clone is the same store, so a test can keep one across a restart.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    texts: BTreeMap<String, String>,
    fails: bool,
    commits: usize,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on commits fail, or work again.
    pub fn set_failing(&self, fails: bool) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).fails = fails;
    }

    /// How many commits there were.
    pub fn commits(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).commits
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Vec<(String, String)>, StoreError> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(inner.texts.clone().into_iter().collect())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.fails {
            return Err(StoreError {
                what: "written",
                reason: "told to fail".to_owned(),
            });
        }
        inner.commits += 1;
        for change in changes {
            match change {
                Change::Put { key, text } => inner.texts.insert(key.clone(), text.clone()),
                Change::Remove { key } => inner.texts.remove(key),
            };
        }
        Ok(())
    }
}
