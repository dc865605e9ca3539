//! A folder that is being laid out, and what was put there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// The name of the list of checksums.
pub(crate) const SUMS: &str = "SHA256SUMS";

/// What was laid out so far. Files of the same names are replaced; what else is in the folder is left alone.
#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    /// Paths from the root, with slashes.
    files: BTreeSet<String>,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            files: BTreeSet::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Puts one artifact where it belongs, says so, and returns its size.
    pub(crate) fn place(&mut self, from: &Path, to: &str, remark: &str) -> Result<u64> {
        self.copy(from, to)?;
        let size = fs::metadata(from)?.len();
        let remark = if remark.is_empty() {
            String::new()
        } else {
            format!("  ({remark})")
        };
        println!("{size:>12}  {to}{remark}");
        Ok(size)
    }

    /// Copies a file, or a folder with everything in it.
    pub(crate) fn copy(&mut self, from: &Path, to: &str) -> Result<()> {
        let describe = || format!("copying {} to {to}", from.display());
        if from.is_dir() {
            for entry in fs::read_dir(from).with_context(describe)? {
                let entry = entry?;
                let name = entry.file_name();
                self.copy(&entry.path(), &format!("{to}/{}", name.to_string_lossy()))?;
            }
            return Ok(());
        }
        let partial = self.partial(to)?;
        fs::copy(from, &partial).with_context(describe)?;
        self.finish(&partial, to)
    }

    pub(crate) fn write(&mut self, to: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let partial = self.partial(to)?;
        fs::write(&partial, content).with_context(|| format!("writing {to}"))?;
        self.finish(&partial, to)
    }

    /// Changes a text that is there.
    pub(crate) fn rewrite(&mut self, name: &str, change: impl FnOnce(&str) -> String) -> Result<()> {
        let text = fs::read_to_string(self.path(name)).with_context(|| format!("reading {name}"))?;
        self.write(name, change(&text))
    }

    /// Takes a file out again.
    pub(crate) fn remove(&mut self, name: &str) -> Result<()> {
        self.files.remove(name);
        fs::remove_file(self.path(name)).with_context(|| format!("removing {name}"))
    }

    /// Writes the checksums of everything, as `sha256sum --check` reads them.
    pub(crate) fn sum(&self) -> Result<()> {
        let mut text = String::new();
        for name in &self.files {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}  {name}", sha256(&self.path(name))?);
        }
        fs::write(self.path(SUMS), text).context("writing the checksums")
    }

    /// Where a file is made, so that it takes the place of an older one at once: one that is running does not matter.
    fn partial(&self, to: &str) -> Result<PathBuf> {
        let path = self.path(to);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        }
        let mut partial = path.into_os_string();
        partial.push(".part");
        Ok(partial.into())
    }

    fn finish(&mut self, partial: &Path, to: &str) -> Result<()> {
        fs::rename(partial, self.path(to)).with_context(|| format!("making {to}"))?;
        self.files.insert(to.to_owned());
        Ok(())
    }
}

/// A file's checksum in hexadecimal digits.
pub(crate) fn sha256(file: &Path) -> Result<String> {
    let content = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let mut text = String::new();
    for byte in Sha256::digest(&content) {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_replace_files_and_keep_what_is_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("inner")).unwrap();
        fs::create_dir_all(&to).unwrap();
        fs::write(from.join("inner/a"), "new").unwrap();
        fs::write(from.join("b"), "new").unwrap();
        fs::write(to.join("c"), "mine").unwrap();
        fs::create_dir(to.join("x")).unwrap();
        fs::write(to.join("x/b"), "old").unwrap();
        let mut layout = Layout::new(&to);
        layout.copy(&from, "x").unwrap();
        for (path, text) in [("x/inner/a", "new"), ("x/b", "new"), ("c", "mine")] {
            assert_eq!(fs::read_to_string(to.join(path)).unwrap(), text);
        }
    }

    #[test]
    fn checksums_are_of_what_was_laid_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("stranger"), "").unwrap();
        let mut layout = Layout::new(dir.path());
        layout.write("b/text", "abc").unwrap();
        layout.write("gone", "").unwrap();
        layout.remove("gone").unwrap();
        layout.write("a", "").unwrap();
        layout.rewrite("a", |text| format!("{text}abc")).unwrap();
        layout.sum().unwrap();
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            fs::read_to_string(dir.path().join(SUMS)).unwrap(),
            format!("{sum}  a\n{sum}  b/text\n")
        );
    }
}
