//! The Windows programs at work under Wine: a folder, services, a terminal, a reload, a hub, and
//! the node as a service of Windows.
//!
//! Every check says `ok: …` or `FAILED: …` with what the programs said. No check waits for longer than its limit, so a
//! program that hangs is a failure, not a check that hangs.

mod program;
mod service;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use self::program::{LOOK, Program, may_be};

const NODE: &str = "spiderweb-fs-node.exe";
const CLIENT: &str = "spiderweb.exe";
const HUB: &str = "spiderweb-hub.exe";
/// How the node says where it listens, and the hub.
const NODE_LISTENS: &str = "FS node websocket server listening at ";
const HUB_LISTENS: &str = "Hub listening at ";

/// Arguments of `cargo xtask windows-smoke`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What `cargo xtask dist` laid out for Windows
    #[arg(long, default_value = "dist")]
    dist: PathBuf,
    /// Program that runs Windows programs
    #[arg(long, default_value = "wine")]
    runner: PathBuf,
    /// Longest that a program may take to start, or to end
    #[arg(long, default_value_t = 20)]
    timeout_secs: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        std::env::var_os("WINEPREFIX").is_some(),
        "WINEPREFIX must name a configuration of Wine for this alone: all nodes and hubs in it are killed"
    );
    let started = Instant::now();
    let folder = tempfile::tempdir()?;
    let mut smoke = Smoke {
        dist: fs::canonicalize(&arguments.dist)
            .with_context(|| format!("there is no {}", arguments.dist.display()))?,
        runner: arguments.runner.clone(),
        limit: Duration::from_secs(arguments.timeout_secs),
        folder: folder.path().canonicalize()?,
        checks: 0,
        failures: 0,
    };
    smoke.node()?;
    smoke.hub()?;
    smoke.service()?;
    let (checks, failures) = (smoke.checks, smoke.failures);
    ensure!(failures == 0, "{failures} of {checks} checks failed");
    println!("{checks} checks in {} s", started.elapsed().as_secs());
    Ok(())
}

struct Smoke {
    dist: PathBuf,
    runner: PathBuf,
    limit: Duration,
    /// For everything that is made.
    folder: PathBuf,
    checks: usize,
    failures: usize,
}

impl Smoke {
    /// Tells how a check went.
    fn check(&mut self, what: &str, outcome: Result<()>) {
        self.checks += 1;
        match outcome {
            Ok(()) => println!("ok: {what}"),
            Err(error) => {
                self.failures += 1;
                println!("FAILED: {what}: {error:#}");
            }
        }
    }

    /// A node by itself: files, services, terminal, reload.
    fn node(&mut self) -> Result<()> {
        let shared = self.folder.join("shared");
        let manifests = self.folder.join("services.d");
        fs::create_dir(&shared)?;
        fs::create_dir(&manifests)?;
        fs::write(shared.join("hello.txt"), "from Linux")?;
        for name in ["echo.json", "echo-inproc.json", "echo-wasm.json"] {
            fs::copy(
                self.dist.join("examples/services.d").join(name),
                manifests.join(name),
            )?;
        }
        let node = self.start(
            NODE,
            &[
                "--port".into(),
                "0".into(),
                "--export".into(),
                labelled("work=", &windows_path(&shared)),
                "--services-dir".into(),
                windows_path(&manifests),
                "--terminal-id".into(),
                "1".into(),
            ],
        );
        let mut node = match node {
            Ok(node) => node,
            Err(error) => {
                self.check("the node starts", Err(error));
                return Ok(());
            }
        };
        let address = node.line_after(NODE_LISTENS, self.limit);
        let Ok(address) = address else {
            self.check("the node listens", address.map(drop));
            return Ok(());
        };
        self.check("the node listens", Ok(()));
        let failed_before = self.failures;
        self.files(&address, &shared);
        self.services(&address);
        let outcome = self.reload(&address, &manifests);
        self.check("a manifest that changes is read again", outcome);
        let (outcome, _client) = self.busy(&address, &node);
        self.check("the terminal runs something that takes long", outcome);
        self.end("the node", NODE, node, failed_before);
        Ok(())
    }

    fn files(&mut self, address: &str, shared: &Path) {
        let client = |arguments: &[&str]| self.client(&["--url", address], arguments);
        let lists = client(&["ls", "/work"]).and_then(|said| says(&said, "hello.txt"));
        let reads = client(&["cat", "/work/hello.txt"]).and_then(|said| says(&said, "from Linux"));
        let outgoing = self.folder.join("outgoing");
        let writes = fs::write(&outgoing, "from Windows")
            .map_err(anyhow::Error::from)
            .and_then(|()| {
                let outgoing = windows_path(&outgoing);
                client(&["put", &outgoing.to_string_lossy(), "/work/new.txt"])
            })
            .and_then(|_| is_file(&shared.join("new.txt"), "from Windows"));
        let renames = client(&["mkdir", "/work/folder"])
            .and_then(|_| client(&["mv", "/work/new.txt", "/work/folder/moved.txt"]))
            .and_then(|_| {
                ensure!(!shared.join("new.txt").exists(), "the old name is still there");
                is_file(&shared.join("folder/moved.txt"), "from Windows")
            })
            .and_then(|()| client(&["cat", "/work/folder/moved.txt"]))
            .and_then(|said| says(&said, "from Windows"));
        let removes = client(&["rm", "-r", "/work/folder"]).and_then(|_| {
            // Wine removes a folder when the last of its handles is closed, and the node may be looking at it.
            let deadline = Instant::now() + self.limit;
            while shared.join("folder").exists() {
                ensure!(Instant::now() < deadline, "it is still there");
                thread::sleep(LOOK);
            }
            Ok(())
        });
        let refuses = match client(&["put", &windows_path(&outgoing).to_string_lossy(), "/work/nul.txt"]) {
            Ok(said) => Err(anyhow::anyhow!("a file nul.txt was made: {said}")),
            Err(_) => Ok(()),
        };
        self.check("the client lists the folder", lists);
        self.check("the client reads a file that Linux wrote", reads);
        self.check("what the client writes is on the disk", writes);
        self.check("what the client renames is on the disk and can be read", renames);
        self.check("what the client removes is gone", removes);
        self.check("a name that Windows reserves is refused", refuses);
    }

    fn services(&mut self, address: &str) {
        let client = |arguments: &[&str]| self.client(&["--url", address], arguments);
        let outcomes = [
            (
                "echo answers as a program",
                client(&["invoke", "echo-main", r#"{"hello":"program"}"#])
                    .and_then(|said| says(&said, r#""hello":"program""#)),
            ),
            (
                "echo answers as a library",
                client(&["invoke", "echo-inproc", r#"{"hello":"library"}"#])
                    .and_then(|said| says(&said, r#""hello":"library""#)),
            ),
            (
                "echo answers as a module",
                client(&["invoke", "echo-wasm", r#"{"hello":"module"}"#])
                    .and_then(|said| says(&said, r#""hello":"module""#)),
            ),
            (
                "the terminal runs a program with its arguments",
                client(&["exec", "--", "cmd", "/C", "echo", "terminal", "works"])
                    .and_then(|said| says(&said, "terminal works")),
            ),
            (
                "the terminal runs a line of the shell",
                client(&["exec", "-c", "echo %OS%"]).and_then(|said| says(&said, "Windows_NT")),
            ),
        ];
        for (what, outcome) in outcomes {
            self.check(what, outcome);
        }
    }

    /// Changes a manifest, and waits until the service says the change.
    fn reload(&self, address: &str, manifests: &Path) -> Result<()> {
        const CHANGED: &str = "Changed while the node runs.";
        let path = manifests.join("echo.json");
        let mut manifest: Value = serde_json::from_slice(&fs::read(&path)?)?;
        let members = manifest.as_object_mut().context("a manifest is an object")?;
        members.insert("help_md".to_owned(), CHANGED.into());
        fs::write(&path, manifest.to_string())?;
        let deadline = Instant::now() + self.limit;
        loop {
            let said = self.client(&["--url", address], &["cat", "/svc-echo-main/README.md"])?;
            if said.contains(CHANGED) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "it still says {said:?}");
            thread::sleep(LOOK);
        }
    }

    /// Has the node run something that would go on for minutes; the client that waits for it is returned.
    fn busy(&self, address: &str, node: &Program) -> (Result<()>, Option<Program>) {
        const LONG: [&str; 6] = ["exec", "--", "ping", "-n", "600", "127.0.0.1"];
        let arguments: Vec<OsString> = ["--url", address]
            .iter()
            .chain(&LONG)
            .map(OsString::from)
            .collect();
        let client = match self.start(CLIENT, &arguments) {
            Ok(client) => client,
            Err(error) => return (Err(error), None),
        };
        let deadline = Instant::now() + self.limit;
        while !node.left().iter().any(|line| line.contains("ping")) {
            if Instant::now() >= deadline {
                let error = anyhow::anyhow!("it does not run; the client said:\n{}", client.log());
                return (Err(error), Some(client));
            }
            thread::sleep(LOOK);
        }
        (Ok(()), Some(client))
    }

    /// A hub, and a node that is paired with it by an invite.
    fn hub(&mut self) -> Result<()> {
        let data = self.folder.join("hub");
        let failed_before = self.failures;
        let hub = self.start(
            HUB,
            &[
                "--port".into(),
                "0".into(),
                "--data-dir".into(),
                windows_path(&data),
            ],
        );
        let listening = hub.and_then(|mut hub| Ok((hub.line_after(HUB_LISTENS, self.limit)?, hub)));
        let (address, hub) = match listening {
            Ok(listening) => listening,
            Err(error) => {
                self.check("the hub listens", Err(error));
                return Ok(());
            }
        };
        self.check("the hub listens", Ok(()));
        let tokens = windows_path(&data.join("auth_tokens.json"));
        let tokens = tokens.to_string_lossy();
        let global = ["--hub", &address, "--hub-token-file", &tokens];
        let invite = match self.client(&global, &["hub", "invite", "create"]) {
            Ok(invite) => invite.trim().to_owned(),
            Err(error) => {
                self.check("the hub makes an invite", Err(error));
                return Ok(());
            }
        };
        self.check("the hub makes an invite", Ok(()));
        let shared = self.folder.join("paired");
        fs::create_dir(&shared)?;
        fs::write(shared.join("far.txt"), "through the hub")?;
        let node = self.start(
            NODE,
            &[
                "--control-url".into(),
                address.clone().into(),
                "--node-name".into(),
                "edge".into(),
                "--state-file".into(),
                windows_path(&self.folder.join("edge.json")),
                "--invite-token".into(),
                invite.into(),
                "--export".into(),
                labelled("work=", &windows_path(&shared)),
            ],
        );
        let joined = node.and_then(|mut node| {
            node.line_after("control tunnel established for node ", self.limit)?;
            Ok(node)
        });
        match joined {
            Ok(node) => {
                self.check("the node pairs with the invite and has a tunnel", Ok(()));
                let lists = self
                    .client(&global, &["ls", "/nodes"])
                    .and_then(|said| says(&said, "edge"));
                self.check("the hub shows the node", lists);
                let reads = self
                    .client(&global, &["cat", "/nodes/edge/work/far.txt"])
                    .and_then(|said| says(&said, "through the hub"));
                self.check("the client reads a file of the node through the hub", reads);
                self.end("the paired node", NODE, node, failed_before);
            }
            Err(error) => self.check("the node pairs with the invite and has a tunnel", Err(error)),
        }
        self.end("the hub", HUB, hub, failed_before);
        Ok(())
    }

    /// What the client prints; an error with all it said unless it succeeds.
    fn client(&self, global: &[&str], arguments: &[&str]) -> Result<String> {
        let shown = arguments.join(" ");
        let arguments: Vec<OsString> = global.iter().chain(arguments).map(OsString::from).collect();
        let mut client = self.start(CLIENT, &arguments)?;
        let status = client.ended(self.limit).with_context(|| shown.clone())?;
        let printed = client.printed();
        ensure!(
            may_be(status, 0),
            "spiderweb {shown} ended with {status}\n{printed}{}",
            client.log()
        );
        Ok(printed)
    }

    fn start(&self, program: &str, arguments: &[OsString]) -> Result<Program> {
        self.start_as(&self.dist.join("bin").join(program), arguments)
    }

    fn start_as(&self, program: &Path, arguments: &[OsString]) -> Result<Program> {
        let mut command = Command::new(&self.runner);
        // The manifests name drivers from here.
        command.arg(program).args(arguments).current_dir(&self.dist);
        Program::start(command, &self.folder)
    }

    /// Kills the daemons of this name as Windows does. A signal of Linux would end one behind Wine's back, which then does
    /// not close its job, and so would not end what is in it.
    fn kill(&self, image: &str, program: &mut Program) -> Result<()> {
        program.still_runs()?;
        let arguments = ["/F", "/IM", image].map(OsString::from);
        let mut killer = self.start_as(Path::new("taskkill"), &arguments)?;
        let status = killer.ended(self.limit)?;
        ensure!(
            may_be(status, 0),
            "taskkill ended with {status}:\n{}",
            killer.log()
        );
        program.ended(self.limit)?;
        Ok(())
    }

    /// Ends a daemon, whose processes must go with it; shows its log if something failed.
    fn end(&mut self, what: &str, image: &str, mut program: Program, failed_before: usize) {
        if self.failures > failed_before {
            println!("{what} said:\n{}", program.log());
        }
        let outcome = self.kill(image, &mut program).and_then(|()| {
            let deadline = Instant::now() + self.limit;
            loop {
                let left = program.left();
                if left.is_empty() {
                    return Ok(());
                }
                ensure!(Instant::now() < deadline, "still running: {}", left.join(", "));
                thread::sleep(LOOK);
            }
        });
        self.check(&format!("{what} ends, and what it started ends with it"), outcome);
    }
}

fn says(said: &str, words: &str) -> Result<()> {
    ensure!(said.contains(words), "{words:?} is not in {said:?}");
    Ok(())
}

fn is_file(path: &Path, content: &str) -> Result<()> {
    let found = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    ensure!(found == content, "{} has {found:?}", path.display());
    Ok(())
}

fn labelled(label: &str, path: &std::ffi::OsStr) -> OsString {
    let mut labelled = OsString::from(label);
    labelled.push(path);
    labelled
}

/// A path of this system as Wine shows it to programs.
fn windows_path(path: &Path) -> OsString {
    format!("Z:{}", path.display()).replace('/', "\\").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_that_wine_shows() {
        assert_eq!(windows_path(Path::new("/tmp/a b")), r"Z:\tmp\a b");
    }

    #[test]
    fn a_program_that_hangs_is_a_failure_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let smoke = Smoke {
            dist: folder.path().to_owned(),
            // Ignores what it should run.
            runner: "yes".into(),
            limit: Duration::from_millis(50),
            folder: folder.path().to_owned(),
            checks: 0,
            failures: 0,
        };
        let error = smoke.client(&[], &["ls"]).unwrap_err();
        assert!(
            format!("{error:#}").contains("did not end within 50ms"),
            "{error:#}"
        );
    }
}
