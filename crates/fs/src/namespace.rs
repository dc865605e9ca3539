//! A namespace service shown as a small file tree (`services.md`, sections 6 to 8).
//!
//! The tree keeps what clients write and the numbers and versions of its files; everything that is known about the
//! service comes from a [`ServicePort`] at the moment it is asked for, so no text here is ever stale. A write that
//! reaches one of the control files becomes a [`Command`]; the answer to the write is the command's, and a command
//! that takes time holds up nothing.

mod file;
mod layout;
mod port;
mod source;
mod tree;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use spiderweb_protocol::fs::{Attr, Change, Event, FileKind, OpenFlags};
use spiderweb_protocol::{EntryName, InodeId, canonical};
use wyhash_final4::generics::WyHashVariant as _;
use wyhash_final4::wyhash64::WyHash64;

use self::file::NamespaceFile;
use self::layout::{Kind, Local, PAST, Role, Text};
pub use self::port::{Action, Changed, Command, Done, LiveFile, PastInvoke, ServicePort};
use self::tree::Tree;
use crate::source::{Aftermath, Effect};
use crate::{Events, FsError, Opened};

/// Permission bits and type of the tree's files (section 6).
const ROOT_MODE: u32 = 0o040_555;
const DIRECTORY_MODE: u32 = 0o040_755;
const FIXED_MODE: u32 = 0o100_444;
const WRITABLE_MODE: u32 = 0o100_644;

/// Seed of the root's number (section 5).
const ROOT_SEED: u64 = 0x4E41_4D45_5350_4143;

/// A write of at least this many bytes that leaves an object that more bytes could complete is a piece of a larger
/// payload, as programs copy it, and is answered well; a shorter one is taken for a mistake, as the original does
/// (section 8.1).
const PIECE: usize = 4096;

/// An object that is run: where it ends in its file, and the file's changes when it was read.
#[derive(Clone, Copy)]
struct Ran {
    file: Local,
    end: usize,
    changes: u64,
}

/// The texts of a service that its manifest decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Texts {
    /// `README.md`
    pub readme: Bytes,
    /// `SCHEMA.json` and `schema.json`
    pub schema: Bytes,
    /// `TEMPLATE.json` and `template.json`
    pub template: Bytes,
    /// `HOST.json`
    pub host: Bytes,
}

/// Which service a tree shows; decides its ids.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Identity {
    /// A service from a manifest, by its id.
    Service(String),
    /// A built-in terminal, by its terminal id.
    Terminal(String),
}

impl Identity {
    fn source_id(&self) -> String {
        match self {
            Self::Service(id) => format!("service:{id}"),
            Self::Terminal(id) => format!("service:terminal-{id}"),
        }
    }

    fn root(&self) -> Local {
        let path = match self {
            Self::Service(id) => format!("namespace://service:{id}"),
            Self::Terminal(id) => format!("namespace:///terminal/{id}"),
        };
        let hash = WyHash64::with_seed(ROOT_SEED).hash(path.as_bytes());
        hash & InodeId::LOCAL_MASK
    }
}

/// A service as the source of an export.
pub struct Namespace(Arc<Shared>);

struct Shared {
    identity: Identity,
    export: usize,
    root: InodeId,
    texts: RwLock<Texts>,
    port: Arc<dyn ServicePort>,
    tree: Mutex<Tree>,
    /// Tells open files apart.
    writers: AtomicU64,
    owner: (u32, u32),
    /// Nothing leads here any more but handles.
    is_retired: AtomicBool,
}

impl Namespace {
    /// The tree of a service in the export at `export`; `None` if there are too many exports for that number.
    pub fn new(identity: Identity, export: usize, texts: Texts, port: Arc<dyn ServicePort>) -> Option<Self> {
        let root = InodeId::compose(export, identity.root())?;
        Some(Self(Arc::new(Shared {
            export,
            root,
            texts: RwLock::new(texts),
            port,
            tree: Mutex::new(Tree::new(root.local())),
            writers: AtomicU64::new(0),
            owner: owner(),
            identity,
            is_retired: AtomicBool::new(false),
        })))
    }

    /// The service was removed: handles on its files are not known from now on (section 12), also if a service of the
    /// same name comes back with the same ids.
    pub fn retire(&self) {
        self.0.is_retired.store(true, Ordering::Relaxed);
    }

    /// Shows other texts from now on. The events that tell of what is different.
    pub fn set_texts(&self, texts: Texts) -> Events {
        let mut current = self.0.texts.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::new();
        let mut compare = |text: Text, differs: bool| changed.extend(differs.then_some(text));
        compare(Text::Readme, current.readme != texts.readme);
        compare(Text::Schema, current.schema != texts.schema);
        compare(Text::Template, current.template != texts.template);
        compare(Text::Host, current.host != texts.host);
        *current = texts;
        drop(current);
        let mut tree = self.0.tree();
        let files: Vec<Local> = changed.into_iter().flat_map(Tree::showing).collect();
        files
            .into_iter()
            .filter_map(|file| self.0.tell(&mut tree, file))
            .collect()
    }

    /// Counts the changes of live files that no request caused. The events that tell of them.
    pub fn changed(&self, files: &[LiveFile]) -> Events {
        self.0.changed(files)
    }
}

#[cfg(unix)]
fn owner() -> (u32, u32) {
    (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    )
}

#[cfg(not(unix))]
fn owner() -> (u32, u32) {
    (0, 0)
}

impl Shared {
    fn tree(&self) -> MutexGuard<'_, Tree> {
        // Every change of the tree is complete before anything in it can panic.
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file's number if it belongs to this tree; whether it exists is the tree's business.
    fn local(&self, id: InodeId) -> Result<Local, FsError> {
        if id.export_index() == Some(self.export) {
            Ok(id.local())
        } else {
            Err(FsError::NotFound)
        }
    }

    fn id(&self, local: Local) -> Result<InodeId, FsError> {
        InodeId::compose(self.export, local).ok_or(FsError::NotFound)
    }

    /// The invoke whose record a file is. The root's number may be any.
    fn past(&self, file: Local) -> Option<u64> {
        (PAST.contains(&file) && file != self.root.local()).then(|| file - PAST.start)
    }

    /// Counts a change of content, and the event that tells of it.
    fn tell(&self, tree: &mut Tree, file: Local) -> Option<Event> {
        let changes = tree.bump(file);
        self.event(file, Change::Data, changes)
    }

    fn event(&self, file: Local, change: Change, changes: u64) -> Option<Event> {
        let id = self.id(file).ok()?;
        Some(Event::Inode {
            id,
            change,
            generation: Some(id.get() + changes),
        })
    }

    fn changed(&self, files: &[LiveFile]) -> Events {
        let mut tree = self.tree();
        files
            .iter()
            .filter_map(|file| self.tell(&mut tree, Tree::live(*file)))
            .collect()
    }

    /// What a file shows now.
    fn text(&self, file: Local) -> Result<Bytes, FsError> {
        if let Some(number) = self.past(file) {
            return self.port.record(number).ok_or(FsError::NotFound);
        }
        let live = {
            let tree = self.tree();
            let node = tree.node(file)?;
            match (node.kind, &node.content) {
                (Kind::Directory, _) => return Err(FsError::IsADirectory),
                (_, Some(content)) => return Ok(Bytes::copy_from_slice(content)),
                (Kind::Text(text), None) => return Ok(self.fixed(text)),
                (Kind::Live(live), None) => live,
                (Kind::Config | Kind::Stored, None) => LiveFile::Config,
            }
        };
        Ok(self.port.text(live))
    }

    fn fixed(&self, text: Text) -> Bytes {
        let texts = self.texts.read().unwrap_or_else(PoisonError::into_inner);
        match text {
            Text::Readme => texts.readme.clone(),
            Text::Schema => texts.schema.clone(),
            Text::Template => texts.template.clone(),
            Text::Host => texts.host.clone(),
        }
    }

    fn attr(&self, file: Local) -> Result<Attr, FsError> {
        let (mode, changes, size) = if self.past(file).is_some() {
            (FIXED_MODE, 0, self.text(file)?.len())
        } else {
            let tree = self.tree();
            let node = tree.node(file)?;
            let (kind, changes) = (node.kind, node.changes);
            let stored = node.content.as_ref().map(Vec::len);
            drop(tree);
            match (kind, stored) {
                (Kind::Directory, _) if file == self.root.local() || Tree::is_history(file) => {
                    (ROOT_MODE, changes, 0)
                }
                (Kind::Directory, _) => (DIRECTORY_MODE, changes, 0),
                (Kind::Text(_) | Kind::Live(_), _) => (FIXED_MODE, changes, self.text(file)?.len()),
                (Kind::Config | Kind::Stored, Some(size)) => (WRITABLE_MODE, changes, size),
                (Kind::Config | Kind::Stored, None) => (WRITABLE_MODE, changes, self.text(file)?.len()),
            }
        };
        let id = self.id(file)?.get();
        let is_directory = mode & 0o040_000 != 0;
        let kind = if is_directory {
            FileKind::Directory
        } else {
            FileKind::File
        };
        Ok(Attr {
            id,
            k: Attr::wire_kind(kind),
            m: mode,
            n: if is_directory { 2 } else { 1 },
            u: self.owner.0,
            g: self.owner.1,
            sz: size as u64,
            at: 0,
            mt: 0,
            ct: 0,
            generation: id + changes,
        })
    }

    fn lookup(&self, parent: Local, name: &EntryName) -> Result<Local, FsError> {
        if !Tree::is_history(parent) {
            return self.tree().lookup(parent, name);
        }
        let past = self.port.past();
        let found = past
            .iter()
            .rev()
            .find(|invoke| record_name(invoke) == name.as_str());
        found
            .map(|invoke| PAST.start + invoke.number)
            .ok_or(FsError::NotFound)
    }

    /// Entries of a directory with their numbers, `.` and `..` first.
    fn entries(&self, directory: Local) -> Result<Vec<(String, Local)>, FsError> {
        let past = if Tree::is_history(directory) {
            self.port.past()
        } else {
            Vec::new()
        };
        let tree = self.tree();
        let mut entries = vec![
            (".".to_owned(), directory),
            ("..".to_owned(), tree.parent(directory)?),
        ];
        entries.extend(tree.children(directory)?.map(|(name, id)| (name.to_owned(), id)));
        drop(tree);
        let mut records: Vec<_> = past
            .iter()
            .map(|invoke| (record_name(invoke), PAST.start + invoke.number))
            .collect();
        // Of one name, the newest counts.
        records.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        records.dedup_by(|later, first| later.0 == first.0);
        entries.extend(records);
        Ok(entries)
    }

    /// Cuts or extends a file, which runs nothing. The number of changes afterwards.
    fn truncate(&self, file: Local, size: u64) -> Result<u64, FsError> {
        let config = || self.port.text(LiveFile::Config).to_vec();
        self.tree().truncate(file, size, config)
    }

    fn open(self: &Arc<Self>, file: Local, flags: OpenFlags) -> Result<Opened, FsError> {
        match self.past(file) {
            Some(_) if flags.writes() => return Err(FsError::ExportReadOnly),
            Some(_) => {}
            None => self.tree().check_file(file, flags.writes())?,
        }
        if flags.truncates() {
            self.truncate(file, 0)?;
        }
        Ok(Opened {
            attr: self.attr(file)?,
            file: Box::new(NamespaceFile::new(
                self.clone(),
                file,
                self.writers.fetch_add(1, Ordering::Relaxed),
            )),
            truncated: flags.truncates(),
        })
    }

    /// Stores bytes and acts on what the file is there for (section 8.1).
    fn write(
        self: &Arc<Self>,
        file: Local,
        offset: u64,
        data: &[u8],
        writer: u64,
    ) -> Result<Aftermath, FsError> {
        let mut tree = self.tree();
        let already_ran = tree.write(file, offset, data, || self.port.text(LiveFile::Config).to_vec())?;
        let mut events = Events::new();
        if !data.is_empty() {
            events.extend(self.event(file, Change::Data, tree.node(file)?.changes));
        }
        if already_ran {
            return Ok(Aftermath::Over(Effect {
                result: Ok(()),
                events,
            }));
        }
        let role = tree.role(file)?;
        let is_piece = data.len() >= PIECE
            && matches!(role, Role::Invoke(_))
            && canonical::trim(tree.content(file)?).starts_with(b"{");
        // What does not end like an object is none; there is no need to read all of it again with every further piece.
        // The first one is read, so that what nothing could complete is not taken for a piece of an object.
        if is_piece && offset > 0 && !canonical::trim_end(tree.content(file)?).ends_with(b"}") {
            drop(tree);
            return Ok(self.carry_out(Command::Await, None, events));
        }
        let mut aftermath = self.act(tree, file, events, writer)?;
        if let Aftermath::Over(Effect { result, .. }) = &mut aftermath
            && is_piece
            && matches!(result, Err(FsError::IncompletePayload))
        {
            *result = Ok(());
        }
        Ok(aftermath)
    }

    /// Does what the content of a file asks for.
    fn act(
        self: &Arc<Self>,
        tree: MutexGuard<'_, Tree>,
        file: Local,
        events: Events,
        writer: u64,
    ) -> Result<Aftermath, FsError> {
        let role = tree.role(file)?;
        let content = match role {
            Role::Invoke(_) | Role::Config | Role::Cancel => Bytes::copy_from_slice(tree.content(file)?),
            _ => Bytes::new(),
        };
        let changes = tree.node(file)?.changes;
        drop(tree);
        let end = canonical::trim_end(&content).len();
        let is_invoke = matches!(role, Role::Invoke(_));
        let command = match role {
            Role::Invoke(name) => Command::Invoke {
                content,
                name,
                writer,
            },
            Role::Config => Command::Configure(content),
            Role::Enable => Command::Enable,
            Role::Disable => Command::Disable,
            Role::Restart => Command::Restart,
            Role::Reset => Command::Reset,
            Role::Cancel => Command::Cancel(content),
            Role::Plain => {
                return Ok(Aftermath::Over(Effect {
                    result: Ok(()),
                    events,
                }));
            }
        };
        let is_config = matches!(command, Command::Configure(_));
        let ran = is_invoke.then_some(Ran { file, end, changes });
        let aftermath = self.carry_out(command, ran, events);
        if is_config {
            // Accepted or not, the file shows the text in force from here on (section 19, no 14).
            self.tree().settle_config();
        }
        Ok(aftermath)
    }

    /// Has the service carry out a command; `ran` is the object that it runs.
    fn carry_out(self: &Arc<Self>, command: Command, ran: Option<Ran>, mut events: Events) -> Aftermath {
        match self.port.act(command) {
            Action::Done(done) => {
                events.extend(self.changed(&done.changed));
                Aftermath::Over(Effect {
                    result: done.result,
                    events,
                })
            }
            Action::Begun { changed, end: over } => {
                if let Some(Ran { file, end, changes }) = ran {
                    self.tree().ran(file, Some(end), changes);
                }
                events.extend(self.changed(&changed));
                let shared = self.clone();
                let end = Box::pin(async move {
                    let done = over.await;
                    let is_refused = matches!(
                        done.result,
                        Err(FsError::InvokeDenied | FsError::CoolingDown | FsError::Stopping)
                    );
                    if let (true, Some(Ran { file, changes, .. })) = (is_refused, ran) {
                        shared.tree().ran(file, None, changes);
                    }
                    Effect {
                        result: done.result,
                        events: shared.changed(&done.changed),
                    }
                });
                Aftermath::Pending { events, end }
            }
        }
    }

    fn rename(
        self: &Arc<Self>,
        from: (Local, &EntryName),
        to: (Local, &EntryName),
    ) -> Result<(InodeId, Aftermath), FsError> {
        let mut tree = self.tree();
        let replaces = tree.lookup(to.0, to.1).is_ok();
        let moved = tree.rename(from, to)?;
        let id = self.id(moved)?;
        if !replaces {
            return Ok((id, Aftermath::Nothing));
        }
        let mut events: Events = self
            .id(from.0)
            .into_iter()
            .map(|id| Event::Directory { id })
            .collect();
        if from.0 != to.0 {
            events.push(Event::Directory { id: self.id(to.0)? });
        }
        events.extend(self.event(moved, Change::All, tree.node(moved)?.changes));
        let writer = self.writers.fetch_add(1, Ordering::Relaxed);
        Ok((id, self.act(tree, moved, events, writer)?))
    }
}

/// Name of an invoke's record in `history`.
fn record_name(invoke: &PastInvoke) -> String {
    format!("{}.json", invoke.name)
}
