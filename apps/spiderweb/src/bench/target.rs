//! The node that is measured, and the files made or opened on it for the purpose.

use std::collections::BTreeSet;

use spiderweb_client::{
    Client, Error, Options, RemotePath, Service, Upload, View, Window, fetch, partial_name, remove_tree,
};
use spiderweb_protocol::fs::OpenFlags;
use spiderweb_protocol::{EntryName, HandleId, InodeId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::BenchArgs;
use super::workload::{Shape, Workload, fill, pattern};
use crate::failure::{Doing as _, Failure};
use crate::global::Global;
use crate::remote::{Reach, Remote};

/// Files made at the same time.
const AT_ONCE: usize = 32;
/// Length of the file whose attributes are asked for, when nobody reads it.
const TOKEN_FILE: u64 = 4096;

/// A prepared node.
pub(super) struct Target {
    pub(super) client: Client,
    place: Option<Place>,
    pub(super) workload: Workload,
    /// The files behind the workload's writers.
    written: Vec<InodeId>,
}

/// The directory that was made.
struct Place {
    parent: InodeId,
    name: EntryName,
    path: RemotePath,
}

impl Target {
    /// Connects and makes a directory with all that the workload needs, or opens the service it invokes.
    pub(super) async fn prepare(args: &BenchArgs, global: &Global) -> Result<Self, Failure> {
        let mut reach = Reach::open(global).await?;
        let Remote { client, view, .. } = reach.only(args.path.as_ref()).await?;
        let mut target = Self {
            workload: Workload {
                payload: args.payload.clone(),
                ..Workload::imaginary(Shape::of(args))
            },
            client,
            place: None,
            written: Vec::new(),
        };
        if let Some(service) = &args.service {
            let service = Service::find(&target.client, &view, service)?;
            target.workload.readers.clear();
            target.workload.writers.clear();
            for _ in 0..args.connections {
                target.workload.writers.push(service.open_invoke().await?);
            }
            return Ok(target);
        }
        let path = target.make_directory(args, &view).await?;
        if let Err(error) = target.fill(args).await {
            target.remove().await;
            return Err(error).doing("prepare", &path);
        }
        Ok(target)
    }

    async fn make_directory(&mut self, args: &BenchArgs, view: &View) -> Result<RemotePath, Failure> {
        let base = match &args.path {
            Some(path) => path.clone(),
            None => first_writable(view)?,
        };
        let directory = view.directory(&self.client, &base).await;
        let parent = directory.doing("work in", &base)?.id;
        let name = EntryName::new(&partial_name("bench")).map_err(Error::from)?;
        let made = self.client.mkdir(parent, &name).await;
        made.doing("make a directory in", &base)?;
        let path = base.join(name.clone());
        self.place = Some(Place {
            parent,
            name: name.clone(),
            path: path.clone(),
        });
        let found = self.client.lookup(parent, &name).await.doing("use", &path)?;
        self.workload.dir = id(found.id)?;
        Ok(path)
    }

    /// How the connections of a measurement are made: as the one that prepared it.
    pub(super) fn options(&self) -> &Options {
        self.client.options()
    }

    async fn fill(&mut self, args: &BenchArgs) -> Result<(), Error> {
        let shape = self.workload.shape;
        let size = if shape.reads() {
            shape.file_size()
        } else {
            TOKEN_FILE
        };
        let name = self.workload.name.clone();
        self.workload.file = self.file(&name, size).await?;
        self.workload.readers.clear();
        self.workload.writers.clear();
        for number in 0..shape.connections {
            if shape.reads() {
                let opened = self.client.open(self.workload.file, OpenFlags::READ).await?;
                self.workload.readers.push(opened.handle);
            }
            if shape.writes() {
                let name = EntryName::new(&format!("written-{number}"))?;
                let (dir, flags) = (self.workload.dir, OpenFlags::READ_WRITE);
                let (attr, handle) = self.client.create(dir, &name, 0o644, flags).await?;
                self.workload.writers.push(handle);
                self.written.push(id(attr.id)?);
            }
        }
        if args.op == super::BenchOp::Readdirp {
            self.crowd(args.entries).await?;
        }
        Ok(())
    }

    /// Makes a file filled with the pattern.
    pub(super) async fn file(&self, name: &EntryName, size: u64) -> Result<InodeId, Error> {
        let mut contents = vec![0; size as usize];
        fill(0, &mut contents);
        let upload = Upload {
            client: &self.client,
            parent: self.workload.dir,
            name,
            mode: 0o644,
            window: Window::default(),
            stop: &CancellationToken::new(),
        };
        upload.run(contents.as_slice(), |_| {}).await?;
        id(self.client.lookup(self.workload.dir, name).await?.id)
    }

    /// Makes a directory with many files.
    async fn crowd(&mut self, entries: u32) -> Result<(), Error> {
        let name = EntryName::new("crowded")?;
        self.client.mkdir(self.workload.dir, &name).await?;
        let dir = id(self.client.lookup(self.workload.dir, &name).await?.id)?;
        self.workload.crowded = dir;
        let mut making = JoinSet::new();
        for number in 0..entries {
            if making.len() == AT_ONCE {
                made(making.join_next().await)?;
            }
            let client = self.client.clone();
            making.spawn(async move {
                let name = EntryName::new(&format!("entry-{number:07}"))?;
                let (_, handle) = client.create(dir, &name, 0o644, OpenFlags::WRITE).await?;
                client.close(handle).await
            });
        }
        while !making.is_empty() {
            made(making.join_next().await)?;
        }
        Ok(())
    }

    /// Reads back the blocks that were acknowledged as written.
    pub(super) async fn verify(
        &self,
        args: &BenchArgs,
        written: &BTreeSet<(usize, u16)>,
    ) -> Result<(), Failure> {
        for (connection, file) in self.written.iter().enumerate() {
            let mut contents = Vec::new();
            fetch(&self.client, *file, Window::default(), &mut contents, |_| {}).await?;
            if contents.len() as u64 > u64::from(args.block) * u64::from(args.depth) {
                return Err(Failure::message(format!(
                    "verification failed: the file of connection {connection} is longer than all that was written"
                )));
            }
            let slots = written.iter().filter(|(writer, _)| *writer == connection);
            for (_, slot) in slots {
                if !holds_block(&contents, args.block, *slot) {
                    return Err(Failure::message(format!(
                        "verification failed: block {slot} of the file of connection {connection} is not what was \
                         written"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Removes everything that was made. A failure is told, not returned: the measurement is what counts.
    pub(super) async fn remove(&self) {
        let handles = self.workload.readers.iter().chain(&self.workload.writers);
        for handle in handles.copied().collect::<Vec<HandleId>>() {
            // A handle the node has forgotten is closed.
            let _ = self.client.close(handle).await;
        }
        let Some(Place { parent, name, path }) = &self.place else {
            return;
        };
        let removed = remove_tree(&self.client, *parent, name, path).await;
        if let Err(failure) = removed.doing("remove", path) {
            failure.report();
        }
    }
}

/// Whether the block of a slot is there, whole and as written.
fn holds_block(contents: &[u8], block: u32, slot: u16) -> bool {
    let begin = u64::from(block) * u64::from(slot);
    let found = contents.get(begin as usize..begin as usize + block as usize);
    found.is_some_and(|bytes| bytes.iter().zip(begin..).all(|(byte, at)| *byte == pattern(at)))
}

fn first_writable(view: &View) -> Result<RemotePath, Failure> {
    let writable = view
        .exports()
        .iter()
        .find(|export| !export.ro && export.source_kind != "namespace");
    writable.and_then(|export| view.root_path(export)).ok_or_else(|| {
        Failure::message("the node has no export that can be written, and bench needs a directory to work in")
    })
}

fn id(number: u64) -> Result<InodeId, Error> {
    InodeId::new(number).ok_or(Error::Task)
}

fn made(joined: Option<Result<Result<(), Error>, tokio::task::JoinError>>) -> Result<(), Error> {
    joined.unwrap_or(Ok(Ok(()))).map_err(|_panicked| Error::Task)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_verified_by_itself() {
        let mut contents = vec![0; 3 * 16];
        fill(16, &mut contents[16..32]);
        // What was not written holds anything.
        assert!(holds_block(&contents, 16, 1));
        assert!(!holds_block(&contents, 16, 0));
        assert!(!holds_block(&contents[..31], 16, 1), "cut short");
        contents[20] ^= 1;
        assert!(!holds_block(&contents, 16, 1), "another byte");
    }
}
