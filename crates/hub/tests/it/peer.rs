//! Peers that play nodes, tools and mount clients, and a hub to play against.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use spiderweb_hub::store::MemoryStore;
use spiderweb_hub::{Clock, Database, Hub, HubConfig, Random};
use spiderweb_protocol::Secret;
use spiderweb_transport::{Authorization, DialOptions, Frame, Masking, Message, WebSocket, WsUrl, dial};

/// How long a peer waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const ADMIN: &str = "admin-token";
pub(crate) const NODE: &str = "node-token";
pub(crate) const USER: &str = "user-token";
pub(crate) const OPERATOR: &str = "operator-token";

/// A moment in 2026.
pub(crate) const NOW: u64 = 1_795_405_380_000;

/// A configuration that forgets everything, with known tokens and a clock that stands.
pub(crate) fn config() -> (HubConfig, Clock) {
    let clock = Clock::standing_at(NOW);
    let store = Database::Store(Box::new(MemoryStore::new()));
    let mut config = HubConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), store);
    config.tokens.admin = Some(Secret::new(ADMIN));
    config.tokens.node = Some(Secret::new(NODE));
    config.tokens.user = Some(Secret::new(USER));
    config.clock = clock.clone();
    // The first node is node-1.
    config.random = Random::counting();
    config.limits.sweep_every = Duration::from_millis(5);
    config.limits.push_delay = Duration::from_millis(1);
    config.limits.tunnel_grace = Duration::ZERO;
    (config, clock)
}

pub(crate) async fn start(edit: impl FnOnce(&mut HubConfig)) -> (Hub, Clock) {
    let (mut config, clock) = config();
    edit(&mut config);
    (Hub::start(config).await.unwrap(), clock)
}

/// A peer with a socket.
pub(crate) struct Peer(pub(crate) WebSocket);

impl Peer {
    pub(crate) async fn dial(hub: &Hub, path: &str, token: Option<&str>) -> Self {
        let url: WsUrl = format!("ws://{}{path}", hub.address()).parse().unwrap();
        let options = DialOptions {
            authorization: token.map(|token| Authorization::bearer(token).unwrap()),
            ..DialOptions::default()
        };
        Self(dial(&url, &options).await.unwrap())
    }

    pub(crate) async fn send(&mut self, value: &Value) {
        self.send_text(&value.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.0
            .send(Frame::text_from(Masking::Client, text))
            .await
            .unwrap();
    }

    /// The next text as JSON; `{"close": code}` for a close frame, `{"ended": true}` at the end.
    pub(crate) async fn next(&mut self) -> Value {
        self.next_within(PATIENCE)
            .await
            .unwrap_or_else(|| panic!("nothing came"))
    }

    pub(crate) async fn next_within(&mut self, patience: Duration) -> Option<Value> {
        tokio::time::timeout(patience, async {
            loop {
                match self.0.receive().await {
                    Ok(Some(Message::Text(text))) => return serde_json::from_slice(&text).unwrap(),
                    Ok(Some(Message::Ping(payload))) => self.0.queue(Frame::pong(Masking::Client, &payload)),
                    Ok(Some(Message::Close(payload))) => {
                        let code = payload
                            .get(..2)
                            .map_or(0, |code| u16::from_be_bytes([code[0], code[1]]));
                        return json!({"close": code});
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return json!({"ended": true}),
                }
            }
        })
        .await
        .ok()
    }
}

/// A control connection past its version.
pub(crate) struct Control {
    pub(crate) peer: Peer,
    last_id: u32,
}

impl Control {
    pub(crate) async fn dial(hub: &Hub, token: Option<&str>) -> Self {
        let mut control = Self {
            peer: Peer::dial(hub, "/", token).await,
            last_id: 0,
        };
        let ack = control.ok("version", json!({"protocol": "unified-v2"})).await;
        let files = ack.get("fsrpc_node").or_else(|| ack.get("acheron_node"));
        assert_eq!(files, Some(&json!("unified-v2-fs")), "{ack}");
        control
    }

    /// Sends a request and gives the whole reply; what is pushed meanwhile is skipped.
    pub(crate) async fn call(&mut self, operation: &str, payload: Value) -> Value {
        self.last_id += 1;
        let id = format!("q{}", self.last_id);
        self.peer
            .send(&json!({"channel": "control", "type": format!("control.{operation}"), "id": id, "payload": payload}))
            .await;
        loop {
            let reply = self.peer.next().await;
            if reply["id"] == id
                || reply["request"] == id
                || reply["close"].is_u64()
                || reply["ended"] == true
            {
                return reply;
            }
        }
    }

    /// The payload of a request that must work.
    pub(crate) async fn ok(&mut self, operation: &str, payload: Value) -> Value {
        let mut reply = self.call(operation, payload).await;
        assert_eq!(reply["ok"], true, "{operation}: {reply}");
        reply["payload"].take()
    }

    /// The code of a request that must be refused.
    pub(crate) async fn refused(&mut self, operation: &str, payload: Value) -> String {
        let reply = self.call(operation, payload).await;
        assert_eq!(reply["type"], "control.error", "{operation}: {reply}");
        reply["error"]["code"].as_str().unwrap().to_owned()
    }

    /// Makes an invite.
    pub(crate) async fn invite(&mut self, payload: Value) -> String {
        let invite = self.ok("node_invite_create", payload).await;
        invite["invite_token"].as_str().unwrap().to_owned()
    }

    /// Pairs a node of this name; its id and secret.
    pub(crate) async fn pair(&mut self, name: &str) -> (String, String) {
        let token = self.invite(json!({})).await;
        let joined = self
            .ok(
                "node_join",
                json!({"invite_token": token, "node_name": name, "fs_url": ""}),
            )
            .await;
        let text = |member: &str| joined[member].as_str().unwrap().to_owned();
        (text("node_id"), text("node_secret"))
    }
}

/// A node's tunnel past its hello.
pub(crate) async fn tunnel(hub: &Hub, id: &str, secret: &str) -> Peer {
    let mut peer = Peer::dial(hub, "/v2/node", None).await;
    peer.send(&tunnel_hello(id, secret)).await;
    let welcome = peer.next().await;
    assert_eq!(welcome["type"], "acheron.r_fs_hello", "{welcome}");
    peer
}

pub(crate) fn tunnel_hello(id: &str, secret: &str) -> Value {
    json!({"channel": "acheron", "type": "acheron.t_fs_hello", "tag": 1, "payload":
        {"protocol": "unified-v2-fs", "proto": 2, "node_id": id, "node_secret": secret}})
}

pub(crate) fn client_hello(token: &str, subscribes: bool) -> Value {
    json!({"channel": "acheron", "type": "acheron.t_fs_hello", "tag": 1, "payload":
        {"protocol": "unified-v2-fs", "proto": 2, "auth_token": token, "subscribe_invalidations": subscribes}})
}

/// Answers a request as a node does: same tag, this payload.
pub(crate) fn answer(request: &Value, payload: &Value) -> Value {
    let kind = request["type"].as_str().unwrap().replace(".t_fs_", ".r_fs_");
    json!({"channel": "acheron", "type": kind, "tag": request["tag"], "ok": true, "payload": payload})
}

/// A client past its hello, which the node has answered.
pub(crate) async fn client(hub: &Hub, node: &mut Peer, id: &str, token: &str, subscribes: bool) -> Peer {
    let mut peer = Peer::dial(hub, &format!("/v2/fs/node/{id}"), None).await;
    peer.send(&client_hello(token, subscribes)).await;
    let hello = node.next().await;
    assert_eq!(hello["type"], "acheron.t_fs_hello", "{hello}");
    node.send(&answer(&hello, &json!({"protocol": "unified-v2-fs", "proto": 2})))
        .await;
    let welcome = peer.next().await;
    assert_eq!(
        (&welcome["type"], &welcome["tag"]),
        (&json!("acheron.r_fs_hello"), &json!(1)),
        "{welcome}"
    );
    peer
}

/// A request of the file protocol.
pub(crate) fn request(op: &str, tag: u32, extra: Value) -> Value {
    let mut value =
        json!({"channel": "acheron", "type": format!("acheron.t_fs_{op}"), "tag": tag, "payload": {}});
    if let (Some(value), Value::Object(extra)) = (value.as_object_mut(), extra) {
        value.extend(extra);
    }
    value
}

/// Waits until the operation's payload is as wanted.
pub(crate) async fn until(
    control: &mut Control,
    operation: &str,
    payload: Value,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let shown = control.ok(operation, payload.clone()).await;
        if wanted(&shown) {
            return shown;
        }
        assert!(tokio::time::Instant::now() < deadline, "never: {shown}");
        tokio::task::yield_now().await;
    }
}
