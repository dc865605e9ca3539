//! The Debian package, from a distribution and `packaging/{debian,systemd}`.
//!
//! `dpkg-deb` puts the tree together; nothing else of Debian's tools is needed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::texts::filled;
use super::tree::{Tree, set_mode};
use super::{Distribution, VERSION, renew, tell};
use crate::build::project_root;
use crate::dist::{BILL, LIBRARY, LIBRARY_IN_EXAMPLES, MANUAL, NOTICES, System};
use crate::wasm;

const DOC: &str = "usr/share/doc/spiderweb-fs-node";
const PRIVATE: &str = "usr/lib/spiderweb";
/// From the project, as it is: from, to, mode.
const FILES: [(&str, &str, u32); 7] = [
    (
        "packaging/systemd/spiderweb-fs-node.service",
        "usr/lib/systemd/system/spiderweb-fs-node.service",
        0o644,
    ),
    (
        "packaging/systemd/spiderweb-hub.service",
        "usr/lib/systemd/system/spiderweb-hub.service",
        0o644,
    ),
    (
        "packaging/systemd/spiderweb.sysusers",
        "usr/lib/sysusers.d/spiderweb.conf",
        0o644,
    ),
    ("packaging/debian/node.env", "etc/spiderweb/node.env", 0o644),
    ("packaging/debian/hub.env", "etc/spiderweb/hub.env", 0o644),
    (
        "packaging/debian/copyright",
        "usr/share/doc/spiderweb-fs-node/copyright",
        0o644,
    ),
    (
        "packaging/debian/lintian-overrides",
        "usr/share/lintian/overrides/spiderweb-fs-node",
        0o644,
    ),
];
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
/// From the distribution: folder, and to.
const FOLDERS: [(&str, &str); 6] = [
    ("bin", "usr/bin"),
    ("examples", "usr/share/doc/spiderweb-fs-node/examples"),
    ("include", "usr/include/spiderweb"),
    (
        "share/bash-completion/completions",
        "usr/share/bash-completion/completions",
    ),
    ("share/zsh/site-functions", "usr/share/zsh/vendor-completions"),
    (
        "share/fish/vendor_completions.d",
        "usr/share/fish/vendor_completions.d",
    ),
];

pub(super) fn make(distribution: &Distribution, revision: u32, out: &Path) -> Result<()> {
    ensure!(
        matches!(distribution.system, System::Linux | System::StaticLinux),
        "Debian does not run programs for {}",
        distribution.target
    );
    let architecture = architecture(&distribution.target)?;
    let version = format!("{VERSION}-{revision}");
    let root = out.join("deb");
    renew(&root)?;
    let tree = Tree::new(&root);
    lay_out(&tree, distribution, &version)?;
    let mut size = 0;
    let mut sums = String::new();
    for (name, path) in tree.files()? {
        size += fs::metadata(&path)?.len();
        // Writing to a string does not fail.
        let _ = writeln!(sums, "{}  {name}", md5(&path)?);
    }
    tree.write("DEBIAN/md5sums", sums.as_bytes(), 0o644)?;
    tree.write(
        "DEBIAN/conffiles",
        b"/etc/spiderweb/hub.env\n/etc/spiderweb/node.env\n",
        0o644,
    )?;
    let depends = match distribution.system {
        System::StaticLinux => String::new(),
        _ => format!(
            "Depends: libc6 (>= 2.{}), libgcc-s1\n",
            newest_glibc(&distribution.root)?
        ),
    };
    let template = fs::read_to_string(project_root().join("packaging/debian/control.in"))?;
    let control = filled(&template, |name| {
        Ok(match name {
            "VERSION" => version.clone(),
            "ARCHITECTURE" => architecture.to_owned(),
            "INSTALLED_SIZE" => size.div_ceil(1024).to_string(),
            "DEPENDS" => depends.clone(),
            _ => bail!("nothing is called {name}"),
        })
    })?;
    tree.write("DEBIAN/control", control.as_bytes(), 0o644)?;
    for script in SCRIPTS {
        tree.copy(
            &project_root().join("packaging/debian").join(script),
            &format!("DEBIAN/{script}"),
            0o755,
        )?;
    }
    let package = out.join(format!("spiderweb-fs-node_{version}_{architecture}.deb"));
    let status = Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Zxz", "--build"])
        .args([&root, &package])
        .status()
        .context("cannot run dpkg-deb, which Debian's package dpkg has")?;
    ensure!(status.success(), "dpkg-deb failed");
    tell(&package)
}

fn lay_out(tree: &Tree, distribution: &Distribution, version: &str) -> Result<()> {
    let root = &distribution.root;
    for (from, to, mode) in FILES {
        tree.copy(&project_root().join(from), to, mode)?;
    }
    for (from, to) in FOLDERS {
        tree.copy_all(root, from, to)?;
    }
    // What is no program, and names of it in the examples that are right wherever the node runs.
    let mut places = vec![(String::from("./bin/"), String::from("/usr/bin/"))];
    let module = tree.path(&format!("usr/bin/{}", wasm::MODULE));
    if module.is_file() {
        tree.copy(&module, &format!("{PRIVATE}/{}", wasm::MODULE), 0o644)?;
        fs::remove_file(module)?;
        places.insert(
            0,
            (
                format!("./bin/{}", wasm::MODULE),
                format!("/{PRIVATE}/{}", wasm::MODULE),
            ),
        );
    }
    if let Some(library) = distribution.system.library(LIBRARY) {
        tree.copy(
            &root.join("lib").join(&library),
            &format!("{PRIVATE}/{library}"),
            0o644,
        )?;
        places.push((LIBRARY_IN_EXAMPLES.to_owned(), format!("/{PRIVATE}/{library}")));
    }
    let examples = format!("{DOC}/examples/services.d");
    for entry in fs::read_dir(tree.path(&examples))? {
        let path = entry?.path();
        let mut text = fs::read_to_string(&path)?;
        for (from, to) in &places {
            text = text.replace(from, to);
        }
        fs::write(&path, text)?;
    }
    for entry in fs::read_dir(root.join(MANUAL))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        tree.compress(&fs::read(&path)?, &format!("usr/share/man/man1/{name}.gz"))?;
    }
    for name in [NOTICES, BILL] {
        tree.compress(&fs::read(root.join(name))?, &format!("{DOC}/{name}.gz"))?;
    }
    for page in [
        "operations.md",
        "client.md",
        "services.md",
        "hub.md",
        "packages.md",
    ] {
        tree.compress(
            &fs::read(project_root().join("docs").join(page))?,
            &format!("{DOC}/{page}.gz"),
        )?;
    }
    tree.compress(
        &fs::read(project_root().join("CHANGELOG.md"))?,
        &format!("{DOC}/changelog.gz"),
    )?;
    let changelog = format!(
        "spiderweb-fs-node ({version}) stable; urgency=medium\n\n  * What changed is in changelog.gz.\n\n -- the \
         spiderweb-fs-node authors <maintainers@spiderweb-fs-node.invalid>  Thu, 01 Jan 2026 00:00:00 +0000\n"
    );
    tree.compress(changelog.as_bytes(), &format!("{DOC}/changelog.Debian.gz"))?;
    let services = tree.path("etc/spiderweb/services.d");
    fs::create_dir_all(&services).context("making the folder of manifests")?;
    set_mode(&services, 0o755)
}

/// What Debian calls the machine of a target.
fn architecture(target: &str) -> Result<&'static str> {
    Ok(match target.split('-').next().unwrap_or_default() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => bail!("which architecture is {other} in Debian?"),
    })
}

/// The newest version of glibc's symbols that anything of a distribution asks for, after the `2.`.
fn newest_glibc(root: &Path) -> Result<u32> {
    let mut newest = None;
    for folder in ["bin", "lib"] {
        for entry in fs::read_dir(root.join(folder))? {
            newest = newest.max(glibc(&fs::read(entry?.path())?));
        }
    }
    newest.context("no program says which glibc it needs")
}

/// The same of one program.
fn glibc(program: &[u8]) -> Option<u32> {
    let marks = program
        .windows(8)
        .enumerate()
        .filter(|(_, bytes)| bytes == b"GLIBC_2.");
    let versions = marks.filter_map(|(at, _)| {
        let rest = program.get(at + 8..)?;
        let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        std::str::from_utf8(rest.get(..end)?).ok()?.parse::<u32>().ok()
    });
    versions.max()
}

/// A file's checksum as dpkg wants it; it is no protection against anybody.
fn md5(file: &Path) -> Result<String> {
    let output = Command::new("md5sum")
        .arg(file)
        .output()
        .context("cannot run md5sum")?;
    ensure!(output.status.success(), "md5sum failed for {}", file.display());
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_says_which_glibc_is_needed() {
        assert_eq!(glibc(b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0"), Some(34));
        assert_eq!(glibc(b"static"), None);
    }

    #[test]
    fn targets_have_the_names_that_debian_gives_them() {
        assert_eq!(architecture("aarch64-unknown-linux-musl").unwrap(), "arm64");
        assert!(architecture("riscv64gc-unknown-linux-gnu").is_err());
    }

    #[test]
    fn what_the_package_is_made_of_is_there() {
        for (from, _, _) in FILES {
            assert!(project_root().join(from).is_file(), "{from}");
        }
        let template = fs::read_to_string(project_root().join("packaging/debian/control.in")).unwrap();
        let control = filled(&template, |_| Ok(String::new())).unwrap();
        assert!(
            control.contains("Package: spiderweb-fs-node\n") && !control.contains("@VERSION"),
            "{control}"
        );
    }
}
