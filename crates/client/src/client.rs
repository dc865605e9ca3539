//! Typed calls: one method per operation of the protocol.
//!
//! Every method sends its request at once, so callers that want several outstanding just run several futures. What
//! happens when the connection breaks is described at the top of the crate.

use std::sync::Arc;
use std::time::Duration;

use spiderweb_protocol::fs::{
    Attr, Export, FileKind, HelloReply, Listing, LockKind, OpenFlags, Opened, Payload, Request, Statfs,
    XattrFlags,
};
use spiderweb_protocol::{Base64Text, EntryName, Errno, HandleId, InodeId};
use spiderweb_transport::WsUrl;

use crate::error::Error;
use crate::recovery::{Verdict, verdict};
use crate::session::{Exchange, News, Options, Session};

/// A client of one node. Cheap to clone; all clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    session: Arc<Session>,
}

impl Client {
    /// Connects and says hello. Tries once: a wrong address or token fails at once.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        Ok(Self {
            session: Arc::new(Session::connect(options).await?),
        })
    }

    /// What the node said about itself when the first connection was made.
    pub fn hello(&self) -> &HelloReply {
        self.session.hello()
    }

    /// Says hello again: shows that the node is there and lets this client in.
    pub async fn check(&self) -> Result<HelloReply, Error> {
        self.session.check().await
    }

    /// Keeps the connection up while nothing is asked, as somebody who only listens to [`news`](Self::news) needs
    /// it: without a request, nobody else notices that it ended. Returns why it cannot be made again.
    ///
    /// Cancel safe.
    pub async fn keep_connected(&self) -> Error {
        self.session.keep().await
    }

    /// Where the node is.
    pub fn url(&self) -> &WsUrl {
        self.session.url()
    }

    /// How it is connected to, for further connections of the same kind.
    pub fn options(&self) -> &Options {
        self.session.options()
    }

    /// Subscribes to what the node announces from now on.
    pub fn news(&self) -> News {
        self.session.news()
    }

    async fn ask(&self, request: Request) -> Result<Exchange, Error> {
        self.session.exchange(&request).await
    }

    /// Asks for something that has no result; the error is left to be read with [`verdict`].
    async fn tell(&self, request: Request) -> Result<(), (Error, Verdict)> {
        let op = request.op();
        let exchange = self.ask(request).await.map_err(|e| (e, Verdict::Stands))?;
        exchange.decode(|_| Ok(())).map_err(|error| {
            let verdict = match error.errno() {
                Some(errno) if exchange.repeated => verdict(op, errno),
                _ => Verdict::Stands,
            };
            if verdict == Verdict::Uncertain {
                return (Error::Uncertain { op }, verdict);
            }
            (error, verdict)
        })
    }

    /// The exports of the node.
    pub async fn exports(&self) -> Result<Vec<Export>, Error> {
        self.ask(Request::Exports).await?.decode(Payload::exports)
    }

    /// The file system behind a file.
    pub async fn statfs(&self, id: InodeId) -> Result<Statfs, Error> {
        self.ask(Request::Statfs { id }).await?.decode(Payload::statfs)
    }

    /// What is known about a file.
    pub async fn getattr(&self, id: InodeId) -> Result<Attr, Error> {
        self.ask(Request::Getattr { id }).await?.decode(Payload::attr)
    }

    /// Finds a name in a directory.
    pub async fn lookup(&self, parent: InodeId, name: &EntryName) -> Result<Attr, Error> {
        let name = name.clone();
        self.ask(Request::Lookup { parent, name })
            .await?
            .decode(Payload::attr)
    }

    /// One page of a directory's entries, `.` and `..` included; [`Pages`](crate::Pages) reads all of them.
    pub async fn readdirp(&self, dir: InodeId, cookie: u64, max: u32) -> Result<Listing, Error> {
        self.ask(Request::Readdirp { dir, cookie, max })
            .await?
            .decode(Payload::listing)
    }

    /// Opens a file; [`OpenFile`](crate::OpenFile) also opens it again when the node forgot it.
    pub async fn open(&self, id: InodeId, flags: OpenFlags) -> Result<Opened, Error> {
        self.ask(Request::Open { id, flags })
            .await?
            .decode(Payload::opened)
    }

    /// Bytes of a file, and whether it ended within them. At most 1 MiB comes at once; fewer bytes than that and
    /// than asked for mean the end of the file.
    pub async fn read(&self, handle: HandleId, offset: u64, len: u32) -> Result<(Vec<u8>, bool), Error> {
        self.ask(Request::Read { handle, offset, len })
            .await?
            .decode(Payload::data)
    }

    /// Writes up to 1 MiB at an offset; the result is the number of bytes written.
    pub async fn write(&self, handle: HandleId, offset: u64, data: &[u8]) -> Result<u64, Error> {
        let data = Base64Text::encode(data);
        self.ask(Request::Write { handle, offset, data })
            .await?
            .decode(Payload::written)
    }

    /// Writes to a file that acts on what is written to it: never sent twice, and answered when the act is over, for
    /// which at most `patience` is waited. When the connection ends first, [`Error::Lost`] leaves open whether it was
    /// done.
    pub async fn write_once(
        &self,
        handle: HandleId,
        offset: u64,
        data: &[u8],
        patience: Duration,
    ) -> Result<u64, Error> {
        let data = Base64Text::encode(data);
        let request = Request::Write { handle, offset, data };
        self.session
            .exchange_once(&request, patience)
            .await?
            .decode(Payload::written)
    }

    /// Gives a handle back.
    pub async fn close(&self, handle: HandleId) -> Result<(), Error> {
        done(self.tell(Request::Close { handle }).await)
    }

    /// Takes, converts or gives back an advisory lock of the whole file. With `wait`, a node answers 11 (would
    /// block) after some seconds; ask again then.
    pub async fn lock(&self, handle: HandleId, kind: LockKind, wait: bool) -> Result<(), Error> {
        done(self.tell(Request::Lock { handle, kind, wait }).await)
    }

    /// Makes a new file and opens it. Fails when the name exists.
    pub async fn create(
        &self,
        parent: InodeId,
        name: &EntryName,
        mode: u32,
        flags: OpenFlags,
    ) -> Result<(Attr, HandleId), Error> {
        let request = Request::Create {
            parent,
            name: name.clone(),
            mode,
            flags,
        };
        let op = request.op();
        let exchange = self.ask(request).await?;
        exchange.decode(Payload::created).map_err(|error| {
            if exchange.repeated && error.is(Errno::EEXIST) {
                Error::Uncertain { op }
            } else {
                error
            }
        })
    }

    /// Cuts or extends a file.
    pub async fn truncate(&self, id: InodeId, size: u64) -> Result<(), Error> {
        done(self.tell(Request::Truncate { id, size }).await)
    }

    /// Removes a file, or a link itself.
    pub async fn unlink(&self, parent: InodeId, name: &EntryName) -> Result<(), Error> {
        let name = name.clone();
        done(self.tell(Request::Unlink { parent, name }).await)
    }

    /// Makes a directory.
    pub async fn mkdir(&self, parent: InodeId, name: &EntryName) -> Result<(), Error> {
        let request = Request::Mkdir {
            parent,
            name: name.clone(),
        };
        match self.tell(request).await {
            Err((error, Verdict::Look)) => match self.lookup(parent, name).await {
                Ok(attr) if attr.kind() == FileKind::Directory => Ok(()),
                _ => Err(error),
            },
            result => done(result),
        }
    }

    /// Removes an empty directory.
    pub async fn rmdir(&self, parent: InodeId, name: &EntryName) -> Result<(), Error> {
        let name = name.clone();
        done(self.tell(Request::Rmdir { parent, name }).await)
    }

    /// Renames within an export, replacing a file or an empty directory of the new name.
    pub async fn rename(
        &self,
        old_parent: InodeId,
        old_name: &EntryName,
        new_parent: InodeId,
        new_name: &EntryName,
    ) -> Result<(), Error> {
        let request = Request::Rename {
            old_parent,
            old_name: old_name.clone(),
            new_parent,
            new_name: new_name.clone(),
        };
        match self.tell(request).await {
            Err((error, Verdict::Look)) => match self.lookup(new_parent, new_name).await {
                Ok(_) => Ok(()),
                Err(_) => Err(error),
            },
            result => done(result),
        }
    }

    /// Makes a symbolic link; the node stores `target` as it is.
    pub async fn symlink(&self, parent: InodeId, name: &EntryName, target: &str) -> Result<(), Error> {
        let request = Request::Symlink {
            parent,
            name: name.clone(),
            target: target.into(),
        };
        done(self.tell(request).await)
    }

    /// Sets an extended attribute.
    pub async fn setxattr(
        &self,
        id: InodeId,
        name: &str,
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<(), Error> {
        let request = Request::Setxattr {
            id,
            name: name.into(),
            value: Base64Text::encode(value),
            flags,
        };
        match self.tell(request).await {
            Err((error, Verdict::Look)) => match self.getxattr(id, name).await {
                Ok(found) if found == value => Ok(()),
                _ => Err(error),
            },
            result => done(result),
        }
    }

    /// The value of an extended attribute.
    pub async fn getxattr(&self, id: InodeId, name: &str) -> Result<Vec<u8>, Error> {
        let name = name.into();
        self.ask(Request::Getxattr { id, name })
            .await?
            .decode(Payload::xattr_value)
    }

    /// The names of all extended attributes.
    pub async fn listxattr(&self, id: InodeId) -> Result<Vec<String>, Error> {
        self.ask(Request::Listxattr { id })
            .await?
            .decode(Payload::xattr_names)
    }

    /// Removes an extended attribute.
    pub async fn removexattr(&self, id: InodeId, name: &str) -> Result<(), Error> {
        let name = name.into();
        done(self.tell(Request::Removexattr { id, name }).await)
    }
}

fn done(result: Result<(), (Error, Verdict)>) -> Result<(), Error> {
    match result {
        Ok(()) | Err((_, Verdict::Done)) => Ok(()),
        Err((error, _)) => Err(error),
    }
}
