//! Recorded behaviour of services played against a node.
//!
//! ```text
//! vectors (*.json) ── vector ─┐
//!                 departures ─┴── golden text ──┬── golden ── script ── player ── volatile, relations
//!                                               ├── starts    (which manifests are taken)
//!                                               ├── exports   (what a node of many services offers)
//!                                               ├── programs  (drivers and helpers run by hand)
//!                                               └── wire      (frames, played by `replay`)
//! ```
//!
//! A vector shows what the original did. The table of [`departures`] says where ours behaves differently on purpose;
//! applied to a vector it gives what our node must do, which is what golden files hold. The first word of a golden file
//! tells which of the five it is.

pub mod content;
pub mod departures;
mod exports;
pub mod golden;
mod place;
mod player;
mod programs;
mod relations;
pub mod script;
mod starts;
mod tree;
mod vector;
pub mod volatile;
mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use self::departures::Departures;
pub use self::place::Artifacts;
use crate::process::NodeCommand;
use crate::replay::term::{Scanner, Term};
use crate::replay::{self, Difference, Report};

/// The file name extension of vectors.
pub const EXTENSION: &str = "json";

/// Vectors that are not replayed here, but by tests of their own.
///
/// Of `web-search` the part is left out that needs a server to answer; the tests of that driver have one.
const SKIPPED: [(&str, &str); 3] = [
    (
        "catalog-",
        "crates/node/tests/catalog plays the messages to a control server",
    ),
    (
        "hot-reload",
        "tests/services/recorded.rs of the daemon plays its steps with our departures",
    ),
    (
        "runtime-services-file",
        "tests/services/recorded.rs of the daemon compares the file",
    ),
];

/// Why a vector is not replayed here, if so.
pub fn skipped(topic: &str) -> Option<&'static str> {
    let mut entries = SKIPPED.iter();
    entries
        .find(|(start, _)| topic.starts_with(start))
        .map(|(_, reason)| *reason)
}

/// The vectors of a directory: those of the seed generation, then those of the head generation.
pub fn vectors(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut vectors = replay::files(directory, EXTENSION)?;
    vectors.extend(replay::files(&directory.join("head"), EXTENSION)?);
    Ok(vectors)
}

/// Reads a vector and returns the golden text of what our node must do.
pub fn read_vector(path: &Path) -> Result<String> {
    let topic = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .context("a vector without a name")?;
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let read = || {
        let mut scanner = Scanner::new(&text);
        let vector = scanner.term()?;
        scanner.end()?;
        let recorded = golden_text(topic, &vector, path)?;
        Departures::of_this_node()?.apply(topic, &recorded)
    };
    read().with_context(|| format!("in {}", path.display()))
}

fn golden_text(topic: &str, vector: &Term, path: &Path) -> Result<String> {
    let has = |name| vector.get(name).is_some();
    if has("steps") {
        let script = vector::script(topic, vector, path.parent().unwrap_or(Path::new(".")))?;
        Ok(golden::print(&script))
    } else if has("cases") {
        starts::from_vector(topic, vector)
    } else if has("exports") {
        let folder = path.parent().unwrap_or(Path::new("."));
        exports::from_vector(topic, vector, &folder.join("manifests"))
    } else if has("frames") {
        wire::from_vector(topic, vector)
    } else {
        programs::from_vector(topic, vector)
    }
}

/// Plays a golden text against a node and its drivers.
pub fn play(text: &str, artifacts: &Artifacts) -> Result<Report> {
    let (kind, topic) = text
        .lines()
        .next()
        .and_then(|line| line.split_once(' '))
        .context("an empty file")?;
    let differences = match kind {
        "service" => return play_service(text, artifacts),
        "topic" => return play_wire(text, artifacts),
        "starts" => starts::play(topic, text, artifacts)?,
        "exports" => exports::play(topic, text, artifacts)?,
        "programs" => programs::play(topic, text, artifacts)?,
        other => bail!("a golden file of services cannot start with {other:?}"),
    };
    Ok(Report {
        differences,
        log: String::new(),
    })
}

fn play_service(text: &str, artifacts: &Artifacts) -> Result<Report> {
    let script = golden::parse(text)?;
    let folder = tempfile::Builder::new().prefix("service-").tempdir()?;
    place::build(folder.path(), artifacts, &script.setup)?;
    let mut node = NodeCommand::new(&artifacts.node)
        .directory(folder.path())
        .arguments(&script.setup.arguments)
        .start()?;
    let mut differences = player::play(&script, node.addr());
    if let Some(status) = node.exited()? {
        differences.push(Difference {
            topic: script.topic,
            line: 0,
            step: "the node serves until it is told to stop".to_owned(),
            found: format!("it ended with {status}"),
        });
    }
    Ok(Report {
        differences,
        log: node.log(),
    })
}

fn play_wire(text: &str, artifacts: &Artifacts) -> Result<Report> {
    let script = replay::golden::parse(text)?;
    replay::replay_in(&artifacts.node, &script, |root| {
        place::build(root, artifacts, &script::Setup::default())
    })
}
