//! Makes the golden files of the node from recordings of the original.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use spiderweb_testkit::replay::departures::Departures;
use spiderweb_testkit::replay::{self, golden, recording};
use spiderweb_testkit::{control, services};

use crate::build::project_root;

/// Where the node's golden files are, from the project's root: of the file protocol, of services, and of control mode
/// with servers of either generation.
const GOLDEN: &str = "crates/node/tests/golden";
const SERVICES: &str = "crates/node/tests/golden/services";
const CONTROL: [&str; 2] = [
    "crates/node/tests/golden/control",
    "crates/node/tests/golden/control-head",
];

/// Arguments of `cargo xtask golden`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("recordings").required(true).multiple(true))]
pub(crate) struct Arguments {
    /// Directory of recordings (*.jsonl) of the file protocol
    #[arg(long, group = "recordings")]
    from: Option<PathBuf>,
    /// Directory of vectors (*.json) of services
    #[arg(long, group = "recordings")]
    services: Option<PathBuf>,
    /// Directories of recordings (*.jsonl) of control mode, the older generation first
    #[arg(long, group = "recordings", num_args = 2)]
    control: Vec<PathBuf>,
    /// Only compare: fail when a golden file is not what its recording gives
    #[arg(long)]
    check: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(recordings) = &arguments.from {
        let mut files = Files::new(GOLDEN, arguments.check);
        for path in replay::files(recordings, recording::EXTENSION)? {
            files.make(&path, replay::skipped, |path| {
                Ok(golden::print(&replay::read_recording(path)?))
            })?;
        }
        files.finish(&Departures::of_this_node()?.topics())?;
    }
    if let Some(vectors) = &arguments.services {
        let mut files = Files::new(SERVICES, arguments.check);
        for path in services::vectors(vectors)? {
            files.make(&path, services::skipped, services::read_vector)?;
        }
        files.finish(&services::departures::Departures::of_this_node()?.topics())?;
    }
    for (folder, recordings) in CONTROL.into_iter().zip(&arguments.control) {
        let mut files = Files::new(folder, arguments.check);
        for path in replay::files(recordings, recording::EXTENSION)? {
            files.make(&path, control::skipped, control::read_recording)?;
        }
        // Differences are in no file here: they are taken out of what a replay finds.
        files.finish(&BTreeSet::new())?;
    }
    Ok(())
}

/// The golden files of one folder.
struct Files {
    folder: &'static str,
    check: bool,
    topics: BTreeSet<String>,
    stale: Vec<String>,
    bytes: usize,
}

impl Files {
    fn new(folder: &'static str, check: bool) -> Self {
        Self {
            folder,
            check,
            topics: BTreeSet::new(),
            stale: Vec::new(),
            bytes: 0,
        }
    }

    /// Makes, or compares, the file of one recording.
    fn make(
        &mut self,
        path: &Path,
        skipped: impl Fn(&str) -> Option<&'static str>,
        read: impl Fn(&Path) -> Result<String>,
    ) -> Result<()> {
        let topic = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .context("a recording without a name")?;
        if let Some(reason) = skipped(topic) {
            println!("skip {topic}: {reason}");
            return Ok(());
        }
        let text = read(path)?;
        let directory = project_root().join(self.folder);
        let name = format!("{topic}.{}", golden::EXTENSION);
        let file = directory.join(&name);
        self.topics.insert(topic.to_owned());
        self.bytes += text.len();
        if fs::read_to_string(&file).is_ok_and(|found| found == text) {
            return Ok(());
        }
        if self.check {
            self.stale.push(topic.to_owned());
        } else {
            fs::create_dir_all(&directory)?;
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
            println!("wrote {}/{name}", self.folder);
        }
        Ok(())
    }

    fn finish(self, departing: &BTreeSet<&str>) -> Result<()> {
        if !self.stale.is_empty() {
            bail!(
                "these golden files are not what their recordings give: {}",
                self.stale.join(", ")
            );
        }
        if let Some(topic) = departing.iter().find(|topic| !self.topics.contains(**topic)) {
            bail!("the departures name a topic {topic} that has no recording");
        }
        println!("{} topics, {} KiB", self.topics.len(), self.bytes.div_ceil(1024));
        Ok(())
    }
}
