//! The program as a person meets it: what it says when it starts, fails and stops.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers"
)]

#[cfg(unix)]
use std::io::Read as _;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spiderweb_testkit::RawPeer;

const PATIENCE: Duration = Duration::from_secs(20);

fn hub(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spiderweb-hub"));
    command
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// A hub that listens; killed when it is dropped.
struct Running {
    child: Child,
    #[cfg_attr(not(unix), expect(dead_code, reason = "read after an interrupt only"))]
    log: BufReader<std::process::ChildStderr>,
    address: SocketAddr,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(
                log.read_line(&mut line).unwrap() > 0,
                "it ended before it listened"
            );
            if let Some(url) = line.trim().strip_prefix("info: Hub listening at ws://") {
                break url.trim_end_matches('/').parse().unwrap();
            }
        };
        Self { child, log, address }
    }

    #[cfg(unix)]
    fn interrupt(&self) {
        let sent = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A control connection with the admin token of the token file.
struct Tool(RawPeer);

impl Tool {
    fn dial(address: SocketAddr, folder: &Path) -> Self {
        let tokens = std::fs::read_to_string(folder.join("data/auth_tokens.json")).unwrap();
        let tokens: Value = serde_json::from_str(&tokens).unwrap();
        let token = tokens["admin_token"].as_str().unwrap();
        let mut peer = RawPeer::dial(address).unwrap();
        // The key that the original tool sends, which is none by the rules.
        let head = format!(
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: c3BpZGVyd2ViLWNvbnRyb2wtY2xp\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        peer.send_bytes(head.as_bytes()).unwrap();
        assert_eq!(peer.http_head(PATIENCE).unwrap().status, 101);
        let mut tool = Self(peer);
        tool.ok("version", &json!({"protocol": "unified-v2"}));
        tool
    }

    fn ok(&mut self, operation: &str, payload: &Value) -> Value {
        let request = json!({"channel": "control", "type": format!("control.{operation}"), "id": "op", "payload": payload});
        self.0.send_json(&request).unwrap();
        let mut reply = self.0.reply(PATIENCE).unwrap();
        assert_eq!(reply["ok"], true, "{reply}");
        reply["payload"].take()
    }
}

/// What a hub says that does not start.
fn failure(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

// No program of Windows interrupts another.
#[cfg(unix)]
#[test]
fn it_starts_keeps_its_tokens_to_itself_and_stops_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(hub(folder.path(), &["--port", "0"]));
    let mut peer = RawPeer::dial(running.address).unwrap();
    peer.send_bytes(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    assert_eq!(peer.http_head(PATIENCE).unwrap().status, 200);

    let tokens = std::fs::read_to_string(folder.path().join("data/auth_tokens.json")).unwrap();
    let admin = tokens
        .split('"')
        .find(|part| part.starts_with("sw-admin_"))
        .unwrap();
    running.interrupt();
    assert_eq!(running.end().code(), Some(0));
    let mut rest = String::new();
    running.log.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("Stopping"), "{rest}");
    assert!(!rest.contains(admin), "a token was logged");
}

#[test]
fn two_hubs_cannot_share_a_port_or_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(hub(folder.path(), &["--port", "0"]));
    let owner = running.child.id();
    let words = failure(hub(folder.path(), &["--port", "0"]));
    assert!(words.contains(&format!("in use by process {owner}")), "{words}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let words = failure(hub(folder.path(), &["--port", &port, "--database", "none"]));
    assert!(words.contains("another program uses that port"), "{words}");
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut paired = 0;
    for round in 1..=3 {
        let mut running = Running::start(hub(folder.path(), &["--port", "0"]));
        let mut tool = Tool::dial(running.address, folder.path());
        let known = tool.ok("node_list", &json!({}))["nodes"]
            .as_array()
            .unwrap()
            .len();
        assert_eq!(known, paired, "round {round}");
        for _ in 0..5 {
            let invite = tool.ok("node_invite_create", &json!({}));
            tool.ok("node_join", &json!({"invite_token": invite["invite_token"]}));
            paired += 1;
        }
        running.child.kill().unwrap();
        running.end();
    }
}

#[test]
fn a_damaged_database_is_reported_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.redb");
    std::fs::write(&path, "not a database").unwrap();
    let words = failure(hub(
        folder.path(),
        &["--port", "0", "--database", path.to_str().unwrap()],
    ));
    assert!(
        words.contains("is damaged") && words.contains("left as it is"),
        "{words}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "not a database");
}
