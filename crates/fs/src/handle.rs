//! Open handles, and who uses them (section 12).
//!
//! Handles belong to the node, not to a connection: original clients reconnect and go on with the numbers they
//! have. So a handle outlives the sessions that used it by a time of grace, and whoever used it last owns it. Numbers
//! are random, so that nobody finds another's by counting.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use spiderweb_protocol::limits::MAX_WIRE_INTEGER;
use spiderweb_protocol::{EntryName, HandleId, InodeId};

use crate::{FsError, OpenFile};

/// How long a handle waits for its client to come back, from the end of its session or a later use on.
pub const GRACE: Duration = Duration::from_secs(120);

/// How long a handle of a shared session may go unused before its client is taken to have left without closing it.
pub const LONGEST_IDLE: Duration = Duration::from_secs(60 * 60);

/// Sessions remembered for each handle: the one that opened it, and the latest others. A client has one or two.
const MOST_USERS: usize = 64;

/// Numbers a session for as long as the process runs. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

/// An open file within the node.
pub struct OpenHandle {
    id: HandleId,
    inode: InodeId,
    file: Box<dyn OpenFile>,
    readable: bool,
    writable: bool,
}

impl OpenHandle {
    /// The number on the wire.
    pub fn id(&self) -> HandleId {
        self.id
    }

    /// The id the file was opened under; events about it use this one.
    pub fn inode(&self) -> InodeId {
        self.inode
    }

    /// The open file, for reading.
    pub fn reader(&self) -> Result<&dyn OpenFile, FsError> {
        if self.readable {
            Ok(&*self.file)
        } else {
            Err(FsError::NotReadable)
        }
    }

    /// The open file, for writing.
    pub fn writer(&self) -> Result<&dyn OpenFile, FsError> {
        if self.writable {
            Ok(&*self.file)
        } else {
            Err(FsError::NotWritable)
        }
    }

    /// The open file, for anything that both can do.
    pub fn file(&self) -> &dyn OpenFile {
        &*self.file
    }
}

/// Why no handle can be given.
pub type HandleError = FsError;

/// The `create` a handle came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Creation {
    /// Who asked, as far as the link tells.
    pub peer: Option<IpAddr>,
    /// The directory.
    pub parent: InodeId,
    /// The new entry.
    pub name: EntryName,
}

/// A handle that was taken out of the table.
pub struct Closed {
    /// The handle. Its file closes with its last user.
    pub handle: Arc<OpenHandle>,
    /// It holds a lock.
    pub was_locked: bool,
}

struct Slot {
    handle: Arc<OpenHandle>,
    /// It holds a lock.
    locked: bool,
    /// Milliseconds after the table's start.
    last_used: u64,
    /// The session that used it last, in whose share it counts. `None`: all that used it have ended.
    owner: Option<SessionId>,
    /// The sessions that used it and live, the one that opened it first. It stays as long as there are any: who only
    /// looked in and left takes nothing from the others.
    users: SmallVec<[SessionId; 2]>,
    /// Set when the answer that carried the handle reached nobody.
    undelivered: Option<Creation>,
}

/// Where a handle stands in the order in which those of one owner are closed in favour of others: one that others use
/// or that holds a lock only after all that are not such, else the longest unused first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Rank {
    /// First the handles of nobody.
    owner: Option<SessionId>,
    has_others: bool,
    locked: bool,
    last_used: u64,
    id: u64,
}

impl Slot {
    fn rank(&self) -> Rank {
        Rank {
            owner: self.owner,
            has_others: self.users.len() > 1,
            locked: self.locked,
            last_used: self.last_used,
            id: self.handle.id.get(),
        }
    }
}

#[derive(Default)]
struct Slots {
    by_id: HashMap<u64, Slot>,
    /// The rank of every handle, so that nobody who opens a file has to look at all of them.
    ranks: BTreeSet<Rank>,
    /// Handles of each session that is not over.
    per_session: HashMap<SessionId, Share>,
    sessions: u64,
}

/// What one session has of the table.
#[derive(Clone, Copy, Default)]
struct Share {
    count: usize,
    /// Whether it ever used a handle.
    has_used: bool,
    /// Many clients, who cannot be told apart, use the session: those that leave cannot close what they had open.
    is_shared: bool,
}

/// Every open handle of a node.
pub struct HandleTable {
    slots: std::sync::Mutex<Slots>,
    start: Instant,
    capacity: usize,
    per_session: usize,
    grace: Duration,
}

impl HandleTable {
    /// A table of at most `capacity` handles, of which one session may own a quarter: a client that never
    /// closes harms itself first. Handles without a session wait for `grace`.
    pub fn new(capacity: usize, grace: Duration, now: Instant) -> Self {
        let per_session = (capacity / 4).max(1);
        Self {
            slots: std::sync::Mutex::default(),
            start: now,
            capacity,
            per_session,
            grace,
        }
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, Slots> {
        // A panic while the lock is held leaves the table usable: every change of it is over before anything else is done.
        self.slots
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Begins a session: a number no session had before.
    pub fn begin_session(&self) -> SessionId {
        let mut slots = self.slots();
        slots.sessions += 1;
        let session = SessionId(slots.sessions);
        slots.per_session.insert(session, Share::default());
        session
    }

    /// Begins a session that many clients share. What they leave open is closed when the session's share is used
    /// up, the longest unused first, and after [`LONGEST_IDLE`].
    pub fn begin_shared_session(&self) -> SessionId {
        let session = self.begin_session();
        if let Some(share) = self.slots().per_session.get_mut(&session) {
            share.is_shared = true;
        }
        session
    }

    /// Whether the session may open one more file; to be asked before opening has an effect.
    pub fn check_room(&self, session: SessionId) -> Result<(), FsError> {
        let slots = self.slots();
        let own = slots.per_session.get(&session).copied().unwrap_or_default();
        let is_used_up = own.count >= self.per_session && !own.is_shared;
        let full = slots.by_id.len() >= self.capacity && slots.oldest(None).is_none();
        if is_used_up || full && !own.is_shared {
            Err(FsError::TooManyOpen)
        } else {
            Ok(())
        }
    }

    /// Gives an open file a number. When the table is full, the handle that has waited longest without a
    /// session is closed in its favour.
    ///
    /// # Errors
    ///
    /// [`FsError::TooManyOpen`] when there is none to close, or the session owns its share.
    pub fn insert(
        &self,
        file: Box<dyn OpenFile>,
        inode: InodeId,
        (readable, writable): (bool, bool),
        owner: SessionId,
        now: Instant,
    ) -> Result<HandleId, HandleError> {
        let mut slots = self.slots();
        let own = slots.per_session.get(&owner).copied().unwrap_or_default();
        let mut evicted = None;
        if own.count >= self.per_session {
            let oldest = own.is_shared.then(|| slots.oldest(Some(owner))).flatten();
            evicted = slots.take_out(oldest.ok_or(FsError::TooManyOpen)?);
        } else if slots.by_id.len() >= self.capacity {
            let of_nobody = slots.oldest(None);
            let oldest = of_nobody.or_else(|| own.is_shared.then(|| slots.oldest(Some(owner))).flatten());
            evicted = slots.take_out(oldest.ok_or(FsError::TooManyOpen)?);
        }
        let id = loop {
            let number = random_number()?;
            if !slots.by_id.contains_key(&number) {
                break HandleId::new(number).ok_or(FsError::TooManyOpen)?;
            }
        };
        let handle = Arc::new(OpenHandle {
            id,
            inode,
            file,
            readable,
            writable,
        });
        // A request may end after its session; then its handle has to wait for another.
        let owner = slots.adopt(owner);
        slots.add(Slot {
            handle,
            locked: false,
            last_used: self.millis(now),
            owner,
            users: owner.into_iter().collect(),
            undelivered: None,
        });
        drop(slots);
        // Closing may wait for a disk, so it happens without the lock.
        drop(evicted);
        Ok(id)
    }

    /// The handle, which from now on belongs to the session that asks; those that used it before keep it alive too.
    pub fn get(&self, id: HandleId, user: SessionId, now: Instant) -> Result<Arc<OpenHandle>, HandleError> {
        let mut slots = self.slots();
        let is_live = slots.per_session.contains_key(&user);
        let found = slots.update(id.get(), |slot| {
            let previous = slot.owner;
            slot.last_used = self.millis(now);
            if is_live && previous != Some(user) {
                if !slot.users.contains(&user) {
                    if slot.users.len() == MOST_USERS {
                        slot.users.remove(1);
                    }
                    slot.users.push(user);
                }
                slot.owner = Some(user);
            }
            (slot.handle.clone(), slot.owner != previous, previous)
        });
        let (handle, is_adopted, previous) = found.ok_or(FsError::UnknownHandle)?;
        if is_adopted {
            slots.adopt(user);
            if let Some(previous) = previous {
                slots.release(previous);
            }
        }
        Ok(handle)
    }

    /// Which file a handle is open on, if it is known; for ordering requests.
    pub fn inode_of(&self, id: HandleId) -> Option<InodeId> {
        self.slots().by_id.get(&id.get()).map(|slot| slot.handle.inode)
    }

    /// Notes that a handle took a lock or gave it back.
    ///
    /// Nobody could give back the lock of a handle that is closed while it takes one. This and [`close`](Self::close)
    /// change the same table under one lock, so one of them sees what the other did: either `close` says that there is a
    /// lock, or this says that there is no such handle. Two flags that are checked crosswise would not do: both may be
    /// read before either is seen to be set.
    ///
    /// # Errors
    ///
    /// [`FsError::UnknownHandle`]: it is closed, and the caller has to give the lock back.
    pub fn set_locked(&self, id: HandleId, locked: bool) -> Result<(), HandleError> {
        let mut slots = self.slots();
        let changed = slots.update(id.get(), |slot| slot.locked = locked);
        changed.ok_or(FsError::UnknownHandle)
    }

    /// Takes the handle out. The file closes when its last user is done; dropping the value may wait for a disk.
    pub fn close(&self, id: HandleId) -> Result<Closed, HandleError> {
        let slot = self.slots().take_out(id.get()).ok_or(FsError::UnknownHandle)?;
        Ok(Closed {
            handle: slot.handle,
            was_locked: slot.locked,
        })
    }

    /// Notes that nobody was told of a handle, because its session was over when the file had been made.
    pub fn mark_undelivered(&self, id: HandleId, creation: Creation) {
        if let Some(slot) = self.slots().by_id.get_mut(&id.get()) {
            slot.undelivered = Some(creation);
        }
    }

    /// The handle of a file that the same `create` made and whose answer reached nobody: a client that lost its
    /// link asks again, and must not be told that its own file is in the way.
    pub fn claim_undelivered(
        &self,
        creation: &Creation,
        user: SessionId,
        now: Instant,
    ) -> Option<Arc<OpenHandle>> {
        let id = {
            let mut slots = self.slots();
            let slot = slots
                .by_id
                .values_mut()
                .find(|slot| slot.undelivered.as_ref() == Some(creation))?;
            slot.undelivered = None;
            slot.handle.id
        };
        self.get(id, user, now).ok()
    }

    /// Lets go of a session's handles: they are left to the others that use them, or wait for one for the time of
    /// grace.
    pub fn end_session(&self, session: SessionId, now: Instant) {
        let now = self.millis(now);
        let mut guard = self.slots();
        let slots = &mut *guard;
        let has_used = |share: Share| share.has_used;
        if !slots.per_session.remove(&session).is_some_and(has_used) {
            return;
        }
        let used = slots
            .by_id
            .iter()
            .filter(|(_, slot)| slot.users.contains(&session));
        let used: Vec<u64> = used.map(|(id, _)| *id).collect();
        for id in used {
            let heir = slots.update(id, |slot| {
                slot.users.retain(|user| *user != session);
                if slot.owner != Some(session) {
                    return None;
                }
                slot.owner = slot.users.last().copied();
                if slot.owner.is_none() {
                    slot.last_used = now;
                }
                slot.owner
            });
            if let Some(share) = heir.flatten().and_then(|heir| slots.per_session.get_mut(&heir)) {
                share.count += 1;
            }
        }
    }

    /// Takes out the handles nobody came back for. Dropping them may wait for a disk.
    pub fn expire(&self, now: Instant) -> Vec<Arc<OpenHandle>> {
        let before = |wait: Duration| self.millis(now).saturating_sub(wait.as_millis() as u64);
        let (limit, idle_limit) = (before(self.grace), before(LONGEST_IDLE));
        let mut guard = self.slots();
        let slots = &mut *guard;
        let per_session = &slots.per_session;
        let expired: Vec<_> = slots
            .by_id
            .extract_if(|_, slot| {
                let last_used = slot.last_used;
                let is_shared = |user| per_session.get(user).is_some_and(|share| share.is_shared);
                match slot.owner {
                    None => last_used < limit,
                    Some(_) => slot.users.iter().all(is_shared) && last_used < idle_limit && !slot.locked,
                }
            })
            .collect();
        for (_, slot) in &expired {
            slots.ranks.remove(&slot.rank());
            if let Some(owner) = slot.owner {
                slots.release(owner);
            }
        }
        expired.into_iter().map(|(_, slot)| slot.handle).collect()
    }

    /// How many handles are open.
    pub fn len(&self) -> usize {
        self.slots().by_id.len()
    }

    /// Whether no handle is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_millis() as u64
    }
}

impl Slots {
    /// Counts a handle with its session, unless that is over.
    fn adopt(&mut self, session: SessionId) -> Option<SessionId> {
        let share = self.per_session.get_mut(&session)?;
        share.count += 1;
        share.has_used = true;
        Some(session)
    }

    fn release(&mut self, session: SessionId) {
        if let Some(share) = self.per_session.get_mut(&session) {
            share.count = share.count.saturating_sub(1);
        }
    }

    /// The handle of this owner to be closed before its others.
    fn oldest(&self, owner: Option<SessionId>) -> Option<u64> {
        let first = Rank {
            owner,
            has_others: false,
            locked: false,
            last_used: 0,
            id: 0,
        };
        let oldest = self.ranks.range(first..).next();
        oldest.filter(|rank| rank.owner == owner).map(|rank| rank.id)
    }

    fn add(&mut self, slot: Slot) {
        let rank = slot.rank();
        self.ranks.insert(rank);
        self.by_id.insert(rank.id, slot);
    }

    /// Changes a handle, and with it its rank.
    fn update<T>(&mut self, id: u64, change: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let slot = self.by_id.get_mut(&id)?;
        let before = slot.rank();
        let value = change(slot);
        let after = slot.rank();
        if after != before {
            self.ranks.remove(&before);
            self.ranks.insert(after);
        }
        Some(value)
    }

    /// Takes a handle out. The file closes when the value is dropped.
    fn take_out(&mut self, id: u64) -> Option<Slot> {
        let slot = self.by_id.remove(&id)?;
        self.ranks.remove(&slot.rank());
        if let Some(owner) = slot.owner {
            self.release(owner);
        }
        Some(slot)
    }
}

fn random_number() -> Result<u64, FsError> {
    let random = getrandom::u64().map_err(|error| FsError::Io(std::io::Error::other(error)))?;
    Ok((random & MAX_WIRE_INTEGER).max(1))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;
    use spiderweb_protocol::fs::LockKind;

    use super::*;
    use crate::{Aftermath, Chunk, Patience};

    struct Nothing;

    impl OpenFile for Nothing {
        fn read(&self, _: u64, _: usize, _: Patience) -> Result<Chunk, FsError> {
            Err(FsError::NotReadable)
        }
        fn write(&self, _: u64, _: &[u8]) -> Result<Aftermath, FsError> {
            Ok(Aftermath::Nothing)
        }
        fn lock(&self, _: LockKind) -> Result<(), FsError> {
            Ok(())
        }
        fn closes_at_once(&self) -> bool {
            true
        }
    }

    fn open(table: &HandleTable, owner: SessionId, now: Instant) -> Result<HandleId, FsError> {
        let inode = InodeId::compose(0, 5).unwrap();
        table.insert(Box::new(Nothing), inode, (true, false), owner, now)
    }

    #[test]
    fn a_handle_waits_for_its_client_and_is_adopted() {
        let start = Instant::now();
        let table = HandleTable::new(100, GRACE, start);
        let (a, b) = (table.begin_session(), table.begin_session());
        let kept = open(&table, a, start).unwrap();
        let lost = open(&table, a, start).unwrap();
        table.end_session(a, start);
        let before = start + Duration::from_secs(GRACE.as_secs() - 1);
        assert!(table.expire(before).is_empty());
        table.get(kept, b, before).unwrap();
        let after = start + GRACE + Duration::from_secs(1);
        assert_eq!(
            table
                .expire(after)
                .iter()
                .map(|handle| handle.id())
                .collect::<Vec<_>>(),
            [lost]
        );
        assert!(
            table.get(kept, b, after + GRACE * 9).is_ok(),
            "owned handles never expire"
        );
        assert!(matches!(table.get(lost, b, after), Err(FsError::UnknownHandle)));
    }

    #[test]
    fn who_leaves_takes_a_handle_from_nobody() {
        let start = Instant::now();
        let table = HandleTable::new(8, GRACE, start);
        let at = |graces: u32| start + (GRACE + Duration::from_secs(1)) * graces;
        let (opener, guest, hub) = (
            table.begin_session(),
            table.begin_session(),
            table.begin_shared_session(),
        );
        let handle = open(&table, opener, start).unwrap();
        table.set_locked(handle, true).unwrap();
        table.get(handle, guest, start).unwrap();
        table.end_session(guest, start);
        assert!(table.expire(at(1)).is_empty(), "its opener lives");
        // It counts where it did before.
        open(&table, opener, at(1)).unwrap();
        assert!(table.check_room(opener).is_err());

        // The other way round, and by way of a hub: whoever used it counts.
        let guest = table.begin_session();
        for user in [guest, hub] {
            table.get(handle, user, at(1)).unwrap();
        }
        table.set_locked(handle, false).unwrap();
        table.end_session(opener, at(1));
        let idle = at(1) + LONGEST_IDLE * 2;
        assert_eq!(table.expire(idle).len(), 1, "the opener's other handle");
        table.end_session(hub, idle);
        assert!(table.expire(idle + GRACE * 2).is_empty(), "the guest lives");
        table.end_session(guest, idle + GRACE * 2);
        assert!(table.expire(idle + GRACE * 3).is_empty());
        assert_eq!(table.expire(idle + GRACE * 3 + Duration::from_secs(1)).len(), 1);
    }

    #[test]
    fn crowds_that_use_a_handle_are_not_all_remembered() {
        let start = Instant::now();
        let table = HandleTable::new(8, GRACE, start);
        let opener = table.begin_session();
        let handle = open(&table, opener, start).unwrap();
        for _ in 0..1000 {
            let guest = table.begin_session();
            table.get(handle, guest, start).unwrap();
        }
        let users = table.slots().by_id.get(&handle.get()).unwrap().users.clone();
        assert_eq!((users.len(), users.first()), (MOST_USERS, Some(&opener)));
    }

    #[test]
    fn one_session_cannot_take_every_handle() {
        let now = Instant::now();
        let table = HandleTable::new(8, GRACE, now);
        let (a, b) = (table.begin_session(), table.begin_session());
        for _ in 0..2 {
            open(&table, a, now).unwrap();
        }
        assert!(table.check_room(a).is_err() && table.check_room(b).is_ok());
        assert!(matches!(open(&table, a, now), Err(FsError::TooManyOpen)));
        let other = open(&table, b, now).unwrap();
        table.close(other).unwrap();
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn what_the_clients_of_a_shared_session_leave_open_is_closed() {
        let start = Instant::now();
        let table = HandleTable::new(8, GRACE, start);
        let hub = table.begin_shared_session();
        let at = |seconds| start + Duration::from_secs(seconds);
        let locked = open(&table, hub, start).unwrap();
        table.set_locked(locked, true).unwrap();
        let first = open(&table, hub, at(1)).unwrap();
        let second = open(&table, hub, at(2)).unwrap();
        assert!(table.check_room(hub).is_ok());
        assert!(table.get(locked, hub, at(2)).is_ok());
        assert!(
            matches!(table.get(first, hub, at(2)), Err(FsError::UnknownHandle)),
            "the longest unused without a lock goes"
        );
        let idle = at(3) + LONGEST_IDLE;
        let expired: Vec<_> = table.expire(idle).iter().map(|handle| handle.id()).collect();
        assert_eq!(expired, [second]);
        assert_eq!(table.len(), 1);
        // The share is free again.
        for _ in 0..2 {
            open(&table, hub, idle).unwrap();
        }
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_full_table_gives_up_what_nobody_owns() {
        let now = Instant::now();
        let table = HandleTable::new(4, GRACE, now);
        let owners = [(); 4].map(|()| table.begin_session());
        for owner in owners {
            open(&table, owner, now).unwrap();
        }
        let newcomer = table.begin_session();
        assert!(table.check_room(newcomer).is_err());
        assert!(matches!(open(&table, newcomer, now), Err(FsError::TooManyOpen)));
        table.end_session(owners[2], now);
        open(&table, newcomer, now).unwrap();
        assert_eq!(table.len(), 4);
    }

    #[test]
    fn a_repeated_create_finds_the_file_nobody_was_told_of() {
        let now = Instant::now();
        let table = HandleTable::new(100, GRACE, now);
        let (a, b) = (table.begin_session(), table.begin_session());
        let lost = open(&table, a, now).unwrap();
        let creation = Creation {
            peer: Some([127, 0, 0, 1].into()),
            parent: InodeId::compose(0, 2).unwrap(),
            name: EntryName::new("f").unwrap(),
        };
        table.end_session(a, now);
        assert!(
            table.claim_undelivered(&creation, b, now).is_none(),
            "its client knows of it"
        );
        table.mark_undelivered(lost, creation.clone());
        let stranger = Creation {
            peer: Some([10, 0, 0, 1].into()),
            ..creation.clone()
        };
        assert!(table.claim_undelivered(&stranger, b, now).is_none());
        assert_eq!(table.claim_undelivered(&creation, b, now).unwrap().id(), lost);
        assert!(table.claim_undelivered(&creation, b, now).is_none(), "only once");
    }

    #[test]
    fn a_request_that_outlives_its_session_keeps_nothing() {
        let start = Instant::now();
        let table = HandleTable::new(8, GRACE, start);
        let (gone, other) = (table.begin_session(), table.begin_session());
        let used = open(&table, other, start).unwrap();
        table.end_session(gone, start);
        open(&table, gone, start).unwrap();
        table.get(used, gone, start).unwrap();
        let after = start + GRACE + Duration::from_secs(1);
        assert_eq!(table.expire(after).len(), 1, "what nobody can close expires");
        assert!(
            table.get(used, other, after).is_ok(),
            "what has a living owner stays"
        );
    }

    #[test]
    fn numbers_are_not_counted_up() {
        let now = Instant::now();
        let table = HandleTable::new(100, GRACE, now);
        let session = table.begin_session();
        let [a, b] = [(); 2].map(|()| open(&table, session, now).unwrap().get());
        assert!(a.abs_diff(b) > 1_000, "{a} {b}");
    }

    #[test]
    fn a_lock_that_is_taken_while_its_handle_closes_is_given_back() {
        const ROUNDS: usize = 5_000;
        let now = Instant::now();
        let table = HandleTable::new(ROUNDS * 4, GRACE, now);
        let session = table.begin_session();
        let handles: Vec<_> = (0..ROUNDS).map(|_| open(&table, session, now).unwrap()).collect();
        let arrived = AtomicUsize::new(0);
        let (table, handles, arrived) = (&table, &handles, &arrived);
        let meet = move |round: usize| {
            arrived.fetch_add(1, Ordering::SeqCst);
            while arrived.load(Ordering::SeqCst) < 2 * (round + 1) {
                std::thread::yield_now();
            }
        };
        let (given_back_by_lock, given_back_by_close) = std::thread::scope(|scope| {
            let lock = move |(round, id): (usize, &HandleId)| {
                meet(round);
                table.set_locked(*id, true).is_err()
            };
            let close = move |(round, id): (usize, &HandleId)| {
                meet(round);
                table.close(*id).unwrap().was_locked
            };
            let locks = scope.spawn(move || handles.iter().enumerate().map(lock).collect::<Vec<_>>());
            let closes = scope.spawn(move || handles.iter().enumerate().map(close).collect::<Vec<_>>());
            (locks.join().unwrap(), closes.join().unwrap())
        });
        for (by_lock, by_close) in given_back_by_lock.into_iter().zip(given_back_by_close) {
            assert!(by_lock != by_close, "one of them, and one alone");
        }
    }

    /// What `oldest` finds by its order, found by looking at every handle.
    fn oldest_of_all(slots: &Slots, owner: Option<SessionId>) -> Option<(bool, bool, u64)> {
        let own = slots.by_id.values().filter(|slot| slot.owner == owner);
        own.map(|slot| (slot.users.len() > 1, slot.locked, slot.last_used))
            .min()
    }

    proptest! {
        #[test]
        fn the_order_of_handles_is_what_is_known_of_them(
            steps in prop::collection::vec((0..6_u8, 0..4_usize, any::<prop::sample::Index>()), 1..200),
        ) {
            let start = Instant::now();
            let table = HandleTable::new(16, GRACE, start);
            let mut sessions: Vec<_> = (0..4).map(|_| table.begin_session()).collect();
            sessions[0] = table.begin_shared_session();
            let mut ids = Vec::new();
            for (at, (step, who, which)) in steps.into_iter().enumerate() {
                let now = start + Duration::from_secs(at as u64 * 7);
                let id = (!ids.is_empty()).then(|| *which.get(&ids));
                match (step, id) {
                    (0 | 1, _) => ids.extend(open(&table, sessions[who], now)),
                    (2, Some(id)) => _ = table.get(id, sessions[who], now),
                    (3, Some(id)) => _ = table.set_locked(id, at % 2 == 0),
                    (4, Some(id)) => _ = table.close(id),
                    (5, _) if at % 3 == 0 => {
                        table.end_session(sessions[who], now);
                        sessions[who] = table.begin_session();
                        table.expire(now);
                    }
                    _ => {}
                }
                let slots = table.slots();
                prop_assert!(slots.by_id.len() <= 16);
                prop_assert_eq!(slots.ranks.len(), slots.by_id.len());
                for owner in sessions.iter().copied().map(Some).chain([None]) {
                    let found = slots.oldest(owner).map(|id| {
                        let rank = slots.by_id[&id].rank();
                        (rank.has_others, rank.locked, rank.last_used)
                    });
                    prop_assert_eq!(found, oldest_of_all(&slots, owner));
                    let owned = slots.by_id.values().filter(|slot| slot.owner == owner).count();
                    if let Some(owner) = owner {
                        prop_assert_eq!(slots.per_session[&owner].count, owned);
                    }
                }
            }
        }
    }
}
