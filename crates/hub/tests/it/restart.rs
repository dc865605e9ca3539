//! A hub that stops and starts again remembers everything.

use std::time::Duration;

use serde_json::{Value, json};
use spiderweb_hub::store::OpenError;
use spiderweb_hub::{Database, Hub, StartError};

use crate::peer::{ADMIN, Control, NODE, config, start, tunnel};
use spiderweb_protocol::Secret;

#[tokio::test]
async fn everything_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub.redb");
    let tokens = folder.path().join("auth_tokens.json");
    let begin = || async {
        start(|config| {
            config.database = Database::File(path.clone());
            config.tokens.file = Some(tokens.clone());
            config.tokens.operator = Some(Secret::new("op"));
        })
        .await
    };
    let (hub, _) = begin().await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let token = |payload: &Value| payload["invite_token"].as_str().unwrap().to_owned();
    let used = token(
        &admin
            .ok("node_invite_create", json!({"operator_token": "op"}))
            .await,
    );
    let open = token(
        &admin
            .ok("node_invite_create", json!({"operator_token": "op"}))
            .await,
    );
    let joined = admin
        .ok("node_join", json!({"invite_token": used, "node_name": "edge"}))
        .await;
    let (id, secret) = (joined["node_id"].clone(), joined["node_secret"].clone());
    let refresh = json!({"node_id": id, "node_secret": secret});
    admin.ok("node_lease_refresh", refresh.clone()).await;
    let services = json!([{"service_id": "fs", "kind": "fs", "endpoints": ["/nodes/node-1/fs"]}]);
    admin
        .ok(
            "node_service_upsert",
            json!({"node_id": id, "node_secret": secret, "labels": {"a": "b"}, "services": services}),
        )
        .await;
    admin
        .ok("project_create", json!({"name": "p", "operator_token": "op"}))
        .await;
    let mount = json!({"project_id": "proj-1", "node_id": id, "export_name": "work", "mount_path": "/src", "operator_token": "op"});
    admin.ok("project_mount_set", mount).await;
    admin
        .ok(
            "project_activate",
            json!({"project_id": "proj-1", "operator_token": "op"}),
        )
        .await;
    let mut node = Control::dial(&hub, Some(NODE)).await;
    let request = node.ok("node_join_request", json!({"node_name": "later"})).await;

    let shown = [
        ("node_service_get", json!({"node_id": id})),
        ("node_get", json!({"node_id": id})),
        ("project_get", json!({"project_id": "proj-1"})),
        ("node_join_pending_list", json!({"operator_token": "op"})),
    ];
    let mut before = Vec::new();
    for (operation, payload) in &shown {
        before.push(admin.ok(operation, payload.clone()).await);
    }
    let ticket = admin.ok("workspace_status", json!({})).await["mounts"][0]["fs_auth_token"].clone();
    drop((admin, node));
    assert!(hub.stop(Duration::from_secs(5)).await);
    drop(hub);

    let (hub, _) = begin().await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    for ((operation, payload), before) in shown.iter().zip(before) {
        assert_eq!(admin.ok(operation, payload.clone()).await, before, "{operation}");
    }
    let _tunnel = tunnel(&hub, id.as_str().unwrap(), secret.as_str().unwrap()).await;
    let status = admin.ok("workspace_status", json!({})).await;
    assert_eq!(
        (&status["project_id"], &status["mounts"][0]["fs_auth_token"]),
        (&json!("proj-1"), &ticket)
    );
    admin.ok("node_lease_refresh", refresh).await;
    assert_eq!(
        admin.refused("node_join", json!({"invite_token": used})).await,
        "invite_redeemed"
    );
    let second = admin.ok("node_join", json!({"invite_token": open})).await;
    assert_eq!(second["node_id"], "node-2", "ids go on counting");
    let approve = json!({"request_id": request["request_id"], "operator_token": "op"});
    admin.ok("node_join_approve", approve).await;
    let mut node = Control::dial(&hub, Some(NODE)).await;
    let fetched = node
        .ok("node_join_approve", json!({"request_id": request["request_id"]}))
        .await;
    assert_eq!(fetched["node_name"], "later");
}

#[tokio::test]
async fn a_lease_that_ended_while_the_hub_was_away_gets_some_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub.redb");
    let (hub, _) = start(|config| config.database = Database::File(path.clone())).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, _) = admin.pair("edge").await;
    drop(admin);
    assert!(hub.stop(Duration::from_secs(5)).await);
    drop(hub);
    let (hub, clock) = start(|config| {
        config.database = Database::File(path.clone());
        config.clock.advance(3_600_000);
    })
    .await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let node = admin.ok("node_get", json!({"node_id": id})).await;
    assert!(node["node"]["lease_expires_at_ms"].as_u64().unwrap() > clock.now_ms());
}

#[tokio::test]
async fn a_second_hub_on_the_same_database_does_not_start_and_a_damaged_one_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub.redb");
    let (_hub, _) = start(|config| config.database = Database::File(path.clone())).await;
    let (mut second, _) = config();
    second.database = Database::File(path.clone());
    let Err(StartError::Database(error @ OpenError::InUse { .. })) = Hub::start(second).await else {
        panic!("two hubs on one database")
    };
    assert!(error.to_string().contains("in use by process"), "{error}");

    let damaged = folder.path().join("damaged.redb");
    std::fs::write(&damaged, vec![b'x'; 9000]).unwrap();
    let (mut third, _) = config();
    third.database = Database::File(damaged.clone());
    let Err(error) = Hub::start(third).await else {
        panic!("a damaged database was taken")
    };
    assert!(error.to_string().contains("it was left as it is"), "{error}");
    assert_eq!(std::fs::read(&damaged).unwrap(), vec![b'x'; 9000]);
}
