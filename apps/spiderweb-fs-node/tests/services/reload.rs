//! Manifests that change while the node runs (sections 12 and 19.18 to 19.21).

use std::fs;

use serde_json::json;

use crate::place::{Caller, Place, eventually, root};

#[test]
fn only_what_changed_is_touched() {
    let place = Place::new();
    place.service("alpha", "cat");
    place.service(
        "mid",
        "cat >/dev/null; while [ ! -e go ]; do sleep 0.01; done; echo done",
    );
    place.service("omega", "cat");
    let node = place.start();
    let mut omega = Caller::of(&node, "omega");
    omega.invoke("{}").unwrap();
    omega.write("config.json", r#"{"mode":"safe"}"#).unwrap();
    let open = omega.peer.find(omega.root, "result.json");
    let open = omega.peer.open(open, 0).unwrap();
    let file = omega.peer.find(omega.peer.root(), "file");
    let plain = omega.peer.open(file, 0).unwrap();
    let mut mid = Caller::of(&node, "mid");
    let running = mid.begin("{}");
    let mut watcher = Caller::of(&node, "mid");
    eventually("the driver runs", || (watcher.state() == "running").then_some(()));

    // One comes in front of all others, one goes, one changes, and one is none any more.
    place.service("aaa", "echo new");
    fs::remove_file(place.manifest_path("alpha")).unwrap();
    place.service_within("omega", "cat", 7000);
    place.manifest_text("mid", "{ this is no manifest");
    let timeout = eventually("the new timeout is in force", || {
        let timeout = omega.json("health.json")["timeout_ms"].as_u64();
        (timeout == Some(7000)).then_some(timeout)
    });
    assert_eq!(timeout, Some(7000));
    assert_eq!(root(&mut omega.peer, "svc-alpha"), None);
    Caller::of(&node, "aaa").invoke("{}").unwrap();

    let health = omega.json("health.json");
    assert_eq!(
        (&health["invokes_total"], &health["last_control_op"]),
        (&json!(1), &json!("config_update"))
    );
    assert_eq!(omega.text("config.json"), r#"{"mode":"safe"}"#);
    assert_eq!(root(&mut omega.peer, "svc-omega"), Some(omega.root));
    assert_eq!(omega.peer.read(open, 0, 100).unwrap().0, b"{}");
    assert_eq!(omega.peer.read(plain, 0, 100).unwrap().0, b"inside");

    let error = eventually("the fault is shown", || {
        watcher.json("health.json")["manifest_error"]
            .as_str()
            .map(str::to_owned)
    });
    assert!(error.contains("mid.json:1:3"), "{error}");
    assert!(
        node.log().contains("the last good version stays in force"),
        "{}",
        node.log()
    );
    fs::write(place.path("go"), "").unwrap();
    mid.peer.answer(running).unwrap();
    assert_eq!(mid.text("result.json"), "done\n");

    place.service("mid", "echo mended");
    eventually("the fault is gone", || {
        watcher.json("health.json")["manifest_error"]
            .is_null()
            .then_some(())
    });
    mid.invoke("{}").unwrap();
    assert_eq!(mid.text("result.json"), "mended\n");
    assert_eq!(mid.json("metrics.json")["invokes_total"], 2);

    // Who returns is the same as before, at the same place, and starts afresh.
    place.service("alpha", "cat");
    eventually("alpha is back", || root(&mut omega.peer, "svc-alpha"));
    eventually("the state file follows", || {
        let state = place.state();
        let kept = state["services"].as_array().unwrap().iter();
        let mut kept: Vec<_> = kept
            .map(|service| service["service_id"].as_str().unwrap())
            .collect();
        kept.sort_unstable();
        (kept == ["aaa", "alpha", "mid", "omega"]).then_some(())
    });
}

#[test]
fn changes_are_told_to_those_who_may_have_seen_the_old_texts() {
    let place = Place::new();
    place.service("told", "cat");
    let node = place.start();
    let mut caller = Caller::of(&node, "told");
    let readme = caller.peer.find(caller.root, "README.md");
    let before = caller.text("README.md");
    caller.peer.forget_events();
    let text = json!({
        "service_id": "told", "kind": "test", "help_md": "new words",
        "runtime": {"type": "native_proc", "executable_path": "./told.sh"},
    });
    place.manifest_text("told", &text.to_string());
    caller
        .peer
        .events_until(|event| event["payload"]["node"] == readme);
    assert_eq!(caller.text("README.md"), "new words");
    assert_ne!(before, "new words");
    caller.peer.forget_events();
    fs::remove_file(place.manifest_path("told")).unwrap();
    caller
        .peer
        .events_until(|event| event["payload"]["node"] == caller.root);
    assert_eq!(caller.peer.getattr(caller.root).unwrap_err().errno, 2);
}

#[test]
fn a_running_service_keeps_its_id_against_a_new_file() {
    let place = Place::new();
    place.service("b-mine", "echo mine");
    let node = place.start();
    let mut mine = Caller::of(&node, "b-mine");
    let thief = json!({
        "service_id": "b-mine", "kind": "test",
        "runtime": {"type": "native_proc", "executable_path": "./thief.sh"},
    });
    place.script("thief.sh", "echo stolen");
    place.manifest_text("a-thief", &thief.to_string());
    eventually("the conflict is told", || {
        node.log()
            .contains("left out: services.d/a-thief.json")
            .then_some(())
    });
    mine.invoke("{}").unwrap();
    assert_eq!(mine.text("result.json"), "mine\n");
}
