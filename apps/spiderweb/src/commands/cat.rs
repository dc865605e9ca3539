//! `spiderweb cat`

use clap::Args;
use spiderweb_client::{RemotePath, Window, fetch};

use crate::context::Context;
use crate::failure::{Doing as _, Failure};
use crate::global::remote_path;
use crate::remote::Reach;

/// Write files to standard output.
#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// The files.
    #[arg(value_name = "PATH", value_parser = remote_path, required = true)]
    paths: Vec<RemotePath>,
}

impl Cat {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let mut reach = Reach::open(&context.global).await?;
        let mut stdout = tokio::io::stdout();
        for path in &self.paths {
            let remote = reach.to(path).await?;
            let found = remote
                .view
                .resolve(&remote.client, path)
                .await
                .doing("read", path)?;
            if found.is_directory() {
                return Err(spiderweb_client::Error::IsDirectory).doing("read", path);
            }
            fetch(&remote.client, found.id, Window::default(), &mut stdout, |_| {})
                .await
                .doing("read", path)?;
        }
        Ok(())
    }
}
