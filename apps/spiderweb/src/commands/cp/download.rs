//! From the node to this machine.

use std::path::{Path, PathBuf};

use spiderweb_client::{Error, RemotePath, Walk, download};
use spiderweb_protocol::fs::{Attr, FileKind};
use spiderweb_protocol::{EntryName, InodeId};

use super::{Copier, remote_below};
use crate::failure::{Doing as _, Failure};
use crate::progress;
use crate::remote::Remote;

impl Copier {
    pub(super) async fn download(&mut self, source: &RemotePath, target: &Path) -> Result<(), Failure> {
        let remote = self.reach.to(source).await?;
        let found = remote.view.resolve(&remote.client, source).await;
        let found = found.doing("copy", source)?;
        if !found.is_directory() {
            if self.files.is_empty() {
                progress::expect(&self.bar, found.attr.sz);
            }
            return self
                .download_file(&remote, found.id, source.clone(), target.to_owned())
                .await;
        }
        self.needs_recursion(source)?;
        can_hold(target).await?;
        let steps = remote_below(Walk::of(&remote.client, source.clone(), found.id)).await;
        self.local_directory(target).await?;
        for step in steps {
            let copied = match step {
                Ok(step) => {
                    let names = step.path.names().get(source.names().len()..).unwrap_or_default();
                    match local_path(target, names) {
                        Ok(local) => self.download_entry(&remote, step.path, &step.attr, local).await,
                        Err(failure) => Err(failure),
                    }
                }
                Err(error) => Err(error).doing("copy", source),
            };
            if let Err(failure) = copied {
                self.report(&failure);
            }
        }
        Ok(())
    }

    async fn download_entry(
        &mut self,
        remote: &Remote,
        path: RemotePath,
        attr: &Attr,
        local: PathBuf,
    ) -> Result<(), Failure> {
        if attr.kind() == FileKind::Directory {
            return self.local_directory(&local).await;
        }
        regular(attr).doing("copy", &path)?;
        match InodeId::new(attr.id) {
            Some(id) => self.download_file(remote, id, path, local).await,
            None => Ok(()),
        }
    }

    async fn local_directory(&mut self, path: &Path) -> Result<(), Failure> {
        match tokio::fs::create_dir(path).await {
            Ok(()) => self.counts.directories += 1,
            Err(_) if path.is_dir() => {}
            Err(error) => return Err(cannot_make(path, error)),
        }
        Ok(())
    }

    async fn download_file(
        &mut self,
        remote: &Remote,
        id: InodeId,
        path: RemotePath,
        target: PathBuf,
    ) -> Result<(), Failure> {
        self.room().await;
        let (client, window) = (remote.client.clone(), self.window);
        let (stop, bar) = (self.stop.clone(), self.bar.clone());
        self.files.spawn(async move {
            // A dropped download removes its partial file.
            let copied = tokio::select! {
                copied = download(&client, id, &target, window, |bytes| bar.inc(bytes)) => copied,
                () = stop.cancelled() => Err(Error::Stopped),
            };
            copied.doing("copy", &path)
        });
        Ok(())
    }
}

/// Whether a directory is at `path` or can be made there, as far as can be told without making it: before a large tree
/// is listed for nothing.
async fn can_hold(path: &Path) -> Result<(), Failure> {
    let above = match path.parent() {
        Some(above) if !path.is_dir() && !above.as_os_str().is_empty() => above,
        _ => return Ok(()),
    };
    let found = tokio::fs::metadata(above).await.map(drop);
    found.map_err(|error| cannot_make(path, error))
}

fn cannot_make(path: &Path, error: std::io::Error) -> Failure {
    Failure::local(format!("cannot make the directory {}", path.display()), error)
}

/// Nodes open nothing but regular files; the mode tells before they are asked. No type bits count as regular.
pub(super) fn regular(attr: &Attr) -> Result<(), Error> {
    const TYPE: u32 = 0o170_000;
    const REGULAR: u32 = 0o100_000;
    match attr.m & TYPE {
        0 | REGULAR => Ok(()),
        _ => Err(Error::NotRegular),
    }
}

/// Where something goes that has these names on the node. Names that mean something else on this machine could lead
/// anywhere.
pub(super) fn local_path(target: &Path, names: &[EntryName]) -> Result<PathBuf, Failure> {
    let mut path = target.to_owned();
    for name in names {
        if cfg!(windows) && !name.is_literal_on_windows() {
            return Err(Failure::message(format!(
                "cannot copy {name}: Windows has no files of that name"
            )));
        }
        path.push(name.as_str());
    }
    Ok(path)
}
