//! The node and our own hub, from the first contact to a client that reads a file.

use std::net::SocketAddr;

use serde_json::json;
use spiderweb_hub::{Database, Hub, HubConfig};
use spiderweb_protocol::Secret;
use tokio::runtime::Runtime;

use crate::peers::{Operator, open, read, routed};
use crate::place::{Place, SOON, eventually, says};

const OPERATOR: &str = "op-1";

/// A hub in this process whose registry is in a file.
struct Running {
    runtime: Runtime,
    hub: Hub,
}

impl Running {
    fn start(place: &Place, address: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let database = Database::File(place.path("hub.redb"));
        let mut config = HubConfig::new(address.parse().unwrap(), database);
        config.tokens.operator = Some(Secret::new(OPERATOR));
        config.tokens.file = Some(place.path("tokens.json"));
        let hub = runtime.block_on(Hub::start(config)).unwrap();
        Self { runtime, hub }
    }

    fn address(&self) -> SocketAddr {
        self.hub.address()
    }

    fn url(&self) -> String {
        format!("ws://{}/", self.address())
    }

    fn stop(self) {
        assert!(self.runtime.block_on(self.hub.stop(SOON)));
    }

    /// An operator's session.
    fn operator(&self) -> Operator {
        Operator::connect(self.address(), self.hub.admin_token().expose(), Some(OPERATOR))
    }
}

#[test]
fn a_person_approves_a_client_reads_and_a_restart_of_the_hub_is_survived() {
    let place = Place::new();
    let hub = Running::start(&place, "127.0.0.1:0");
    let token = hub.hub.node_token().expose().to_owned();
    let node = place
        .command(&hub.url(), &["--control-auth-token", &token])
        .launch()
        .unwrap();
    says(&node, "info: node join approval pending: code=approval_pending");
    hub.operator().approve();
    says(&node, "info: control tunnel established");
    let state = place.state();

    let mut client = routed(hub.address(), &state);
    let handle = open(&mut client);
    assert_eq!(read(&mut client, &handle), "aW5zaWRl");

    let address = hub.address().to_string();
    hub.stop();
    says(&node, "control tunnel disconnected: the hub closed it: 1001");
    let hub = Running::start(&place, &address);
    let mut client = eventually("a tunnel", || {
        (node.log().matches("control tunnel established").count() > 1).then(|| routed(hub.address(), &state))
    });
    assert_eq!(read(&mut client, &handle), "aW5zaWRl", "handles are still good");
    assert_eq!(place.state()["node_id"], state["node_id"]);
    hub.stop();
}

#[test]
fn twenty_nodes_share_a_hub() {
    let place = Place::new();
    let hub = Running::start(&place, "127.0.0.1:0");
    let invite = hub.operator().ask("node_invite_create", json!({"max_uses": 20}));
    let invite = invite["invite_token"].as_str().unwrap().to_owned();
    let nodes: Vec<_> = (0..20)
        .map(|number| {
            let place = Place::new();
            std::fs::write(place.path("work/file"), format!("node {number:03}")).unwrap();
            let node = place
                .command(&hub.url(), &["--invite-token", &invite])
                .launch()
                .unwrap();
            (place, node)
        })
        .collect();
    for (number, (place, node)) in nodes.iter().enumerate() {
        says(node, "info: control tunnel established");
        let mut client = routed(hub.address(), &place.state());
        let handle = open(&mut client);
        let expected = base64_simd::STANDARD.encode_to_string(format!("node {number:03}"));
        assert_eq!(read(&mut client, &handle), expected, "node {number}");
    }
    let shown = hub.operator().ask("node_list", json!({}));
    assert_eq!(shown["nodes"].as_array().unwrap().len(), 20);
    drop(nodes);
    hub.stop();
}

#[test]
fn a_hub_that_lost_its_data_gets_its_nodes_back() {
    let place = Place::new();
    let hub = Running::start(&place, "127.0.0.1:0");
    let invite = |hub: &Running| {
        let invite = hub.operator().ask("node_invite_create", json!({}));
        std::fs::write(place.path("invites"), invite["invite_token"].as_str().unwrap()).unwrap();
    };
    invite(&hub);
    let node = place
        .command(&hub.url(), &["--invite-token-file", "invites"])
        .launch()
        .unwrap();
    says(&node, "info: control tunnel established");
    let first = place.state();
    let address = hub.address().to_string();
    hub.stop();
    std::fs::remove_file(place.path("hub.redb")).unwrap();
    let hub = Running::start(&place, &address);
    invite(&hub);
    let second = eventually("another identity", || {
        let state = place.state();
        (state["node_id"].is_string() && state["node_secret"] != first["node_secret"]).then_some(state)
    });
    // The new id may be the old one.
    eventually("a tunnel", || {
        (node.log().matches("control tunnel established").count() > 1).then_some(())
    });
    let mut client = routed(hub.address(), &second);
    let handle = open(&mut client);
    assert_eq!(read(&mut client, &handle), "aW5zaWRl");
    hub.stop();
}

#[test]
fn a_node_that_is_deleted_pairs_anew_with_the_next_invite() {
    let place = Place::new();
    let hub = Running::start(&place, "127.0.0.1:0");
    let mut operator = hub.operator();
    let invite = operator.ask("node_invite_create", json!({"max_uses": 2}));
    let invite = invite["invite_token"].as_str().unwrap().to_owned();
    let node = place
        .command(&hub.url(), &["--invite-token", &invite])
        .launch()
        .unwrap();
    says(&node, "info: control tunnel established");
    let first = place.state()["node_id"].as_str().unwrap().to_owned();
    let catalog = operator.ask("node_service_get", json!({"node_id": first}));
    assert_eq!(catalog["services"][0]["service_id"], "fs", "{catalog}");

    operator.ask("node_delete", json!({"node_id": first}));
    let second = eventually("another identity", || {
        let state = place.state();
        let id = state["node_id"].as_str()?.to_owned();
        (id != first).then_some(id)
    });
    says(
        &node,
        &format!("info: control tunnel established for node {second}"),
    );
    let mut client = routed(hub.address(), &place.state());
    let handle = open(&mut client);
    assert_eq!(read(&mut client, &handle), "aW5zaWRl");
    drop(node);
    hub.stop();
}
