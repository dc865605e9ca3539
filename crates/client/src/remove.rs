//! Removing a whole tree without following links out of it.

use std::pin::Pin;

use spiderweb_protocol::fs::FileKind;
use spiderweb_protocol::{EntryName, Errno, InodeId};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::error::Error;
use crate::path::RemotePath;
use crate::tree::list;
use crate::view::node_id;

/// Entries of one directory removed at the same time.
const AT_ONCE: usize = 32;

/// Removes `name` in `parent`, and what is in it; `path` is where that is, for error messages.
///
/// Nodes show a link to a directory as that directory. So everything is first removed as if it were a file: that
/// removes a link itself and is refused only for a real directory, which is then emptied and removed. The first
/// failure ends it; what was removed by then stays removed.
pub async fn remove_tree(
    client: &Client,
    parent: InodeId,
    name: &EntryName,
    path: &RemotePath,
) -> Result<(), Error> {
    match client.unlink(parent, name).await {
        // 21 as Linux refuses it, 1 as other systems do.
        Err(error) if error.is(Errno::EISDIR) || error.is(Errno::EPERM) => {}
        result => return result.map_err(|error| error.at(path)),
    }
    let dir = async {
        let attr = client.lookup(parent, name).await?;
        if attr.kind() != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        let id = node_id(attr.id)?;
        empty(client, id, path).await?;
        match client.rmdir(parent, name).await {
            Err(error) if error.is(Errno::ENOTEMPTY) && list(client, id).await?.is_empty() => {
                Err(Error::Unlisted)
            }
            result => result,
        }
    };
    dir.await.map_err(|error| error.at(path))
}

async fn empty(client: &Client, dir: InodeId, path: &RemotePath) -> Result<(), Error> {
    let mut removing = JoinSet::new();
    for entry in list(client, dir).await? {
        if removing.len() == AT_ONCE {
            joined(removing.join_next().await)?;
        }
        let name = EntryName::new(&entry.name)?;
        removing.spawn(remove_owned(client.clone(), dir, name.clone(), path.join(name)));
    }
    while !removing.is_empty() {
        joined(removing.join_next().await)?;
    }
    Ok(())
}

/// A boxed future, because a directory is emptied by removing directories.
fn remove_owned(
    client: Client,
    parent: InodeId,
    name: EntryName,
    path: RemotePath,
) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
    Box::pin(async move { remove_tree(&client, parent, &name, &path).await })
}

fn joined(result: Option<Result<Result<(), Error>, tokio::task::JoinError>>) -> Result<(), Error> {
    result.unwrap_or(Ok(Ok(()))).map_err(|_panicked| Error::Task)?
}
