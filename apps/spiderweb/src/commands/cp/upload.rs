//! From this machine to the node.

use std::path::{Path, PathBuf};

use spiderweb_client::{Client, Error, RemotePath, Upload};
use spiderweb_protocol::{EntryName, Errno, InodeId};

use super::{Copier, entry_name};
use crate::commands::put::permissions;
use crate::failure::{Doing as _, Failure};
use crate::progress;
use crate::remote::Remote;

/// A local directory whose contents go into a directory of the node.
struct Pair {
    local: PathBuf,
    remote: InodeId,
    path: RemotePath,
}

impl Copier {
    pub(super) async fn upload(&mut self, source: &Path, target: &RemotePath) -> Result<(), Failure> {
        let remote = self.reach.to(target).await?;
        let metadata = tokio::fs::metadata(source).await;
        let metadata = metadata.map_err(|error| Failure::local(cannot_read(source), error))?;
        if metadata.is_file() && self.files.is_empty() {
            progress::expect(&self.bar, metadata.len());
        }
        if !metadata.is_dir() {
            let parent = remote.view.parent(&remote.client, target).await;
            let (parent, name) = parent.doing("copy to", target)?;
            let (parent, name) = (parent.id, name.clone());
            return self
                .upload_file(&remote, source.to_owned(), parent, name, target.clone())
                .await;
        }
        self.needs_recursion(&source.display())?;
        let found = remote.view.find(&remote.client, target).await;
        let directory = match found.doing("copy to", target)? {
            Some(found) if found.is_directory() => found.id,
            _ => {
                let parent = remote.view.parent(&remote.client, target).await;
                let (parent, name) = parent.doing("copy to", target)?;
                let (parent, name) = (parent.id, name.clone());
                self.remote_directory(&remote, parent, &name)
                    .await
                    .doing("make the directory", target)?
            }
        };
        let mut waiting = vec![Pair {
            local: source.to_owned(),
            remote: directory,
            path: target.clone(),
        }];
        while let Some(pair) = waiting.pop() {
            if let Err(failure) = self.upload_directory(&remote, &pair, &mut waiting).await {
                self.report(&failure);
            }
        }
        Ok(())
    }

    async fn upload_directory(
        &mut self,
        remote: &Remote,
        pair: &Pair,
        waiting: &mut Vec<Pair>,
    ) -> Result<(), Failure> {
        let cannot = |error| Failure::local(cannot_read(&pair.local), error);
        let mut entries = tokio::fs::read_dir(&pair.local).await.map_err(cannot)?;
        while let Some(entry) = entries.next_entry().await.map_err(cannot)? {
            if let Err(failure) = self.upload_entry(remote, pair, &entry, waiting).await {
                self.report(&failure);
            }
        }
        Ok(())
    }

    async fn upload_entry(
        &mut self,
        node: &Remote,
        pair: &Pair,
        entry: &tokio::fs::DirEntry,
        waiting: &mut Vec<Pair>,
    ) -> Result<(), Failure> {
        let local = entry.path();
        let name = entry_name(&local)?;
        let path = pair.path.join(name.clone());
        let kind = entry.file_type().await;
        let kind = kind.map_err(|error| Failure::local(cannot_read(&local), error))?;
        if kind.is_dir() {
            let remote = self.remote_directory(node, pair.remote, &name).await;
            let remote = remote.doing("make the directory", &path)?;
            waiting.push(Pair { local, remote, path });
            return Ok(());
        }
        if kind.is_symlink() {
            return self.upload_link(node, &local, pair.remote, &name, &path).await;
        }
        if kind.is_file() {
            return self.upload_file(node, local, pair.remote, name, path).await;
        }
        Err(Failure::message(format!(
            "{} is no file, directory or link and was left out",
            local.display()
        )))
    }

    async fn upload_file(
        &mut self,
        remote: &Remote,
        source: PathBuf,
        parent: InodeId,
        name: EntryName,
        path: RemotePath,
    ) -> Result<(), Failure> {
        self.room().await;
        let (client, window) = (remote.client.clone(), self.window);
        let (stop, bar) = (self.stop.clone(), self.bar.clone());
        self.files.spawn(async move {
            let cannot = |error| Failure::local(cannot_read(&source), error);
            let file = tokio::fs::File::open(&source).await.map_err(cannot)?;
            let mode = permissions(&file.metadata().await.map_err(cannot)?);
            let upload = Upload {
                client: &client,
                parent,
                name: &name,
                mode,
                window,
                stop: &stop,
            };
            upload
                .run(file, |bytes| bar.inc(bytes))
                .await
                .doing("copy to", &path)
        });
        Ok(())
    }

    async fn upload_link(
        &mut self,
        remote: &Remote,
        source: &Path,
        parent: InodeId,
        name: &EntryName,
        path: &RemotePath,
    ) -> Result<(), Failure> {
        let target = tokio::fs::read_link(source).await;
        let target = target.map_err(|error| Failure::local(cannot_read(source), error))?;
        let Some(target) = target.to_str() else {
            return Err(Failure::message(format!(
                "cannot copy the link {}: its target is not UTF-8",
                source.display()
            )));
        };
        link(&remote.client, parent, name, target)
            .await
            .doing("make the link", path)?;
        self.counts.files += 1;
        Ok(())
    }
}

/// Makes a link, replacing a file or link of that name.
async fn link(client: &Client, parent: InodeId, name: &EntryName, target: &str) -> Result<(), Error> {
    match client.symlink(parent, name, target).await {
        Err(error) if error.errno() == Some(Errno::EEXIST) => {
            client.unlink(parent, name).await?;
            client.symlink(parent, name, target).await
        }
        result => result,
    }
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}
