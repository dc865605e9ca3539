//! `spiderweb df`

use clap::{ArgAction, Args};
use serde::Serialize;
use spiderweb_client::RemotePath;
use spiderweb_protocol::InodeId;
use spiderweb_protocol::fs::Statfs;

use crate::context::Context;
use crate::failure::{Doing as _, Failure};
use crate::global::remote_path;
use crate::remote::Reach;
use crate::units::human_size;

/// Show how full the file systems behind the exports are.
///
/// JSON: an array of {export, size, used, available, files, files_free}, sizes in bytes.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "this is help text")]
#[command(disable_help_flag = true)]
pub(crate) struct Df {
    /// One export, as in /work; behind a hub, a node or an export on it, as in /nodes/edge.
    #[arg(value_name = "PATH", value_parser = remote_path)]
    path: Option<RemotePath>,

    /// Sizes in KiB, MiB, ….
    #[arg(short = 'h', long)]
    human: bool,

    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Serialize)]
struct DfJson<'a> {
    export: &'a str,
    size: u64,
    used: u64,
    available: u64,
    files: u64,
    files_free: u64,
}

impl<'a> DfJson<'a> {
    fn new(export: &'a str, statfs: &Statfs) -> Self {
        let bytes = |blocks: u64| blocks.saturating_mul(statfs.frsize);
        Self {
            export,
            size: bytes(statfs.blocks),
            used: bytes(statfs.blocks.saturating_sub(statfs.bfree)),
            available: bytes(statfs.bavail),
            files: statfs.files,
            files_free: statfs.ffree,
        }
    }

    /// Used part of what ordinary users could use, in percent, as `df` rounds it.
    fn percent(&self) -> String {
        let whole = self.used.saturating_add(self.available);
        match u128::from(self.used) * 100 {
            _ if whole == 0 => "-".to_owned(),
            used => format!("{}%", used.div_ceil(u128::from(whole))),
        }
    }
}

impl Df {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let mut reach = Reach::open(&context.global).await?;
        let remote = reach.only(self.path.as_ref()).await?;
        let mut rows = Vec::new();
        let exports = remote.exports_at(self.path.as_ref())?;
        for export in &exports {
            if let Some(root) = InodeId::new(export.root) {
                let statfs = remote.client.statfs(root).await.doing("measure", &export.name)?;
                rows.push(DfJson::new(&export.name, &statfs));
            }
        }
        let out = &mut context.out;
        if out.is_json() {
            return out.json(&rows);
        }
        let width = rows
            .iter()
            .map(|row| row.export.chars().count())
            .max()
            .unwrap_or(0)
            .max(6);
        out.line(format_args!(
            "{:width$} {:>16} {:>16} {:>16} {:>4}",
            "Export", "Size", "Used", "Available", "Use%"
        ))?;
        let size = |bytes: u64| {
            if self.human {
                human_size(bytes)
            } else {
                bytes.to_string()
            }
        };
        for row in &rows {
            let name = out.name(row.export);
            out.line(format_args!(
                "{name:width$} {:>16} {:>16} {:>16} {:>4}",
                size(row.size),
                size(row.used),
                size(row.available),
                row.percent()
            ))?;
        }
        Ok(())
    }
}
