//! The state file: who may use it, and what is never done to it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::hub::{Generation, Hub, Manner};
use crate::place::{PAIRED, Place, SOON, eventually, says};
use crate::script::play;

const SEED: Manner = Manner::Polite(Generation::Seed);
const NOBODY: &str = "ws://127.0.0.1:1/";

#[test]
fn a_second_process_is_told_who_the_first_is() {
    let place = Place::paired();
    let first = place.command(NOBODY, &[]).launch().unwrap();
    eventually("the first", || first.log().contains("Starting").then_some(()));
    eventually("the lock", || place.path("node.json.lock").exists().then_some(()));
    says(&first, "control tunnel");
    let mut second = place.command(NOBODY, &[]).launch().unwrap();
    assert_eq!(second.wait_exit(SOON).unwrap().code(), Some(1));
    let expected = format!("node.json is in use by process {}", first.id());
    says(&second, &expected);
    says(&second, "error: StateFileInUse");
    drop(first);
    let mut third = place.command(NOBODY, &[]).launch().unwrap();
    says(&third, "control tunnel");
    assert!(third.exited().unwrap().is_none());
}

#[test]
fn what_a_hub_leaves_out_is_null() {
    let (place, mut hub) = (Place::new(), Hub::start(SEED));
    let _node = place.start(&hub, &["--invite-token", "inv-1"]);
    play(
        &mut hub,
        r#"
        > node_join {"invite_token":"inv-1","node_name":"edge","fs_url":"","lease_ttl_ms":900000}
        < {"node_id":"n1","node_secret":"s","lease_token":"l"}
        "#,
    );
    let state = eventually("the identity", || {
        Some(place.state()).filter(|state| state["node_id"] == "n1")
    });
    assert_eq!(
        [&state["node_name"], &state["fs_url"]],
        [&Value::Null, &Value::Null]
    );
}

#[test]
fn files_that_cannot_be_used_end_the_start_as_recorded() {
    for (text, name) in [
        ("{\"schema\":1,\"node_id\"", "UnexpectedEndOfInput"),
        ("", "UnexpectedEndOfInput"),
        ("[]", "InvalidStateFile"),
        ("{\"node_id\":5}", "InvalidPayload"),
        ("hello", "SyntaxError"),
    ] {
        let place = Place::new();
        fs::write(place.path("node.json"), text).unwrap();
        let mut node = place.command(NOBODY, &[]).launch().unwrap();
        assert_eq!(node.wait_exit(SOON).unwrap().code(), Some(1), "{text}");
        says(&node, &format!("error: {name}\n"));
        assert_eq!(fs::read_to_string(place.path("node.json")).unwrap(), text);
    }
    let place = Place::new();
    fs::create_dir(place.path("node.json")).unwrap();
    let mut node = place.command(NOBODY, &[]).launch().unwrap();
    assert_eq!(node.wait_exit(SOON).unwrap().code(), Some(1));
    says(&node, "error: IsDir\n");
    let mut node = place
        .command(NOBODY, &["--state-file", "work/file/s.json"])
        .launch()
        .unwrap();
    assert_eq!(node.wait_exit(SOON).unwrap().code(), Some(1));
    says(&node, "error: NotDir\n");
    let place = Place::new();
    let mut node = place
        .command(NOBODY, &["--pair-mode", "invite"])
        .launch()
        .unwrap();
    assert_eq!(node.wait_exit(SOON).unwrap().code(), Some(1));
    says(&node, "error: InvalidArguments\n");
}

#[test]
fn a_damaged_file_is_kept_when_the_node_may_pair_anew() {
    let (place, mut hub) = (Place::new(), Hub::start(SEED));
    fs::write(place.path("node.json"), "{\"schema\":1,\"node_id\"").unwrap();
    let node = place.start(&hub, &["--invite-token", "inv-1"]);
    play(&mut hub, include_str!("scripts/invite_pairing.txt")).unwrap();
    says(
        &node,
        "is damaged: it is cut off; it is kept as node.json.corrupt-",
    );
    let kept = fs::read_dir(place.path(".")).unwrap().flatten();
    let kept = kept.filter(|entry| {
        entry
            .file_name()
            .to_string_lossy()
            .starts_with("node.json.corrupt-")
    });
    assert_eq!(kept.count(), 1);
    let mode = fs::metadata(place.path("node.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_that_goes_away_is_written_again() {
    let (place, mut hub) = (Place::paired(), Hub::start(SEED));
    let _node = place.start(&hub, &["--lease-ttl-ms", "1000"]);
    play(&mut hub, include_str!("scripts/saved_identity.txt")).unwrap();
    eventually("the renewed lease", || {
        (place.state()["lease_token"] == "lease-b").then_some(())
    });
    fs::remove_file(place.path("node.json")).unwrap();
    play(
        &mut hub,
        "> node_lease_refresh {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"fs_url\":\"*\",\"lease_ttl_ms\":1000}\n\
         < {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"lease_token\":\"l\"}",
    );
    eventually("the file", || place.path("node.json").exists().then_some(()));
    assert_eq!(place.state()["node_id"], "node-2");
}

#[test]
fn the_default_file_is_the_readmes_and_the_hidden_one_is_read_once() {
    let place = Place::new();
    fs::write(place.path(".spiderweb-fs-node-state.json"), PAIRED).unwrap();
    let command = spiderweb_testkit::NodeCommand::new(env!("CARGO_BIN_EXE_spiderweb-fs-node"));
    let command =
        command
            .directory(place.path("."))
            .arguments(["--control-url", NOBODY, "--export", "work=work"]);
    let node = command.launch().unwrap();
    says(
        &node,
        "read the state file .spiderweb-fs-node-state.json of an earlier version",
    );
    let new = place.path("spiderweb-fs-node-state.json");
    eventually("the new file", || new.exists().then_some(()));
    assert!(fs::read_to_string(new).unwrap().contains("node-2"));
}
