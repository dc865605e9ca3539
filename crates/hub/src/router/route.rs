//! One node's route: its tunnel, its clients, and which reply belongs to whom. No I/O; time is passed in.
//!
//! Tags are rewritten: each client chooses its own, the node sees one sequence, with the client in the upper bits. The
//! route outlives its tunnel while it has clients, and tags go on counting, so that a late reply cannot be taken for
//! another one.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use spiderweb_protocol::Tag;
use spiderweb_protocol::control::{CLIENT_TAG_BITS, FrameKind, FramePeek};
use spiderweb_protocol::fs::Op;

/// Requests of clients that may be on their way to one node.
const MOST_OUTSTANDING: usize = 1024;
/// Requests of the hub itself that may be on their way beside them.
const MOST_CLOSES: usize = 8;
/// Handles that one client may have open: as many as a node keeps. All are remembered, so that they can be closed for it.
const MOST_HANDLES: usize = 16_384;
/// Handles that wait to be closed. More than a node has can only be owed to one that never answers.
const MOST_OWED: usize = 4 * MOST_HANDLES;
/// Takeovers within [`CONTEST`] after which one more looks like a fight of two processes.
const TAKEOVERS: usize = 3;
/// See [`TAKEOVERS`].
const CONTEST: Duration = Duration::from_secs(60);

/// Names a client of one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientId(u64);

impl ClientId {
    /// Most clients that tags tell apart: they stay below 2³¹. Two that share a number are kept in order, no more.
    const MOST_IN_TAGS: u64 = (1 << (31 - CLIENT_TAG_BITS)) - 1;

    /// What stands for this client in the upper bits of tags; never 0.
    fn in_tags(self) -> u32 {
        (self.0 % Self::MOST_IN_TAGS + 1) as u32
    }
}

/// Tells a node's tunnels apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Generation(u64);

/// Why a request cannot go to its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unroutable {
    /// There is no tunnel.
    NoTunnel,
    /// Too much is on its way already.
    Busy,
    /// The client has too much open.
    TooManyHandles,
}

/// A request that will not be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) client: ClientId,
    pub(crate) tag: Tag,
    pub(crate) weight: usize,
}

/// A tunnel that stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) generation: Generation,
    /// What was on its way through the one before.
    pub(crate) failed: Vec<Failed>,
    /// Events for subscribers, who may have missed some.
    pub(crate) catch_up: Vec<String>,
    pub(crate) subscribers: Vec<ClientId>,
    /// One takes the tunnel from another so often that two processes seem to use one identity. Said once for each fight.
    pub(crate) is_contested: bool,
}

/// Whom a reply is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    /// A client, under its own tag.
    Client {
        client: ClientId,
        tag: Tag,
        weight: usize,
    },
    /// Nobody: too late, or asked by the hub itself, or never.
    Nobody,
}

/// A handle that is to be closed for a client that left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) tag: Tag,
    pub(crate) handle: u64,
    /// The client that asked things of the handle before.
    pub(crate) client: ClientId,
}

#[derive(Debug)]
struct Outstanding {
    /// Nobody for requests of the hub itself.
    client: Option<ClientId>,
    tag: Tag,
    kind: FrameKind,
    weight: usize,
    since: Duration,
}

#[derive(Debug, Default)]
struct Client {
    subscribes: bool,
    handles: BTreeSet<u64>,
}

/// See the module's story.
#[derive(Debug, Default)]
pub(crate) struct Route {
    generation: Generation,
    is_attached: bool,
    lost_at: Option<Duration>,
    last_tag: u32,
    last_client: u64,
    outstanding: HashMap<u32, Outstanding>,
    /// Those of them that are the hub's own.
    closes: usize,
    /// Handles that are to be closed.
    owed: VecDeque<(u64, ClientId)>,
    clients: HashMap<ClientId, Client>,
    /// Export roots as the node named them.
    roots: Vec<u64>,
    takeovers: VecDeque<Duration>,
}

impl Route {
    /// The newest tunnel wins, always: whether the one before is alive or its link died in silence cannot be seen.
    pub(crate) fn attach(&mut self, now: Duration) -> Attached {
        let is_contested = self.is_attached && self.note_takeover(now);
        let is_first = self.generation == Generation::default();
        let failed = self.fail_all();
        self.generation.0 += 1;
        self.is_attached = true;
        self.lost_at = None;
        let event = |root: &u64| {
            format!(
                r#"{{"channel":"acheron","type":"acheron.e_fs_inval","payload":{{"node":{root},"what":"all"}}}}"#
            )
        };
        let roots: &[u64] = if is_first { &[] } else { &self.roots };
        Attached {
            generation: self.generation,
            failed,
            catch_up: roots.iter().map(event).collect(),
            subscribers: self.subscribers(self.generation).collect(),
            is_contested,
        }
    }

    /// Notes a takeover. Whether there were too many; then they are counted anew.
    fn note_takeover(&mut self, now: Duration) -> bool {
        self.takeovers.retain(|at| *at + CONTEST > now);
        if self.takeovers.len() >= TAKEOVERS {
            self.takeovers.clear();
            return true;
        }
        self.takeovers.push_back(now);
        false
    }

    /// `None` if another tunnel has taken its place already.
    pub(crate) fn detach(&mut self, generation: Generation, now: Duration) -> Option<Vec<Failed>> {
        if generation != self.generation || !self.is_attached {
            return None;
        }
        self.is_attached = false;
        self.lost_at = Some(now);
        Some(self.fail_all())
    }

    fn fail_all(&mut self) -> Vec<Failed> {
        // Handles died with the node's process, or the node closes them itself; nobody is to be told of them.
        self.owed.clear();
        self.closes = 0;
        let lost = self.outstanding.drain();
        let mut failed: Vec<_> = lost.filter_map(|(_, request)| request.failed()).collect();
        failed.retain(|failed| self.clients.contains_key(&failed.client));
        failed.sort_by_key(|failed| (failed.client, failed.tag.0));
        failed
    }

    pub(crate) fn lost_at(&self) -> Option<Duration> {
        self.lost_at
    }

    pub(crate) fn enter(&mut self, subscribes: bool) -> ClientId {
        self.last_client += 1;
        let id = ClientId(self.last_client);
        let client = Client {
            subscribes,
            ..Client::default()
        };
        self.clients.insert(id, client);
        id
    }

    pub(crate) fn set_subscription(&mut self, client: ClientId, subscribes: bool) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.subscribes = subscribes;
        }
    }

    /// A client is gone; its handles are to be closed.
    pub(crate) fn leave(&mut self, client: ClientId) {
        let handles = self.clients.remove(&client).unwrap_or_default().handles;
        for handle in handles {
            self.owe(handle, client);
        }
    }

    fn owe(&mut self, handle: u64, client: ClientId) {
        if self.is_attached && self.owed.len() < MOST_OWED {
            self.owed.push_back((handle, client));
        }
    }

    /// The next handle to close. There is one whenever a client has left, or one of these was answered or has expired.
    pub(crate) fn next_close(&mut self, now: Duration) -> Option<Close> {
        if !self.is_attached || self.closes >= MOST_CLOSES {
            return None;
        }
        let (handle, client) = self.owed.pop_front()?;
        self.closes += 1;
        let tag = self.note(
            client,
            Outstanding {
                client: None,
                tag: Tag(0),
                kind: FrameKind::Request(Op::Close),
                weight: 0,
                since: now,
            },
        );
        Some(Close { tag, handle, client })
    }

    /// The tag under which a client's request goes to the node.
    pub(crate) fn forward(
        &mut self,
        client: ClientId,
        peek: &FramePeek,
        weight: usize,
        now: Duration,
    ) -> Result<Tag, Unroutable> {
        if !self.is_attached {
            return Err(Unroutable::NoTunnel);
        }
        if self.outstanding.len() - self.closes >= MOST_OUTSTANDING {
            return Err(Unroutable::Busy);
        }
        if let Some(client) = self.clients.get_mut(&client) {
            match (peek.kind, peek.handle) {
                (FrameKind::Request(Op::Open | Op::Create), _) if client.handles.len() >= MOST_HANDLES => {
                    return Err(Unroutable::TooManyHandles);
                }
                (FrameKind::Request(Op::Close), Some(handle)) => {
                    client.handles.remove(&handle);
                }
                _ => {}
            }
        }
        Ok(self.note(
            client,
            Outstanding {
                client: Some(client),
                tag: peek.tag.unwrap_or_default(),
                kind: peek.kind,
                weight,
                since: now,
            },
        ))
    }

    fn note(&mut self, whose: ClientId, request: Outstanding) -> Tag {
        let client = whose.in_tags() << CLIENT_TAG_BITS;
        // There are far fewer requests than tags, so this ends soon; 0 means "no tag" to some.
        loop {
            self.last_tag = (self.last_tag + 1) % (1 << CLIENT_TAG_BITS);
            let tag = client | self.last_tag;
            if self.last_tag != 0 && !self.outstanding.contains_key(&tag) {
                self.outstanding.insert(tag, request);
                return Tag(tag);
            }
        }
    }

    /// Whom a frame of the node is for. Any frame with the tag completes the request; its type is not compared.
    pub(crate) fn answer(&mut self, generation: Generation, peek: &FramePeek, frame: &[u8]) -> Answered {
        if generation != self.generation {
            return Answered::Nobody;
        }
        let Some(request) = peek.tag.and_then(|tag| self.outstanding.remove(&tag.0)) else {
            return Answered::Nobody;
        };
        if peek.kind == FrameKind::Reply(Op::Exports)
            && let Some(roots) = export_roots(peek, frame)
        {
            self.roots = roots;
        }
        let opened = match request.kind {
            FrameKind::Request(Op::Open | Op::Create) => peek.opened,
            _ => None,
        };
        let Some(id) = request.client else {
            self.closes -= 1;
            return Answered::Nobody;
        };
        match (self.clients.get_mut(&id), opened) {
            (None, opened) => {
                if let Some(handle) = opened {
                    self.owe(handle, id);
                }
                return Answered::Nobody;
            }
            (Some(client), Some(handle)) => {
                client.handles.insert(handle);
            }
            (Some(_), None) => {}
        }
        Answered::Client {
            client: id,
            tag: request.tag,
            weight: request.weight,
        }
    }

    /// Clients that want the events of this tunnel.
    pub(crate) fn subscribers(&self, generation: Generation) -> impl Iterator<Item = ClientId> {
        let is_current = generation == self.generation;
        let clients = self.clients.iter();
        let wanting = clients.filter(move |(_, client)| is_current && client.subscribes);
        wanting.map(|(id, _)| *id)
    }

    /// Requests that have waited too long. Their late replies will be nobody's.
    pub(crate) fn expire(&mut self, now: Duration, patience: Duration) -> Vec<Failed> {
        let mut failed = Vec::new();
        let closes = &mut self.closes;
        self.outstanding.retain(|_, request| {
            let is_over = request.since + patience <= now;
            if is_over {
                match request.failed() {
                    Some(request) => failed.push(request),
                    None => *closes -= 1,
                }
            }
            !is_over
        });
        failed
    }

    /// How long the oldest request has waited.
    pub(crate) fn oldest(&self, now: Duration) -> Option<Duration> {
        let since = self.outstanding.values().map(|request| request.since).min()?;
        Some(now.saturating_sub(since))
    }
}

impl Outstanding {
    fn failed(&self) -> Option<Failed> {
        Some(Failed {
            client: self.client?,
            tag: self.tag,
            weight: self.weight,
        })
    }
}

fn export_roots(peek: &FramePeek, frame: &[u8]) -> Option<Vec<u64>> {
    let payload = peek.payload(frame)?;
    let exports = payload.member("exports")?.as_array()?;
    Some(
        exports
            .iter()
            .filter_map(|export| export.member("root")?.as_unsigned())
            .collect(),
    )
}

#[cfg(test)]
mod tests;
