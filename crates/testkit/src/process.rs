//! A node binary as a child process.
//!
//! The node chooses its port (`--port 0`) and says so in its log; nothing here sleeps for a guess. The log is
//! kept for failure messages. Dropping the value kills the process.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long a node may take until it listens; generous, because tests share a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How often a process is asked whether it has ended: the standard library has no wait with a deadline.
const EXIT_POLL: Duration = Duration::from_millis(5);

/// The log line that tells the address, up to the address.
const LISTENING: &str = "listening at ws://";

/// Variables of the caller that would change what a node does or says.
const FOREIGN_VARIABLES: [&str; 3] = ["SPIDERWEB_FS_NODE_AUTH_TOKEN", "SPIDERWEB_AUTH_TOKEN", "RUST_LOG"];

/// How to start a node.
#[derive(Debug, Clone)]
pub struct NodeCommand {
    binary: PathBuf,
    directory: Option<PathBuf>,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    limits: Vec<String>,
}

impl NodeCommand {
    /// A node without arguments in the current directory.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            directory: None,
            arguments: Vec::new(),
            variables: Vec::new(),
            limits: Vec::new(),
        }
    }

    /// Starts it in this directory.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Lets it have at most this many open descriptors.
    #[must_use]
    pub fn descriptor_limit(mut self, count: u64) -> Self {
        self.limits.push(format!("ulimit -n {count}"));
        self
    }

    /// Lets it write files of at most this many bytes, a multiple of 512.
    #[must_use]
    pub fn file_size_limit(mut self, bytes: u64) -> Self {
        // POSIX counts in blocks of 512 bytes.
        self.limits.push(format!("ulimit -f {}", bytes / 512));
        self
    }

    /// Starts the node with `--port 0` before the arguments and waits until it listens.
    pub fn start(&self) -> Result<NodeProcess> {
        let (mut process, address) = self.spawn(&["--port", "0"])?;
        match address.recv_timeout(START_LIMIT) {
            Ok(addr) => process.addr = addr,
            Err(RecvTimeoutError::Timeout) => {
                bail!(
                    "{} does not listen after {START_LIMIT:?}; its log:\n{}",
                    self.name(),
                    process.log()
                )
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = process.wait_exit(START_LIMIT)?;
                bail!("{} ended with {status}; its log:\n{}", self.name(), process.log())
            }
        }
        if process.addr.port() == 0 {
            bail!(
                "{} reports port 0 instead of the one it got; its log:\n{}",
                self.name(),
                process.log()
            );
        }
        Ok(process)
    }

    /// Starts the node with exactly these arguments and does not wait: for starts that must fail.
    pub fn launch(&self) -> Result<NodeProcess> {
        Ok(self.spawn(&[])?.0)
    }

    fn spawn(&self, first: &[&str]) -> Result<(NodeProcess, Receiver<SocketAddr>)> {
        let mut command = self.command();
        command.args(first).args(&self.arguments);
        for name in FOREIGN_VARIABLES {
            command.env_remove(name);
        }
        // Modules that tests compile stay out of the user's cache.
        if let Some(folder) = self.binary.parent() {
            command.env("XDG_CACHE_HOME", folder.join("cache"));
        }
        command.envs(self.variables.iter().cloned());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {}", self.name()))?;
        let stderr = child.stderr.take().context("a child without standard error")?;
        let log = Arc::new(Mutex::new(String::new()));
        let (found, address) = channel();
        let keeper = thread::spawn({
            let log = Arc::clone(&log);
            move || keep_log(BufReader::new(stderr), &log, &found)
        });
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Ok((
            NodeProcess {
                child,
                addr: nowhere,
                log,
                keeper: Some(keeper),
            },
            address,
        ))
    }

    /// Files are made with umask 022 whatever the caller's: tests compare modes.
    fn command(&self) -> Command {
        if cfg!(unix) {
            let mut command = Command::new("sh");
            let mut steps = self.limits.clone();
            steps.extend(["umask 022".to_owned(), r#"exec "$0" "$@""#.to_owned()]);
            let script = steps.join(" && ");
            command.args(["-c", &script]).arg(&self.binary);
            command
        } else {
            Command::new(&self.binary)
        }
    }

    fn name(&self) -> std::path::Display<'_> {
        self.binary.display()
    }
}

/// A running node.
#[derive(Debug)]
pub struct NodeProcess {
    child: Child,
    addr: SocketAddr,
    log: Arc<Mutex<String>>,
    keeper: Option<JoinHandle<()>>,
}

impl NodeProcess {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        self.log
            .lock()
            .map_or_else(|poisoned| poisoned.into_inner().clone(), |log| log.clone())
    }

    /// All it wrote to standard error; waits until it can write no more.
    pub fn whole_log(&mut self) -> String {
        if let Some(keeper) = self.keeper.take() {
            // A keeper that panicked has kept what it could.
            let _ = keeper.join();
        }
        self.log()
    }

    /// Its exit status, when it has ended.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end.
    pub fn wait_exit(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("the node still runs after {within:?}; its log:\n{}", self.log());
            }
            thread::sleep(EXIT_POLL);
        }
    }

    /// Asks it to end, as an operator does.
    #[cfg(unix)]
    pub fn terminate(&self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // It may have ended on its own; then there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keep_log(mut stderr: impl BufRead, log: &Mutex<String>, found: &Sender<SocketAddr>) {
    let mut line = Vec::new();
    while stderr.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&line);
        if let Some(addr) = listening_address(&text) {
            // Nobody waits for a second one.
            let _ = found.send(addr);
        }
        log.lock().expect("no holder of the log panics").push_str(&text);
        line.clear();
    }
}

/// The address in the log line that announces it; an unspecified one is reachable through loopback.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(LISTENING)?;
    let (host, port) = rest.split('/').next()?.rsplit_once(':')?;
    let port = port.trim().parse().ok()?;
    let host: IpAddr = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    Some(match host {
        IpAddr::V4(host) if host.is_unspecified() => (Ipv4Addr::LOCALHOST, port).into(),
        IpAddr::V6(host) if host.is_unspecified() => (Ipv6Addr::LOCALHOST, port).into(),
        host => (host, port).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_log_line() {
        for (line, addr) in [
            (
                "info: FS node websocket server listening at ws://127.0.0.1:4711/v2/fs\n",
                "127.0.0.1:4711",
            ),
            (
                "FS node websocket server listening at ws://[::1]:80/v2/fs",
                "[::1]:80",
            ),
            (
                "FS node websocket server listening at ws://::1:80/v2/fs",
                "[::1]:80",
            ),
            ("… listening at ws://0.0.0.0:9/v2/fs", "127.0.0.1:9"),
        ] {
            assert_eq!(listening_address(line), Some(addr.parse().unwrap()), "{line}");
        }
        assert_eq!(
            listening_address("Starting spiderweb-fs-node on 127.0.0.1:0"),
            None
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_start_that_fails_tells_the_status_and_the_log() {
        let error = NodeCommand::new("cat").start().unwrap_err().to_string();
        assert!(error.contains("ended with exit status"), "{error}");
        assert!(error.contains("log:\ncat:"), "{error}");
    }
}
