//! Accepts connections, reads what they ask for, and hands them to sessions.

use std::sync::Arc;

use spiderweb_daemon::accept;
use spiderweb_protocol::control::{NodeId, server_error};
use spiderweb_transport::{Asked, Frame, Link, PageRequest, Upgrade, UpgradeLimits, WebSocket};
use tokio::net::TcpListener;

use crate::router::MASKING;
use crate::session::{self, Peer};
use crate::shared::Shared;
use crate::tokens::{Principal, digest};

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Control,
    Tunnel,
    Routed(NodeId),
    OwnFiles,
    Nowhere,
}

fn place(target: &str) -> Place {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    match path {
        "/" => Place::Control,
        "/v2/node" | "/v2/node/" => Place::Tunnel,
        "/v2/fs" if query.is_none() => Place::OwnFiles,
        _ => match path.strip_prefix("/v2/fs/node/").map(NodeId::new) {
            Some(Ok(node)) => Place::Routed(node),
            _ => Place::Nowhere,
        },
    }
}

/// Accepts until the hub stops.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let (limit, tasks) = (shared.limits.connections, shared.tasks.clone());
    accept(listener, limit, tasks, |link| connection(link, shared.clone())).await;
}

/// Serves one connection from its first byte.
pub(crate) async fn connection(link: Link, shared: Arc<Shared>) {
    let limits = UpgradeLimits::default();
    let asked = tokio::select! {
        () = shared.tasks.stopped().cancelled() => return,
        asked = Upgrade::accept_any(link, &limits) => asked,
    };
    match asked {
        Ok(Asked::WebSocket(upgrade)) => welcome(upgrade, shared).await,
        Ok(Asked::Page(page)) => answer(page, &shared).await,
        Err(error) => tracing::debug!(%error, "connection without upgrade"),
    }
}

async fn welcome(upgrade: Upgrade, shared: Arc<Shared>) {
    let place = place(upgrade.path());
    let authorization = upgrade.authorization();
    let principal = shared.tokens().principal(authorization);
    let allows_anonymous = shared.tokens().allows_anonymous;
    let peer = Peer {
        principal: principal.filter(|who| allows_anonymous || *who != Principal::Anonymous),
        bearer: digest(authorization),
        address: upgrade.peer().map(|peer| peer.ip()),
        host: upgrade
            .host()
            .filter(|host| is_authority(host))
            .map(str::to_owned),
    };
    let socket = match upgrade.complete().await {
        Ok(socket) => socket,
        Err(error) => return tracing::debug!(%error, "connection lost during the upgrade"),
    };
    match place {
        Place::Control => session::control::serve(socket, peer, shared).await,
        Place::Tunnel => session::tunnel::serve(socket, peer, shared).await,
        Place::Routed(node) => session::routed::serve(socket, node, peer, shared).await,
        Place::OwnFiles => session::turn_off(socket, &peer, &shared).await,
        Place::Nowhere => {
            let text = server_error(
                "invalid_envelope",
                "invalid websocket path",
                shared.clock.now_ms(),
            );
            part(socket, Frame::text_from(MASKING, &text)).await;
        }
    }
}

async fn part(mut socket: WebSocket, frame: Frame) {
    socket.queue(frame);
    let _ = socket.close().await;
}

/// What a peer may call this hub: it ends up in addresses that others are told to dial.
fn is_authority(host: &str) -> bool {
    (1..=255).contains(&host.len())
        && host.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'_')
        })
}

/// Answers those who only look whether all is well: no names, only numbers.
async fn answer(page: PageRequest, shared: &Arc<Shared>) {
    const TEXT: &str = "text/plain; charset=utf-8";
    let path = page.path().split('?').next().unwrap_or_default().to_owned();
    let answered = match path.as_str() {
        "/livez" => page.answer(200, TEXT, "ok\n").await,
        "/readyz" if shared.keeps_changes().await => page.answer(200, TEXT, "ready\n").await,
        "/readyz" => page.answer(503, TEXT, "not ready\n").await,
        "/metrics" | "/metrics.json" => match shared.gauges().await {
            Err(_) => page.answer(503, TEXT, "not ready\n").await,
            Ok(gauges) if path == "/metrics" => {
                let text = shared.counters.prometheus(gauges);
                page.answer(200, "text/plain; version=0.0.4", &text).await
            }
            Ok(gauges) => {
                page.answer(200, "application/json", &shared.counters.json(gauges))
                    .await
            }
        },
        "/" | "/v2/node" | "/v2/fs" => page.demand_upgrade().await,
        _ => page.answer(404, TEXT, "there is nothing here\n").await,
    };
    if let Err(error) = answered {
        tracing::debug!(%error, "an answer was not delivered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_the_original_leads() {
        let node = |id| Place::Routed(NodeId::new(id).unwrap());
        for (target, expected) in [
            ("/", Place::Control),
            ("/?a=1", Place::Control),
            ("/v2/node", Place::Tunnel),
            ("/v2/node/", Place::Tunnel),
            ("/v2/node?x=1", Place::Tunnel),
            ("/v2/fs", Place::OwnFiles),
            ("/v2/fs/node/node-1", node("node-1")),
            ("/v2/fs/node/node-1?x", node("node-1")),
            ("/v2/fs/node/node-1/", Place::Nowhere),
            ("/v2/fs/node/", Place::Nowhere),
            ("/v2/agent", Place::Nowhere),
            ("", Place::Nowhere),
        ] {
            assert_eq!(place(target), expected, "{target}");
        }
    }

    #[test]
    fn odd_names_of_this_hub_are_not_passed_on() {
        for (host, is_fine) in [
            ("hub.example:18790", true),
            ("[::1]:18790", true),
            ("a b", false),
            ("x/v2/fs", false),
            ("", false),
        ] {
            assert_eq!(is_authority(host), is_fine, "{host}");
        }
    }
}
