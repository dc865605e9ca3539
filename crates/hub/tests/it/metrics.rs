//! The numbers for machines: every one the recorded servers have, and what they count.

use serde_json::{Value, json};

use crate::peer::{ADMIN, Control, NODE, NOW, start};

/// What the older generation's server says, made JSON by the brace it forgets.
const SEED: &str = r#"{"invites":{"active":0,"created_total":0,"redeemed_total":0},"nodes":{"online":1,"total":1,"joins_total":0,"lease_refresh_total":0,"ensured_total":1,"deletes_total":0,"reaped_total":0},"projects":{"total":1,"active_bindings":0,"creates_total":0,"updates_total":0,"deletes_total":0,"token_rotates_total":0,"token_revokes_total":0,"activations_total":0,"mounts_total":9,"mount_sets_total":1,"mount_removes_total":0},"node_service_watch":{"subscribers":{"current":0,"peak":0},"replay":{"requests_total":0,"attempted_total":0,"sent_total":0,"bytes_total":0},"fanout":{"events_total":0,"attempted_total":0,"sent_total":0,"dropped_total":0},"retained":{"events":0,"capacity":1024,"oldest_ms":null,"newest_ms":null,"window_ms":0}}}"#;
/// The part in which the newer generation's differs.
const HEAD: &str = r#"{"node_service_events":{"retained":{"events":0,"capacity":1024,"oldest_ms":null,"newest_ms":null,"window_ms":0}}}"#;

fn names(at: &str, value: &Value, out: &mut Vec<String>) {
    out.push(at.to_owned());
    for (name, member) in value.as_object().into_iter().flatten() {
        names(&format!("{at}.{name}"), member, out);
    }
}

#[tokio::test]
async fn every_recorded_number_is_there() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let shown = admin.ok("metrics", json!({})).await;
    let mut ours = Vec::new();
    names("", &shown, &mut ours);
    for recorded in [SEED, HEAD] {
        let mut wanted = Vec::new();
        names("", &serde_json::from_str(recorded).unwrap(), &mut wanted);
        wanted.retain(|name| !ours.contains(name));
        assert!(wanted.is_empty(), "{wanted:?} of {shown}");
    }
    let retained =
        json!({"events": 0, "capacity": 1024, "oldest_ms": null, "newest_ms": null, "window_ms": 0});
    assert_eq!(shown["node_service_watch"]["retained"], retained);
    assert_eq!(shown["node_service_events"], json!({"retained": retained}));
}

#[tokio::test]
async fn changes_of_projects_are_counted() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (node, _) = admin.pair("edge").await;
    let made = admin.ok("project_create", json!({"name": "p"})).await;
    let project = json!({"project_id": made["project_id"]});
    let with = |more: Value| {
        let mut payload = project.clone();
        payload
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        payload
    };
    let mount = |path: &str| json!({"node_id": node, "export_name": "work", "mount_path": path});
    admin.ok("project_mount_set", with(mount("/a"))).await;
    admin.ok("project_mount_set", with(mount("/b"))).await;
    // What is refused is not counted.
    admin.refused("project_mount_set", with(mount("/a/b"))).await;
    admin
        .ok("project_mount_remove", with(json!({"mount_path": "/b"})))
        .await;
    admin.ok("project_update", with(json!({"vision": "v"}))).await;
    admin.ok("project_token_rotate", project.clone()).await;
    admin.ok("project_token_revoke", project.clone()).await;
    admin.ok("project_activate", project.clone()).await;
    let up = json!({"name": "q", "desired_mounts": [mount("/c"), mount("/d")], "activate": false});
    let up = admin.ok("project_up", up).await;
    admin.ok("project_up", with(json!({"desired_mounts": []}))).await;
    let shown = admin.ok("metrics", json!({})).await;
    assert_eq!(
        shown["projects"],
        json!({"total": 2, "active_bindings": 1, "creates_total": 2, "updates_total": 2, "deletes_total": 0,
            "token_rotates_total": 1, "token_revokes_total": 1, "activations_total": 2, "mounts_total": 2,
            "mount_sets_total": 4, "mount_removes_total": 1})
    );
    admin.ok("project_delete", project).await;
    admin
        .ok("project_delete", json!({"project_id": up["project_id"]}))
        .await;
    let shown = admin.ok("metrics", json!({})).await;
    let projects = &shown["projects"];
    assert_eq!(
        [
            &projects["total"],
            &projects["active_bindings"],
            &projects["deletes_total"],
            &projects["mounts_total"]
        ],
        [0, 0, 2, 0]
    );
}

#[tokio::test]
async fn watchers_and_what_they_are_told_are_counted() {
    let (hub, clock) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret) = admin.pair("edge").await;
    let publish = |site: &str| json!({"node_id": id, "node_secret": secret, "labels": {"site": site}});
    admin.ok("node_service_upsert", publish("a")).await;
    clock.advance(500);
    admin.ok("node_service_upsert", publish("b")).await;
    let mut watcher = Control::dial(&hub, Some(ADMIN)).await;
    watcher.ok("node_service_watch", json!({})).await;
    let mut other = Control::dial(&hub, Some(ADMIN)).await;
    other
        .ok("node_service_watch", json!({"node_id": "node-77"}))
        .await;
    admin.ok("node_service_upsert", publish("c")).await;
    assert_eq!(watcher.peer.next().await["type"], "control.node_service_event");
    watcher.ok("node_service_unwatch", json!({})).await;
    let shown = admin.ok("metrics", json!({})).await;
    let watch = &shown["node_service_watch"];
    assert_eq!(watch["subscribers"], json!({"current": 1, "peak": 2}));
    assert_eq!(watch["replay"]["requests_total"], 2);
    assert_eq!(watch["replay"]["attempted_total"], 2);
    assert_eq!(watch["replay"]["sent_total"], 2);
    assert!(watch["replay"]["bytes_total"].as_u64() > Some(200), "{watch}");
    assert_eq!(
        watch["fanout"],
        json!({"events_total": 3, "attempted_total": 1, "sent_total": 1, "dropped_total": 0})
    );
    assert_eq!(
        watch["retained"],
        json!({"events": 3, "capacity": 1024, "oldest_ms": NOW, "newest_ms": NOW + 500, "window_ms": 500})
    );
}

#[tokio::test]
async fn a_node_is_counted_once_however_often_it_is_paired() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let token = admin.invite(json!({})).await;
    let join = json!({"invite_token": token, "node_name": "a"});
    let mut node = Control::dial(&hub, Some(NODE)).await;
    let filed = node.ok("node_join_request", json!({"node_name": "b"})).await;
    let approve = json!({"request_id": filed["request_id"]});
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(admin.ok("node_join", join.clone()).await["node_id"].clone());
        ids.push(admin.ok("node_join_approve", approve.clone()).await["node_id"].clone());
        ids.push(admin.ok("node_ensure", json!({"node_name": "c"})).await["node_id"].clone());
    }
    assert_eq!(ids[..3], ids[3..]);
    let shown = admin.ok("metrics", json!({})).await;
    assert_eq!(
        (
            &shown["nodes"]["joins_total"],
            &shown["invites"]["redeemed_total"]
        ),
        (&json!(3), &json!(1))
    );
}
