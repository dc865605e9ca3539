//! The catalog as it was recorded (section 4).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers"
)]

use std::collections::HashMap;

use spiderweb_node::catalog::{Catalog, Disclosure, Entry, Standing};
use spiderweb_node::manifest::{Context, Manifest, Runtime, parse};
use spiderweb_protocol::{Dialect, Secret};
use spiderweb_runtime::{Probe, PublishedState};

fn manifest(dialect: Dialect, node_id: &str, text: &str) -> Manifest {
    let context = Context { dialect, node_id };
    parse(text.as_bytes(), context).unwrap().manifest.unwrap()
}

/// What the recorded node had found out when it published.
fn standing(manifest: &Manifest) -> Standing {
    let Runtime::Executable(_) = manifest.runtime else {
        return Standing::catalog_only(manifest);
    };
    let mut probe = Probe::new(manifest.probe);
    match manifest.service_id.as_str() {
        "cat-missing" => {
            for now in [1_795_406_257_157, 1_795_406_257_360, 1_795_406_257_763] {
                probe.note(now, Err("FileNotFound"));
            }
        }
        "h-echo" => probe.note(1_795_404_352_769, Ok(())),
        _ => probe.note(1_795_406_257_157, Ok(())),
    }
    Standing {
        probe: probe.status().clone(),
        health: PublishedState::Online,
    }
}

fn replay(
    dialect: Dialect,
    node_id: &str,
    recorded: &str,
    is_any_writable: bool,
    export_count: usize,
) -> usize {
    let mut current = None;
    let mut compared = 0;
    for line in recorded
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (what, text) = line.split_once(' ').unwrap();
        let entry = match (what, &current) {
            ("manifest", _) => {
                current = Some(manifest(dialect, node_id, text));
                continue;
            }
            ("declared", Some(manifest)) => Entry::declared(dialect, manifest),
            ("observed", Some(manifest)) => {
                Entry::observed(dialect, manifest, &standing(manifest), Disclosure::Full)
            }
            ("fs", _) => Entry::fs(dialect, node_id, is_any_writable, export_count),
            ("terminal", _) => Entry::terminal(dialect, node_id, "1", PublishedState::Online),
            other => panic!("{other:?}"),
        };
        assert_eq!(entry.as_str(), text);
        compared += 1;
    }
    compared
}

#[test]
fn the_recorded_catalog_of_the_seed_generation() {
    assert_eq!(
        replay(Dialect::Seed, "node-2", include_str!("seed.txt"), true, 2),
        12
    );
}

#[test]
fn the_recorded_catalog_of_the_head_generation() {
    assert_eq!(
        replay(Dialect::Head, "node-1", include_str!("head.txt"), false, 0),
        6
    );
}

#[test]
fn the_request_names_the_node_and_then_its_services() {
    let mut catalog = Catalog {
        dialect: Dialect::Seed,
        labels: vec![("site".into(), "hq".into()), ("tier".into(), "\"edge\"".into())],
        entries: vec![Entry::fs(Dialect::Seed, "n", true, 1)],
    };
    let entry = catalog.entries[0].to_string();
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let platform = format!(r#"{{"os":"{os}","arch":"{arch}","runtime_kind":"native"}}"#);
    let start = format!(r#"{{"node_id":"n","node_secret":"shh","platform":{platform}"#);
    let payload = catalog.payload("n", &Secret::new("shh"));
    assert_eq!(
        payload,
        format!(r#"{start},"labels":{{"site":"hq","tier":"\"edge\""}},"services":[{entry}]}}"#)
    );
    catalog.labels.clear();
    catalog.dialect = Dialect::Head;
    assert_eq!(
        catalog.payload("n", &Secret::new("shh")),
        format!(r#"{start},"venoms":[{entry}]}}"#)
    );
}

#[test]
fn the_worse_of_probes_and_invokes_is_published() {
    use PublishedState::{Degraded, Offline, Online};
    let text = r#"{"service_id":"s","kind":"k","runtime":{"type":"native_proc","executable_path":"x"}}"#;
    let manifest = manifest(Dialect::Seed, "n", text);
    for (probe, health, published, is_enabled) in [
        (Online, Online, "online", true),
        (Online, Degraded, "degraded", true),
        (Degraded, Online, "degraded", true),
        (Online, Offline, "offline", false),
        (Degraded, Offline, "offline", false),
    ] {
        let mut standing = standing(&manifest);
        standing.probe.state = probe;
        standing.health = health;
        let entry = Entry::observed(Dialect::Seed, &manifest, &standing, Disclosure::Full).to_string();
        let entry: serde_json::Value = serde_json::from_str(&entry).unwrap();
        assert_eq!(entry["state"], published);
        assert_eq!(entry["mounts"][0]["state"], published);
        assert_eq!(entry["runtime"]["supervision_status"]["state"], published);
        assert_eq!(entry["runtime"]["supervision_status"]["enabled"], is_enabled);
    }
}

#[test]
fn a_declared_state_counts_where_there_is_no_driver() {
    for (declared, published) in [
        ("offline", "offline"),
        ("degraded", "degraded"),
        ("odd", "online"),
    ] {
        let text = format!(r#"{{"service_id":"s","kind":"k","state":"{declared}"}}"#);
        let manifest = manifest(Dialect::Seed, "n", &text);
        let standing = Standing::catalog_only(&manifest);
        assert_eq!(standing.state().wire(), published);
    }
}

#[test]
fn a_status_that_was_declared_is_replaced_in_its_place() {
    let text = r#"{"service_id":"s","kind":"k","runtime":{"supervision_status":5,"note":"x"}}"#;
    let manifest = manifest(Dialect::Seed, "n", text);
    let entry = Entry::observed(
        Dialect::Seed,
        &manifest,
        &Standing::catalog_only(&manifest),
        Disclosure::Full,
    )
    .to_string();
    assert!(
        entry.contains(r#""runtime":{"supervision_status":{"state":"online","#),
        "{entry}"
    );
    assert!(entry.contains(r#""updated_at_ms":null},"note":"x"}"#), "{entry}");
}

#[test]
fn what_drivers_are_given_is_not_told_and_paths_are_not_where_they_are_nobodys_business() {
    let text = r#"{"service_id":"s","kind":"k","runtime":{"type":"native_proc","executable_path":"/opt/x/driver",
        "args":["--token","t0ken"],"env":{"KEY":"s3cret"},"cwd":"/srv","timeout_ms":5000}}"#;
    let manifest = manifest(Dialect::Seed, "n", text);
    let runtime = |disclosure| {
        let standing = Standing::catalog_only(&manifest);
        let entry = Entry::observed(Dialect::Seed, &manifest, &standing, disclosure).to_string();
        serde_json::from_str::<serde_json::Value>(&entry).unwrap()["runtime"].clone()
    };
    let full = runtime(Disclosure::Full);
    assert_eq!(full["executable_path"], "/opt/x/driver");
    assert_eq!(full["args"][1], "t0ken");
    let names = runtime(Disclosure::NamesOnly);
    assert_eq!(names["executable_path"], "driver");
    assert_eq!(names["timeout_ms"], 5000);
    assert!(names.get("args").or(names.get("cwd")).is_none(), "{names}");
    assert!(full.get("env").or(names.get("env")).is_none(), "{full}");
}

#[test]
fn manifests_of_either_generation_serve_both() {
    let seed = manifest(Dialect::Head, "n", r#"{"service_id":"s","kind":"k"}"#);
    let head = manifest(
        Dialect::Seed,
        "n",
        r#"{"venom_id":"s","kind":"k","package_id":"p","instance_id":"i"}"#,
    );
    let keys = |entry: Entry| -> HashMap<String, serde_json::Value> {
        serde_json::from_str(entry.as_str()).unwrap()
    };
    let entry = keys(Entry::declared(Dialect::Head, &seed));
    assert_eq!(
        (&entry["venom_id"], &entry["package_id"]),
        (&"s".into(), &"s".into())
    );
    let entry = keys(Entry::declared(Dialect::Head, &head));
    assert_eq!(
        (&entry["package_id"], &entry["instance_id"]),
        (&"p".into(), &"i".into())
    );
    let entry = keys(Entry::declared(Dialect::Seed, &head));
    assert!(entry.contains_key("service_id") && !entry.contains_key("package_id"));
}
