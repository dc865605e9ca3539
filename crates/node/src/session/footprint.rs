//! Which requests of one session must keep their order.
//!
//! A later request may overtake an earlier one unless somebody could tell from the answers. Requests of
//! different sessions are never ordered.

use spiderweb_protocol::fs::{LockKind, Request};
use spiderweb_protocol::{HandleId, InodeId};

/// What a request touches, as far as order goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Footprint {
    /// Touches nothing that can change.
    Nothing,
    /// Reads an open file.
    Read {
        handle: HandleId,
        inode: Option<InodeId>,
    },
    /// Writes an open file, and so changes its attributes wherever they are seen.
    Write {
        handle: HandleId,
        inode: Option<InodeId>,
    },
    /// Ends a handle.
    Close {
        handle: HandleId,
        inode: Option<InodeId>,
    },
    /// Takes or gives back a handle's lock; one that would not wait for its holder does not wait for its order.
    Lock { handle: HandleId, waits: bool },
    /// Looks at names or attributes of an export.
    Look { export: Option<usize> },
    /// Changes names, attributes or, where an inode is named, content.
    Change {
        export: Option<usize>,
        inode: Option<InodeId>,
    },
}

impl Footprint {
    /// Of a request; `inode_of` knows which file a handle is open on.
    pub(super) fn of(request: &Request, inode_of: impl Fn(HandleId) -> Option<InodeId>) -> Self {
        match request {
            Request::Exports => Self::Nothing,
            Request::Read { handle, .. } => Self::Read {
                handle: *handle,
                inode: inode_of(*handle),
            },
            Request::Write { handle, .. } => Self::Write {
                handle: *handle,
                inode: inode_of(*handle),
            },
            Request::Close { handle } => Self::Close {
                handle: *handle,
                inode: inode_of(*handle),
            },
            Request::Lock { handle, kind, wait } => Self::Lock {
                handle: *handle,
                waits: *wait || *kind == LockKind::Unlock,
            },
            Request::Open { id, flags } if !flags.truncates() => Self::Look {
                export: id.export_index(),
            },
            Request::Statfs { id }
            | Request::Getattr { id }
            | Request::Getxattr { id, .. }
            | Request::Listxattr { id }
            | Request::Lookup { parent: id, .. }
            | Request::Readdirp { dir: id, .. } => Self::Look {
                export: id.export_index(),
            },
            Request::Open { id, .. }
            | Request::Truncate { id, .. }
            | Request::Setxattr { id, .. }
            | Request::Removexattr { id, .. } => Self::Change {
                export: id.export_index(),
                inode: Some(*id),
            },
            Request::Symlink { parent, .. }
            | Request::Create { parent, .. }
            | Request::Unlink { parent, .. }
            | Request::Mkdir { parent, .. }
            | Request::Rmdir { parent, .. }
            | Request::Rename {
                old_parent: parent, ..
            } => Self::Change {
                export: parent.export_index(),
                inode: None,
            },
        }
    }

    /// Whether the order of two requests can be told from their answers. Symmetric.
    #[expect(clippy::match_same_arms, reason = "one arm is one rule")]
    pub(super) fn conflicts(&self, other: &Self) -> bool {
        use Footprint::{Change, Close, Lock, Look, Nothing, Read, Write};
        match (self, other) {
            (Nothing, _) | (_, Nothing) | (Look { .. }, Look { .. }) | (Read { .. }, Read { .. }) => false,
            (Look { export: a }, Change { export: b, .. })
            | (Change { export: a, .. }, Look { export: b } | Change { export: b, .. }) => a == b,
            // A write shows in the attributes of its file, under whatever name they are asked for.
            (Write { inode, .. }, Look { export }) | (Look { export }, Write { inode, .. }) => {
                inode.is_none_or(|inode| inode.export_index() == *export)
            }
            (Read { .. } | Close { .. } | Lock { .. }, Look { .. })
            | (Look { .. }, Read { .. } | Close { .. } | Lock { .. })
            | (Lock { .. }, Change { .. })
            | (Change { .. }, Lock { .. }) => false,
            (
                Read { inode: a, .. } | Write { inode: a, .. } | Close { inode: a, .. },
                Change { inode: b, .. },
            )
            | (
                Change { inode: b, .. },
                Read { inode: a, .. } | Write { inode: a, .. } | Close { inode: a, .. },
            ) => b.is_some() && (a.is_none() || a == b),
            (
                Read { handle: h, inode: a } | Write { handle: h, inode: a } | Close { handle: h, inode: a },
                Read { handle: i, inode: b } | Write { handle: i, inode: b } | Close { handle: i, inode: b },
            ) => h == i || (a.is_some() && a == b),
            // A lock does not order data, and closing its handle ends a wait for it.
            (
                Lock {
                    handle: a,
                    waits: true,
                },
                Lock {
                    handle: b,
                    waits: true,
                },
            ) => a == b,
            (Lock { .. }, Lock { .. }) => false,
            (Lock { .. }, Read { .. } | Write { .. } | Close { .. })
            | (Read { .. } | Write { .. } | Close { .. }, Lock { .. }) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use Footprint::{Change, Close, Lock, Look, Nothing, Read, Write};

    use super::*;

    #[test]
    fn order_is_kept_exactly_where_it_shows() {
        let h = |number| HandleId::new(number).unwrap();
        let file = InodeId::compose(0, 5).unwrap();
        let other = InodeId::compose(0, 6).unwrap();
        let read = |handle, inode| Read {
            handle: h(handle),
            inode: Some(inode),
        };
        let write = |handle, inode| Write {
            handle: h(handle),
            inode: Some(inode),
        };
        let lock = |handle| Lock {
            handle: h(handle),
            waits: true,
        };
        let look = |export| Look { export: Some(export) };
        let names = Change {
            export: Some(0),
            inode: None,
        };
        let truncate = Change {
            export: Some(0),
            inode: Some(file),
        };
        for (a, b, conflict, why) in [
            (read(1, file), read(1, file), false, "reads commute"),
            (write(1, file), read(1, file), true, "read what was written"),
            (write(1, file), read(2, file), true, "through another handle too"),
            (write(1, file), write(2, other), false, "different files"),
            (write(1, file), look(0), true, "size and time show in any lookup"),
            (write(1, file), look(1), false, "not in another export"),
            (look(0), look(0), false, "looking changes nothing"),
            (names, look(0), true, "a created file is found"),
            (names, look(1), false, "elsewhere it is not"),
            (names, names, true, "create, then unlink"),
            (
                names,
                write(1, file),
                false,
                "an open file does not care for names",
            ),
            (truncate, write(1, file), true, "truncate, then write"),
            (truncate, read(1, other), false, "another file"),
            (
                Close {
                    handle: h(1),
                    inode: Some(file),
                },
                read(1, file),
                true,
                "a closed handle is unknown",
            ),
            (
                Close {
                    handle: h(1),
                    inode: Some(file),
                },
                look(0),
                false,
                "closing shows nowhere",
            ),
            (lock(1), lock(1), true, "lock, then unlock"),
            (lock(1), lock(2), false, "the unlock it waits for must pass"),
            (lock(1), write(1, file), false, "locks are advisory"),
            (Nothing, names, false, "the exports never change"),
        ] {
            assert_eq!((a.conflicts(&b), b.conflicts(&a)), (conflict, conflict), "{why}");
        }
    }
}
