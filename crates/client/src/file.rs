//! An open file that survives both a lost connection and a node that forgot its handles.

use spiderweb_protocol::fs::OpenFlags;
use spiderweb_protocol::{Errno, HandleId, InodeId};
use tokio::sync::Mutex;

use crate::client::Client;
use crate::error::Error;

/// How often one operation opens the file anew: a node that forgets handles faster than that is of no use.
const REOPENINGS: u32 = 8;

/// A file opened by id.
///
/// A node keeps handles across connections for a while, not across its own restart. When it no longer knows the
/// handle the file is opened once more, without truncation, and the operation repeated. The caller must
/// [`close`](Self::close) it; a dropped one stays open at the node until that times it out.
#[derive(Debug)]
pub struct OpenFile {
    client: Client,
    id: InodeId,
    flags: OpenFlags,
    /// Held while the file is opened anew, so that one of many readers does it.
    handle: Mutex<HandleId>,
}

impl OpenFile {
    /// Opens a file.
    pub async fn open(client: &Client, id: InodeId, flags: OpenFlags) -> Result<Self, Error> {
        let opened = client.open(id, flags).await?;
        Ok(Self::adopt(client, id, flags, opened.handle))
    }

    /// Takes over a handle, such as that of a file just created.
    pub fn adopt(client: &Client, id: InodeId, flags: OpenFlags, handle: HandleId) -> Self {
        Self {
            client: client.clone(),
            id,
            flags: OpenFlags(flags.0 & 3),
            handle: Mutex::new(handle),
        }
    }

    /// The file's id.
    pub fn id(&self) -> InodeId {
        self.id
    }

    /// Bytes at an offset, and whether the file ended within them; see [`Client::read`].
    pub async fn read_at(&self, offset: u64, len: u32) -> Result<(Vec<u8>, bool), Error> {
        let mut handle = *self.handle.lock().await;
        let mut reopenings = 0;
        loop {
            match self.client.read(handle, offset, len).await {
                Err(error) if error.is(Errno::EBADF) && reopenings < REOPENINGS => {
                    handle = self.reopen(handle, error).await?;
                    reopenings += 1;
                }
                result => return result,
            }
        }
    }

    /// Writes all of `data` at an offset.
    pub async fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut handle = *self.handle.lock().await;
        let mut reopenings = 0;
        let found = loop {
            match self.client.write(handle, offset, data).await {
                Err(error) if error.is(Errno::EBADF) && reopenings < REOPENINGS => {
                    handle = self.reopen(handle, error).await?;
                    reopenings += 1;
                }
                result => break result?,
            }
        };
        let expected = data.len() as u64;
        if found == expected {
            Ok(())
        } else {
            Err(Error::Length { expected, found })
        }
    }

    /// Opens the file again unless somebody else already has. `error` is what the stale handle caused.
    async fn reopen(&self, stale: HandleId, error: Error) -> Result<HandleId, Error> {
        let mut handle = self.handle.lock().await;
        if *handle == stale {
            // A file that cannot be opened any more explains less than the refusal that led here.
            let Ok(opened) = self.client.open(self.id, self.flags).await else {
                return Err(error);
            };
            *handle = opened.handle;
        }
        Ok(*handle)
    }

    /// Gives the handle back.
    pub async fn close(self) -> Result<(), Error> {
        match self.client.close(self.handle.into_inner()).await {
            // The node forgot it, so there is nothing to close.
            Err(error) if error.is(Errno::EBADF) => Ok(()),
            result => result,
        }
    }
}
