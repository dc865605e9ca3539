//! Who talks to a hub besides nodes: operators, and clients that are routed to a node.

use std::net::SocketAddr;

use serde_json::{Value, json};
use spiderweb_testkit::RawPeer;
use spiderweb_testkit::raw_peer::upgrade_request;

use crate::place::{SOON, eventually};

/// An operator's control connection.
pub(crate) struct Operator {
    peer: RawPeer,
    asked: u32,
    second_factor: Option<&'static str>,
}

impl Operator {
    pub(crate) fn connect(hub: SocketAddr, admin_token: &str, second_factor: Option<&'static str>) -> Self {
        let mut peer = RawPeer::dial(hub).unwrap();
        let token = format!("\r\nAuthorization: Bearer {admin_token}\r\n\r\n");
        let request = upgrade_request(hub, "/").replace("\r\n\r\n", &token);
        peer.send_bytes(request.as_bytes()).unwrap();
        assert_eq!(peer.http_head(SOON).unwrap().status, 101);
        let mut operator = Self {
            peer,
            asked: 0,
            second_factor,
        };
        operator.ask("version", json!({"protocol": "unified-v2"}));
        operator.ask("connect", json!({}));
        operator
    }

    pub(crate) fn ask(&mut self, operation: &str, mut payload: Value) -> Value {
        if let Some(token) = self.second_factor {
            payload["operator_token"] = token.into();
        }
        self.asked += 1;
        let id = format!("q{}", self.asked);
        self.peer
            .send_json(&json!({"channel": "control", "type": format!("control.{operation}"), "id": id, "payload": payload}))
            .unwrap();
        loop {
            let frame = self.peer.frame(SOON).unwrap();
            let answer: Value = serde_json::from_slice(&frame.payload).unwrap();
            if answer["id"] == *id {
                assert_eq!(answer["ok"], true, "{operation}: {answer}");
                return answer["payload"].clone();
            }
        }
    }

    /// Approves whoever waits.
    pub(crate) fn approve(&mut self) {
        let request = eventually("a request to join", || {
            let pending = self.ask("node_join_pending_list", json!({}));
            pending["pending"][0]["request_id"].as_str().map(str::to_owned)
        });
        self.ask("node_join_approve", json!({"request_id": request}));
    }
}

/// A client that the hub routes to the node, and what it finds in the node's only file.
pub(crate) fn routed(address: SocketAddr, state: &Value) -> RawPeer {
    let path = format!("/v2/fs/node/{}", state["node_id"].as_str().unwrap());
    let mut peer = RawPeer::connect(address, &path).unwrap();
    let hello = peer.request(json!({
        "type": "acheron.t_fs_hello",
        "payload": {"protocol": "unified-v2-fs", "proto": 2, "auth_token": state["node_secret"]},
    }));
    let hello = hello.unwrap();
    assert_eq!(hello["ok"], true, "{hello}");
    peer
}

pub(crate) fn open(peer: &mut RawPeer) -> Value {
    let exports = peer.request(json!({"type": "acheron.t_fs_exports"})).unwrap();
    let root = &exports["payload"]["exports"][0]["root"];
    let lookup = json!({"type": "acheron.t_fs_lookup", "node": root, "payload": {"name": "file"}});
    let found = peer.request(lookup).unwrap();
    let open =
        json!({"type": "acheron.t_fs_open", "node": found["payload"]["attr"]["id"], "payload": {"flags": 0}});
    peer.request(open).unwrap()["payload"]["h"].clone()
}

#[track_caller]
pub(crate) fn read(peer: &mut RawPeer, handle: &Value) -> Value {
    let read = json!({"type": "acheron.t_fs_read", "h": handle, "payload": {"off": 0, "len": 100}});
    let answer = peer.request(read).unwrap();
    let data = &answer["payload"]["data_b64"];
    assert!(data.is_string(), "{answer}");
    data.clone()
}
