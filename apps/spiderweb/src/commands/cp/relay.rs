//! From a node to another place on it, or to another node, through this machine.

use std::collections::HashMap;

use spiderweb_client::{Place, RemotePath, Upload, Walk, copy_remote};
use spiderweb_protocol::fs::{Attr, FileKind};
use spiderweb_protocol::{EntryName, InodeId};

use super::download::regular;
use super::{Copier, remote_below};
use crate::failure::{Doing as _, Failure};
use crate::remote::Remote;

/// The nodes a copy goes between.
struct Ends {
    from: Remote,
    to: Remote,
}

impl Ends {
    /// Whether both paths name one file, however the node is named in them.
    fn is_same(&self, source: &RemotePath, target: &RemotePath) -> bool {
        self.is_within(source, target) && self.is_within(target, source)
    }

    /// Whether the first path is the second or lies below it, on one node.
    fn is_within(&self, path: &RemotePath, above: &RemotePath) -> bool {
        let place = |path: &RemotePath| {
            let remote = [&self.from, &self.to];
            remote
                .into_iter()
                .find_map(|remote| match remote.view.place(path) {
                    Ok(Place::Inside { export, names }) => Some((export.name.clone(), names.to_vec())),
                    _ => None,
                })
        };
        match (place(path), place(above)) {
            (Some((export, names)), Some((other, beginning))) => {
                self.from.is_same_node(&self.to) && export == other && names.starts_with(&beginning)
            }
            _ => false,
        }
    }
}

impl Copier {
    pub(super) async fn relay(&mut self, source: &RemotePath, target: &RemotePath) -> Result<(), Failure> {
        let ends = Ends {
            from: self.reach.to(source).await?,
            to: self.reach.to(target).await?,
        };
        let found = ends.from.view.resolve(&ends.from.client, source).await;
        let found = found.doing("copy", source)?;
        let parent = if found.is_directory() {
            ends.to.view.parent(&ends.to.client, target).await
        } else {
            ends.to.view.parent_of_file(&ends.to.client, target).await
        };
        let (parent, name) = parent.doing("copy to", target)?;
        let (parent, name) = (parent.id, name.clone());
        if !found.is_directory() {
            if ends.is_same(source, target) {
                return Err(Failure::message(format!(
                    "{source} and {target} are the same file"
                )));
            }
            return self
                .relay_file(&ends, found.id, &found.attr, parent, name, target.clone())
                .await;
        }
        self.needs_recursion(source)?;
        if ends.is_within(target, source) {
            return Err(Failure::message(format!(
                "cannot copy {source} into itself, {target}"
            )));
        }
        let steps = remote_below(Walk::of(&ends.from.client, source.clone(), found.id)).await;
        let root = self.remote_directory(&ends.to, parent, &name).await;
        let root = ends.to.changing(root, "make the directory", target)?;
        // Directories are reported before what is in them, so a parent is always known.
        let mut made = HashMap::from([(source.clone(), root)]);
        for step in steps {
            let copied = match step {
                Ok(step) => {
                    self.relay_entry(&ends, &step.path, &step.attr, (source, target), &mut made)
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
        ends: &Ends,
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
            let id = self.remote_directory(&ends.to, parent, name).await;
            let id = ends.to.changing(id, "make the directory", &target)?;
            made.insert(path.clone(), id);
            return Ok(());
        }
        match InodeId::new(attr.id) {
            Some(id) => {
                self.relay_file(ends, id, attr, parent, name.clone(), target)
                    .await
            }
            None => Ok(()),
        }
    }

    async fn relay_file(
        &mut self,
        ends: &Ends,
        id: InodeId,
        attr: &Attr,
        parent: InodeId,
        name: EntryName,
        target: RemotePath,
    ) -> Result<(), Failure> {
        regular(attr).doing("copy to", &target)?;
        self.room().await;
        let (from, to) = (ends.from.client.clone(), ends.to.clone());
        let (window, mode) = (self.window, attr.m & 0o777);
        let (stop, bar) = (self.stop.clone(), self.bar.clone());
        self.files.spawn(async move {
            let upload = Upload {
                client: &to.client,
                parent,
                name: &name,
                mode,
                window,
                stop: &stop,
            };
            let copied = copy_remote(&from, id, &upload, |bytes| bar.inc(bytes)).await;
            to.changing(copied, "copy to", &target)
        });
        Ok(())
    }
}
