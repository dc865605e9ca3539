//! Which file a path names.
//!
//! A node has exports, each a tree of its own. Seen as a whole its paths are `/<export>/<names…>`, and `/` is the
//! list of exports; narrowed to one export they are `/<names…>` and `/` is its root directory.

use spiderweb_protocol::fs::{Attr, Export, FileKind};
use spiderweb_protocol::{EntryName, Errno, InodeId};

use crate::client::Client;
use crate::error::Error;
use crate::path::RemotePath;

/// A node's exports and how paths lead into them.
#[derive(Clone, Debug)]
pub struct View {
    exports: Vec<Export>,
    narrowed: bool,
}

/// Where a path leads, before anybody looked whether something is there.
#[derive(Clone, Copy, Debug)]
pub enum Place<'v> {
    /// The list of exports.
    Top,
    /// Below the root of an export.
    Inside {
        /// The export.
        export: &'v Export,
        /// The names from its root.
        names: &'v [EntryName],
    },
}

/// A file that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its export.
    pub export: Export,
    /// Its id.
    pub id: InodeId,
    /// What is known about it.
    pub attr: Attr,
}

impl Found {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.attr.kind() == FileKind::Directory
    }
}

impl View {
    /// Asks for the exports; `only` narrows the view to the export of that name.
    pub async fn of(client: &Client, only: Option<&str>) -> Result<Self, Error> {
        let mut exports = client.exports().await?;
        if let Some(name) = only {
            let names = exports.iter().map(|export| export.name.clone()).collect();
            exports.retain(|export| export.name == name);
            if exports.is_empty() {
                return Err(Error::NoExport {
                    name: name.to_owned(),
                    exports: names,
                });
            }
        }
        Ok(Self {
            exports,
            narrowed: only.is_some(),
        })
    }

    /// The exports in view.
    pub fn exports(&self) -> &[Export] {
        &self.exports
    }

    /// The path of an export's root in this view; `None` when the export's name cannot be part of a path.
    pub fn root_path(&self, export: &Export) -> Option<RemotePath> {
        if self.narrowed {
            return Some(RemotePath::default());
        }
        let name = EntryName::new(&export.name).ok()?;
        Some(RemotePath::default().join(name))
    }

    /// Where a path leads.
    pub fn place<'v>(&'v self, path: &'v RemotePath) -> Result<Place<'v>, Error> {
        let (export, names) = match (self.narrowed, path.names()) {
            (true, names) => (self.exports.first(), names),
            (false, []) => return Ok(Place::Top),
            (false, [name, names @ ..]) => {
                let named = |export: &&Export| export.name == name.as_str();
                (self.exports.iter().find(named), names)
            }
        };
        match export {
            Some(export) => Ok(Place::Inside { export, names }),
            None => Err(Error::NoExport {
                name: path.names().first().map(ToString::to_string).unwrap_or_default(),
                exports: self.exports.iter().map(|export| export.name.clone()).collect(),
            }),
        }
    }

    /// Finds the file a path names. The names of one path have to be asked for one after the other; paths that are
    /// resolved at the same time share the connection.
    pub async fn resolve(&self, client: &Client, path: &RemotePath) -> Result<Found, Error> {
        let Place::Inside { export, names } = self.place(path)? else {
            return Err(Error::Top);
        };
        let mut id = node_id(export.root)?;
        let mut attr = None;
        for name in names {
            let next = client.lookup(id, name).await.map_err(|error| error.at(path))?;
            id = node_id(next.id)?;
            attr = Some(next);
        }
        let attr = match attr {
            Some(attr) => attr,
            None => client.getattr(id).await.map_err(|error| error.at(path))?,
        };
        Ok(Found {
            export: export.clone(),
            id,
            attr,
        })
    }

    /// The same, `None` when nothing has that name. A missing directory on the way is an error.
    pub async fn find(&self, client: &Client, path: &RemotePath) -> Result<Option<Found>, Error> {
        match self.resolve(client, path).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is(Errno::ENOENT) => {
                if let Some((parent, _)) = path.split() {
                    self.directory(client, &parent).await?;
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The directory that holds, or would hold, the file a path names.
    pub async fn parent<'p>(
        &self,
        client: &Client,
        path: &'p RemotePath,
    ) -> Result<(Found, &'p EntryName), Error> {
        let (parent, name) = path.split().ok_or(Error::Top)?;
        Ok((self.directory(client, &parent).await?, name))
    }

    /// Finds a directory.
    pub async fn directory(&self, client: &Client, path: &RemotePath) -> Result<Found, Error> {
        let found = self.resolve(client, path).await?;
        if found.is_directory() {
            Ok(found)
        } else {
            Err(Error::NotDirectory.at(path))
        }
    }
}

/// An id out of a node's answer.
pub(crate) fn node_id(number: u64) -> Result<InodeId, Error> {
    InodeId::new(number).ok_or_else(|| Error::Answer {
        op: spiderweb_protocol::fs::Op::Lookup,
        reason: format!("the node sent the id {number}, which is out of range"),
    })
}
