//! `spiderweb ls`

use clap::{ArgAction, Args};
use spiderweb_client::{Pages, Place, RemotePath};
use spiderweb_protocol::InodeId;
use spiderweb_protocol::fs::{Attr, ListingEntry};

use crate::context::Context;
use crate::failure::{Doing as _, Failure};
use crate::global::remote_path;
use crate::output::{FileJson, mode_text, style};
use crate::remote::{Above, Reach, Remote};
use crate::units::{human_size, local_minute};

/// List directories, or the exports at `/`.
///
/// JSON: an array of {path, name, kind, size, mode, modified, id}.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Ls {
    /// What to list.
    #[arg(value_name = "PATH", value_parser = remote_path, default_value = "/")]
    paths: Vec<RemotePath>,

    /// Show mode, size and time of change.
    #[arg(short, long)]
    long: bool,

    /// Show names that begin with a dot.
    #[arg(short, long)]
    all: bool,

    /// With -l: sizes in KiB, MiB, ….
    #[arg(short = 'h', long)]
    human: bool,

    /// In the node's order, entries shown as they arrive: for very large directories.
    #[arg(short = 'U', long)]
    unsorted: bool,

    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

impl Ls {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let mut reach = Reach::open(&context.global).await?;
        let mut lister = Lister {
            ls: self,
            context,
            first: true,
        };
        lister.begin()?;
        for (number, path) in self.paths.iter().enumerate() {
            if self.paths.len() > 1 && !lister.context.out.is_json() {
                let shown = lister.context.out.name(&path.to_string());
                let gap = if number > 0 { "\n" } else { "" };
                lister.context.out.line(format_args!("{gap}{shown}:"))?;
            }
            match reach.above(path)? {
                Some(entries) => lister.above(path, &entries)?,
                None => lister.path(&reach.to(path).await?, path).await?,
            }
        }
        lister.end()
    }
}

/// Prints entries one after the other.
struct Lister<'a> {
    ls: &'a Ls,
    context: &'a mut Context,
    first: bool,
}

impl Lister<'_> {
    async fn path(&mut self, remote: &Remote, path: &RemotePath) -> Result<(), Failure> {
        if matches!(remote.view.place(path)?, Place::Top) {
            return self.exports(remote).await;
        }
        let found = remote
            .view
            .resolve(&remote.client, path)
            .await
            .doing("list", path)?;
        if !found.is_directory() {
            let name = path.name().map(ToString::to_string).unwrap_or_default();
            return self.entry(&path.to_string(), &name, &found.attr);
        }
        self.directory(remote, path, found.id).await
    }

    /// Directories that no node has.
    fn above(&mut self, path: &RemotePath, entries: &[Above<'_>]) -> Result<(), Failure> {
        let dir = path.to_string();
        let dir = dir.trim_end_matches('/');
        for entry in entries {
            self.entry(&format!("{dir}/{}", entry.name), entry.name, &entry.attr())?;
        }
        Ok(())
    }

    async fn exports(&mut self, remote: &Remote) -> Result<(), Failure> {
        for export in remote.view.exports() {
            let Some(path) = remote.view.root_path(export) else {
                // Only --export can name it.
                continue;
            };
            let found = remote
                .view
                .resolve(&remote.client, &path)
                .await
                .doing("list", &path)?;
            let name = path.name().map_or(export.name.as_str(), |name| name.as_str());
            self.entry(&path.to_string(), name, &found.attr)?;
        }
        Ok(())
    }

    async fn directory(&mut self, remote: &Remote, path: &RemotePath, id: InodeId) -> Result<(), Failure> {
        let mut pages = Pages::of(&remote.client, id);
        let mut sorted = Vec::new();
        while let Some(mut page) = pages.next().await.doing("list", path)? {
            page.retain(|entry| self.ls.all || !entry.name.starts_with('.'));
            if self.ls.unsorted {
                self.entries(path, &page)?;
            } else {
                sorted.append(&mut page);
            }
        }
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        self.entries(path, &sorted)
    }

    fn entries(&mut self, dir: &RemotePath, entries: &[ListingEntry]) -> Result<(), Failure> {
        let dir = dir.to_string();
        let dir = dir.trim_end_matches('/');
        for entry in entries {
            self.entry(&format!("{dir}/{}", entry.name), &entry.name, &entry.attr)?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Failure> {
        if self.context.out.is_json() {
            self.context.out.raw("[")?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        if self.context.out.is_json() {
            self.context.out.raw("]\n")?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, name: &str, attr: &Attr) -> Result<(), Failure> {
        let out = &mut self.context.out;
        if out.is_json() {
            if !std::mem::take(&mut self.first) {
                out.raw(",")?;
            }
            return out.json(&FileJson::new(path, name, attr));
        }
        let (style, shown) = (style(attr), out.name(name));
        if !self.ls.long {
            return out.line(format_args!("{style}{shown}{style:#}"));
        }
        let size = if self.ls.human {
            format!("{:>9}", human_size(attr.sz))
        } else {
            format!("{:>12}", attr.sz)
        };
        let (mode, time) = (mode_text(attr), local_minute(attr.mt));
        out.line(format_args!("{mode} {size} {time} {style}{shown}{style:#}"))
    }
}
