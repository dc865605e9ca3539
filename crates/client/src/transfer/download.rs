//! From a node to this machine.

use std::path::{Path, PathBuf};

use spiderweb_protocol::InodeId;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::blocks::{Blocks as _, Remote};
use super::{READINGS, Window, partial_name};
use crate::client::Client;
use crate::error::Error;

/// Writes a file's contents to `sink` until the node says that it ended, and returns their length. `progress` is
/// told the length of every block.
pub async fn fetch(
    client: &Client,
    id: InodeId,
    window: Window,
    sink: &mut (impl AsyncWrite + Unpin),
    progress: impl FnMut(u64),
) -> Result<u64, Error> {
    fetch_into(client, id, window, (sink, "cannot write"), progress).await
}

/// The same; the text says what failed when writing to the sink does.
async fn fetch_into(
    client: &Client,
    id: InodeId,
    window: Window,
    (sink, cannot): (&mut (impl AsyncWrite + Unpin), &str),
    progress: impl FnMut(u64),
) -> Result<u64, Error> {
    let mut source = Remote::open(client, id, window).await?;
    drain(&mut source, sink, cannot, progress).await?;
    let length = source.taken;
    source.close().await;
    Ok(length)
}

async fn drain(
    source: &mut Remote,
    sink: &mut (impl AsyncWrite + Unpin),
    cannot: &str,
    mut progress: impl FnMut(u64),
) -> Result<(), Error> {
    while let Some(block) = source.next().await? {
        let wrote = sink.write_all(&block).await;
        wrote.map_err(Error::local(cannot))?;
        progress(block.len() as u64);
    }
    sink.flush().await.map_err(Error::local(cannot))
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
    let cannot_write = format!("cannot write {shown}");
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
        return fetch_into(client, id, window, (&mut file, &cannot_write), progress).await;
    }
    for _ in 0..READINGS {
        let mut source = Remote::open(client, id, window).await?;
        let partial = Partial::beside(&target);
        let mut file = partial
            .create(source.before.m)
            .await
            .map_err(Error::local(&cannot_write))?;
        drain(&mut source, &mut file, &cannot_write, &mut progress).await?;
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
