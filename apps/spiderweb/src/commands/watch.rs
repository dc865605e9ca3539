//! `spiderweb watch`

use std::collections::HashMap;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use spiderweb_client::{Client, Notice, Place, RemotePath, Walk, list};
use spiderweb_protocol::fs::{Change, Event, FileKind};
use spiderweb_protocol::{EntryName, InodeId};

use crate::context::Context;
use crate::failure::{Doing as _, Failure};
use crate::global::remote_path;
use crate::remote::{Reach, Remote};
use crate::units::local_exact;

/// Print changes as the node announces them, until interrupted.
///
/// The node announces ids. They are shown as paths where the path is known: everything below the watched paths when
/// the command began, and what appeared since in a directory that was announced.
///
/// JSON: one line per change: {time, what, id, path}. `what` is `entries` (of a directory), `attr`, `data`, `all`,
/// `lagged` (changes were missed) or `reconnected` (changes may have been missed); `path` is null when unknown.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Print only changes of these and what is below them; behind a hub, all on one node.
    #[arg(value_name = "PATH", value_parser = remote_path)]
    paths: Vec<RemotePath>,
}

/// Most ids whose name is remembered: about 200 MB. Changes of others are shown by id.
const KNOWN: usize = 1_000_000;
/// Levels of a new directory that are looked into at once.
const INSIDE: usize = 64;
/// Most names of a path; more means that a link made a circle of what is remembered.
const DEEPEST: usize = 4096;

#[derive(Serialize)]
struct ChangeJson<'a> {
    time: String,
    what: &'a str,
    id: Option<u64>,
    path: Option<&'a str>,
}

/// Which id has which name in which directory, as far as it was seen.
///
/// A link and what it leads to have the same id. The name that was seen first counts, until its directory is listed
/// without it; even then it is shown until another one is seen, because a file's removal is announced after that of
/// its name.
#[derive(Default)]
struct Names {
    roots: HashMap<InodeId, RemotePath>,
    known: HashMap<InodeId, Known>,
    children: HashMap<InodeId, Vec<InodeId>>,
}

struct Known {
    parent: InodeId,
    name: EntryName,
    /// The directory no longer has the name.
    gone: bool,
}

impl Watch {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let mut reach = Reach::open_with(&context.global, true).await?;
        let remote = reach.only(self.paths.first()).await?;
        // Before anything is looked at, so that no change falls between looking and listening.
        let mut news = remote.client.news();
        let roots = self.roots(&remote)?;
        let mut names = Names::default();
        names.learn_trees(&remote, &roots).await?;
        loop {
            let notice = tokio::select! {
                notice = news.next() => notice,
                error = remote.client.keep_connected() => return Err(error.into()),
            };
            match notice {
                None => return Ok(()),
                Some(Notice::Event(event)) => {
                    self.show_event(context, &remote.client, &mut names, event)
                        .await?;
                }
                Some(Notice::Lagged(count)) => {
                    context.report("lagged", None, None, &format!("{count} changes were missed"))?;
                    names.learn_trees(&remote, &roots).await?;
                }
                Some(Notice::Reconnected) => {
                    context.report("reconnected", None, None, "changes may have been missed")?;
                    // The node may be another process now, which announces only what somebody has looked at.
                    names.learn_trees(&remote, &roots).await?;
                }
            }
        }
    }

    async fn show_event(
        &self,
        context: &mut Context,
        client: &Client,
        names: &mut Names,
        event: Event,
    ) -> Result<(), Failure> {
        match event {
            Event::Directory { id } => {
                self.show(context, names, "entries", id)?;
                names.learn_directory(client, id, INSIDE).await;
                Ok(())
            }
            Event::Inode { id, change, .. } => {
                let what = match change {
                    Change::Attr => "attr",
                    Change::Data => "data",
                    Change::All => "all",
                };
                self.show(context, names, what, id)
            }
        }
    }

    fn roots(&self, remote: &Remote) -> Result<Vec<RemotePath>, Failure> {
        let mut roots = Vec::new();
        for path in &self.paths {
            match remote.view.place(path)? {
                Place::Top => {}
                Place::Inside { .. } => roots.push(path.clone()),
            }
        }
        if roots.is_empty() {
            roots.extend(
                remote
                    .view
                    .exports()
                    .iter()
                    .filter_map(|e| remote.view.root_path(e)),
            );
        }
        Ok(roots)
    }

    fn show(&self, context: &mut Context, names: &Names, what: &str, id: InodeId) -> Result<(), Failure> {
        let path = names.path(id);
        let wanted = match &path {
            _ if self.paths.is_empty() => true,
            Some(path) => self.paths.iter().any(|root| path.is_within(root)),
            None => false,
        };
        if !wanted {
            return Ok(());
        }
        let path = path.map(|path| path.to_string());
        let text = match &path {
            Some(path) => context.out.name(path),
            None => format!("id {id}"),
        };
        context.report(what, Some(id), path.as_deref(), &text)
    }
}

impl Context {
    fn report(
        &mut self,
        what: &str,
        id: Option<InodeId>,
        path: Option<&str>,
        text: &str,
    ) -> Result<(), Failure> {
        let now = Timestamp::now();
        if self.out.is_json() {
            self.out.json(&ChangeJson {
                time: now.to_string(),
                what,
                id: id.map(InodeId::get),
                path,
            })?;
        } else {
            let nanoseconds = i64::try_from(now.as_nanosecond()).unwrap_or_default();
            let time = local_exact(nanoseconds);
            let time = time.get(11..23).unwrap_or_default();
            self.out.line(format_args!("{time} {what:11} {text}"))?;
        }
        self.out.flush()
    }
}

impl Names {
    async fn learn_trees(&mut self, remote: &Remote, roots: &[RemotePath]) -> Result<(), Failure> {
        for root in roots {
            self.learn_tree(remote, root).await?;
        }
        Ok(())
    }

    async fn learn_tree(&mut self, remote: &Remote, root: &RemotePath) -> Result<(), Failure> {
        let found = remote.view.resolve(&remote.client, root).await;
        let found = found.doing("watch", root)?;
        self.roots.insert(found.id, root.clone());
        if !found.is_directory() {
            return Ok(());
        }
        let mut walk = Walk::of(&remote.client, root.clone(), found.id);
        while self.known.len() < KNOWN
            && let Some(step) = walk.next().await
        {
            // A directory that cannot be read has no names to learn.
            if let Ok(step) = step
                && let Some(id) = InodeId::new(step.attr.id)
                && let Some(name) = step.path.name()
            {
                self.learn(id, step.parent, name.clone());
            }
        }
        Ok(())
    }

    /// Learns what is in a directory now, and that what is no longer in it is gone. Goes `levels` down into
    /// directories not seen before: the node announces changes only where somebody has looked.
    async fn learn_directory(&mut self, client: &Client, dir: InodeId, levels: usize) {
        if self.path(dir).is_none() {
            return;
        }
        // It may be gone already; then nothing is in it.
        let entries = list(client, dir).await.unwrap_or_default();
        let mut new = Vec::new();
        for id in self.children.remove(&dir).unwrap_or_default() {
            if let Some(known) = self.known.get_mut(&id).filter(|known| known.parent == dir) {
                known.gone = true;
            }
        }
        for entry in entries {
            if let (Some(id), Ok(name)) = (InodeId::new(entry.attr.id), EntryName::new(&entry.name)) {
                let is_new = self.learn(id, dir, name);
                if is_new && entry.attr.kind() == FileKind::Directory {
                    new.push(id);
                }
            }
        }
        if levels > 0 {
            for dir in new {
                Box::pin(self.learn_directory(client, dir, levels - 1)).await;
            }
        }
    }

    /// Notes a name and says whether nothing was known of the id before.
    fn learn(&mut self, id: InodeId, parent: InodeId, name: EntryName) -> bool {
        if self.roots.contains_key(&id) {
            return false;
        }
        let before = self.known.get(&id);
        if before.is_some_and(|known| !known.gone) || (before.is_none() && self.known.len() >= KNOWN) {
            return false;
        }
        let is_new = before.is_none();
        self.children.entry(parent).or_default().push(id);
        let known = Known {
            parent,
            name,
            gone: false,
        };
        self.known.insert(id, known);
        is_new
    }

    fn path(&self, id: InodeId) -> Option<RemotePath> {
        let mut below = Vec::new();
        let mut at = id;
        while below.len() < DEEPEST {
            if let Some(root) = self.roots.get(&at) {
                let names = root.names().iter().chain(below.iter().rev().copied());
                return Some(names.cloned().collect());
            }
            let known = self.known.get(&at)?;
            below.push(&known.name);
            at = known.parent;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> InodeId {
        InodeId::new(number).unwrap()
    }

    fn name(text: &str) -> EntryName {
        EntryName::new(text).unwrap()
    }

    #[test]
    fn paths_are_put_together_and_links_do_not_rename_what_they_lead_to() {
        let mut names = Names::default();
        names.roots.insert(id(1), "/work".parse().unwrap());
        names.learn(id(2), id(1), name("dir"));
        names.learn(id(3), id(2), name("file"));
        names.learn(id(2), id(2), name("loop"));
        names.learn(id(1), id(2), name("top"));
        let path = |names: &Names, number| names.path(id(number)).map(|path| path.to_string());
        assert_eq!(path(&names, 3).unwrap(), "/work/dir/file");
        assert_eq!(path(&names, 1).unwrap(), "/work");
        assert_eq!(path(&names, 9), None);
    }

    #[test]
    fn a_circle_has_no_path() {
        let mut names = Names::default();
        names.learn(id(2), id(3), name("a"));
        names.learn(id(3), id(2), name("b"));
        assert_eq!(names.path(id(2)), None);
    }
}
