//! The whole system on one machine, by one command: a hub and a node in one process, a folder, a terminal and two
//! services, looked at through the hub.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::dist;

/// The usual port of hubs; another is taken where it is in use.
const PORT: u16 = 18790;
/// What the node is called.
const NODE: &str = "home";
/// The services that are shown, by their example manifests.
const SERVICES: [&str; 2] = ["echo.json", "web-search.json"];
/// How long the node may take to be reachable through its hub.
const READY: Duration = Duration::from_secs(30);
/// How long it may take to stop; its own time for requests is 5 s.
const STOP: Duration = Duration::from_secs(15);

/// Arguments of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The folder that is served, read and write
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where programs are laid out, and where hub and node keep their files
    #[arg(long, default_value = "dist")]
    out: PathBuf,
    /// Cargo's profile
    #[arg(long, default_value = "release")]
    profile: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = std::path::absolute(&arguments.folder)?;
    ensure!(folder.is_dir(), "there is no folder {}", folder.display());
    println!("Building; the first time takes some minutes.");
    let out = std::path::absolute(&arguments.out)?;
    let programs = dist::programs(&arguments.profile, &out)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // From here on an interrupt ends the node first.
        let mut interrupts = Interrupts::new()?;
        let mut system = System::start(&programs, &out, &folder)?;
        let shown = tokio::select! {
            shown = system.show() => shown,
            () = interrupts.next() => Ok(()),
        };
        if let Err(error) = shown {
            system.stop().await?;
            return Err(error);
        }
        tokio::select! {
            () = interrupts.next() => system.stop().await,
            ended = system.ended() => ended,
        }
    })
}

/// What ends the demonstration.
struct Interrupts {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hang_up: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    is_over: bool,
}

impl Interrupts {
    fn new() -> Result<Self> {
        #[cfg(unix)]
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            #[cfg(unix)]
            terminate: signal(SignalKind::terminate())?,
            #[cfg(unix)]
            hang_up: signal(SignalKind::hangup())?,
            #[cfg(unix)]
            interrupt: signal(SignalKind::interrupt())?,
            is_over: false,
        })
    }

    /// Resolves at the first signal, and at once from then on.
    async fn next(&mut self) {
        if self.is_over {
            return;
        }
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
        self.is_over = true;
    }
}

/// Hub and node, running.
struct System<'a> {
    programs: &'a dist::Programs,
    node: Child,
    log: mpsc::UnboundedReceiver<String>,
    /// What the node said until it was ready, for the case that it never is.
    said: Vec<String>,
    tokens: PathBuf,
}

impl<'a> System<'a> {
    fn start(programs: &'a dist::Programs, out: &Path, folder: &Path) -> Result<Self> {
        let files = out.join("demo");
        let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).is_ok();
        let port = if is_free { PORT } else { 0 };
        let mut export = OsString::from("work=");
        export.push(folder);
        let mut command = Command::new(&programs.node);
        command
            // The manifests name drivers from here.
            .current_dir(out)
            .args(["--hub", &format!("127.0.0.1:{port}"), "--node-name", NODE])
            .arg("--hub-data-dir")
            .arg(&files)
            .arg("--export")
            .arg(export)
            .args(["--terminal-id", "1"]);
        for service in SERVICES {
            command
                .arg("--service-manifest")
                .arg(out.join("examples/services.d").join(service));
        }
        command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // An interrupt at the terminal comes here, and from here to the node: two would end it without a goodbye.
        #[cfg(unix)]
        command.process_group(0);
        let mut node = command
            .spawn()
            .with_context(|| format!("cannot start {}", programs.node.display()))?;
        let stderr = node.stderr.take().context("the node has no standard error")?;
        let (line, log) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(text)) = lines.next_line().await {
                if line.send(text).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            programs,
            node,
            log,
            said: Vec::new(),
            tokens: files.join("auth_tokens.json"),
        })
    }

    /// Shows what the system does, and what to try next.
    async fn show(&mut self) -> Result<()> {
        let (hub, node) = tokio::time::timeout(READY, self.ready())
            .await
            .unwrap_or_else(|_| bail!("the node was not ready within {} s", READY.as_secs()))
            .with_context(|| format!("the node said:\n{}", self.said.join("\n")))?;
        println!("\nA hub and a node run in one process. All nodes of the hub are one file tree:\n");
        self.client(&hub, &["tree", "--depth", "3", "/nodes"]).await?;
        println!(
            "\nA service is asked by writing to a file of it; `invoke` does that and reads the result:\n"
        );
        let echo = format!("/nodes/{NODE}/echo");
        self.client(&hub, &["invoke", &echo, r#"{"hello":"world"}"#])
            .await?;
        // What the service answered ends without a line's end.
        println!("\n\nThe terminal runs commands on the node:\n");
        let command: &[&str] = if cfg!(windows) {
            &["cmd", "/C", "ver"]
        } else {
            &["uname", "-a"]
        };
        self.client(&hub, &[&["exec", "--node", NODE, "--"], command].concat())
            .await?;
        self.tell_next(&hub, &node);
        Ok(())
    }

    /// The address of the hub and the id of the node, once clients can be routed to it.
    async fn ready(&mut self) -> Result<(String, String)> {
        let mut hub = None;
        loop {
            let Some(line) = self.log.recv().await else {
                let status = self.node.wait().await?;
                bail!("the node ended: {status}");
            };
            if let Some((_, address)) = line.split_once("Hub listening at ") {
                hub = Some(address.to_owned());
            }
            let established = line.split_once("control tunnel established for node ");
            let node = established.map(|(_, node)| node.to_owned());
            self.said.push(line);
            if let (Some(hub), Some(node)) = (&hub, node) {
                return Ok((hub.clone(), node));
            }
        }
    }

    /// Runs the client as a user would, and shows that.
    async fn client(&self, hub: &str, arguments: &[&str]) -> Result<()> {
        let shown: Vec<String> = arguments.iter().map(|argument| shell_word(argument)).collect();
        println!("$ spiderweb {}", shown.join(" "));
        let status = Command::new(&self.programs.client)
            .args(arguments)
            .env("SPIDERWEB_HUB", hub)
            .env("SPIDERWEB_HUB_TOKEN_FILE", &self.tokens)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .status()
            .await?;
        ensure!(status.success(), "spiderweb {} failed: {status}", shown.join(" "));
        Ok(())
    }

    fn tell_next(&self, hub: &str, node: &str) {
        let bin = self.programs.client.parent().unwrap_or_else(|| Path::new("."));
        let [bin, tokens] = [bin, &self.tokens].map(|path| shell_word(&path.to_string_lossy()));
        println!("\nThe node's id is {node}. In a second terminal:\n");
        if cfg!(windows) {
            println!("  $env:PATH = {bin} + ';' + $env:PATH");
            println!("  $env:SPIDERWEB_HUB = '{hub}'; $env:SPIDERWEB_HUB_TOKEN_FILE = {tokens}");
        } else {
            println!("  export PATH={bin}:$PATH SPIDERWEB_HUB={hub} SPIDERWEB_HUB_TOKEN_FILE={tokens}");
        }
        let (command, query, line) = if cfg!(windows) {
            (
                "cmd /C 'set /a 6*7'",
                r#"'{\"query\":\"rust programming language\"}'"#,
                "`",
            )
        } else {
            (
                "sh -c 'echo $((6 * 7))'",
                r#"'{"query":"rust programming language"}'"#,
                "\\",
            )
        };
        println!(
            "  spiderweb ls -l /nodes/{NODE}/work
  echo hello | spiderweb put - /nodes/{NODE}/work/hello.txt
  spiderweb cat /nodes/{NODE}/work/hello.txt
  spiderweb exec --node {NODE} -- {command}
  spiderweb invoke /nodes/{NODE}/web/search {query}    # needs the internet

Another node joins with

  spiderweb-fs-node --control-url {hub} --node-name other --export work=FOLDER --state-file other.json {line}
    --invite-token \"$(spiderweb hub invite create)\"

Everything runs until Ctrl-C."
        );
    }

    /// Resolves when the node ends by itself, which it should not; until then shows its warnings.
    async fn ended(&mut self) -> Result<()> {
        while let Some(line) = self.log.recv().await {
            if !line.starts_with("info: ") {
                eprintln!("{line}");
            }
        }
        let status = self.node.wait().await?;
        bail!("the node ended: {status}")
    }

    /// Has the node say goodbye and end.
    async fn stop(&mut self) -> Result<()> {
        println!("\nStopping.");
        #[cfg(unix)]
        if let Some(id) = self.node.id()
            && let Some(id) = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw)
        {
            rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        }
        #[cfg(not(unix))]
        self.node.start_kill()?;
        let status = tokio::time::timeout(STOP, self.node.wait()).await;
        let Ok(status) = status else {
            self.node.kill().await?;
            bail!("the node did not stop within {} s", STOP.as_secs());
        };
        let status = status?;
        ensure!(!cfg!(unix) || status.success(), "the node ended: {status}");
        Ok(())
    }
}

/// As it would be typed: into a shell, or into `PowerShell`.
fn shell_word(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-=:".contains(&byte);
    if cfg!(windows) {
        format!("'{}'", word.replace('\'', "''"))
    } else if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_is_shown_can_be_typed() {
        for (word, typed) in [
            ("/nodes/home/echo", "/nodes/home/echo"),
            (r#"{"a":1}"#, r#"'{"a":1}'"#),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(word), typed);
        }
    }
}
