//! Control mode of the real binary: every golden exchange with a control server of either generation.
//!
//! `cargo xtask golden --control` makes the files; `spiderweb_testkit::control` says what is compared and what may differ.
#![cfg(target_os = "linux")]

use std::path::Path;

use anyhow::{Result, ensure};
use spiderweb_testkit::control;
use spiderweb_testkit::replay::golden;

/// The node under test.
const BINARY: &str = env!("CARGO_BIN_EXE_spiderweb-fs-node");

#[test]
fn with_a_server_of_the_older_generation() -> Result<()> {
    plays_clean("control")
}

#[test]
fn with_a_server_of_the_newer_generation() -> Result<()> {
    plays_clean("control-head")
}

fn plays_clean(generation: &str) -> Result<()> {
    let golden_files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/node/tests/golden");
    let scenarios = control::scenarios(&golden_files.join(generation), golden::EXTENSION)?;
    ensure!(!scenarios.is_empty(), "there are no golden files of {generation}");
    let (failed, gone) = control::play_all(Path::new(BINARY), &scenarios, |name, problems| {
        if !problems.is_empty() {
            eprintln!("{name}\n  {}", problems.join("\n  "));
        }
    });
    ensure!(failed == 0, "{failed} exchanges differ");
    ensure!(gone.is_empty(), "{}", gone.join("\n"));
    Ok(())
}
