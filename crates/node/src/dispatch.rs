//! From a request to the operation that answers it.

use std::net::IpAddr;
use std::sync::Arc;

use smallvec::smallvec;
use spiderweb_fs::{
    Aftermath, BoxFuture, Creation, Effect, Events, Export, ExportTable, FsError, OpenHandle, Patience,
    SessionId, Source,
};
use spiderweb_protocol::fs::{
    Change, Event, ListingEncoder, LockKind, Op, OpenFlags, Opened, Reply, Request,
};
use spiderweb_protocol::limits::{MAX_READ, MAX_WRITE, PAGE_RESERVE};
use spiderweb_protocol::{Base64Text, EntryName, HandleId, InodeId};
use tokio::time::Instant;

use crate::shared::Service;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) session: SessionId,
    pub(crate) peer: Option<IpAddr>,
    /// Bytes of the largest frame the peer takes.
    pub(crate) frame_limit: usize,
}

/// What came of a request.
pub(crate) struct Outcome {
    pub(crate) result: Result<Reply, FsError>,
    /// What everybody is told, the asking session first.
    pub(crate) events: Events,
    /// The request goes on: `result` is its answer only if this ends well.
    pub(crate) pending: Option<BoxFuture<Effect>>,
}

impl Outcome {
    fn quiet(result: Result<Reply, FsError>) -> Self {
        Self {
            result,
            events: Events::new(),
            pending: None,
        }
    }

    fn changed<T>(result: Result<T, FsError>, tell: impl FnOnce(T) -> (Reply, Events)) -> Self {
        match result.map(tell) {
            Ok((reply, events)) => Self {
                result: Ok(reply),
                events,
                pending: None,
            },
            Err(error) => Self::quiet(Err(error)),
        }
    }

    /// Of a change of content: `usual` tells of it where nothing else follows.
    fn after(reply: Reply, usual: Events, aftermath: Aftermath) -> Self {
        match aftermath {
            Aftermath::Nothing => Self {
                result: Ok(reply),
                events: usual,
                pending: None,
            },
            Aftermath::Over(Effect { result, events }) => Self {
                result: result.map(|()| reply),
                events,
                pending: None,
            },
            Aftermath::Pending { events, end } => Self {
                result: Ok(reply),
                events,
                pending: Some(end),
            },
        }
    }
}

fn inode(id: InodeId, change: Change) -> Event {
    Event::Inode {
        id,
        change,
        generation: None,
    }
}

fn entries(id: InodeId) -> Event {
    Event::Directory { id }
}

impl Service {
    /// Refuses what the export behind an id can never do, before any argument is looked at (section 8).
    pub(crate) fn check_capability(&self, op: Op, node: Option<InodeId>) -> Result<(), FsError> {
        let needs: fn(&spiderweb_protocol::fs::ExportCaps) -> bool = match op {
            Op::Symlink => |caps| caps.symlink,
            Op::Setxattr | Op::Getxattr | Op::Listxattr | Op::Removexattr => |caps| caps.xattr,
            _ => return Ok(()),
        };
        let offer = self.current();
        match node.and_then(|id| offer.exports.of(id).ok()) {
            Some(export) if !needs(&export.source().caps()) => Err(FsError::NotImplemented),
            _ => Ok(()),
        }
    }

    /// Carries out one request. With [`Patience::Immediate`] nothing waits for a disk, and
    /// [`FsError::NotNow`] means that nothing was done.
    ///
    /// Every kind of request is named here, so that a further one does not compile until it has an answer.
    pub(crate) fn perform(&self, request: &Request, caller: Caller, patience: Patience) -> Outcome {
        let exports = &self.current().exports;
        let session = caller.session;
        match request {
            // What memory may answer.
            Request::Exports => Outcome::quiet(Ok(Reply::Exports(exports.announced().clone()))),
            Request::Getattr { id } => look(exports, *id, |s| s.getattr(*id, patience), Reply::Attr),
            Request::Lookup { parent, name } => look(
                exports,
                *parent,
                |s| s.lookup(*parent, name, patience),
                Reply::Attr,
            ),
            Request::Read { handle, offset, len } => {
                Outcome::quiet(self.read(*handle, *offset, *len, session, patience))
            }
            Request::Open { id, flags } => self.open(exports, *id, *flags, session, patience),
            Request::Close { handle } => Outcome::quiet(self.close(*handle, session, patience)),
            _ if patience == Patience::Immediate => Outcome::quiet(Err(FsError::NotNow)),

            // What may wait for a disk, and changes nothing that others see.
            Request::Statfs { id } => look(exports, *id, |s| s.statfs(*id), Reply::Statfs),
            Request::Readdirp { dir, cookie, max } => {
                Outcome::quiet(list(exports, *dir, *cookie, *max, caller.frame_limit))
            }
            Request::Getxattr { id, name } => look(exports, *id, |s| s.xattr(*id, name), Reply::XattrValue),
            Request::Listxattr { id } => look(exports, *id, |s| s.xattrs(*id), Reply::XattrNames),
            Request::Lock { handle, kind, .. } => Outcome::quiet(self.lock(*handle, *kind, session)),

            // What changes a file.
            Request::Write { handle, offset, data } => self.write(*handle, *offset, data, session),
            Request::Truncate { id, size } => truncate(exports, *id, *size),
            Request::Setxattr {
                id,
                name,
                value,
                flags,
            } => change_attr(exports, *id, |s| {
                s.exists(*id)?;
                let value = value.decode().map_err(|_| FsError::InvalidBase64)?;
                s.set_xattr(*id, name, &value, *flags)
            }),
            Request::Removexattr { id, name } => change_attr(exports, *id, |s| s.remove_xattr(*id, name)),

            // What changes the entries of directories.
            Request::Create {
                parent,
                name,
                mode,
                flags,
            } => self.create(exports, (*parent, name), *mode, *flags, caller),
            Request::Unlink { parent, name } => change_entries(exports, *parent, |s| s.unlink(*parent, name)),
            Request::Mkdir { parent, name } => change_entries(exports, *parent, |s| s.mkdir(*parent, name)),
            Request::Rmdir { parent, name } => change_entries(exports, *parent, |s| s.rmdir(*parent, name)),
            Request::Symlink { parent, name, target } => {
                change_entries(exports, *parent, |s| s.symlink(*parent, name, target))
            }
            Request::Rename {
                old_parent,
                old_name,
                new_parent,
                new_name,
            } => rename(exports, (*old_parent, old_name), (*new_parent, new_name)),
        }
    }

    fn handle(&self, id: HandleId, session: SessionId) -> Result<Arc<OpenHandle>, FsError> {
        self.handles.get(id, session, Instant::now().into_std())
    }

    fn read(
        &self,
        handle: HandleId,
        offset: u64,
        len: u32,
        session: SessionId,
        patience: Patience,
    ) -> Result<Reply, FsError> {
        let handle = self.handle(handle, session)?;
        let len = len.min(MAX_READ) as usize;
        let chunk = handle.reader()?.read(offset, len, patience)?;
        Ok(Reply::Data {
            eof: chunk.eof,
            bytes: chunk.bytes,
        })
    }

    fn write(&self, handle: HandleId, offset: u64, data: &Base64Text, session: SessionId) -> Outcome {
        let result = self.handle(handle, session).and_then(|handle| {
            let file = handle.writer()?;
            if data.decoded_bound() > MAX_WRITE + 3 {
                // Too large whatever it decodes to; but nonsense is called nonsense first.
                data.decode().map_err(|_| FsError::InvalidBase64)?;
                return Err(FsError::WriteTooLarge);
            }
            let bytes = data.decode().map_err(|_| FsError::InvalidBase64)?;
            if bytes.len() > MAX_WRITE {
                return Err(FsError::WriteTooLarge);
            }
            let aftermath = file.write(offset, &bytes)?;
            Ok((handle.inode(), bytes.len(), aftermath))
        });
        match result {
            Ok((id, count, aftermath)) => Outcome::after(
                Reply::Written(count),
                smallvec![inode(id, Change::Data)],
                aftermath,
            ),
            Err(error) => Outcome::quiet(Err(error)),
        }
    }

    fn open(
        &self,
        exports: &ExportTable,
        id: InodeId,
        flags: OpenFlags,
        session: SessionId,
        patience: Patience,
    ) -> Outcome {
        let opened = self.open_handle(exports, id, flags, session, patience);
        Outcome::changed(opened, |(opened, truncated)| {
            let events = truncated.then(|| inode(id, Change::All));
            (Reply::Opened(opened), events.into_iter().collect())
        })
    }

    /// Opens a file; says whether that has cut it to nothing.
    fn open_handle(
        &self,
        exports: &ExportTable,
        id: InodeId,
        flags: OpenFlags,
        session: SessionId,
        patience: Patience,
    ) -> Result<(Opened, bool), FsError> {
        let export = if flags.writes() {
            if patience == Patience::Immediate {
                return Err(FsError::NotNow);
            }
            let export = writable(exports, id)?;
            // Before the file is cut: an operation that fails has changed nothing.
            self.handles.check_room(session)?;
            export
        } else {
            exports.of(id)?
        };
        let opened = export.source().open(id, flags, patience)?;
        let access = (flags.reads(), flags.writes());
        let (generation, truncated) = (opened.attr.generation, opened.truncated);
        let handle = self
            .handles
            .insert(opened.file, id, access, session, Instant::now().into_std())?;
        let opened = Opened {
            handle,
            readable: access.0,
            writable: access.1,
            generation,
        };
        Ok((opened, truncated))
    }

    fn create(
        &self,
        exports: &ExportTable,
        (parent, name): (InodeId, &EntryName),
        mode: u32,
        flags: OpenFlags,
        caller: Caller,
    ) -> Outcome {
        let created = self.create_handle(exports, (parent, name), mode, flags, caller);
        Outcome::changed(created, |created| {
            let Created {
                reply,
                id,
                generation,
            } = created;
            let new = Event::Inode {
                id,
                change: Change::All,
                generation: Some(generation),
            };
            (reply, smallvec![entries(parent), new])
        })
    }

    fn create_handle(
        &self,
        exports: &ExportTable,
        (parent, name): (InodeId, &EntryName),
        mode: u32,
        flags: OpenFlags,
        caller: Caller,
    ) -> Result<Created, FsError> {
        let source = writable(exports, parent)?.source();
        self.handles.check_room(caller.session)?;
        let now = Instant::now().into_std();
        let opened = match source.create(parent, name, mode, flags) {
            Err(FsError::Exists) => {
                let creation = Creation {
                    peer: caller.peer,
                    parent,
                    name: name.clone(),
                };
                let handle = self.handles.claim_undelivered(&creation, caller.session, now);
                let handle = handle.ok_or(FsError::Exists)?;
                let attr = source.getattr(handle.inode(), Patience::Blocking)?;
                let reply = Reply::Created {
                    attr,
                    handle: handle.id(),
                };
                return Ok(Created {
                    reply,
                    id: handle.inode(),
                    generation: attr.generation,
                });
            }
            other => other?,
        };
        let id = InodeId::new(opened.attr.id).ok_or(FsError::NotFound)?;
        let access = (flags.reads(), true);
        let handle = self
            .handles
            .insert(opened.file, id, access, caller.session, now)?;
        let generation = opened.attr.generation;
        Ok(Created {
            reply: Reply::Created {
                attr: opened.attr,
                handle,
            },
            id,
            generation,
        })
    }

    fn close(&self, handle: HandleId, session: SessionId, patience: Patience) -> Result<Reply, FsError> {
        let open = self.handle(handle, session)?;
        if patience == Patience::Immediate && !open.file().closes_at_once() {
            return Err(FsError::NotNow);
        }
        drop(open);
        let closed = self.handles.close(handle)?;
        if closed.was_locked {
            // Another request may still hold the file; the lock must be free when the client reads the reply.
            let _ = closed.handle.file().lock(LockKind::Unlock);
        }
        drop(closed);
        self.wake_lock_waiters();
        Ok(Reply::Done)
    }

    /// Tries to take or give back a lock. Waiting for one is the session's business.
    pub(crate) fn lock(
        &self,
        handle: HandleId,
        kind: LockKind,
        session: SessionId,
    ) -> Result<Reply, FsError> {
        let handle = self.handle(handle, session)?;
        if !self.current().exports.of(handle.inode())?.source().caps().locks {
            return Err(FsError::NotImplemented);
        }
        handle.file().lock(kind)?;
        if let Err(closed) = self.handles.set_locked(handle.id(), kind != LockKind::Unlock) {
            // Closed meanwhile: nobody else will give this lock back.
            let _ = handle.file().lock(LockKind::Unlock);
            self.wake_lock_waiters();
            return Err(closed);
        }
        // A conversion from exclusive to shared lets others in as well.
        if kind != LockKind::Exclusive {
            self.wake_lock_waiters();
        }
        Ok(Reply::Done)
    }
}

/// The export behind an id, for a change: the id must exist, then the export must allow it (section 8).
fn writable(exports: &ExportTable, id: InodeId) -> Result<&Export, FsError> {
    let export = exports.of(id)?;
    if export.is_read_only() {
        export.source().exists(id)?;
    }
    export.check_writable()?;
    Ok(export)
}

/// Asks the source behind an id.
fn look<T>(
    exports: &ExportTable,
    id: InodeId,
    look: impl FnOnce(&dyn Source) -> Result<T, FsError>,
    reply: impl FnOnce(T) -> Reply,
) -> Outcome {
    let found = exports.of(id).and_then(|export| look(&**export.source()));
    Outcome::quiet(found.map(reply))
}

fn list(
    exports: &ExportTable,
    dir: InodeId,
    cookie: u64,
    max: u32,
    frame_limit: usize,
) -> Result<Reply, FsError> {
    let mut page = ListingEncoder::within(cookie, max, frame_limit.saturating_sub(PAGE_RESERVE));
    let (eof, generation) = exports.of(dir)?.source().list(dir, cookie, &mut page)?;
    Ok(Reply::Listing(page.finish(eof, generation)))
}

fn truncate(exports: &ExportTable, id: InodeId, size: u64) -> Outcome {
    let result = writable(exports, id).and_then(|export| export.source().truncate(id, size));
    Outcome::changed(result, |generation| {
        let event = Event::Inode {
            id,
            change: Change::All,
            generation,
        };
        (Reply::Done, smallvec![event])
    })
}

fn change_attr(
    exports: &ExportTable,
    id: InodeId,
    change: impl FnOnce(&dyn Source) -> Result<(), FsError>,
) -> Outcome {
    let result = writable(exports, id).and_then(|export| change(&**export.source()));
    Outcome::changed(result, |()| (Reply::Done, smallvec![inode(id, Change::Attr)]))
}

fn change_entries(
    exports: &ExportTable,
    parent: InodeId,
    change: impl FnOnce(&dyn Source) -> Result<(), FsError>,
) -> Outcome {
    let result = writable(exports, parent).and_then(|export| change(&**export.source()));
    Outcome::changed(result, |()| (Reply::Done, smallvec![entries(parent)]))
}

fn rename(
    exports: &ExportTable,
    (old_parent, old_name): (InodeId, &EntryName),
    (new_parent, new_name): (InodeId, &EntryName),
) -> Outcome {
    let (moved, aftermath) = match move_entry(exports, old_parent, old_name, new_parent, new_name) {
        Ok(renamed) => renamed,
        Err(error) => return Outcome::quiet(Err(error)),
    };
    let mut events: Events = smallvec![entries(old_parent)];
    if old_parent != new_parent {
        events.push(entries(new_parent));
    }
    events.push(inode(moved, Change::All));
    Outcome::after(Reply::Done, events, aftermath)
}

fn move_entry(
    exports: &ExportTable,
    old_parent: InodeId,
    old_name: &EntryName,
    new_parent: InodeId,
    new_name: &EntryName,
) -> Result<(InodeId, Aftermath), FsError> {
    let (from, to) = (exports.of(old_parent)?, exports.of(new_parent)?);
    if !std::ptr::eq(from, to) {
        from.source().exists(old_parent)?;
        to.source().exists(new_parent)?;
        return Err(FsError::CrossExport);
    }
    if from.is_read_only() {
        from.source().exists(old_parent)?;
        from.source().exists(new_parent)?;
    }
    from.check_writable()?;
    from.source().rename(old_parent, old_name, new_parent, new_name)
}

struct Created {
    reply: Reply,
    id: InodeId,
    generation: u64,
}
