//! `spiderweb put`

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde::Serialize;
use spiderweb_client::{Error, OpenFile, RemotePath, Upload, Window};
use spiderweb_protocol::fs::OpenFlags;
use spiderweb_protocol::limits::MAX_WRITE;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::context::Context;
use crate::failure::{Doing as _, Failure};
use crate::global::{maybe_path, remote_path};
use crate::progress;
use crate::remote::Reach;

/// Write standard input or a file to a file on the node.
///
/// The new contents appear at once and whole: they are written under another name, measured and renamed. An existing
/// file keeps its permissions.
///
/// JSON: {path, bytes}.
#[derive(Debug, Args)]
pub(crate) struct Put {
    /// What to write; standard input if there is only one argument, or `-`.
    #[arg(value_name = "SOURCE", value_hint = ValueHint::FilePath)]
    first: PathBuf,

    /// The file on the node.
    #[arg(value_name = "PATH", value_parser = remote_path)]
    second: Option<RemotePath>,

    /// Write into the existing file instead of replacing it: for files that act on what is written to them.
    #[arg(long)]
    in_place: bool,
}

#[derive(Serialize)]
struct PutJson<'a> {
    path: &'a str,
    bytes: u64,
}

/// Permissions of a new file that comes from standard input, before the node's umask.
const NEW_FILE: u32 = 0o666;

type Source = Box<dyn AsyncRead + Unpin + Send>;

impl Put {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let (source, path) = self.ends()?;
        let mut reach = Reach::open(&context.global).await?;
        let remote = reach.to(&path).await?;
        let (mut source, mode, total) = open(source).await?;
        let bar = progress::bar(&context.global, path.to_string(), total);

        let bytes = if self.in_place {
            let found = remote
                .view
                .resolve(&remote.client, &path)
                .await
                .doing("write", &path)?;
            let file = OpenFile::open(&remote.client, found.id, OpenFlags(1 | OpenFlags::TRUNCATE));
            let file = remote.changing(file.await, "write", &path)?;
            let written = overwrite(&file, &mut source, |bytes| bar.inc(bytes)).await;
            let closed = file.close().await;
            written.and_then(|bytes| closed.map(|()| bytes))
        } else {
            let existing = remote
                .view
                .find(&remote.client, &path)
                .await
                .doing("write", &path)?;
            if existing
                .as_ref()
                .is_some_and(spiderweb_client::Found::is_directory)
            {
                return Err(Error::IsDirectory).doing("write", &path);
            }
            let (parent, name) = remote
                .view
                .parent_of_file(&remote.client, &path)
                .await
                .doing("write", &path)?;
            let upload = Upload {
                client: &remote.client,
                parent: parent.id,
                name,
                mode: existing.map_or(mode, |found| found.attr.m) & 0o777,
                window: Window::default(),
                stop: &context.stop,
            };
            upload.run(&mut source, |bytes| bar.inc(bytes)).await
        };
        bar.finish_and_clear();
        let bytes = remote.changing(bytes, "write", &path)?;
        if context.out.is_json() {
            let path = &path.to_string();
            context.out.json(&PutJson { path, bytes })?;
        }
        Ok(())
    }

    /// The source, `None` for standard input, and the target.
    fn ends(&self) -> Result<(Option<&PathBuf>, RemotePath), Failure> {
        match &self.second {
            Some(path) if self.first.as_os_str() == "-" => Ok((None, path.clone())),
            Some(path) => Ok((Some(&self.first), path.clone())),
            None => {
                let path = maybe_path(&self.first.to_string_lossy())?;
                Ok((None, path))
            }
        }
    }
}

async fn open(source: Option<&PathBuf>) -> Result<(Source, u32, Option<u64>), Failure> {
    let Some(path) = source else {
        return Ok((Box::new(tokio::io::stdin()), NEW_FILE, None));
    };
    let cannot = || format!("cannot read {}", path.display());
    let file = tokio::fs::File::open(path).await;
    let file = file.map_err(|error| Failure::local(cannot(), error))?;
    let metadata = file.metadata().await;
    let metadata = metadata.map_err(|error| Failure::local(cannot(), error))?;
    if metadata.is_dir() {
        return Err(Failure::message(format!("{}: is a directory", cannot()))
            .hint("`spiderweb cp -r` copies directories"));
    }
    let total = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), permissions(&metadata), total))
}

/// The permission bits a file has here.
pub(super) fn permissions(metadata: &std::fs::Metadata) -> u32 {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        metadata.permissions().mode() & 0o777
    }
    #[cfg(not(unix))]
    {
        if metadata.permissions().readonly() {
            0o444
        } else {
            NEW_FILE
        }
    }
}

/// Writes block after block, in order and one at a time, as a file that acts on its contents needs it.
async fn overwrite(
    file: &OpenFile,
    source: &mut Source,
    mut progress: impl FnMut(u64),
) -> Result<u64, Error> {
    let mut offset = 0;
    loop {
        let mut block = Vec::new();
        let read = source.take(MAX_WRITE as u64).read_to_end(&mut block).await;
        read.map_err(|source| Error::Local {
            what: "cannot read the source".to_owned(),
            source,
        })?;
        if block.is_empty() && offset > 0 {
            return Ok(offset);
        }
        file.write_at(offset, &block).await?;
        if block.is_empty() {
            return Ok(0);
        }
        offset += block.len() as u64;
        progress(block.len() as u64);
    }
}
