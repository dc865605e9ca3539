//! Locks between clients of this process.
//!
//! The system's own locks keep others from reading and writing, which a client's lock must not; so these are ours, and
//! programs on this machine do not see them.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use spiderweb_protocol::fs::LockKind;

use crate::FsError;

/// Volume and number of a file.
type Key = (u64, u64);

static LOCKED: LazyLock<Mutex<HashMap<Key, Holders>>> = LazyLock::new(Mutex::default);

fn locked() -> MutexGuard<'static, HashMap<Key, Holders>> {
    LOCKED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who has a file. Never both, and never neither.
#[derive(Default)]
struct Holders {
    shared: usize,
    is_exclusive: bool,
}

/// What one handle has; given back when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<Option<(Key, LockKind)>>);

impl Held {
    /// Takes a lock instead of the one that was held, or gives it back. If it cannot be had, nothing changes.
    pub(super) fn change(&self, key: Key, kind: LockKind) -> Result<(), FsError> {
        if kind == LockKind::Unknown {
            return Err(FsError::InvalidLockKind);
        }
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut locked = locked();
        let own = held.map(|(_, kind)| kind);
        let holders = locked.entry(key).or_default();
        let others = holders.shared - usize::from(own == Some(LockKind::Shared));
        let is_free = match kind {
            LockKind::Unlock | LockKind::Unknown => true,
            LockKind::Shared => !holders.is_exclusive || own == Some(LockKind::Exclusive),
            LockKind::Exclusive => others == 0 && (!holders.is_exclusive || own == Some(LockKind::Exclusive)),
        };
        if !is_free {
            return Err(FsError::WouldBlock);
        }
        holders.shared = others + usize::from(kind == LockKind::Shared);
        if own == Some(LockKind::Exclusive) || kind == LockKind::Exclusive {
            holders.is_exclusive = kind == LockKind::Exclusive;
        }
        if holders.shared == 0 && !holders.is_exclusive {
            locked.remove(&key);
        }
        *held = (kind != LockKind::Unlock).then_some((key, kind));
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let held = *self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some((key, _)) = held {
            // Giving back always works.
            let _ = self.change(key, LockKind::Unlock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writes_or_many_read() {
        let key = (1, 2);
        let (one, two) = (Held::default(), Held::default());
        one.change(key, LockKind::Shared).unwrap();
        two.change(key, LockKind::Shared).unwrap();
        assert!(matches!(
            one.change(key, LockKind::Exclusive),
            Err(FsError::WouldBlock)
        ));
        two.change(key, LockKind::Unlock).unwrap();
        one.change(key, LockKind::Exclusive).unwrap();
        assert!(matches!(
            two.change(key, LockKind::Shared),
            Err(FsError::WouldBlock)
        ));
        drop(one);
        two.change(key, LockKind::Exclusive).unwrap();
        drop(two);
        assert!(!locked().contains_key(&key));
    }
}
