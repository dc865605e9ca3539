//! Plays many seeds, each in a process of its own, and some of them twice.

use std::collections::BTreeMap;
use std::env;
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// Seeds if nobody says how many.
const SEEDS: u64 = 50;

/// Every so many seeds one is played twice.
const TWICE: u64 = 10;

/// Runs of one seed that must be alike.
type Found = Mutex<BTreeMap<u64, String>>;

pub(crate) fn run() -> ExitCode {
    if env::args().any(|argument| argument == "--list") {
        println!("simulation: test");
        return ExitCode::SUCCESS;
    }
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SPIDERWEB_SIM_SEED") {
        return replay(seed);
    }
    let (first, count) = (
        number("SPIDERWEB_SIM_FIRST").unwrap_or(0),
        number("SPIDERWEB_SIM_SEEDS").unwrap_or(SEEDS),
    );
    let began = Instant::now();
    let (next, failed) = (AtomicU64::new(first), Found::default());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + count {
                        return;
                    }
                    if let Err(why) = judge(seed) {
                        println!("{why}\nseed {seed} failed; replay it with\n  {}", command(seed));
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        failed.insert(seed, why);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "simulation: {count} seeds from {first}, {} failed, {:.1} s",
        failed.len(),
        began.elapsed().as_secs_f32()
    );
    for seed in failed.keys() {
        println!("  {}", command(*seed));
    }
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn command(seed: u64) -> String {
    format!("SPIDERWEB_SIM_SEED={seed} cargo test -p spiderweb-testkit --test simulation")
}

fn player(seed: u64) -> std::io::Result<Command> {
    let mut player = Command::new(env::current_exe()?);
    player
        .env("SPIDERWEB_SIM_PLAY", seed.to_string())
        .stdin(Stdio::null());
    Ok(player)
}

/// Plays a seed with its trace shown.
fn replay(seed: u64) -> ExitCode {
    let status = player(seed).and_then(|mut player| player.env("SPIDERWEB_SIM_TRACE", "1").status());
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn judge(seed: u64) -> Result<(), String> {
    let play = || -> Result<Output, String> {
        let output = player(seed).and_then(|mut player| player.output());
        output.map_err(|error| error.to_string())
    };
    let output = play()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    if env::var_os("SPIDERWEB_SIM_VERBOSE").is_some() {
        print!("{}", String::from_utf8_lossy(&output.stdout));
    }
    if seed.is_multiple_of(TWICE) {
        let again = play()?;
        if again.stdout != output.stdout {
            let texts =
                [&output.stdout, &again.stdout].map(|text| String::from_utf8_lossy(text).into_owned());
            return Err(format!("two runs differ:\n{}{}", texts[0], texts[1]));
        }
    }
    Ok(())
}
