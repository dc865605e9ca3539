//! Clients routed through a node's tunnel.

use std::time::Duration;

use serde_json::{Value, json};
use spiderweb_hub::Hub;
use spiderweb_transport::{DialOptions, Frame, Masking, Message, WsUrl, upgrade_over};

use crate::peer::{
    ADMIN, Control, NODE, Peer, USER, answer, client, client_hello, request, start, tunnel, tunnel_hello,
    until,
};

struct Stage {
    hub: Hub,
    admin: Control,
    node: Peer,
    id: String,
    secret: String,
}

async fn stage(grace: Duration) -> Stage {
    let (hub, _) = start(|config| config.limits.tunnel_grace = grace).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret) = admin.pair("edge").await;
    let node = tunnel(&hub, &id, &secret).await;
    Stage {
        hub,
        admin,
        node,
        id,
        secret,
    }
}

impl Stage {
    async fn client(&mut self, subscribes: bool) -> Peer {
        client(&self.hub, &mut self.node, &self.id, &self.secret, subscribes).await
    }
}

#[tokio::test]
async fn an_admin_is_routed_to_every_node_and_the_node_never_hears_the_admin_token() {
    let mut stage = stage(Duration::ZERO).await;
    let mut peer = Peer::dial(&stage.hub, &format!("/v2/fs/node/{}", stage.id), None).await;
    peer.send(&client_hello(ADMIN, false)).await;
    let hello = stage.node.next().await;
    assert_eq!(hello["payload"]["auth_token"], stage.secret);
    stage
        .node
        .send(&answer(&hello, &json!({"protocol": "unified-v2-fs", "proto": 2})))
        .await;
    assert_eq!(peer.next().await["type"], "acheron.r_fs_hello");

    // Other bearer tokens are no file tickets, and nobody is routed to a node that is not there.
    for (node, token, errno) in [
        (stage.id.as_str(), NODE, 13),
        (&stage.id, USER, 13),
        ("node-77", ADMIN, 2),
    ] {
        let mut peer = Peer::dial(&stage.hub, &format!("/v2/fs/node/{node}"), None).await;
        peer.send(&client_hello(token, false)).await;
        assert_eq!(peer.next().await["error"]["errno"], errno, "{node} {token}");
    }
}

fn unavailable(tag: u32) -> Value {
    json!({"channel": "acheron", "type": "acheron.err_fs", "tag": tag, "ok": false, "error":
        {"errno": 5, "message": "NodeTunnelUnavailable"}})
}

#[tokio::test]
async fn two_clients_with_equal_tags_get_their_own_replies_in_any_order() {
    let mut stage = stage(Duration::ZERO).await;
    let mut a = stage.client(false).await;
    let mut b = stage.client(false).await;
    a.send(&request(
        "lookup",
        7,
        json!({"node": 1, "payload": {"name": "a"}}),
    ))
    .await;
    let from_a = stage.node.next().await;
    b.send(&request(
        "lookup",
        7,
        json!({"node": 1, "payload": {"name": "b"}}),
    ))
    .await;
    let from_b = stage.node.next().await;
    assert_ne!(from_a["tag"], from_b["tag"]);
    assert_eq!(
        (&from_a["payload"]["name"], &from_b["payload"]["name"]),
        (&json!("a"), &json!("b"))
    );
    stage.node.send(&answer(&from_b, &json!({"for": "b"}))).await;
    stage.node.send(&answer(&from_a, &json!({"for": "a"}))).await;
    for (peer, name) in [(&mut a, "a"), (&mut b, "b")] {
        let reply = peer.next().await;
        assert_eq!(
            (&reply["tag"], &reply["payload"]["for"]),
            (&json!(7), &json!(name))
        );
    }
    // One client may have many requests on their way.
    for tag in 1..=5 {
        a.send(&request("getattr", tag, json!({"node": tag}))).await;
    }
    let mut asked = Vec::new();
    for _ in 1..=5 {
        asked.push(stage.node.next().await);
    }
    for request in asked.iter().rev() {
        stage.node.send(&answer(request, &json!({}))).await;
    }
    for tag in (1..=5).rev() {
        assert_eq!(a.next().await["tag"], tag);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_stalls_nobody_else() {
    let mut stage = stage(Duration::ZERO).await;
    let mut slow = stage.client(false).await;
    let mut quick = stage.client(false).await;
    // Far more than its window and all buffers of the kernel; it never reads a reply.
    for tag in 1..=200_u32 {
        slow.0.queue(Frame::text_from(
            Masking::Client,
            &request("read", tag, json!({"h": 1})).to_string(),
        ));
    }
    let sending = tokio::spawn(async move {
        let _ = std::future::poll_fn(|cx| slow.0.poll_flush(cx)).await;
        slow
    });
    let data = "A".repeat(1_400_000);
    let mut served = 0;
    // The node answers whatever comes, until nothing more comes: the window is closed.
    let mut asked = Some(stage.node.next().await);
    while let Some(request) = asked {
        served += 1;
        let reply = answer(&request, &json!({"data_b64": data, "eof": false}));
        stage.node.send(&reply).await;
        asked = stage.node.next_within(Duration::from_millis(300)).await;
    }
    assert!((1..150).contains(&served), "{served} reads were let through");
    for tag in 1..=20 {
        quick.send(&request("getattr", tag, json!({"node": 1}))).await;
        let asked = loop {
            let asked = stage.node.next().await;
            if asked["type"] == "acheron.t_fs_getattr" {
                break asked;
            }
        };
        stage.node.send(&answer(&asked, &json!({}))).await;
        assert_eq!(quick.next().await["tag"], tag);
    }
    // Once it reads, it gets what it asked for, in order.
    let mut slow = sending.await.unwrap();
    assert_eq!(slow.next().await["tag"], 1);
}

#[tokio::test]
async fn what_is_on_its_way_fails_at_once_when_the_tunnel_drops() {
    let mut stage = stage(Duration::ZERO).await;
    let mut peer = stage.client(false).await;
    peer.send(&request("read", 9, json!({"h": 1}))).await;
    stage.node.next().await;
    drop(stage.node);
    assert_eq!(
        peer.next_within(Duration::from_secs(2)).await,
        Some(unavailable(9))
    );
    peer.send(&request("read", 10, json!({"h": 1}))).await;
    assert_eq!(peer.next().await, unavailable(10));
    let mut late = Peer::dial(&stage.hub, &format!("/v2/fs/node/{}", stage.id), None).await;
    late.send(&client_hello(&stage.secret, false)).await;
    assert_eq!(
        late.next().await["error"],
        json!({"errno": 5, "message": "node tunnel is unavailable"})
    );
    assert_eq!(late.next().await["close"], 0);

    // The node is back, and the old connection goes on.
    let mut node = tunnel(&stage.hub, &stage.id, &stage.secret).await;
    peer.send(&request("getattr", 11, json!({"node": 1}))).await;
    let asked = node.next().await;
    node.send(&answer(&asked, &json!({}))).await;
    assert_eq!(peer.next().await["tag"], 11);
}

#[tokio::test]
async fn a_request_waits_for_a_tunnel_that_comes_back_soon() {
    let mut stage = stage(Duration::from_secs(8)).await;
    let mut peer = stage.client(false).await;
    let node = json!({"node_id": stage.id});
    drop(stage.node);
    until(&mut stage.admin, "node_get", node, |shown| {
        shown["node"]["tunnel"]["connected"] == false
    })
    .await;
    peer.send(&request("getattr", 3, json!({"node": 1}))).await;
    let mut node = tunnel(&stage.hub, &stage.id, &stage.secret).await;
    let asked = node.next().await;
    node.send(&answer(&asked, &json!({}))).await;
    let reply = peer.next().await;
    assert_eq!((&reply["tag"], &reply["ok"]), (&json!(3), &json!(true)));
}

#[tokio::test]
async fn a_client_that_was_lost_with_the_tunnel_waits_for_it_as_well() {
    let mut stage = stage(Duration::from_secs(8)).await;
    let node = json!({"node_id": stage.id});
    // Nobody is routed to the node while its tunnel is down.
    drop(stage.node);
    until(&mut stage.admin, "node_get", node, |shown| {
        shown["node"]["tunnel"]["connected"] == false
    })
    .await;
    let mut peer = Peer::dial(&stage.hub, &format!("/v2/fs/node/{}", stage.id), None).await;
    peer.send(&client_hello(&stage.secret, false)).await;
    let mut node = tunnel(&stage.hub, &stage.id, &stage.secret).await;
    let hello = node.next().await;
    node.send(&answer(&hello, &json!({"protocol": "unified-v2-fs", "proto": 2})))
        .await;
    assert_eq!(peer.next().await["type"], "acheron.r_fs_hello");
}

#[tokio::test]
async fn the_newest_tunnel_wins_however_often() {
    let mut stage = stage(Duration::ZERO).await;
    let mut peer = stage.client(false).await;
    peer.send(&request("read", 1, json!({"h": 1}))).await;
    stage.node.next().await;
    let mut current = tunnel(&stage.hub, &stage.id, &stage.secret).await;
    assert_eq!(stage.node.next().await, json!({"close": 4001}));
    assert_eq!(peer.next().await, unavailable(1));
    for _ in 0..9 {
        let newer = tunnel(&stage.hub, &stage.id, &stage.secret).await;
        assert_eq!(current.next().await, json!({"close": 4001}));
        current = newer;
    }
    peer.send(&request("getattr", 2, json!({"node": 1}))).await;
    let asked = current.next().await;
    current.send(&answer(&asked, &json!({}))).await;
    assert_eq!(peer.next().await["tag"], 2, "the last one is served");
}

#[tokio::test]
async fn a_node_whose_links_died_in_silence_is_not_locked_out() {
    let mut stage = stage(Duration::ZERO).await;
    let mut peer = stage.client(false).await;
    // Nobody reads these any more, and nobody closes them.
    let mut dead = Vec::new();
    for _ in 0..10 {
        dead.push(tunnel(&stage.hub, &stage.id, &stage.secret).await);
    }
    let mut current = tunnel(&stage.hub, &stage.id, &stage.secret).await;
    peer.send(&request("getattr", 2, json!({"node": 1}))).await;
    let asked = current.next().await;
    current.send(&answer(&asked, &json!({}))).await;
    assert_eq!(peer.next().await["tag"], 2);
    // The ends of the old ones take nothing away.
    drop((dead, stage.node));
    let mut admin = Control::dial(&stage.hub, Some(ADMIN)).await;
    let shown = admin.ok("node_get", json!({"node_id": stage.id})).await;
    assert_eq!(shown["node"]["tunnel"]["connected"], true);
    peer.send(&request("getattr", 3, json!({"node": 1}))).await;
    let asked = current.next().await;
    current.send(&answer(&asked, &json!({}))).await;
    assert_eq!(peer.next().await["tag"], 3);
}

#[tokio::test]
async fn handles_of_a_client_that_left_are_closed() {
    let mut stage = stage(Duration::ZERO).await;
    let mut peer = stage.client(false).await;
    for (tag, handle) in [(1, 41), (2, 42)] {
        peer.send(&request("open", tag, json!({"node": 1}))).await;
        let asked = stage.node.next().await;
        stage.node.send(&answer(&asked, &json!({"h": handle}))).await;
        peer.next().await;
    }
    peer.send(&request("close", 3, json!({"h": 41}))).await;
    let asked = stage.node.next().await;
    stage.node.send(&answer(&asked, &json!({}))).await;
    peer.next().await;
    drop(peer);
    let closed = stage.node.next().await;
    assert_eq!(
        (&closed["type"], &closed["h"]),
        (&json!("acheron.t_fs_close"), &json!(42))
    );
}

#[tokio::test]
async fn handles_of_clients_that_a_stopping_hub_sends_away_stay_open() {
    let mut stage = stage(Duration::ZERO).await;
    let mut clients = Vec::new();
    for handle in 1..5 {
        let mut peer = stage.client(false).await;
        peer.send(&request("open", 1, json!({"node": 1}))).await;
        let asked = stage.node.next().await;
        stage.node.send(&answer(&asked, &json!({"h": handle}))).await;
        peer.next().await;
        clients.push(peer);
    }
    let (stopped, said) = tokio::join!(stage.hub.stop(Duration::from_secs(5)), stage.node.next());
    assert!(stopped);
    assert_eq!(said, json!({"close": 1001}));
}

#[tokio::test]
async fn events_go_to_those_who_want_them_before_the_reply() {
    let mut stage = stage(Duration::ZERO).await;
    let mut wanting = stage.client(true).await;
    let mut other = stage.client(false).await;
    wanting.send(&request("exports", 2, json!({}))).await;
    let asked = stage.node.next().await;
    stage
        .node
        .send(&answer(
            &asked,
            &json!({"exports": [{"name": "work", "root": 281_474_976_710_656_u64}]}),
        ))
        .await;
    wanting.next().await;
    wanting.send(&request("write", 3, json!({"h": 1}))).await;
    let asked = stage.node.next().await;
    let event =
        json!({"channel": "acheron", "type": "acheron.e_fs_inval", "payload": {"node": 7, "what": "data"}});
    stage.node.send(&event).await;
    stage.node.send(&answer(&asked, &json!({"n": 1}))).await;
    assert_eq!(wanting.next().await, event);
    assert_eq!(wanting.next().await["tag"], 3);
    other.send(&request("getattr", 4, json!({"node": 1}))).await;
    let asked = stage.node.next().await;
    stage.node.send(&answer(&asked, &json!({}))).await;
    assert_eq!(other.next().await["tag"], 4, "no event came first");

    // After a pause of the tunnel those who listen are told to look again.
    drop(stage.node);
    let _node = tunnel(&stage.hub, &stage.id, &stage.secret).await;
    let again = wanting.next().await;
    assert_eq!(
        again["payload"],
        json!({"node": 281_474_976_710_656_u64, "what": "all"})
    );
}

#[tokio::test]
async fn clients_without_the_right_words_are_refused() {
    let mut stage = stage(Duration::ZERO).await;
    let refusals = [
        (
            stage.id.as_str(),
            client_hello("guess", false),
            13,
            "NodeAuthFailed",
        ),
        ("node-77", client_hello(&stage.secret, false), 2, "NodeNotFound"),
        (
            stage.id.as_str(),
            request(
                "hello",
                1,
                json!({"payload": {"protocol": "unified-v2-fs", "proto": 2}}),
            ),
            13,
            "missing auth_token in fs hello payload",
        ),
        (
            stage.id.as_str(),
            request("hello", 1, json!({"payload": {"protocol": "x", "proto": 2}})),
            22,
            "ProtocolMismatch",
        ),
        (
            stage.id.as_str(),
            request("exports", 1, json!({})),
            22,
            "acheron.t_fs_hello must be negotiated first",
        ),
    ];
    for (id, frame, errno, message) in refusals {
        let mut peer = Peer::dial(&stage.hub, &format!("/v2/fs/node/{id}"), None).await;
        peer.send(&frame).await;
        let refused = peer.next().await;
        assert_eq!(
            (&refused["error"], &refused["tag"]),
            (&json!({"errno": errno, "message": message}), &json!(1))
        );
        assert_eq!(peer.next().await["close"], 0);
    }
    let mut peer = stage.client(false).await;
    for (text, message) in [
        ("{bad", "SyntaxError"),
        (
            r#"{"channel":"acheron","type":"acheron.t_fs_getattr","node":1}"#,
            "missing request tag",
        ),
        (
            r#"{"channel":"acheron","type":"acheron.t_fs_getattr","tag":1,"tag":2}"#,
            "DuplicateField",
        ),
        (
            r#"{"channel":"acheron","type":"acheron.r_fs_getattr","tag":1}"#,
            "UnsupportedType",
        ),
    ] {
        peer.send_text(text).await;
        assert_eq!(
            peer.next().await["error"],
            json!({"errno": 22, "message": message}),
            "{text}"
        );
    }
    peer.send(&request("hello", 5, client_hello("guess", true))).await;
    assert_eq!(peer.next().await["error"]["errno"], 13);
    assert_eq!(peer.next().await["close"], 0);
}

#[tokio::test]
async fn large_frames_pass_both_ways() {
    let mut stage = stage(Duration::ZERO).await;
    let mut peer = stage.client(false).await;
    let data = "A".repeat(4_100_000);
    peer.send(&request(
        "write",
        1,
        json!({"h": 1, "payload": {"data_b64": data}}),
    ))
    .await;
    let asked = stage.node.next().await;
    assert_eq!(asked["payload"]["data_b64"].as_str().unwrap().len(), data.len());
    stage.node.send(&answer(&asked, &json!({"data_b64": data}))).await;
    assert_eq!(
        peer.next().await["payload"]["data_b64"].as_str().unwrap().len(),
        data.len()
    );
}

#[tokio::test]
async fn a_frame_that_only_another_tag_makes_too_large_is_refused_alone() {
    const MOST: usize = 4 << 20;
    let mut stage = stage(Duration::ZERO).await;
    let mut peer = stage.client(false).await;
    let padded = |mut frame: Value| {
        let missing = MOST - frame.to_string().len();
        frame["payload"]["data_b64"] = "A".repeat(missing).into();
        assert_eq!(frame.to_string().len(), MOST);
        frame
    };
    let empty = json!({"h": 1, "payload": {"data_b64": ""}});
    peer.send(&padded(request("write", 1, empty))).await;
    let too_large = |tag: u32, message: &str| {
        json!({"channel": "acheron", "type": "acheron.err_fs", "tag": tag, "ok": false, "error":
            {"errno": 22, "message": message}})
    };
    assert_eq!(peer.next().await, too_large(1, "request too large"));

    let tag = u32::MAX;
    peer.send(&request("read", tag, json!({"h": 1}))).await;
    let asked = stage.node.next().await;
    assert_eq!(asked["type"], "acheron.t_fs_read", "the tunnel stands");
    let reply = answer(&asked, &json!({"data_b64": ""}));
    assert!(reply["tag"].to_string().len() < tag.to_string().len());
    stage.node.send(&padded(reply)).await;
    assert_eq!(peer.next().await, too_large(tag, "reply too large"));
    peer.send(&request("read", 3, json!({"h": 1}))).await;
    let asked = stage.node.next().await;
    stage
        .node
        .send(&answer(&asked, &json!({"data_b64": "QQ=="})))
        .await;
    assert_eq!(peer.next().await["payload"]["data_b64"], "QQ==");
}

#[tokio::test]
async fn what_no_node_knows_is_answered_at_once() {
    let mut stage = stage(Duration::ZERO).await;
    let mut peer = stage.client(false).await;
    for name in ["t_fs_nope", "t_walk"] {
        let unknown =
            json!({"channel": "acheron", "type": format!("acheron.{name}"), "tag": 8, "payload": {}});
        peer.send(&unknown).await;
        let told = peer.next().await;
        let error = json!({"errno": 22, "message": "UnsupportedType"});
        assert_eq!((&told["tag"], &told["error"]), (&json!(8), &error), "{name}");
    }
    peer.send(&request("exports", 9, json!({}))).await;
    assert_eq!(stage.node.next().await["type"], "acheron.t_fs_exports");
}

#[tokio::test]
async fn a_node_in_the_same_process_needs_no_port() {
    let mut stage = stage(Duration::ZERO).await;
    drop(stage.node);
    let url: WsUrl = "ws://hub.local:1/v2/node".parse().unwrap();
    let socket = upgrade_over(stage.hub.connect(), &url, &DialOptions::default())
        .await
        .unwrap();
    stage.node = Peer(socket);
    stage.node.send(&tunnel_hello(&stage.id, &stage.secret)).await;
    assert_eq!(stage.node.next().await["type"], "acheron.r_fs_hello");
    stage.client(false).await;
}

#[tokio::test]
async fn a_hundred_clients_share_one_node() {
    let mut stage = stage(Duration::ZERO).await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(stage.client(false).await);
    }
    for (number, peer) in clients.iter_mut().enumerate() {
        peer.send(&request("getattr", 7, json!({"node": number}))).await;
    }
    for _ in 0..100 {
        let asked = stage.node.next().await;
        stage
            .node
            .send(&answer(&asked, &json!({"for": asked["node"]})))
            .await;
    }
    for (number, peer) in clients.iter_mut().enumerate() {
        let reply = peer.next().await;
        assert_eq!(
            (&reply["tag"], &reply["payload"]["for"]),
            (&json!(7), &json!(number))
        );
    }
    let shown = stage.admin.ok("node_get", json!({"node_id": stage.id})).await;
    assert_eq!(shown["node"]["tunnel"]["clients"], 100);
}

#[tokio::test]
async fn a_tunnel_that_says_nothing_ends_and_one_that_answers_pings_does_not() {
    let (hub, _) = start(|config| {
        config.limits.ping_every = Duration::from_millis(20);
        config.limits.tunnel_silence = Duration::from_millis(400);
    })
    .await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (quiet_id, quiet_secret) = admin.pair("quiet").await;
    let (alive_id, alive_secret) = admin.pair("alive").await;
    let mut alive = tunnel(&hub, &alive_id, &alive_secret).await;
    let mut quiet = tunnel(&hub, &quiet_id, &quiet_secret).await;
    // It reads what comes and answers nothing.
    let silent = async {
        loop {
            if let Ok(Some(Message::Close(payload))) = quiet.0.receive().await {
                return payload;
            }
        }
    };
    let payload = tokio::select! {
        payload = silent => payload,
        said = alive.next() => panic!("the other one got {said}"),
    };
    assert_eq!(&payload[..2], &4003_u16.to_be_bytes());
    assert_eq!(alive.next_within(Duration::from_millis(100)).await, None);
}

#[tokio::test]
async fn a_request_nobody_answers_fails_in_time_and_a_late_reply_is_dropped() {
    let (hub, _) = start(|config| {
        // The greeting is a request, too, and the machine may be busy.
        config.limits.request = Duration::from_millis(500);
        config.limits.ping_every = Duration::from_millis(20);
    })
    .await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let (id, secret) = admin.pair("edge").await;
    let mut node = tunnel(&hub, &id, &secret).await;
    let mut peer = client(&hub, &mut node, &id, &secret, false).await;
    peer.send(&request("read", 5, json!({"h": 1}))).await;
    let asked = node.next().await;
    assert_eq!(peer.next().await, unavailable(5));
    node.send(&answer(&asked, &json!({}))).await;
    peer.send(&request("getattr", 6, json!({"node": 1}))).await;
    let asked = node.next().await;
    node.send(&answer(&asked, &json!({}))).await;
    assert_eq!(peer.next().await["tag"], 6);
}
