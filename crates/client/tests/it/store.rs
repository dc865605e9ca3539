//! A small node with files in memory that loses connections, forgets handles and fails when told to.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use spiderweb_client::Options;
use spiderweb_protocol::fs::{Attr, Export, ExportCaps, FileKind, ListingEncoder, Opened, Reply, Request};
use spiderweb_protocol::{Errno, HandleId, InodeId};
use spiderweb_transport::WsUrl;
use tokio_util::task::AbortOnDropHandle;

use crate::peer::{Peer, attr, id};

/// The root directory's local id.
pub(crate) const ROOT: u64 = 1;

#[derive(Clone, Debug)]
pub(crate) enum Object {
    File {
        data: Vec<u8>,
        modified: i64,
    },
    /// Names and what they lead to, links included.
    Directory(BTreeMap<String, Entry>),
}

/// A name in a directory. A link leads to an id that has a name of its own elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) link: bool,
}

#[derive(Default)]
pub(crate) struct Files {
    objects: HashMap<u64, Object>,
    handles: HashMap<u64, u64>,
    next: u64,
    clock: i64,
}

/// What a write does beside storing bytes: told the file's name and contents.
type Reaction = Box<dyn FnMut(&mut Files, &str, &[u8]) -> Result<(), Errno> + Send>;

/// The node.
pub(crate) struct Store {
    files: Mutex<Files>,
    reaction: Mutex<Option<Reaction>>,
    /// The connection that carries the current request ends before the answer.
    cut_now: std::sync::atomic::AtomicBool,
    /// Requests after which the next connection breaks; 0 never.
    pub(crate) cut_every: AtomicUsize,
    /// Whether a cut also forgets every handle, as a restart does.
    pub(crate) forgetful: std::sync::atomic::AtomicBool,
    /// Write or link that is refused with "no space left", counted down; 0 none.
    pub(crate) full_at: AtomicUsize,
    /// Whether every read changes the file.
    pub(crate) restless: std::sync::atomic::AtomicBool,
    /// Most entries of a page.
    pub(crate) page: AtomicU64,
    pub(crate) connections: AtomicUsize,
    pub(crate) requests: AtomicUsize,
}

/// A running node and how to reach it.
pub(crate) struct Running {
    pub(crate) store: Arc<Store>,
    pub(crate) options: Options,
    pub(crate) url: WsUrl,
    _serving: AbortOnDropHandle<()>,
}

impl Store {
    pub(crate) async fn start() -> Running {
        let mut files = Files {
            next: ROOT + 1,
            ..Files::default()
        };
        files.objects.insert(ROOT, Object::Directory(BTreeMap::new()));
        let store = Arc::new(Self {
            files: Mutex::new(files),
            reaction: Mutex::default(),
            cut_now: false.into(),
            cut_every: AtomicUsize::new(0),
            forgetful: false.into(),
            full_at: AtomicUsize::new(0),
            restless: false.into(),
            page: AtomicU64::new(u64::MAX),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        });
        let peer = Peer::listen().await;
        let (options, url) = (peer.options(), peer.url.clone());
        let serving = tokio::spawn({
            let store = Arc::clone(&store);
            async move {
                let mut clients = tokio::task::JoinSet::new();
                loop {
                    let socket = peer.accept_raw().await;
                    clients.spawn(serve(Arc::clone(&store), socket));
                }
            }
        });
        Running {
            store,
            options,
            url,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap()
    }

    /// Puts a file into a directory and returns its local id.
    pub(crate) fn add(&self, dir: u64, name: &str, object: Object) -> u64 {
        let mut files = self.files();
        let id = files.fresh();
        files.objects.insert(id, object);
        files
            .entries(dir)
            .unwrap()
            .insert(name.to_owned(), Entry { id, link: false });
        id
    }

    pub(crate) fn link(&self, dir: u64, name: &str, id: u64) {
        self.files()
            .entries(dir)
            .unwrap()
            .insert(name.to_owned(), Entry { id, link: true });
    }

    pub(crate) fn names(&self, dir: u64) -> Vec<String> {
        self.files().entries(dir).unwrap().keys().cloned().collect()
    }

    pub(crate) fn data(&self, dir: u64, name: &str) -> Option<Vec<u8>> {
        let mut files = self.files();
        let id = files.entries(dir).unwrap().get(name)?.id;
        match files.objects.get(&id)? {
            Object::File { data, .. } => Some(data.clone()),
            Object::Directory(_) => None,
        }
    }

    /// From now on every write is told, too.
    pub(crate) fn react(
        &self,
        reaction: impl FnMut(&mut Files, &str, &[u8]) -> Result<(), Errno> + Send + 'static,
    ) {
        *self.reaction.lock().unwrap() = Some(Box::new(reaction));
    }

    /// For a reaction: the write is not answered.
    pub(crate) fn cut_now(&self) {
        self.cut_now.store(true, Ordering::Relaxed);
    }

    pub(crate) fn handles(&self) -> usize {
        self.files().handles.len()
    }

    fn carry_out(&self, request: &Request) -> Result<Reply, Errno> {
        let mut files = self.files();
        match request {
            Request::Write { .. } | Request::Symlink { .. }
                if self.full_at.load(Ordering::Relaxed) > 0
                    && self.full_at.fetch_sub(1, Ordering::Relaxed) == 1 =>
            {
                return Err(Errno::ENOSPC);
            }
            Request::Read { handle, .. } if self.restless.load(Ordering::Relaxed) => {
                let now = files.tick();
                let id = files.handles.get(&handle.get()).copied();
                if let Some(Object::File { modified, .. }) = id.and_then(|id| files.objects.get_mut(&id)) {
                    *modified = now;
                }
            }
            _ => {}
        }
        let reply = files.carry_out(request, self.page.load(Ordering::Relaxed))?;
        if let (Request::Write { handle, .. }, Some(reaction)) =
            (request, &mut *self.reaction.lock().unwrap())
        {
            let (name, contents) = files.behind(*handle).unwrap();
            reaction(&mut files, &name, &contents)?;
        }
        Ok(reply)
    }
}

async fn serve(store: Arc<Store>, socket: spiderweb_transport::WebSocket) {
    let mut client = crate::peer::Conversation::new(socket);
    client.greet(None).await;
    store.connections.fetch_add(1, Ordering::Relaxed);
    let mut served = 0;
    while let Some((tag, request)) = client.next().await {
        let outcome = store.carry_out(&request);
        store.requests.fetch_add(1, Ordering::Relaxed);
        served += 1;
        let cut = store.cut_every.load(Ordering::Relaxed);
        let cut_now = store.cut_now.swap(false, Ordering::Relaxed);
        if cut_now || (cut > 0 && served >= cut) {
            if store.forgetful.load(Ordering::Relaxed) {
                store.files().handles.clear();
            }
            // Carried out, and never answered.
            return;
        }
        match outcome {
            Ok(reply) => client.reply(request.op(), tag, &reply).await,
            Err(errno) => client.refuse(tag, errno, "no").await,
        }
    }
}

impl Files {
    /// Replaces a file's contents, or makes it.
    pub(crate) fn put(&mut self, dir: u64, name: &str, data: &[u8]) {
        let modified = self.tick();
        let file = Object::File {
            data: data.to_vec(),
            modified,
        };
        let fresh = self.fresh();
        let entries = self.entries(dir).unwrap();
        let entry = entries.entry(name.to_owned()).or_insert(Entry {
            id: fresh,
            link: false,
        });
        let id = entry.id;
        self.objects.insert(id, file);
    }

    /// Name and contents of an open file.
    fn behind(&mut self, handle: HandleId) -> Result<(String, Vec<u8>), Errno> {
        let contents = self.file(handle)?.0.clone();
        let id = *self.handles.get(&handle.get()).ok_or(Errno::EBADF)?;
        let entries = self.objects.values().filter_map(|object| match object {
            Object::Directory(entries) => Some(entries),
            Object::File { .. } => None,
        });
        let name = entries
            .flatten()
            .find(|(_, entry)| entry.id == id)
            .map(|(name, _)| name.clone());
        Ok((name.ok_or(Errno::ENOENT)?, contents))
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn tick(&mut self) -> i64 {
        self.clock += 1;
        self.clock
    }

    fn entries(&mut self, dir: u64) -> Result<&mut BTreeMap<String, Entry>, Errno> {
        match self.objects.get_mut(&dir) {
            Some(Object::Directory(entries)) => Ok(entries),
            Some(Object::File { .. }) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn entry(&mut self, dir: InodeId, name: &str) -> Result<Entry, Errno> {
        let entry = self.entries(dir.local())?.get(name);
        entry.copied().ok_or(Errno::ENOENT)
    }

    fn attr(&self, local: u64) -> Result<Attr, Errno> {
        Ok(match self.objects.get(&local).ok_or(Errno::ENOENT)? {
            Object::File { data, modified } => attr(id(local), FileKind::File, data.len() as u64, *modified),
            Object::Directory(_) => attr(id(local), FileKind::Directory, 0, 0),
        })
    }

    fn file(&mut self, handle: HandleId) -> Result<(&mut Vec<u8>, &mut i64), Errno> {
        let id = *self.handles.get(&handle.get()).ok_or(Errno::EBADF)?;
        match self.objects.get_mut(&id) {
            Some(Object::File { data, modified }) => Ok((data, modified)),
            _ => Err(Errno::EBADF),
        }
    }

    fn open(&mut self, local: u64) -> HandleId {
        let handle = self.fresh();
        self.handles.insert(handle, local);
        HandleId::new(handle).unwrap()
    }

    fn carry_out(&mut self, request: &Request, page: u64) -> Result<Reply, Errno> {
        let now = self.tick();
        Ok(match request {
            Request::Exports => Reply::Exports([export()].into()),
            Request::Getattr { id } => Reply::Attr(self.attr(id.local())?),
            Request::Lookup { parent, name } => {
                let entry = self.entry(*parent, name.as_str())?;
                Reply::Attr(self.attr(entry.id)?)
            }
            Request::Open { id, flags } => {
                self.attr(id.local())?;
                Reply::Opened(Opened {
                    handle: self.open(id.local()),
                    readable: flags.reads(),
                    writable: flags.writes(),
                    generation: 0,
                })
            }
            Request::Create { parent, name, .. } => {
                if self.entry(*parent, name.as_str()).is_ok() {
                    return Err(Errno::EEXIST);
                }
                let local = self.fresh();
                let file = Object::File {
                    data: Vec::new(),
                    modified: now,
                };
                self.objects.insert(local, file);
                let entry = Entry {
                    id: local,
                    link: false,
                };
                self.entries(parent.local())?
                    .insert(name.as_str().to_owned(), entry);
                Reply::Created {
                    attr: self.attr(local)?,
                    handle: self.open(local),
                }
            }
            Request::Read { handle, offset, len } => {
                let (data, _) = self.file(*handle)?;
                let begin = (*offset as usize).min(data.len());
                let end = (begin + *len as usize).min(data.len());
                Reply::Data {
                    bytes: data[begin..end].to_vec(),
                    eof: end - begin < *len as usize,
                }
            }
            Request::Write { handle, offset, data } => {
                let bytes = data.decode().map_err(|_| Errno::EINVAL)?;
                let (data, modified) = self.file(*handle)?;
                let end = *offset as usize + bytes.len();
                data.resize(data.len().max(end), 0);
                data[*offset as usize..end].copy_from_slice(&bytes);
                *modified = now;
                Reply::Written(bytes.len())
            }
            Request::Truncate { id, size } => {
                let Some(Object::File { data, modified }) = self.objects.get_mut(&id.local()) else {
                    return Err(Errno::EISDIR);
                };
                data.resize(*size as usize, 0);
                *modified = now;
                Reply::Done
            }
            Request::Close { handle } => {
                self.handles.remove(&handle.get()).ok_or(Errno::EBADF)?;
                Reply::Done
            }
            Request::Unlink { parent, name } => {
                let entry = self.entry(*parent, name.as_str())?;
                if !entry.link && matches!(self.objects.get(&entry.id), Some(Object::Directory(_))) {
                    return Err(Errno::EISDIR);
                }
                self.entries(parent.local())?.remove(name.as_str());
                Reply::Done
            }
            Request::Mkdir { parent, name } => {
                if self.entry(*parent, name.as_str()).is_ok() {
                    return Err(Errno::EEXIST);
                }
                let local = self.fresh();
                self.objects.insert(local, Object::Directory(BTreeMap::new()));
                let entry = Entry {
                    id: local,
                    link: false,
                };
                self.entries(parent.local())?
                    .insert(name.as_str().to_owned(), entry);
                Reply::Done
            }
            // The target is kept as the contents of what the link leads to.
            Request::Symlink { parent, name, target } => {
                if self.entry(*parent, name.as_str()).is_ok() {
                    return Err(Errno::EEXIST);
                }
                let local = self.fresh();
                let data = target.as_bytes().to_vec();
                self.objects.insert(local, Object::File { data, modified: now });
                let entry = Entry {
                    id: local,
                    link: true,
                };
                self.entries(parent.local())?
                    .insert(name.as_str().to_owned(), entry);
                Reply::Done
            }
            Request::Rmdir { parent, name } => {
                let entry = self.entry(*parent, name.as_str())?;
                if !self.entries(entry.id)?.is_empty() {
                    return Err(Errno::ENOTEMPTY);
                }
                self.objects.remove(&entry.id);
                self.entries(parent.local())?.remove(name.as_str());
                Reply::Done
            }
            Request::Rename {
                old_parent,
                old_name,
                new_parent,
                new_name,
            } => {
                let entry = self.entry(*old_parent, old_name.as_str())?;
                self.entries(old_parent.local())?.remove(old_name.as_str());
                self.entries(new_parent.local())?
                    .insert(new_name.as_str().to_owned(), entry);
                Reply::Done
            }
            Request::Readdirp { dir, cookie, max } => {
                self.page(dir.local(), *cookie, u64::from(*max).min(page))?
            }
            _ => return Err(Errno::ENOSYS),
        })
    }

    fn page(&mut self, dir: u64, cookie: u64, max: u64) -> Result<Reply, Errno> {
        let mut all = vec![(".".to_owned(), dir), ("..".to_owned(), dir)];
        all.extend(
            self.entries(dir)?
                .iter()
                .map(|(name, entry)| (name.clone(), entry.id)),
        );
        let mut encoder = ListingEncoder::new(cookie, max as u32);
        let mut rest = all.iter().skip(cookie as usize).take(max as usize).peekable();
        let count = rest.len() as u64;
        for (name, local) in &mut rest {
            encoder.push(name, &self.attr(*local)?);
        }
        let eof = cookie + count >= all.len() as u64;
        Ok(Reply::Listing(encoder.finish(eof, 0)))
    }
}

fn export() -> Export {
    Export {
        name: "work".to_owned(),
        root: id(ROOT).get(),
        ro: false,
        desc: "memory".to_owned(),
        source_kind: "linux".to_owned(),
        source_id: "linux:work".to_owned(),
        caps: ExportCaps::default(),
    }
}
