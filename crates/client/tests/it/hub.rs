//! Nodes behind a hub whose every word is written by the test.

use serde_json::json;
use spiderweb_client::{ControlOptions, Hub, NodeError, Routing};
use spiderweb_protocol::fs::{Export, ExportCaps, Op, Reply};
use spiderweb_protocol::{Envelope, Errno, Secret};

use crate::control::{Desk, SEED, options};
use crate::peer::{Conversation, Peer};

const ROUTING: Routing = Routing {
    subscribe: false,
    timeout: None,
    export: None,
};

fn admin(peer: &Peer) -> ControlOptions {
    ControlOptions {
        token: Some(Secret::new("admin")),
        ..options(peer)
    }
}

/// The control connection, its handshake and the list of nodes done.
async fn meet(peer: &Peer, nodes: serde_json::Value) -> (Hub, Desk) {
    let (hub, desk) = tokio::join!(Hub::connect(admin(peer), ROUTING), async {
        let mut desk = Desk::new(peer.accept_raw().await);
        desk.greet(serde_json::from_str(SEED).unwrap()).await;
        let asked = desk.asked().await;
        assert_eq!(asked["type"], "control.node_list");
        desk.answer(&asked, "control.node_list", json!({"nodes": nodes}))
            .await;
        desk
    });
    (hub.unwrap(), desk)
}

/// A client on the path for files that is refused; its hello.
async fn refuse(peer: &Peer, errno: Errno, words: &str) -> String {
    let mut client = Conversation::new(peer.accept_raw().await);
    let hello = client.text().await.unwrap();
    let tag = Envelope::parse(&hello).unwrap().tag.unwrap();
    client.refuse(tag, errno, words).await;
    String::from_utf8(hello.to_vec()).unwrap()
}

/// A client that is routed to a node with one export.
async fn welcome(peer: &Peer, token: &str) -> Conversation {
    let mut client = Conversation::new(peer.accept_raw().await);
    client.greet(Some(&Secret::new(token))).await;
    let (tag, _) = client.request().await;
    let export = Export {
        name: "svc-echo".to_owned(),
        root: 5,
        ro: false,
        desc: String::new(),
        source_kind: "namespace".to_owned(),
        source_id: String::new(),
        caps: ExportCaps::default(),
    };
    client
        .reply(Op::Exports, tag, &Reply::Exports([export].into()))
        .await;
    client
}

#[tokio::test]
async fn where_the_admins_token_opens_nothing_a_projects_ticket_does() {
    let peer = Peer::listen().await;
    let (mut hub, mut desk) = meet(&peer, json!([{"node_id": "node-2", "node_name": "edge"}])).await;
    let (routed, client) = tokio::join!(hub.node("edge"), async {
        let hello = refuse(&peer, Errno::EACCES, "NodeAuthFailed").await;
        assert!(hello.contains(r#""auth_token":"admin""#), "{hello}");
        let asked = desk.asked().await;
        assert_eq!(asked["type"], "control.project_list");
        let project = json!({"project_id": "proj-1", "name": "demo", "status": "active"});
        desk.answer(&asked, "control.project_list", json!({"projects": [project]}))
            .await;
        let asked = desk.asked().await;
        assert_eq!(asked["payload"], json!({"project_id": "proj-1"}));
        let mount = json!({"mount_path": "/src", "node_id": "node-2", "export_name": "work", "node_name": "edge",
            "fs_url": "ws://elsewhere:1/v2/fs/node/node-2", "fs_auth_token": "secret-2", "state": "online"});
        desk.answer(&asked, "control.workspace_status", json!({"mounts": [mount]}))
            .await;
        let client = welcome(&peer, "secret-2").await;
        let asked = desk.asked().await;
        let entry = json!({"service_id": "echo", "kind": "echo", "endpoints": ["/nodes/node-2/tools/echo"],
            "mounts": [{"mount_id": "echo", "mount_path": "/nodes/node-2/tools/echo"}]});
        desk.answer(&asked, "control.node_service_get", json!({"services": [entry]}))
            .await;
        client
    });
    let routed = routed.unwrap();
    drop(client);
    for path in ["/echo", "/svc-echo", "/tools/echo"] {
        assert!(routed.view.place(&path.parse().unwrap()).is_ok(), "{path}");
    }
    let shown = routed.view.root_path(&routed.view.exports()[0]).unwrap();
    assert_eq!(shown.to_string(), "/echo");
}

#[tokio::test]
async fn a_node_without_tunnel_is_named() {
    let peer = Peer::listen().await;
    let (mut hub, _desk) = meet(&peer, json!([{"node_id": "node-2", "node_name": "edge"}])).await;
    let (routed, _) = tokio::join!(
        hub.node("node-2"),
        refuse(&peer, Errno::EIO, "node tunnel is unavailable")
    );
    match routed {
        Err(NodeError::Offline { node }) => assert_eq!(node, "edge (node-2)"),
        other => panic!("{other:?}"),
    }
}
