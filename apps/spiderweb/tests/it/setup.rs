//! A node in this process, and the program beside it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use spiderweb_node::{DiskWork, ExportConfig, Limits, Node, NodeConfig, ServicesConfig};
use tempfile::TempDir;

/// Long enough for anything that should happen.
const SOON: Duration = Duration::from_secs(20);

/// A node with the exports `work` and, read-only, `ro`.
pub(crate) struct Setup {
    runtime: tokio::runtime::Runtime,
    node: Option<Node>,
    config: NodeConfig,
    dir: TempDir,
}

/// What the program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::with_token(None)
    }

    pub(crate) fn with_token(token: Option<&str>) -> Self {
        Self::build(token, &[])
    }

    /// A node with further exports, which can be written.
    pub(crate) fn with_exports(names: &[&str]) -> Self {
        Self::build(None, names)
    }

    fn build(token: Option<&str>, further: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let export = |name: &str, read_only| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            ExportConfig {
                name: name.to_owned(),
                description: name.to_owned(),
                path,
                read_only,
            }
        };
        let config = NodeConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            control: None,
            exports: [("work", false), ("ro", true)]
                .into_iter()
                .chain(further.iter().map(|name| (*name, false)))
                .map(|(name, read_only)| export(name, read_only))
                .collect(),
            default_export: false,
            node_name: "test".to_owned(),
            services: ServicesConfig::default(),
            token: token.map(spiderweb_protocol::Secret::new),
            limits: Limits::default(),
            disk_work: DiskWork::default(),
        };
        std::fs::create_dir(dir.path().join("local")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut setup = Self {
            runtime,
            node: None,
            config,
            dir,
        };
        setup.start();
        setup
    }

    /// Starts the node, at the same address as before. Until it listens, the port may be taken for a moment by a
    /// connection of a client that dials it, or of another test.
    pub(crate) fn start(&mut self) {
        until("the node listens", || {
            let started = self.runtime.block_on(Node::start(self.config.clone()));
            self.node = started.ok();
            self.node.is_some()
        });
        if let Some(node) = &self.node {
            self.config.listen = node.address().unwrap();
        }
    }

    pub(crate) fn stop(&mut self) {
        let node = self.node.take().unwrap();
        self.runtime.block_on(node.stop(Duration::ZERO));
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v2/fs", self.config.listen)
    }

    /// A path in the writable export, as this machine sees it.
    pub(crate) fn work(&self, path: &str) -> PathBuf {
        self.dir.path().join("work").join(path)
    }

    /// A path in any export.
    pub(crate) fn within(&self, export: &str, path: &str) -> PathBuf {
        self.dir.path().join(export).join(path)
    }

    /// A path in the read-only export.
    pub(crate) fn ro(&self, path: &str) -> PathBuf {
        self.dir.path().join("ro").join(path)
    }

    /// A path outside every export; the program runs there.
    pub(crate) fn local(&self, path: &str) -> PathBuf {
        self.dir.path().join("local").join(path)
    }

    /// The program with arguments separated by blanks.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spiderweb"));
        command
            .args(line.split_ascii_whitespace())
            .current_dir(self.local(""))
            .env_remove("SPIDERWEB_FS_NODE_AUTH_TOKEN")
            .env_remove("SPIDERWEB_HUB")
            .env_remove("SPIDERWEB_HUB_TOKEN_FILE")
            .env("SPIDERWEB_URL", self.url())
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Said {
        Said::by(self.command(line).spawn().unwrap())
    }

    /// Runs a line that must succeed and returns what it printed.
    pub(crate) fn ok(&self, line: &str) -> String {
        let said = self.run(line);
        assert!(said.code == 0 && said.err.is_empty(), "{line}: {said:?}");
        said.out
    }

    pub(crate) fn json(&self, line: &str) -> serde_json::Value {
        serde_json::from_str(&self.ok(&format!("{line} --output json"))).unwrap()
    }

    /// Runs a line with something on its standard input.
    pub(crate) fn feed(&self, line: &str, input: &[u8]) -> Said {
        let mut child = self.command(line).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeding = std::thread::spawn(move || stdin.write_all(&input));
        let said = Said::by(child);
        // A program that failed early reads no input.
        let _ = feeding.join().unwrap();
        said
    }
}

impl Said {
    pub(crate) fn by(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Waits until a condition holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < give_up, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Names in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The partial file in a directory, if there is one.
pub(crate) fn partial(dir: &Path) -> Option<PathBuf> {
    let part = names(dir).into_iter().find(|name| name.contains(".spiderweb-"))?;
    Some(dir.join(part))
}

/// Bytes that repeat only after a long while.
pub(crate) fn contents(length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}
