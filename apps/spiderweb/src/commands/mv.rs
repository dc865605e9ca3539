//! `spiderweb mv`

use clap::Args;
use spiderweb_client::{Error, RemotePath};
use spiderweb_protocol::Errno;

use crate::context::Context;
use crate::failure::{Doing as _, Failure, is_long};
use crate::global::remote_path;
use crate::remote::Reach;

/// Rename or move within an export.
///
/// An existing file of the new name is replaced; into an existing directory it is moved.
#[derive(Debug, Args)]
pub(crate) struct Mv {
    /// What to move.
    #[arg(value_name = "OLD", value_parser = remote_path)]
    old: RemotePath,

    /// Its new name, or the directory to move it into.
    #[arg(value_name = "NEW", value_parser = remote_path)]
    new: RemotePath,
}

impl Mv {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let mut reach = Reach::open(&context.global).await?;
        let remote = reach.to(&self.old).await?;
        let target = reach.to(&self.new).await?;
        if !remote.is_same_node(&target) {
            return Err(Failure::message(format!(
                "cannot move {} to {}: they lie on different nodes",
                self.old, self.new
            ))
            .hint("copy with `spiderweb cp -r :OLD :NEW`, then remove the old one"));
        }
        let old_name = match (self.old.name(), remote.fixture(&self.old)) {
            (Some(name), None) => name.clone(),
            (_, what) => {
                let what = what.unwrap_or("the top");
                return Err(Failure::Usage(format!(
                    "{} is {what} and cannot be moved",
                    self.old
                )));
            }
        };
        let moved = async {
            let (old_parent, _) = remote.view.parent(&remote.client, &self.old).await?;
            // Links are moved themselves, also those that lead nowhere; so the old path is looked at only where a
            // slash asks for a directory, which the node is not told of.
            let is_file = if self.old.wants_directory() || self.new.wants_directory() {
                let found = remote.view.resolve(&remote.client, &self.old).await?;
                !found.is_directory()
            } else {
                false
            };
            let existing = target.view.find(&target.client, &self.new).await?;
            let (new_parent, new_name) = match existing {
                // Renaming a directory to itself with another spelling of its path must not move it into itself.
                Some(dir) if dir.is_directory() && self.new != self.old => (dir, old_name.clone()),
                _ if is_file => {
                    let parent = target.view.parent_of_file(&target.client, &self.new).await;
                    let (parent, name) = parent?;
                    (parent, name.clone())
                }
                _ => {
                    let (parent, name) = target.view.parent(&target.client, &self.new).await?;
                    (parent, name.clone())
                }
            };
            let client = &remote.client;
            client
                .rename(old_parent.id, &old_name, new_parent.id, &new_name)
                .await
        };
        let moved: Result<(), Error> = moved.await;
        let verb = format!("move {} to", self.old);
        match moved {
            // The wire has one number for a name that is too long and for a move that makes no sense.
            Err(error) if error.errno() == Some(Errno::EINVAL) && has_long_name(&self.old) => {
                Err(error).doing("move", &self.old)
            }
            Err(error) if error.errno() == Some(Errno::EINVAL) && !has_long_name(&self.new) => {
                Err(Failure::message(format!(
                    "cannot {verb} {}: a directory cannot be moved into itself",
                    self.new
                )))
            }
            moved => target.changing(moved, &verb, &self.new),
        }
    }
}

fn has_long_name(path: &RemotePath) -> bool {
    path.names().iter().any(|name| is_long(name.as_str()))
}
