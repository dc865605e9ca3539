//! `spiderweb watch`

use std::collections::HashMap;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use spiderweb_client::{Client, Notice, Place, RemotePath, Walk, list};
use spiderweb_protocol::fs::{Change, Event, FileKind};
use spiderweb_protocol::{EntryName, InodeId};

use super::Context;
use crate::cli::remote_path;
use crate::failure::{Doing as _, Failure};
use crate::remote::Remote;
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
    /// Print only changes of these and what is below them.
    #[arg(value_name = "PATH", value_parser = remote_path)]
    paths: Vec<RemotePath>,
}

/// Most ids whose path is remembered: about 100 MB. Changes of others are shown by id.
const KNOWN: usize = 1_000_000;

#[derive(Serialize)]
struct ChangeJson<'a> {
    time: String,
    what: &'a str,
    id: Option<u64>,
    path: Option<&'a str>,
}

/// Which id has which path, as far as it was seen.
#[derive(Default)]
struct Names(HashMap<InodeId, RemotePath>);

impl Watch {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let remote = Remote::connect_with(&context.global, true).await?;
        // Before anything is looked at, so that no change falls between looking and listening.
        let mut news = remote.client.news();
        let mut names = Names::default();
        for path in self.roots(&remote)? {
            names.learn_tree(&remote, &path).await?;
        }
        while let Some(notice) = news.next().await {
            match notice {
                Notice::Lagged(count) => {
                    context.report("lagged", None, None, &format!("{count} changes were missed"))?;
                }

                Notice::Reconnected => {
                    context.report("reconnected", None, None, "changes may have been missed")?;
                }
                Notice::Event(Event::Directory { id }) => {
                    self.show(context, &names, "entries", id)?;
                    names.learn_directory(&remote.client, id).await;
                }
                Notice::Event(Event::Inode { id, change, .. }) => {
                    let what = match change {
                        Change::Attr => "attr",
                        Change::Data => "data",
                        Change::All => "all",
                    };
                    self.show(context, &names, what, id)?;
                }
            }
        }
        Ok(())
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
        let path = names.0.get(&id);
        let wanted = match path {
            _ if self.paths.is_empty() => true,
            Some(path) => self.paths.iter().any(|root| path.is_within(root)),
            None => false,
        };
        if !wanted {
            return Ok(());
        }
        let path = path.map(ToString::to_string);
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
    async fn learn_tree(&mut self, remote: &Remote, root: &RemotePath) -> Result<(), Failure> {
        let found = remote
            .view
            .resolve(&remote.client, root)
            .await
            .doing("watch", root)?;
        self.0.insert(found.id, root.clone());
        if !found.is_directory() {
            return Ok(());
        }
        let mut walk = Walk::of(&remote.client, root.clone(), found.id);
        while let Some(step) = walk.next().await {
            // A directory that cannot be read has no names to learn.
            if let Ok(step) = step
                && let Some(id) = InodeId::new(step.attr.id)
            {
                self.learn(id, step.path);
            }
            if self.0.len() >= KNOWN {
                break;
            }
        }
        Ok(())
    }

    /// Learns what is in a directory now.
    async fn learn_directory(&mut self, client: &Client, id: InodeId) {
        let Some(path) = self.0.get(&id).cloned() else {
            return;
        };
        // It may be gone already; then there is nothing to learn.
        let entries = list(client, id).await.unwrap_or_default();
        for entry in entries {
            if let (Some(id), Ok(name)) = (InodeId::new(entry.attr.id), EntryName::new(&entry.name)) {
                // A directory keeps the path it was first seen under, so that a link to it does not rename it.
                if entry.attr.kind() != FileKind::Directory || !self.0.contains_key(&id) {
                    self.learn(id, path.join(name));
                }
            }
        }
    }

    fn learn(&mut self, id: InodeId, path: RemotePath) {
        if self.0.len() < KNOWN {
            self.0.insert(id, path);
        }
    }
}
