//! A hub inside the node: one command, one process.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use spiderweb_testkit::{NodeCommand, NodeProcess};

use crate::peers::{Operator, open, read, routed};
use crate::place::{BINARY, Place, SOON, eventually, says};

fn command(place: &Place, address: &str) -> NodeCommand {
    NodeCommand::new(BINARY)
        .directory(place.path(""))
        .arguments(["--hub", address, "--hub-data-dir", "hub"])
        .arguments(["--export", "work=work", "--node-name", "home"])
        .arguments([
            "--reconnect-backoff-ms",
            "200",
            "--reconnect-backoff-max-ms",
            "400",
        ])
}

/// Where the hub inside the node listens.
fn address(node: &NodeProcess) -> SocketAddr {
    eventually("the hub's address", || {
        let log = node.log();
        let (_, rest) = log.split_once("Hub listening at ws://")?;
        rest.split_once('/')?.0.parse().ok()
    })
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn operator(place: &Place, hub: SocketAddr) -> Operator {
    let tokens = json_file(&place.path("hub/auth_tokens.json"));
    Operator::connect(hub, tokens["admin_token"].as_str().unwrap(), None)
}

#[test]
fn one_command_serves_its_own_files_and_other_nodes_and_survives_a_restart() {
    let place = Place::new();
    let mut home = command(&place, "127.0.0.1:0").launch().unwrap();
    says(&home, "info: control tunnel established");
    let hub = address(&home);
    let own = json_file(&place.path("hub/spiderweb-fs-node-state.json"));
    let mut client = routed(hub, &own);
    let handle = open(&mut client);
    assert_eq!(read(&mut client, &handle), "aW5zaWRl");

    let invite = operator(&place, hub).ask("node_invite_create", json!({}));
    let edge = place
        .command(
            &format!("ws://{hub}/"),
            &["--invite-token", invite["invite_token"].as_str().unwrap()],
        )
        .launch()
        .unwrap();
    says(&edge, "info: control tunnel established");
    let nodes = operator(&place, hub).ask("node_list", json!({}));
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), 2, "{nodes}");
    let mut other = routed(hub, &place.state());
    let other_handle = open(&mut other);
    assert_eq!(read(&mut other, &other_handle), "aW5zaWRl");

    home.terminate().unwrap();
    assert!(home.wait_exit(SOON).unwrap().success(), "{}", home.log());
    let home = command(&place, &hub.to_string()).launch().unwrap();
    says(&home, "info: control tunnel established");
    assert_eq!(
        json_file(&place.path("hub/spiderweb-fs-node-state.json"))["node_id"],
        own["node_id"]
    );
    assert!(!home.log().contains("node paired"), "{}", home.log());
    eventually("the other node", || {
        (edge.log().matches("control tunnel established").count() > 1).then_some(())
    });
    let mut other = routed(hub, &place.state());
    assert_eq!(
        read(&mut other, &other_handle),
        "aW5zaWRl",
        "handles are still good"
    );
}

#[test]
fn a_hub_that_lost_its_data_gets_to_know_its_node_anew() {
    let place = Place::new();
    let mut home = command(&place, "127.0.0.1:0").launch().unwrap();
    says(&home, "info: control tunnel established");
    home.terminate().unwrap();
    assert!(home.wait_exit(SOON).unwrap().success());
    fs::remove_file(place.path("hub/hub.redb")).unwrap();

    let home = command(&place, "127.0.0.1:0").launch().unwrap();
    says(
        &home,
        "paired node identity missing on control plane; clearing local node state and re-pairing",
    );
    says(&home, "info: control tunnel established");
    let own = json_file(&place.path("hub/spiderweb-fs-node-state.json"));
    let mut client = routed(address(&home), &own);
    let handle = open(&mut client);
    assert_eq!(read(&mut client, &handle), "aW5zaWRl");
}

#[test]
fn what_another_process_holds_is_named() {
    let place = Place::new();
    let home = command(&place, "127.0.0.1:0").launch().unwrap();
    says(&home, "info: control tunnel established");
    let hub = address(&home);
    let elsewhere = Place::new();
    for (place, address, words) in [
        (
            &elsewhere,
            hub.to_string(),
            "choose one with --hub IP:PORT (port 0 takes a free one)",
        ),
        (&place, "127.0.0.1:0".to_owned(), "process"),
    ] {
        let mut second = command(place, &address).launch().unwrap();
        assert_eq!(second.wait_exit(SOON).unwrap().code(), Some(1));
        says(&second, "cannot start the hub");
        says(&second, words);
    }
    assert!(operator(&place, hub).ask("node_list", json!({}))["nodes"].is_array());
}
