//! What the tests of all runtimes share.
#![allow(dead_code, unreachable_pub, reason = "every test program uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test helpers")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spiderweb_runtime::{Driver, Invoke, Outcome, ProcessDriver, ProcessSpec, Surroundings};
use tokio_util::sync::CancellationToken;

/// Longer than anything takes here, even on a machine that is busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn invoke(payload: impl Into<Bytes>) -> Invoke {
    Invoke {
        payload: payload.into(),
        timeout: PATIENCE,
        cancel: CancellationToken::new(),
    }
}

pub fn invoke_within(payload: impl Into<Bytes>, timeout: Duration) -> Invoke {
    Invoke {
        timeout,
        ..invoke(payload)
    }
}

pub async fn run(driver: &Arc<impl Driver + ?Sized>, invoke: Invoke) -> Outcome {
    let run = Arc::clone(driver).run(invoke);
    tokio::time::timeout(PATIENCE, run)
        .await
        .expect("the run never ends")
}

/// A driver in the shell's language.
pub fn shell(script: &str) -> Arc<ProcessDriver> {
    shell_in(script, Surroundings::default())
}

pub fn shell_in(script: &str, surroundings: Surroundings) -> Arc<ProcessDriver> {
    Arc::new(ProcessDriver::new(ProcessSpec {
        executable: "/bin/sh".into(),
        args: vec!["-c".to_owned(), script.to_owned()],
        surroundings,
    }))
}

pub fn variables<const N: usize>(variables: [(&str, &str); N]) -> BTreeMap<String, String> {
    variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the output is text")
}

/// A program or library built from `examples/`.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        path.exists(),
        "{} is missing: cargo build --examples",
        path.display()
    );
    path
}

/// Processes, zombies included, whose command line or environment holds this text.
pub fn processes_with(mark: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse::<u32>().ok()
    });
    let holds = |process: u32, file: &str| {
        let path = Path::new("/proc").join(process.to_string()).join(file);
        fs::read(path).is_ok_and(|bytes| bytes.windows(mark.len()).any(|window| window == mark.as_bytes()))
    };
    all.filter(|process| *process != std::process::id())
        .filter(|process| holds(*process, "environ") || holds(*process, "cmdline"))
        .collect()
}

/// A time to sleep that nobody else on this machine sleeps, to find the sleepers by.
pub fn sleep_mark(number: u32) -> String {
    format!("{}.{}", 3600 + number, std::process::id())
}

/// Waits until a condition holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < give_up, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
