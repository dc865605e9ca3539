//! Who waits for a driver, and who does not.

use std::fs;

use spiderweb_testkit::FilePeer;

use crate::place::{Caller, Place, eventually};

/// Runs until the file `go` is there.
const UNTIL_GO: &str = "cat >/dev/null; while [ ! -e go ]; do sleep 0.01; done; echo '{\"done\":true}'";

#[test]
fn nobody_but_its_writer_waits_for_a_driver() {
    let place = Place::new();
    place.service("slow", UNTIL_GO);
    place.service("quick", "cat");
    let node = place.start();
    let mut writer = Caller::of(&node, "slow");
    let tag = writer.begin("{}");
    let mut reader = Caller::of(&node, "slow");
    eventually("the driver runs", || (reader.state() == "running").then_some(()));
    assert_eq!(reader.json("metrics.json")["invokes_total"], 1);
    // On the writer's own connection too; answers come for what was asked, in the order of their ends.
    let file = writer
        .peer
        .send("getattr", serde_json::json!({"node": writer.root}));
    writer.peer.answer(file).unwrap();
    let mut other = FilePeer::connect(node.addr());
    let file = other.find(other.root(), "file");
    assert_eq!(other.content(file).unwrap(), b"inside");
    let mut quick = Caller::of(&node, "quick");
    quick.invoke(r#"{"a":1}"#).unwrap();
    assert_eq!(quick.text("result.json"), r#"{"a":1}"#);
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(writer.peer.answer(tag).unwrap()["n"], 2);
    assert_eq!(writer.text("result.json"), "{\"done\":true}\n");
    assert_eq!(writer.state(), "ok");
}

#[test]
fn writers_take_turns_and_each_finds_its_own_result() {
    let place = Place::new();
    place.service(
        "turns",
        "[ -e busy ] && exit 9; touch busy; sleep 0.02; cat; rm busy",
    );
    let node = place.start();
    let mut callers: Vec<_> = (0..4).map(|_| Caller::of(&node, "turns")).collect();
    let sent: Vec<_> = callers
        .iter_mut()
        .enumerate()
        .map(|(number, caller)| {
            let control = caller.peer.find(caller.root, "control");
            let name = format!("invoke.caller-{number}.json");
            let (_, handle) = caller.peer.create(control, &name).unwrap();
            let payload = format!("{{\"caller\":{number}}}");
            let write = spiderweb_testkit::file_peer::writing(handle, 0, payload.as_bytes());
            caller.peer.send("write", write)
        })
        .collect();
    for (number, (caller, tag)) in callers.iter_mut().zip(sent).enumerate() {
        caller.peer.answer(tag).unwrap();
        let record = caller.json(&format!("history/caller-{number}.json"));
        assert_eq!(record["state"], "ok", "two ran at once: {record}");
        assert_eq!(record["result"], format!("{{\"caller\":{number}}}"));
    }
    assert_eq!(callers[0].json("metrics.json")["invokes_total"], 4);
}

#[test]
fn a_writer_that_leaves_loses_nothing() {
    let place = Place::new();
    place.service("slow", UNTIL_GO);
    let node = place.start();
    let mut writer = Caller::of(&node, "slow");
    writer.begin("{}");
    let mut reader = Caller::of(&node, "slow");
    eventually("the driver runs", || (reader.state() == "running").then_some(()));
    drop(writer);
    fs::write(place.path("go"), "").unwrap();
    eventually("the driver ends", || (reader.state() == "ok").then_some(()));
    assert_eq!(reader.text("result.json"), "{\"done\":true}\n");
}

#[test]
fn a_running_invoke_is_cancelled_with_all_it_started() {
    let place = Place::new();
    place.service("slow", "cat >/dev/null; sleep 3600 & sleep 3600");
    let node = place.start();
    let mut writer = Caller::of(&node, "slow");
    let tag = writer.begin("{}");
    let mut other = Caller::of(&node, "slow");
    eventually("the driver runs", || (place.leftovers().len() >= 3).then_some(()));
    assert_eq!(other.write("control/cancel", "7").unwrap_err().errno, 2);
    other.write("control/cancel", "1").unwrap();
    writer.peer.answer(tag).unwrap();
    let status = writer.json("status.json");
    assert_eq!(
        (&status["state"], &status["reason"]),
        (&"error".into(), &"cancelled".into())
    );
    assert_eq!(writer.json("health.json")["failures_total"], 0);
    assert_eq!(place.leftovers(), [""; 0]);
}

#[test]
fn a_payload_may_come_in_pieces_or_by_rename() {
    let place = Place::new();
    place.service("echo", "cat");
    let node = place.start();
    let mut caller = Caller::of(&node, "echo");
    let payload = format!("{{\"text\":\"{}\"}}\n", "x".repeat(300_000));
    let handle = caller.rewrite("control/invoke.json");
    for (number, piece) in payload.as_bytes().chunks(65_536).enumerate() {
        caller.peer.write(handle, number as u64 * 65_536, piece).unwrap();
    }
    assert_eq!(caller.text("result.json"), payload.trim_end());
    assert_eq!(caller.json("metrics.json")["invokes_total"], 1);
    // White space behind the object runs nothing; nothing at all runs it again.
    let end = payload.len() as u64;
    caller.peer.write(handle, end, b"\n").unwrap();
    assert_eq!(caller.json("metrics.json")["invokes_total"], 1);
    caller.peer.write(handle, end, b"").unwrap();
    assert_eq!(caller.json("metrics.json")["invokes_total"], 2);
    // As editors save.
    let control = caller.peer.find(caller.root, "control");
    caller
        .peer
        .put(control, ".invoke.json.swp", b"{\"saved\":1}")
        .unwrap();
    caller
        .peer
        .rename((control, ".invoke.json.swp"), (control, "invoke.json"))
        .unwrap();
    assert_eq!(caller.text("result.json"), "{\"saved\":1}");
    assert_eq!(caller.invoke("{\"broken\":").unwrap_err().errno, 22);
}

#[test]
fn drivers_see_what_the_manifest_gives_them_and_none_of_the_nodes_secrets() {
    let place = Place::new();
    let script = place.script("env.sh", "cat >/dev/null; env | sort; pwd; echo \"$@\"");
    fs::create_dir(place.path("room")).unwrap();
    let runtime = serde_json::json!({
        "type": "native_proc", "executable_path": script, "args": ["one", "two words"], "cwd": "room",
        "env": {"MOOD": "good"},
    });
    place.manifest("env", &runtime);
    let node = place.start_with(|command| {
        command
            .variable("SPIDERWEB_FS_NODE_AUTH_TOKEN_FILE", "/secret")
            .variable("SPIDERWEB_CONTROL_TOKEN", "secret")
            .variable("ORDINARY", "kept")
    });
    let mut caller = Caller::of(&node, "env");
    caller.invoke("{}").unwrap();
    let seen = caller.text("result.json");
    assert!(
        seen.contains("MOOD=good\n") && seen.contains("ORDINARY=kept\n"),
        "{seen}"
    );
    assert!(!seen.contains("secret"), "{seen}");
    assert!(seen.ends_with("/room\none two words\n"), "{seen}");
}
