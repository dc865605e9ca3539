//! `spiderweb ln`

use clap::Args;
use spiderweb_client::RemotePath;

use crate::context::Context;
use crate::failure::Failure;
use crate::global::remote_path;
use crate::remote::Reach;

/// Make a symbolic link.
///
/// The target is stored as it is. Nodes follow a link only as long as it stays within the export; a link that leads
/// outside can be made but not used through the node.
#[derive(Debug, Args)]
pub(crate) struct Ln {
    /// Make a symbolic link; nodes make no others.
    #[arg(short, long, required = true)]
    symbolic: bool,

    /// Where the link leads, as seen from the directory it is in.
    #[arg(value_name = "TARGET")]
    target: String,

    /// The link to make.
    #[arg(value_name = "PATH", value_parser = remote_path)]
    path: RemotePath,
}

impl Ln {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let mut reach = Reach::open(&context.global).await?;
        let remote = reach.to(&self.path).await?;
        let made = async {
            let parent = remote.view.parent_of_file(&remote.client, &self.path).await;
            let (parent, name) = parent?;
            remote.client.symlink(parent.id, name, &self.target).await
        };
        remote.changing(made.await, "make the link", &self.path)
    }
}
