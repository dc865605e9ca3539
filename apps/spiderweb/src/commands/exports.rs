//! `spiderweb exports`

use serde::Serialize;

use super::Context;
use crate::failure::Failure;
use crate::remote::Remote;

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

pub(super) async fn run(context: &mut Context) -> Result<(), Failure> {
    let remote = Remote::connect(&context.global).await?;
    let exports = remote.view.exports();
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
