//! From a request to the operation that answers it.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use smallvec::smallvec;
use spiderweb_fs::{
    Aftermath, BoxFuture, Creation, Effect, Events, Export, ExportTable, FsError, HandleTable, Invalidations,
    OpenHandle, Patience, SessionId,
};
use spiderweb_protocol::fs::{
    Change, Event, HelloReply, ListingEncoder, LockKind, Op, OpenFlags, Opened, Reply, Request,
};
use spiderweb_protocol::limits::{MAX_FRAME, MAX_READ, MAX_WRITE, PAGE_RESERVE, SEED_IO};
use spiderweb_protocol::{Base64Text, EntryName, HandleId, InodeId, Secret};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::config::Limits;
use spiderweb_daemon::Tasks;
use spiderweb_daemon::WrongTokens;

/// Threads that waits for locks may use at a time; part of what [`Limits::blocking_threads`] keeps for the node.
const LOCK_ATTEMPTS: usize = 8;

/// Everything the sessions of a node share.
pub(crate) struct Service {
    /// What is served, and what hello says of it; replaced whole when services come and go.
    offer: ArcSwap<Offer>,
    pub(crate) handles: HandleTable,
    pub(crate) news: Arc<Invalidations>,
    pub(crate) token: Option<Secret>,
    pub(crate) limits: Limits,
    /// Permits for threads beyond each session's own.
    pub(crate) extra_runners: Arc<Semaphore>,
    lock_released: Notify,
    /// Attempts to take a lock that run at the same time; most are over at once.
    pub(crate) lock_attempts: Arc<Semaphore>,
    pub(crate) wrong_tokens: WrongTokens,
    /// Places for peers that send large messages before hello.
    pub(crate) large_greetings: Semaphore,
    pub(crate) tasks: Tasks,
}

/// The exports at one time.
struct Offer {
    exports: ExportTable,
    hello: Arc<HelloReply>,
}

impl Offer {
    fn new(exports: ExportTable) -> Self {
        let hello = HelloReply {
            name: "spiderweb-fs-node".into(),
            os: std::env::consts::OS.into(),
            ver: "0.1.0".into(),
            caps: exports.caps(),
            max_read: MAX_READ,
            max_write: MAX_WRITE as u32,
        };
        Self {
            exports,
            hello: Arc::new(hello),
        }
    }
}

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
    pub(crate) fn new(
        exports: ExportTable,
        news: Arc<Invalidations>,
        token: Option<Secret>,
        limits: Limits,
        tasks: Tasks,
    ) -> Self {
        Self {
            offer: ArcSwap::from_pointee(Offer::new(exports)),
            handles: HandleTable::new(limits.handles, limits.handle_grace, Instant::now().into_std()),
            news,
            token,
            limits,
            extra_runners: Arc::new(Semaphore::new(limits.extra_runners)),
            lock_released: Notify::new(),
            lock_attempts: Arc::new(Semaphore::new(LOCK_ATTEMPTS)),
            wrong_tokens: WrongTokens::default(),
            large_greetings: Semaphore::new(limits.large_greetings),
            tasks,
        }
    }

    /// Serves other exports from now on. Requests under way end as they began.
    pub(crate) fn offer(&self, exports: ExportTable) {
        self.news
            .set_roots(exports.iter().map(|export| export.source().root()));
        self.offer.store(Arc::new(Offer::new(exports)));
    }

    /// What hello answers to a peer that takes frames of this size.
    pub(crate) fn hello(&self, frame_limit: usize) -> Arc<HelloReply> {
        let hello = self.offer.load().hello.clone();
        if frame_limit >= MAX_FRAME {
            return hello;
        }
        Arc::new(HelloReply {
            max_read: SEED_IO,
            max_write: SEED_IO,
            ..HelloReply::clone(&hello)
        })
    }

    /// The roots of what is served.
    pub(crate) fn roots(&self) -> Vec<InodeId> {
        let offer = self.offer.load();
        offer
            .exports
            .iter()
            .map(|export| export.source().root())
            .collect()
    }

    /// Refuses what the export behind an id can never do, before any argument is looked at (section 8).
    pub(crate) fn check_capability(&self, op: Op, node: Option<InodeId>) -> Result<(), FsError> {
        let needs: fn(&spiderweb_protocol::fs::ExportCaps) -> bool = match op {
            Op::Symlink => |caps| caps.symlink,
            Op::Setxattr | Op::Getxattr | Op::Listxattr | Op::Removexattr => |caps| caps.xattr,
            _ => return Ok(()),
        };
        let offer = self.offer.load();
        match node.and_then(|id| offer.exports.of(id).ok()) {
            Some(export) if !needs(&export.source().caps()) => Err(FsError::NotImplemented),
            _ => Ok(()),
        }
    }

    /// Carries out one request. With [`Patience::Immediate`] nothing waits for a disk, and
    /// [`FsError::NotNow`] means that nothing was done.
    pub(crate) fn perform(&self, request: &Request, caller: Caller, patience: Patience) -> Outcome {
        let session = caller.session;
        let exports = &self.offer.load().exports;
        match request {
            Request::Exports => Outcome::quiet(Ok(Reply::Exports(exports.announced().clone()))),
            Request::Getattr { id } => Outcome::quiet(
                exports
                    .of(*id)
                    .and_then(|e| e.source().getattr(*id, patience))
                    .map(Reply::Attr),
            ),
            Request::Lookup { parent, name } => Outcome::quiet(
                exports
                    .of(*parent)
                    .and_then(|e| e.source().lookup(*parent, name, patience))
                    .map(Reply::Attr),
            ),
            Request::Read { handle, offset, len } => {
                Outcome::quiet(self.read(*handle, *offset, *len, session, patience))
            }
            Request::Open { id, flags } if !flags.truncates() => {
                let opened = self.open(exports, *id, *flags, session, patience);
                Outcome::quiet(opened.map(|(reply, _)| reply))
            }
            Request::Close { handle } => Outcome::quiet(self.close(*handle, session, patience)),
            _ if patience == Patience::Immediate => Outcome::quiet(Err(FsError::NotNow)),
            Request::Statfs { id } => Outcome::quiet(
                exports
                    .of(*id)
                    .and_then(|e| e.source().statfs(*id))
                    .map(Reply::Statfs),
            ),
            Request::Readdirp { dir, cookie, max } => {
                Outcome::quiet(list(exports, *dir, *cookie, *max, caller.frame_limit))
            }
            Request::Open { id, flags } => Outcome::changed(
                self.open(exports, *id, *flags, session, patience),
                |(reply, truncated)| {
                    let events = truncated.then(|| inode(*id, Change::All));
                    (reply, events.into_iter().collect())
                },
            ),
            Request::Write { handle, offset, data } => self.write(*handle, *offset, data, session),
            Request::Lock { handle, kind, .. } => Outcome::quiet(self.lock(*handle, *kind, session)),
            Request::Getxattr { id, name } => Outcome::quiet(
                exports
                    .of(*id)
                    .and_then(|e| e.source().xattr(*id, name))
                    .map(Reply::XattrValue),
            ),
            Request::Listxattr { id } => Outcome::quiet(
                exports
                    .of(*id)
                    .and_then(|e| e.source().xattrs(*id))
                    .map(Reply::XattrNames),
            ),
            _ => self.change(exports, request, caller),
        }
    }

    fn change(&self, exports: &ExportTable, request: &Request, caller: Caller) -> Outcome {
        match request {
            Request::Create {
                parent,
                name,
                mode,
                flags,
            } => Outcome::changed(
                self.create(exports, *parent, name, *mode, *flags, caller),
                |created| {
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
                    (reply, smallvec![entries(*parent), new])
                },
            ),
            Request::Truncate { id, size } => {
                let result = writable(exports, *id).and_then(|e| e.source().truncate(*id, *size));
                Outcome::changed(result, |generation| {
                    let event = Event::Inode {
                        id: *id,
                        change: Change::All,
                        generation,
                    };
                    (Reply::Done, smallvec![event])
                })
            }
            Request::Unlink { parent, name } => {
                change_entries(exports, *parent, |e| e.source().unlink(*parent, name))
            }
            Request::Mkdir { parent, name } => {
                change_entries(exports, *parent, |e| e.source().mkdir(*parent, name))
            }
            Request::Rmdir { parent, name } => {
                change_entries(exports, *parent, |e| e.source().rmdir(*parent, name))
            }
            Request::Symlink { parent, name, target } => {
                change_entries(exports, *parent, |e| e.source().symlink(*parent, name, target))
            }
            Request::Rename {
                old_parent,
                old_name,
                new_parent,
                new_name,
            } => {
                let (moved, aftermath) = match rename(exports, *old_parent, old_name, *new_parent, new_name) {
                    Ok(renamed) => renamed,
                    Err(error) => return Outcome::quiet(Err(error)),
                };
                let mut events: Events = smallvec![entries(*old_parent)];
                if old_parent != new_parent {
                    events.push(entries(*new_parent));
                }
                events.push(inode(moved, Change::All));
                Outcome::after(Reply::Done, events, aftermath)
            }
            Request::Setxattr {
                id,
                name,
                value,
                flags,
            } => {
                let result = writable(exports, *id).and_then(|e| {
                    let source = e.source();
                    source.exists(*id)?;
                    let value = value.decode().map_err(|_| FsError::InvalidBase64)?;
                    source.set_xattr(*id, name, &value, *flags)
                });
                Outcome::changed(result, |()| (Reply::Done, smallvec![inode(*id, Change::Attr)]))
            }
            Request::Removexattr { id, name } => {
                let result = writable(exports, *id).and_then(|e| e.source().remove_xattr(*id, name));
                Outcome::changed(result, |()| (Reply::Done, smallvec![inode(*id, Change::Attr)]))
            }
            // Everything else was answered by `perform`.
            _ => Outcome::quiet(Err(FsError::NotImplemented)),
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
    ) -> Result<(Reply, bool), FsError> {
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
        let reply = Reply::Opened(Opened {
            handle,
            readable: access.0,
            writable: access.1,
            generation,
        });
        Ok((reply, truncated))
    }

    fn create(
        &self,
        exports: &ExportTable,
        parent: InodeId,
        name: &EntryName,
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
        if !self
            .offer
            .load()
            .exports
            .of(handle.inode())?
            .source()
            .caps()
            .locks
        {
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

    /// Resolves when a lock may have become free.
    pub(crate) fn lock_released(&self) -> tokio::sync::futures::Notified<'_> {
        self.lock_released.notified()
    }

    pub(crate) fn wake_lock_waiters(&self) {
        self.lock_released.notify_waiters();
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

fn change_entries(
    exports: &ExportTable,
    parent: InodeId,
    change: impl FnOnce(&Export) -> Result<(), FsError>,
) -> Outcome {
    let result = writable(exports, parent).and_then(change);
    Outcome::changed(result, |()| (Reply::Done, smallvec![entries(parent)]))
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

fn rename(
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
