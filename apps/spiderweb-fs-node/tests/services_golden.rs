//! Every golden file of services, played against the real binary and the reference drivers beside it.
//!
//! One test per file. `cargo test --workspace` builds the drivers; without them a test that needs one says so and
//! passes, unless `SPIDERWEB_DRIVERS_REQUIRED` is set. A failure shows what differs and the log of the node.
#![cfg(unix)]
#![allow(clippy::panic, reason = "a test helper outside a test function")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use spiderweb_testkit::replay::{self, golden};
use spiderweb_testkit::services::{self, Artifacts};

/// The node under test.
const BINARY: &str = env!("CARGO_BIN_EXE_spiderweb-fs-node");

macro_rules! topics {
    ($($topic:ident)*) => {
        /// The tests; files have hyphens where these have underscores.
        const TOPICS: &[&str] = &[$(stringify!($topic)),*];
        $(
            #[test]
            fn $topic() -> Result<()> {
                plays_clean(stringify!($topic))
            }
        )*
    };
}

topics! {
    auto_disable_failures auto_disable_off backoff config controls defaults disabled driver_empty driver_missing
    driver_noread driver_not_executable driver_path_lookup driver_plain driver_warn driver_zero_timeout drivers_cli
    echo exports failing failing_no_stderr fs_ops head_echo head_inproc head_terminal head_wasm_alloc0 head_wasm_big
    head_wasm_caps head_wasm_empty head_wasm_evtret head_wasm_exit3 head_wasm_grow head_wasm_growcap head_wasm_loop
    head_wasm_loopfuel head_wasm_missing head_wasm_nover head_wasm_nullptr head_wasm_ok head_wasm_oob head_wasm_trap
    head_wasm_unknown_import head_wasm_v2 head_wasm_wasi head_wasm_wasi_entry head_wasm_wasi_fuel
    head_wasm_wasi_trap inproc manifest_validation native_argv output_limit_stdout partial_writes payloads terminal
    timeout timeout_no_stderr wasm wasm_argv_default wasm_no_runner web_search wire
}

#[test]
fn every_golden_file_has_a_test() -> Result<()> {
    let files = replay::files(&directory(), golden::EXTENSION)?;
    let stems = files.iter().filter_map(|file| file.file_stem()?.to_str());
    let found: BTreeSet<_> = stems.map(|stem| stem.replace('-', "_")).collect();
    assert_eq!(found, TOPICS.iter().map(|topic| (*topic).to_owned()).collect());
    Ok(())
}

fn plays_clean(topic: &str) -> Result<()> {
    let file = directory()
        .join(topic.replace('_', "-"))
        .with_extension(golden::EXTENSION);
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let artifacts = Artifacts::beside(BINARY)?;
    if let Some(missing) = artifacts.missing_from(&text) {
        ensure!(
            std::env::var_os("SPIDERWEB_DRIVERS_REQUIRED").is_none(),
            "{missing} was not built"
        );
        eprintln!("{topic} was skipped: nothing was built for {missing}");
        return Ok(());
    }
    let report = services::play(&text, &artifacts)?;
    if report.differences.is_empty() {
        return Ok(());
    }
    let differences: Vec<String> = report.differences.iter().map(ToString::to_string).collect();
    panic!("{}\nthe node's log:\n{}", differences.join("\n"), report.log);
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/node/tests/golden/services")
}
