//! What goes on beside a measurement: bulk readers, a waiting lock, idle connections.

use spiderweb_client::{Client, Options};
use spiderweb_protocol::fs::{LockKind, OpenFlags};
use spiderweb_protocol::{EntryName, Errno, HandleId};
use spiderweb_transport::WebSocket;
use tokio_util::task::AbortOnDropHandle;

use super::lane::{Lane, Tally, Times, connect_all};
use super::target::Target;
use super::workload::{Shape, Workload};
use super::{BenchArgs, BenchOp};
use crate::failure::Failure;

/// Block of the readers in the background.
const BLOCK: u32 = 1 << 20;

/// Company that is ready.
pub(super) struct Company {
    readers: Vec<Lane>,
    idle: Vec<WebSocket>,
    lock: Option<Lock>,
}

/// Company that is at work.
pub(super) struct Working {
    readers: Vec<AbortOnDropHandle<Result<Tally, Failure>>>,
    idle: Vec<WebSocket>,
    lock: Option<Lock>,
}

/// What the company did.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Bytes the readers in the background got.
    pub(super) background_bytes: u64,
    /// How the waiting lock ended.
    pub(super) lock: Option<&'static str>,
    pub(super) idle: usize,
}

/// One connection that holds a lock and another one that waits for it.
struct Lock {
    holder: Client,
    held: HandleId,
    waiter: AbortOnDropHandle<Result<(), spiderweb_client::Error>>,
}

impl Company {
    pub(super) async fn gather(
        args: &BenchArgs,
        options: &Options,
        target: &Target,
    ) -> Result<Self, Failure> {
        let readers = if args.background > 0 {
            readers(args, options, target).await?
        } else {
            Vec::new()
        };
        let lock = if args.hold_lock {
            Some(Lock::contend(options, target).await?)
        } else {
            None
        };
        Ok(Self {
            readers,
            idle: connect_all(options, args.idle as usize).await?,
            lock,
        })
    }

    pub(super) fn start(self, times: Times) -> Working {
        let readers = self.readers.into_iter();
        Working {
            readers: readers
                .map(|lane| AbortOnDropHandle::new(tokio::spawn(lane.run(times))))
                .collect(),
            idle: self.idle,
            lock: self.lock,
        }
    }
}

impl Working {
    /// Waits for everyone and says what they did.
    pub(super) async fn dismiss(self) -> Result<Report, Failure> {
        let mut report = Report {
            idle: self.idle.len(),
            ..Report::default()
        };
        for reader in self.readers {
            let tally = reader
                .await
                .map_err(|error| Failure::message(error.to_string()))??;
            report.background_bytes += tally.bytes;
        }
        if let Some(lock) = self.lock {
            report.lock = Some(lock.settle().await?);
        }
        Ok(report)
    }
}

async fn readers(args: &BenchArgs, options: &Options, target: &Target) -> Result<Vec<Lane>, Failure> {
    let shape = Shape {
        op: BenchOp::Read,
        connections: 1,
        depth: 1,
        block: BLOCK,
        entries: 0,
    };
    let name = EntryName::new("background").map_err(spiderweb_client::Error::from)?;
    let file = target.file(&name, shape.file_size()).await?;
    let mut lanes = Vec::new();
    for socket in connect_all(options, args.background.into()).await? {
        let handle = target.client.open(file, OpenFlags::READ).await?.handle;
        let workload = Workload {
            readers: vec![handle],
            ..Workload::imaginary(shape)
        };
        lanes.push(Lane::reader(socket, &workload));
    }
    Ok(lanes)
}

impl Lock {
    async fn contend(options: &Options, target: &Target) -> Result<Self, Failure> {
        let file = target.workload.file;
        let holder = Client::connect(options.clone()).await?;
        let held = holder.open(file, OpenFlags::READ).await?.handle;
        holder.lock(held, LockKind::Exclusive, false).await?;
        let waiter = Client::connect(options.clone()).await?;
        let wanted = waiter.open(file, OpenFlags::READ).await?.handle;
        let waiter = tokio::spawn(async move {
            loop {
                match waiter.lock(wanted, LockKind::Exclusive, true).await {
                    // The node gives up waiting before a client would give up on it.
                    Err(error) if error.errno() == Some(Errno::EAGAIN) => {}
                    result => {
                        waiter.close(wanted).await?;
                        return result;
                    }
                }
            }
        });
        Ok(Self {
            holder,
            held,
            waiter: AbortOnDropHandle::new(waiter),
        })
    }

    /// Gives the lock back and sees whether the waiter gets it.
    async fn settle(self) -> Result<&'static str, Failure> {
        let early = self.waiter.is_finished();
        self.holder.lock(self.held, LockKind::Unlock, false).await?;
        let waited = tokio::time::timeout(super::STALLED, self.waiter).await;
        self.holder.close(self.held).await?;
        Ok(match waited {
            _ if early => "was not kept waiting",
            Ok(Ok(Ok(()))) => "waited, and got it when it was given back",
            Ok(_) => "was refused",
            Err(_elapsed) => "never got it",
        })
    }
}
