//! From this machine, or from another place on a node, to a node.

use std::sync::Arc;

use spiderweb_protocol::fs::OpenFlags;
use spiderweb_protocol::{EntryName, Errno, InodeId};
use tokio::io::AsyncRead;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::blocks::{Blocks, Local, Remote};
use super::{READINGS, Window, partial_name};
use crate::client::Client;
use crate::error::Error;
use crate::file::OpenFile;
use crate::view::node_id;

/// Other names tried when the partial file's name is taken.
const NAMES: u32 = 4;

/// Replaces or makes a file on a node.
#[derive(Debug)]
pub struct Upload<'a> {
    /// The node.
    pub client: &'a Client,
    /// The directory the file is to be in.
    pub parent: InodeId,
    /// Its name there.
    pub name: &'a EntryName,
    /// Its permission bits, before the node's umask.
    pub mode: u32,
    /// How much is under way at once.
    pub window: Window,
    /// Ends the copy early; what was copied is removed.
    pub stop: &'a CancellationToken,
}

impl Upload<'_> {
    /// Copies `source` to its end and returns its length. `progress` is told the length of every block.
    pub async fn run(
        &self,
        source: impl AsyncRead + Unpin + Send,
        progress: impl FnMut(u64),
    ) -> Result<u64, Error> {
        let block = self.window.block() as usize;
        self.store(&mut Local { source, block }, progress).await
    }

    async fn store(&self, source: &mut impl Blocks, progress: impl FnMut(u64)) -> Result<u64, Error> {
        let (partial, file) = self.create().await?;
        let mut writes = JoinSet::new();
        let stored = tokio::select! {
            stored = self.fill(&file, &mut writes, source, progress) => stored,
            () = self.stop.cancelled() => Err(Error::Stopped),
        };
        // What is still under way after a failure holds the file; left open, it would keep its space on the node.
        writes.shutdown().await;
        if let Some(file) = Arc::into_inner(file) {
            // The contents are measured already; a handle that cannot be closed is timed out by the node.
            let _ = file.close().await;
        }
        let placed = match stored {
            Ok(length) => self
                .client
                .rename(self.parent, &partial, self.parent, self.name)
                .await
                .map(|()| length),
            Err(error) => Err(error),
        };
        if placed.is_err() {
            // The first failure is the one to tell.
            let _ = self.client.unlink(self.parent, &partial).await;
        }
        placed
    }

    async fn create(&self) -> Result<(EntryName, Arc<OpenFile>), Error> {
        let mut attempts = 1;
        loop {
            let partial = EntryName::new(&partial_name(self.name.as_str()))?;
            let flags = OpenFlags::WRITE;
            match self.client.create(self.parent, &partial, self.mode, flags).await {
                Ok((attr, handle)) => {
                    let file = OpenFile::adopt(self.client, node_id(attr.id)?, flags, handle);
                    return Ok((partial, Arc::new(file)));
                }
                Err(Error::Uncertain { .. }) if attempts < NAMES => {
                    // With a random name it was us.
                    let _ = self.client.unlink(self.parent, &partial).await;
                }
                Err(error) if error.is(Errno::EEXIST) && attempts < NAMES => {}
                Err(error) => return Err(error),
            }
            attempts += 1;
        }
    }

    /// Writes all blocks and checks what arrived. After a failure some may still be under way.
    async fn fill(
        &self,
        file: &Arc<OpenFile>,
        writes: &mut JoinSet<Result<u64, Error>>,
        source: &mut impl Blocks,
        mut progress: impl FnMut(u64),
    ) -> Result<u64, Error> {
        let mut length = 0;
        while let Some(block) = source.next().await? {
            if writes.len() >= self.window.depth.max(1) {
                written(writes.join_next().await, &mut progress)?;
            }
            let (file, offset) = (Arc::clone(file), length);
            length += block.len() as u64;
            writes.spawn(async move { file.write_at(offset, &block).await.map(|()| block.len() as u64) });
        }
        while !writes.is_empty() {
            written(writes.join_next().await, &mut progress)?;
        }
        let found = self.client.getattr(file.id()).await?.sz;
        if found != length {
            return Err(Error::Length {
                expected: length,
                found,
            });
        }
        source.check().await?;
        Ok(length)
    }
}

fn written(
    result: Option<Result<Result<u64, Error>, tokio::task::JoinError>>,
    progress: &mut impl FnMut(u64),
) -> Result<(), Error> {
    if let Some(result) = result {
        progress(result.map_err(|_| Error::Task)??);
    }
    Ok(())
}

/// Copies a file of a node to another place, through this machine: the protocol has no copying of its own. The
/// source may be on another node than the target.
pub async fn copy_remote(
    source: &Client,
    id: InodeId,
    upload: &Upload<'_>,
    mut progress: impl FnMut(u64),
) -> Result<u64, Error> {
    for _ in 0..READINGS {
        let mut contents = Remote::open(source, id, upload.window).await?;
        let stored = upload.store(&mut contents, &mut progress).await;
        contents.close().await;
        match stored {
            Err(Error::Changing { .. }) => {}
            result => return result,
        }
    }
    Err(Error::Changing { attempts: READINGS })
}
