//! What outlives the node, however it ends (sections 11 and 19.1).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use spiderweb_testkit::NodeProcess;
use spiderweb_testkit::file_peer::writing;

use crate::place::{Caller, Place, eventually, root};

/// What is kept of a service.
const KEPT: [&str; 5] = [
    "config.json",
    "last_error.txt",
    "metrics.json",
    "result.json",
    "status.json",
];

fn kept(caller: &mut Caller) -> Vec<String> {
    KEPT.iter().map(|file| caller.text(file)).collect()
}

#[test]
fn what_services_were_told_and_did_is_there_after_a_restart() {
    let place = Place::new();
    place.service("good", "cat");
    // Bytes that are no text.
    place.service("bytes", r"cat >/dev/null; printf '\377\376'");
    place.service("bad", "cat >/dev/null; echo broken >&2; exit 3");
    let node = place.start();
    let (mut good, mut bytes) = (Caller::of(&node, "good"), Caller::of(&node, "bytes"));
    let mut bad = Caller::of(&node, "bad");
    good.write(
        "config.json",
        r#"{"b":1,"supervision":{"max_consecutive_failures":2}}"#,
    )
    .unwrap();
    good.invoke(r#"{"a":1}"#).unwrap();
    good.write("control/restart", "x").unwrap();
    good.invoke(r#"{"a":2}"#).unwrap();
    bytes.invoke("{}").unwrap();
    bad.invoke("{}").unwrap();
    bad.write("control/disable", "x").unwrap();
    let (good_before, bad_before) = (kept(&mut good), kept(&mut bad));
    let file = fs::metadata(place.path("node.json.runtime-services.json")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    drop(node);

    let node = place.start();
    let (mut good, mut bytes) = (Caller::of(&node, "good"), Caller::of(&node, "bytes"));
    let mut bad = Caller::of(&node, "bad");
    assert_eq!(kept(&mut good), good_before);
    assert_eq!(good.json("health.json")["restarts_total"], 1);
    let result = bytes.peer.find(bytes.root, "result.json");
    assert_eq!(bytes.peer.content(result).unwrap(), [0xff, 0xfe]);
    assert_eq!(kept(&mut bad), bad_before);
    assert_eq!(bad.invoke("{}").unwrap_err().errno, 1);
}

#[test]
fn a_file_that_cannot_be_understood_is_kept_aside() {
    let place = Place::new();
    place.service("good", "cat");
    let path = place.path("node.json.runtime-services.json");
    fs::write(&path, "{\"schema\":1,\"services\":[").unwrap();
    let node = place.start();
    Caller::of(&node, "good").invoke("{}").unwrap();
    assert_eq!(place.state()["services"][0]["stats"]["invokes_total"], 1);
    let names = fs::read_dir(path.parent().unwrap()).unwrap().flatten();
    let aside = names.map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("node.json.runtime-services.json.corrupt-")
    });
    assert_eq!(
        fs::read_to_string(aside.unwrap()).unwrap(),
        "{\"schema\":1,\"services\":["
    );
    assert!(
        node.log().contains("failed loading runtime state"),
        "{}",
        node.log()
    );
}

#[test]
fn state_waits_for_a_manifest_that_is_broken_at_the_start() {
    let place = Place::new();
    place.service("other", "cat");
    place.service("waits", "cat");
    let node = place.start();
    let mut waits = Caller::of(&node, "waits");
    waits.invoke(r#"{"a":1}"#).unwrap();
    waits.write("control/disable", "x").unwrap();
    drop(node);

    place.manifest_text("waits", "{");
    let node = place.start();
    Caller::of(&node, "other").invoke("{}").unwrap();
    assert!(
        node.log().contains("left out: services.d/waits.json:1:2"),
        "{}",
        node.log()
    );
    drop(node);
    let node = place.start();
    place.service("waits", "cat");
    let mut other = Caller::of(&node, "other");
    eventually("it is back", || root(&mut other.peer, "svc-waits"));
    let mut waits = Caller::of(&node, "waits");
    assert_eq!(waits.text("result.json"), r#"{"a":1}"#);
    assert_eq!(waits.invoke("{}").unwrap_err().errno, 1, "it is still disabled");
}

#[test]
fn what_is_left_of_a_removed_service_does_not_reach_the_next_of_its_id() {
    let place = Place::new();
    // Ends 100 ms after it is asked to.
    place.service(
        "again",
        "trap '' TERM; cat >/dev/null; while :; do sleep 0.01; done",
    );
    let node = place.start();
    let mut old = Caller::of(&node, "again");
    let config = old.rewrite("config.json");
    old.begin("{}");
    let mut other = Caller::of(&node, "again");
    eventually("it runs", || (other.state() == "running").then_some(()));
    fs::remove_file(place.manifest_path("again")).unwrap();
    eventually("it is gone", || {
        root(&mut other.peer, "svc-again").is_none().then_some(())
    });
    place.service("again", "cat");
    eventually("it is back", || root(&mut other.peer, "svc-again"));
    eventually("the old driver is dead", || {
        place.leftovers().is_empty().then_some(())
    });
    // A handle from before leads to what is no longer there.
    assert!(other.peer.write(config, 0, b"{\"late\":1}").is_err());
    let mut new = Caller::of(&node, "again");
    assert_eq!(new.json("metrics.json")["invokes_total"], 0);
    eventually("the file is written", || {
        let state = place.state();
        (state["services"][0]["service_id"] == "again").then_some(())
    });
    let state = &place.state()["services"][0];
    assert_eq!(state["stats"]["invokes_total"], 0, "{state}");
    assert_eq!(state["runtime"]["config_json"], "{}");
}

#[test]
fn a_file_of_the_newer_generation_is_read() {
    let place = Place::new();
    place.service("good", "cat");
    let state = json!({"schema": 1, "venoms": [{
        "venom_id": "good",
        "runtime": {"enabled": true, "restarts_total": 4, "config_json": "{\"a\":1.50}"},
        "stats": {"invokes_total": 9},
        "result_json": "{\"old\":true}",
    }]});
    fs::write(place.path("node.json.runtime-services.json"), state.to_string()).unwrap();
    let node = place.start();
    let mut good = Caller::of(&node, "good");
    assert_eq!(good.text("result.json"), "{\"old\":true}");
    assert_eq!(good.text("config.json"), "{\"a\":1.5}");
    let health = good.json("health.json");
    assert_eq!(
        (&health["invokes_total"], &health["restarts_total"]),
        (&json!(9), &json!(4))
    );
}

/// One change a client makes, and what it leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    config: Value,
    invokes: u64,
    result: String,
}

/// Kills the node at moments it does not choose, while a client invokes, configures and manifests change. What was
/// acknowledged is there afterwards; of what was under way it is there whole, or not at all.
#[test]
fn nothing_acknowledged_is_lost_when_the_node_is_killed() {
    const INVOKES: u64 = 500;
    let place = Place::new();
    place.service("steady", "cat");
    let mut last = Told {
        config: json!({}),
        invokes: 0,
        result: r#"{"state":"idle"}"#.to_owned(),
    };
    let mut pause = 7_u64;
    while last.invokes < INVOKES {
        let node = place.start();
        let mut client = Caller::of(&node, "steady");
        let found = told(&mut client);
        assert_eq!(found, last, "after a restart");
        pause = pause * 48_271 % 2_147_483_647;
        let killed = kill_after(node, Duration::from_millis(20 + pause % 150), || {
            work(&place, &mut client, last.clone())
        });
        let (acknowledged, attempted) = killed;
        let state = &place.state()["services"][0];
        let stored = Told {
            config: serde_json::from_str(state["runtime"]["config_json"].as_str().unwrap()).unwrap(),
            invokes: state["stats"]["invokes_total"].as_u64().unwrap(),
            result: state["result_json"].as_str().unwrap().to_owned(),
        };
        assert!(
            stored == acknowledged || stored == attempted,
            "{stored:?} is neither {acknowledged:?} nor {attempted:?}"
        );
        last = stored;
    }
}

fn told(client: &mut Caller) -> Told {
    Told {
        config: client.json("config.json"),
        invokes: client.json("metrics.json")["invokes_total"].as_u64().unwrap(),
        result: client.text("result.json"),
    }
}

/// Changes one thing after the other until the connection breaks: what was acknowledged last, and what was under way.
fn work(place: &Place, client: &mut Caller, start: Told) -> (Told, Told) {
    // Looked up before, so that nothing but these writes can be cut short.
    let [config, invoke] = ["config.json", "control/invoke.json"].map(|path| client.rewrite(path));
    let mut last = start;
    for step in 0_u64.. {
        let mut next = last.clone();
        let (handle, content) = if step % 5 == 4 {
            next.config = json!({"step": format!("{:09}", next.invokes)});
            (config, next.config.to_string())
        } else {
            next.invokes += 1;
            next.result = format!("{{\"invoke\":\"{:09}\"}}", next.invokes);
            (invoke, next.result.clone())
        };
        if step % 7 == 6 {
            // A reload that changes nothing of what is kept.
            place.service_within("steady", "cat", 10_000 + step);
        }
        let mut request = writing(handle, 0, content.as_bytes());
        request["type"] = json!("acheron.t_fs_write");
        match client.peer.raw.request(request) {
            Ok(reply) => assert_eq!(reply["ok"], true, "{reply}"),
            Err(_killed) => return (last, next),
        }
        last = next;
    }
    unreachable!("the node is killed")
}

/// Does something with a node until it is killed.
fn kill_after<T: Send>(node: NodeProcess, after: Duration, work: impl FnOnce() -> T + Send) -> T {
    let started = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let node = node;
            while !started.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            // Not a wait for anything: the moment of the end is the input of this test.
            thread::sleep(after);
            drop(node);
        });
        started.store(true, Ordering::Relaxed);
        work()
    })
}
