//! Lays out what is shipped: programs, drivers, examples, the header and the licence.
//!
//! The names of artifacts are part of the contract (`services.md`, section 20), and not always those cargo gives them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::build::{Build, Compiler, named, project_root};
use crate::wasm;

/// Programs and their packages.
const PROGRAMS: &[(&str, &str)] = &[
    (NODE, "spiderweb-fs-node"),
    (CLIENT, "spiderweb"),
    ("spiderweb-hub", "spiderweb-hub-app"),
    ("spiderweb-echo-driver", "spiderweb-echo-driver"),
    ("spiderweb-web-search-driver", "spiderweb-web-search-driver"),
];
const NODE: &str = "spiderweb-fs-node";
const CLIENT: &str = "spiderweb";
/// The library's package, and its name as cargo and as the contract spell it.
const LIBRARY: &str = "spiderweb-echo-driver-inproc";
const LIBRARY_IN_CARGO: &str = "spiderweb_echo_driver_inproc";
/// What is copied as it is: from, to.
const COPIES: &[(&str, &str)] = &[
    ("examples", "examples"),
    ("crates/driver-sdk/include", "include"),
    ("LICENSE", "LICENSE"),
];
/// The library as the example manifests name it: where most nodes run.
const LIBRARY_IN_EXAMPLES: &str = "./lib/libspiderweb-echo-driver-inproc.so";

/// Arguments of `cargo xtask dist`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Build for this target instead of this machine
    #[arg(long)]
    target: Option<String>,
    /// Cargo's profile
    #[arg(long, default_value = "release")]
    profile: String,
    /// Where everything goes; files of the same names are replaced
    #[arg(long, default_value = "dist")]
    out: PathBuf,
}

/// How a system names its files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum System {
    Linux,
    MacOs,
    Windows,
}

impl System {
    /// That of a target, or of this machine.
    fn of(target: Option<&str>) -> Self {
        let name = target.unwrap_or(std::env::consts::OS);
        if name.contains("windows") {
            Self::Windows
        } else if name.contains("darwin") || name.contains("macos") {
            Self::MacOs
        } else {
            Self::Linux
        }
    }

    fn program(self, name: &str) -> String {
        match self {
            Self::Windows => format!("{name}.exe"),
            Self::Linux | Self::MacOs => name.to_owned(),
        }
    }

    fn library(self, name: &str) -> String {
        match self {
            Self::Linux => format!("lib{name}.so"),
            Self::MacOs => format!("lib{name}.dylib"),
            Self::Windows => format!("{name}.dll"),
        }
    }

    /// Where libraries go.
    const fn library_folder(self) -> &'static str {
        match self {
            Self::Linux | Self::MacOs => "lib",
            Self::Windows => "bin",
        }
    }
}

/// Where the programs of a distribution are.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) node: PathBuf,
    pub(crate) client: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { target, profile, out } = arguments;
    build(profile, target.as_deref(), out)?;
    println!("in {}", out.display());
    Ok(())
}

/// Builds everything and lays it out in `out`, and says what is there.
pub(crate) fn build(profile: &str, target: Option<&str>, out: &Path) -> Result<Programs> {
    let system = System::of(target);
    let compiler = Compiler::found()?;
    let packages = PROGRAMS.iter().map(|(_, package)| *package);
    let build = Build {
        packages: &packages.chain([LIBRARY]).collect::<Vec<_>>(),
        profile,
        target,
        environment: &[],
    };
    let made = build.run(&compiler)?;
    let module = wasm::module(&compiler)?;

    for (program, _) in PROGRAMS {
        let program = system.program(program);
        place(named(&made, &program)?, out, &format!("bin/{program}"), "")?;
    }
    place(&module.path, out, &format!("bin/{}", wasm::MODULE), module.origin)?;
    let library = format!("{}/{}", system.library_folder(), system.library(LIBRARY));
    place(
        named(&made, &system.library(LIBRARY_IN_CARGO))?,
        out,
        &library,
        "",
    )?;
    for (from, to) in COPIES {
        copy(&project_root().join(from), &out.join(to))?;
        println!("{:>12}  {to}", "");
    }
    let manifest = out.join("examples/services.d/echo-inproc.json");
    let text = fs::read_to_string(&manifest)?;
    fs::write(
        &manifest,
        text.replace(LIBRARY_IN_EXAMPLES, &format!("./{library}")),
    )?;
    let program = |name| out.join("bin").join(system.program(name));
    Ok(Programs {
        node: program(NODE),
        client: program(CLIENT),
    })
}

/// Puts one artifact where it belongs and says so.
fn place(from: &Path, out: &Path, to: &str, remark: &str) -> Result<()> {
    copy(from, &out.join(to))?;
    let size = fs::metadata(from)?.len();
    let remark = if remark.is_empty() {
        String::new()
    } else {
        format!("  ({remark})")
    };
    println!("{size:>12}  {to}{remark}");
    Ok(())
}

/// Copies a file or a directory with everything in it. A file is replaced at once, so that one that is running does not
/// matter.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let describe = || format!("copying {} to {}", from.display(), to.display());
    if from.is_dir() {
        fs::create_dir_all(to).with_context(describe)?;
        for entry in fs::read_dir(from).with_context(describe)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(describe)?;
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(".part");
    fs::copy(from, &partial).with_context(describe)?;
    fs::rename(&partial, to).with_context(describe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        for (target, program, library) in [
            (
                "x86_64-unknown-linux-gnu",
                "spiderweb-fs-node",
                "lib/libspiderweb-echo-driver-inproc.so",
            ),
            (
                "aarch64-apple-darwin",
                "spiderweb-fs-node",
                "lib/libspiderweb-echo-driver-inproc.dylib",
            ),
            (
                "x86_64-pc-windows-gnu",
                "spiderweb-fs-node.exe",
                "bin/spiderweb-echo-driver-inproc.dll",
            ),
        ] {
            let system = System::of(Some(target));
            assert_eq!(system.program(NODE), program);
            assert_eq!(
                format!("{}/{}", system.library_folder(), system.library(LIBRARY)),
                library
            );
        }
    }

    #[test]
    fn the_examples_name_the_library_that_is_laid_out() {
        let manifest = project_root().join("examples/services.d/echo-inproc.json");
        assert!(
            fs::read_to_string(manifest)
                .unwrap()
                .contains(LIBRARY_IN_EXAMPLES)
        );
    }

    #[test]
    fn copies_replace_files_and_keep_what_is_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("inner")).unwrap();
        fs::create_dir_all(&to).unwrap();
        fs::write(from.join("inner/a"), "new").unwrap();
        fs::write(from.join("b"), "new").unwrap();
        fs::write(to.join("b"), "old").unwrap();
        fs::write(to.join("c"), "mine").unwrap();
        copy(&from, &to).unwrap();
        for (path, text) in [("inner/a", "new"), ("b", "new"), ("c", "mine")] {
            assert_eq!(fs::read_to_string(to.join(path)).unwrap(), text);
        }
    }
}
