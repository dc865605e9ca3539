//! A folder with manifests, drivers and a file to export, and the nodes that are started in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spiderweb_testkit::file_peer::{number, writing};
use spiderweb_testkit::{Answer, FilePeer, NodeCommand, NodeProcess};
use tempfile::TempDir;

/// The node under test.
const BINARY: &str = env!("CARGO_BIN_EXE_spiderweb-fs-node");

/// How long anything may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) struct Place {
    home: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let home = TempDir::new().unwrap();
        for folder in ["services.d", "work"] {
            fs::create_dir(home.path().join(folder)).unwrap();
        }
        fs::write(home.path().join("work/file"), "inside").unwrap();
        Self { home }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A driver in the shell's language; its path as manifests say it.
    pub(crate) fn script(&self, name: &str, body: &str) -> String {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        format!("./{name}")
    }

    /// Writes a manifest in one step, so that no reload finds half of it.
    pub(crate) fn manifest(&self, id: &str, runtime: &Value) {
        self.manifest_text(
            id,
            &json!({"service_id": id, "kind": "test", "runtime": runtime}).to_string(),
        );
    }

    pub(crate) fn manifest_text(&self, id: &str, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.manifest_path(id)).unwrap();
    }

    pub(crate) fn manifest_path(&self, id: &str) -> PathBuf {
        self.path("services.d").join(format!("{id}.json"))
    }

    /// A service whose driver is this script.
    pub(crate) fn service(&self, id: &str, body: &str) {
        self.service_within(id, body, 30_000);
    }

    pub(crate) fn service_within(&self, id: &str, body: &str, timeout_ms: u64) {
        let path = self.script(&format!("{id}.sh"), body);
        self.manifest(
            id,
            &json!({"type": "native_proc", "executable_path": path, "timeout_ms": timeout_ms}),
        );
    }

    pub(crate) fn start(&self) -> NodeProcess {
        self.start_with(|command| command)
    }

    pub(crate) fn start_with(&self, adjust: impl FnOnce(NodeCommand) -> NodeCommand) -> NodeProcess {
        let command = NodeCommand::new(BINARY).directory(self.home.path()).arguments([
            "--export",
            "work=work",
            "--services-dir",
            "services.d",
            "--state-file",
            "node.json",
        ]);
        adjust(command).start().unwrap()
    }

    pub(crate) fn state(&self) -> Value {
        let text = fs::read(self.path("node.json.runtime-services.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Processes, zombies included, that were started by drivers of this place: all scripts lie in it.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mark = self.home.path().to_str().unwrap().to_owned();
        processes(|command, folder| command.contains(&mark) || folder.starts_with(&mark))
    }
}

/// Command lines of processes that are not the node, by command line and working directory.
fn processes(wanted: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let read = |process: &Path| {
        let command = fs::read(process.join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let folder = fs::read_link(process.join("cwd")).unwrap_or_default();
        let is_driver = !command.contains("--services-dir") && wanted(&command, &folder.to_string_lossy());
        is_driver.then_some(command)
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| read(&entry.path())).collect()
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A client, and the tree of one service.
pub(crate) struct Caller {
    pub(crate) peer: FilePeer,
    pub(crate) root: u64,
}

impl Caller {
    #[track_caller]
    pub(crate) fn of(node: &NodeProcess, service: &str) -> Self {
        let mut peer = FilePeer::connect(node.addr());
        let root = root(&mut peer, &format!("svc-{service}")).expect("an export of the service");
        Self { peer, root }
    }

    /// A file of the service as text.
    #[track_caller]
    pub(crate) fn text(&mut self, path: &str) -> String {
        let file = self.peer.find(self.root, path);
        String::from_utf8(self.peer.content(file).unwrap()).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&mut self, path: &str) -> Value {
        let text = self.text(path);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// Empties a file and opens it for writing.
    #[track_caller]
    pub(crate) fn rewrite(&mut self, path: &str) -> u64 {
        let file = self.peer.find(self.root, path);
        self.peer.truncate(file, 0).unwrap();
        self.peer.open(file, 2).unwrap()
    }

    /// Writes a file as original clients do.
    #[track_caller]
    pub(crate) fn write(&mut self, path: &str, content: &str) -> Answer<u64> {
        let handle = self.rewrite(path);
        let written = self.peer.write(handle, 0, content.as_bytes());
        self.peer.close(handle).unwrap();
        written
    }

    #[track_caller]
    pub(crate) fn invoke(&mut self, payload: &str) -> Answer<u64> {
        self.write("control/invoke.json", payload)
    }

    /// Sends the write that invokes, and does not wait for its answer.
    #[track_caller]
    pub(crate) fn begin(&mut self, payload: &str) -> u32 {
        let handle = self.rewrite("control/invoke.json");
        self.peer.send("write", writing(handle, 0, payload.as_bytes()))
    }

    #[track_caller]
    pub(crate) fn state(&mut self) -> String {
        self.json("status.json")["state"].as_str().unwrap().to_owned()
    }
}

/// Id of an export's root, by its name.
#[track_caller]
pub(crate) fn root(peer: &mut FilePeer, export: &str) -> Option<u64> {
    let exports = peer.ask("exports", json!({})).unwrap();
    let exports = exports["exports"].as_array().unwrap();
    let found = exports.iter().find(|entry| entry["name"] == export)?;
    Some(number(&found["root"]))
}
