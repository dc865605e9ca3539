//! Symbolic links in the place of what was there before.

use spiderweb_protocol::{EntryName, Errno, InodeId};

use super::partial_name;
use crate::client::Client;
use crate::error::Error;

/// Makes a symbolic link. A file or link of that name is replaced at once, as a copied file is: it is there until the
/// link is, whatever fails in between.
pub async fn replace_link(
    client: &Client,
    parent: InodeId,
    name: &EntryName,
    target: &str,
) -> Result<(), Error> {
    match client.symlink(parent, name, target).await {
        Err(error) if error.is(Errno::EEXIST) => {}
        // Something is there; whoever made it, this link is to take its place.
        Err(Error::Uncertain { .. }) => {}
        made => return made,
    }
    let partial = EntryName::new(&partial_name(name.as_str()))?;
    match client.symlink(parent, &partial, target).await {
        // With a random name it was us.
        Ok(()) | Err(Error::Uncertain { .. }) => {}
        Err(error) => return Err(error),
    }
    let placed = client.rename(parent, &partial, parent, name).await;
    if placed.is_err() {
        // The first failure is the one to tell.
        let _ = client.unlink(parent, &partial).await;
    }
    placed
}
