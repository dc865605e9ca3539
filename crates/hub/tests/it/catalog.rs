//! Catalogs: published, read, watched, refused.

use serde_json::{Value, json};

use crate::peer::{ADMIN, Control, NODE, start};

fn service(member: &str, id: &str, updated_at: u64) -> Value {
    json!({member: id, "kind": "camera", "version": "1", "state": "online", "endpoints": [format!("/nodes/n/{id}")],
        "capabilities": {}, "mounts": [{"mount_id": id, "mount_path": format!("/nodes/n/{id}"), "state": "online"}],
        "ops": {"model": "namespace"}, "runtime": {"type": "native_proc", "supervision_status":
            {"state": "online", "updated_at_ms": updated_at}},
        "permissions": {"default": "deny-by-default"}, "schema": {"model": "m"}, "invoke_template": {"a": 1},
        "x_unknown": [1, 2], "help_md": "Help"})
}

#[tokio::test]
async fn a_catalog_is_published_by_one_generation_and_read_by_the_other() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret) = admin.pair("edge").await;
    let mut node = Control::dial(&hub, Some(NODE)).await;
    let platform = json!({"os": "linux", "arch": "x86_64", "runtime_kind": "native"});
    let upsert = json!({"node_id": id, "node_secret": secret, "platform": platform, "labels": {"site": "lab"},
        "services": [service("service_id", "cam", 1)]});
    let done = node.ok("node_service_upsert", upsert.clone()).await;
    assert_eq!(done["service_delta"]["changed"], true);
    assert_eq!(done["service_delta"]["added"][0]["service_id"], "cam");
    let again = node.ok("node_service_upsert", upsert).await;
    assert_eq!(again["service_delta"]["changed"], false);

    let read = admin.ok("node_service_get", json!({"node_id": id})).await;
    assert_eq!(
        read["services"][0],
        service("service_id", "cam", 1),
        "nothing is lost"
    );
    assert_eq!(
        (&read["labels"], &read["platform"]),
        (&json!({"site": "lab"}), &platform)
    );
    let head = admin.ok("venom_get", json!({"node_id": id})).await;
    assert_eq!(head["venoms"][0]["venom_id"], "cam");
    assert_eq!(head["venoms"][0]["categories"], json!([]));

    // The newer generation's words do as well, and what it leaves out stays.
    let upsert = json!({"node_id": id, "node_secret": secret, "venoms": [service("venom_id", "mic", 1)]});
    let done = node.ok("venom_upsert", upsert).await;
    assert_eq!(done["venom_delta"]["removed"][0]["venom_id"], "cam");
    assert_eq!(done["labels"], json!({"site": "lab"}));
    let count = admin.ok("node_get", json!({"node_id": id})).await;
    assert_eq!(count["node"]["venom_count"], 1);
}

#[tokio::test]
async fn one_bad_entry_refuses_all_and_nothing_is_applied() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret) = admin.pair("edge").await;
    let mut bad = service("service_id", "cam", 1);
    bad["endpoints"] = json!([]);
    for services in [
        json!([service("service_id", "ok", 1), bad]),
        json!([service("service_id", "cam", 1), service("service_id", "cam", 2)]),
        json!({"not": "a list"}),
        json!([5]),
    ] {
        let upsert =
            json!({"node_id": id, "node_secret": secret, "labels": {"site": "lab"}, "services": services});
        assert_eq!(
            admin.refused("node_service_upsert", upsert).await,
            "invalid_payload",
            "{services}"
        );
    }
    let read = admin.ok("node_service_get", json!({"node_id": id})).await;
    assert_eq!((&read["labels"], &read["services"]), (&json!({}), &json!([])));
    let wrong = json!({"node_id": id, "node_secret": "x", "services": []});
    assert_eq!(
        admin.refused("node_service_upsert", wrong).await,
        "node_auth_failed"
    );
    let unknown = json!({"node_id": "node-77", "node_secret": "x", "services": []});
    assert_eq!(
        admin.refused("node_service_upsert", unknown).await,
        "node_not_found"
    );
    assert_eq!(
        admin.refused("node_service_get", json!({})).await,
        "missing_field"
    );
}

#[tokio::test]
async fn watchers_see_changes_and_are_spared_repetitions() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret) = admin.pair("edge").await;
    let upsert = |service: Value| json!({"node_id": id, "node_secret": secret, "services": [service]});
    admin
        .ok("node_service_upsert", upsert(service("service_id", "one", 1)))
        .await;

    let mut watcher = Control::dial(&hub, Some(ADMIN)).await;
    watcher
        .peer
        .send(&json!({"channel": "control", "type": "control.node_service_watch", "id": "w", "payload": {"replay_limit": 1}}))
        .await;
    let replayed = watcher.peer.next().await;
    assert_eq!(replayed["type"], "control.node_service_event");
    assert_eq!(replayed["payload"]["services"][0]["service_id"], "one");
    let reply = watcher.peer.next().await;
    assert_eq!(
        reply["payload"],
        json!({"enabled": true, "replay_limit": 1, "replayed": 1})
    );

    // Only clocks moved: nothing to tell. Then something changed.
    admin
        .ok("node_service_upsert", upsert(service("service_id", "one", 2)))
        .await;
    admin
        .ok("node_service_upsert", upsert(service("service_id", "two", 2)))
        .await;
    let event = watcher.peer.next().await;
    assert_eq!(event["payload"]["service_delta"]["added"][0]["service_id"], "two");
    assert_eq!(event["id"], Value::Null);
    assert_eq!(
        watcher.ok("node_service_unwatch", json!({})).await,
        json!({"enabled": false})
    );
}

#[tokio::test]
async fn a_list_that_would_be_too_large_leaves_labels_out() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let labels: serde_json::Map<_, _> = (0..256)
        .map(|number| (format!("label-{number}"), "\"".repeat(512).into()))
        .collect();
    let mut last = json!(null);
    for number in 0..20 {
        let (id, secret) = admin.pair(&format!("edge-{number}")).await;
        let upsert = json!({"node_id": id, "node_secret": secret, "labels": labels, "services": []});
        admin.ok("node_service_upsert", upsert).await;
        let listed = admin.ok("node_list", json!({})).await;
        let nodes = listed["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), number + 1);
        let shown: Vec<_> = nodes.iter().map(|node| node["labels"] == json!(labels)).collect();
        // All of them or none, so that nobody takes a part for the whole.
        assert!(
            shown.iter().all(|is_shown| *is_shown == (number < 15)),
            "{number} {shown:?}"
        );
        last = json!({"node_id": id});
    }
    let node = admin.ok("node_get", last).await;
    assert_eq!(node["node"]["labels"], json!(labels));
}
