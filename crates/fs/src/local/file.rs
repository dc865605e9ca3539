//! An open file or directory of a local source.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use spiderweb_protocol::fs::LockKind;

use super::attr::{self, Kind};
use super::disk::{self, Handle};
use super::shared::Shared;
use crate::{Aftermath, Chunk, FsError, OpenFile, Patience};

pub(super) struct LocalFile {
    pub(super) file: Handle,
    pub(super) kind: Kind,
    pub(super) writable: bool,
    pub(super) local: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) locked: AtomicBool,
}

impl OpenFile for LocalFile {
    fn read(&self, offset: u64, len: usize, patience: Patience) -> Result<Chunk, FsError> {
        if self.kind == Kind::Directory {
            return Err(FsError::IsADirectory);
        }
        // No file reaches beyond 2^63−1, so there is nothing to read there.
        if offset
            .checked_add(len as u64)
            .is_none_or(|end| i64::try_from(end).is_err())
        {
            return Ok(Chunk {
                bytes: Vec::new(),
                eof: true,
            });
        }
        let bytes = match patience {
            Patience::Immediate if self.shared.answers_at_once() => {
                disk::read_cached(&self.file, offset, len)
            }
            Patience::Immediate => Err(FsError::NotNow),
            Patience::Blocking => self.read_all(offset, len),
        }?;
        // As the original: a read that ends exactly where the file does has not found out (section 8.7).
        let eof = bytes.len() < len;
        Ok(Chunk { bytes, eof })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<Aftermath, FsError> {
        if offset
            .checked_add(data.len() as u64)
            .is_none_or(|end| i64::try_from(end).is_err())
        {
            return Err(FsError::InvalidArgument);
        }
        self.shared.change(self.local, || {
            let mut written = 0;
            while let Some(rest) = data.get(written..).filter(|rest| !rest.is_empty()) {
                match disk::write_at(&self.file, rest, offset + written as u64)? {
                    0 => return Err(FsError::NoSpace),
                    count => written += count,
                }
            }
            Ok((Aftermath::Nothing, attr::stamp(&disk::stat(&self.file)?)))
        })
    }

    fn lock(&self, kind: LockKind) -> Result<(), FsError> {
        disk::lock(&self.file, kind)?;
        self.locked.store(kind != LockKind::Unlock, Ordering::Relaxed);
        Ok(())
    }

    fn closes_at_once(&self) -> bool {
        // The last descriptor of a removed file frees its blocks; one that was written may be flushed.
        !self.writable
            && !self.locked.load(Ordering::Relaxed)
            && self.shared.answers_at_once()
            && disk::stat(&self.file).is_ok_and(|stat| !attr::is_gone(&stat))
    }
}

impl LocalFile {
    fn read_all(&self, offset: u64, len: usize) -> Result<Vec<u8>, FsError> {
        // A client may ask for a megabyte of a small file; what is not there needs no memory.
        let size = disk::raw::size(&disk::stat(&self.file)?);
        let expected = size.saturating_sub(offset).min(len as u64) as usize;
        let mut data = Vec::with_capacity(expected);
        while data.len() < len {
            if data.len() == data.capacity() {
                // The file has grown, or is one whose size the system does not say; or this is its end.
                data.reserve_exact((len - data.len()).min(4096));
            }
            let at = offset + data.len() as u64;
            if disk::read_at(&self.file, &mut data, at)? == 0 {
                break;
            }
        }
        data.truncate(len);
        Ok(data)
    }
}
