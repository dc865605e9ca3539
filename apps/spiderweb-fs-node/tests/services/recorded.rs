//! What recordings of the original show of its state file and of reloads, step by step; where ours departs on purpose, the
//! step says so.

use std::fs;

use serde_json::json;
use spiderweb_testkit::NodeProcess;

use crate::place::{Caller, Place, eventually, root};

/// Numbers that differ from run to run, made equal: instants and durations, in texts inside of texts too.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("_ms") {
        let behind = rest[at + 3..].trim_start_matches(['\\', '"', ':']);
        let name = rest.len() - behind.len();
        let value = behind.trim_start_matches(|char: char| char.is_ascii_digit());
        let number = &behind[..behind.len() - value.len()];
        masked.push_str(&rest[..name]);
        masked.push_str(
            if number.is_empty() || number == "0" || rest[..at].ends_with("cooldown") {
                number
            } else {
                "@"
            },
        );
        rest = value;
    }
    masked + rest
}

/// An element of the state file as it was recorded.
fn element(id: &str, runtime: &str, stats: &str, texts: &str) -> String {
    format!(r#"{{"service_id":"{id}","runtime":{{{runtime}}},"stats":{{{stats}}},{texts}}}"#)
}

const POLICY: &str = r#""cooldown_until_ms":0,"supervision":{"max_consecutive_failures":0,"max_consecutive_timeouts":0,"cooldown_ms":0,"auto_disable_on_threshold":true}"#;
const FRESH_STATS: &str = r#""invokes_total":0,"failures_total":0,"consecutive_failures":0,"timeouts_total":0,"consecutive_timeouts":0,"last_duration_ms":0,"last_started_ms":0,"last_finished_ms":0,"last_exit_code":0"#;
const IDLE: &str =
    r#""result_json":"{\"state\":\"idle\"}","status_json":"{\"state\":\"idle\"}","last_error":"""#;

#[test]
fn the_state_file_says_what_was_recorded() {
    let place = Place::new();
    place.service(
        "cat-fail",
        "cat >/dev/null; echo 'driver exploded' >&2; sleep 0.003; exit 3",
    );
    place.service("cat-full", "cat; sleep 0.003");
    place.service("cat-gone", "cat");
    let node = place.start_with(|command| command.arguments(["--terminal-id", "1"]));
    let init = format!(
        r#""enabled":true,"restarts_total":0,"last_control_ms":0,"last_control_op":"init","config_json":"{{}}",{POLICY}"#
    );
    let fresh = |id| element(id, &init, FRESH_STATS, IDLE);
    let text = || fs::read_to_string(place.path("node.json.runtime-services.json")).unwrap();
    let expected = ["terminal-1", "cat-fail", "cat-full", "cat-gone"]
        .map(fresh)
        .join(",");
    let expected = format!(r#"{{"schema":1,"services":[{expected}]}}"#);
    eventually("the file is written", || {
        let file = place.path("node.json.runtime-services.json");
        fs::read_to_string(file)
            .is_ok_and(|text| text == expected)
            .then_some(())
    });

    let mut full = Caller::of(&node, "cat-full");
    full.invoke(r#"{"q":"é"}"#).unwrap();
    full.write(
        "config.json",
        r#"{ "supervision": {"cooldown_ms": 1500}, "note": "x" }"#,
    )
    .unwrap();
    let mut fail = Caller::of(&node, "cat-fail");
    fail.invoke("{}").unwrap();
    fail.write("control/disable", "x").unwrap();
    let mut terminal = Caller::of(&node, "cat-full");
    terminal.root = root(&mut terminal.peer, "terminal-1").unwrap();
    terminal.invoke(r#"{"command":"sleep 0.003"}"#).unwrap();
    terminal.write("control/restart", "x").unwrap();

    let told = |flags: &str, op: &str, config: &str, policy: &str| {
        format!(r#"{flags},"last_control_ms":@,"last_control_op":"{op}","config_json":"{config}",{policy}"#)
    };
    let stats = |failures: u64, exit: i64| {
        format!(
            r#""invokes_total":1,"failures_total":{failures},"consecutive_failures":{failures},"timeouts_total":0,"consecutive_timeouts":0,"last_duration_ms":@,"last_started_ms":@,"last_finished_ms":@,"last_exit_code":{exit}"#
        )
    };
    let paused = POLICY.replace(r#""cooldown_ms":0"#, r#""cooldown_ms":1500"#);
    let expected = [
        element(
            "terminal-1",
            &told(r#""enabled":true,"restarts_total":1"#, "restart", "{}", POLICY),
            &stats(0, 0),
            IDLE,
        ),
        element(
            "cat-fail",
            &told(r#""enabled":false,"restarts_total":0"#, "disable", "{}", POLICY),
            &stats(1, 3),
            r#""result_json":"{\"state\":\"idle\"}","status_json":"{\"state\":\"offline\",\"reason\":\"disabled\"}","last_error":"driver exploded\n""#,
        ),
        element(
            "cat-full",
            &told(
                r#""enabled":true,"restarts_total":0"#,
                "config_update",
                r#"{\"supervision\":{\"cooldown_ms\":1500},\"note\":\"x\"}"#,
                &paused,
            ),
            &stats(0, 0),
            r#""result_json":"{\"q\":\"é\"}","status_json":"{\"state\":\"ok\",\"service_id\":\"cat-full\",\"runtime\":\"native_proc\",\"updated_ms\":@,\"duration_ms\":@,\"bytes\":10,\"exit_code\":0,\"invokes_total\":1,\"failures_total\":0,\"consecutive_failures\":0,\"timeouts_total\":0,\"consecutive_timeouts\":0}","last_error":"""#,
        ),
        fresh("cat-gone"),
    ];
    assert_eq!(
        masked(&text()),
        format!(r#"{{"schema":1,"services":[{}]}}"#, expected.join(","))
    );
}

fn exports(node: &NodeProcess) -> Vec<String> {
    let mut peer = spiderweb_testkit::FilePeer::connect(node.addr());
    let exports = peer.ask("exports", json!({})).unwrap();
    let names = exports["exports"].as_array().unwrap().iter();
    names
        .map(|export| export["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn reloads_go_as_recorded_but_lose_nothing() {
    let place = Place::new();
    place.service("a-keep", "cat");
    place.service("b-edit", "cat");
    let mut node = place.start();
    assert_eq!(exports(&node), ["work", "svc-a-keep", "svc-b-edit"]);
    let becomes = |node: &NodeProcess, expected: &[&str]| {
        eventually("the exports follow", || (exports(node) == expected).then_some(()));
    };
    let mut keep = Caller::of(&node, "a-keep");
    keep.write("config.json", r#"{"k":1}"#).unwrap();
    keep.invoke(r#"{"x":1}"#).unwrap();
    let files = [
        "README.md",
        "status.json",
        "result.json",
        "last_error.txt",
        "metrics.json",
        "config.json",
        "health.json",
    ];
    let before = files.map(|file| keep.text(file));
    let plain = keep.peer.find(keep.peer.root(), "file");
    let handle = keep.peer.open(plain, 0).unwrap();

    // Departure: new exports go to the end, so that ids keep their meaning; handles and ids stay good (19.18).
    place.service("c-new", "cat");
    becomes(&node, &["work", "svc-a-keep", "svc-b-edit", "svc-c-new"]);
    assert_eq!(files.map(|file| keep.text(file)), before);
    assert_eq!(keep.peer.read(handle, 0, 10).unwrap().0, b"inside");
    keep.peer.getattr(plain).unwrap();

    let mut edit = Caller::of(&node, "b-edit");
    edit.invoke(r#"{"y":1}"#).unwrap();
    let runtime = json!({"type": "native_proc", "executable_path": "./b-edit.sh"});
    let changed =
        json!({"service_id": "b-edit", "kind": "test", "help_md": "second text", "runtime": runtime});
    place.manifest_text("b-edit", &changed.to_string());
    eventually("the new text", || {
        (edit.text("README.md") == "second text").then_some(())
    });
    assert_eq!(edit.text("result.json"), r#"{"y":1}"#);
    assert_eq!(edit.json("metrics.json")["invokes_total"], 1);

    // Departure: with a fault, the last good version stays, and its health says why (19.20).
    let mut new = Caller::of(&node, "c-new");
    for text in [
        "{",
        r#"{"service_id":"c-new","kind":"k","runtime":{"type":"magic"}}"#,
    ] {
        place.manifest_text("c-new", text);
        eventually("the fault is told", || {
            let error = new.json("health.json")["manifest_error"]
                .as_str()
                .map(str::to_owned);
            error.filter(|error| error.contains("magic") || text == "{")
        });
        assert_eq!(exports(&node), ["work", "svc-a-keep", "svc-b-edit", "svc-c-new"]);
    }
    fs::remove_file(place.manifest_path("c-new")).unwrap();
    becomes(&node, &["work", "svc-a-keep", "svc-b-edit"]);

    // State of a service that was turned off is gone, as recorded.
    let off = json!({"service_id": "a-keep", "kind": "test", "enabled": false});
    place.manifest_text("a-keep", &off.to_string());
    becomes(&node, &["work", "svc-b-edit"]);
    let ids = || -> Vec<String> {
        let state = place.state();
        let ids = state["services"].as_array().unwrap().iter();
        ids.map(|service| service["service_id"].as_str().unwrap().to_owned())
            .collect()
    };
    eventually("the state file follows", || (ids() == ["b-edit"]).then_some(()));
    place.service("a-keep", "cat");
    becomes(&node, &["work", "svc-a-keep", "svc-b-edit"]);
    let mut keep = Caller::of(&node, "a-keep");
    assert_eq!(keep.text("status.json"), r#"{"state":"idle"}"#);
    assert_eq!(keep.text("config.json"), "{}");

    // Departure: what was told and done is there after a restart, as the product promises (19.1).
    keep.invoke(r#"{"z":1}"#).unwrap();
    keep.write("control/disable", "x").unwrap();
    drop(node);
    node = place.start();
    let mut keep = Caller::of(&node, "a-keep");
    assert_eq!(
        keep.text("status.json"),
        r#"{"state":"offline","reason":"disabled"}"#
    );
    assert_eq!(keep.text("result.json"), r#"{"z":1}"#);
    assert_eq!(keep.invoke("{}").unwrap_err().errno, 1);
}
