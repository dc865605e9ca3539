//! Listings: one directory page by page, or a whole tree with several requests outstanding.

use std::collections::VecDeque;
use std::sync::Arc;

use spiderweb_protocol::fs::{Attr, FileKind, ListingEntry};
use spiderweb_protocol::{EntryName, InodeId};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::error::Error;
use crate::path::RemotePath;
use crate::view::node_id;

/// Entries asked for at once: large enough for most directories, small enough to show the first ones soon.
const PAGE: u32 = 4096;
/// Directories read at the same time by a [`Walk`].
const DIRECTORIES: usize = 16;
/// Deepest directory a [`Walk`] enters. Nodes follow links, so only this ends a chain of links that the check for
/// cycles cannot see.
const DEEPEST: usize = 512;

/// A directory read page by page, without `.` and `..`.
#[derive(Debug)]
pub struct Pages {
    client: Client,
    dir: InodeId,
    cookie: u64,
    ended: bool,
}

impl Pages {
    /// Begins at the first entry.
    pub fn of(client: &Client, dir: InodeId) -> Self {
        Self {
            client: client.clone(),
            dir,
            cookie: 0,
            ended: false,
        }
    }

    /// The next entries; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<ListingEntry>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let page = self.client.readdirp(self.dir, self.cookie, PAGE).await?;
        // A page that does not advance would be asked for again for ever.
        self.ended = page.eof || page.next <= self.cookie;
        self.cookie = page.next;
        let mut entries = page.entries;
        entries.retain(|entry| !matches!(entry.name.as_str(), "." | ".."));
        Ok(Some(entries))
    }
}

/// All entries of a directory, in the node's order, without `.` and `..`.
pub async fn list(client: &Client, dir: InodeId) -> Result<Vec<ListingEntry>, Error> {
    let mut pages = Pages::of(client, dir);
    let mut entries = Vec::new();
    while let Some(page) = pages.next().await? {
        entries.extend(page);
    }
    Ok(entries)
}

/// One thing a [`Walk`] came across.
#[derive(Debug)]
pub struct Step {
    /// Where it is.
    pub path: RemotePath,
    /// What is known about it.
    pub attr: Attr,
    /// The directory it is in.
    pub parent: InodeId,
    /// Directories between it and where the walk began; 0 for the entries of the first directory.
    pub depth: usize,
}

/// A walk through a tree: every directory is reported before what is in it, otherwise in no order.
///
/// Nodes show a link as what it leads to, so a walk enters linked directories, but never one that it is already in.
#[derive(Debug)]
pub struct Walk {
    client: Client,
    reading: JoinSet<(Dir, Result<Vec<ListingEntry>, Error>)>,
    waiting: Vec<Dir>,
    ready: VecDeque<Result<Step, Error>>,
    deepest: usize,
}

#[derive(Debug)]
struct Dir {
    path: RemotePath,
    place: Arc<Place>,
}

/// A directory and those it lies in, for finding cycles.
#[derive(Debug)]
struct Place {
    id: InodeId,
    above: Option<Arc<Place>>,
    depth: usize,
}

impl Place {
    fn is_in(&self, id: InodeId) -> bool {
        let mut place = Some(self);
        while let Some(here) = place {
            if here.id == id {
                return true;
            }
            place = here.above.as_deref();
        }
        false
    }
}

impl Walk {
    /// Begins with the entries of `dir`, which is at `path`.
    pub fn of(client: &Client, path: RemotePath, dir: InodeId) -> Self {
        let place = Arc::new(Place {
            id: dir,
            above: None,
            depth: 0,
        });
        Self {
            client: client.clone(),
            reading: JoinSet::new(),
            waiting: vec![Dir { path, place }],
            ready: VecDeque::new(),
            deepest: DEEPEST,
        }
    }

    /// The same, entering at most `levels` levels of directories.
    #[must_use]
    pub fn levels(mut self, levels: usize) -> Self {
        self.deepest = levels.min(DEEPEST);
        self
    }

    /// The next thing; `None` at the end. A directory that cannot be read is reported once, as an error; the walk
    /// goes on behind it.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Step, Error>> {
        loop {
            if let Some(step) = self.ready.pop_front() {
                return Some(step);
            }
            while self.reading.len() < DIRECTORIES
                && let Some(dir) = self.waiting.pop()
            {
                let client = self.client.clone();
                self.reading.spawn(async move {
                    let entries = list(&client, dir.place.id).await;
                    (dir, entries)
                });
            }
            match self.reading.join_next().await? {
                Err(_panicked) => return Some(Err(Error::Task)),
                Ok((dir, Err(error))) => return Some(Err(error.at(&dir.path))),
                Ok((dir, Ok(entries))) => {
                    for entry in entries {
                        let step = self.enter(&dir, &entry).map_err(|error| error.at(&dir.path));
                        self.ready.push_back(step);
                    }
                }
            }
        }
    }

    /// Notes a directory for reading later.
    fn enter(&mut self, dir: &Dir, entry: &ListingEntry) -> Result<Step, Error> {
        let path = dir.path.join(EntryName::new(&entry.name)?);
        let depth = dir.place.depth;
        if entry.attr.kind() == FileKind::Directory && depth + 1 < self.deepest {
            let id = node_id(entry.attr.id)?;
            if !dir.place.is_in(id) {
                self.waiting.push(Dir {
                    path: path.clone(),
                    place: Arc::new(Place {
                        id,
                        above: Some(Arc::clone(&dir.place)),
                        depth: depth + 1,
                    }),
                });
            }
        }
        Ok(Step {
            path,
            attr: entry.attr,
            parent: dir.place.id,
            depth,
        })
    }
}
