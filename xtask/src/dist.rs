//! Lays out what is shipped: programs, drivers, examples, the header, completions, manual pages, licences, what it is
//! all made of, and checksums.
//!
//! The names of artifacts are part of the contract (`services.md`, section 20), and not always those cargo gives them.

mod dependencies;
mod layout;
mod notices;
mod pages;
mod sbom;
mod system;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use self::layout::Layout;
pub(crate) use self::layout::{SUMS, sha256};
pub(crate) use self::pages::MANUAL;
pub(crate) use self::system::System;
use crate::build::{Build, Compiler, named, project_root};
use crate::wasm;

/// Programs and their packages.
const PROGRAMS: [(&str, &str); 5] = [
    (NODE, "spiderweb-fs-node"),
    (CLIENT, "spiderweb"),
    ("spiderweb-hub", "spiderweb-hub-app"),
    ("spiderweb-echo-driver", "spiderweb-echo-driver"),
    ("spiderweb-web-search-driver", "spiderweb-web-search-driver"),
];
pub(crate) const NODE: &str = "spiderweb-fs-node";
const CLIENT: &str = "spiderweb";
/// The library's package, and its name as cargo and as the contract spell it.
pub(crate) const LIBRARY: &str = "spiderweb-echo-driver-inproc";
const LIBRARY_IN_CARGO: &str = "spiderweb_echo_driver_inproc";
/// What is copied as it is: from, to.
const COPIES: [(&str, &str); 5] = [
    ("examples", "examples"),
    ("docs", "docs"),
    ("crates/driver-sdk/include", "include"),
    ("LICENSE", "LICENSE"),
    ("README.md", "README.md"),
];
/// What runs hub and node as services of the system, where there is something for it.
const LAUNCHD: (&str, &str) = ("packaging/launchd", "share/launchd");
/// Manifests that need what not every target has.
const LIBRARY_EXAMPLE: &str = "examples/services.d/echo-inproc.json";
const MODULE_EXAMPLE: &str = "examples/services.d/echo-wasm.json";
/// The library as the example manifests name it: where most nodes run.
pub(crate) const LIBRARY_IN_EXAMPLES: &str = "./lib/libspiderweb-echo-driver-inproc.so";
/// Licences of what is not ours, and the list of it.
pub(crate) const NOTICES: &str = "THIRD-PARTY-NOTICES.txt";
pub(crate) const BILL: &str = "sbom.cdx.json";

/// Features of a node without WebAssembly and without a hub inside. TLS stays: between machines a hub is dialled at a
/// `wss://` address.
const MINIMAL: &str = "spiderweb-fs-node/tls,spiderweb/tls";
/// Most bytes of a static node, and of a minimal one.
const NODE_LIMIT: u64 = 20_000_000;
const MINIMAL_NODE_LIMIT: u64 = 8_000_000;

/// Arguments of `cargo xtask dist`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// Where everything goes; files of the same names are replaced
    #[arg(long, default_value = "dist")]
    out: PathBuf,
}

/// What to build.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Choice {
    /// Build for this target instead of this machine
    #[arg(long)]
    target: Option<String>,
    /// Cargo's profile
    #[arg(long, default_value = "release")]
    profile: String,
    /// Without WebAssembly and without a hub inside the node
    #[arg(long)]
    pub(crate) minimal: bool,
    /// Fail if the node is larger; static release builds have limits of their own
    #[arg(long, value_name = "BYTES")]
    max_node_size: Option<u64>,
}

impl Choice {
    fn features(&self) -> Option<&'static str> {
        self.minimal.then_some(MINIMAL)
    }

    /// The target's triple, where none was given that of this machine.
    pub(crate) fn triple(&self) -> Result<String> {
        match &self.target {
            Some(target) => Ok(target.clone()),
            None => Ok(Compiler::found()?.host),
        }
    }

    /// Most bytes that the node may have.
    fn node_limit(&self, system: System) -> Option<u64> {
        let is_promised = system == System::StaticLinux && self.profile == "release";
        let promised = if self.minimal {
            MINIMAL_NODE_LIMIT
        } else {
            NODE_LIMIT
        };
        self.max_node_size.or(is_promised.then_some(promised))
    }
}

/// Where the programs of a distribution are.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) node: PathBuf,
    pub(crate) client: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    distribute(&arguments.choice, &arguments.out)?;
    println!("in {}", arguments.out.display());
    Ok(())
}

/// Builds the programs for this machine and lays them out with the examples, and with nothing else.
pub(crate) fn programs(profile: &str, out: &Path) -> Result<Programs> {
    let choice = Choice {
        target: None,
        profile: profile.to_owned(),
        minimal: false,
        max_node_size: None,
    };
    let mut layout = Layout::new(out);
    let system = System::of(&choice.triple()?);
    build(&choice, system, &mut layout)?;
    let program = |name| layout.path("bin").join(system.program(name));
    Ok(Programs {
        node: program(NODE),
        client: program(CLIENT),
    })
}

/// Builds and lays out everything.
pub(crate) fn distribute(choice: &Choice, out: &Path) -> Result<()> {
    let target = choice.triple()?;
    let system = System::of(&target);
    let mut layout = Layout::new(out);
    build(choice, system, &mut layout)?;
    pages::lay_out(&mut layout)?;
    let linked = dependencies::find(&packages(system), &target, choice.features())?;
    layout.write(NOTICES, notices::text(&linked, system)?)?;
    let bill = sbom::bill(NODE, env!("CARGO_PKG_VERSION"), &target, &linked);
    layout.write(BILL, format!("{bill:#}\n"))?;
    for what in ["share", NOTICES, BILL, SUMS] {
        println!("{:>12}  {what}", "");
    }
    layout.sum()
}

/// What is built for a system.
fn packages(system: System) -> Vec<&'static str> {
    let programs = PROGRAMS.iter().map(|(_, package)| *package);
    programs.chain(system.library(LIBRARY).map(|_| LIBRARY)).collect()
}

/// Builds the programs, lays them out with the examples, and says what is there.
fn build(choice: &Choice, system: System, layout: &mut Layout) -> Result<()> {
    let compiler = Compiler::found()?;
    let library = system.library(LIBRARY);
    let build = Build {
        packages: &packages(system),
        profile: &choice.profile,
        target: choice.target.as_deref(),
        features: choice.features(),
        environment: &[],
    };
    let made = build.run(&compiler)?;

    for (name, _) in PROGRAMS {
        let program = system.program(name);
        let size = layout.place(named(&made, &program)?, &format!("bin/{program}"), "")?;
        if name == NODE
            && let Some(limit) = choice.node_limit(system)
        {
            ensure!(size <= limit, "{program} has {size} bytes, and may have {limit}");
            println!("{:>12}  of {limit} that {program} may have", "");
        }
    }
    for (from, to) in COPIES {
        layout.copy(&project_root().join(from), to)?;
        println!("{:>12}  {to}", "");
    }
    if system == System::MacOs {
        layout.copy(&project_root().join(LAUNCHD.0), LAUNCHD.1)?;
    }
    if choice.minimal {
        layout.remove(MODULE_EXAMPLE)?;
    } else {
        let module = wasm::module(&compiler)?;
        layout.place(&module.path, &format!("bin/{}", wasm::MODULE), module.origin)?;
    }
    let Some(library) = library else {
        return layout.remove(LIBRARY_EXAMPLE);
    };
    let in_cargo = system.library(LIBRARY_IN_CARGO).unwrap_or_default();
    let path = format!("{}/{library}", system.library_folder());
    layout.place(named(&made, &in_cargo)?, &path, "")?;
    layout.rewrite(LIBRARY_EXAMPLE, |text| {
        text.replace(LIBRARY_IN_EXAMPLES, &format!("./{path}"))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn choice(profile: &str, minimal: bool, max_node_size: Option<u64>) -> Choice {
        Choice {
            target: None,
            profile: profile.to_owned(),
            minimal,
            max_node_size,
        }
    }

    #[test]
    fn the_examples_name_the_library_that_is_laid_out() {
        let text = fs::read_to_string(project_root().join(LIBRARY_EXAMPLE)).unwrap();
        assert!(text.contains(LIBRARY_IN_EXAMPLES));
        assert!(project_root().join(MODULE_EXAMPLE).is_file());
    }

    #[test]
    fn static_releases_have_limits_and_others_those_that_are_asked_for() {
        for (choice, system, limit) in [
            (
                choice("release", false, None),
                System::StaticLinux,
                Some(NODE_LIMIT),
            ),
            (
                choice("release", true, None),
                System::StaticLinux,
                Some(MINIMAL_NODE_LIMIT),
            ),
            (choice("dev", false, None), System::StaticLinux, None),
            (choice("release", false, None), System::Windows, None),
            (choice("dev", false, Some(7)), System::Windows, Some(7)),
        ] {
            assert_eq!(choice.node_limit(system), limit, "{choice:?}");
        }
    }
}
