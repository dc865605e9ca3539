//! The example drivers in other languages, with the manifests they come with.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::place::{Caller, Place, eventually, root};

/// Copies the examples to where the node runs, since their manifests name what lies beside them.
fn copy_examples(place: &Place) {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/drivers");
    for entry in fs::read_dir(examples).unwrap() {
        let from = entry.unwrap().path();
        let name = from.file_name().unwrap().to_str().unwrap();
        fs::copy(&from, place.path(name)).unwrap();
    }
}

fn echoes(place: &Place, manifest: &str, service: &str) {
    let node = place.start_with(|command| command.arguments(["--service-manifest", manifest]));
    let mut caller = Caller::of(&node, service);
    caller.invoke(r#"{"hello":"world"}"#).unwrap();
    let result = caller.json("result.json");
    assert_eq!(result["echo"]["hello"], "world", "{result}");
    assert_eq!(caller.invoke("{}").map(|_| caller.state()).as_deref(), Ok("ok"));
}

#[test]
fn the_example_in_python_echoes() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3 here");
        return;
    }
    let place = Place::new();
    copy_examples(&place);
    echoes(&place, "echo-python.json", "echo-python");
}

/// Builds the example in C with the compiler that links Rust programs here.
fn build_library(place: &Place) {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/driver-sdk/include");
    let built = Command::new("cc")
        .args([
            "-shared",
            "-fPIC",
            "-Wall",
            "-Werror",
            "-o",
            "libecho-c.so",
            "echo.c",
            "-I",
        ])
        .arg(include)
        .current_dir(place.path(""))
        .status();
    assert!(built.unwrap().success());
}

#[test]
fn the_example_in_c_echoes() {
    let place = Place::new();
    copy_examples(&place);
    build_library(&place);
    echoes(&place, "echo-c.json", "echo-c");
}

#[test]
fn a_library_that_is_installed_later_is_taken_then() {
    let place = Place::new();
    copy_examples(&place);
    fs::rename(place.path("echo-c.json"), place.manifest_path("echo-c")).unwrap();
    let node = place.start_with(|command| command.arguments(["--manifest-reload-interval-ms", "50"]));
    let mut peer = spiderweb_testkit::FilePeer::connect(node.addr());
    assert_eq!(root(&mut peer, "svc-echo-c"), None);
    build_library(&place);
    eventually("it is there", || root(&mut peer, "svc-echo-c"));
    Caller::of(&node, "echo-c").invoke(r#"{"hello":1}"#).unwrap();
}
