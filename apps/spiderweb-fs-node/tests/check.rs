//! `spiderweb-fs-node check`: what it says, and its exit code.
#![allow(clippy::unwrap_used, reason = "test helpers")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const GOOD: &str = r#"{"service_id":"echo","kind":"utility","zzz":1,"endpoints":["/nodes/{node_id}/echo"],
  "runtime":{"type":"native_proc","executable_path":"./echo","timeout_ms":500}}"#;

fn check(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spiderweb-fs-node"));
    command.arg("check").args(args).current_dir(folder);
    command.output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_good_manifest_is_told_what_it_becomes() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("echo.json"), GOOD).unwrap();
    let output = check(folder.path(), &["echo.json"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        told(&output),
        "echo.json: ok
  service_id echo (utility)
  runtime    native_proc ./echo, timeout 500 ms, 1 at once
  export     svc-echo
  endpoint   /nodes/{node_id}/echo
  mount      echo at /nodes/{node_id}/echo
  note: echo.json:1:39: zzz: is no member that is known here, so it is ignored
"
    );
}

#[test]
fn every_fault_of_every_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let services = folder.path().join("services");
    fs::create_dir(&services).unwrap();
    fs::write(services.join("a.json"), GOOD).unwrap();
    let bad =
        "{\n  \"service_id\": \"b\",\n  \"runtime\": {\"type\": \"native_proc\", \"timeout_ms\": \"5\"}\n}";
    fs::write(services.join("b.json"), bad).unwrap();
    fs::write(services.join("c.json"), GOOD).unwrap();
    fs::write(services.join("d.json"), "{\"enabled\":false}").unwrap();
    fs::write(services.join("e.json"), "{\"a\":\n}").unwrap();
    let output = check(folder.path(), &["services", "nowhere.json"]);
    assert_eq!(output.status.code(), Some(1));
    let told = told(&output).replace('\\', "/");
    for line in [
        "services/b.json:1:1: kind: is missing; must be 1 to 128 of the characters A-Z a-z 0-9 . _ - (InvalidManifest)",
        "services/b.json:3:52: runtime.timeout_ms: is \"5\"; must be an integer from 0 (InvalidArguments)",
        "services/c.json:1:15: service_id: `echo` is the id of a service in another manifest; must be an id of its own (InvalidArguments)",
        "services/d.json: ok, and disabled",
        "services/e.json:2:1: expected a value (SyntaxError)",
        "nowhere.json: does not exist; must be a file that can be read (FileNotFound)",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}\n{told}");
    }
    assert_eq!(told.matches("services/a.json: ok").count(), 1, "{told}");
}

#[test]
fn programs_read_it_as_json() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("echo.json"), GOOD).unwrap();
    fs::write(folder.path().join("bad.json"), "{}").unwrap();
    let args = [
        "--output",
        "json",
        "--dialect",
        "head",
        "echo.json",
        "bad.json",
        "echo.json",
    ];
    let output = check(folder.path(), &args);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found[0]["ok"], true);
    assert_eq!(found[0]["becomes"]["venom_id"], "echo");
    assert_eq!(found[0]["export"], "svc-echo");
    assert_eq!(found[0]["notes"][0]["path"], "zzz");
    assert_eq!(found[1]["file"], "bad.json");
    assert_eq!(found[1]["faults"][0]["path"], "venom_id");
    assert_eq!(found[1]["faults"][1]["path"], "kind");
    assert_eq!(found[1]["becomes"], serde_json::Value::Null);
    assert_eq!(
        found[2]["faults"][0]["name"], "InvalidArguments",
        "it is named twice"
    );
}

#[test]
fn arguments_that_make_no_sense_are_told_apart_from_faults() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &[][..],
        &["--output", "xml", "a.json"],
        &["--port", "1", "a.json"],
    ] {
        assert_eq!(check(folder.path(), args).status.code(), Some(2), "{args:?}");
    }
    assert_eq!(check(folder.path(), &["--help"]).status.code(), Some(0));
}

#[test]
fn a_library_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"{"service_id":"s","kind":"k","runtime":{"type":"native_inproc","library_path":"./x.so"}}"#;
    fs::write(folder.path().join("s.json"), text).unwrap();
    let output = check(folder.path(), &["s.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("runtime.library_path: library ./x.so cannot be opened (FileNotFound)"));
}
