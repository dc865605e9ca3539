//! Projects, workspaces, tickets, and who may see them.

use serde_json::{Value, json};

use crate::peer::{ADMIN, Control, NODE, Peer, USER, client, client_hello, start, tunnel, until};

async fn mounted(admin: &mut Control, nodes: &[&str]) -> Value {
    let project = admin
        .ok("project_create", json!({"name": "demo", "vision": "first"}))
        .await;
    let id = project["project_id"].clone();
    for node in nodes {
        let mount = json!({"project_id": id, "node_id": node, "export_name": "work", "mount_path": "src/"});
        admin.ok("project_mount_set", mount).await;
    }
    json!({"project_id": id})
}

#[tokio::test]
async fn the_newer_spelling_asks_for_a_vision_and_knows_one_template() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    for (payload, code) in [
        (json!({"name": "p"}), "missing_field"),
        // What is missing is said first.
        (json!({"name": "p", "template_id": "nope"}), "missing_field"),
        (json!({"name": "p", "vision": 5}), "missing_field"),
        (
            json!({"name": "p", "vision": "v", "template_id": "nope"}),
            "template_not_found",
        ),
    ] {
        let refused = admin.refused("workspace_create", payload.clone()).await;
        assert_eq!(refused, code, "{payload}");
    }
    let made = json!({"name": "p", "vision": "", "template_id": "minimum"});
    let made = admin.ok("workspace_create", made).await;
    assert_eq!(made["template_id"], "minimum");
    // The older spelling is as it was.
    admin
        .ok("project_create", json!({"name": "q", "template_id": "nope"}))
        .await;
}

#[tokio::test]
async fn projects_are_made_changed_and_removed() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (node, _) = admin.pair("edge").await;
    assert_eq!(admin.refused("project_create", json!({})).await, "missing_field");
    let project = mounted(&mut admin, &[&node]).await;
    let mount = |node: &str, path: &str| json!({"project_id": "proj-1", "node_id": node, "export_name": "work", "mount_path": path});
    for (payload, code) in [
        (mount(&node, "/src/sub"), "mount_conflict"),
        (mount("node-77", "/x"), "node_not_found"),
        (mount(&node, "  "), "invalid_payload"),
        (mount(&node, "/a/../b"), "invalid_payload"),
    ] {
        assert_eq!(admin.refused("project_mount_set", payload).await, code);
    }
    let same = admin.ok("project_mount_set", mount(&node, "/src")).await;
    assert_eq!(
        same["mounts"].as_array().unwrap().len(),
        1,
        "the same mount twice is one"
    );
    let update =
        json!({"project_id": "proj-1", "status": "paused", "access_policy": {"actions": {"mount": "deny"}}});
    let updated = admin.ok("project_update", update).await;
    assert_eq!(
        (&updated["status"], &updated["vision"]),
        (&json!("paused"), &json!("first"))
    );
    let head = admin.ok("workspace_get", json!({"workspace_id": "proj-1"})).await;
    assert_eq!(
        (&head["workspace_id"], &head["template_id"]),
        (&json!("proj-1"), &json!("minimum"))
    );
    assert_eq!(
        admin.ok("project_list", json!({})).await["projects"][0]["mount_count"],
        1
    );

    let remove = json!({"project_id": "proj-1", "mount_path": "/src", "node_id": node});
    assert_eq!(
        admin.refused("project_mount_remove", remove).await,
        "missing_field"
    );
    let remove = json!({"project_id": "proj-1", "mount_path": "/src"});
    assert_eq!(
        admin.ok("project_mount_remove", remove.clone()).await["mounts"],
        json!([])
    );
    assert_eq!(
        admin.refused("project_mount_remove", remove).await,
        "mount_not_found"
    );
    assert_eq!(admin.ok("project_delete", project.clone()).await["deleted"], true);
    assert_eq!(admin.refused("project_get", project).await, "project_not_found");
    assert_eq!(
        admin
            .refused("project_delete", json!({"project_id": "system"}))
            .await,
        "project_protected"
    );

    let up = json!({"name": "up", "desired_mounts": [{"node_id": node, "export_name": "work", "mount_path": "/w"}]});
    let up = admin.ok("project_up", up).await;
    assert_eq!(
        (&up["created"], &up["workspace"]["mounts"][0]["mount_path"]),
        (&json!(true), &json!("/w"))
    );
    // It is the active one now.
    assert_eq!(
        admin.ok("workspace_status", json!({})).await["project_id"],
        up["project_id"]
    );
    let bad = json!({"name": "no", "desired_mounts": [{"node_id": "node-9", "export_name": "work", "mount_path": "/w"}]});
    assert_eq!(admin.refused("project_up", bad).await, "node_not_found");
    assert_eq!(
        admin.ok("project_list", json!({})).await["projects"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_status_says_the_same_as_long_as_nothing_changes_and_gives_no_node_secrets_away() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret) = admin.pair("edge").await;
    let project = mounted(&mut admin, &[&id]).await;
    let before = admin.ok("workspace_status", project.clone()).await;
    assert_eq!(
        before["mounts"][0]["state"], "degraded",
        "a lease without a tunnel is not online"
    );
    let mut node = tunnel(&hub, &id, &secret).await;
    let status = admin.ok("workspace_status", project.clone()).await;
    assert_eq!(status["mounts"][0]["online"], true);
    assert_eq!(admin.ok("workspace_status", project.clone()).await, status);
    let ticket = status["mounts"][0]["fs_auth_token"].as_str().unwrap().to_owned();
    assert!(ticket.starts_with("ticket-"));
    assert!(!status.to_string().contains(&secret));

    // A user may mount too, with a ticket of its own. The node hears its own secret.
    let mut user = Control::dial(&hub, Some(USER)).await;
    let seen = user.ok("workspace_status", project.clone()).await;
    let users = seen["mounts"][0]["fs_auth_token"].as_str().unwrap().to_owned();
    assert_ne!(users, ticket);
    for token in [&ticket, &users, &secret] {
        let mut peer = Peer::dial(&hub, &format!("/v2/fs/node/{id}"), None).await;
        peer.send(&client_hello(token, false)).await;
        let hello = node.next().await;
        assert_eq!(hello["payload"]["auth_token"], secret);
    }
    // With its project, a ticket is worth nothing.
    admin.ok("project_delete", project).await;
    let mut peer = Peer::dial(&hub, &format!("/v2/fs/node/{id}"), None).await;
    peer.send(&client_hello(&ticket, false)).await;
    assert_eq!(
        peer.next().await["error"],
        json!({"errno": 13, "message": "NodeAuthFailed"})
    );
}

#[tokio::test]
async fn a_locked_project_is_for_those_with_its_token() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let project = mounted(&mut admin, &[]).await;
    let rotated = admin.ok("project_token_rotate", project.clone()).await;
    let mut user = Control::dial(&hub, Some(USER)).await;
    assert_eq!(
        user.refused("workspace_status", project.clone()).await,
        "project_auth_failed"
    );
    let with = json!({"project_id": project["project_id"], "project_token": rotated["project_token"]});
    user.ok("workspace_status", with).await;
    admin.ok("workspace_status", project.clone()).await;
    admin.ok("project_token_revoke", project.clone()).await;
    user.ok("project_get", project.clone()).await;
    assert_eq!(user.refused("project_delete", project).await, "forbidden");
    let mut node = Control::dial(&hub, Some(NODE)).await;
    assert_eq!(node.refused("project_list", json!({})).await, "forbidden");
    assert_eq!(node.refused("node_list", json!({})).await, "forbidden");
}

#[tokio::test]
async fn a_policy_keeps_users_out_even_with_a_ticket_in_hand() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret) = admin.pair("edge").await;
    let project = mounted(&mut admin, &[&id]).await;
    let mut node = tunnel(&hub, &id, &secret).await;
    let mut user = Control::dial(&hub, Some(USER)).await;
    let ticket = |status: &Value| status["mounts"][0]["fs_auth_token"].as_str().unwrap().to_owned();
    let users = ticket(&user.ok("workspace_status", project.clone()).await);
    client(&hub, &mut node, &id, &users, false).await;

    // A token for the project makes the users' tickets new, not the admin's.
    let admins = ticket(&admin.ok("workspace_status", project.clone()).await);
    admin.ok("project_token_rotate", project.clone()).await;
    assert_eq!(
        ticket(&admin.ok("workspace_status", project.clone()).await),
        admins
    );
    let mut peer = Peer::dial(&hub, &format!("/v2/fs/node/{id}"), None).await;
    peer.send(&client_hello(&users, false)).await;
    assert_eq!(peer.next().await["error"]["message"], "NodeAuthFailed");

    admin.ok("project_token_revoke", project.clone()).await;
    let users = ticket(&user.ok("workspace_status", project.clone()).await);
    let deny = json!({"project_id": project["project_id"], "access_policy": {"actions": {"mount": "deny"}}});
    admin.ok("project_update", deny).await;
    assert_eq!(
        user.refused("workspace_status", project.clone()).await,
        "project_policy_forbidden"
    );
    user.ok("project_get", project).await;
    let mut peer = Peer::dial(&hub, &format!("/v2/fs/node/{id}"), None).await;
    peer.send(&client_hello(&users, false)).await;
    assert_eq!(peer.next().await["error"]["message"], "NodeAuthFailed");
    client(&hub, &mut node, &id, &admins, false).await;
}

#[tokio::test]
async fn a_failover_stays_until_it_has_to_move() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (a, a_secret) = admin.pair("a").await;
    let (b, b_secret) = admin.pair("b").await;
    let project = mounted(&mut admin, &[&a, &b]).await;
    let first = tunnel(&hub, &a, &a_secret).await;
    let second = tunnel(&hub, &b, &b_secret).await;
    let selected = |status: &Value| status["mounts"][0]["node_id"].as_str().unwrap().to_owned();
    for (id, secret) in [(&b, &b_secret), (&a, &a_secret), (&b, &b_secret)] {
        admin
            .ok(
                "node_lease_refresh",
                json!({"node_id": id, "node_secret": secret}),
            )
            .await;
        let status = admin.ok("workspace_status", project.clone()).await;
        assert_eq!(selected(&status), a, "a refresh of either changes nothing");
    }
    drop(first);
    let moved = until(&mut admin, "workspace_status", project.clone(), |status| {
        selected(status) == b
    })
    .await;
    assert_eq!(moved["drift"]["items"][0]["kind"], "failover_active");
    let _first = tunnel(&hub, &a, &a_secret).await;
    let status = admin.ok("workspace_status", project.clone()).await;
    assert_eq!(selected(&status), b, "nobody is torn away from a node that works");
    drop(second);
    until(&mut admin, "workspace_status", project, |status| {
        selected(status) == a
    })
    .await;
}

#[tokio::test]
async fn subscribers_are_told_that_something_changed_and_nothing_else() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let mut user = Control::dial(&hub, Some(USER)).await;
    let subscribed = user.call("debug_subscribe", json!({})).await;
    assert_eq!(subscribed["category"], "control.subscription");
    assert_eq!(subscribed["payload"], json!({"enabled": true}));
    admin.ok("project_create", json!({"name": "p"})).await;
    let pushed = user.peer.next().await;
    assert_eq!(
        (&pushed["category"], &pushed["request"]),
        (&json!("control.workspace_topology"), &json!("workspace-topology"))
    );
    assert_eq!(pushed["payload"]["reason"], "control.project_create");
    let (id, secret) = admin.pair("edge").await;
    assert_eq!(
        user.peer.next().await["payload"]["reason"],
        "availability_changed"
    );
    let mut node = tunnel(&hub, &id, &secret).await;
    assert_eq!(
        user.peer.next().await["payload"]["reason"],
        "availability_changed"
    );
    let _client = client(&hub, &mut node, &id, &secret, false).await;
    let ended = user.call("debug_unsubscribe", json!({})).await;
    assert_eq!(ended["payload"], json!({"enabled": false}));
}
