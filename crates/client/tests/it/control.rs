//! A hub's control connection, against a hub whose every word is written by the test.

use std::time::Duration;

use serde_json::{Value, json};
use spiderweb_client::{CatalogChange, Control, ControlError, ControlOptions};
use spiderweb_protocol::Secret;
use spiderweb_protocol::control::NodeId;
use spiderweb_transport::{Frame, Masking, Message, WebSocket};

use crate::peer::{Peer, SOON};

/// The hub's end of a connection.
pub(crate) struct Desk(WebSocket);

impl Desk {
    pub(crate) fn new(socket: WebSocket) -> Self {
        Self(socket)
    }

    /// The next request.
    pub(crate) async fn asked(&mut self) -> Value {
        loop {
            match self.0.receive().await.unwrap().expect("the client hung up") {
                Message::Text(text) => return serde_json::from_slice(&text).unwrap(),
                Message::Pong => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn say(&mut self, frame: &Value) {
        let frame = Frame::text_from(Masking::None, &frame.to_string());
        self.0.send(frame).await.unwrap();
    }

    pub(crate) async fn answer(&mut self, request: &Value, kind: &str, payload: Value) {
        self.say(
            &json!({"channel": "control", "type": kind, "id": request["id"], "ok": true, "payload": payload}),
        )
        .await;
    }

    /// Shakes hands as a hub that speaks these words.
    pub(crate) async fn greet(&mut self, version: Value) {
        let asked = self.asked().await;
        assert_eq!(
            (&asked["type"], &asked["payload"]),
            (&json!("control.version"), &json!({"protocol": "unified-v2"}))
        );
        self.answer(&asked, "control.version_ack", version).await;
        let asked = self.asked().await;
        assert_eq!(asked["type"], "control.connect");
        self.answer(&asked, "control.connect_ack", json!({"role": "admin"}))
            .await;
    }
}

pub(crate) const SEED: &str = r#"{"protocol":"unified-v2","fsrpc_node":"unified-v2-fs"}"#;
const HEAD: &str = r#"{"protocol":"unified-v2","acheron_node":"unified-v2-fs"}"#;

pub(crate) fn options(peer: &Peer) -> ControlOptions {
    ControlOptions {
        timeout: SOON,
        ..ControlOptions::new(peer.url.with_target("/").unwrap())
    }
}

/// A connection past its handshake, and the hub's end of it.
async fn meet(options: ControlOptions, peer: &Peer, version: &str) -> (Control, Desk) {
    let (control, desk) = tokio::join!(Control::connect(options), async {
        let mut desk = Desk(peer.accept_raw().await);
        desk.greet(serde_json::from_str(version).unwrap()).await;
        desk
    });
    (control.unwrap(), desk)
}

fn node(id: &str) -> NodeId {
    NodeId::new(id).unwrap()
}

#[tokio::test]
async fn what_was_not_asked_for_is_skipped_and_ids_are_used_once() {
    let peer = Peer::listen().await;
    let (mut control, mut desk) = meet(options(&peer), &peer, SEED).await;
    let hub = async {
        let first = desk.asked().await;
        assert_eq!(first["type"], "control.node_list");
        desk.say(&json!({"type": "debug.event", "request": "x", "category": "c", "payload": {}}))
            .await;
        desk.say(&json!({"channel": "control", "type": "control.future", "ok": true, "payload": {}}))
            .await;
        desk.say(
            &json!({"channel": "control", "type": "control.error", "id": "another", "ok": false,
            "error": {"code": "forbidden", "message": "no"}}),
        )
        .await;
        desk.0.send(Frame::ping(Masking::None, b"there?")).await.unwrap();
        let nodes = json!([{"node_id": "node-1", "node_name": "edge", "extra": [1]}]);
        desk.answer(&first, "control.node_list", json!({"nodes": nodes}))
            .await;
        let second = desk.asked().await;
        assert_eq!(second["type"], "control.node_service_get");
        assert_ne!(first["id"], second["id"]);
        desk.answer(
            &second,
            "control.node_service_get",
            json!({"services": [{"no": "id"}]}),
        )
        .await;
    };
    let (nodes, ()) = tokio::join!(
        async {
            let nodes = control.nodes().await.unwrap();
            assert_eq!(control.catalog(&nodes[0].node_id).await.unwrap(), []);
            nodes
        },
        hub
    );
    assert_eq!(nodes[0].node_name, "edge");
}

#[tokio::test]
async fn a_hub_of_the_newer_generation_is_asked_in_its_words() {
    let peer = Peer::listen().await;
    let (mut control, mut desk) = meet(options(&peer), &peer, HEAD).await;
    let (catalog, projects) = {
        let hub = async {
            let asked = desk.asked().await;
            assert_eq!(asked["type"], "control.venom_get");
            let entry = json!({"venom_id": "echo", "kind": "echo", "endpoints": ["/nodes/node-1/echo"]});
            desk.answer(&asked, "control.venom_get", json!({"venoms": [entry]}))
                .await;
            let asked = desk.asked().await;
            assert_eq!(asked["type"], "control.workspace_list");
            let project = json!({"workspace_id": "proj-1", "name": "demo", "mount_count": 2});
            desk.answer(&asked, "control.workspace_list", json!({"workspaces": [project]}))
                .await;
        };
        let client = async {
            let catalog = control.catalog(&node("node-1")).await.unwrap();
            (catalog, control.projects().await.unwrap())
        };
        tokio::join!(client, hub).0
    };
    assert_eq!((catalog[0].id(), projects[0].mount_count), ("echo", 2));
}

#[tokio::test]
async fn an_answer_without_id_or_none_at_all_does_not_hang() {
    let peer = Peer::listen().await;
    let patient = ControlOptions {
        timeout: Duration::from_millis(50),
        ..options(&peer)
    };
    // A refusal without id can only be about the one question there is.
    let (mut control, mut desk) = meet(options(&peer), &peer, SEED).await;
    let (refused, ()) = tokio::join!(control.invites(), async {
        desk.asked().await;
        desk.say(
            &json!({"channel": "control", "type": "control.error", "ok": false,
            "error": {"code": "invalid_envelope", "message": "UnsupportedType"}}),
        )
        .await;
    });
    let refused = refused.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the hub refused node_invite_list: invalid_envelope: UnsupportedType"
    );

    let (mut control, mut desk) = meet(patient, &peer, SEED).await;
    let (silent, ()) = tokio::join!(control.nodes(), async {
        desk.asked().await;
        desk.say(
            &json!({"channel": "control", "type": "control.node_list", "ok": true, "payload": {"nodes": []}}),
        )
        .await;
    });
    assert!(
        matches!(&silent, Err(ControlError::TimedOut { operation, .. }) if operation == "node_list"),
        "{silent:?}"
    );
}

#[tokio::test]
async fn the_operator_token_goes_where_it_is_asked_for_and_never_into_words() {
    let peer = Peer::listen().await;
    let options = ControlOptions {
        operator: Some(Secret::new("op-secret")),
        token: Some(Secret::new("bearer-secret")),
        ..options(&peer)
    };
    assert!(!format!("{options:?}").contains("secret"), "{options:?}");
    let (mut control, mut desk) = meet(options, &peer, SEED).await;
    let (refused, ()) = tokio::join!(control.pending(), async {
        let asked = desk.asked().await;
        assert_eq!(asked["payload"], json!({"operator_token": "op-secret"}));
        desk.say(
            &json!({"channel": "control", "type": "control.error", "id": asked["id"], "ok": false,
            "error": {"code": "operator_auth_failed", "message": "OperatorAuthFailed"}}),
        )
        .await;
    });
    let refused = refused.unwrap_err().to_string();
    assert_eq!(
        refused,
        "the hub refused node_join_pending_list: operator_auth_failed: OperatorAuthFailed"
    );
}

#[tokio::test]
async fn a_wrong_token_is_told_apart_whichever_way_a_hub_says_so() {
    let peer = Peer::listen().await;
    for said in [
        json!({"type": "error", "request": "unknown", "code": "provider_auth_failed", "message": "forbidden", "timestamp": 1}),
        json!({"channel": "control", "type": "control.error", "ok": false,
            "error": {"code": "auth_failed", "message": "bearer token missing or unknown"}}),
    ] {
        let (refused, ()) = tokio::join!(Control::connect(options(&peer)), async {
            Desk(peer.accept_raw().await).say(&said).await;
        });
        assert!(matches!(refused, Err(ControlError::Denied { .. })), "{refused:?}");
    }
    let (lost, ()) = tokio::join!(Control::connect(options(&peer)), async {
        peer.accept_raw().await.close().await.unwrap();
    });
    assert!(
        lost.unwrap_err().to_string().contains("when the token is wrong"),
        "a hub that hangs up"
    );
}

#[tokio::test]
async fn catalog_changes_are_told_in_order_past_ones_first() {
    let peer = Peer::listen().await;
    let (mut control, mut desk) = meet(options(&peer), &peer, SEED).await;
    let event = |delta: Value| {
        json!({"channel": "control", "type": "control.node_service_event", "ok": true, "payload": {
            "node_id": "node-1", "node_name": "edge",
            "services": [{"service_id": "echo", "state": "degraded"}], "service_delta": delta}})
    };
    let id = node("node-1");
    let (watched, ()) = tokio::join!(control.watch(Some(&id)), async {
        let asked = desk.asked().await;
        assert_eq!(asked["payload"]["node_id"], "node-1");
        desk.say(&event(
            json!({"timestamp_ms": 5, "added": [{"service_id": "echo", "version": "1"}]}),
        ))
        .await;
        desk.answer(&asked, "control.node_service_watch", json!({"enabled": true}))
            .await;
        desk.say(&event(
            json!({"removed": [{"service_id": "gone", "version": "2"}]}),
        ))
        .await;
    });
    watched.unwrap();
    let first = control.next_event().await.unwrap();
    assert_eq!((first.node_name.as_str(), first.timestamp_ms), ("edge", 5));
    assert!(
        matches!(&first.changes[..], [CatalogChange::Added(mark)] if mark.state.as_deref() == Some("degraded")),
        "{first:?}"
    );
    let second = control.next_event().await.unwrap();
    assert!(
        matches!(&second.changes[..], [CatalogChange::Removed(mark)] if mark.id == "gone" && mark.state.is_none()),
        "{second:?}"
    );
}
