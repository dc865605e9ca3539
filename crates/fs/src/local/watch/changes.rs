//! Compares the disk with what clients were told, and says what is new.

use std::collections::HashSet;

use spiderweb_protocol::fs::{Change, Event};

use super::super::attr::{self, Kind};
use super::super::disk::{self, Handle, LOOK, Stat, stat_entry};
use super::super::inodes::{Index, Inodes, Turn};

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

    /// The root is gone, and may be made anew at any moment: nothing is forgotten.
    fn all_known(&mut self, inodes: &Inodes) {
        for index in std::iter::once(Index::ROOT).chain(inodes.below(Index::ROOT)) {
            let kind = inodes.known(index).map_or(Kind::File, |known| known.kind);
            self.changed(inodes.local(index), kind);
        }
    }

    /// Directories that are not where they were, and what clients know below them.
    fn all_lost(&mut self, shared: &Shared) {
        for (local, kind) in shared.inodes().take_lost() {
            self.changed(local, kind);
        }
    }

    /// A name that means nothing any more, or something else: what clients know under it has changed.
    fn lost(&mut self, inodes: &mut Inodes, parent: Index, name: &str) {
        let Some(index) = inodes.named(parent, name) else {
            return;
        };
        let kind = inodes.known(index).map_or(Kind::File, |known| known.kind);
        self.changed(inodes.local(index), kind);
        inodes.unname(parent, name);
    }
}

/// Looks at everything that is dirty. Names that exist come before names that are gone, so that what moved is
/// found in its new place before it is missed in the old one.
pub(super) fn compare(shared: &Shared, dirty: HashSet<Dirty>) -> Findings {
    let mut findings = Findings::default();
    let mut gone = Vec::new();
    let root = shared.inodes().root_local();
    let mut root_is_gone = false;
    for entry in dirty {
        if is_busy(shared, &entry) {
            findings.busy.insert(entry);
            continue;
        }
        // A directory that cannot be looked at any more is its parent's news; the root has none.
        match look_at(shared, &entry, &mut findings) {
            Ok(Some(seen)) => gone.push((entry, seen)),
            Err(FsError::NotFound) if entry.directory == root => root_is_gone = true,
            _ => {}
        }
    }
    if root_is_gone {
        findings.all_known(&shared.inodes());
    }
    for (entry, seen) in gone {
        let mut inodes = shared.inodes();
        let Some(parent) = inodes.find(entry.directory) else {
            continue;
        };
        if has_moved_on(&inodes, parent, seen) {
            // We made something of that name meanwhile.
            findings.busy.insert(entry);
            continue;
        }
        if let Some(name) = &entry.name {
            findings.lost(&mut inodes, parent, name);
        }
    }
    findings.all_lost(shared);
    findings
}

fn is_busy(shared: &Shared, entry: &Dirty) -> bool {
    let inodes = shared.inodes();
    let Some(directory) = inodes.find(entry.directory) else {
        return false;
    };
    let child = entry.name.as_ref().and_then(|name| inodes.named(directory, name));
    [Some(directory), child]
        .into_iter()
        .flatten()
        .any(|index| inodes.known(index).is_some_and(|known| known.busy))
}

/// Whether a change of our own has begun or ended since then.
fn has_moved_on(inodes: &Inodes, index: Index, seen: Turn) -> bool {
    inodes
        .known(index)
        .is_none_or(|known| known.busy || known.turn != seen)
}

/// Opens an object clients know, and says since when it has been looked at. `watch`: if it is a watched directory it may
/// be a new one under an old number, and is watched again before its state is read.
fn look_again(shared: &Shared, index: Index, watch: bool) -> Result<(Turn, Handle, Stat), FsError> {
    let turn = shared.inodes().known(index).ok_or(FsError::NotFound)?.turn;
    shared.at(index, Patience::Blocking, |place| {
        let file = shared.root.open_at(&place.path, LOOK, Patience::Blocking)?;
        if watch {
            shared.watch_again(index, &file);
        }
        let stat = disk::stat(&file)?;
        shared.verify(index, place.object, &stat)?;
        Ok((turn, file, stat))
    })
}

/// Compares a directory and one name in it. If the name is gone: since when the directory has been looked at.
fn look_at(shared: &Shared, entry: &Dirty, findings: &mut Findings) -> Result<Option<Turn>, FsError> {
    let index = shared.inodes().find(entry.directory).ok_or(FsError::NotFound)?;
    let (seen, directory, stat) = look_again(shared, index, entry.name.is_none())?;
    note(shared, index, seen, &stat, findings);
    let Some(name) = &entry.name else { return Ok(None) };
    match stat_entry(&directory, name) {
        Ok(stat) => {
            if let Some((known, turn)) = entry_exists(shared, (index, seen), entry, &stat, findings) {
                // Its state again: the first one may be from before the moment that its turn tells.
                match stat_entry(&directory, name) {
                    Ok(now) if attr::object(&now) == attr::object(&stat) => {
                        note(shared, known, turn, &now, findings);
                    }
                    _ => _ = findings.busy.insert(entry.clone()),
                }
            }
            Ok(None)
        }
        Err(FsError::NotFound) => Ok(Some(seen)),
        Err(error) => Err(error),
    }
}

/// A name that exists: the object clients know under it, another one that took its place, or one that moved here. Returns
/// the object that clients know, whose state is to be compared.
fn entry_exists(
    shared: &Shared,
    (directory, seen): (Index, Turn),
    entry: &Dirty,
    stat: &Stat,
    findings: &mut Findings,
) -> Option<(Index, Turn)> {
    let name = entry.name.as_deref()?;
    let mut inodes = shared.inodes();
    if has_moved_on(&inodes, directory, seen) {
        // What the name means may be our own doing by now.
        findings.busy.insert(entry.clone());
        return None;
    }
    let object = attr::object(stat);
    let here = inodes.named(directory, name);
    if here.is_some_and(|here| inodes.object(here) != Some(object)) {
        findings.lost(&mut inodes, directory, name);
    }
    if attr::kind(stat) == Kind::Link {
        // Links have no id; clients know their target, and the directory's own change told them to ask again.
        return None;
    }
    let known = inodes.find_object(object)?;
    let moved = inodes.child(directory, name) != Some(known);
    if moved {
        // It may be a second name of the same file; the last one seen counts, as everywhere.
        inodes.found(known, directory, name, attr::has_several_names(stat));
    }
    Some((known, inodes.known(known)?.turn))
}

/// Compares an object's state, seen in this turn, with what clients were told of it.
fn note(shared: &Shared, index: Index, seen: Turn, stat: &Stat, findings: &mut Findings) {
    let stamp = attr::stamp(stat);
    let mut inodes = shared.inodes();
    let Some(known) = inodes.known(index) else { return };
    if has_moved_on(&inodes, index, seen) {
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
        if let Ok((seen, _, stat)) = look_again(shared, index, true) {
            note(shared, index, seen, &stat, &mut findings);
        } else {
            let kind = shared
                .inodes()
                .known(index)
                .map_or(Kind::File, |known| known.kind);
            findings.changed(local, kind);
        }
    }
    findings.all_lost(shared);
    findings
}
