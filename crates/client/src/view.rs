//! Which file a path names.
//!
//! A node has exports, each a tree of its own. Seen as a whole its paths are `/<export>/<names…>`, and `/` is the
//! list of exports; narrowed to one export they are `/<names…>` and `/` is its root directory.
//!
//! Seen through a hub, all of this lies below `/nodes/<node>`, and exports have the names of the node's catalog besides
//! their own: what is mounted at `/nodes/<node>/echo` may be the export `svc-echo`.

use spiderweb_protocol::fs::{Attr, Export, FileKind};
use spiderweb_protocol::{EntryName, Errno, InodeId};

use crate::client::Client;
use crate::error::Error;
use crate::path::RemotePath;

/// A node's exports and how paths lead into them.
#[derive(Clone, Debug)]
pub struct View {
    exports: Vec<Export>,
    /// What every path begins with.
    prefix: RemotePath,
    /// An export's own name comes before other names; of these, longer ones come before shorter ones.
    entries: Vec<Entry>,
}

/// A path, behind the prefix, that leads to an export's root.
#[derive(Clone, Debug)]
struct Entry {
    path: RemotePath,
    /// Place of the export in the list.
    export: usize,
    /// This is the path it is listed under.
    is_shown: bool,
}

/// Another path to an export.
#[derive(Clone, Debug)]
pub(crate) struct Alias {
    /// The path, behind the prefix.
    pub(crate) path: RemotePath,
    /// The export's name.
    pub(crate) name: String,
    /// The export is listed under this path from now on.
    pub(crate) is_shown: bool,
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
                    below: None,
                });
            }
        }
        let path = |export: &Export| match only {
            Some(_) => Some(RemotePath::default()),
            None => Some(RemotePath::default().join(EntryName::new(&export.name).ok()?)),
        };
        let entry = |(number, export)| {
            Some(Entry {
                path: path(export)?,
                export: number,
                is_shown: true,
            })
        };
        let entries = exports.iter().enumerate().filter_map(entry).collect();
        Ok(Self {
            exports,
            prefix: RemotePath::default(),
            entries,
        })
    }

    /// The same with every path below `prefix`.
    #[must_use]
    pub fn below(mut self, prefix: RemotePath) -> Self {
        self.prefix = prefix;
        self
    }

    /// Adds further paths to exports. A path that leads somewhere already keeps leading there.
    pub(crate) fn also(&mut self, aliases: impl IntoIterator<Item = Alias>) {
        let mut added = Vec::new();
        for alias in aliases {
            let Alias { path, name, is_shown } = alias;
            let is_taken = |entry: &Entry| entry.path == path;
            if path.names().is_empty() || self.entries.iter().chain(&added).any(is_taken) {
                continue;
            }
            let Some(export) = self.exports.iter().position(|export| export.name == name) else {
                continue;
            };
            if is_shown {
                for entry in self.entries.iter_mut().chain(&mut added) {
                    entry.is_shown &= entry.export != export;
                }
            }
            added.push(Entry {
                path,
                export,
                is_shown,
            });
        }
        added.sort_by_key(|entry| std::cmp::Reverse(entry.path.names().len()));
        self.entries.append(&mut added);
    }

    /// The exports in view.
    pub fn exports(&self) -> &[Export] {
        &self.exports
    }

    /// The path of an export's root in this view; `None` when the export's name cannot be part of a path.
    pub fn root_path(&self, export: &Export) -> Option<RemotePath> {
        let is_it = |entry: &&Entry| {
            let found = self.exports.get(entry.export);
            entry.is_shown && found.is_some_and(|found| found.name == export.name)
        };
        let entry = self.entries.iter().find(is_it)?;
        let names = self.prefix.names().iter().chain(entry.path.names());
        Some(names.cloned().collect())
    }

    /// Where a path leads.
    pub fn place<'v>(&'v self, path: &'v RemotePath) -> Result<Place<'v>, Error> {
        let within = path.names().strip_prefix(self.prefix.names());
        let within = within.ok_or_else(|| Error::OtherNode {
            path: path.to_string(),
            node: self.prefix.to_string(),
        })?;
        for entry in &self.entries {
            if let Some(names) = within.strip_prefix(entry.path.names())
                && let Some(export) = self.exports.get(entry.export)
            {
                return Ok(Place::Inside { export, names });
            }
        }
        let Some(first) = within.first() else {
            return Ok(Place::Top);
        };
        Err(Error::NoExport {
            name: first.to_string(),
            exports: self.names(),
            below: Some(self.prefix.to_string().trim_end_matches('/').to_owned()),
        })
    }

    /// The names that lead to exports, as they are listed.
    fn names(&self) -> Vec<String> {
        let shown = self.entries.iter().filter(|entry| entry.is_shown);
        let names = shown.map(|entry| entry.path.to_string());
        names
            .map(|name| name.trim_start_matches('/').to_owned())
            .collect()
    }

    fn top(&self) -> Error {
        Error::Top {
            path: self.prefix.to_string(),
        }
    }

    /// Finds the file a path names. The names of one path have to be asked for one after the other; paths that are
    /// resolved at the same time share the connection.
    pub async fn resolve(&self, client: &Client, path: &RemotePath) -> Result<Found, Error> {
        let Place::Inside { export, names } = self.place(path)? else {
            return Err(self.top());
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
        let found = Found {
            export: export.clone(),
            id,
            attr,
        };
        if path.wants_directory() && !found.is_directory() {
            return Err(Error::NotDirectory.at(path));
        }
        Ok(found)
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
        let (parent, name) = path.split().ok_or_else(|| self.top())?;
        Ok((self.directory(client, &parent).await?, name))
    }

    /// The same for something that is no directory: a path that asks for one is refused.
    pub async fn parent_of_file<'p>(
        &self,
        client: &Client,
        path: &'p RemotePath,
    ) -> Result<(Found, &'p EntryName), Error> {
        if path.wants_directory() && path.name().is_some() {
            return Err(match self.find(client, path).await? {
                Some(_) => Error::IsDirectory.at(path),
                None => Error::NoDirectory.at(path),
            });
        }
        self.parent(client, path).await
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

#[cfg(test)]
mod tests {
    use spiderweb_protocol::fs::ExportCaps;

    use super::*;

    fn view(names: &[&str], prefix: &str, also: &[(&str, &str, bool)]) -> View {
        let exports = names.iter().zip(1..).map(|(name, root)| Export {
            name: (*name).to_owned(),
            root,
            ro: false,
            desc: String::new(),
            source_kind: String::new(),
            source_id: String::new(),
            caps: ExportCaps::default(),
        });
        let exports: Vec<_> = exports.collect();
        let entries = exports.iter().enumerate().map(|(export, found)| Entry {
            path: format!("/{}", found.name).parse().unwrap(),
            export,
            is_shown: true,
        });
        let mut view = View {
            entries: entries.collect(),
            prefix: prefix.parse().unwrap(),
            exports,
        };
        view.also(also.iter().map(|(path, name, is_shown)| Alias {
            path: path.parse().unwrap(),
            name: (*name).to_owned(),
            is_shown: *is_shown,
        }));
        view
    }

    fn place(view: &View, path: &str) -> String {
        let path = path.parse().unwrap();
        match view.place(&path) {
            Ok(Place::Top) => "top".to_owned(),
            Ok(Place::Inside { export, names }) => format!("{} {}", export.name, names.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn exports_have_the_catalogs_names_besides_their_own() {
        let view = view(
            &["work", "fs", "svc-echo", "terminal-1"],
            "/nodes/edge",
            &[
                ("/fs", "work", false),
                ("/echo", "svc-echo", true),
                ("/terminal", "work", false),
                ("/terminal/1", "terminal-1", false),
                ("/gone", "svc-gone", true),
            ],
        );
        for (path, leads_to) in [
            ("/nodes/edge", "top"),
            ("/nodes/edge/work/a", "work 1"),
            ("/nodes/edge/fs", "fs 0"),
            ("/nodes/edge/echo/status.json", "svc-echo 1"),
            ("/nodes/edge/svc-echo", "svc-echo 0"),
            ("/nodes/edge/terminal/1/a/b", "terminal-1 2"),
            ("/nodes/edge/terminal/2", "work 1"),
            (
                "/nodes/edge/gone",
                "the node has no export named \"gone\"; it has work, fs, terminal-1, echo",
            ),
            ("/nodes/other/work", "/nodes/other/work is not below /nodes/edge"),
        ] {
            assert_eq!(place(&view, path), leads_to, "{path}");
        }
        let root = |name: &str| {
            let export = view.exports().iter().find(|export| export.name == name).unwrap();
            view.root_path(export).unwrap().to_string()
        };
        assert_eq!(root("svc-echo"), "/nodes/edge/echo");
        assert_eq!(root("terminal-1"), "/nodes/edge/terminal-1");
    }
}
