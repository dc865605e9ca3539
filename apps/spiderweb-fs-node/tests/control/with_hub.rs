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
