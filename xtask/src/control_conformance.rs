//! Replays recorded exchanges between nodes and control servers against a binary of ours.

use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use anyhow::{Result, ensure};
use spiderweb_testkit::control::{self, Expected, Scenario};

/// How many scenarios are played beside each other: their nodes wait most of the time.
const AT_ONCE: usize = 4;

/// Arguments of `cargo xtask control-conformance`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The node to test
    #[arg(long)]
    binary: PathBuf,
    /// Directories of recordings (*.jsonl), one for each generation
    #[arg(long, required = true, num_args = 1..)]
    vectors: Vec<PathBuf>,
    /// Play only scenarios whose names contain one of these (repeatable)
    #[arg(long)]
    only: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut scenarios = Vec::new();
    for directory in &arguments.vectors {
        scenarios.extend(control::scenarios(directory)?);
    }
    let is_wanted = |name: &str| arguments.only.iter().any(|part| name.contains(part));
    scenarios.retain(|scenario| arguments.only.is_empty() || is_wanted(&scenario.name));
    let (left_out, to_play): (Vec<_>, Vec<_>) = scenarios
        .iter()
        .partition(|scenario| scenario.left_out().is_some());
    for scenario in &left_out {
        println!(
            "skip {}: {}",
            scenario.name,
            scenario.left_out().unwrap_or_default()
        );
    }
    let expected = Expected::default();
    let next = Mutex::new(to_play.iter());
    let failed = Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(scenario) = next.lock().ok().and_then(|mut next| next.next()) {
                    let problems = play(scenario, arguments, &expected);
                    if !report(scenario, &problems)
                        && let Ok(mut failed) = failed.lock()
                    {
                        *failed += 1;
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or(to_play.len());
    let passed = to_play.len() - failed;
    let played: Vec<&str> = to_play.iter().map(|scenario| &*scenario.name).collect();
    // A list for a whole generation says nothing about a part of it.
    let gone = if arguments.only.is_empty() {
        expected.gone(&played)
    } else {
        Vec::new()
    };
    for entry in &gone {
        println!("{entry}");
    }
    println!("{passed} ok, {failed} failed, {} skipped", left_out.len());
    ensure!(failed == 0, "the node differs from the recordings");
    ensure!(gone.is_empty(), "listed differences do not occur any more");
    ensure!(passed > 0 || !left_out.is_empty(), "there are no such recordings");
    Ok(())
}

fn play(scenario: &Scenario, arguments: &Arguments, expected: &Expected) -> Vec<String> {
    match scenario.play(&arguments.binary, expected) {
        Ok(differences) => {
            let differences = differences.iter();
            differences
                .map(|found| format!("recorded {}\n  ours {}", found.recorded, found.ours))
                .collect()
        }
        Err(error) => vec![format!("{error:#}")],
    }
}

/// Prints the outcome in one piece. Whether it was a good one.
fn report(scenario: &Scenario, problems: &[String]) -> bool {
    if problems.is_empty() {
        println!("ok   {}", scenario.name);
        return true;
    }
    let mut text = format!("FAIL {} ({})", scenario.name, problems.len());
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.replace('\n', "\n  "));
    }
    println!("{text}");
    false
}
