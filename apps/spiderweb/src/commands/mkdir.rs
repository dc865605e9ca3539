//! `spiderweb mkdir`

use clap::Args;
use spiderweb_client::{Error, RemotePath};
use spiderweb_protocol::Errno;

use crate::context::Context;
use crate::failure::Failure;
use crate::global::remote_path;
use crate::remote::{Reach, Remote};

/// Make directories.
#[derive(Debug, Args)]
pub(crate) struct Mkdir {
    /// The directories.
    #[arg(value_name = "PATH", value_parser = remote_path, required = true)]
    paths: Vec<RemotePath>,

    /// Make missing directories on the way, too; an existing one is fine.
    #[arg(short, long)]
    parents: bool,
}

impl Mkdir {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let mut reach = Reach::open(&context.global).await?;
        for path in &self.paths {
            let remote = reach.to(path).await?;
            let made = if self.parents {
                make_all(&remote, path).await
            } else {
                make(&remote, path).await
            };
            remote.changing(made, "make the directory", path)?;
        }
        Ok(())
    }
}

async fn make(remote: &Remote, path: &RemotePath) -> Result<(), Error> {
    let (parent, name) = remote.view.parent(&remote.client, path).await?;
    remote.client.mkdir(parent.id, name).await
}

/// Makes a directory and those it lies in, as far as they are missing.
pub(super) async fn make_all(remote: &Remote, path: &RemotePath) -> Result<(), Error> {
    if let Some(found) = remote
        .view
        .resolve(&remote.client, path)
        .await
        .map(Some)
        .or_else(missing)?
    {
        return if found.is_directory() {
            Ok(())
        } else {
            Err(Error::NotDirectory)
        };
    }
    if let Some((parent, _)) = path.split() {
        Box::pin(make_all(remote, &parent)).await?;
    }
    match make(remote, path).await {
        // Somebody else was faster, which is as good.
        Err(error) if error.errno() == Some(Errno::EEXIST) => Ok(()),
        result => result,
    }
}

fn missing<T>(error: Error) -> Result<Option<T>, Error> {
    if error.errno() == Some(Errno::ENOENT) {
        Ok(None)
    } else {
        Err(error)
    }
}
