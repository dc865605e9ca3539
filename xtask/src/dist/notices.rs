//! The licences of everything that is in the programs and not ours.
//!
//! Texts are those that packages have in their sources. The few that have none get the text of the licence they name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::dependencies::{Package, Packages};
use super::system::System;
use crate::build::project_root;

/// How files with licences begin.
const NAMES: [&str; 5] = ["licen", "copying", "notice", "unlicense", "copyright"];
/// Texts for packages that have none, by what their licence contains; the first that fits counts.
const FALLBACKS: [(&str, &str); 2] = [
    ("MIT", "packaging/licenses/MIT"),
    (
        "Apache-2.0 WITH LLVM-exception",
        "packaging/licenses/Apache-2.0_WITH_LLVM-exception",
    ),
];
/// What comes with the compiler and the system's library and is in no list of cargo's.
const RUST: &str = "The Rust standard library";
const MUSL: &str = "musl, the C library of the statically linked programs";

/// The text of all notices.
pub(super) fn text(packages: &Packages, system: System) -> Result<String> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((name, version), package) in packages {
        // Ours are under the LICENSE beside this.
        if package.folder.starts_with(project_root()) {
            continue;
        }
        let owner = format!("{name} {version} ({})", package.license);
        for text in of_package(package).with_context(|| owner.clone())? {
            texts.entry(text).or_default().push(owner.clone());
        }
    }
    let mit = read(&project_root().join("packaging/licenses/MIT"))?;
    let mut extra = |what: &str, holder: &str| {
        texts.insert(
            format!("Copyright (c) {holder}\n\n{mit}"),
            vec![format!("{what} (MIT)")],
        );
    };
    extra(RUST, "The Rust Project Contributors");
    if system == System::StaticLinux {
        extra(MUSL, "2005-2020 Rich Felker, et al.");
    }
    let mut all =
        "What the programs contain besides their own code, and the licences it is under.\n".to_owned();
    let mut texts: Vec<_> = texts.into_iter().collect();
    texts.sort_by(|(_, left), (_, right)| left.cmp(right));
    for (text, owners) in texts {
        let line = "-".repeat(80);
        // Writing to a string does not fail.
        let _ = write!(all, "\n{line}\n{}\n{line}\n\n{text}\n", owners.join("\n"));
    }
    Ok(all)
}

/// A package's licence texts.
fn of_package(package: &Package) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(&package.folder).context("its sources are not here")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if NAMES.iter().any(|beginning| name.starts_with(beginning)) && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    if !files.is_empty() {
        return files.iter().map(|file| read(file)).collect();
    }
    let fallback = FALLBACKS.iter().find(|(part, _)| package.license.contains(part));
    let Some((_, file)) = fallback else {
        bail!(
            "it has no licence text, and there is none for {}",
            package.license
        );
    };
    let mut text = String::new();
    if !package.authors.is_empty() {
        let _ = write!(text, "Copyright (c) {}\n\n", package.authors.join(", "));
    }
    text.push_str(&read(&project_root().join(file))?);
    Ok(vec![text])
}

/// A text without what differs from copy to copy and means nothing.
fn read(file: &Path) -> Result<String> {
    let text = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    Ok(lines.join("\n").trim_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(folder: &Path, license: &str) -> Package {
        Package {
            license: license.to_owned(),
            authors: vec!["Ada".to_owned()],
            folder: folder.to_owned(),
            ..Package::default()
        }
    }

    #[test]
    fn equal_texts_are_printed_once_and_missing_ones_come_from_the_project() {
        let dir = tempfile::tempdir().unwrap();
        let mut packages = Packages::new();
        for (name, text) in [("a", Some("Free.  \r\n")), ("b", Some("Free.\n\n")), ("c", None)] {
            let folder = dir.path().join(name);
            fs::create_dir(&folder).unwrap();
            if let Some(text) = text {
                fs::write(folder.join("LICENSE-MIT"), text).unwrap();
            }
            packages.insert((name.to_owned(), "1".to_owned()), package(&folder, "MIT OR Zlib"));
        }
        let text = text(&packages, System::StaticLinux).unwrap();
        assert_eq!(text.matches("Free.").count(), 1);
        for words in [
            "a 1 (MIT OR Zlib)\nb 1",
            "Copyright (c) Ada\n\nPermission",
            RUST,
            MUSL,
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
    }

    #[test]
    fn a_licence_that_nobody_has_the_text_of_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(of_package(&package(dir.path(), "Strange-1.0")).is_err());
        assert!(of_package(&package(&dir.path().join("nowhere"), "MIT")).is_err());
    }
}
