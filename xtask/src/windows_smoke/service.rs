//! The node as a service of Windows: installed, started, used, stopped and removed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context as _, Result, ensure};

use super::program::may_be;
use super::{NODE, NODE_LISTENS, Smoke, labelled, says, windows_path};

/// Names that nobody else uses.
const NAME: &str = "spiderweb-smoke";
const BROKEN: &str = "spiderweb-smoke-broken";

impl Smoke {
    /// Does all of it with services that are gone afterwards.
    pub(super) fn service(&mut self) -> Result<()> {
        let shared = self.folder.join("of service");
        fs::create_dir(&shared)?;
        fs::write(shared.join("hello.txt"), "from a service")?;
        let export = labelled("work=", &windows_path(&shared));
        self.installs(&export);
        self.serves();
        self.fails();
        let removes = self
            .asked("start", NAME, &[], 0)
            .and_then(|_| self.asked("uninstall", NAME, &[], 0))
            .and_then(|_| self.asked("status", NAME, &[], 4))
            .and_then(|said| says(&said, "not installed"));
        self.check("a service that runs is stopped and removed", removes);
        for name in [NAME, BROKEN] {
            // What is there only if something failed.
            let _ = self.ask(&["uninstall", "--name", name], &[]);
        }
        Ok(())
    }

    fn installs(&mut self, export: &OsString) {
        let flags = ["--port".into(), "0".into(), "--export".into(), export.clone()];
        let none = self
            .asked("status", NAME, &[], 4)
            .and_then(|_| self.asked("start", NAME, &[], 1))
            .and_then(|said| says(&said, "there is no service"));
        let refuses = self
            .asked("install", NAME, &["--bogus".into()], 1)
            .and_then(|said| says(&said, "unknown argument: --bogus"))
            .and_then(|()| self.asked("status", NAME, &[], 4));
        let installs = self
            .asked("install", NAME, &flags, 0)
            .and_then(|_| self.asked("status", NAME, &[], 3));
        let twice = self
            .asked("install", NAME, &flags, 1)
            .and_then(|said| says(&said, "already"));
        let by_hand = self
            .asked("run", NAME, &flags, 1)
            .and_then(|said| says(&said, "what the service manager starts"));
        self.check("a service that is not there is not there", none);
        self.check(
            "no service is made of a flag that a start would refuse",
            refuses.map(drop),
        );
        self.check("a service is installed", installs.map(drop));
        self.check("no service is installed twice", twice);
        self.check("what the manager starts is not for others", by_hand);
    }

    fn serves(&mut self) {
        let starts = self
            .asked("start", NAME, &[], 0)
            .and_then(|_| self.asked("status", NAME, &[], 0))
            .and_then(|said| says(&said, "running as process"));
        // It says that it runs when it listens.
        let reads = address(&log(NAME)).and_then(|address| {
            let said = self.client(&["--url", &address], &["cat", "/work/hello.txt"])?;
            says(&said, "from a service")
        });
        let stops = self
            .asked("stop", NAME, &[], 0)
            .and_then(|said| says(&said, "has stopped"))
            .and_then(|()| self.asked("status", NAME, &[], 3))
            .and_then(|said| {
                ensure!(!said.contains("code"), "it failed: {said}");
                says(&fs::read_to_string(log(NAME))?, "info: Stopping")
            });
        self.check("the service starts", starts);
        self.check("the client reads a file of the service", reads);
        self.check("the service stops as with Ctrl-C", stops);
    }

    fn fails(&mut self) {
        let gone = labelled("work=", &windows_path(&self.folder.join("gone")));
        let says_why = self
            .asked("install", BROKEN, &["--export".into(), gone], 0)
            .and_then(|_| self.asked("start", BROKEN, &[], 1))
            .and_then(|said| {
                says(&said, "error: export `work` cannot be served")?;
                says(&said, "error: InvalidExportPath")
            })
            .and_then(|()| self.asked("status", BROKEN, &[], 3))
            .and_then(|said| says(&said, "exit code 1"))
            .and_then(|()| self.asked("uninstall", BROKEN, &[], 0));
        self.check("a start that fails says why", says_why.map(drop));
    }

    /// What `service ACTION` says, if it ends with this code.
    fn asked(&self, action: &str, name: &str, flags: &[OsString], code: i32) -> Result<String> {
        let (ended, said) = self.ask(&[action, "--name", name], flags)?;
        ensure!(
            may_be(ended, code),
            "service {action} ended with {ended}, not {code}:\n{said}"
        );
        Ok(said)
    }

    fn ask(&self, arguments: &[&str], flags: &[OsString]) -> Result<(ExitStatus, String)> {
        let mut line: Vec<OsString> = ["service"].iter().chain(arguments).map(OsString::from).collect();
        if !flags.is_empty() {
            line.push("--".into());
            line.extend_from_slice(flags);
        }
        let mut program = self.start(NODE, &line)?;
        let status = program.ended(self.limit)?;
        Ok((status, program.printed() + &program.log()))
    }
}

/// The last address that a node said in its log.
fn address(log: &Path) -> Result<String> {
    let lines = fs::read_to_string(log).with_context(|| format!("{}", log.display()))?;
    let said = lines.lines().rev().find_map(|line| line.split_once(NODE_LISTENS));
    let (_, address) = said.with_context(|| format!("no address in {lines:?}"))?;
    Ok(address.trim().to_owned())
}

/// Where a service keeps its log.
fn log(name: &str) -> PathBuf {
    let prefix = std::env::var_os("WINEPREFIX").unwrap_or_default();
    Path::new(&prefix)
        .join("drive_c/ProgramData/spiderweb-fs-node")
        .join(name)
        .join("node.log")
}
