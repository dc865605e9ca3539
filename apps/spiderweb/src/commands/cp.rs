//! `spiderweb cp`

mod download;
mod local;
mod relay;
mod upload;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use clap::{Args, ValueHint};
use indicatif::ProgressBar;
use serde::Serialize;
use spiderweb_client::{Error, RemotePath, Step, Walk, Window, is_partial_name};
use spiderweb_protocol::{EntryName, InodeId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::failure::{Doing as _, Failure};
use crate::global::remote_path;
use crate::progress;
use crate::remote::{Reach, Remote};

/// Copy files to, from and within a node.
///
/// Paths on the node are marked by a leading `:`, all others are local: `spiderweb cp -r ./dir :/work/dir` copies to
/// the node, `spiderweb cp :/work/a.txt .` from it. Behind a hub, both ends may be on nodes, also on different ones:
/// `spiderweb cp -r :/nodes/a/work :/nodes/b/copy`. A local file whose name begins with `:` is written `./:name`.
///
/// A copy appears whole or not at all, and goes on after a lost connection. Into an existing directory it goes under
/// its own name. Local links below a copied directory stay links; the node's links are copied as what they lead to.
///
/// JSON: {files, directories, bytes, seconds}.
#[derive(Debug, Args)]
pub(crate) struct Cp {
    /// Copy directories and what is in them.
    #[arg(short, long)]
    recursive: bool,

    /// What to copy, and last where to.
    #[arg(value_name = "PATH", num_args = 2.., required = true, value_hint = ValueHint::AnyPath)]
    ends: Vec<End>,
}

/// One end of a copy.
#[derive(Clone, Debug)]
enum End {
    Local(PathBuf),
    Remote(RemotePath),
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix(':') {
            Some(path) => remote_path(path).map(Self::Remote),
            None => Ok(Self::Local(text.into())),
        }
    }
}

/// Files copied at the same time.
const FILES: usize = 16;

/// A copy under way.
struct Copier {
    reach: Reach,
    recursive: bool,
    window: Window,
    stop: CancellationToken,
    bar: ProgressBar,
    files: JoinSet<Result<u64, Failure>>,
    counts: Counts,
    failed: bool,
}

#[derive(Default, Serialize)]
struct Counts {
    files: u64,
    directories: u64,
    bytes: u64,
    seconds: f64,
}

impl Cp {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let Some((target, sources)) = self.ends.split_last() else {
            return Err(Failure::Usage(
                "cp needs something to copy and where to".to_owned(),
            ));
        };
        let local = |end: &End| matches!(end, End::Local(_));
        if local(target) && sources.iter().all(local) {
            return Err(Failure::Usage(
                "cp copies to, from and within a node; mark a path on the node with `:`, as in :/work/file"
                    .to_owned(),
            ));
        }
        let started = Instant::now();
        let mut copier = Copier {
            reach: Reach::open(&context.global).await?,
            recursive: self.recursive,
            window: Window::default(),
            stop: context.stop.clone(),
            bar: progress::bar(&context.global, "copying".to_owned(), None),
            files: JoinSet::new(),
            counts: Counts::default(),
            failed: false,
        };
        let copied = tokio::select! {
            copied = copier.copy(sources, target) => copied,
            // The tasks that copy files look at the token themselves and clean up.
            () = context.stop.cancelled() => Err(Failure::Interrupted),
        };
        while let Some(joined) = copier.files.join_next().await {
            copier.count(joined);
        }
        copier.bar.finish_and_clear();
        copied?;
        copier.counts.seconds = started.elapsed().as_secs_f64();
        if context.out.is_json() {
            context.out.json(&copier.counts)?;
        }
        if copier.failed {
            Err(Failure::Reported)
        } else {
            Ok(())
        }
    }
}

impl Copier {
    async fn copy(&mut self, sources: &[End], target: &End) -> Result<(), Failure> {
        let into = match target {
            End::Local(target) => target.is_dir(),
            End::Remote(target) => {
                let remote = self.reach.to(target).await?;
                let found = remote.view.find(&remote.client, target).await;
                found
                    .doing("copy to", target)?
                    .is_some_and(|found| found.is_directory())
            }
        };
        if sources.len() > 1 && !into {
            return Err(Failure::message(format!(
                "cannot copy several files to {target}: not a directory"
            )));
        }
        for source in sources {
            match (source, target) {
                (End::Local(source), End::Remote(target)) => {
                    let target = if into {
                        target.join(local_name(source)?)
                    } else {
                        target.clone()
                    };
                    self.upload(source, &target).await?;
                }
                (End::Remote(source), End::Local(target)) => {
                    let target = match source.name() {
                        Some(name) if into => download::local_path(target, std::slice::from_ref(name))?,
                        _ => target.clone(),
                    };
                    self.download(source, &target).await?;
                }
                (End::Remote(source), End::Remote(target)) => {
                    let target = match source.name() {
                        Some(name) if into => target.join(name.clone()),
                        _ => target.clone(),
                    };
                    self.relay(source, &target).await?;
                }
                (End::Local(source), End::Local(_)) => {
                    return Err(Failure::Usage(format!(
                        "{} and the target are both local; mark a path on the node with `:`",
                        source.display()
                    )));
                }
            }
        }
        while let Some(joined) = self.files.join_next().await {
            self.count(joined);
        }
        Ok(())
    }

    /// Waits until another file may be copied.
    async fn room(&mut self) {
        while self.files.len() >= FILES {
            if let Some(joined) = self.files.join_next().await {
                self.count(joined);
            }
        }
    }

    fn count(&mut self, joined: Result<Result<u64, Failure>, tokio::task::JoinError>) {
        match joined {
            Ok(Ok(bytes)) => {
                self.counts.files += 1;
                self.counts.bytes += bytes;
            }
            Ok(Err(failure)) => self.report(&failure),
            Err(error) => self.report(&Failure::message(format!("a copy ended early: {error}"))),
        }
    }

    /// Tells about a failure that does not end the rest.
    fn report(&mut self, failure: &Failure) {
        self.failed = true;
        self.bar.suspend(|| failure.report());
    }

    /// A directory of the node, made if it is missing.
    async fn remote_directory(
        &mut self,
        Remote { client, .. }: &Remote,
        parent: InodeId,
        name: &EntryName,
    ) -> Result<InodeId, Error> {
        match client.mkdir(parent, name).await {
            Ok(()) => self.counts.directories += 1,
            Err(error) if error.errno() == Some(spiderweb_protocol::Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
        let attr = client.lookup(parent, name).await?;
        match InodeId::new(attr.id) {
            Some(id) if attr.kind() == spiderweb_protocol::fs::FileKind::Directory => Ok(id),
            _ => Err(Error::NotDirectory),
        }
    }

    fn needs_recursion(&self, path: &dyn std::fmt::Display) -> Result<(), Failure> {
        if self.recursive {
            return Ok(());
        }
        Err(Failure::message(format!("{path} is a directory")).hint("cp -r copies directories"))
    }
}

/// Everything below a directory of a node, without unfinished copies of this client. As with [`local::below`], the copy
/// may go to where it comes from: this machine may be the node, or two nodes may export one directory.
async fn remote_below(mut walk: Walk) -> Vec<Result<Step, Error>> {
    let mut found = Vec::new();
    while let Some(step) = walk.next().await {
        if !step.as_ref().is_ok_and(is_partial) {
            found.push(step);
        }
    }
    found
}

fn is_partial(step: &Step) -> bool {
    step.attr.kind() != spiderweb_protocol::fs::FileKind::Directory
        && step
            .path
            .name()
            .is_some_and(|name| is_partial_name(name.as_str()))
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Remote(path) => write!(f, ":{path}"),
        }
    }
}

/// The last name of a local path, also of `.` and `..`.
fn local_name(path: &std::path::Path) -> Result<EntryName, Failure> {
    let resolved = match path.file_name() {
        Some(_) => None,
        None => path.canonicalize().ok(),
    };
    entry_name(resolved.as_deref().unwrap_or(path))
}

/// The last name of a local path as a name on the node.
fn entry_name(path: &std::path::Path) -> Result<EntryName, Failure> {
    path.file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| EntryName::new(name).ok())
        .ok_or_else(|| {
            Failure::message(format!(
                "cannot copy {}: nodes take names in UTF-8 without `\\`",
                path.display()
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_marks_the_node() {
        for (text, end) in [
            (":/work/a", "remote /work/a"),
            (":/", "remote /"),
            ("./:a", "local ./:a"),
            ("/work/a", "local /work/a"),
            ("a:b", "local a:b"),
        ] {
            let parsed = match text.parse().unwrap() {
                End::Local(path) => format!("local {}", path.display()),
                End::Remote(path) => format!("remote {path}"),
            };
            assert_eq!(parsed, end);
        }
        assert!(":work".parse::<End>().is_err() && ":".parse::<End>().is_err());
    }
}
