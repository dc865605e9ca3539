//! Packages of a distribution, for systems and their package managers.
//!
//! Every package is made of what `cargo xtask dist` lays out. What is in them besides lies in `packaging/`.

mod archive;
mod deb;
mod oci;
mod texts;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;

use crate::dist::{self, Choice, NODE, System};

/// The version of everything here.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Arguments of `cargo xtask package`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// An archive: `.zip` for Windows, `.tar.gz` for others
    Archive(Common),
    /// A Debian package; needs `dpkg-deb`
    Deb {
        #[command(flatten)]
        common: Common,
        /// Of the package, for the same version of the programs
        #[arg(long, default_value_t = 1)]
        revision: u32,
    },
    /// A container image of a static distribution; needs buildah, podman or docker
    Oci(Common),
    /// The Homebrew formula and the winget manifests, with the checksums of archives
    Texts(texts::Arguments),
}

/// Of what, and where to.
#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    choice: Choice,
    /// Take what is laid out here instead of building
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Where packages go
    #[arg(long, default_value = "packages")]
    out: PathBuf,
}

/// A distribution that is there.
struct Distribution {
    root: PathBuf,
    target: String,
    system: System,
    /// As in the names of packages.
    name: String,
}

/// The mode of a file of a distribution: programs can be run, and so can the example driver that is a script.
fn mode(name: &str) -> u32 {
    let extension = Path::new(name)
        .extension()
        .and_then(|extension| extension.to_str());
    let is_module = extension == Some("wasm");
    if extension == Some("py") || name.starts_with("bin/") && !is_module {
        0o755
    } else {
        0o644
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.kind {
        Kind::Archive(common) => archive::make(&common.distribution()?, &common.out),
        Kind::Deb { common, revision } => deb::make(&common.distribution()?, *revision, &common.out),
        Kind::Oci(common) => oci::make(&common.distribution()?),
        Kind::Texts(arguments) => texts::make(arguments),
    }
}

impl Common {
    fn distribution(&self) -> Result<Distribution> {
        let target = self.choice.triple()?;
        let name = archive::folder(&target, self.choice.minimal);
        let root = if let Some(root) = &self.from {
            root.clone()
        } else {
            let root = self.out.join("dist").join(&name);
            // Nothing of an earlier one may get into a package.
            renew(&root)?;
            dist::distribute(&self.choice, &root)?;
            root
        };
        let system = System::of(&target);
        let node = root.join("bin").join(system.program(NODE));
        ensure!(node.is_file(), "there is no {}", node.display());
        fs::create_dir_all(&self.out).with_context(|| format!("making {}", self.out.display()))?;
        Ok(Distribution {
            root,
            target,
            system,
            name,
        })
    }
}

/// Makes an empty folder.
fn renew(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

/// Says what was made.
fn tell(file: &Path) -> Result<()> {
    let size = fs::metadata(file)?.len();
    println!("{size:>12}  {}", file.display());
    Ok(())
}
