//! News about changes, collected for every session (section 10).
//!
//! Whoever publishes never waits: news is merged into each subscriber's mailbox, where a change is kept once
//! however often it happens, and the subscriber is woken. A mailbox that nobody empties stops growing at
//! [`PENDING_LIMIT`]; what it held is then replaced by one invalidation of each export's root, which makes
//! clients drop every listing and every block they cached.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use hashbrown::HashMap;
use smallvec::SmallVec;
use spiderweb_protocol::InodeId;
use spiderweb_protocol::fs::{Change, Event};

use crate::SessionId;

/// The events one request causes.
pub type Events = SmallVec<[Event; 3]>;

/// Changes a mailbox remembers one by one; about half a megabyte.
pub const PENDING_LIMIT: usize = 8192;

/// What a session has not been told yet.
pub struct Mailbox {
    session: SessionId,
    state: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    /// Position in `order` by what the event is about.
    known: HashMap<(InodeId, bool), usize>,
    order: Vec<Event>,
    waker: Option<Waker>,
}

impl Mailbox {
    fn state(&self) -> MutexGuard<'_, Pending> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes everything that is pending, oldest first. Registers `waker` to be woken when there is more.
    pub fn take(&self, waker: &Waker) -> Vec<Event> {
        let mut state = self.state();
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        state.known.clear();
        std::mem::take(&mut state.order)
    }

    /// Whether something is pending.
    pub fn has_news(&self) -> bool {
        !self.state().order.is_empty()
    }

    fn add(&self, events: &[Event], roots: &[InodeId]) {
        let mut state = self.state();
        let was_empty = state.order.is_empty();
        for event in events {
            state.merge(*event);
        }
        if state.order.len() > PENDING_LIMIT {
            state.collapse(roots);
        }
        // A subscriber that has not fetched what is there already knows that it should.
        let waker = if was_empty { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Pending {
    fn merge(&mut self, event: Event) {
        let key = match event {
            Event::Inode { id, .. } => (id, false),
            Event::Directory { id } => (id, true),
        };
        let position = *self.known.entry(key).or_insert_with(|| {
            self.order.push(event);
            self.order.len() - 1
        });
        if let (
            Some(Event::Inode {
                change, generation, ..
            }),
            Event::Inode {
                change: newer,
                generation: new,
                ..
            },
        ) = (self.order.get_mut(position), event)
        {
            *change = (*change).max(newer);
            // A version that was overtaken must not be said any more.
            *generation = new;
        }
    }

    fn collapse(&mut self, roots: &[InodeId]) {
        self.known.clear();
        self.order.clear();
        for id in roots {
            self.merge(Event::Directory { id: *id });
        }
        for id in roots {
            self.merge(Event::Inode {
                id: *id,
                change: Change::All,
                generation: None,
            });
        }
    }
}

/// The sessions that want to know, and the way to reach them.
pub struct Invalidations {
    mailboxes: Mutex<Arc<[Arc<Mailbox>]>>,
    roots: Mutex<Arc<[InodeId]>>,
}

impl Invalidations {
    /// For a node whose exports have these roots.
    pub fn new(roots: impl IntoIterator<Item = InodeId>) -> Self {
        Self {
            mailboxes: Mutex::new(Arc::new([])),
            roots: Mutex::new(roots.into_iter().collect()),
        }
    }

    /// The node has other exports from now on.
    pub fn set_roots(&self, roots: impl IntoIterator<Item = InodeId>) {
        *self.roots.lock().unwrap_or_else(PoisonError::into_inner) = roots.into_iter().collect();
    }

    fn mailboxes(&self) -> MutexGuard<'_, Arc<[Arc<Mailbox>]>> {
        self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A mailbox that receives everything published from now on, except by `session` itself.
    pub fn subscribe(&self, session: SessionId) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox {
            session,
            state: Mutex::default(),
        });
        let mut mailboxes = self.mailboxes();
        *mailboxes = mailboxes.iter().cloned().chain([mailbox.clone()]).collect();
        mailbox
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, session: SessionId) {
        let mut mailboxes = self.mailboxes();
        *mailboxes = mailboxes
            .iter()
            .filter(|mailbox| mailbox.session != session)
            .cloned()
            .collect();
    }

    /// Tells every subscriber but the one that caused it, which hears of it before its reply.
    pub fn publish(&self, events: &[Event], cause: Option<SessionId>) {
        if events.is_empty() {
            return;
        }
        let mailboxes = self.mailboxes().clone();
        let roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for mailbox in mailboxes.iter().filter(|mailbox| Some(mailbox.session) != cause) {
            mailbox.add(events, &roots);
        }
    }

    /// Whether anybody would hear of a change.
    pub fn has_subscribers(&self) -> bool {
        !self.mailboxes().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> InodeId {
        InodeId::compose(0, number).unwrap()
    }

    fn changed(number: u64, change: Change) -> Event {
        Event::Inode {
            id: id(number),
            change,
            generation: None,
        }
    }

    #[test]
    fn a_change_is_said_once_and_never_to_its_cause() {
        let news = Invalidations::new([id(1)]);
        let (a, b) = (news.subscribe(SessionId(1)), news.subscribe(SessionId(2)));
        for _ in 0..1_000 {
            news.publish(&[changed(7, Change::Data)], Some(SessionId(1)));
        }
        news.publish(
            &[Event::Directory { id: id(7) }, changed(7, Change::Attr)],
            Some(SessionId(1)),
        );
        assert_eq!(a.take(Waker::noop()), []);
        assert_eq!(
            b.take(Waker::noop()),
            [changed(7, Change::Data), Event::Directory { id: id(7) }]
        );
        assert_eq!(b.take(Waker::noop()), []);
        news.unsubscribe(SessionId(2));
        news.publish(&[changed(8, Change::All)], None);
        assert!(!b.has_news() && a.has_news());
    }

    #[test]
    fn a_mailbox_nobody_empties_collapses_to_the_roots() {
        let news = Invalidations::new([id(1), id(2)]);
        let mailbox = news.subscribe(SessionId(1));
        for number in 0..=PENDING_LIMIT as u64 {
            news.publish(&[changed(number + 10, Change::Data)], None);
        }
        let told = mailbox.take(Waker::noop());
        assert_eq!(
            told,
            [
                Event::Directory { id: id(1) },
                Event::Directory { id: id(2) },
                changed(1, Change::All),
                changed(2, Change::All)
            ]
        );
    }

    #[test]
    fn an_overtaken_version_is_not_said() {
        let news = Invalidations::new([id(1)]);
        let mailbox = news.subscribe(SessionId(1));
        let created = Event::Inode {
            id: id(7),
            change: Change::All,
            generation: Some(3),
        };
        news.publish(&[created], None);
        news.publish(&[changed(7, Change::Data)], None);
        assert_eq!(mailbox.take(Waker::noop()), [changed(7, Change::All)]);
    }
}
