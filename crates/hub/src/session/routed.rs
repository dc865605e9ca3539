//! A client that is routed to a node.
//!
//! Its requests are forwarded at once and in order; replies come as the node gives them. How much it may ask for
//! before it has read the answers is a window in bytes: beyond it the hub reads nothing more of this client, so a
//! client that does not read stops itself and nobody else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use spiderweb_protocol::control::{FrameKind, FramePeek, NodeId, RoutedHello, TunnelFault};
use spiderweb_protocol::fs::Op;
use spiderweb_protocol::limits::MAX_FRAME;
use spiderweb_protocol::{Errno, Secret, Tag};
use spiderweb_transport::{Frame, Message, WebSocket};
use tokio::time::Instant;

use super::{End, Peer, ReadingWatch, UNSUPPORTED_OPCODE, first_text, refuse, slow_down};
use crate::metrics::count;
use crate::outlet::{Goodbye, Outlet, Parcel};
use crate::pump::{Pumped, hand_over, pump};
use crate::router::route::{ClientId, Unroutable};
use crate::router::{MASKING, error_frame, unroutable_frame};
use crate::shared::Shared;

/// Bytes a client may have asked for and not read yet.
const WINDOW: usize = 8 * 1024 * 1024;
/// Requests a client may have on their way.
const MOST_REQUESTS: usize = 32;
/// What the reply to a read may weigh: a megabyte in base64.
const READ_WEIGHT: usize = 1_450_000;
/// What a page of a listing usually weighs.
const PAGE_WEIGHT: usize = 256 * 1024;
/// What any other reply may weigh.
const SMALL_WEIGHT: usize = 4 * 1024;
/// What a request's length is judged with, because its real tag is known only once it is on its way.
const LONGEST_TAG: Tag = Tag(u32::MAX);
/// Between two looks at whether the peer reads.
const TICK: Duration = Duration::from_secs(5);

/// A client past its hello.
struct Client {
    socket: WebSocket,
    node: NodeId,
    id: ClientId,
    outlet: Arc<Outlet>,
    shared: Arc<Shared>,
    /// Bytes held for replies, and how many they are.
    held: usize,
    requests: usize,
}

/// Serves a client until it leaves.
pub(crate) async fn serve(socket: WebSocket, node: NodeId, peer: Peer, shared: Arc<Shared>) {
    let Some((socket, text)) = first_text(socket, &peer, &shared).await else {
        return;
    };
    let (peek, hello, secret) = match admit(&text, &node, &shared).await {
        Ok(admitted) => admitted,
        Err((tag, fault)) => {
            tracing::debug!(%node, ?peer.address, %fault, "client refused");
            if fault == TunnelFault::NodeAuthFailed {
                slow_down(&peer, &shared).await;
            }
            let frame = error_frame(tag, fault.errno(), &fault.to_string());
            return refuse(socket, frame).await;
        }
    };
    let outlet = Arc::new(Outlet::default());
    let id = shared
        .router
        .enter(&node, hello.subscribe_invalidations, outlet.clone());
    let mut client = Client {
        socket,
        node,
        id,
        outlet,
        shared,
        held: 0,
        requests: 0,
    };
    client.forward_hello(&text, &peek, &hello, &secret).await;
    let end = client.converse().await;
    // A client that a stopping hub sends away goes on in the hub's next life, with the handles it has. The tunnel may be
    // busy at this moment and hand over once more what is queued for it.
    if !client.shared.tasks.stopped().is_cancelled() {
        client.shared.router.leave(&client.node, client.id);
    }
    end.finish(client.socket).await;
}

/// Judges a hello.
async fn admit(
    text: &[u8],
    node: &NodeId,
    shared: &Arc<Shared>,
) -> Result<(FramePeek, RoutedHello, Secret), (Option<Tag>, TunnelFault)> {
    let peek = FramePeek::of(text).map_err(|_| (None, TunnelFault::SomethingElse))?;
    let refused = |fault| (peek.tag, fault);
    match peek.kind {
        FrameKind::Request(Op::Hello) => {}
        FrameKind::Control => return Err((None, TunnelFault::WrongEndpoint)),
        _ => return Err(refused(TunnelFault::SomethingElse)),
    }
    if peek.tag.is_none() {
        return Err(refused(TunnelFault::MissingField));
    }
    let payload = peek.payload(text);
    let hello = RoutedHello::decode(payload.as_ref()).map_err(refused)?;
    let (id, token) = (node.clone(), hello.auth_token.clone());
    let is_admin = shared.tokens().admin.matches(token.expose());
    let admitted = shared.registry(move |registry, now_ms| {
        Ok(if is_admin {
            registry.admit_admin(&id)
        } else {
            registry.admit_client(&id, &token, now_ms)
        })
    });
    let secret = admitted
        .await
        .unwrap_or(Err(TunnelFault::NoTunnel))
        .map_err(refused)?;
    if !shared.router.is_connected(node)
        && !shared
            .router
            .wait_for_tunnel(node, shared.limits.tunnel_grace)
            .await
    {
        return Err(refused(TunnelFault::NoTunnel));
    }
    Ok((peek, hello, secret))
}

impl Client {
    /// A hello goes to the node, which answers with what it can do. It says the node's own secret: nodes know nothing
    /// of tickets.
    async fn forward_hello(&mut self, text: &[u8], peek: &FramePeek, hello: &RoutedHello, secret: &Secret) {
        if hello.auth_token.matches(secret.expose()) {
            return self.forward(text, peek).await;
        }
        let known = RoutedHello {
            auth_token: secret.clone(),
            ..hello.clone()
        };
        let text = peek.replace_payload(text, peek.tag.unwrap_or_default(), &known.encode_payload());
        match FramePeek::of(&text) {
            Ok(peek) => self.forward(&text, &peek).await,
            Err(_) => self
                .socket
                .queue(error_frame(peek.tag, Errno::EINVAL, "InvalidPayload")),
        }
    }

    async fn converse(&mut self) -> End {
        let mut tick = tokio::time::interval(TICK.min(self.shared.limits.unread));
        let mut reading = ReadingWatch::new();
        let mut last_tick = Instant::now();
        loop {
            let (held, requests) = (&mut self.held, &mut self.requests);
            hand_over(&mut self.socket, &self.outlet, |parcel| {
                *held = held.saturating_sub(parcel.weight);
                *requests = requests.saturating_sub(usize::from(parcel.is_reply));
            });
            if let Some(goodbye) = self.outlet.goodbye() {
                return End::Parting(goodbye);
            }
            let waits = self.held + self.outlet.bytes() + self.socket.queued_bytes();
            let reads = waits < WINDOW && self.requests < MOST_REQUESTS;
            let pumped = tokio::select! {
                biased;
                () = self.shared.tasks.stopped().cancelled() => return End::Parting(Goodbye::STOPPING),
                _ = tick.tick() => {
                    let since_last = last_tick.elapsed();
                    last_tick = Instant::now();
                    if reading.is_stuck(&self.socket, since_last, self.shared.limits.unread) {
                        return End::Parting(Goodbye::TOO_SLOW);
                    }
                    continue;
                }
                // What waits in the outlet is handed over before every wait, so messages do not starve it.
                pumped = pump(&mut self.socket, reads) => pumped,
                () = self.outlet.changed() => continue,
            };
            match pumped {
                Ok(Pumped::Message(Message::Text(text))) => {
                    if let Some(end) = self.handle(&text).await {
                        return end;
                    }
                }
                Ok(Pumped::Message(Message::Ping(payload))) => {
                    self.socket.queue(Frame::pong(MASKING, &payload));
                }
                Ok(Pumped::Message(Message::Unsupported { .. })) => {
                    self.socket
                        .queue(error_frame(None, Errno::EINVAL, UNSUPPORTED_OPCODE));
                }
                Ok(Pumped::Message(Message::Pong) | Pumped::Room) => {}
                Ok(Pumped::Message(Message::Close(payload))) => return End::Closed(payload),
                Ok(Pumped::Ended) => return End::Left,
                Err(error) => return End::Failed(error),
            }
        }
    }

    async fn handle(&mut self, text: &[u8]) -> Option<End> {
        let peek = match FramePeek::of(text) {
            Ok(peek) => peek,
            Err(error) => {
                self.complain(None, &error.to_string());
                return None;
            }
        };
        match (peek.kind, peek.tag) {
            (FrameKind::Control, _) => {
                self.complain(None, &TunnelFault::WrongEndpoint.to_string());
                Some(End::Refused)
            }
            (_, None) => {
                self.complain(None, "missing request tag");
                None
            }
            // An original node answers most requests that it does not know without their tag, so nobody would hear it.
            (FrameKind::Reply(_) | FrameKind::Error | FrameKind::Event | FrameKind::Other, tag) => {
                self.complain(tag, "UnsupportedType");
                None
            }
            (FrameKind::Request(Op::Hello), _) => match admit(text, &self.node, &self.shared).await {
                Ok((peek, hello, secret)) => {
                    let wants = hello.subscribe_invalidations;
                    self.shared.router.set_subscription(&self.node, self.id, wants);
                    self.forward_hello(text, &peek, &hello, &secret).await;
                    None
                }
                // No tunnel is no reason to lose the connection; everything else is.
                Err((tag, TunnelFault::NoTunnel)) => {
                    let frame = unroutable_frame(tag.unwrap_or_default(), Unroutable::NoTunnel);
                    self.socket.queue(frame);
                    None
                }
                Err((tag, fault)) => {
                    self.socket
                        .queue(error_frame(tag, fault.errno(), &fault.to_string()));
                    Some(End::Refused)
                }
            },
            (FrameKind::Request(_), Some(_)) => {
                self.forward(text, &peek).await;
                None
            }
        }
    }

    fn complain(&mut self, tag: Option<Tag>, message: &str) {
        self.socket.queue(error_frame(tag, Errno::EINVAL, message));
    }

    /// Sends a request to the node; if its tunnel has just gone, in the hope that it comes back.
    async fn forward(&mut self, text: &[u8], peek: &FramePeek) {
        // The node would drop its tunnel, and with it everybody else.
        if peek.retagged_len(text, LONGEST_TAG) > MAX_FRAME {
            return self.complain(peek.tag, "request too large");
        }
        let weight = text.len()
            + match peek.kind {
                FrameKind::Request(Op::Read) => READ_WEIGHT,
                FrameKind::Request(Op::Readdirp) => PAGE_WEIGHT,
                _ => SMALL_WEIGHT,
            };
        let router = &self.shared.router;
        let mut sent = router.forward(&self.node, self.id, peek, weight);
        if matches!(sent, Err(Unroutable::NoTunnel))
            && router
                .wait_for_tunnel(&self.node, self.shared.limits.tunnel_grace)
                .await
        {
            sent = router.forward(&self.node, self.id, peek, weight);
        }
        match sent {
            Ok(dispatch) => {
                self.held += weight;
                self.requests += 1;
                count(&self.shared.counters.forwarded);
                self.shared
                    .counters
                    .forwarded_bytes
                    .fetch_add(text.len() as u64, Ordering::Relaxed);
                let frame = Frame::text(MASKING, text.len() + 10, |out| {
                    peek.retag(text, dispatch.tag, out);
                });
                dispatch.tunnel.push(Parcel {
                    frame,
                    weight: 0,
                    is_reply: false,
                    from: Some(self.id),
                });
            }
            Err(why) => self
                .socket
                .queue(unroutable_frame(peek.tag.unwrap_or_default(), why)),
        }
    }
}
