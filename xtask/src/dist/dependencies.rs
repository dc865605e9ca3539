//! What the shipped programs are made of: our packages and everybody else's, for one target and choice of features.
//!
//! `cargo tree` knows what is linked into them: no macro, build script or test is. `cargo metadata` knows the packages'
//! licences and where their sources are, and the lock file has their checksums.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::build::project_root;

/// Name and version.
pub(crate) type Id = (String, String);

/// One package.
#[derive(Debug, Clone, Default)]
pub(crate) struct Package {
    /// An SPDX expression.
    pub(crate) license: String,
    pub(crate) repository: Option<String>,
    pub(crate) authors: Vec<String>,
    /// Where its sources are.
    pub(crate) folder: PathBuf,
    /// Of its archive in the registry; ours have none.
    pub(crate) checksum: Option<String>,
    /// What it uses itself.
    pub(crate) uses: BTreeSet<Id>,
}

/// Everything that is linked into the programs.
pub(crate) type Packages = BTreeMap<Id, Package>;

/// Finds out what the packages `roots` are made of.
pub(super) fn find(roots: &[&str], target: &str, features: Option<&str>) -> Result<Packages> {
    let mut tree = vec![
        "tree",
        "--locked",
        "--target",
        target,
        "--edges",
        "normal,no-proc-macro",
    ];
    tree.extend(["--prefix", "depth", "--format", "|{p}"]);
    tree.extend(roots.iter().flat_map(|root| ["--package", root]));
    if let Some(features) = features {
        tree.extend(["--no-default-features", "--features", features]);
    }
    let mut packages = linked(&cargo(&tree)?)?;
    let metadata = cargo(&[
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        target,
    ])?;
    describe(
        &mut packages,
        &serde_json::from_str(&metadata).context("cargo metadata is no JSON")?,
    );
    let lock = fs::read_to_string(project_root().join("Cargo.lock")).context("reading Cargo.lock")?;
    for (id, checksum) in checksums(&lock) {
        if let Some(package) = packages.get_mut(&id) {
            package.checksum = Some(checksum);
        }
    }
    for ((name, version), package) in &packages {
        ensure!(!package.license.is_empty(), "{name} {version} has no licence");
    }
    Ok(packages)
}

fn cargo(arguments: &[&str]) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(project_root())
        .output()
        .context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "cargo {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).context("cargo says something that is no text")
}

/// Reads `cargo tree`: a line is `DEPTH|NAME vVERSION …`, below the line of what uses it.
fn linked(tree: &str) -> Result<Packages> {
    let mut packages = Packages::new();
    let mut above: Vec<Id> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let read = || {
            let (depth, package) = line.split_once('|')?;
            let mut words = package.split(' ');
            let id = (
                words.next()?.to_owned(),
                words.next()?.strip_prefix('v')?.to_owned(),
            );
            Some((depth.parse::<usize>().ok()?, id))
        };
        let (depth, id) = read().with_context(|| format!("cargo tree says {line}"))?;
        above.truncate(depth);
        if let Some(user) = above.last().and_then(|user| packages.get_mut(user)) {
            user.uses.insert(id.clone());
        }
        packages.entry(id.clone()).or_default();
        above.push(id);
    }
    Ok(packages)
}

fn describe(packages: &mut Packages, metadata: &Value) {
    for found in metadata["packages"].as_array().into_iter().flatten() {
        let text = |member: &str| found[member].as_str().unwrap_or_default().to_owned();
        let Some(package) = packages.get_mut(&(text("name"), text("version"))) else {
            continue;
        };
        // Some still write it the old way.
        package.license = text("license").replace('/', " OR ").replace("  ", " ");
        package.repository = found["repository"].as_str().map(str::to_owned);
        let authors = found["authors"].as_array().into_iter().flatten();
        package.authors = authors.filter_map(Value::as_str).map(str::to_owned).collect();
        package.folder = PathBuf::from(text("manifest_path"));
        package.folder.pop();
    }
}

/// The checksums in a lock file.
fn checksums(lock: &str) -> Vec<(Id, String)> {
    let entries = lock.split("[[package]]").skip(1);
    let checksum = |entry: &str| {
        let member = |name: &str| {
            let mut values = entry.lines().filter_map(|line| line.strip_prefix(name));
            values
                .next()?
                .strip_prefix(" = \"")?
                .strip_suffix('"')
                .map(str::to_owned)
        };
        Some(((member("name")?, member("version")?), member("checksum")?))
    };
    entries.filter_map(checksum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, version: &str) -> Id {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn a_tree_is_read_with_its_branches() {
        let tree =
            "0|a v1.0.0 (/p/a)\n1|b v2.0.0\n2|c v3.1.0+x\n1|c v3.1.0+x\n\n0|d v1.0.0\n1|b v2.0.0 (*)\n";
        let packages = linked(tree).unwrap();
        let uses = |name: &str, version: &str| {
            let uses = &packages[&id(name, version)].uses;
            uses.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(uses("a", "1.0.0"), ["b", "c"]);
        assert_eq!(uses("b", "2.0.0"), ["c"]);
        assert_eq!(uses("d", "1.0.0"), ["b"]);
        assert_eq!(packages.len(), 4);
        assert!(linked("a v1").is_err());
    }

    #[test]
    fn checksums_are_those_of_the_registry() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1\"\nsource = \"r\"\nchecksum = \"ab\"\n\n\
                    [[package]]\nname = \"ours\"\nversion = \"1\"\ndependencies = [\n \"a\",\n]\n";
        assert_eq!(checksums(lock), [(id("a", "1"), "ab".to_owned())]);
    }

    #[test]
    fn the_node_is_made_of_what_is_linked_and_no_more() {
        let found = |features| find(&["spiderweb-fs-node"], "x86_64-unknown-linux-gnu", features).unwrap();
        let full = found(None);
        let has = |packages: &Packages, name: &str| packages.keys().any(|(found, _)| found == name);
        for name in ["spiderweb-node", "tokio", "wasmtime", "rustls"] {
            assert!(has(&full, name), "{name}");
        }
        for name in ["serde_derive", "proptest", "cc", "windows-sys", "clap_mangen"] {
            assert!(!has(&full, name), "{name}");
        }
        let minimal = found(Some("spiderweb-fs-node/tls"));
        assert!(has(&minimal, "rustls") && !has(&minimal, "wasmtime"));
        let (_, tokio) = full.iter().find(|((name, _), _)| name == "tokio").unwrap();
        assert_eq!(tokio.license, "MIT");
        assert_eq!(tokio.checksum.as_ref().map(String::len), Some(64));
        assert!(tokio.folder.join("Cargo.toml").is_file());
    }
}
