//! `spiderweb rm`

use clap::Args;
use spiderweb_client::{Error, RemotePath, remove_tree};
use spiderweb_protocol::Errno;

use crate::context::Context;
use crate::failure::{Doing as _, Failure};
use crate::global::remote_path;
use crate::remote::{Reach, Remote};

/// Remove files; with -r directories and what is in them.
///
/// Links are removed themselves, never what they lead to.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// What to remove.
    #[arg(value_name = "PATH", value_parser = remote_path, required = true)]
    paths: Vec<RemotePath>,

    /// Remove directories and what is in them.
    #[arg(short, long)]
    recursive: bool,

    /// What does not exist is fine.
    #[arg(short, long)]
    force: bool,
}

impl Rm {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let mut reach = Reach::open(&context.global).await?;
        let mut failed = false;
        for path in &self.paths {
            let remote = reach.to(path).await?;
            if let Some(what) = remote.fixture(path) {
                return Err(Failure::Usage(format!(
                    "{path} is {what}; only what is in an export can be removed"
                )));
            }
            if let Err(failure) = self.remove(&remote, path).await {
                failure.report();
                failed = true;
            }
        }
        if failed { Err(Failure::Reported) } else { Ok(()) }
    }

    async fn remove(&self, remote: &Remote, path: &RemotePath) -> Result<(), Failure> {
        let removed = async {
            let (parent, name) = remote.view.parent(&remote.client, path).await?;
            if path.wants_directory() {
                // The node is told the name alone.
                remote.view.directory(&remote.client, path).await?;
            }
            if self.recursive {
                remove_tree(&remote.client, parent.id, name, path).await
            } else {
                remote.client.unlink(parent.id, name).await
            }
        };
        match removed.await {
            Err(error) if self.force && error.errno() == Some(Errno::ENOENT) => Ok(()),
            Err(error) if !self.recursive && is_directory(&error) => Err::<(), _>(error)
                .doing("remove", path)
                .map_err(|failure| failure.hint(format!("`spiderweb rm -r {path}` removes directories"))),
            result => remote.changing(result, "remove", path),
        }
    }
}

fn is_directory(error: &Error) -> bool {
    error.errno() == Some(Errno::EISDIR)
}
