//! `spiderweb stat`

use clap::Args;
use serde::Serialize;
use spiderweb_client::RemotePath;

use crate::context::Context;
use crate::failure::{Doing as _, Failure};
use crate::global::remote_path;
use crate::output::{FileJson, kind_word, mode_text};
use crate::remote::Reach;
use crate::units::{human_size, local_exact, rfc3339};

/// Show everything that is known about files.
///
/// JSON: one line per file: {path, name, kind, size, mode, modified, id, accessed, changed, links, uid, gid,
/// generation, export}.
#[derive(Debug, Args)]
pub(crate) struct Stat {
    /// The files.
    #[arg(value_name = "PATH", value_parser = remote_path, required = true)]
    paths: Vec<RemotePath>,
}

#[derive(Serialize)]
struct StatJson<'a> {
    #[serde(flatten)]
    file: FileJson<'a>,
    accessed: String,
    changed: String,
    links: u64,
    uid: u32,
    gid: u32,
    generation: u64,
    export: &'a str,
}

impl Stat {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let mut reach = Reach::open(&context.global).await?;
        let out = &mut context.out;
        for path in &self.paths {
            let remote = reach.to(path).await?;
            let found = remote
                .view
                .resolve(&remote.client, path)
                .await
                .doing("examine", path)?;
            let (attr, text) = (&found.attr, path.to_string());
            if out.is_json() {
                let name = path.name().map_or("", |name| name.as_str());
                out.json(&StatJson {
                    file: FileJson::new(&text, name, attr),
                    accessed: rfc3339(attr.at),
                    changed: rfc3339(attr.ct),
                    links: attr.n,
                    uid: attr.u,
                    gid: attr.g,
                    generation: attr.generation,
                    export: &found.export.name,
                })?;
                continue;
            }
            let (kind, size, human) = (kind_word(attr.kind()), attr.sz, human_size(attr.sz));
            let bits = attr.m & 0o7777;
            let shown = out.name(&text);
            out.line(format_args!("    path  {shown}"))?;
            out.line(format_args!(
                "    kind  {kind}, {}, id {}",
                links(attr.n),
                attr.id
            ))?;
            out.line(format_args!("    size  {size} bytes ({human})"))?;
            out.line(format_args!(
                "    mode  {} ({bits:04o}), uid {}, gid {}",
                mode_text(attr),
                attr.u,
                attr.g
            ))?;
            out.line(format_args!("modified  {}", local_exact(attr.mt)))?;
            out.line(format_args!(" changed  {}", local_exact(attr.ct)))?;
            out.line(format_args!("accessed  {}", local_exact(attr.at)))?;
        }
        Ok(())
    }
}

fn links(count: u64) -> String {
    format!("{count} link{}", if count == 1 { "" } else { "s" })
}
