//! What a local directory holds, taken down before anything of it is copied.
//!
//! The copy may go to where it comes from: a node on this machine may export the directory, or one above it. Who read
//! directories while filling others would find the copy there, copy it, too, and never come to an end.

use std::path::{Path, PathBuf};

use spiderweb_client::{RemotePath, is_partial_name};

use super::entry_name;
use crate::failure::Failure;

/// Something that is to be copied.
pub(super) struct Entry {
    pub(super) local: PathBuf,
    /// Where it goes.
    pub(super) path: RemotePath,
    pub(super) kind: Kind,
}

/// What it is.
pub(super) enum Kind {
    File,
    Directory,
    Link,
}

/// Everything below `source`, and where it goes when that becomes `target`; what cannot be copied is a failure in its
/// place. Every directory comes before what is in it. Unfinished copies of this client are left out.
pub(super) async fn below(
    source: &Path,
    target: &RemotePath,
) -> Result<Vec<Result<Entry, Failure>>, Failure> {
    let top = (source.to_owned(), target.clone());
    let read = tokio::task::spawn_blocking(|| collect(top)).await;
    read.map_err(|error| Failure::message(format!("reading {} ended early: {error}", source.display())))
}

fn collect(top: (PathBuf, RemotePath)) -> Vec<Result<Entry, Failure>> {
    let mut found = Vec::new();
    let mut waiting = vec![top];
    while let Some((dir, path)) = waiting.pop() {
        let cannot = |error| Failure::local(cannot_read(&dir), error);
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) => {
                found.push(Err(cannot(error)));
                continue;
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) if is_partial_name(&entry.file_name().to_string_lossy()) => continue,
                Ok(entry) => examine(&entry, &path),
                // The rest of the directory is not to be had.
                Err(error) => {
                    found.push(Err(cannot(error)));
                    break;
                }
            };
            if let Ok(Entry {
                local,
                path,
                kind: Kind::Directory,
            }) = &entry
            {
                waiting.push((local.clone(), path.clone()));
            }
            found.push(entry);
        }
    }
    found
}

fn examine(entry: &std::fs::DirEntry, above: &RemotePath) -> Result<Entry, Failure> {
    let local = entry.path();
    let path = above.join(entry_name(&local)?);
    let found = entry.file_type();
    let found = found.map_err(|error| Failure::local(cannot_read(&local), error))?;
    let kind = if found.is_dir() {
        Kind::Directory
    } else if found.is_symlink() {
        Kind::Link
    } else if found.is_file() {
        Kind::File
    } else {
        return Err(Failure::message(format!(
            "{} is no file, directory or link and was left out",
            local.display()
        )));
    };
    Ok(Entry { local, path, kind })
}

pub(super) fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}
