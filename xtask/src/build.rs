//! Building parts of the workspace, for this machine and for others.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// The project's root.
pub(crate) fn project_root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// How the standard library for a target comes about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Std {
    /// It is installed with the compiler.
    Installed,
    /// Its sources are, and the compiler takes unstable flags, so cargo can build it.
    FromSource,
    /// It cannot be had.
    Missing,
}

/// The compiler that cargo will use.
#[derive(Debug)]
pub(crate) struct Compiler {
    /// As `rustc --version` says.
    pub(crate) version: String,
    /// The commit it was built from, which names the sources in panic messages.
    pub(crate) commit: String,
    /// The triple of the machine it runs on.
    pub(crate) host: String,
    sysroot: PathBuf,
}

impl Compiler {
    pub(crate) fn found() -> Result<Self> {
        let verbose = rustc(&["--version", "--verbose"])?;
        let version = verbose
            .lines()
            .next()
            .context("rustc says no version")?
            .to_owned();
        let fact = |name: &str| {
            let value = verbose.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap_or("unknown").to_owned()
        };
        Ok(Self {
            version,
            commit: fact("commit-hash: "),
            host: fact("host: "),
            sysroot: rustc(&["--print", "sysroot"])?.trim().into(),
        })
    }

    /// Whether and how a target's standard library can be had.
    pub(crate) fn std_of(&self, target: &str) -> Std {
        let installed = self.sysroot.join("lib/rustlib").join(target).join("lib");
        let is_unstable = std::env::var_os("RUSTC_BOOTSTRAP").is_some() || self.version.contains("-nightly");
        if installed.is_dir() {
            Std::Installed
        } else if is_unstable && self.std_sources().join("library/std").is_dir() {
            Std::FromSource
        } else {
            Std::Missing
        }
    }

    /// Where the sources of the standard library are, if they are installed.
    pub(crate) fn std_sources(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust")
    }
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(arguments)
        .output()
        .context("cannot run rustc")?;
    ensure!(output.status.success(), "rustc {} failed", arguments.join(" "));
    String::from_utf8(output.stdout).context("rustc says something that is no text")
}

/// One `cargo build`.
#[derive(Debug, Default)]
pub(crate) struct Build<'a> {
    pub(crate) packages: &'a [&'a str],
    pub(crate) profile: &'a str,
    /// The target's triple; this machine if there is none.
    pub(crate) target: Option<&'a str>,
    /// Features instead of the packages' defaults.
    pub(crate) features: Option<&'a str>,
    /// Variables for cargo.
    pub(crate) environment: &'a [(String, String)],
}

impl Build<'_> {
    /// Builds, and returns every file that was made.
    pub(crate) fn run(&self, compiler: &Compiler) -> Result<Vec<PathBuf>> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args(["build", "--locked", "--message-format", "json-render-diagnostics"])
            .args(["--profile", self.profile])
            .args(self.packages.iter().flat_map(|package| ["--package", package]))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(project_root())
            .stderr(Stdio::inherit());
        if let Some(features) = self.features {
            command.args(["--no-default-features", "--features", features]);
        }
        if let Some(target) = self.target {
            command.args(["--target", target]);
            match compiler.std_of(target) {
                Std::Installed => {}
                Std::FromSource => {
                    command.arg("-Zbuild-std=std,panic_abort");
                }
                Std::Missing => {
                    bail!("there is no standard library for {target}: `rustup target add {target}`")
                }
            }
        }
        let output = command.output().context("cannot run cargo")?;
        ensure!(output.status.success(), "cargo build failed");
        let messages = String::from_utf8(output.stdout).context("cargo says something that is no text")?;
        messages
            .lines()
            .map(made)
            .collect::<Result<Vec<_>>>()
            .map(|made| made.concat())
    }
}

/// The files that one of cargo's messages is about.
fn made(message: &str) -> Result<Vec<PathBuf>> {
    let message: Value = serde_json::from_str(message).context("cargo says something that is no JSON")?;
    if message.get("reason").and_then(Value::as_str) != Some("compiler-artifact") {
        return Ok(Vec::new());
    }
    let files = message.get("filenames").and_then(Value::as_array);
    let files = files.into_iter().flatten().filter_map(Value::as_str);
    Ok(files.map(PathBuf::from).collect())
}

/// The file of this name among those that were made.
pub(crate) fn named<'a>(made: &'a [PathBuf], name: &str) -> Result<&'a Path> {
    let found = made
        .iter()
        .find(|path| path.file_name().is_some_and(|found| found == name));
    found
        .map(PathBuf::as_path)
        .with_context(|| format!("the build made no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_from_messages() {
        let message =
            r#"{"reason":"compiler-artifact","filenames":["/t/release/node","/t/release/node.dSYM"]}"#;
        let files = made(message).unwrap();
        assert_eq!(named(&files, "node").unwrap(), Path::new("/t/release/node"));
        assert!(named(&files, "nod").is_err());
        assert_eq!(
            made(r#"{"reason":"build-finished"}"#).unwrap(),
            [""; 0].map(PathBuf::from)
        );
        assert!(made("no message").is_err());
    }
}
