//! From this machine to the node.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use spiderweb_client::{RemotePath, Upload, replace_link};
use spiderweb_protocol::{EntryName, InodeId};

use super::Copier;
use super::local::{self, Entry, Kind, cannot_read};
use crate::commands::put::permissions;
use crate::failure::{Doing as _, Failure};
use crate::progress;
use crate::remote::Remote;

impl Copier {
    pub(super) async fn upload(&mut self, source: &Path, target: &RemotePath) -> Result<(), Failure> {
        let remote = self.reach.to(target).await?;
        let metadata = tokio::fs::metadata(source).await;
        let metadata = metadata.map_err(|error| Failure::local(cannot_read(source), error))?;
        if metadata.is_file() && self.files.is_empty() {
            progress::expect(&self.bar, metadata.len());
        }
        if !metadata.is_dir() {
            let parent = remote.view.parent_of_file(&remote.client, target).await;
            let (parent, name) = parent.doing("copy to", target)?;
            let (parent, name) = (parent.id, name.clone());
            return self
                .upload_file(&remote, source.to_owned(), parent, name, target.clone())
                .await;
        }
        self.needs_recursion(&source.display())?;
        let found = remote.view.find(&remote.client, target).await;
        let found = found.doing("copy to", target)?;
        let entries = local::below(source, target).await?;
        let directory = match found {
            Some(found) if found.is_directory() => found.id,
            _ => {
                let parent = remote.view.parent(&remote.client, target).await;
                let (parent, name) = parent.doing("copy to", target)?;
                let (parent, name) = (parent.id, name.clone());
                let made = self.remote_directory(&remote, parent, &name).await;
                remote.changing(made, "make the directory", target)?
            }
        };
        // Directories come before what is in them, so a parent is always known.
        let mut made = HashMap::from([(target.clone(), directory)]);
        for entry in entries {
            let copied = match entry {
                Ok(entry) => self.upload_entry(&remote, entry, &mut made).await,
                Err(failure) => Err(failure),
            };
            if let Err(failure) = copied {
                self.report(&failure);
            }
        }
        Ok(())
    }

    async fn upload_entry(
        &mut self,
        node: &Remote,
        entry: Entry,
        made: &mut HashMap<RemotePath, InodeId>,
    ) -> Result<(), Failure> {
        let Entry { local, path, kind } = entry;
        let Some((above, name)) = path.split() else {
            return Ok(());
        };
        // The directory could not be made, which was reported.
        let Some(&parent) = made.get(&above) else {
            return Ok(());
        };
        let name = name.clone();
        match kind {
            Kind::Directory => {
                let id = self.remote_directory(node, parent, &name).await;
                made.insert(path.clone(), node.changing(id, "make the directory", &path)?);
                Ok(())
            }
            Kind::Link => self.upload_link(node, &local, parent, name, path).await,
            Kind::File => self.upload_file(node, local, parent, name, path).await,
        }
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
        let (remote, window) = (remote.clone(), self.window);
        let (stop, bar) = (self.stop.clone(), self.bar.clone());
        self.files.spawn(async move {
            let cannot = |error| Failure::local(cannot_read(&source), error);
            let file = tokio::fs::File::open(&source).await.map_err(cannot)?;
            let mode = permissions(&file.metadata().await.map_err(cannot)?);
            let upload = Upload {
                client: &remote.client,
                parent,
                name: &name,
                mode,
                window,
                stop: &stop,
            };
            let copied = upload.run(file, |bytes| bar.inc(bytes)).await;
            remote.changing(copied, "copy to", &path)
        });
        Ok(())
    }

    async fn upload_link(
        &mut self,
        remote: &Remote,
        source: &Path,
        parent: InodeId,
        name: EntryName,
        path: RemotePath,
    ) -> Result<(), Failure> {
        let target = tokio::fs::read_link(source).await;
        let target = target.map_err(|error| Failure::local(cannot_read(source), error))?;
        let Some(target) = target.to_str().map(str::to_owned) else {
            return Err(Failure::message(format!(
                "cannot copy the link {}: its target is not UTF-8",
                source.display()
            )));
        };
        self.room().await;
        let remote = remote.clone();
        // A task of its own, as for files: an interrupt must not end it halfway.
        self.files.spawn(async move {
            let made = replace_link(&remote.client, parent, &name, &target).await;
            remote.changing(made, "make the link", &path).map(|()| 0)
        });
        Ok(())
    }
}
