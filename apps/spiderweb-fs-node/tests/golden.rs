//! Every golden exchange, played against the real binary.
//!
//! One test per file, so that `cargo test --test golden readdir` runs what it says and the harness spreads the
//! rest over the machine. A failure shows the steps that differ and the log of the node.
#![cfg(unix)]
#![allow(clippy::panic, reason = "a test helper outside a test function")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use spiderweb_testkit::replay::{self, golden};

/// The node under test.
const BINARY: &str = env!("CARGO_BIN_EXE_spiderweb-fs-node");

macro_rules! topics {
    ($($topic:ident)*) => {
        /// The topics that have a test.
        const TOPICS: &[&str] = &[$(stringify!($topic)),*];
        $(
            #[test]
            fn $topic() -> Result<()> {
                replays_clean(stringify!($topic))
            }
        )*
    };
}

topics! {
    auth auth_env create_unlink dev_dir_rename_child_ids dev_lookup_file_parent dev_open_trunc
    dev_paging_duplicates dev_rename_dangling dev_reserved_name dev_rmdir_nonempty dev_symlink_loop envelope
    events_clients events_external exports exports_default exports_same_dir_twice exports_suffixes handles
    handshake http_upgrade lock lookup_getattr mkdir_rmdir names_odd namespace_basic open_read readdir readdir_128_default
    readdir_paging readonly statfs symlink transport truncate write write_max xattr
}

#[test]
fn every_golden_file_has_a_test() -> Result<()> {
    let files = replay::files(&directory(), golden::EXTENSION)?;
    let found: BTreeSet<_> = files
        .iter()
        .filter_map(|file| file.file_stem()?.to_str())
        .collect();
    assert_eq!(found, TOPICS.iter().copied().collect());
    Ok(())
}

fn replays_clean(topic: &str) -> Result<()> {
    let script = golden::read(&directory().join(topic).with_extension(golden::EXTENSION))?;
    if let Some(reason) = replay::unmet_need(&script)? {
        eprintln!("{topic} was skipped: it {reason}");
        return Ok(());
    }
    let report = replay::replay(Path::new(BINARY), &script)?;
    if report.differences.is_empty() {
        return Ok(());
    }
    let differences: Vec<String> = report.differences.iter().map(ToString::to_string).collect();
    panic!("{}\nthe node's log:\n{}", differences.join("\n"), report.log);
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/node/tests/golden")
}
