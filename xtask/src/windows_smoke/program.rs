//! One program under Wine: what it prints, and what it leaves running.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// Between two looks at what a program did.
pub(super) const LOOK: Duration = Duration::from_millis(20);
/// Variables of the caller that would change what the programs do.
const FOREIGN_VARIABLES: [&str; 8] = [
    "SPIDERWEB_URL",
    "SPIDERWEB_HUB",
    "SPIDERWEB_HUB_TOKEN",
    "SPIDERWEB_HUB_TOKEN_FILE",
    "SPIDERWEB_FS_NODE_AUTH_TOKEN",
    "SPIDERWEB_AUTH_TOKEN",
    "SPIDERWEB_LOG",
    "RUST_LOG",
];
/// Variable that every program and all it starts inherit, with a value of its own.
const MARK: &str = "SPIDERWEB_SMOKE";
/// What Wine starts for itself with the first program.
const OF_WINE: [&str; 7] = [
    "wineserver",
    r"\system32\services.exe",
    r"\system32\winedevice.exe",
    r"\system32\plugplay.exe",
    r"\system32\svchost.exe",
    r"\system32\rpcss.exe",
    r"\system32\explorer.exe",
];

/// Whether a program ended with this code, as far as Wine tells. One that takes half a second to leave, on a busy machine, is
/// killed by Wine with a signal of this system, and some fall over in Wine's own code as they leave: the code is lost, and
/// only what the program did shows how it went. What crashes by itself has a code.
pub(super) fn may_be(status: ExitStatus, code: i32) -> bool {
    status.code().is_none_or(|ended| ended == code)
}

/// A program that was started; it ends with this value.
pub(super) struct Program {
    child: Child,
    /// Where its output goes.
    out: PathBuf,
}

impl Program {
    /// Starts a command with its output in files of a new folder in `home`.
    pub(super) fn start(mut command: Command, home: &Path) -> Result<Self> {
        let out = tempfile::tempdir_in(home)?.keep();
        command
            .env(MARK, &out)
            .stdin(Stdio::null())
            // Pipes may be kept open by what Wine starts beside the program.
            .stdout(File::create(out.join("stdout"))?)
            .stderr(File::create(out.join("stderr"))?);
        for name in FOREIGN_VARIABLES {
            command.env_remove(name);
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        Ok(Self { child, out })
    }

    pub(super) fn log(&self) -> String {
        self.read("stderr")
    }

    pub(super) fn printed(&self) -> String {
        self.read("stdout")
    }

    fn read(&self, name: &str) -> String {
        let read = fs::read(self.out.join(name));
        read.map_or_else(
            |error| error.to_string(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// The rest of the first line of the log that has these words.
    pub(super) fn line_after(&mut self, words: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let log = self.log();
            // The last line may not be whole yet.
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some((_, rest)) = whole.lines().find_map(|line| line.split_once(words)) {
                return Ok(rest.trim().to_owned());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}:\n{log}");
            }
            ensure!(
                Instant::now() < deadline,
                "it did not say {words:?} within {limit:?}:\n{log}"
            );
            thread::sleep(LOOK);
        }
    }

    /// An error with all it said if it has ended already.
    pub(super) fn still_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it had ended by itself with {status}:\n{}", self.log());
        }
        Ok(())
    }

    /// Waits for its end.
    pub(super) fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let mut said = format!("it did not end within {limit:?}");
                write!(said, "\n{}{}", self.printed(), self.log())?;
                bail!(said);
            }
            thread::sleep(LOOK);
        }
    }

    /// Command lines of what it started and what those started, as far as this system tells.
    pub(super) fn left(&self) -> Vec<String> {
        let mark = format!("{MARK}={}", self.out.display());
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let marked = processes.filter(|process| {
            let variables = fs::read(process.path().join("environ")).unwrap_or_default();
            variables
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark.as_bytes())
        });
        let lines = marked.map(|process| fs::read(process.path().join("cmdline")).unwrap_or_default());
        let lines = lines.filter(|line| {
            let line = String::from_utf8_lossy(line);
            !OF_WINE.iter().any(|program| line.contains(program))
        });
        lines
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_by_signal_may_be_any_end_and_a_code_is_itself() {
        let ended = |line: &str| Command::new("sh").args(["-c", line]).status().unwrap();
        for (line, code, expected) in [
            ("exit 3", 3, true),
            ("exit 3", 0, false),
            ("exit 0", 1, false),
            ("kill -KILL $$", 0, true),
        ] {
            assert_eq!(may_be(ended(line), code), expected, "{line} as {code}");
        }
    }
}
