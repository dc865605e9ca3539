//! What peers get that are wrong, odd or curious.

use std::time::Duration;

use serde_json::{Value, json};
use spiderweb_hub::store::MemoryStore;
use spiderweb_hub::{Database, Hub};
use spiderweb_testkit::RawPeer;
use spiderweb_transport::{Frame, Masking};

use crate::peer::{ADMIN, Control, NODE, PATIENCE, Peer, start};

#[tokio::test]
async fn a_wrong_token_is_told_so_under_the_requests_id() {
    let (hub, _) = start(|_| {}).await;
    let mut peer = Peer::dial(&hub, "/", Some("guess")).await;
    let version = json!({"channel": "control", "type": "control.version", "id": "fs-node-version", "payload": {"protocol": "unified-v2"}});
    peer.send(&version).await;
    let refused = peer.next().await;
    assert_eq!(refused["id"], "fs-node-version");
    assert_eq!(
        refused["error"],
        json!({"code": "auth_failed", "message": "bearer token missing or unknown"})
    );
    assert_eq!(peer.next().await["close"], 0);
    // Without a token one gets as far as a secret leads.
    let mut nobody = Control::dial(&hub, None).await;
    assert_eq!(nobody.refused("node_list", json!({})).await, "auth_failed");

    let (strict, _) = start(|config| config.tokens.allows_anonymous = false).await;
    let mut peer = Peer::dial(&strict, "/", None).await;
    peer.send(&version).await;
    assert_eq!(peer.next().await["error"]["code"], "auth_failed");
}

/// Whoever has shown nothing yet cannot make the hub hold much; whoever has a token may begin with a large message.
#[tokio::test]
async fn strangers_begin_with_small_messages() {
    let (hub, _) = start(|_| {}).await;
    let padded = json!({"channel": "acheron", "type": "acheron.t_fs_hello", "tag": 1, "payload": {"x": "y".repeat(100_000)}});
    for (token, is_heard) in [(None, false), (Some("guess"), false), (Some(NODE), true)] {
        for path in ["/v2/node", "/v2/fs/node/node-1"] {
            let mut peer = Peer::dial(&hub, path, token).await;
            // The hub may hang up before it has all of it.
            let _ = peer
                .0
                .send(Frame::text_from(Masking::Client, &padded.to_string()))
                .await;
            let answer = peer.next().await;
            assert_eq!(
                answer["type"] == "acheron.err_fs",
                is_heard,
                "{token:?} {path}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn version_comes_first() {
    let (hub, _) = start(|_| {}).await;
    for (frame, message) in [
        (
            json!({"channel": "control", "type": "control.node_list", "id": "x"}),
            "control.version must be negotiated first",
        ),
        (
            json!({"channel": "control", "type": "control.version", "id": "x", "payload": {"protocol": "unified-v3"}}),
            "ProtocolMismatch",
        ),
        (
            json!({"channel": "control", "type": "control.version", "id": "x"}),
            "MissingField",
        ),
    ] {
        let mut peer = Peer::dial(&hub, "/", Some(ADMIN)).await;
        peer.send(&frame).await;
        let refused = peer.next().await;
        assert_eq!(
            refused["error"],
            json!({"code": "protocol_mismatch", "message": message})
        );
        assert_eq!(refused["id"], "x");
        assert_eq!(peer.next().await["close"], 0);
    }
    let mut peer = Peer::dial(&hub, "/?a=1", Some(ADMIN)).await;
    peer.send(
        &json!({"channel": "control", "type": "control.version", "payload": {"protocol": "unified-v2"}}),
    )
    .await;
    let ack = peer.next().await;
    assert_eq!(
        (&ack["type"], &ack["id"]),
        (&json!("control.version_ack"), &Value::Null)
    );
    assert_eq!(ack["payload"]["acheron_node"], "unified-v2-fs");
}

#[tokio::test]
async fn malformed_frames_are_answered_and_the_connection_stays() {
    let (hub, _) = start(|_| {}).await;
    let mut control = Control::dial(&hub, Some(ADMIN)).await;
    for (text, code, message, id) in [
        ("{bad", "invalid_envelope", "SyntaxError", Value::Null),
        (
            r#"{"type":"control.ping","id":"x"}"#,
            "invalid_envelope",
            "MissingField",
            json!("x"),
        ),
        (
            r#"{"channel":"control","type":7,"id":"x"}"#,
            "invalid_envelope",
            "InvalidType",
            json!("x"),
        ),
        (
            r#"{"channel":"control","type":"control.bogus","id":"x"}"#,
            "unsupported",
            "unsupported control operation",
            json!("x"),
        ),
        (
            r#"{"channel":"control","type":"control.session_list","id":"x"}"#,
            "unsupported",
            "unsupported control operation",
            json!("x"),
        ),
    ] {
        control.peer.send_text(text).await;
        let refused = control.peer.next().await;
        assert_eq!(
            (&refused["error"]["code"], &refused["error"]["message"]),
            (&json!(code), &json!(message)),
            "{text}"
        );
        assert_eq!(refused["id"], id, "{text}");
    }
    control
        .peer
        .send_text(r#"{"channel":"control","type":"control.ping","id":"p"}"#)
        .await;
    assert_eq!(
        control.peer.next().await,
        json!({"channel": "control", "type": "control.pong", "id": "p", "ok": true, "payload": {}})
    );
}

#[tokio::test]
async fn what_has_a_second_factor_has_a_payload() {
    let (hub, _) = start(|_| {}).await;
    let mut control = Control::dial(&hub, Some(ADMIN)).await;
    for (operation, code) in [
        ("node_invite_create", json!("missing_field")),
        ("node_join_pending_list", json!("missing_field")),
        ("node_join_approve", json!("missing_field")),
        ("node_delete", json!("missing_field")),
        ("workspace_create", json!("missing_field")),
        // No original has this one, so it follows no rule of theirs.
        ("node_invite_list", Value::Null),
        ("node_list", Value::Null),
    ] {
        let bare = json!({"channel": "control", "type": format!("control.{operation}"), "id": "x"});
        control.peer.send(&bare).await;
        assert_eq!(control.peer.next().await["error"]["code"], code, "{operation}");
    }
}

#[tokio::test]
async fn operations_that_change_things_need_an_id_and_a_payload() {
    let (hub, _) = start(|_| {}).await;
    let mut control = Control::dial(&hub, Some(ADMIN)).await;
    let create = |extra: Value| {
        let mut frame = json!({"channel": "control", "type": "control.node_invite_create"});
        frame
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        frame
    };
    control.peer.send(&create(json!({"payload": {}}))).await;
    let refused = control.peer.next().await;
    assert_eq!(
        (&refused["error"]["code"], &refused["error"]["correlation_id"]),
        (&json!("correlation_required"), &Value::Null)
    );
    control.peer.send(&create(json!({"id": "1"}))).await;
    assert_eq!(
        control.peer.next().await["error"],
        json!({"code": "missing_field", "message": "MissingField", "correlation_id": "1"})
    );
    control
        .peer
        .send(&create(json!({"id": "2", "payload": []})))
        .await;
    assert_eq!(control.peer.next().await["error"]["code"], "invalid_payload");
    control
        .peer
        .send(&create(json!({"correlation_id": "corr-1", "payload": {}})))
        .await;
    let made = control.peer.next().await;
    assert_eq!((&made["ok"], &made["id"]), (&json!(true), &Value::Null));

    let audit = control.ok("audit_tail", json!({"limit": 2})).await;
    assert_eq!(audit["audit"][0]["correlation_id"], "corr-1");
    assert_eq!(
        (&audit["audit"][0]["result"], &audit["audit"][1]["error_code"]),
        (&json!("ok"), &json!("invalid_payload"))
    );
}

#[tokio::test]
async fn paths_lead_somewhere_or_say_so() {
    let (hub, _) = start(|_| {}).await;
    let control = json!({"channel": "control", "type": "control.version", "id": "x", "payload": {"protocol": "unified-v2"}});
    for path in ["/v2/node", "/v2/node/", "/v2/node?x=1"] {
        let mut peer = Peer::dial(&hub, path, None).await;
        peer.send(&control).await;
        assert_eq!(
            peer.next().await,
            json!({"channel": "acheron", "type": "acheron.err_fs", "ok": false, "error":
                {"errno": 22, "message": "acheron.t_fs_hello must be negotiated first"}})
        );
        assert_eq!(peer.next().await["close"], 0);
    }
    let mut peer = Peer::dial(&hub, "/v2/fs/node/node-1?x", None).await;
    peer.send(&control).await;
    assert_eq!(
        peer.next().await["error"]["message"],
        "wrong websocket endpoint: use / for control protocol"
    );
    for path in ["/v2/agent", "/v2/fs/node/", "/v2/fs/node/node-1/"] {
        let mut peer = Peer::dial(&hub, path, None).await;
        let told = peer.next().await;
        assert_eq!(
            (&told["code"], &told["message"]),
            (&json!("invalid_envelope"), &json!("invalid websocket path"))
        );
        assert_eq!(peer.next().await["close"], 0);
    }
    let mut peer = Peer::dial(&hub, "/", Some(ADMIN)).await;
    peer.send(&control).await;
    peer.next().await;
    peer.send(&json!({"channel": "acheron", "type": "acheron.t_fs_hello", "tag": 3, "payload": {}}))
        .await;
    let refused = peer.next().await;
    assert_eq!(
        (&refused["type"], &refused["tag"]),
        (&json!("acheron.error"), &json!(3))
    );
}

/// The status of a page.
async fn get(hub: &Hub, path: &'static str) -> u16 {
    let address = hub.address();
    let asking = tokio::task::spawn_blocking(move || {
        let mut peer = RawPeer::dial(address).unwrap();
        peer.send_bytes(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
            .unwrap();
        peer.http_head(PATIENCE).unwrap().status
    });
    asking.await.unwrap()
}

#[tokio::test]
async fn machines_can_look_whether_all_is_well() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    admin.pair("edge").await;
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/metrics.json", 200),
        ("/nope", 404),
        ("/", 426),
    ] {
        assert_eq!(get(&hub, path).await, status, "{path}");
    }
    let metrics = admin.ok("metrics", json!({})).await;
    assert_eq!(metrics["nodes"]["joins_total"], 1);
    assert_eq!(metrics["invites"]["redeemed_total"], 1);
    let status = admin.ok("auth_status", json!({})).await;
    assert!(!status.to_string().contains(ADMIN), "{status}");
    let mut node = Control::dial(&hub, Some(NODE)).await;
    assert_eq!(node.refused("metrics", json!({})).await, "forbidden");
}

#[tokio::test]
async fn tokens_are_replaced_at_once() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let rotated = admin.ok("auth_rotate", json!({"role": "node"})).await;
    Control::dial(&hub, rotated["token"].as_str()).await;
    let mut old = Peer::dial(&hub, "/", Some(NODE)).await;
    old.send(&json!({"channel": "control", "type": "control.version", "id": "v", "payload": {"protocol": "unified-v2"}})).await;
    assert_eq!(old.next().await["error"]["code"], "auth_failed");
}

#[tokio::test]
async fn frames_beyond_four_megabytes_are_refused_with_a_reason() {
    let (hub, _) = start(|_| {}).await;
    let mut control = Control::dial(&hub, Some(ADMIN)).await;
    let frame = Frame::text(Masking::Client, 5 << 20, |out| {
        out.extend(vec![b' '; (4 << 20) + 1]);
    });
    let _ = control.peer.0.send(frame).await;
    assert_eq!(control.peer.next().await, json!({"close": 1009}));
}

#[tokio::test]
async fn an_answer_that_would_be_too_large_is_refused() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    // The id comes back in the answer, and in an error even twice.
    for (operation, bytes) in [
        ("ping", (4 << 20) - 60),
        ("nonsense", (4 << 20) - 100),
        ("node_get", 3 << 20),
    ] {
        let id = "x".repeat(bytes);
        let request = json!({"channel": "control", "type": format!("control.{operation}"), "id": id});
        admin.peer.send(&request).await;
        let told = admin.peer.next().await;
        assert_eq!(told["error"]["code"], "control_plane_error", "{operation}");
        assert_eq!(told.get("id"), None);
    }
    admin.ok("ping", json!({})).await;
}

#[tokio::test]
async fn strangers_show_what_they_are_in_time_or_leave() {
    let (hub, _) = start(|config| config.limits.proof = Duration::from_secs(1)).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let token = admin.invite(json!({})).await;
    let mut node = Control::dial(&hub, None).await;
    node.ok("node_join", json!({"invite_token": token})).await;
    let mut idle = Control::dial(&hub, None).await;
    assert_eq!(
        idle.refused("node_join", json!({"invite_token": "x"})).await,
        "invite_not_found"
    );
    // Talking alone does not help, and neither does half a frame.
    idle.ok("ping", json!({})).await;
    let whole = Frame::text_from(Masking::Client, &" ".repeat(1000));
    let half = whole.as_bytes()[..500].to_vec();
    let address = hub.address();
    let stopped = tokio::task::spawn_blocking(move || {
        let mut peer = RawPeer::connect(address, "/").unwrap();
        let version = json!({"channel": "control", "type": "control.version", "id": "v", "payload": {"protocol": "unified-v2"}});
        peer.send_json(&version).unwrap();
        peer.send_bytes(&half).unwrap();
        peer.drain(PATIENCE).unwrap();
    });
    assert_eq!(idle.peer.next().await, json!({"close": 0}));
    stopped.await.unwrap();
    // Those who have shown something stay, and so do tokens.
    node.ok("ping", json!({})).await;
    admin.ok("ping", json!({})).await;
}

#[tokio::test]
async fn few_strangers_at_a_time_may_send_large_messages() {
    let (hub, _) = start(|config| config.limits.large_strangers = 1).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret) = admin.pair("edge").await;
    let services = |bytes: usize| {
        json!([{"service_id": "big", "kind": "fs", "endpoints": ["/nodes/node-1/fs"],
            "capabilities": {"text": "x".repeat(bytes)}}])
    };
    let upsert = json!({"node_id": id, "node_secret": secret, "services": services(300_000)});
    let wrong = json!({"node_id": id, "node_secret": "x", "services": services(300_000)});
    let mut holder = Control::dial(&hub, None).await;
    assert_eq!(
        holder.refused("node_service_upsert", wrong).await,
        "node_auth_failed"
    );
    let mut other = Control::dial(&hub, None).await;
    let told = other.call("node_service_upsert", upsert.clone()).await;
    assert_eq!(told, json!({"close": 1009}));
    // The place is free again as soon as its holder is no stranger.
    holder.ok("node_service_upsert", upsert.clone()).await;
    let mut other = Control::dial(&hub, None).await;
    other.ok("node_service_upsert", upsert.clone()).await;
    // A token needs no place.
    let mut node = Control::dial(&hub, Some(NODE)).await;
    node.ok("node_service_upsert", upsert).await;
}

#[tokio::test]
async fn what_cannot_be_kept_has_not_happened() {
    let store = MemoryStore::new();
    let kept = store.clone();
    let (hub, _) = start(|config| config.database = Database::Store(Box::new(kept))).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret) = admin.pair("edge").await;
    let token = admin.invite(json!({})).await;
    store.set_failing(true);
    assert_eq!(
        admin.refused("node_join", json!({"invite_token": token})).await,
        "control_plane_error"
    );
    assert_eq!(
        admin.refused("project_create", json!({"name": "p"})).await,
        "control_plane_error"
    );
    assert_eq!(
        admin.ok("node_list", json!({})).await["nodes"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    store.set_failing(false);
    // The invite was not used up by the attempt.
    assert_eq!(
        admin.ok("node_join", json!({"invite_token": token})).await["node_id"],
        "node-2"
    );
    // Nodes that repeat themselves cost no write.
    let upsert = json!({"node_id": id, "node_secret": secret, "services": []});
    let before = store.commits();
    for _ in 0..5 {
        admin.ok("node_service_upsert", upsert.clone()).await;
    }
    assert_eq!(store.commits(), before);
}

#[tokio::test]
async fn a_hub_that_cannot_write_says_so_and_gives_nobody_time() {
    let store = MemoryStore::new();
    let kept = store.clone();
    let (hub, clock) = start(|config| config.database = Database::Store(Box::new(kept))).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, _) = admin.pair("edge").await;
    store.set_failing(true);
    clock.advance(3_600_000);
    for name in ["p", "q"] {
        let refused = admin.refused("project_create", json!({"name": name})).await;
        assert_eq!(refused, "control_plane_error");
    }
    assert_eq!(get(&hub, "/readyz").await, 503);
    let node = admin.ok("node_get", json!({"node_id": id})).await;
    assert!(node["node"]["lease_expires_at_ms"].as_u64().unwrap() <= clock.now_ms());
    store.set_failing(false);
    // Without anybody who has something to change.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while get(&hub, "/readyz").await != 200 {
        assert!(tokio::time::Instant::now() < deadline, "never ready again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let project = admin.ok("project_create", json!({"name": "p"})).await;
    assert_eq!(project["project_id"], "proj-1");
}

#[tokio::test]
async fn stopping_says_goodbye() {
    let (hub, _) = start(|_| {}).await;
    let mut control = Control::dial(&hub, Some(ADMIN)).await;
    let goodbye = tokio::spawn(async move { control.peer.next().await });
    assert!(hub.stop(Duration::from_secs(5)).await);
    assert_eq!(goodbye.await.unwrap(), json!({"close": 1001}));
}
