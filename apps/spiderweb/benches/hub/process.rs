//! A program of ours in a process, and what it costs. Ended by its own id when the value is dropped.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use spiderweb_protocol::Secret;

use super::Outcome;

/// Time a process has for anything.
pub(super) const SOON: Duration = Duration::from_secs(60);

/// How a log begins to say where a hub is.
const LISTENING: &str = "Hub listening at ws://";

/// A running program.
pub(super) struct Program {
    child: Child,
    hub: Receiver<SocketAddr>,
}

impl Program {
    /// Starts `spiderweb-fs-node`.
    pub(super) fn node(arguments: &[&str]) -> Outcome<Self> {
        Self::start("spiderweb-fs-node", arguments)
    }

    /// Starts `spiderweb-hub` with its files in this folder.
    pub(super) fn hub(folder: &Path, port: u16) -> Outcome<Self> {
        let (folder, port) = (folder.display().to_string(), port.to_string());
        Self::start("spiderweb-hub", &["--port", &port, "--data-dir", &folder])
    }

    fn start(name: &str, arguments: &[&str]) -> Outcome<Self> {
        let mut child = Command::new(beside(name)?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = child.stderr.take().ok_or("a child without standard error")?;
        let (found, hub) = channel();
        thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                let address = line
                    .split_once(LISTENING)
                    .map(|(_, rest)| rest.trim_end_matches('/'));
                if let Some(Ok(address)) = address.map(str::parse) {
                    // Nobody may wait for it.
                    let _ = found.send(address);
                }
            }
        });
        Ok(Self { child, hub })
    }

    /// Where the hub in it listens, as soon as it says so.
    pub(super) fn address(&self) -> Outcome<SocketAddr> {
        self.hub.recv_timeout(SOON).map_err(|error| match error {
            RecvTimeoutError::Timeout => "the hub did not come up in time".into(),
            RecvTimeoutError::Disconnected => "the process ended before its hub was up".into(),
        })
    }

    /// Asks it to end, as an operator does, and waits for that.
    pub(super) fn stop(mut self) -> Outcome<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it as a crash does.
    pub(super) fn crash(mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Memory it has now, in KiB.
    pub(super) fn memory(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.ok_or("no VmRSS")?.parse()?)
    }

    /// Processor time it has used, in seconds.
    pub(super) fn processor(&self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace());
        // User and system time are the 14th and 15th fields, counted in hundredths of a second.
        let ticks = fields.ok_or("no fields")?.skip(11).take(2);
        let ticks: Result<Vec<f64>, _> = ticks.map(str::parse).collect();
        Ok(ticks?.iter().sum::<f64>() / 100.0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended on its own; then there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of ours, beside this package's.
fn beside(name: &str) -> Outcome<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_spiderweb")).with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    let path = path.display();
    Err(format!("there is no {path}; build it as the first lines of this bench say").into())
}

/// The admin's token of the hub with its files in this folder.
pub(super) fn admin_token(folder: &Path) -> Outcome<Secret> {
    let text = std::fs::read_to_string(folder.join("auth_tokens.json"))?;
    let tokens: serde_json::Value = serde_json::from_str(&text)?;
    let token = tokens.get("admin_token").and_then(|token| token.as_str());
    Ok(Secret::new(token.ok_or("no admin_token")?))
}

/// Tunnels that stand at a hub.
pub(super) fn tunnels(hub: SocketAddr) -> Outcome<usize> {
    let mut stream = TcpStream::connect(hub)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(b"GET /metrics.json HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    let numbers: serde_json::Value = serde_json::from_str(body.ok_or("no body")?)?;
    let tunnels = numbers.get("tunnels").and_then(serde_json::Value::as_u64);
    Ok(usize::try_from(tunnels.ok_or("no number of tunnels")?)?)
}
