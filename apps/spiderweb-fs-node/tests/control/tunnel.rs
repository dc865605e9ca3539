//! Requests through the tunnel.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spiderweb_testkit::NodeProcess;

use crate::hub::{Generation, Hub, Manner, Said};
use crate::place::{Place, eventually, says};
use crate::script::play;

/// Base64 of 64 KiB of nothing, or more, is this long at least.
const MANY: usize = 87_000;

struct Routed {
    place: Place,
    hub: Hub,
    node: NodeProcess,
    tunnel: usize,
    tag: u32,
}

impl Routed {
    fn start(generation: Generation, further: &[&str]) -> Self {
        let (place, mut hub) = (Place::paired(), Hub::start(Manner::Polite(generation)));
        let node = place.start(&hub, further);
        let script = match generation {
            Generation::Head => include_str!("scripts/saved_identity_head.txt"),
            _ => include_str!("scripts/saved_identity.txt"),
        };
        let tunnel = play(&mut hub, script).unwrap();
        Self {
            place,
            hub,
            node,
            tunnel,
            tag: 0,
        }
    }

    fn send(&mut self, op: &str, mut members: Value) -> u32 {
        self.tag += 1;
        members["channel"] = "acheron".into();
        members["type"] = format!("acheron.t_fs_{op}").into();
        members["tag"] = self.tag.into();
        self.hub.say(self.tunnel, &members.to_string());
        self.tag
    }

    fn answer(&mut self, tag: u32) -> Value {
        let tunnel = self.tunnel;
        let arrival = self.hub.next("an answer", |arrival| {
            arrival.connection == tunnel && matches!(&arrival.message, Said::Text(text) if text["tag"] == tag)
        });
        let Said::Text(text) = arrival.message else {
            unreachable!()
        };
        text
    }

    fn ask(&mut self, op: &str, members: Value) -> Value {
        let tag = self.send(op, members);
        self.answer(tag)
    }

    fn root(&mut self) -> u64 {
        let exports = self.ask("exports", json!({}));
        exports["payload"]["exports"][0]["root"].as_u64().unwrap()
    }

    fn open(&mut self, name: &str) -> u64 {
        let root = self.root();
        let found = self.ask("lookup", json!({"node": root, "payload": {"name": name}}));
        let id = found["payload"]["attr"]["id"].clone();
        let opened = self.ask("open", json!({"node": id, "payload": {"flags": 0}}));
        opened["payload"]["h"]
            .as_u64()
            .unwrap_or_else(|| panic!("{opened}"))
    }

    fn read(&mut self, handle: u64, len: usize) -> Value {
        self.ask("read", json!({"h": handle, "payload": {"off": 0, "len": len}}))
    }
}

#[test]
fn clients_are_served_as_behind_the_listener() {
    let mut routed = Routed::start(Generation::Seed, &[]);
    let hello = routed.ask(
        "hello",
        json!({"payload": {"protocol": "unified-v2-fs", "proto": 2, "auth_token": "secret-a", "subscribe_invalidations": false}}),
    );
    assert_eq!(hello["type"], "acheron.r_fs_hello");
    assert_eq!(hello["payload"]["caps"]["max_read"], 131_072);
    let handle = routed.open("file");
    assert_eq!(routed.read(handle, 100)["payload"]["data_b64"], "aW5zaWRl");
    // A client's events come before its answer, and go to everybody whatever one client's hello said.
    let root = routed.root();
    let tag = routed.send("mkdir", json!({"node": root, "payload": {"name": "new"}}));
    let first = routed
        .hub
        .next("the event and the answer", |arrival| {
            matches!(&arrival.message, Said::Text(text) if text["type"] == "acheron.e_fs_inval_dir" || text["tag"] == tag)
        });
    assert!(
        matches!(&first.message, Said::Text(text) if text["payload"]["dir"] == root),
        "{first:?}"
    );
    assert_eq!(routed.answer(tag)["ok"], true);
    // So do changes that others make on the disk.
    fs::write(routed.place.path("work/by-others"), "x").unwrap();
    routed.hub.next(
        "news of the disk",
        |arrival| matches!(&arrival.message, Said::Text(text) if text["type"] == "acheron.e_fs_inval_dir"),
    );
}

#[test]
fn nothing_that_one_client_sends_ends_the_tunnel() {
    // Recorded as 25.
    let mut routed = Routed::start(Generation::Seed, &[]);
    let tunnel = routed.tunnel;
    routed.hub.ping(tunnel, b"pingdata");
    for (text, tag, message) in [
        (
            r#"{"channel":"control","type":"control.ping","id":"1"}"#,
            None,
            "UnsupportedType",
        ),
        ("{bad", None, "SyntaxError"),
        (
            r#"{"channel":"acheron","type":"acheron.t_walk","tag":7}"#,
            Some(7),
            "UnsupportedType",
        ),
        // The original leaves the tag out here, and the client waits.
        (
            r#"{"channel":"acheron","type":"acheron.t_fs_nope","tag":8}"#,
            Some(8),
            "UnsupportedType",
        ),
        (
            r#"{"channel":"acheron","type":"acheron.t_fs_getattr","tag":9,"node":-1,"payload":{}}"#,
            Some(9),
            "InvalidType",
        ),
        (
            r#"{"channel":"acheron","type":"acheron.t_fs_getattr","tag":4294967296,"payload":{}}"#,
            None,
            "InvalidType",
        ),
        (
            r#"{"channel":"acheron","type":"acheron.t_fs_getattr","tag":10,"payload":[]}"#,
            Some(10),
            "InvalidPayload",
        ),
        (
            r#"{"channel":"acheron","type":"acheron.r_fs_hello","tag":11}"#,
            Some(11),
            "UnsupportedType",
        ),
    ] {
        routed.hub.say(tunnel, text);
        let arrival = routed
            .hub
            .next(text, |arrival| matches!(arrival.message, Said::Text(_)));
        let Said::Text(answer) = arrival.message else {
            unreachable!()
        };
        assert_eq!(
            answer["tag"],
            tag.map_or(Value::Null, Value::from),
            "{text}: {answer}"
        );
        assert_eq!(
            (&answer["error"]["errno"], &answer["error"]["message"]),
            (&json!(22), &json!(message)),
            "{text}"
        );
    }
    assert_eq!(routed.ask("exports", json!({}))["ok"], true);
    routed.hub.close(tunnel, &[0x03, 0xe8, b'b', b'y', b'e']);
    let echo = routed
        .hub
        .next("the echo", |arrival| matches!(arrival.message, Said::Close(_)));
    assert_eq!(echo.message, Said::Close(vec![0x03, 0xe8, b'b', b'y', b'e']));
    says(
        &routed.node,
        "warning: control tunnel disconnected: the hub closed it: 1000 bye",
    );
    play(&mut routed.hub, "> tunnel {\"node_id\":\"node-2\"}\n< welcome").unwrap();
}

#[test]
fn no_frame_is_larger_than_the_hub_takes() {
    // Recorded as 18, where the original's reply of 349 KB ends the tunnel.
    let big = "fourteen bytes".repeat(40_000);
    for (generation, fits) in [(Generation::Seed, false), (Generation::Head, true)] {
        let mut routed = Routed::start(generation, &[]);
        fs::write(routed.place.path("work/big"), &big).unwrap();
        let handle = routed.open("big");
        let read = routed.read(handle, 262_144);
        assert_eq!(read["ok"], fits, "{read}");
        if !fits {
            assert_eq!(read["error"]["errno"], 22);
            assert!(
                read["error"]["message"].as_str().unwrap().contains("262144"),
                "{read}"
            );
        }
        let read = routed.read(handle, 131_072);
        assert!(read["payload"]["data_b64"].as_str().unwrap().len() > MANY * 2);
        // A long wish for a short file is no fault.
        let short = routed.open("file");
        assert_eq!(routed.read(short, 1 << 20)["payload"]["data_b64"], "aW5zaWRl");
    }
}

#[test]
fn long_listings_are_paged_below_the_limit() {
    let mut routed = Routed::start(Generation::Seed, &[]);
    for number in 0..1_500 {
        fs::write(routed.place.path(&format!("work/{number:0>100}")), "").unwrap();
    }
    let root = routed.root();
    let (mut cookie, mut seen, mut pages) = (0, 0, 0);
    loop {
        let page = routed.ask(
            "readdirp",
            json!({"node": root, "payload": {"cookie": cookie, "max": 16_384}}),
        );
        assert!(page.to_string().len() <= 262_144);
        seen += page["payload"]["ents"]
            .as_array()
            .unwrap_or_else(|| panic!("{page}"))
            .len();
        pages += 1;
        if page["payload"]["eof"] == true {
            break;
        }
        cookie = page["payload"]["next"].as_u64().unwrap();
    }
    assert_eq!(seen, 1_503, "the folder itself and the one above are listed, too");
    assert!(pages > 1);
}

#[test]
fn a_slow_client_holds_nobody_up_and_its_loss_is_survived() {
    // Recorded as 19: a command runs while another client asks; then the link breaks with the answer under way.
    let mut routed = Routed::start(Generation::Seed, &["--terminal-id", "1"]);
    let exports = routed.ask("exports", json!({}));
    let terminal = exports["payload"]["exports"][1]["root"].clone();
    let handle = routed.open("file");
    let mut node = terminal;
    for name in ["control", "invoke.json"] {
        let found = routed.ask("lookup", json!({"node": node, "payload": {"name": name}}));
        node = found["payload"]["attr"]["id"].clone();
    }
    let opened = routed.ask("open", json!({"node": node, "payload": {"flags": 1}}));
    let invoke = opened["payload"]["h"].clone();
    // It ends by itself, too: what a killed node was running goes on.
    let command = "for _ in $(seq 400); do [ -e go ] && break; sleep 0.05; done";
    let payload = json!({"command": command}).to_string();
    let data = base64(payload.as_bytes());
    let slow = routed.send(
        "write",
        json!({"h": invoke, "payload": {"off": 0, "data_b64": data}}),
    );
    let began = Instant::now();
    assert_eq!(routed.read(handle, 100)["payload"]["data_b64"], "aW5zaWRl");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(
        !routed
            .hub
            .rest()
            .iter()
            .any(|arrival| matches!(&arrival.message, Said::Text(text) if text["tag"] == slow))
    );
    routed.hub.drop_connection(routed.tunnel);
    routed.tunnel = play(&mut routed.hub, "> tunnel {\"node_id\":\"node-2\"}\n< welcome").unwrap();
    // Whoever sat behind the tunnel may have missed something.
    routed.hub.next(
        "the word to forget",
        |arrival| matches!(&arrival.message, Said::Text(text) if text["payload"]["what"] == "all"),
    );
    fs::write(routed.place.path("go"), "").unwrap();
    assert_eq!(
        routed.read(handle, 100)["payload"]["data_b64"],
        "aW5zaWRl",
        "handles survive"
    );
    says(&routed.node, "info: control tunnel reconnect in ");
}

#[test]
fn a_hub_that_was_away_finds_the_node_again() {
    // Recorded as 12.
    let mut routed = Routed::start(Generation::Seed, &[]);
    let handle = routed.open("file");
    let address = routed.hub.stop();
    says(&routed.node, "warning: control tunnel: connect failed: ");
    routed.hub = Hub::start_at(address, Manner::Polite(Generation::Seed));
    routed.tunnel = play(&mut routed.hub, "> tunnel {\"node_id\":\"node-2\"}\n< welcome").unwrap();
    assert_eq!(routed.read(handle, 100)["payload"]["data_b64"], "aW5zaWRl");
    // The hub may be another one, so it is asked and told anew.
    play(
        &mut routed.hub,
        "> node_service_upsert {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"platform\":\"*\",\"services\":\"*\"}\n< {}\n\
         > node_lease_refresh {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"fs_url\":\"*\",\"lease_ttl_ms\":900000}\n\
         < {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"lease_token\":\"l\"}",
    );
    assert!(!routed.node.log().contains("re-pairing"), "{}", routed.node.log());
}

/// However long it was away: asking whether somebody listens costs nobody anything.
#[test]
fn a_hub_that_is_away_for_long_is_looked_for_at_the_usual_pace() {
    let (place, mut hub) = (Place::paired(), Hub::start(Manner::Polite(Generation::Seed)));
    let delays = [
        "--reconnect-backoff-ms",
        "100",
        "--reconnect-backoff-max-ms",
        "600000",
    ];
    let node = place
        .command(&hub.url(), &delays)
        .variable("SPIDERWEB_LOG", "debug")
        .launch()
        .unwrap();
    play(&mut hub, include_str!("scripts/saved_identity.txt")).unwrap();
    let address = hub.stop();
    // Doubled each time, the last of these would take longer than anybody waits.
    eventually("the sixteenth attempt", || {
        let log = node.log();
        (log.matches("control tunnel: connect failed: ").count() >= 16).then_some(())
    });
    let warned = node
        .log()
        .matches("warning: control tunnel: connect failed: ")
        .count();
    assert!(warned < 16, "it is said less and less often:\n{}", node.log());
    hub = Hub::start_at(address, Manner::Polite(Generation::Seed));
    play(&mut hub, include_str!("scripts/saved_identity.txt")).unwrap();
}

#[test]
fn whoever_is_replaced_says_so_and_does_not_fight() {
    // Recorded as 24, with the goodbye of our hub.
    let mut routed = Routed::start(Generation::Both, &[]);
    let reason = [&4001u16.to_be_bytes()[..], b"replaced by a newer tunnel"].concat();
    routed.hub.close(routed.tunnel, &reason);
    says(&routed.node, "the hub closed it: 4001 replaced by a newer tunnel");
    play(
        &mut routed.hub,
        "> tunnel {\"node_id\":\"node-2\"}\n! 16 another process uses this node identity",
    );
    says(
        &routed.node,
        "fs hello failed: another process uses this node identity (16)",
    );
    play(&mut routed.hub, "> tunnel {\"node_id\":\"node-2\"}\n< welcome").unwrap();
}

#[test]
fn a_node_that_is_gone_asks_at_once_what_it_is_now() {
    // Waits that are longer than the test, so that only the hub's word ends them.
    let mut routed = Routed::start(
        Generation::Both,
        &[
            "--reconnect-backoff-ms",
            "60000",
            "--reconnect-backoff-max-ms",
            "60000",
        ],
    );
    let gone = [&4002u16.to_be_bytes()[..], b"its lease is over"].concat();
    let opened = Instant::now();
    while opened.elapsed() < Duration::from_millis(1100) {
        routed.root();
    }
    routed.hub.close(routed.tunnel, &gone);
    let refresh = "> node_lease_refresh {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"fs_url\":\"*\",\"lease_ttl_ms\":900000}";
    play(
        &mut routed.hub,
        &format!(
            "{refresh}\n< {{\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"lease_token\":\"l\"}}"
        ),
    );
    // It is still known, so it comes back without waiting.
    let tunnel = play(&mut routed.hub, "> tunnel {\"node_id\":\"node-2\"}\n< welcome").unwrap();
    // A tunnel that is closed at once is not dialled at once, but the hub is asked.
    routed.hub.close(tunnel, &gone);
    play(
        &mut routed.hub,
        &format!(
            "{refresh}\n! node_not_found NodeNotFound\n> node_join_request {{\"node_name\":\"edge\",\"fs_url\":\"\",\"platform\":\"*\"}}\n< {{\"request_id\":\"p-1\"}}"
        ),
    );
}

#[test]
fn an_identity_that_is_refused_ends_the_tunnel_whatever_runs_in_it() {
    let mut routed = Routed::start(Generation::Seed, &["--refresh-interval-ms", "300"]);
    let holder = routed.open("file");
    let waiter = routed.open("file");
    let lock = |handle: u64| json!({"h": handle, "payload": {"kind": "exclusive", "wait": true}});
    assert_eq!(routed.ask("lock", lock(holder))["ok"], true);
    let waiting = routed.send("lock", lock(waiter));
    play(
        &mut routed.hub,
        "> node_lease_refresh {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"fs_url\":\"*\",\"lease_ttl_ms\":900000}\n! node_not_found NodeNotFound",
    );
    let tunnel = routed.tunnel;
    let first = routed.hub.next("the end of the tunnel", |arrival| {
        arrival.connection == tunnel
            && match &arrival.message {
                Said::Text(text) => text["tag"] == waiting,
                Said::Close(_) | Said::Gone => true,
                Said::Ping => false,
            }
    });
    assert!(!matches!(first.message, Said::Text(_)), "{first:?}");
}

#[test]
fn what_was_acknowledged_before_a_cut_is_there_after_it() {
    let mut routed = Routed::start(Generation::Both, &[]);
    let root = routed.root();
    let made = routed.ask(
        "create",
        json!({"node": root, "payload": {"name": "log", "flags": 2}}),
    );
    let handle = made["payload"]["h"].as_u64().unwrap();
    let mut acknowledged: Vec<usize> = Vec::new();
    for round in 0..3 {
        // Many writes are on their way when the tunnel breaks in the middle of them.
        let offsets = (0..64).map(|number| (round * 64 + number) * 4);
        let sent: HashMap<u32, usize> = offsets
            .map(|at| {
                let write = json!({"h": handle, "payload": {"off": at, "data_b64": "YWJjZA=="}});
                (routed.send("write", write), at)
            })
            .collect();
        let tunnel = routed.tunnel;
        for _ in 0..20 {
            let arrival = routed.hub.next("an answer", |arrival| {
                arrival.connection == tunnel && matches!(arrival.message, Said::Text(_))
            });
            let Said::Text(text) = arrival.message else {
                unreachable!()
            };
            let at = text["tag"]
                .as_u64()
                .and_then(|tag| sent.get(&u32::try_from(tag).ok()?));
            if let (true, Some(at)) = (text["ok"] == true, at) {
                acknowledged.push(*at);
            }
        }
        routed.hub.drop_connection(tunnel);
        routed.tunnel = play(&mut routed.hub, "> tunnel {\"node_id\":\"node-2\"}\n< welcome").unwrap();
        let read = routed.ask("read", json!({"h": handle, "payload": {"off": 0, "len": 4}}));
        assert_eq!(read["ok"], true, "the handle is still good: {read}");
    }
    let there = fs::read(routed.place.path("work/log")).unwrap();
    assert!(acknowledged.len() > 10, "{acknowledged:?}");
    for at in acknowledged {
        assert_eq!(there.get(at..at + 4), Some(&b"abcd"[..]), "at {at}");
    }
}

#[test]
fn a_changed_manifest_costs_nobody_a_handle() {
    let mut routed = Routed::start(
        Generation::Seed,
        &[
            "--services-dir",
            "services.d",
            "--manifest-reload-interval-ms",
            "50",
        ],
    );
    let handle = routed.open("file");
    let manifest = json!({
        "service_id": "echo", "kind": "tool",
        "runtime": {"type": "native_proc", "executable_path": "/bin/cat"},
    });
    fs::write(routed.place.path("services.d/echo.json"), manifest.to_string()).unwrap();
    play(
        &mut routed.hub,
        "> node_service_upsert {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"platform\":\"*\",\"services\":\"*\"}\n< {}",
    );
    let exports = routed.ask("exports", json!({}));
    assert_eq!(
        exports["payload"]["exports"].as_array().unwrap().len(),
        2,
        "{exports}"
    );
    assert_eq!(routed.read(handle, 100)["payload"]["data_b64"], "aW5zaWRl");
}

#[test]
fn a_node_that_stops_says_goodbye() {
    let mut routed = Routed::start(Generation::Seed, &[]);
    says(&routed.node, "control tunnel established");
    routed.node.terminate().unwrap();
    let tunnel = routed.tunnel;
    let goodbye = routed.hub.next("the goodbye", |arrival| {
        arrival.connection == tunnel && matches!(arrival.message, Said::Close(_))
    });
    assert_eq!(goodbye.message, Said::Close(1001u16.to_be_bytes().to_vec()));
    let status = routed.node.wait_exit(crate::place::SOON).unwrap();
    assert_eq!(status.code(), Some(0), "{}", routed.node.log());
    eventually("the identity", || {
        (routed.place.state()["node_id"] == "node-2").then_some(())
    });
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                text.push(LETTERS[(bits >> (18 - 6 * place) & 63) as usize] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}
