//! The folder a topic plays in: built, changed behind the node's back, and looked at.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{XattrFlags, lsetxattr};

use super::script::{DiskChange, DiskObject, DiskState, TreeEntry, TreeKind};

/// The modes of a recording are those of umask 022.
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// Whether files in the directory for temporary files can have extended attributes.
pub(super) fn takes_xattrs() -> Result<bool> {
    let file = tempfile::NamedTempFile::new()?;
    Ok(lsetxattr(file.path(), "user.probe", b"", XattrFlags::empty()).is_ok())
}

/// Builds the tree of a topic.
pub(super) fn build(root: &Path, tree: &[TreeEntry]) -> Result<()> {
    set_mode(root, DIRECTORY_MODE)?;
    for entry in tree {
        build_entry(root, entry).with_context(|| format!("building {}", entry.path))?;
    }
    Ok(())
}

fn build_entry(root: &Path, entry: &TreeEntry) -> Result<()> {
    let path = root.join(&entry.path);
    if let Some(parent) = path.parent() {
        make_directories(root, parent)?;
    }
    match &entry.kind {
        TreeKind::Directory => make_directories(root, &path)?,
        TreeKind::File(content) => {
            fs::write(&path, content)?;
            set_mode(&path, FILE_MODE)?;
        }
        TreeKind::Symlink(target) => symlink(target, &path)?,
        TreeKind::Hardlink(of) => fs::hard_link(root.join(of), &path)?,
    }
    if let Some(mode) = entry.mode {
        set_mode(&path, mode)?;
    }
    for (name, value) in &entry.xattrs {
        lsetxattr(&path, name, value.as_bytes(), XattrFlags::empty())?;
    }
    Ok(())
}

/// Makes missing directories with the usual mode, whatever the umask.
fn make_directories(root: &Path, path: &Path) -> Result<()> {
    for directory in path
        .ancestors()
        .take_while(|directory| *directory != root)
        .collect::<Vec<_>>()
        .iter()
        .rev()
    {
        match fs::create_dir(directory) {
            Ok(()) => set_mode(directory, DIRECTORY_MODE)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes a change behind the node's back.
pub(super) fn change(root: &Path, change: &DiskChange) -> Result<()> {
    match change {
        DiskChange::Write(path, content) => {
            let path = root.join(path);
            let is_new = !path.exists();
            fs::write(&path, content)?;
            if is_new {
                set_mode(&path, FILE_MODE)?;
            }
        }
        DiskChange::Append(path, content) => {
            fs::OpenOptions::new()
                .append(true)
                .open(root.join(path))?
                .write_all(content.as_bytes())?;
        }
        DiskChange::Unlink(path) => fs::remove_file(root.join(path))?,
        DiskChange::Mkdir(path) => make_directories(root, &root.join(path))?,
        DiskChange::Rename(from, to) => fs::rename(root.join(from), root.join(to))?,
        DiskChange::Chmod(path, mode) => set_mode(&root.join(path), *mode)?,
        DiskChange::Rmtree(path) => fs::remove_dir_all(root.join(path))?,
        DiskChange::Symlink(path, target) => symlink(target, root.join(path))?,
    }
    Ok(())
}

/// Compares what is on the disk with what should be.
pub(super) fn check(root: &Path, state: &DiskState) -> Result<()> {
    let path = root.join(&state.path);
    let metadata = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            ensure!(
                state.object == DiskObject::Missing,
                "{} does not exist",
                state.path
            );
            return Ok(());
        }
        Err(error) => return Err(error).with_context(|| format!("looking at {}", state.path)),
    };
    let mode = metadata.permissions().mode() & 0o7777;
    let kind = metadata.file_type();
    match &state.object {
        DiskObject::Missing => bail!("{} exists", state.path),
        DiskObject::Directory(want) => {
            ensure!(
                kind.is_dir() && mode == *want,
                "{} is {kind:?} with mode {mode:04o}",
                state.path
            );
        }
        DiskObject::Symlink(want) => {
            ensure!(kind.is_symlink(), "{} is {kind:?}", state.path);
            let target = fs::read_link(&path)?;
            ensure!(
                target == Path::new(want),
                "{} leads to {}",
                state.path,
                target.display()
            );
        }
        DiskObject::File(want, content) => {
            ensure!(
                kind.is_file() && mode == *want,
                "{} is {kind:?} with mode {mode:04o}",
                state.path
            );
            let got = fs::read(&path)?;
            ensure!(got == *content, "{} holds {} other bytes", state.path, got.len());
        }
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}
