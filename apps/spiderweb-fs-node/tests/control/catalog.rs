//! When the hub is told what the node offers, and what.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::hub::{Arrival, Generation, Hub, Manner, Said};
use crate::place::{Place, says};
use crate::script::play;

fn upsert(hub: &mut Hub, operation: &str) -> (Arrival, Value) {
    let kind = format!("control.{operation}");
    let asked = hub.next(
        operation,
        |arrival| matches!(&arrival.message, Said::Text(text) if text["type"] == *kind),
    );
    let Said::Text(text) = &asked.message else {
        unreachable!()
    };
    let text = text.clone();
    (asked, text)
}

fn accept(hub: &Hub, (asked, text): &(Arrival, Value), payload: &Value) {
    let reply =
        json!({"channel": "control", "type": text["type"], "id": text["id"], "ok": true, "payload": payload});
    hub.say(asked.connection, &reply.to_string());
}

fn driver(place: &Place) {
    let path = place.path("echo.sh");
    fs::write(&path, "#!/bin/sh\ncat\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn manifest(place: &Place, kind: &str) {
    let text = json!({
        "service_id": "echo", "kind": kind, "endpoints": ["/nodes/{node_id}/echo"],
        "runtime": {"type": "native_proc", "executable_path": "./echo.sh", "supervision": {"health_check_interval_ms": 100}},
    });
    fs::write(place.path("new"), text.to_string()).unwrap();
    fs::rename(place.path("new"), place.path("services.d/echo.json")).unwrap();
}

/// Accepts catalogs until one satisfies.
fn until(hub: &mut Hub, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..20 {
        let asked = upsert(hub, "node_service_upsert");
        accept(hub, &asked, &json!({}));
        if wanted(&asked.1["payload"]) {
            return asked.1["payload"].clone();
        }
    }
    panic!("{what} was not published")
}

#[test]
fn what_changes_is_published_once_and_with_what_probes_say() {
    let (place, mut hub) = (Place::paired(), Hub::start(Manner::Polite(Generation::Seed)));
    driver(&place);
    manifest(&place, "one");
    let _node = place.start(
        &hub,
        &[
            "--services-dir",
            "services.d",
            "--terminal-id",
            "1",
            "--label",
            "site=lab",
            "--manifest-reload-interval-ms",
            "50",
        ],
    );
    let state = |payload: &Value| payload["services"][2]["runtime"]["supervision_status"]["state"].clone();
    let payload = until(&mut hub, "a driver that is well", |payload| {
        state(payload) == "online"
    });
    let ids: Vec<_> = payload["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["service_id"].clone())
        .collect();
    assert_eq!(ids, ["fs", "terminal-1", "echo"]);
    assert_eq!(payload["labels"], json!({"site": "lab"}));
    assert_eq!(payload["services"][2]["endpoints"], json!(["/nodes/node-2/echo"]));
    play(
        &mut hub,
        "> node_lease_refresh {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"fs_url\":\"*\",\"lease_ttl_ms\":900000}\n\
         < {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"lease_token\":\"l\"}\n\
         > tunnel {\"node_id\":\"node-2\"}\n< welcome",
    );
    manifest(&place, "two");
    until(&mut hub, "the changed manifest", |payload| {
        payload["services"][2]["kind"] == "two"
    });
    fs::remove_file(place.path("echo.sh")).unwrap();
    until(&mut hub, "a driver that is gone", |payload| {
        state(payload) == "degraded"
    });
    driver(&place);
    until(&mut hub, "a driver that is back", |payload| {
        state(payload) == "online"
    });
    fs::remove_file(place.path("services.d/echo.json")).unwrap();
    until(&mut hub, "a service that is gone", |payload| {
        payload["services"].as_array().unwrap().len() == 2
    });
    // Everything said so far was said because it was new.
    assert!(hub.rest().iter().all(|arrival| !matches!(&arrival.message, Said::Text(text) if text["type"] == "control.node_service_upsert")));
}

#[test]
fn labels_of_an_earlier_start_are_removed() {
    let (place, mut hub) = (Place::paired(), Hub::start(Manner::Polite(Generation::Seed)));
    let _node = place.start(&hub, &[]);
    let first = upsert(&mut hub, "node_service_upsert");
    assert!(first.1["payload"].get("labels").is_none());
    accept(&hub, &first, &json!({"labels": {"site": "old"}}));
    let second = upsert(&mut hub, "node_service_upsert");
    assert_eq!(second.1["payload"]["labels"], json!({}));
    accept(&hub, &second, &json!({"labels": {}}));
}

#[test]
fn a_package_the_hub_does_not_know_hides_one_service_and_not_all() {
    let (place, mut hub) = (Place::paired(), Hub::start(Manner::Polite(Generation::Head)));
    driver(&place);
    manifest(&place, "one");
    let node = place.start(&hub, &["--venoms-dir", "services.d", "--terminal-id", "1"]);
    let (asked, text) = upsert(&mut hub, "venom_upsert");
    let venoms = text["payload"]["venoms"].as_array().unwrap().clone();
    assert_eq!(venoms.len(), 3);
    assert!(
        venoms.iter().all(|venom| venom["help_md"].is_string()),
        "{venoms:?}"
    );
    assert_eq!(venoms[1]["package_id"], "terminal");
    let refusal = json!({
        "channel": "control", "type": "control.error", "id": text["id"], "ok": false,
        "error": {"code": "control_plane_error", "message": "VenomPackageNotFound"},
    });
    hub.say(asked.connection, &refusal.to_string());
    let second = upsert(&mut hub, "venom_upsert");
    let ids: Vec<_> = second.1["payload"]["venoms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|venom| venom["venom_id"].clone())
        .collect();
    assert_eq!(ids, ["fs", "terminal-1"]);
    accept(&hub, &second, &json!({}));
    says(&node, "they are not in its catalog: echo");
}
