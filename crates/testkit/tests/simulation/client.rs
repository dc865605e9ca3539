//! A client that knows what it has written: every file is its own, so whatever else is in one is a violation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use spiderweb_client::{Client, Error, OpenFile, Options};
use spiderweb_protocol::fs::{Op, OpenFlags};
use spiderweb_protocol::{EntryName, Errno, InodeId, Secret};
use spiderweb_transport::Dialer;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::operator::Operator;
use crate::trace::Trace;
use crate::world::{ADMIN, NODES, URL};

/// Files of a client on each node, and blocks of a file.
const FILES: usize = 2;
const BLOCKS: usize = 6;
/// Bytes of a block: one write.
const BLOCK: usize = 64;
/// Markers of a client on each node: files that are made and removed.
const MARKERS: usize = 3;

/// Longest time for anything a client does: five sendings of a request, each of which may wait for a connection.
const FOR_EVER: Duration = Duration::from_secs(400);

/// What may be in a block: the numbers of writes, 0 for none.
type Allowed = BTreeSet<u64>;

/// What a client may find on the nodes.
#[derive(Default)]
pub(crate) struct Model {
    blocks: BTreeMap<(usize, usize), Vec<Allowed>>,
    /// Whether a marker is there; nothing if that is not known.
    markers: BTreeMap<(usize, usize), Option<bool>>,
}

pub(crate) struct User {
    pub(crate) host: &'static str,
    dialer: Dialer,
    dice: Dice,
    trace: Trace,
    model: Model,
    last_write: u64,
    /// What was done and answered.
    pub(crate) done: u64,
}

/// A connection to a node, and what is open there.
struct Visit {
    which: usize,
    client: Client,
    root: InodeId,
    open: BTreeMap<usize, Arc<OpenFile>>,
}

fn block(host: &str, which: usize, file: usize, index: usize, number: u64) -> Vec<u8> {
    let mut text = format!("{host} {which} {file} {index} {number} ").into_bytes();
    let seal = Dice::new(number ^ (index as u64) << 32).number().to_string();
    text.extend(seal.bytes().cycle().take(BLOCK - text.len()));
    text
}

/// The number of the write a block is from; nothing if it is of no write of this client to this place.
fn read_block(bytes: &[u8], host: &str, which: usize, file: usize, index: usize) -> Option<u64> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Some(0);
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let number = text.split(' ').nth(4)?.parse().ok()?;
    (bytes == block(host, which, file, index, number)).then_some(number)
}

fn file_name(host: &str, file: usize) -> String {
    format!("{host}-file-{file}")
}

fn marker_name(host: &str, marker: usize) -> String {
    format!("{host}-marker-{marker}")
}

fn name(text: &str) -> Result<EntryName> {
    EntryName::new(text).map_err(|_| anyhow::anyhow!("no name: {text}"))
}

/// Whether the node itself said so. A hub that refuses a new connection says nothing about a file.
fn is_refused(error: &Error, errno: Errno) -> bool {
    matches!(error, Error::Node { error, .. } if error.errno == errno)
}

fn inode(number: u64) -> Result<InodeId, Error> {
    InodeId::new(number).ok_or_else(|| Error::Answer {
        op: Op::Lookup,
        reason: format!("{number} is no id"),
    })
}

impl User {
    pub(crate) fn new(host: &'static str, dialer: Dialer, dice: Dice, trace: Trace) -> Self {
        Self {
            host,
            dialer,
            dice,
            trace,
            model: Model::default(),
            last_write: 0,
            done: 0,
        }
    }

    /// Works until it is told to stop; what is under way then is finished first.
    pub(crate) async fn work(mut self, stop: CancellationToken) -> Self {
        while !stop.is_cancelled() {
            let which = self.dice.below(NODES.len());
            match self
                .patiently("connecting", connect(self.host, &self.dialer, which))
                .await
            {
                Some(Ok(visit)) => self.visit(visit, &stop).await,
                Some(Err(error)) => self
                    .trace
                    .note(format_args!("{} finds no way: {error:#}", self.host)),
                None => {}
            }
            let pause = self.dice.millis(10..2000);
            tokio::time::sleep(pause).await;
        }
        self
    }

    /// Nothing may take for ever.
    async fn patiently<T>(&self, what: &str, doing: impl Future<Output = T>) -> Option<T> {
        let done = tokio::time::timeout(FOR_EVER, doing).await.ok();
        if done.is_none() {
            self.trace
                .violate(format_args!("{}: {what} never ends", self.host));
        }
        done
    }

    async fn visit(&mut self, mut visit: Visit, stop: &CancellationToken) {
        for _ in 0..self.dice.below(40) {
            if stop.is_cancelled() {
                break;
            }
            if let Err(error) = self.act(&mut visit).await {
                self.trace.note(format_args!("{} fails: {error:#}", self.host));
                if self.dice.percent(40) {
                    break;
                }
            }
            let pause = self.dice.millis(1..400);
            tokio::time::sleep(pause).await;
        }
        for file in std::mem::take(&mut visit.open).into_values() {
            if let Some(file) = Arc::into_inner(file) {
                let _ = self.patiently("closing", file.close()).await;
            }
        }
    }

    async fn act(&mut self, visit: &mut Visit) -> Result<()> {
        match self.dice.below(10) {
            0..5 => self.write(visit).await,
            5..8 => self.read(visit).await,
            _ => self.mark(visit).await,
        }
    }

    /// The file, open for both; made if it is not there.
    async fn file(&mut self, visit: &mut Visit, file: usize) -> Result<Arc<OpenFile>> {
        if let Some(open) = visit.open.get(&file) {
            return Ok(open.clone());
        }
        let name = name(&file_name(self.host, file))?;
        let opening = async {
            let found = visit.client.lookup(visit.root, &name).await;
            match found {
                Ok(attr) => OpenFile::open(&visit.client, inode(attr.id)?, OpenFlags::READ_WRITE).await,
                Err(error) if is_refused(&error, Errno::ENOENT) => {
                    let made = visit
                        .client
                        .create(visit.root, &name, 0o644, OpenFlags::READ_WRITE)
                        .await;
                    let (attr, handle) = made?;
                    Ok(OpenFile::adopt(
                        &visit.client,
                        inode(attr.id)?,
                        OpenFlags::READ_WRITE,
                        handle,
                    ))
                }
                Err(error) => Err(error),
            }
        };
        let opened = self.patiently("opening", opening).await.context("never ends")?;
        let knows = self
            .model
            .blocks
            .get(&(visit.which, file))
            .is_some_and(|blocks| blocks.iter().any(|allowed| !allowed.contains(&0)));
        if let (Err(error), true) = (&opened, knows)
            && is_refused(error, Errno::EEXIST)
        {
            self.trace
                .violate(format_args!("{}: {name} was not found and is there", self.host));
        }
        let opened = Arc::new(opened?);
        visit.open.insert(file, opened.clone());
        self.done += 1;
        Ok(opened)
    }

    /// Writes some blocks of a file at the same time.
    async fn write(&mut self, visit: &mut Visit) -> Result<()> {
        let file = self.dice.below(FILES);
        let open = self.file(visit, file).await?;
        let first = self.dice.below(BLOCKS);
        let mut writes = JoinSet::new();
        let mut numbers = BTreeMap::new();
        for index in first..BLOCKS.min(first + 1 + self.dice.below(3)) {
            self.last_write += 1;
            let number = self.last_write;
            numbers.insert(index, number);
            let blocks = self.model.blocks.entry((visit.which, file));
            let blocks = blocks.or_insert_with(|| vec![Allowed::from([0]); BLOCKS]);
            if let Some(allowed) = blocks.get_mut(index) {
                allowed.insert(number);
            }
            let data = block(self.host, visit.which, file, index, number);
            let open = open.clone();
            writes.spawn(async move { (index, open.write_at((index * BLOCK) as u64, &data).await) });
        }
        drop(open);
        let mut failed = None;
        while let Some(Some(written)) = self.patiently("writing", writes.join_next()).await {
            let (index, result) = written?;
            let blocks = self.model.blocks.get_mut(&(visit.which, file));
            let allowed = blocks.and_then(|blocks| blocks.get_mut(index));
            match (result, allowed, numbers.get(&index)) {
                (Ok(()), Some(allowed), Some(number)) => {
                    *allowed = Allowed::from([*number]);
                    self.done += 1;
                }
                (Err(error), ..) => failed = Some(error),
                _ => {}
            }
        }
        match failed {
            Some(error) => {
                // Whether it was done is not known, so nothing is assumed about the file's handle either.
                visit.open.remove(&file);
                Err(error.into())
            }
            None => Ok(()),
        }
    }

    async fn read(&mut self, visit: &mut Visit) -> Result<()> {
        let file = self.dice.below(FILES);
        let open = self.file(visit, file).await?;
        let read = open.read_at(0, (BLOCKS * BLOCK) as u32);
        let (bytes, _) = self.patiently("reading", read).await.context("never ends")??;
        self.done += 1;
        self.check(visit.which, file, &bytes, "reads");
        Ok(())
    }

    /// Compares a file with what may be in it.
    fn check(&self, which: usize, file: usize, bytes: &[u8], how: &str) {
        let Some(blocks) = self.model.blocks.get(&(which, file)) else {
            if !bytes.is_empty() {
                self.trace
                    .violate(format_args!("{} {how} what it never wrote", self.host));
            }
            return;
        };
        for (index, allowed) in blocks.iter().enumerate() {
            let found = bytes.get(index * BLOCK..).unwrap_or_default();
            let found = found.get(..BLOCK.min(found.len())).unwrap_or_default();
            let number = read_block(found, self.host, which, file, index);
            if number.is_none_or(|number| !allowed.contains(&number)) {
                self.trace.violate(format_args!(
                    "{} {how} write {number:?} in block {index} of file {file} on {}, where {allowed:?} may be: {:?}",
                    self.host,
                    NODES.get(which).unwrap_or(&"?"),
                    String::from_utf8_lossy(found)
                ));
            }
        }
    }

    /// Makes or removes a marker.
    async fn mark(&mut self, visit: &mut Visit) -> Result<()> {
        let marker = self.dice.below(MARKERS);
        let name = name(&marker_name(self.host, marker))?;
        let key = (visit.which, marker);
        let is_there = self.model.markers.get(&key).copied().unwrap_or(Some(false));
        let makes = match is_there {
            Some(is_there) => !is_there,
            None => self.dice.percent(50),
        };
        self.model.markers.insert(key, None);
        let (client, root) = (visit.client.clone(), visit.root);
        let doing = async {
            if makes {
                let (_, handle) = client.create(root, &name, 0o644, OpenFlags::WRITE).await?;
                Ok(Some(handle))
            } else {
                client.unlink(root, &name).await?;
                Ok::<_, Error>(None)
            }
        };
        let done = self.patiently("marking", doing).await.context("never ends")?;
        let unexpected = match (&done, makes) {
            (Err(error), true) => is_refused(error, Errno::EEXIST),
            (Err(error), false) => is_refused(error, Errno::ENOENT),
            _ => false,
        };
        if unexpected && is_there.is_some() {
            self.trace.violate(format_args!(
                "{}: {name} on {} {}",
                self.host,
                NODES.get(visit.which).unwrap_or(&"?"),
                if makes {
                    "is there, and was never made"
                } else {
                    "is not there, and was made"
                }
            ));
        }
        let known = match &done {
            Ok(_) => Some(makes),
            // Then it is as it was not expected to be.
            Err(_) if unexpected => Some(makes),
            Err(_) => None,
        };
        self.model.markers.insert(key, known);
        if let Some(handle) = done? {
            self.patiently("closing", visit.client.close(handle))
                .await
                .context("never ends")??;
        }
        self.done += 1;
        Ok(())
    }

    /// Reads everything once more through the hub, and beside it.
    pub(crate) async fn verify(&self, folders: &[&Path]) -> Result<()> {
        for (which, folder) in folders.iter().enumerate() {
            let node = NODES.get(which).copied().unwrap_or_default();
            let mut visit = None;
            for _ in 0..10 {
                match self
                    .patiently("connecting", connect(self.host, &self.dialer, which))
                    .await
                {
                    Some(Ok(made)) => {
                        visit = Some(made);
                        break;
                    }
                    Some(Err(error)) => self.trace.note(format_args!("{}: {error:#}", self.host)),
                    None => bail!("never ends"),
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            let visit = visit.with_context(|| format!("{} finds no way to {node}", self.host))?;
            for file in 0..FILES {
                let text = file_name(self.host, file);
                let bytes = std::fs::read(folder.join(&text)).unwrap_or_default();
                self.check(which, file, &bytes, "has on the disk");
                let found = visit.client.lookup(visit.root, &name(&text)?).await;
                let read = match found {
                    Ok(attr) => {
                        let open = OpenFile::open(&visit.client, inode(attr.id)?, OpenFlags::READ).await?;
                        let (bytes, _) = open.read_at(0, (BLOCKS * BLOCK) as u32).await?;
                        open.close().await?;
                        bytes
                    }
                    Err(error) if is_refused(&error, Errno::ENOENT) => Vec::new(),
                    Err(error) => return Err(error.into()),
                };
                if read != bytes {
                    self.trace.violate(format_args!(
                        "{} reads {text} on {node} other than it is on the disk",
                        self.host
                    ));
                }
            }
            for marker in 0..MARKERS {
                let known = self.model.markers.get(&(which, marker)).copied();
                let is_there = folder.join(marker_name(self.host, marker)).exists();
                if let Some(known) = known.unwrap_or(Some(false))
                    && known != is_there
                {
                    self.trace.violate(format_args!(
                        "{}: marker {marker} on {node} is {}there",
                        self.host,
                        if is_there { "" } else { "not " }
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Lists the node's folder, as any client may at any time.
pub(crate) async fn look_into(dialer: &Dialer, which: usize) -> Result<()> {
    let visit = connect("nobody", dialer, which).await?;
    spiderweb_client::list(&visit.client, visit.root).await?;
    Ok(())
}

/// Asks the hub for the node, and connects to it.
async fn connect(host: &str, dialer: &Dialer, which: usize) -> Result<Visit> {
    let node = NODES.get(which).copied().unwrap_or_default();
    let mut operator = Operator::connect(dialer).await?;
    let id = operator
        .find(node)
        .await?
        .with_context(|| format!("{node} is away"))?;
    let mut options = Options::new(format!("{URL}v2/fs/node/{id}").parse()?).token(Some(Secret::new(ADMIN)));
    options.dialer = dialer.clone();
    let client = Client::connect(options).await?;
    let exports = client.exports().await?;
    let work = exports.iter().find(|export| export.name == "work");
    let root = inode(work.with_context(|| format!("{host}: no export"))?.root)?;
    Ok(Visit {
        which,
        client,
        root,
        open: BTreeMap::new(),
    })
}
