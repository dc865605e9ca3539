//! The folder a node of services is started in.
//!
//! The recordings ran beside `bin/`, `lib/`, `drivers/` and `wbin/wasmtime`; those of the head generation found the
//! same below `zig-out/`. Our drivers are linked under these names.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::script::{Placed, Setup, Thing};

/// The file that `wbin/wasmtime` stands for.
///
/// No wasmtime is needed to test a node: what counts is that the node calls its runner as it should. This one takes
/// the same command line and runs the module's native build.
const RUNNER: &str = "#!/bin/sh\n\
    # Stands in for `wasmtime run [--invoke NAME] MODULE [ARGUMENT...]`: runs the native build of the echo module.\n\
    [ \"$1\" = run ] || exit 64\n\
    shift\n\
    [ \"$1\" = --invoke ] && shift 2\n\
    [ -f \"$1\" ] || exit 66\n\
    exec \"${0%/*}/spiderweb-echo-driver-wasm\"\n";

/// What our workspace builds for a node of services: names in the folder, and where the file may be.
const ARTIFACTS: [(&str, &[&str]); 5] = [
    ("bin/spiderweb-echo-driver", &["spiderweb-echo-driver"]),
    (
        "bin/spiderweb-web-search-driver",
        &["spiderweb-web-search-driver"],
    ),
    (
        "lib/libspiderweb-echo-driver-inproc.so",
        &[
            "libspiderweb_echo_driver_inproc.so",
            "libspiderweb-echo-driver-inproc.so",
        ],
    ),
    (
        "bin/spiderweb-echo-driver-wasm.wasm",
        &["spiderweb-echo-driver-wasm.wasm"],
    ),
    ("wbin/spiderweb-echo-driver-wasm", &["spiderweb-echo-driver-wasm"]),
];

/// The module for compilers without its target.
const PREBUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../drivers/echo-wasm/prebuilt");

/// Where the node and the reference drivers are.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// The node.
    pub node: PathBuf,
    /// Folders that hold drivers, the first that has one wins.
    pub folders: Vec<PathBuf>,
}

impl Artifacts {
    /// The drivers that were built with a node, in the same folder; the committed WASM module where none was.
    pub fn beside(node: impl Into<PathBuf>) -> Result<Self> {
        let node = std::path::absolute(node.into())?;
        let folder = node.parent().context("a node in no folder")?;
        Ok(Self {
            folders: vec![folder.to_owned(), folder.join("deps"), PREBUILT.into()],
            node,
        })
    }

    /// The file that goes to this place in the folder.
    pub fn find(&self, place: &str) -> Option<PathBuf> {
        let (_, names) = ARTIFACTS.iter().find(|(name, _)| *name == place)?;
        let candidates = self
            .folders
            .iter()
            .flat_map(|folder| names.iter().map(|name| folder.join(name)));
        candidates.into_iter().find(|path| path.is_file())
    }

    /// What a text names and nobody built.
    pub fn missing_from(&self, text: &str) -> Option<&'static str> {
        let needs = |place: &str| {
            let is_named = text.match_indices(place).any(|(at, _)| {
                let behind = &text[at + place.len()..];
                !behind.starts_with(|char: char| char.is_alphanumeric() || "-.".contains(char))
            });
            // The stand-in of the runner needs the native build.
            is_named || (place.starts_with("wbin/") && text.contains("wbin/wasmtime"))
        };
        let places = ARTIFACTS.iter().map(|(place, _)| *place);
        places
            .into_iter()
            .find(|place| needs(place) && self.find(place).is_none())
    }
}

/// Fills an empty folder.
pub(super) fn build(root: &Path, artifacts: &Artifacts, setup: &Setup) -> Result<()> {
    for folder in ["bin", "lib", "drivers", "wbin"] {
        fs::create_dir(root.join(folder))?;
    }
    symlink(".", root.join("zig-out"))?;
    for (place, _) in ARTIFACTS {
        if let Some(file) = artifacts.find(place) {
            symlink(file, root.join(place))?;
        }
    }
    write(root, "wbin/wasmtime", 0o755, RUNNER.as_bytes())?;
    for Placed { path, what } in &setup.placed {
        match what {
            Thing::File { mode, content } => write(root, path, *mode, content.bytes()?)?,
            Thing::Module(text) => {
                let module = wat::parse_str(text).with_context(|| format!("assembling {path}"))?;
                write(root, path, 0o644, &module)?;
            }
        }
    }
    Ok(())
}

fn write(root: &Path, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let path = root.join(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    Ok(fs::set_permissions(&path, fs::Permissions::from_mode(mode))?)
}
