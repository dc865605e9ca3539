//! Leases and what their end means.

use std::time::Duration;

use serde_json::{Value, json};

use crate::peer::{ADMIN, Control, NOW, Peer, start, tunnel, tunnel_hello, until};

/// A node that a project mounts: its id, its secret, and how the project is asked for.
async fn mounted(admin: &mut Control) -> (String, String, Value) {
    let (id, secret) = admin.pair("edge").await;
    let project = admin.ok("project_create", json!({"name": "p"})).await;
    let project = json!({"project_id": project["project_id"]});
    let mount = json!({"project_id": project["project_id"], "node_id": id, "export_name": "work", "mount_path": "/src"});
    admin.ok("project_mount_set", mount).await;
    (id, secret, project)
}

#[tokio::test]
async fn a_lease_is_renewed_and_its_end_takes_nothing_away() {
    let (hub, clock) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret, project) = mounted(&mut admin).await;

    let refresh = json!({"node_id": id, "node_secret": secret, "lease_ttl_ms": 10_000,
        "fs_url": format!("ws://here/v2/fs/node/{id}")});
    let refreshed = admin.ok("node_lease_refresh", refresh.clone()).await;
    assert_eq!(refreshed["lease_expires_at_ms"], NOW + 10_000);
    assert_eq!(refreshed["node_secret"], secret);
    let again = admin.ok("node_lease_refresh", refresh.clone()).await;
    assert_ne!(refreshed["lease_token"], again["lease_token"]);

    clock.advance(10_000);
    let gone = until(&mut admin, "workspace_status", project.clone(), |status| {
        status["mounts"] == json!([])
    })
    .await;
    assert_eq!(gone["actual_mounts"], json!([]));
    assert_eq!(gone["desired_mounts"][0]["state"], "degraded");
    assert_eq!(gone["drift"]["items"][0]["kind"], "node_offline");
    assert_eq!(
        gone["availability"],
        json!({"mounts_total": 1, "online": 0, "degraded": 1, "missing": 0})
    );

    // It comes back as itself, mounts included.
    let back = admin.ok("node_lease_refresh", refresh).await;
    assert_eq!(back["node_id"], id);
    let _tunnel = tunnel(&hub, &id, &secret).await;
    let status = admin.ok("workspace_status", project).await;
    assert_eq!(status["mounts"][0]["state"], "online");
    let host = hub.address();
    assert_eq!(
        status["mounts"][0]["fs_url"],
        format!("ws://{host}/v2/fs/node/{id}")
    );
}

#[tokio::test]
async fn a_tunnel_that_stands_keeps_the_lease_alive() {
    let (hub, clock) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret) = admin.pair("edge").await;
    let _tunnel = tunnel(&hub, &id, &secret).await;
    let before = admin.ok("node_get", json!({"node_id": id})).await;
    assert_eq!(before["node"]["tunnel"]["connected"], true);
    clock.advance(900_000);
    let lease = |shown: &serde_json::Value| shown["node"]["lease_expires_at_ms"].as_u64().unwrap();
    let prolonged = until(&mut admin, "node_get", json!({"node_id": id}), |shown| {
        lease(shown) > lease(&before)
    })
    .await;
    assert_eq!(lease(&prolonged), NOW + 2 * 900_000);
}

#[tokio::test]
async fn mounts_do_not_vanish_between_the_end_of_a_lease_and_the_next_look_at_it() {
    let (hub, clock) = start(|config| config.limits.sweep_every = Duration::from_secs(3600)).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret, project) = mounted(&mut admin).await;
    let _tunnel = tunnel(&hub, &id, &secret).await;
    let before = admin.ok("workspace_status", project.clone()).await;
    assert_eq!(before["mounts"][0]["state"], "online");
    clock.advance(900_000);
    assert_eq!(admin.ok("workspace_status", project).await, before);
    let metrics = admin.ok("metrics", json!({})).await;
    assert_eq!(metrics["nodes"]["online"], 1);
}

#[tokio::test]
async fn a_tunnel_alone_brings_an_expired_node_back() {
    let (hub, clock) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret, project) = mounted(&mut admin).await;
    clock.advance(900_000);
    until(&mut admin, "metrics", json!({}), |shown| {
        shown["nodes"]["reaped_total"] == 1
    })
    .await;
    let _tunnel = tunnel(&hub, &id, &secret).await;
    let status = admin.ok("workspace_status", project).await;
    assert_eq!(status["mounts"][0]["state"], "online");
    until(&mut admin, "node_get", json!({"node_id": id}), |shown| {
        shown["node"]["lease_expires_at_ms"] == NOW + 2 * 900_000
    })
    .await;
}

#[tokio::test]
async fn a_deleted_node_loses_its_tunnel_and_learns_why() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret) = admin.pair("edge").await;
    let mut node = tunnel(&hub, &id, &secret).await;
    let wrong = json!({"node_id": id, "node_secret": "x"});
    assert_eq!(admin.refused("node_delete", wrong).await, "node_auth_failed");
    let deleted = admin.ok("node_delete", json!({"node_id": id})).await;
    assert_eq!(deleted, json!({"deleted": true, "node_id": id}));
    assert_eq!(node.next().await, json!({"close": 4002}));
    let refresh = json!({"node_id": id, "node_secret": secret});
    assert_eq!(
        admin.refused("node_lease_refresh", refresh).await,
        "node_not_found"
    );

    // The reason stands in `payload` too, where the original node looks for it.
    let mut again = Peer::dial(&hub, "/v2/node", None).await;
    again.send(&tunnel_hello(&id, &secret)).await;
    let refused = again.next().await;
    assert_eq!(refused["error"], json!({"errno": 2, "message": "NodeNotFound"}));
    assert_eq!(refused["payload"]["message"], "NodeNotFound");
    assert_eq!(again.next().await["close"], 0);
}

#[tokio::test]
async fn silly_numbers_are_cut_or_refused() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let most = u64::try_from(i64::MAX).unwrap();
    let invite = admin
        .ok("node_invite_create", json!({"expires_in_ms": most}))
        .await;
    assert_eq!(invite["expires_at_ms"], NOW + 30 * 24 * 60 * 60 * 1000);
    let join = json!({"invite_token": invite["invite_token"], "lease_ttl_ms": most});
    let joined = admin.ok("node_join", join).await;
    assert_eq!(joined["lease_expires_at_ms"], NOW + 24 * 60 * 60 * 1000);
    for bad in [json!(-1), json!("5"), json!(1.5), json!(u64::MAX)] {
        let refused = admin
            .refused("node_invite_create", json!({"expires_in_ms": bad}))
            .await;
        assert_eq!(refused, "invalid_payload", "{bad}");
    }
    admin.ok("ping", json!({})).await;
}

#[tokio::test]
async fn after_the_time_of_grace_a_node_is_forgotten_and_its_mounts_are_missed() {
    let (hub, clock) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, _) = admin.pair("edge").await;
    let project = admin.ok("project_create", json!({"name": "p"})).await;
    let project = json!({"project_id": project["project_id"]});
    let mount = json!({"project_id": project["project_id"], "node_id": id, "export_name": "work", "mount_path": "/src"});
    admin.ok("project_mount_set", mount).await;
    clock.advance(8 * 24 * 60 * 60 * 1000);
    let status = until(&mut admin, "workspace_status", project, |status| {
        status["availability"]["missing"] == 1
    })
    .await;
    assert_eq!(status["desired_mounts"][0]["state"], "missing");
    assert_eq!(status["desired_mounts"][0]["fs_url"], json!(null));
    assert_eq!(admin.ok("node_list", json!({})).await, json!({"nodes": []}));
}

#[tokio::test]
async fn mounts_of_a_deleted_node_are_only_wished_for() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret, project) = mounted(&mut admin).await;
    let _tunnel = tunnel(&hub, &id, &secret).await;
    let status = admin.ok("workspace_status", project.clone()).await;
    assert_eq!(status["actual_mounts"][0]["state"], "online");
    admin.ok("node_delete", json!({"node_id": id})).await;
    let status = admin.ok("workspace_status", project).await;
    assert_eq!(
        (&status["mounts"], &status["actual_mounts"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(status["desired_mounts"][0]["state"], "missing");
    assert_eq!(status["drift"]["items"][0]["kind"], "missing_node");
    assert_eq!(
        status["availability"],
        json!({"mounts_total": 1, "online": 0, "degraded": 0, "missing": 1})
    );
}
