//! `spiderweb cat`

use clap::Args;
use spiderweb_client::{Error, RemotePath, Window, fetch};

use crate::context::Context;
use crate::failure::{Doing as _, Failure};
use crate::global::remote_path;
use crate::output::stdout_failed;
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
                return Err(Error::IsDirectory).doing("read", path);
            }
            let window = Window::default();
            match fetch(&remote.client, found.id, window, &mut stdout, |_| {}).await {
                // Nothing else happens on this machine.
                Err(Error::Local { source, .. }) => return Err(stdout_failed(source)),
                fetched => fetched.doing("read", path)?,
            };
        }
        Ok(())
    }
}
