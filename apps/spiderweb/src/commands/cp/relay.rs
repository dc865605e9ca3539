//! From the node to another place on it, through this machine.

use std::collections::HashMap;

use spiderweb_client::{RemotePath, Upload, Walk, copy_remote};
use spiderweb_protocol::fs::{Attr, FileKind};
use spiderweb_protocol::{EntryName, InodeId};

use super::Copier;
use super::download::regular;
use crate::failure::{Doing as _, Failure};

impl Copier {
    pub(super) async fn relay(&mut self, source: &RemotePath, target: &RemotePath) -> Result<(), Failure> {
        let found = self
            .remote
            .view
            .resolve(&self.remote.client, source)
            .await
            .doing("copy", source)?;
        let parent = self.remote.view.parent(&self.remote.client, target).await;
        let (parent, name) = parent.doing("copy to", target)?;
        let (parent, name) = (parent.id, name.clone());
        if !found.is_directory() {
            if source == target {
                return Err(Failure::message(format!(
                    "{source} and {target} are the same file"
                )));
            }
            return self
                .relay_file(found.id, &found.attr, parent, name, target.clone())
                .await;
        }
        self.needs_recursion(source)?;
        if target.is_within(source) {
            return Err(Failure::message(format!(
                "cannot copy {source} into itself, {target}"
            )));
        }
        let root = self
            .remote_directory(parent, &name)
            .await
            .doing("make the directory", target)?;
        // Directories are reported before what is in them, so a parent is always known.
        let mut made = HashMap::from([(source.clone(), root)]);
        let mut walk = Walk::of(&self.remote.client, source.clone(), found.id);
        while let Some(step) = walk.next().await {
            let copied = match step {
                Ok(step) => {
                    self.relay_entry(&step.path, &step.attr, (source, target), &mut made)
                        .await
                }
                Err(error) => Err(error).doing("copy", source),
            };
            if let Err(failure) = copied {
                self.report(&failure);
            }
        }
        Ok(())
    }

    async fn relay_entry(
        &mut self,
        path: &RemotePath,
        attr: &Attr,
        (source, target): (&RemotePath, &RemotePath),
        made: &mut HashMap<RemotePath, InodeId>,
    ) -> Result<(), Failure> {
        let Some((above, name)) = path.split() else {
            return Ok(());
        };
        // The directory could not be made, which was reported.
        let Some(&parent) = made.get(&above) else {
            return Ok(());
        };
        let names = path.names().iter().skip(source.names().len());
        let target: RemotePath = target.names().iter().chain(names).cloned().collect();
        if attr.kind() == FileKind::Directory {
            let id = self
                .remote_directory(parent, name)
                .await
                .doing("make the directory", &target)?;
            made.insert(path.clone(), id);
            return Ok(());
        }
        match InodeId::new(attr.id) {
            Some(id) => self.relay_file(id, attr, parent, name.clone(), target).await,
            None => Ok(()),
        }
    }

    async fn relay_file(
        &mut self,
        id: InodeId,
        attr: &Attr,
        parent: InodeId,
        name: EntryName,
        target: RemotePath,
    ) -> Result<(), Failure> {
        regular(attr).doing("copy to", &target)?;
        self.room().await;
        let (client, window, mode) = (self.remote.client.clone(), self.window, attr.m & 0o777);
        let (stop, bar) = (self.stop.clone(), self.bar.clone());
        self.files.spawn(async move {
            let upload = Upload {
                client: &client,
                parent,
                name: &name,
                mode,
                window,
                stop: &stop,
            };
            let copied = copy_remote(&client, id, &upload, |bytes| bar.inc(bytes)).await;
            copied.doing("copy to", &target)
        });
        Ok(())
    }
}
