//! Namespace services: write a payload, wait, read what came of it.
//!
//! A service is a tree of files in an export of its own, and all of this is ordinary file operations:
//!
//! ```text
//! classic   write control/invoke.json            read status.json, result.json or last_error.txt
//! named     write control/invoke.<name>.json     read history/<name>.json
//! ```
//!
//! The classic files are shared by everybody who uses the service, so of two callers at once both may read the later
//! outcome. A node that has `history` keeps outcomes by name, and then this client makes up a name for every invoke.
//!
//! The write that completes the payload is answered when the driver is done. It is sent once and never again, because
//! every sending would run the driver; when the connection breaks meanwhile, a named outcome can still be read.

mod outcome;

use std::time::Duration;

use spiderweb_protocol::fs::{Export, OpenFlags};
use spiderweb_protocol::limits::MAX_WRITE;
use spiderweb_protocol::{EntryName, Errno, HandleId, InodeId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::outcome::{Outcome, Refusal, Status};
use crate::client::Client;
use crate::error::Error;
use crate::file::OpenFile;
use crate::view::{View, node_id};

/// The file for payloads that everybody shares, and the one that ends invokes.
const INVOKE: &str = "control/invoke.json";
const CANCEL: &str = "control/cancel";
/// Bytes asked for at once when a file is read.
const BLOCK: u32 = 256 * 1024;
/// Longest file of a service. A result has at most 1 MiB, which escaping may make six of, and so may an error text.
const MAX_FILE: usize = 16 * 1024 * 1024;
/// Other names tried when a name is taken.
const NAMES: u32 = 4;
/// First and longest pause between two looks for an outcome whose announcement was lost.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];
/// Longest time in which somebody who does not want to wait any more has an invoke ended.
const FAREWELL: Duration = Duration::from_secs(2);
/// Mode of a new control file.
const MODE: u32 = 0o644;

/// A namespace service of a node.
#[derive(Clone, Debug)]
pub struct Service {
    client: Client,
    export: Export,
    root: InodeId,
}

impl Service {
    /// Finds a service by its id (`echo-main`) or its export's name (`svc-echo-main`, `terminal-1`).
    pub fn find(client: &Client, view: &View, name: &str) -> Result<Self, Error> {
        let named = |wanted: &str| view.exports().iter().find(|export| export.name == wanted);
        let export = named(name).or_else(|| named(&format!("svc-{name}")));
        let export = export.ok_or_else(|| Error::NoService {
            name: name.to_owned(),
            services: Self::exports(view).map(|export| export.name.clone()).collect(),
        })?;
        Self::of(client, export)
    }

    /// The exports that are services.
    pub fn exports(view: &View) -> impl Iterator<Item = &Export> {
        let is_service = |export: &&Export| export.source_kind == "namespace";
        view.exports().iter().filter(is_service)
    }

    /// The service in an export.
    pub fn of(client: &Client, export: &Export) -> Result<Self, Error> {
        Ok(Self {
            client: client.clone(),
            export: export.clone(),
            root: node_id(export.root)?,
        })
    }

    /// The name of its export.
    pub fn name(&self) -> &str {
        &self.export.name
    }

    /// The contents of one of its files, such as `health.json`.
    pub async fn read(&self, file: &str) -> Result<Vec<u8>, Error> {
        self.read_in(self.root, file).await
    }

    /// Runs the service once, with a payload that is one JSON object, and waits for what comes of it for as long as
    /// `patience`, or until `stop`, which also ends the driver on nodes that keep outcomes by name.
    ///
    /// That the driver fails, or is not run because the service is disabled or cooling down, is an [`Outcome`]. So is
    /// a payload that the node refuses.
    pub async fn invoke(
        &self,
        payload: &[u8],
        patience: Duration,
        stop: &CancellationToken,
    ) -> Result<Outcome, Error> {
        let payload = payload.trim_ascii();
        let control = self.find_in(self.root, "control").await?;
        match self.find_in(self.root, "history").await {
            Ok(history) => match self.create_named(control).await {
                Ok(named) => {
                    self.invoke_named(control, history, named, payload, patience, stop)
                        .await
                }
                // The classic file has its room whatever others left lying about.
                Err(error) if error.is(Errno::ENOSPC) => {
                    self.invoke_classic(control, payload, patience, stop).await
                }
                Err(error) => Err(error),
            },
            Err(error) if error.is(Errno::ENOENT) => {
                self.invoke_classic(control, payload, patience, stop).await
            }
            Err(error) => Err(error),
        }
    }

    /// Opens `control/invoke.json` for writing, emptied. Every write to it that completes an object is an invoke.
    pub async fn open_invoke(&self) -> Result<HandleId, Error> {
        let control = self.find_in(self.root, "control").await?;
        self.open_emptied(control, INVOKE).await
    }

    async fn open_emptied(&self, dir: InodeId, path: &str) -> Result<HandleId, Error> {
        let file = self.find_in(dir, path).await?;
        let opened = self.client.open(file, OpenFlags::WRITE).await?;
        match self.client.truncate(file, 0).await {
            Ok(()) => Ok(opened.handle),
            Err(error) => {
                // The failure is the news, not a handle that outlives it.
                let _ = self.client.close(opened.handle).await;
                Err(error)
            }
        }
    }

    async fn invoke_classic(
        &self,
        control: InodeId,
        payload: &[u8],
        patience: Duration,
        stop: &CancellationToken,
    ) -> Result<Outcome, Error> {
        tokio::select! {
            outcome = self.run_classic(control, payload, patience) => outcome,
            () = stop.cancelled() => Err(Error::Stopped),
        }
    }

    async fn run_classic(
        &self,
        control: InodeId,
        payload: &[u8],
        patience: Duration,
    ) -> Result<Outcome, Error> {
        let handle = self.open_emptied(control, INVOKE).await?;
        let wrote = self.write_payload(handle, payload, patience).await;
        // The outcome is the news; a handle that cannot be closed is timed out by the node.
        let _ = self.client.close(handle).await;
        let refusal = refusal(wrote)?;
        let status = Status::parse(&self.read("status.json").await?);
        let succeeded = refusal.is_none() && status.state == "ok";
        let (result, error) = if succeeded {
            (Some(self.read("result.json").await?), Vec::new())
        } else {
            (None, self.read("last_error.txt").await?)
        };
        Ok(Outcome {
            status,
            result,
            error,
            refusal,
        })
    }

    async fn invoke_named(
        &self,
        control: InodeId,
        history: InodeId,
        (name, file, handle): (String, EntryName, HandleId),
        payload: &[u8],
        patience: Duration,
        stop: &CancellationToken,
    ) -> Result<Outcome, Error> {
        let give_up = Instant::now() + patience;
        let record = format!("history/{name}.json");
        let outcome = async {
            match self.write_payload(handle, payload, patience).await {
                Err(lost @ Error::Lost { .. }) => self.look_for(history, &record, give_up, lost).await,
                wrote => self.named_outcome(history, &record, wrote).await,
            }
        };
        let outcome = tokio::select! {
            outcome = outcome => outcome,
            () = stop.cancelled() => Err(Error::Stopped),
        };
        if matches!(outcome, Err(Error::Stopped)) {
            // If the node cannot be told in time, the driver runs to its own end, as if we had been killed.
            let _ = tokio::time::timeout(FAREWELL, self.cancel(control, &name)).await;
        }
        // Both only keep the node's tree tidy; the outcome is the news.
        let _ = self.client.close(handle).await;
        let _ = self.client.unlink(control, &file).await;
        outcome
    }

    /// Ends the invoke of this name, whether it runs or waits for its turn.
    async fn cancel(&self, control: InodeId, name: &str) -> Result<(), Error> {
        let handle = self.open_emptied(control, CANCEL).await?;
        let wrote = self.client.write_once(handle, 0, name.as_bytes(), FAREWELL).await;
        // It was written; a handle that cannot be closed is timed out by the node.
        let _ = self.client.close(handle).await;
        wrote.map(drop)
    }

    /// Makes a file for a payload under a fresh name.
    async fn create_named(&self, control: InodeId) -> Result<(String, EntryName, HandleId), Error> {
        let mut attempts = 1;
        loop {
            let random = getrandom::u64().unwrap_or_else(|_| std::process::id().into());
            let name = format!("{random:016x}");
            let file = EntryName::new(&format!("invoke.{name}.json"))?;
            match self.client.create(control, &file, MODE, OpenFlags::WRITE).await {
                Ok((_, handle)) => return Ok((name, file, handle)),
                Err(Error::Uncertain { .. }) if attempts < NAMES => {
                    // With a random name it was us.
                    let _ = self.client.unlink(control, &file).await;
                }
                Err(error) if error.is(Errno::EEXIST) && attempts < NAMES => {}
                Err(error) => return Err(error),
            }
            attempts += 1;
        }
    }

    /// The outcome after the node answered the write.
    async fn named_outcome(
        &self,
        history: InodeId,
        record: &str,
        wrote: Result<(), Error>,
    ) -> Result<Outcome, Error> {
        let refusal = refusal(wrote)?;
        match self.read_in(history, record).await {
            Ok(record) => Ok(Outcome {
                refusal,
                ..Outcome::from_record(&record)?
            }),
            // Nothing was run, so there is no record; the status says why.
            Err(error) if error.is(Errno::ENOENT) && refusal.is_some() => Ok(Outcome {
                status: Status::parse(&self.read("status.json").await?),
                result: None,
                error: Vec::new(),
                refusal,
            }),
            Err(error) => Err(error),
        }
    }

    /// The outcome after the connection was lost: the driver may be at it still, or may never have been started.
    async fn look_for(
        &self,
        history: InodeId,
        record: &str,
        give_up: Instant,
        lost: Error,
    ) -> Result<Outcome, Error> {
        let [mut pause, longest] = LOOK_AGAIN;
        loop {
            match self.read_in(history, record).await {
                Ok(record) => return Outcome::from_record(&record),
                Err(error) if error.is(Errno::ENOENT) => {}
                Err(error) => return Err(error),
            }
            if Instant::now() + pause > give_up {
                return Err(lost);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Writes a payload in pieces. Only the last one makes it a JSON object: a node stores the others and answers that
    /// the payload is invalid, which it is until then.
    async fn write_payload(&self, handle: HandleId, payload: &[u8], patience: Duration) -> Result<(), Error> {
        let mut offset = 0;
        let mut pieces = payload.chunks(MAX_WRITE).peekable();
        while let Some(piece) = pieces.next() {
            let expected = piece.len() as u64;
            match self.client.write_once(handle, offset, piece, patience).await {
                Ok(found) if found != expected => return Err(Error::Length { expected, found }),
                Ok(_) => {}
                Err(error) if error.is(Errno::EINVAL) && pieces.peek().is_some() => {}
                Err(error) => return Err(error),
            }
            offset += expected;
        }
        Ok(())
    }

    /// The id of a file by its path in the service, of which `dir` is the directory.
    async fn find_in(&self, dir: InodeId, path: &str) -> Result<InodeId, Error> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let attr = self.client.lookup(dir, &EntryName::new(name)?).await;
        let whole = || format!("/{}/{path}", self.export.name);
        node_id(attr.map_err(|error| error.at(&whole()))?.id)
    }

    async fn read_in(&self, dir: InodeId, path: &str) -> Result<Vec<u8>, Error> {
        let id = self.find_in(dir, path).await?;
        let file = OpenFile::open(&self.client, id, OpenFlags(0)).await?;
        let contents = read_whole(&file).await;
        // It was read; a handle that cannot be closed is timed out by the node.
        let _ = file.close().await;
        contents
    }
}

async fn read_whole(file: &OpenFile) -> Result<Vec<u8>, Error> {
    let mut contents = Vec::new();
    loop {
        let (bytes, eof) = file.read_at(contents.len() as u64, BLOCK).await?;
        let is_end = eof || bytes.is_empty();
        contents.extend_from_slice(&bytes);
        if contents.len() > MAX_FILE {
            return Err(Error::TooLong { limit: MAX_FILE });
        }
        if is_end {
            return Ok(contents);
        }
    }
}

/// What the node said to the write instead of running the driver to an outcome; an error of the way there stays one.
fn refusal(wrote: Result<(), Error>) -> Result<Option<Refusal>, Error> {
    match wrote {
        Ok(()) => Ok(None),
        Err(Error::Node { error, .. }) => Ok(Some(Refusal {
            errno: error.errno,
            message: error.message,
        })),
        Err(error) => Err(error),
    }
}
