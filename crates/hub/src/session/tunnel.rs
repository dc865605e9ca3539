//! A node's tunnel: after the hello the direction turns, and the hub asks.

use std::sync::Arc;
use std::time::Duration;

use spiderweb_protocol::Errno;
use spiderweb_protocol::control::{
    Code, FrameKind, FramePeek, NodeId, Refusal, TunnelFault, TunnelHello, tunnel_refusal, tunnel_welcome,
};
use spiderweb_protocol::fs::Op;
use spiderweb_transport::{Frame, Message, WebSocket};
use tokio::time::Instant;

use super::{End, MOST_UNREAD, Peer, ReadingWatch, UNSUPPORTED_OPCODE, first_text, refuse, slow_down};
use crate::audit::Entry;
use crate::config::Limits;
use crate::outlet::Goodbye;
use crate::pump::{Pumped, hand_over, pump};
use crate::router::{Attachment, MASKING, error_frame};
use crate::shared::Shared;

/// Between two looks at requests that nobody answers.
const TICK: Duration = Duration::from_secs(1);

/// Serves a node until it leaves.
pub(crate) async fn serve(socket: WebSocket, peer: Peer, shared: Arc<Shared>) {
    let Some((mut socket, text)) = first_text(socket, &peer, &shared).await else {
        return;
    };
    let (node, attachment) = match admit(&text, &shared).await {
        Ok(admitted) => admitted,
        Err((peek, fault, node)) => {
            if let Some(node) = node {
                tracing::info!(%node, %fault, "tunnel refused");
                note(&shared, "tunnel.hello", &node, Some(fault.to_string()), &peer);
            }
            if fault == TunnelFault::NodeAuthFailed {
                slow_down(&peer, &shared).await;
            }
            let tag = peek
                .filter(|peek| peek.kind != FrameKind::Control)
                .and_then(|peek| peek.tag);
            let frame = Frame::text_from(MASKING, &tunnel_refusal(tag, fault));
            return refuse(socket, frame).await;
        }
    };
    let tag = FramePeek::of(&text)
        .ok()
        .and_then(|peek| peek.tag)
        .unwrap_or_default();
    socket.queue(Frame::text_from(MASKING, &tunnel_welcome(tag, &node)));
    tracing::info!(%node, "tunnel stands");
    if attachment.is_contested {
        tracing::warn!(%node, "tunnels of this node replace each other; two processes seem to use its identity");
    }
    shared.topology_changed("availability_changed");
    let end = converse(&mut socket, &node, &attachment, &shared).await;
    if shared.router.detach(&node, attachment.generation) {
        tracing::info!(%node, "tunnel is down");
        shared.topology_changed("availability_changed");
    } else {
        note(&shared, "tunnel.takeover", &node, None, &peer);
    }
    end.finish(socket).await;
}

fn note(shared: &Shared, what: &str, node: &NodeId, error: Option<String>, peer: &Peer) {
    shared.audit(Entry {
        timestamp_ms: shared.clock.now_ms(),
        agent_id: node.to_string(),
        control_type: what.to_owned(),
        scope: "node",
        correlation_id: None,
        error,
        address: peer.address.map(|address| address.to_string()),
    });
}

type Refused = (Option<FramePeek>, TunnelFault, Option<NodeId>);

/// Judges the first frame.
async fn admit(text: &[u8], shared: &Arc<Shared>) -> Result<(NodeId, Attachment), Refused> {
    let peek = FramePeek::of(text).map_err(|_| (None, TunnelFault::SomethingElse, None))?;
    let refused = |fault, node| (Some(peek.clone()), fault, node);
    if peek.kind != FrameKind::Request(Op::Hello) {
        return Err(refused(TunnelFault::SomethingElse, None));
    }
    let payload = peek.payload(text);
    let hello = TunnelHello::decode(payload.as_ref()).map_err(|fault| refused(fault, None))?;
    let node = hello.node_id.clone();
    let attachment = attach(hello, shared)
        .await
        .map_err(|fault| refused(fault, Some(node.clone())))?;
    Ok((node, attachment))
}

async fn attach(hello: TunnelHello, shared: &Arc<Shared>) -> Result<Attachment, TunnelFault> {
    let TunnelHello { node_id, node_secret } = hello;
    let standing = shared.clone();
    // Within the registry's turn: a node that is deleted afterwards takes the tunnel with it.
    let attached = shared.registry(move |registry, now_ms| {
        registry.authenticate(&node_id, &node_secret)?;
        Ok(standing.router.attach(&node_id, now_ms))
    });
    attached.await.map_err(|refusal| fault_of(&refusal))
}

async fn authenticate(hello: TunnelHello, shared: &Arc<Shared>) -> Result<(), TunnelFault> {
    let TunnelHello { node_id, node_secret } = hello;
    let checked = shared.registry(move |registry, _| registry.authenticate(&node_id, &node_secret));
    checked.await.map_err(|refusal| fault_of(&refusal))
}

fn fault_of(refusal: &Refusal) -> TunnelFault {
    match refusal.code {
        Code::NodeNotFound => TunnelFault::NodeNotFound,
        Code::NodeAuthFailed => TunnelFault::NodeAuthFailed,
        // Never one of the two words that make a node forget itself.
        _ => TunnelFault::NoTunnel,
    }
}

/// Whether a tunnel counts as dead that was last heard of so long ago, and whose oldest request has waited so long.
///
/// A node that does one thing at a time answers pings late, so something asked of it is a reason to wait: but for one
/// request and not for ever, because clients ask again and again.
fn is_silent(since: Duration, oldest: Option<Duration>, limits: &Limits) -> bool {
    let is_busy = oldest.is_some_and(|age| age < limits.tunnel_silence);
    let patience = if is_busy {
        limits.tunnel_silence + limits.request
    } else {
        limits.tunnel_silence
    };
    since >= patience
}

async fn converse(
    socket: &mut WebSocket,
    node: &NodeId,
    attachment: &Attachment,
    shared: &Arc<Shared>,
) -> End {
    let Attachment {
        generation, outlet, ..
    } = attachment;
    let limits = &shared.limits;
    let mut tick = tokio::time::interval(TICK.min(limits.ping_every));
    let mut ping = tokio::time::interval(limits.ping_every);
    let mut reading = ReadingWatch::new();
    let mut last_tick = Instant::now();
    let (mut heard, mut bytes_read) = (Instant::now(), socket.bytes_read());
    loop {
        hand_over(socket, outlet, |_| {});
        if let Some(goodbye) = outlet.goodbye() {
            return End::Parting(goodbye);
        }
        // Pongs alone: everything else waits in the outlet.
        if socket.queued_bytes() > MOST_UNREAD {
            return End::Parting(Goodbye::TOO_SLOW);
        }
        let pumped = tokio::select! {
            biased;
            () = shared.tasks.stopped().cancelled() => return End::Parting(Goodbye::STOPPING),
            _ = tick.tick() => {
                let oldest = shared.router.expire(node, limits.request);
                if socket.bytes_read() != bytes_read {
                    (heard, bytes_read) = (Instant::now(), socket.bytes_read());
                }
                if is_silent(heard.elapsed(), oldest, limits) {
                    return End::Parting(Goodbye::SILENT);
                }
                let since_last = last_tick.elapsed();
                last_tick = Instant::now();
                if reading.is_stuck(socket, since_last, limits.unread) {
                    return End::Parting(Goodbye::TOO_SLOW);
                }
                continue;
            }
            _ = ping.tick() => {
                socket.queue(Frame::ping(MASKING, b"hub"));
                continue;
            }
            // What waits in the outlet is handed over before every wait, so messages do not starve it.
            pumped = pump(socket, true) => pumped,
            () = outlet.changed() => continue,
        };
        let text = match pumped {
            Ok(Pumped::Message(Message::Text(text))) => text,
            Ok(Pumped::Message(Message::Ping(payload))) => {
                socket.queue(Frame::pong(MASKING, &payload));
                continue;
            }
            Ok(Pumped::Message(Message::Unsupported { .. })) => {
                socket.queue(error_frame(None, Errno::EINVAL, UNSUPPORTED_OPCODE));
                continue;
            }
            Ok(Pumped::Message(Message::Pong) | Pumped::Room) => continue,
            Ok(Pumped::Message(Message::Close(payload))) => return End::Closed(payload),
            Ok(Pumped::Ended) => return End::Left,
            Err(error) => return End::Failed(error),
        };
        // What nobody can read is for nobody.
        let Ok(peek) = FramePeek::of(&text) else { continue };
        match peek.kind {
            FrameKind::Request(Op::Hello) => {
                let payload = peek.payload(&text);
                let answer = match TunnelHello::decode(payload.as_ref()) {
                    Ok(hello) if hello.node_id != *node => Err(TunnelFault::AnotherNode),
                    Ok(hello) => authenticate(hello, shared).await,
                    Err(fault) => Err(fault),
                };
                let text = match answer {
                    Ok(()) => tunnel_welcome(peek.tag.unwrap_or_default(), node),
                    Err(fault) => tunnel_refusal(peek.tag, fault),
                };
                socket.queue(Frame::text_from(MASKING, &text));
                if answer.is_err() {
                    return End::Refused;
                }
            }
            FrameKind::Event => shared.router.publish(node, *generation, &text),
            FrameKind::Request(_) | FrameKind::Control => {}
            FrameKind::Reply(_) | FrameKind::Error | FrameKind::Other => {
                shared.router.answer(node, *generation, &peek, &text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_that_is_silent_ends_however_much_is_asked_of_it() {
        let seconds = Duration::from_secs;
        let limits = Limits::default();
        for (since, oldest, silent) in [
            (59, None, false),
            (60, None, true),
            // A node that works on one thing for long.
            (60, Some(44), false),
            (104, Some(44), false),
            // Clients that repeat what was not answered keep nothing alive.
            (105, Some(1), true),
            (105, Some(44), true),
        ] {
            assert_eq!(
                is_silent(seconds(since), oldest.map(seconds), &limits),
                silent,
                "{since} {oldest:?}"
            );
        }
    }
}
