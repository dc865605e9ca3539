//! Where the contents of a copy come from.

use std::collections::VecDeque;
use std::sync::Arc;

use spiderweb_protocol::InodeId;
use spiderweb_protocol::fs::{Attr, OpenFlags};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::task::AbortOnDropHandle;

use super::Window;
use crate::client::Client;
use crate::error::Error;
use crate::file::OpenFile;

/// Contents, block by block, in order.
pub(super) trait Blocks {
    /// The next block; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, Error>> + Send;

    /// Whether what was handed out is what the source held at one moment, as far as can be told.
    fn check(&mut self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Contents that come from this machine.
pub(super) struct Local<R> {
    pub(super) source: R,
    pub(super) block: usize,
}

impl<R: AsyncRead + Unpin + Send> Blocks for Local<R> {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut block = Vec::with_capacity(self.block);
        let mut source = (&mut self.source).take(self.block as u64);
        source
            .read_to_end(&mut block)
            .await
            .map_err(Error::local("cannot read the source"))?;
        Ok((!block.is_empty()).then_some(block))
    }

    async fn check(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// The outcome of one read: bytes, and whether the file ended within them.
type Read = Result<(Vec<u8>, bool), Error>;

/// Contents that come from a node. Up to the size the file had when it was opened several blocks are under way;
/// behind it one at a time, until the node says that the file ended.
pub(super) struct Remote {
    client: Client,
    file: Arc<OpenFile>,
    window: Window,
    /// What was known of the file when it was opened.
    pub(super) before: Attr,
    /// Where the next request begins.
    asked: u64,
    /// Where the next block begins.
    pub(super) taken: u64,
    reads: VecDeque<AbortOnDropHandle<Read>>,
    ended: bool,
}

impl Remote {
    pub(super) async fn open(client: &Client, id: InodeId, window: Window) -> Result<Self, Error> {
        let before = client.getattr(id).await?;
        Ok(Self {
            client: client.clone(),
            file: Arc::new(OpenFile::open(client, id, OpenFlags::READ).await?),
            window,
            before,
            asked: 0,
            taken: 0,
            reads: VecDeque::new(),
            ended: false,
        })
    }

    fn ask(&mut self) {
        let len = self.window.block();
        while self.reads.is_empty() || (self.reads.len() < self.window.depth && self.asked < self.before.sz) {
            let (file, offset) = (Arc::clone(&self.file), self.asked);
            let read = tokio::spawn(async move { file.read_at(offset, len).await });
            self.reads.push_back(AbortOnDropHandle::new(read));
            self.asked += u64::from(len);
        }
    }

    /// Gives the handle back. Not needed for correctness: a node times out what is left open.
    pub(super) async fn close(mut self) {
        self.reads.clear();
        if let Some(file) = Arc::into_inner(self.file) {
            let _ = file.close().await;
        }
    }
}

impl Blocks for Remote {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if self.ended {
            return Ok(None);
        }
        self.ask();
        let Some(read) = self.reads.pop_front() else {
            return Ok(None);
        };
        let (data, eof) = read.await.map_err(|_| Error::Task)??;
        self.taken += data.len() as u64;
        self.ended = eof || data.is_empty();
        if self.ended || self.taken != self.asked - self.reads.len() as u64 * u64::from(self.window.block()) {
            // The file ended, or the node sent less than it was asked for: what is under way is for other places.
            self.reads.clear();
            self.asked = self.taken;
        }
        Ok((!data.is_empty()).then_some(data))
    }

    async fn check(&mut self) -> Result<(), Error> {
        let after = self.client.getattr(self.file.id()).await?;
        if (self.taken, self.before.mt) == (after.sz, after.mt) {
            Ok(())
        } else {
            Err(Error::Changing { attempts: 1 })
        }
    }
}
