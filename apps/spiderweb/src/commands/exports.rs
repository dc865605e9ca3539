//! `spiderweb exports`

use clap::Args;
use serde::Serialize;
use spiderweb_client::RemotePath;
use spiderweb_protocol::fs::Export;

use crate::context::Context;
use crate::failure::Failure;
use crate::global::remote_path;
use crate::remote::Reach;

#[derive(Serialize)]
struct ExportJson<'a> {
    name: &'a str,
    read_only: bool,
    kind: &'a str,
    description: &'a str,
    source: &'a str,
    root: u64,
    symlinks: bool,
    xattrs: bool,
    locks: bool,
    case_sensitive: bool,
    watched: bool,
}

/// List the exports of a node.
///
/// JSON: an array of {name, read_only, kind, description, source, root, symlinks, xattrs, locks, case_sensitive,
/// watched}.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "this is help text")]
pub(crate) struct Exports {
    /// One export, as in /work; behind a hub, a node or an export on it, as in /nodes/edge.
    #[arg(value_name = "PATH", value_parser = remote_path)]
    path: Option<RemotePath>,
}

impl Exports {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let mut reach = Reach::open(&context.global).await?;
        let remote = reach.only(self.path.as_ref()).await?;
        show(context, &remote.exports_at(self.path.as_ref())?)
    }
}

fn show(context: &mut Context, exports: &[Export]) -> Result<(), Failure> {
    let out = &mut context.out;
    if out.is_json() {
        let list: Vec<_> = exports
            .iter()
            .map(|export| ExportJson {
                name: &export.name,
                read_only: export.ro,
                kind: &export.source_kind,
                description: &export.desc,
                source: &export.source_id,
                root: export.root,
                symlinks: export.caps.symlink,
                xattrs: export.caps.xattr,
                locks: export.caps.locks,
                case_sensitive: export.caps.case_sensitive,
                watched: export.caps.native_watch,
            })
            .collect();
        return out.json(&list);
    }
    let names: Vec<_> = exports.iter().map(|export| out.name(&export.name)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    for (export, name) in exports.iter().zip(names) {
        let access = if export.ro { "read-only " } else { "read-write" };
        let about = out.name(&export.desc);
        out.line(format_args!(
            "{name:width$}  {access}  {:9}  {about}",
            export.source_kind
        ))?;
    }
    Ok(())
}
