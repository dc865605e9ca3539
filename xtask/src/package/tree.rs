//! A tree of files that becomes a package.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

#[cfg(not(unix))]
use anyhow::bail;
use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};

use super::mode;

/// The tree that becomes the package.
pub(super) struct Tree(PathBuf);

impl Tree {
    pub(super) fn new(root: &Path) -> Self {
        Self(root.to_owned())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn write(&self, to: &str, content: &[u8], mode: u32) -> Result<()> {
        let path = self.path(to);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        set_mode(&path, mode)
    }

    pub(super) fn copy(&self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        self.write(to, &content, mode)
    }

    /// Copies a folder of a distribution with everything in it.
    pub(super) fn copy_all(&self, distribution: &Path, from: &str, to: &str) -> Result<()> {
        let folder = distribution.join(from);
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let [from, to] = [from, to].map(|folder| format!("{folder}/{name}"));
            if path.is_dir() {
                self.copy_all(distribution, &from, &to)?;
            } else {
                self.copy(&path, &to, mode(&from))?;
            }
        }
        Ok(())
    }

    /// Writes a file as `gzip` would.
    pub(super) fn compress(&self, content: &[u8], to: &str) -> Result<()> {
        // Neither a name nor a time, so that the same content is the same file.
        let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
        encoder.write_all(content)?;
        self.write(to, &encoder.finish()?, 0o644)
    }

    /// Every file by its path in the package.
    pub(super) fn files(&self) -> Result<BTreeMap<String, PathBuf>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            set_mode(&folder, 0o755)?;
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&self.0)?.to_string_lossy().into_owned();
                    files.insert(name, path);
                }
            }
        }
        Ok(files)
    }
}

#[cfg(unix)]
pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("setting the mode of {}", path.display()))
}

#[cfg(not(unix))]
pub(super) fn set_mode(_path: &Path, _mode: u32) -> Result<()> {
    bail!("a Debian package is made where files have modes")
}
