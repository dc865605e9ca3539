//! A folder with a state file and something to serve, and the nodes that are started in it.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use spiderweb_testkit::{NodeCommand, NodeProcess};
use tempfile::TempDir;

use crate::hub::Hub;

/// The node under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_spiderweb-fs-node");

/// How long anything may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A state file of a paired node.
pub(crate) const PAIRED: &str = r#"{"schema":1,"node_id":"node-2","node_secret":"secret-a","lease_token":"lease-a","lease_expires_at_ms":0,"request_id":null,"node_name":"edge","fs_url":""}"#;

pub(crate) struct Place {
    home: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let home = TempDir::new().unwrap();
        fs::create_dir(home.path().join("work")).unwrap();
        fs::create_dir(home.path().join("services.d")).unwrap();
        fs::write(home.path().join("work/file"), "inside").unwrap();
        Self { home }
    }

    pub(crate) fn paired() -> Self {
        let place = Self::new();
        fs::write(place.path("node.json"), PAIRED).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn command(&self, url: &str, further: &[&str]) -> NodeCommand {
        NodeCommand::new(BINARY)
            .directory(self.home.path())
            .arguments([
                "--export",
                "work=work",
                "--state-file",
                "node.json",
                "--node-name",
                "edge",
            ])
            .arguments([
                "--reconnect-backoff-ms",
                "200",
                "--reconnect-backoff-max-ms",
                "400",
            ])
            .arguments(["--control-url", url])
            .arguments(further.iter().copied())
    }

    pub(crate) fn start(&self, hub: &Hub, further: &[&str]) -> NodeProcess {
        self.command(&hub.url(), further).launch().unwrap()
    }

    pub(crate) fn state(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("node.json")).unwrap()).unwrap()
    }
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the node says this.
#[track_caller]
pub(crate) fn says(node: &NodeProcess, words: &str) {
    let deadline = Instant::now() + SOON;
    while !node.log().contains(words) {
        assert!(
            Instant::now() < deadline,
            "`{words}` was not said; the log:\n{}",
            node.log()
        );
        thread::sleep(Duration::from_millis(5));
    }
}
