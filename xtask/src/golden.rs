//! Makes the golden files of the node from recordings of the original.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use spiderweb_testkit::replay::departures::Departures;
use spiderweb_testkit::replay::{self, golden, recording};

/// Where the node's golden files are, from the project's root.
const GOLDEN: &str = "crates/node/tests/golden";

/// Arguments of `cargo xtask golden`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory of recordings (*.jsonl)
    #[arg(long)]
    from: PathBuf,
    /// Only compare: fail when a golden file is not what its recording gives
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let directory = project_root().join(GOLDEN);
    let mut stale = Vec::new();
    let mut bytes = 0;
    let mut topics = BTreeSet::new();
    for path in replay::files(&arguments.from, recording::EXTENSION)? {
        let topic = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .context("a recording without a name")?;
        if let Some(reason) = replay::skipped(topic) {
            println!("skip {topic}: {reason}");
            continue;
        }
        let text = golden::print(&replay::read_recording(&path)?);
        let file = directory.join(topic).with_extension(golden::EXTENSION);
        topics.insert(topic.to_owned());
        bytes += text.len();
        if fs::read_to_string(&file).is_ok_and(|found| found == text) {
            continue;
        }
        if arguments.check {
            stale.push(topic.to_owned());
        } else {
            fs::create_dir_all(&directory)?;
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
            println!("wrote {GOLDEN}/{topic}.{}", golden::EXTENSION);
        }
    }
    if !stale.is_empty() {
        bail!(
            "these golden files are not what their recordings give: {}",
            stale.join(", ")
        );
    }
    let departures = Departures::of_this_node()?;
    if let Some(topic) = departures
        .topics()
        .into_iter()
        .find(|topic| !topics.contains(*topic))
    {
        bail!("the departures name a topic {topic} that has no recording");
    }
    println!("{} topics, {} KiB", topics.len(), bytes.div_ceil(1024));
    Ok(())
}

fn project_root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}
