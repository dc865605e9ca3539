//! Who serves whom: the tunnels, the clients that are routed through them, and everything that is on its way.
//!
//! [`route`] decides, for one node; here are the lock and the outlets. The lock is held for a look into tables, never
//! for the copying of a frame and never while something waits.

pub(crate) mod route;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spiderweb_protocol::control::{FramePeek, NodeId, TunnelInfo};
use spiderweb_protocol::fs::encode_error;
use spiderweb_protocol::limits::MAX_FRAME;
use spiderweb_protocol::{Errno, Tag};
use spiderweb_transport::{Frame, Masking};
use tokio::sync::Notify;
use tokio::time::Instant;

use self::route::{Answered, ClientId, Close, Failed, Generation, Route, Unroutable};
use crate::outlet::{Goodbye, Outlet, Parcel};

/// What a client is told whose request went down with a tunnel. Clients know this word.
const UNAVAILABLE: &str = "NodeTunnelUnavailable";

/// Bytes that may wait for a node; above it is busy.
const MOST_FOR_NODE: usize = 64 * 1024 * 1024;

/// Every frame from a hub goes to a client of the socket.
pub(crate) const MASKING: Masking = Masking::None;

/// All routes.
#[derive(Debug)]
pub(crate) struct Router {
    slots: Mutex<HashMap<NodeId, Slot>>,
    began: Instant,
}

#[derive(Debug, Default)]
struct Slot {
    route: Route,
    tunnel: Option<Arc<Outlet>>,
    clients: HashMap<ClientId, Arc<Outlet>>,
    since_ms: u64,
    changed: Arc<Notify>,
}

/// A tunnel's place in the router.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) generation: Generation,
    pub(crate) outlet: Arc<Outlet>,
    /// Two processes seem to use the node's identity.
    pub(crate) is_contested: bool,
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) struct Dispatch {
    pub(crate) tag: Tag,
    pub(crate) tunnel: Arc<Outlet>,
}

impl Router {
    pub(crate) fn new() -> Self {
        Self {
            slots: Mutex::new(HashMap::new()),
            began: Instant::now(),
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<NodeId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A node's tunnel stands. An older one is told to go, and what was on its way through it has failed.
    pub(crate) fn attach(&self, node: &NodeId, now_ms: u64) -> Attachment {
        let now = self.now();
        let mut slots = self.slots();
        let slot = slots.entry(node.clone()).or_default();
        let attached = slot.route.attach(now);
        let outlet = Arc::new(Outlet::default());
        if let Some(old) = slot.tunnel.replace(outlet.clone()) {
            old.end(Goodbye::REPLACED);
        }
        slot.since_ms = now_ms;
        slot.fail(&attached.failed);
        for event in &attached.catch_up {
            for client in &attached.subscribers {
                if let Some(client) = slot.clients.get(client) {
                    client.push_event(Frame::text_from(MASKING, event));
                }
            }
        }
        slot.changed.notify_waiters();
        Attachment {
            generation: attached.generation,
            outlet,
            is_contested: attached.is_contested,
        }
    }

    /// A tunnel is down. Whether it was the node's newest, so that the node is away now.
    pub(crate) fn detach(&self, node: &NodeId, generation: Generation) -> bool {
        let now = self.now();
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(node) else {
            return false;
        };
        let Some(failed) = slot.route.detach(generation, now) else {
            return false;
        };
        slot.tunnel = None;
        slot.fail(&failed);
        true
    }

    /// A client wants to be routed.
    pub(crate) fn enter(&self, node: &NodeId, subscribes: bool, outlet: Arc<Outlet>) -> ClientId {
        let mut slots = self.slots();
        let slot = slots.entry(node.clone()).or_default();
        let id = slot.route.enter(subscribes);
        slot.clients.insert(id, outlet);
        id
    }

    /// A client said hello again.
    pub(crate) fn set_subscription(&self, node: &NodeId, client: ClientId, subscribes: bool) {
        if let Some(slot) = self.slots().get_mut(node) {
            slot.route.set_subscription(client, subscribes);
        }
    }

    /// A client left; the handles it forgot are closed.
    pub(crate) fn leave(&self, node: &NodeId, client: ClientId) {
        let now = self.now();
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(node) else { return };
        slot.clients.remove(&client);
        slot.route.leave(client);
        slot.close_handles(now);
        if slot.is_idle() && slot.route.lost_at().is_none() {
            slots.remove(node);
        }
    }

    /// Forgets nodes that nobody is routed to and whose tunnel has been down for longer than `grace`; until then a
    /// client that comes back waits for it.
    pub(crate) fn forget_idle(&self, grace: Duration) {
        let now = self.now();
        self.slots().retain(|_, slot| {
            let is_awaited = slot.route.lost_at().is_some_and(|lost| lost + grace > now);
            !slot.is_idle() || is_awaited
        });
    }

    /// A client's request is to go to its node.
    pub(crate) fn forward(
        &self,
        node: &NodeId,
        client: ClientId,
        peek: &FramePeek,
        weight: usize,
    ) -> Result<Dispatch, Unroutable> {
        let now = self.now();
        let mut slots = self.slots();
        let slot = slots.get_mut(node).ok_or(Unroutable::NoTunnel)?;
        let tunnel = slot.tunnel.clone().ok_or(Unroutable::NoTunnel)?;
        if tunnel.bytes() > MOST_FOR_NODE {
            return Err(Unroutable::Busy);
        }
        let tag = slot.route.forward(client, peek, weight, now)?;
        Ok(Dispatch { tag, tunnel })
    }

    /// A node's reply came. Frames of a tunnel that was replaced go nowhere.
    pub(crate) fn answer(&self, node: &NodeId, generation: Generation, peek: &FramePeek, frame: &[u8]) {
        let now = self.now();
        let delivery = {
            let mut slots = self.slots();
            let Some(slot) = slots.get_mut(node) else { return };
            match slot.route.answer(generation, peek, frame) {
                Answered::Nobody => {
                    slot.close_handles(now);
                    None
                }
                Answered::Client { client, tag, weight } => {
                    let outlet = slot.clients.get(&client).cloned();
                    outlet.map(|outlet| (outlet, tag, weight))
                }
            }
        };
        if let Some((outlet, tag, weight)) = delivery {
            // The client would hang up at a frame that only its own, longer tag makes too large.
            let frame = if peek.retagged_len(frame, tag) > MAX_FRAME {
                error_frame(Some(tag), Errno::EINVAL, "reply too large")
            } else {
                Frame::text(MASKING, frame.len() + 10, |out| peek.retag(frame, tag, out))
            };
            outlet.push(Parcel {
                frame,
                weight,
                is_reply: true,
                from: None,
            });
        }
    }

    /// A node's event came.
    pub(crate) fn publish(&self, node: &NodeId, generation: Generation, frame: &[u8]) {
        let outlets: Vec<_> = {
            let slots = self.slots();
            let Some(slot) = slots.get(node) else { return };
            let subscribers = slot.route.subscribers(generation);
            subscribers
                .filter_map(|client| slot.clients.get(&client).cloned())
                .collect()
        };
        for outlet in outlets {
            outlet.push_event(Frame::text(MASKING, frame.len(), |out| {
                out.extend_from_slice(frame);
            }));
        }
    }

    /// Gives up on requests that were not answered in time. Says how long the oldest one left has waited.
    pub(crate) fn expire(&self, node: &NodeId, patience: Duration) -> Option<Duration> {
        let now = self.now();
        let mut slots = self.slots();
        let slot = slots.get_mut(node)?;
        let failed = slot.route.expire(now, patience);
        slot.fail(&failed);
        slot.close_handles(now);
        slot.route.oldest(now)
    }

    /// Whether the node's tunnel stands.
    pub(crate) fn is_connected(&self, node: &NodeId) -> bool {
        self.slots().get(node).is_some_and(|slot| slot.tunnel.is_some())
    }

    /// The node's tunnel, for people.
    pub(crate) fn tunnel_info(&self, node: &NodeId) -> Option<TunnelInfo> {
        let slots = self.slots();
        let slot = slots.get(node).filter(|slot| slot.tunnel.is_some())?;
        Some(TunnelInfo {
            since_ms: slot.since_ms,
            clients: slot.clients.len(),
        })
    }

    /// Tunnels that stand, and clients, for the metrics.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let slots = self.slots();
        let tunnels = slots.values().filter(|slot| slot.tunnel.is_some()).count();
        (tunnels, slots.values().map(|slot| slot.clients.len()).sum())
    }

    /// Waits until the node's tunnel stands, at most until `grace` after it was lost. Says whether it does.
    pub(crate) async fn wait_for_tunnel(&self, node: &NodeId, grace: Duration) -> bool {
        loop {
            let (changed, left) = {
                let slots = self.slots();
                let Some(slot) = slots.get(node) else { return false };
                if slot.tunnel.is_some() {
                    return true;
                }
                let Some(lost) = slot.route.lost_at() else {
                    return false;
                };
                (slot.changed.clone(), (lost + grace).saturating_sub(self.now()))
            };
            let changed = changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.is_connected(node) {
                return true;
            }
            if tokio::time::timeout(left, changed).await.is_err() {
                return self.is_connected(node);
            }
        }
    }

    /// Ends the node's tunnel and everybody routed through it.
    pub(crate) fn evict(&self, node: &NodeId) {
        let slots = self.slots();
        let Some(slot) = slots.get(node) else { return };
        for outlet in slot.tunnel.iter().chain(slot.clients.values()) {
            outlet.end(Goodbye::NODE_GONE);
        }
    }
}

impl Slot {
    /// Whether nobody is there.
    fn is_idle(&self) -> bool {
        self.tunnel.is_none() && self.clients.is_empty()
    }

    /// Tells clients that their requests failed.
    fn fail(&self, failed: &[Failed]) {
        for Failed { client, tag, weight } in failed {
            if let Some(outlet) = self.clients.get(client) {
                outlet.push(Parcel {
                    frame: error_frame(Some(*tag), Errno::EIO, UNAVAILABLE),
                    weight: *weight,
                    is_reply: true,
                    from: None,
                });
            }
        }
    }

    /// Has the node close what clients left open, as far as it keeps up.
    fn close_handles(&mut self, now: Duration) {
        let Some(tunnel) = &self.tunnel else { return };
        while let Some(Close { tag, handle, client }) = self.route.next_close(now) {
            let text = format!(
                r#"{{"channel":"acheron","type":"acheron.t_fs_close","tag":{},"h":{handle},"payload":{{}}}}"#,
                tag.0
            );
            tunnel.push(Parcel {
                frame: Frame::text_from(MASKING, &text),
                weight: 0,
                is_reply: false,
                // Behind what the client asked of the handle.
                from: Some(client),
            });
        }
    }
}

/// An error of the file protocol.
pub(crate) fn error_frame(tag: Option<Tag>, errno: Errno, message: &str) -> Frame {
    Frame::text(MASKING, 160 + message.len(), |out| {
        encode_error(tag, errno, message, out);
    })
}

/// What a client is told whose request could not be forwarded.
pub(crate) fn unroutable_frame(tag: Tag, why: Unroutable) -> Frame {
    match why {
        Unroutable::NoTunnel => error_frame(Some(tag), Errno::EIO, UNAVAILABLE),
        Unroutable::Busy => error_frame(Some(tag), Errno::EAGAIN, "tunnel busy"),
        Unroutable::TooManyHandles => error_frame(Some(tag), Errno::EMFILE, "too many open handles"),
    }
}
