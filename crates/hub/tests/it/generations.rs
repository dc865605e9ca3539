//! Which generation's words a peer hears: those of the hub, until it speaks words of its own.

use serde_json::{Value, json};
use spiderweb_hub::Hub;
use spiderweb_protocol::control::VersionAck;

use crate::peer::{ADMIN, Control, start};

pub(crate) const SEED: VersionAck = VersionAck {
    seed: true,
    head: false,
};
pub(crate) const HEAD: VersionAck = VersionAck {
    seed: false,
    head: true,
};

async fn hub(generations: VersionAck) -> (Hub, Control) {
    let (hub, _) = start(|config| config.generations = generations).await;
    let admin = Control::dial(&hub, Some(ADMIN)).await;
    (hub, admin)
}

fn has(object: &Value, names: [&str; 2]) -> [bool; 2] {
    names.map(|name| object.get(name).is_some())
}

#[tokio::test]
async fn a_node_is_shown_with_the_count_the_peer_looks_for() {
    let counts = ["service_count", "venom_count"];
    for (generations, shown) in [
        (SEED, [true, false]),
        (HEAD, [false, true]),
        // Nobody knows yet what the peer is; originals of both look for one and skip the other.
        (VersionAck::BOTH, [true, true]),
    ] {
        let (_hub, mut admin) = hub(generations).await;
        let (id, _) = admin.pair("edge").await;
        let listed = admin.ok("node_list", json!({})).await;
        assert_eq!(has(&listed["nodes"][0], counts), shown, "{listed}");
        let got = admin.ok("node_get", json!({"node_id": id})).await;
        assert_eq!(has(&got["node"], counts), shown, "{got}");
        // Its own words count.
        admin.ok("workspace_list", json!({})).await;
        let got = admin.ok("node_get", json!({"node_id": id})).await;
        assert_eq!(has(&got["node"], counts), [false, true], "{got}");
    }
}

#[tokio::test]
async fn a_status_without_a_name_speaks_as_the_peer_does() {
    for (generations, operation, names, root) in [
        (
            SEED,
            "project_up",
            [true, false],
            "/spiderweb/projects/proj-1/workspace",
        ),
        (
            VersionAck::BOTH,
            "project_up",
            [true, false],
            "/spiderweb/projects/proj-1/workspace",
        ),
        (VersionAck::BOTH, "workspace_up", [false, true], "/"),
        (HEAD, "workspace_up", [false, true], "/"),
    ] {
        let (hub, mut admin) = hub(generations).await;
        admin.ok(operation, json!({"name": "p", "vision": "v"})).await;
        let status = admin.ok("workspace_status", json!({})).await;
        assert_eq!(has(&status, ["project_id", "workspace_id"]), names, "{status}");
        assert_eq!(status["workspace_root"], root, "{status}");
        assert_eq!(status.get("template_id").is_some(), names[1], "{status}");
        drop(hub);
    }
}

#[tokio::test]
async fn the_newer_generations_mount_says_project_and_hears_workspace() {
    // As recorded: a server of the newer generation alone has no other words.
    let (_hub, mut admin) = hub(HEAD).await;
    admin
        .ok("workspace_create", json!({"name": "p", "vision": "v"}))
        .await;
    let status = admin
        .ok("workspace_status", json!({"project_id": "proj-1"}))
        .await;
    assert_eq!(
        (&status["workspace_id"], &status["workspace_root"]),
        (&json!("proj-1"), &json!("/"))
    );
}
