//! Moving the contents of files, several requests at a time.
//!
//! A copy appears whole or not at all: it is written under another name beside its target, measured, and renamed.
//! A lost connection costs the requests that were outstanding, not what was copied before; a node that was restarted
//! in between costs as little, because files are opened anew by id.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spiderweb_protocol::fs::{Attr, OpenFlags};
use spiderweb_protocol::limits::MAX_READ;
use spiderweb_protocol::{EntryName, Errno, InodeId};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::client::Client;
use crate::error::Error;
use crate::file::OpenFile;
use crate::view::node_id;

/// How often a file that changes while it is read is read again.
const READINGS: u32 = 3;
/// Other names tried when the partial file's name is taken.
const NAMES: u32 = 4;

/// How much of a file is under way at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Bytes of one request, at most 1 MiB.
    pub block: u32,
    /// Requests outstanding.
    pub depth: usize,
}

impl Default for Window {
    /// Eight times 512 KiB: enough for a gigabit over 30 ms, and four blocks a core are enough for a fast link.
    fn default() -> Self {
        Self {
            block: 512 * 1024,
            depth: 8,
        }
    }
}

impl Window {
    fn block(self) -> u32 {
        self.block.clamp(1, MAX_READ)
    }
}

/// Contents, block by block, in order.
trait Blocks {
    /// The next block; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, Error>> + Send;

    /// Whether what was handed out is what the source held at one moment, as far as can be told.
    fn check(&mut self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Contents that come from this machine.
struct Local<R> {
    source: R,
    block: usize,
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
struct Remote {
    client: Client,
    file: Arc<OpenFile>,
    window: Window,
    before: Attr,
    /// Where the next request begins.
    asked: u64,
    /// Where the next block begins.
    taken: u64,
    reads: VecDeque<AbortOnDropHandle<Read>>,
    ended: bool,
}

impl Remote {
    async fn open(client: &Client, id: InodeId, window: Window) -> Result<Self, Error> {
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
    async fn close(mut self) {
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

/// Writes a file's contents to `sink` until the node says that it ended, and returns their length. `progress` is
/// told the length of every block.
pub async fn fetch(
    client: &Client,
    id: InodeId,
    window: Window,
    sink: &mut (impl AsyncWrite + Unpin),
    progress: impl FnMut(u64),
) -> Result<u64, Error> {
    let mut source = Remote::open(client, id, window).await?;
    drain(&mut source, sink, progress).await?;
    let length = source.taken;
    source.close().await;
    Ok(length)
}

async fn drain(
    source: &mut Remote,
    sink: &mut (impl AsyncWrite + Unpin),
    mut progress: impl FnMut(u64),
) -> Result<(), Error> {
    while let Some(block) = source.next().await? {
        let wrote = sink.write_all(&block).await;
        wrote.map_err(Error::local("cannot write"))?;
        progress(block.len() as u64);
    }
    sink.flush().await.map_err(Error::local("cannot write"))
}

/// Copies a file to `target` on this machine and returns its length.
///
/// What is not a regular file there (a device, a pipe) is written in place; everything else is replaced at once when
/// the copy is complete. A file that changes while it is read is read again, a limited number of times.
pub async fn download(
    client: &Client,
    id: InodeId,
    target: &Path,
    window: Window,
    mut progress: impl FnMut(u64),
) -> Result<u64, Error> {
    let shown = target.display();
    // Through a link the file behind it is replaced, as other tools do.
    let target = tokio::fs::canonicalize(target)
        .await
        .unwrap_or_else(|_| target.to_owned());
    let existing = tokio::fs::metadata(&target).await.ok();
    if existing.as_ref().is_some_and(std::fs::Metadata::is_dir) {
        return Err(Error::IsDirectory.at(&shown));
    }
    if existing.is_some_and(|existing| !existing.is_file()) {
        let file = tokio::fs::OpenOptions::new().write(true).open(&target).await;
        let mut file = file.map_err(Error::local(format!("cannot open {shown}")))?;
        return fetch(client, id, window, &mut file, progress).await;
    }
    for _ in 0..READINGS {
        let mut source = Remote::open(client, id, window).await?;
        let partial = Partial::beside(&target);
        let mut file = partial
            .create(source.before.m)
            .await
            .map_err(Error::local(format!("cannot write {shown}")))?;
        drain(&mut source, &mut file, &mut progress).await?;
        let checked = source.check().await;
        let length = source.taken;
        source.close().await;
        match checked {
            Err(Error::Changing { .. }) => {}
            Err(error) => return Err(error),
            Ok(()) => {
                drop(file);
                let placed = partial.rename(&target).await;
                placed.map_err(Error::local(format!("cannot replace {shown}")))?;
                return Ok(length);
            }
        }
    }
    Err(Error::Changing { attempts: READINGS })
}

/// A file under another name beside its target; removed when it is dropped.
struct Partial {
    path: Option<PathBuf>,
}

impl Partial {
    fn beside(target: &Path) -> Self {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(partial_name(&name));
        Self { path: Some(path) }
    }

    async fn create(&self, mode: u32) -> std::io::Result<tokio::fs::File> {
        let mut options = tokio::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(match mode & 0o777 {
            0 => 0o666,
            bits => bits,
        });
        #[cfg(not(unix))]
        let _ = mode;
        options.open(self.path.as_deref().unwrap_or(Path::new(""))).await
    }

    async fn rename(mut self, target: &Path) -> std::io::Result<()> {
        if let Some(path) = &self.path {
            tokio::fs::rename(path, target).await?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Nobody is left to be told, and it may never have been made.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The name a file has until it is complete: `.name.spiderweb-<random>.part`, cut to what file systems take.
pub fn partial_name(name: &str) -> String {
    const MOST: usize = 200;
    let end = (0..=name.len().min(MOST))
        .rev()
        .find(|end| name.is_char_boundary(*end))
        .unwrap_or(0);
    let name = name.get(..end).unwrap_or_default();
    let random = getrandom::u64().unwrap_or_else(|_| std::process::id().into());
    format!(".{name}.spiderweb-{random:016x}.part")
}

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
        let stored = tokio::select! {
            stored = self.fill(Arc::clone(&file), source, progress) => stored,
            () = self.stop.cancelled() => Err(Error::Stopped),
        };
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

    /// Writes all blocks and checks what arrived.
    async fn fill(
        &self,
        file: Arc<OpenFile>,
        source: &mut impl Blocks,
        mut progress: impl FnMut(u64),
    ) -> Result<u64, Error> {
        // Dropping the set ends the writes that are under way.
        let mut writes = JoinSet::new();
        let mut length = 0;
        while let Some(block) = source.next().await? {
            if writes.len() >= self.window.depth.max(1) {
                written(writes.join_next().await, &mut progress)?;
            }
            let (file, offset) = (Arc::clone(&file), length);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_names_are_hidden_fresh_and_short_enough() {
        assert!(partial_name("a.txt").starts_with(".a.txt.spiderweb-"));
        assert_ne!(partial_name("a"), partial_name("a"));
        for name in ["x".repeat(255), "é".repeat(127), "日".repeat(85)] {
            let partial = partial_name(&name);
            assert!(
                partial.len() <= 255 && EntryName::new(&partial).is_ok(),
                "{partial}"
            );
        }
    }
}
