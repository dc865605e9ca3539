//! Two nodes in one noisy run.
//!
//! Short slices alternate, and the order within a pair is swapped from pair to pair, so that whatever else happens on
//! the machine hits both. The ratios within the pairs are what can be believed.

use serde::Serialize;
use spiderweb_transport::WsUrl;

use super::lane::{Lane, Times};
use super::report::{Latency, count, judge, shape, time};
use super::target::Target;
use super::{BenchArgs, SHORT_WARMUP, drive};
use crate::context::Context;
use crate::failure::Failure;
use crate::global::{Global, address};

/// What one slice showed.
#[derive(Clone, Copy, Debug, Serialize)]
struct Slice {
    ops_per_second: f64,
    p50_us: f64,
    p99_us: f64,
}

#[derive(Serialize)]
struct ComparisonJson<'a> {
    a: String,
    b: String,
    shape: String,
    pairs: &'a [(Slice, Slice)],
    /// B over A.
    throughput: Spread,
    p50: Spread,
    p99: Spread,
}

/// Ratios of all pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    /// `of` within each pair, B over A.
    fn of(pairs: &[(Slice, Slice)], of: impl Fn(&Slice) -> f64) -> Self {
        let mut ratios: Vec<f64> = pairs.iter().map(|(a, b)| of(b) / of(a)).collect();
        ratios.sort_by(f64::total_cmp);
        let at = |index: usize| ratios.get(index).copied().unwrap_or(f64::NAN);
        let middle = ratios.len() / 2;
        let median = if ratios.len() % 2 == 1 {
            at(middle)
        } else {
            f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
        };
        Self {
            min: at(0),
            median,
            max: at(ratios.len().wrapping_sub(1)),
        }
    }
}

/// One of the two.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Side {
    /// A node at its own address.
    Direct(WsUrl),
    /// A node behind the hub, by its id or name.
    Routed(String),
}

impl Side {
    /// Reads an argument. Only addresses have a scheme.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if !text.contains("://") {
            return Ok(Self::Routed(text.to_owned()));
        }
        address(text).map(Self::Direct)
    }

    /// The command line as it would be for this side alone.
    fn global(&self, global: &Global) -> Result<Global, Failure> {
        let global = global.clone();
        match self {
            Self::Direct(url) => Ok(Global {
                url: url.clone(),
                hub: None,
                node: None,
                ..global
            }),
            Self::Routed(name) if global.hub.is_none() => Err(Failure::Usage(format!(
                "{name} is no address; to compare a node behind a hub, say which hub with --hub or SPIDERWEB_HUB"
            ))),
            Self::Routed(name) => Ok(Global {
                node: Some(name.clone()),
                ..global
            }),
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Direct(url) => url.fmt(f),
            Self::Routed(name) => f.write_str(name),
        }
    }
}

pub(super) async fn run(args: &BenchArgs, context: &mut Context, a: &Side, b: &Side) -> Result<(), Failure> {
    let (at_a, at_b) = (a.global(&context.global)?, b.global(&context.global)?);
    let target_a = Target::prepare(args, &at_a).await?;
    let target_b = match Target::prepare(args, &at_b).await {
        Ok(target) => target,
        Err(failure) => {
            target_a.remove().await;
            return Err(failure);
        }
    };
    let measured = tokio::select! {
        measured = pairs(args, &target_a, &target_b) => measured,
        () = context.stop.cancelled() => Err(Failure::Interrupted),
    };
    target_a.remove().await;
    target_b.remove().await;
    print(args, context, (a, b), &measured?)
}

async fn pairs(args: &BenchArgs, a: &Target, b: &Target) -> Result<Vec<(Slice, Slice)>, Failure> {
    let mut pairs = Vec::new();
    for number in 0..args.pairs {
        pairs.push(if number % 2 == 0 {
            let first = slice(args, a).await?;
            (first, slice(args, b).await?)
        } else {
            let first = slice(args, b).await?;
            (slice(args, a).await?, first)
        });
    }
    Ok(pairs)
}

async fn slice(args: &BenchArgs, target: &Target) -> Result<Slice, Failure> {
    let options = target.options();
    let lanes = Lane::dial_all(options, &target.workload, args, args.verify).await?;
    let times = Times::starting_now(SHORT_WARMUP, args.slice);
    let tally = drive(lanes, times).await?;
    judge(&tally)?;
    if tally.failures() > 0 {
        return Err(Failure::message(format!(
            "{} refused {} requests",
            options.url,
            tally.failures()
        )));
    }
    let latency = Latency::of(tally.latency.as_ref());
    Ok(Slice {
        ops_per_second: tally.ops as f64 / times.seconds(),
        p50_us: latency.p50,
        p99_us: latency.p99,
    })
}

fn print(
    args: &BenchArgs,
    context: &mut Context,
    (a, b): (&Side, &Side),
    pairs: &[(Slice, Slice)],
) -> Result<(), Failure> {
    let throughput = Spread::of(pairs, |slice| slice.ops_per_second);
    let p50 = Spread::of(pairs, |slice| slice.p50_us);
    let p99 = Spread::of(pairs, |slice| slice.p99_us);
    let out = &mut context.out;
    if out.is_json() {
        return out.json(&ComparisonJson {
            a: a.to_string(),
            b: b.to_string(),
            shape: shape(args),
            pairs,
            throughput,
            p50,
            p99,
        });
    }
    out.line(format_args!(
        "{}, {} pairs of {:?}",
        shape(args),
        args.pairs,
        args.slice
    ))?;
    out.line(format_args!("A {a}\nB {b}"))?;
    out.line("        A ops/s      B ops/s        A p50        B p50        A p99        B p99")?;
    for (a, b) in pairs {
        out.line(format_args!(
            "  {:>13}{:>13}{:>13}{:>13}{:>13}{:>13}",
            count(a.ops_per_second),
            count(b.ops_per_second),
            time(a.p50_us),
            time(b.p50_us),
            time(a.p99_us),
            time(b.p99_us)
        ))?;
    }
    out.line("B / A          min   median      max")?;
    for (name, spread) in [("throughput", throughput), ("p50", p50), ("p99", p99)] {
        let Spread { min, median, max } = spread;
        out.line(format_args!("  {name:10}{min:>7.2}x{median:>8.2}x{max:>8.2}x"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_an_address_or_a_node_behind_the_hub() {
        let url = "ws://127.0.0.1:7/v2/fs";
        assert_eq!(Side::read(url), Ok(Side::Direct(url.parse().unwrap())));
        assert_eq!(Side::read("edge"), Ok(Side::Routed("edge".to_owned())));
        assert!(Side::read("http://edge").is_err());
    }

    #[test]
    fn spreads_are_of_ratios_within_pairs() {
        let slice = |ops_per_second| Slice {
            ops_per_second,
            p50_us: 1.0,
            p99_us: 1.0,
        };
        let pairs: Vec<_> = [(10.0, 20.0), (100.0, 50.0), (1.0, 4.0)]
            .map(|(a, b)| (slice(a), slice(b)))
            .into();
        let spread = |pairs| Spread::of(pairs, |slice: &Slice| slice.ops_per_second);
        assert_eq!(
            spread(&pairs),
            Spread {
                min: 0.5,
                median: 2.0,
                max: 4.0
            }
        );
        assert_eq!(
            spread(&pairs[..2]),
            Spread {
                min: 0.5,
                median: 1.25,
                max: 2.0
            }
        );
    }
}
