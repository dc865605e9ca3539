//! What goes on beside a measurement: bulk readers, invokes of services, a waiting lock, idle connections.

use spiderweb_client::{Client, Options, Service, View};
use spiderweb_protocol::fs::{Export, LockKind, OpenFlags};
use spiderweb_protocol::{EntryName, Errno, HandleId};
use spiderweb_transport::WebSocket;
use tokio_util::task::AbortOnDropHandle;

use super::connect::connect_all;
use super::lane::{Lane, Times};
use super::tally::Tally;
use super::target::Target;
use super::workload::{Shape, Workload};
use super::{BenchArgs, BenchOp};
use crate::failure::Failure;

/// Block of the readers in the background.
const BLOCK: u32 = 1 << 20;

/// Company that is ready.
pub(super) struct Company {
    readers: Vec<Lane>,
    invokers: Vec<Lane>,
    idle: Vec<WebSocket>,
    lock: Option<Lock>,
}

/// Company that is at work.
pub(super) struct Working {
    readers: Vec<Busy>,
    invokers: Vec<Busy>,
    idle: Vec<WebSocket>,
    lock: Option<Lock>,
}

/// A connection that keeps the node busy.
type Busy = AbortOnDropHandle<Result<Tally, Failure>>;

/// What the company did.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Bytes the readers in the background got.
    pub(super) background_bytes: u64,
    /// Services that were invoked, and how many answers that gave.
    pub(super) invoking: usize,
    pub(super) invokes: u64,
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
        let invokers = match &args.invoking {
            Some(prefix) => invokers(prefix, args, options, target).await?,
            None => Vec::new(),
        };
        let lock = if args.hold_lock {
            Some(Lock::contend(options, target).await?)
        } else {
            None
        };
        Ok(Self {
            readers,
            invokers,
            idle: connect_all(options, args.idle as usize).await?,
            lock,
        })
    }

    pub(super) fn start(self, times: Times) -> Working {
        let start = |lanes: Vec<Lane>| -> Vec<Busy> {
            let started = lanes.into_iter().map(|lane| tokio::spawn(lane.run(times)));
            started.map(AbortOnDropHandle::new).collect()
        };
        Working {
            readers: start(self.readers),
            invokers: start(self.invokers),
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
            invoking: self.invokers.len(),
            ..Report::default()
        };
        for reader in self.readers {
            report.background_bytes += finished(reader).await?.bytes;
        }
        for invoker in self.invokers {
            report.invokes += finished(invoker).await?.answered;
        }
        if let Some(lock) = self.lock {
            report.lock = Some(lock.settle().await?);
        }
        Ok(report)
    }
}

async fn finished(busy: Busy) -> Result<Tally, Failure> {
    busy.await.map_err(|error| Failure::message(error.to_string()))?
}

async fn invokers(
    prefix: &str,
    args: &BenchArgs,
    options: &Options,
    target: &Target,
) -> Result<Vec<Lane>, Failure> {
    let shape = Shape {
        op: BenchOp::Invoke,
        connections: 1,
        depth: 1,
        block: 0,
        entries: 0,
    };
    let view = View::of(&target.client, None).await?;
    let begins = |export: &&Export| {
        export
            .name
            .strip_prefix("svc-")
            .is_some_and(|id| id.starts_with(prefix))
    };
    let services: Vec<&Export> = Service::exports(&view).filter(begins).collect();
    if services.is_empty() {
        return Err(Failure::message(format!(
            "the node has no service whose id begins with `{prefix}`"
        )));
    }
    let sockets = connect_all(options, services.len()).await?;
    let mut lanes = Vec::new();
    for (export, socket) in services.into_iter().zip(sockets) {
        let service = Service::of(&target.client, export)?;
        let workload = Workload {
            writers: vec![service.open_invoke().await?],
            payload: args.payload.clone(),
            ..Workload::imaginary(shape)
        };
        lanes.push(Lane::alone(socket, &workload));
    }
    Ok(lanes)
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
        lanes.push(Lane::alone(socket, &workload));
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
