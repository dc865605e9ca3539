//! What a measurement shows.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use spiderweb_protocol::Errno;

use super::company::Report;
use super::lane::Times;
use super::tally::Tally;
use super::{BenchArgs, BenchOp};
use crate::failure::Failure;
use crate::output::Output;
use crate::units::human_size;

/// Everything that was measured.
pub(super) struct Outcome {
    pub(super) times: Times,
    pub(super) tally: Tally,
    /// Operations per second of the load generator against a responder that does nothing.
    pub(super) ceiling: Option<f64>,
    /// Processor time of the node while it was measured.
    pub(super) cpu: Option<Duration>,
    /// The node's memory before anybody connected, with everybody connected, and after the measurement.
    pub(super) quiet_memory: Option<u64>,
    pub(super) crowded_memory: Option<u64>,
    pub(super) memory: Option<u64>,
    pub(super) company: Report,
    pub(super) verified: bool,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

impl Latency {
    pub(super) fn of(histogram: Option<&Histogram<u64>>) -> Self {
        let Some(histogram) = histogram.filter(|histogram| !histogram.is_empty()) else {
            return Self::default();
        };
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1000.0,
        }
    }
}

#[derive(Serialize)]
struct OutcomeJson<'a> {
    op: String,
    connections: u16,
    depth: u16,
    block: u32,
    seconds: f64,
    ops: u64,
    ops_per_second: f64,
    bytes_per_second: f64,
    entries_per_second: f64,
    latency_us: Latency,
    errors: &'a BTreeMap<i32, u64>,
    ceiling: Option<f64>,
    server: Option<ServerJson>,
    background: Option<BackgroundJson>,
    invoking: Option<InvokingJson>,
    lock: Option<&'a str>,
    idle: usize,
    verified: bool,
    wrong: u64,
}

#[derive(Serialize)]
struct ServerJson {
    cpu_us_per_op: f64,
    cores: f64,
    memory_before: u64,
    memory_connected: u64,
    memory_after: u64,
}

#[derive(Serialize)]
struct InvokingJson {
    services: usize,
    answers: u64,
}

#[derive(Serialize)]
struct BackgroundJson {
    connections: u16,
    bytes_per_second: f64,
}

impl Outcome {
    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.times.seconds()
    }

    fn server(&self) -> Option<ServerJson> {
        let cpu = self.cpu?.as_secs_f64();
        Some(ServerJson {
            cpu_us_per_op: cpu * 1e6 / self.tally.ops.max(1) as f64,
            cores: cpu / self.times.seconds(),
            memory_before: self.quiet_memory?,
            memory_connected: self.crowded_memory?,
            memory_after: self.memory?,
        })
    }

    pub(super) fn print(&self, args: &BenchArgs, out: &mut Output) -> Result<(), Failure> {
        if out.is_json() {
            return self.print_json(args, out);
        }
        let tally = &self.tally;
        let rate = self.per_second(tally.ops);
        out.line(format_args!("{} for {:.1} s", shape(args), self.times.seconds()))?;
        let ceiling = self.ceiling.map_or(String::new(), |ceiling| {
            format!(
                "   ({:.0}% of this machine's ceiling of {}/s)",
                rate * 100.0 / ceiling,
                count(ceiling)
            )
        });
        out.line(format_args!("  operations  {}/s{ceiling}", count(rate)))?;
        if tally.bytes > 0 {
            out.line(format_args!(
                "  contents    {:.1} MB/s",
                self.per_second(tally.bytes) / 1e6
            ))?;
        }
        if tally.entries > 0 && args.op == BenchOp::Readdirp {
            let rate = count(rate * f64::from(args.entries));
            out.line(format_args!("  entries     {rate}/s"))?;
        }
        let latency = Latency::of(tally.latency.as_ref());
        out.line(format_args!(
            "  latency     p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
            time(latency.p50),
            time(latency.p90),
            time(latency.p99),
            time(latency.p999),
            time(latency.max)
        ))?;
        self.print_server(args, out)?;
        self.print_company(args, out)?;
        for (errno, times) in &tally.errors {
            out.line(format_args!("  errors      {times} x {}", errno_text(*errno)))?;
        }
        if self.verified {
            let answers = tally.answered;
            out.line(format_args!(
                "  verified    {answers} answers, {} of them wrong",
                tally.wrong
            ))?;
        }
        Ok(())
    }

    fn print_server(&self, args: &BenchArgs, out: &mut Output) -> Result<(), Failure> {
        let Some(server) = self.server() else {
            return Ok(());
        };
        out.line(format_args!(
            "  node        {:.1} µs of processor per operation, {:.2} cores",
            server.cpu_us_per_op, server.cores
        ))?;
        let connections = usize::from(args.connections) + self.company.idle;
        out.line(format_args!(
            "  memory      {} before, {} with {connections} connection{}, {} after",
            human_size(server.memory_before),
            human_size(server.memory_connected),
            if connections == 1 { "" } else { "s" },
            human_size(server.memory_after)
        ))
    }

    fn print_company(&self, args: &BenchArgs, out: &mut Output) -> Result<(), Failure> {
        if args.invoking.is_some() {
            let (services, answers) = (self.company.invoking, self.company.invokes);
            out.line(format_args!(
                "  invoking    {services} services meanwhile, {answers} answers"
            ))?;
        }
        if args.background > 0 {
            let rate = self.per_second(self.company.background_bytes) / 1e6;
            let connections = args.background;
            out.line(format_args!(
                "  background  {rate:.1} MB/s in 1 MiB reads on {connections} connections"
            ))?;
        }
        if let Some(lock) = self.company.lock {
            out.line(format_args!("  lock        the waiting connection {lock}"))?;
        }
        Ok(())
    }

    fn print_json(&self, args: &BenchArgs, out: &mut Output) -> Result<(), Failure> {
        let tally = &self.tally;
        let entries = if args.op == BenchOp::Readdirp {
            tally.ops * u64::from(args.entries)
        } else {
            0
        };
        out.json(&OutcomeJson {
            op: op_name(args.op),
            connections: args.connections,
            depth: args.depth,
            block: args.block,
            seconds: self.times.seconds(),
            ops: tally.ops,
            ops_per_second: self.per_second(tally.ops),
            bytes_per_second: self.per_second(tally.bytes),
            entries_per_second: self.per_second(entries),
            latency_us: Latency::of(tally.latency.as_ref()),
            errors: &tally.errors,
            ceiling: self.ceiling,
            server: self.server(),
            invoking: args.invoking.as_ref().map(|_| InvokingJson {
                services: self.company.invoking,
                answers: self.company.invokes,
            }),
            background: (args.background > 0).then(|| BackgroundJson {
                connections: args.background,
                bytes_per_second: self.per_second(self.company.background_bytes),
            }),
            lock: self.company.lock,
            idle: self.company.idle,
            verified: self.verified,
            wrong: tally.wrong,
        })
    }

    /// Whether the measurement means anything.
    pub(super) fn judge(&self) -> Result<(), Failure> {
        judge(&self.tally)
    }
}

/// Fails when nothing worked, when contents were wrong or when counters do not add up.
pub(super) fn judge(tally: &Tally) -> Result<(), Failure> {
    if tally.wrong > 0 {
        return Err(Failure::message(format!("{} answers were wrong", tally.wrong)));
    }
    if tally.sent != tally.answered {
        return Err(Failure::message(format!(
            "{} requests were sent and {} answered",
            tally.sent, tally.answered
        )));
    }
    if tally.ops == 0 {
        let errors: Vec<_> = tally.errors.keys().map(|errno| errno_text(*errno)).collect();
        let why = if errors.is_empty() {
            "none was answered in time".to_owned()
        } else {
            errors.join(", ")
        };
        return Err(Failure::message(format!("not one operation succeeded: {why}"))
            .hint("a longer --duration, or --slice, helps when operations take long"));
    }
    Ok(())
}

/// What is measured in words.
pub(super) fn shape(args: &BenchArgs) -> String {
    let block = match args.op {
        BenchOp::Read | BenchOp::Write | BenchOp::Mixed => format!(" of {}", human_size(args.block.into())),
        BenchOp::Readdirp => format!(" of {} entries", args.entries),
        BenchOp::Invoke => format!(" of {}", args.service.as_deref().unwrap_or_default()),
        _ => String::new(),
    };
    let plural = if args.connections == 1 { "" } else { "s" };
    format!(
        "{}{block}, {} connection{plural} x {} outstanding",
        op_name(args.op),
        args.connections,
        args.depth
    )
}

fn op_name(op: BenchOp) -> String {
    clap::ValueEnum::to_possible_value(&op).map_or_else(String::new, |value| value.get_name().to_owned())
}

fn errno_text(errno: i32) -> String {
    match Errno::from_wire(errno).name() {
        Some(name) => format!("errno {errno} ({name})"),
        None => format!("errno {errno}"),
    }
}

/// A count with three or more digits that matter, in groups of three.
pub(super) fn count(number: f64) -> String {
    if number < 100.0 {
        return format!("{number:.1}");
    }
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// Microseconds for people.
pub(super) fn time(microseconds: f64) -> String {
    match microseconds {
        short if short < 1000.0 => format!("{short:.0} µs"),
        middle if middle < 1e6 => format!("{:.2} ms", middle / 1e3),
        long => format!("{:.2} s", long / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (number, text) in [
            (0.0, "0.0"),
            (12.34, "12.3"),
            (999.6, "1 000"),
            (1_234_567.0, "1 234 567"),
        ] {
            assert_eq!(count(number), text);
        }
        for (microseconds, text) in [(3.2, "3 µs"), (1500.0, "1.50 ms"), (2_500_000.0, "2.50 s")] {
            assert_eq!(time(microseconds), text);
        }
    }

    #[test]
    fn a_measurement_that_shows_nothing_fails() {
        let good = || Tally {
            ops: 1,
            sent: 2,
            answered: 2,
            ..Tally::default()
        };
        assert!(judge(&good()).is_ok());
        assert!(judge(&Tally { ops: 0, ..good() }).is_err());
        assert!(judge(&Tally { wrong: 1, ..good() }).is_err());
        assert!(
            judge(&Tally {
                answered: 1,
                ..good()
            })
            .is_err()
        );
    }
}
