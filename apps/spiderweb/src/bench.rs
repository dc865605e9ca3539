//! `spiderweb bench`: how fast a node answers.
//!
//! A closed loop: every connection keeps `depth` requests outstanding and sends the next one when an answer comes.
//! The connections own their sockets and look only at the type and tag of an answer, so that what is measured is the
//! node; the *ceiling*, the same shape against a responder inside this process that does nothing, says how far the
//! load generator itself would go on this machine.

mod company;
mod compare;
mod connect;
mod lane;
mod process;
mod report;
mod responder;
mod tally;
mod target;
mod workload;

use std::time::Duration;

use clap::{Args, ValueEnum};
use spiderweb_client::RemotePath;
use tokio::time::Instant;

use crate::context::Context;
use crate::failure::Failure;
use crate::global::{Global, remote_path};
use crate::remote;
use crate::units::{parse_block, parse_duration};
use company::Company;
use compare::Side;
use lane::{Lane, Times};
use process::Process;
use report::Outcome;
use responder::Responder;
use tally::Tally;
use target::Target;
use workload::{Shape, Workload};

/// Measure how fast a node answers.
///
/// Works in a directory it makes inside an export and removes at the end; `invoke` runs a service instead. With --hub
/// every connection goes through the hub. Latency counts from queueing a request to its answer. The ceiling is the same load against a responder inside this program that does nothing: what this
/// machine could show at best.
///
/// JSON: {op, connections, depth, block, seconds, ops, ops_per_second, bytes_per_second, entries_per_second,
/// latency_us, errors, ceiling, server, background, invoking, lock, idle, verified, wrong}; latency_us is {p50, p90,
/// p99, p999, max}. With --compare: {a, b, shape, pairs, throughput, p50, p99}; the last three are {min, median, max}
/// of B over A.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "this is help text")]
pub(crate) struct BenchArgs {
    /// A directory to work in; the first writable export if there is none.
    #[arg(value_name = "PATH", value_parser = remote_path)]
    path: Option<RemotePath>,

    /// What to measure.
    #[arg(long, value_enum, default_value_t = BenchOp::Getattr)]
    op: BenchOp,

    /// Connections.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,

    /// Requests outstanding on each connection.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    depth: u16,

    /// Bytes of one read or write.
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = parse_block)]
    block: u32,

    /// The service that `--op invoke` runs, by its id.
    #[arg(long, value_name = "ID", required_if_eq("op", "invoke"))]
    service: Option<String>,

    /// What it is asked: one JSON object.
    #[arg(long, value_name = "JSON", default_value = r#"{"message":"hello"}"#)]
    payload: String,

    /// How long to measure.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    duration: Duration,

    /// How long to run before measuring.
    #[arg(long, value_name = "TIME", default_value = "0.5s", value_parser = parse_duration)]
    warmup: Duration,

    /// Entries of the directory that readdirp lists.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    entries: u32,

    /// Show memory and processor time of the node's process on this machine.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// Check contents and counts; slower.
    #[arg(long)]
    verify: bool,

    /// Do not measure the ceiling first.
    #[arg(long)]
    no_ceiling: bool,

    /// Read 1 MiB blocks on this many further connections meanwhile.
    #[arg(long, value_name = "N", default_value_t = 0)]
    background: u16,

    /// Let one more connection wait for a lock that another one holds. Stops an original node for good.
    #[arg(long)]
    hold_lock: bool,

    /// Invoke every service whose id begins like this meanwhile, each all the time on a further connection.
    #[arg(long, value_name = "PREFIX")]
    invoking: Option<String>,

    /// Keep this many further connections open and silent.
    #[arg(long, value_name = "N", default_value_t = 0)]
    idle: u32,

    /// Compare two nodes in short slices, alternating: each by its own address, or by its id or name behind --hub.
    #[arg(
        long,
        value_names = ["NODE_A", "NODE_B"],
        num_args = 2,
        value_parser = Side::read,
        conflicts_with_all = ["pid", "background", "hold_lock", "invoking", "idle"]
    )]
    compare: Option<Vec<Side>>,

    /// Pairs of slices of a comparison.
    #[arg(long, value_name = "N", default_value_t = 10, requires = "compare")]
    pairs: u16,

    /// Length of one slice of a comparison.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_duration, requires = "compare")]
    slice: Duration,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum BenchOp {
    /// Attributes of one file.
    Getattr,
    /// One name in a directory.
    Lookup,
    /// Blocks of a file.
    Read,
    /// Blocks of one file per connection.
    Write,
    /// A whole directory, in as many pages as it takes.
    Readdirp,
    /// Open and close; both together count as one.
    OpenClose,
    /// Create, close and unlink; all together count as one.
    CreateUnlink,
    /// A write that runs a service's driver, whose answer comes with the driver's end.
    Invoke,
    /// 8 getattr, 4 lookup, 4 read, 2 write, 1 open-close, 1 create-unlink.
    Mixed,
}

/// Longest the ceiling is measured.
const CEILING: Duration = Duration::from_secs(1);
/// Warm-up of a ceiling and of a slice.
const SHORT_WARMUP: Duration = Duration::from_millis(200);
/// Time for outstanding answers after the end, and for any answer at all.
const STALLED: Duration = Duration::from_secs(20);

/// Runs the command.
pub(crate) async fn run(args: &BenchArgs, context: &mut Context) -> Result<(), Failure> {
    if let Some([a, b]) = args.compare.as_deref() {
        return compare::run(args, context, a, b).await;
    }
    let process = args.pid.map(Process::of).transpose()?;
    let ceiling = ceiling(args, &context.global).await?;
    let stop = context.stop.clone();
    let target = Target::prepare(args, &context.global).await?;
    let measured = tokio::select! {
        measured = measure(args, &target, process) => measured,
        () = stop.cancelled() => Err(Failure::Interrupted),
    };
    target.remove().await;
    let mut outcome = measured?;
    outcome.ceiling = ceiling;
    outcome.print(args, &mut context.out)?;
    outcome.judge()
}

/// Measures the load generator against a responder that does nothing.
async fn ceiling(args: &BenchArgs, global: &Global) -> Result<Option<f64>, Failure> {
    if args.no_ceiling {
        return Ok(None);
    }
    let responder = Responder::start(args.block, args.entries)?;
    let workload = Workload::imaginary(Shape::of(args));
    let options = remote::options(global)?;
    let options = spiderweb_client::Options {
        url: responder.url(),
        ..options
    };
    let lanes = Lane::dial_all(&options, &workload, args, false).await?;
    let times = Times::starting_now(SHORT_WARMUP, args.duration.min(CEILING));
    let tally = drive(lanes, times).await?;
    Ok(Some(tally.ops as f64 / times.seconds()))
}

/// Measures a node.
async fn measure(args: &BenchArgs, target: &Target, process: Option<Process>) -> Result<Outcome, Failure> {
    let options = target.options();
    let quiet_memory = process.map(Process::memory).transpose()?;
    let company = Company::gather(args, options, target).await?;
    let crowded_memory = process.map(Process::memory).transpose()?;
    let lanes = Lane::dial_all(options, &target.workload, args, args.verify).await?;
    let times = Times::starting_now(args.warmup, args.duration);
    let company = company.start(times);

    let driving = tokio::spawn(drive(lanes, times));
    let cpu = match process {
        None => None,
        Some(process) => {
            tokio::time::sleep_until(times.begin).await;
            let before = process.cpu()?;
            tokio::time::sleep_until(times.end).await;
            Some(process.cpu()?.saturating_sub(before))
        }
    };
    let tally = driving
        .await
        .map_err(|error| Failure::message(format!("the measurement ended early: {error}")))??;
    let memory = process.map(Process::memory).transpose()?;
    if args.verify {
        target.verify(args, &tally.written).await?;
    }
    let company = company.dismiss().await?;
    Ok(Outcome {
        times,
        tally,
        ceiling: None,
        cpu,
        quiet_memory,
        crowded_memory,
        memory,
        company,
        verified: args.verify,
    })
}

/// Runs all connections to the end and adds up what they saw.
async fn drive(lanes: Vec<Lane>, times: Times) -> Result<Tally, Failure> {
    let mut running = tokio::task::JoinSet::new();
    for lane in lanes {
        running.spawn(lane.run(times));
    }
    let mut tally = Tally::default();
    let give_up = times.end + STALLED;
    while !running.is_empty() {
        match tokio::time::timeout_at(give_up, running.join_next()).await {
            Ok(Some(Ok(finished))) => tally.add(&finished?),
            Ok(None) => break,
            Ok(Some(Err(error))) => {
                return Err(Failure::message(format!(
                    "a connection's task ended early: {error}"
                )));
            }
            Err(_elapsed) => {
                return Err(Failure::message(format!(
                    "{} connections still owed answers {STALLED:?} after the end",
                    running.len()
                )));
            }
        }
    }
    Ok(tally)
}

impl Times {
    fn starting_now(warmup: Duration, duration: Duration) -> Self {
        let begin = Instant::now() + warmup;
        Self {
            begin,
            end: begin + duration,
        }
    }

    fn seconds(&self) -> f64 {
        (self.end - self.begin).as_secs_f64()
    }
}
