//! Compares the disk with what clients were told, and says what is new.

use std::collections::HashSet;

use spiderweb_protocol::fs::{Change, Event};

use super::super::attr::{self, Kind};
use super::super::disk::{self, Handle, LOOK, Stat, stat_entry};
use super::super::inodes::Index;

use super::super::shared::Shared;
use crate::{FsError, Patience};

/// Something to look at: a directory by its id, and the name in it that an event was about.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Dirty {
    pub(super) directory: u64,
    pub(super) name: Option<Box<str>>,
}

/// What a round found.
#[derive(Default)]
pub(super) struct Findings {
    /// Directories first, then files: clients drop listings before they ask for attributes.
    directories: Vec<u64>,
    objects: Vec<u64>,
    /// Under change by our own requests; to be looked at again.
    pub(super) busy: HashSet<Dirty>,
}

impl Findings {
    pub(super) fn events(&self, shared: &Shared) -> Vec<Event> {
        let ids = |locals: &[u64]| {
            let mut seen = HashSet::new();
            let fresh: Vec<u64> = locals
                .iter()
                .copied()
                .filter(|local| seen.insert(*local))
                .collect();
            fresh
                .into_iter()
                .filter_map(|local| shared.id(local).ok())
                .collect::<Vec<_>>()
        };
        let directories = ids(&self.directories)
            .into_iter()
            .map(|id| Event::Directory { id });
        let objects = ids(&self.objects).into_iter();
        directories
            .chain(objects.map(|id| Event::Inode {
                id,
                change: Change::All,
                generation: None,
            }))
            .collect()
    }

    fn changed(&mut self, local: u64, kind: Kind) {
        if kind == Kind::Directory {
            self.directories.push(local);
        }
        self.objects.push(local);
    }
}

/// Looks at everything that is dirty. Names that exist come before names that are gone, so that what moved is
/// found in its new place before it is missed in the old one.
pub(super) fn compare(shared: &Shared, dirty: HashSet<Dirty>) -> Findings {
    let mut findings = Findings::default();
    let mut gone = Vec::new();
    for entry in dirty {
        if is_busy(shared, &entry) {
            findings.busy.insert(entry);
            continue;
        }
        // A directory that cannot be looked at any more is its parent's news.
        if let Ok(false) = look_at(shared, &entry, &mut findings) {
            gone.push(entry);
        }
    }
    for Dirty { directory, name } in gone {
        let mut inodes = shared.inodes();
        let child = inodes
            .find(directory)
            .zip(name)
            .and_then(|(parent, name)| inodes.child(parent, &name));
        if let Some(child) = child {
            let kind = inodes.known(child).map_or(Kind::File, |known| known.kind);
            findings.changed(inodes.local(child), kind);
            inodes.detach(child);
        }
    }
    findings
}

fn is_busy(shared: &Shared, entry: &Dirty) -> bool {
    let inodes = shared.inodes();
    let Some(directory) = inodes.find(entry.directory) else {
        return false;
    };
    let child = entry.name.as_ref().and_then(|name| inodes.child(directory, name));
    [Some(directory), child]
        .into_iter()
        .flatten()
        .any(|index| inodes.known(index).is_some_and(|known| known.busy))
}

/// Opens an object clients know. `watch`: if it is a watched directory it may be a new one under an old number,
/// and is watched again before its state is read.
fn look_again(shared: &Shared, index: Index, watch: bool) -> Result<(Handle, Stat), FsError> {
    shared.at(index, Patience::Blocking, |place| {
        let file = shared.root.open_at(&place.path, LOOK, Patience::Blocking)?;
        if watch {
            shared.watch_again(index, &file);
        }
        let stat = disk::stat(&file)?;
        shared.verify(index, place.object, &stat)?;
        Ok((file, stat))
    })
}

/// Compares a directory and one name in it. `false`: the name is gone.
fn look_at(shared: &Shared, entry: &Dirty, findings: &mut Findings) -> Result<bool, FsError> {
    let index = shared.inodes().find(entry.directory).ok_or(FsError::NotFound)?;
    let (directory, stat) = look_again(shared, index, entry.name.is_none())?;
    note(shared, index, &stat, findings);
    let Some(name) = &entry.name else { return Ok(true) };
    match stat_entry(&directory, name) {
        Ok(stat) => {
            entry_exists(shared, index, name, &stat, findings);
            Ok(true)
        }
        Err(FsError::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A name that exists: the object clients know under it, another one that took its place, or one that moved here.
fn entry_exists(shared: &Shared, directory: Index, name: &str, stat: &Stat, findings: &mut Findings) {
    let mut inodes = shared.inodes();
    let object = attr::object(stat);
    let here = inodes.child(directory, name);
    if let Some(here) = here.filter(|here| inodes.object(*here) != Some(object)) {
        let kind = inodes.known(here).map_or(Kind::File, |known| known.kind);
        findings.changed(inodes.local(here), kind);
        inodes.detach(here);
    }
    if attr::kind(stat) == Kind::Link {
        // Links have no id; clients know their target, and the directory's own change told them to ask again.
        return;
    }
    let Some(known) = inodes.find_object(object) else {
        return;
    };
    let moved = inodes.child(directory, name) != Some(known);
    if moved {
        // It may be a second name of the same file; the last one seen counts, as everywhere.
        inodes.rename(known, directory, name);
    }
    drop(inodes);
    note(shared, known, stat, findings);
}

/// Compares an object's state with what clients were told of it.
fn note(shared: &Shared, index: Index, stat: &Stat, findings: &mut Findings) {
    let stamp = attr::stamp(stat);
    let mut inodes = shared.inodes();
    let Some(known) = inodes.known(index) else { return };
    if known.busy {
        let entry = Dirty {
            directory: inodes.local(index),
            name: None,
        };
        findings.busy.insert(entry);
    } else if known.stamp != stamp {
        inodes.set_stamp(index, stamp);
        findings.changed(inodes.local(index), known.kind);
    }
}

/// Looks at everything clients know, after events were lost.
pub(super) fn compare_all(shared: &Shared) -> Findings {
    let mut findings = Findings::default();
    let locals: Vec<u64> = {
        let inodes = shared.inodes();
        inodes.all().map(|index| inodes.local(index)).collect()
    };
    for local in locals {
        // One lock at a time: requests go on meanwhile.
        let Some(index) = shared.inodes().find(local) else {
            continue;
        };
        if let Ok((_, stat)) = look_again(shared, index, true) {
            note(shared, index, &stat, &mut findings);
        } else {
            let kind = shared
                .inodes()
                .known(index)
                .map_or(Kind::File, |known| known.kind);
            findings.changed(local, kind);
        }
    }
    findings
}
