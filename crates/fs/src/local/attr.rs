//! What the system says about an object, in the words of the wire.

use spiderweb_protocol::InodeId;
use spiderweb_protocol::fs::{Attr, FileKind};

use super::disk::{self, Stat, raw};

/// Identity of an object as long as it exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Object {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// State of an object, to tell whether it changed: times, size and mode in one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Stamp(u64);

/// The sorts of objects that are treated differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    File,
    Directory,
    Link,
    /// A FIFO, socket or device: visible, never opened.
    Special,
}

/// Owner shown for every file: the node's own user, as numbers of another machine mean nothing to a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    pub(super) fn of_this_process() -> Self {
        let (user, group) = disk::owner();
        Self { user, group }
    }
}

pub(super) fn object(stat: &Stat) -> Object {
    Object {
        device: raw::device(stat),
        inode: raw::inode(stat),
    }
}

pub(super) fn kind(stat: &Stat) -> Kind {
    raw::kind(stat)
}

pub(super) fn is_gone(stat: &Stat) -> bool {
    raw::links(stat) == 0
}

/// Whether an object has more names than one, all of them its own (hard links).
pub(super) fn has_several_names(stat: &Stat) -> bool {
    kind(stat) != Kind::Directory && raw::links(stat) > 1
}

pub(super) fn stamp(stat: &Stat) -> Stamp {
    let mut state = 0_u64;
    for part in [
        raw::changed(stat) as u64,
        raw::modified(stat) as u64,
        raw::size(stat),
        u64::from(raw::mode(stat)),
    ] {
        // Rotated before the next part comes in: equal times must not cancel each other out.
        state = (state ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    Stamp(state)
}

pub(super) fn generation(stat: &Stat) -> u64 {
    u64::try_from(raw::modified(stat)).unwrap_or(0)
}

pub(super) fn attr(id: InodeId, stat: &Stat, owner: Owner) -> Attr {
    let directory = kind(stat) == Kind::Directory;
    Attr {
        id: id.get(),
        k: Attr::wire_kind(if directory {
            FileKind::Directory
        } else {
            FileKind::File
        }),
        m: raw::mode(stat),
        n: if directory { 2 } else { raw::links(stat) },
        u: owner.user,
        g: owner.group,
        sz: raw::size(stat),
        at: raw::accessed(stat),
        mt: raw::modified(stat),
        ct: raw::changed(stat),
        generation: generation(stat),
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_tells_every_change() {
        let before = rustix::fs::stat(std::env::temp_dir()).unwrap();
        let change = |change: fn(&mut Stat)| {
            let mut stat = before;
            (stat.st_mtime, stat.st_mtime_nsec) = (stat.st_ctime, stat.st_ctime_nsec);
            let unchanged = stamp(&stat);
            change(&mut stat);
            assert_ne!(stamp(&stat), unchanged);
        };
        change(|stat| stat.st_ctime_nsec ^= 1);
        change(|stat| stat.st_size += 1);
        change(|stat| stat.st_mode ^= 0o100);
        // What a new entry does to a directory: both times move to the same moment.
        change(|stat| (stat.st_mtime, stat.st_ctime) = (stat.st_mtime + 1, stat.st_ctime + 1));
    }
}
