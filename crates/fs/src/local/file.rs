//! An open file or directory of a local source.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use spiderweb_protocol::fs::LockKind;

use super::attr::{self, Kind};
use super::shared::Shared;
use crate::{Aftermath, Chunk, FsError, OpenFile, Patience};

pub(super) struct LocalFile {
    pub(super) file: OwnedFd,
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
            Patience::Immediate => self.read_cached(offset, len),
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
                match rustix::io::pwrite(&self.file, rest, offset + written as u64) {
                    Ok(0) => return Err(FsError::NoSpace),
                    Ok(count) => written += count,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Ok((Aftermath::Nothing, attr::stamp(&rustix::fs::fstat(&self.file)?)))
        })
    }

    fn lock(&self, kind: LockKind) -> Result<(), FsError> {
        let operation = match kind {
            LockKind::Shared => FlockOperation::NonBlockingLockShared,
            LockKind::Exclusive => FlockOperation::NonBlockingLockExclusive,
            LockKind::Unlock => FlockOperation::Unlock,
            LockKind::Unknown => return Err(FsError::InvalidLockKind),
        };
        match rustix::fs::flock(&self.file, operation) {
            Ok(()) => {
                self.locked.store(kind != LockKind::Unlock, Ordering::Relaxed);
                Ok(())
            }
            Err(Errno::WOULDBLOCK) => Err(FsError::WouldBlock),
            Err(errno) => Err(errno.into()),
        }
    }

    fn closes_at_once(&self) -> bool {
        // The last descriptor of a removed file frees its blocks; one that was written may be flushed.
        !self.writable
            && !self.locked.load(Ordering::Relaxed)
            && self.shared.answers_at_once()
            && rustix::fs::fstat(&self.file).is_ok_and(|stat| !attr::is_gone(&stat))
    }
}

impl LocalFile {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn read_cached(&self, offset: u64, len: usize) -> Result<Vec<u8>, FsError> {
        use std::cell::RefCell;
        use std::io::IoSliceMut;

        use rustix::io::ReadWriteFlags;

        /// Most bytes read on a thread that serves others: about 30 µs including the encoding. Larger reads are
        /// work for the processor and go where the system shares it fairly.
        const IMMEDIATE_READ: usize = 128 * 1024;

        thread_local! {
            static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        if len > IMMEDIATE_READ || !self.shared.answers_at_once() {
            return Err(FsError::NotNow);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(IMMEDIATE_READ, 0);
            let mut data = Vec::new();
            while data.len() < len {
                let want = scratch.get_mut(..len - data.len()).unwrap_or_default();
                let at = offset + data.len() as u64;
                match rustix::io::preadv2(
                    &self.file,
                    &mut [IoSliceMut::new(want)],
                    at,
                    ReadWriteFlags::NOWAIT,
                ) {
                    Ok(0) => break,
                    Ok(count) => data.extend_from_slice(want.get(..count).unwrap_or_default()),
                    Err(Errno::INTR) => {}
                    Err(_) => return Err(FsError::NotNow),
                }
            }
            Ok(data)
        })
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn read_cached(&self, _offset: u64, _len: usize) -> Result<Vec<u8>, FsError> {
        Err(FsError::NotNow)
    }

    fn read_all(&self, offset: u64, len: usize) -> Result<Vec<u8>, FsError> {
        // A client may ask for a megabyte of a small file; what is not there needs no memory.
        let size = u64::try_from(rustix::fs::fstat(&self.file)?.st_size).unwrap_or(0);
        let expected = size.saturating_sub(offset).min(len as u64) as usize;
        let mut data = Vec::with_capacity(expected);
        while data.len() < len {
            if data.len() == data.capacity() {
                // The file has grown, or is one whose size the system does not say; or this is its end.
                data.reserve_exact((len - data.len()).min(4096));
            }
            let at = offset + data.len() as u64;
            match rustix::io::pread(&self.file, rustix::buffer::spare_capacity(&mut data), at) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        data.truncate(len);
        Ok(data)
    }
}
