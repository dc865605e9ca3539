//! An open file of a projected tree.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use spiderweb_protocol::fs::LockKind;

use super::Shared;
use super::layout::{Kind, Local};
use crate::source::{Aftermath, Chunk};
use crate::{FsError, OpenFile, Patience};

/// A handle on one file.
///
/// A client reads a long text piece by piece while the service goes on, so a handle shows the text as it was when
/// its beginning was read. What clients wrote is read as it is.
pub(super) struct NamespaceFile {
    shared: Arc<Shared>,
    file: Local,
    writer: u64,
    view: Mutex<Option<Bytes>>,
}

impl NamespaceFile {
    pub(super) fn new(shared: Arc<Shared>, file: Local, writer: u64) -> Self {
        shared.tree().opened(file);
        Self {
            shared,
            file,
            writer,
            view: Mutex::default(),
        }
    }

    fn check_known(&self) -> Result<(), FsError> {
        if self.shared.is_retired.load(Ordering::Relaxed) {
            return Err(FsError::UnknownHandle);
        }
        Ok(())
    }

    fn is_stored(&self) -> bool {
        self.shared
            .tree()
            .node(self.file)
            .is_ok_and(|node| matches!(node.kind, Kind::Stored | Kind::Config))
    }

    fn text(&self, offset: u64) -> Result<Bytes, FsError> {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = view.as_ref().filter(|_| offset > 0 && !self.is_stored()) {
            return Ok(text.clone());
        }
        let text = self.shared.text(self.file)?;
        *view = Some(text.clone());
        Ok(text)
    }
}

impl Drop for NamespaceFile {
    fn drop(&mut self) {
        self.shared.tree().closed(self.file);
    }
}

impl OpenFile for NamespaceFile {
    fn read(&self, offset: u64, len: usize, _patience: Patience) -> Result<Chunk, FsError> {
        self.check_known()?;
        let text = self.text(offset)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
        let end = start.saturating_add(len).min(text.len());
        Ok(Chunk {
            bytes: text.get(start..end).unwrap_or_default().to_vec(),
            eof: end == text.len(),
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<Aftermath, FsError> {
        self.check_known()?;
        self.shared.write(self.file, offset, data, self.writer)
    }

    fn lock(&self, _kind: LockKind) -> Result<(), FsError> {
        Err(FsError::NotImplemented)
    }

    fn closes_at_once(&self) -> bool {
        true
    }
}
