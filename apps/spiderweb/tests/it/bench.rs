//! bench

use crate::setup::{Setup, names};

#[test]
fn every_operation_is_measured_verified_and_cleaned_up() {
    let setup = Setup::new();
    for (op, shape) in [
        ("getattr", "--depth 4"),
        ("lookup", "--connections 3 --depth 2"),
        ("read", "--block 64KiB --depth 3 --connections 2"),
        ("read", "--block 1000"),
        ("write", "--block 1MiB --depth 2"),
        ("write", "--block 100 --connections 2 --depth 4"),
        ("readdirp", "--entries 300 --depth 2"),
        ("open-close", "--depth 2"),
        ("create-unlink", "--depth 3 --connections 2"),
        ("mixed", "--depth 2"),
    ] {
        let line = format!("bench --op {op} {shape} --duration 200ms --warmup 10ms --verify");
        let shown = setup.json(&line);
        assert!(shown["ops"].as_u64().unwrap() > 0, "{line}: {shown}");
        assert!(shown["ceiling"].as_f64().unwrap() > 0.0, "{line}: {shown}");
        assert_eq!(
            (&shown["errors"], &shown["wrong"]),
            (&serde_json::json!({}), &0.into()),
            "{line}"
        );
        assert_eq!(shown["op"], op);
        let latency = &shown["latency_us"];
        assert!(latency["p50"].as_f64() <= latency["max"].as_f64() && latency["p50"].as_f64() > Some(0.0));
    }
    assert!(names(&setup.work("")).is_empty());
}

/// Every member of a JSON object is named in the command's help.
fn is_in_help(setup: &Setup, shown: &serde_json::Value) {
    let help = setup.ok("bench --help");
    let words: Vec<_> = help
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    for member in shown.as_object().unwrap().keys() {
        assert!(words.contains(&member.as_str()), "{member}");
    }
}

#[test]
fn people_see_what_was_measured() {
    let setup = Setup::new();
    let pid = std::process::id();
    let text = setup.ok(&format!(
        "bench --duration 300ms --warmup 10ms --background 2 --hold-lock --idle 20 --pid {pid}"
    ));
    is_in_help(
        &setup,
        &setup.json("bench --duration 10ms --warmup 1ms --no-ceiling"),
    );
    for part in [
        "getattr, 1 connection x 1 outstanding for 0.3 s",
        "of this machine's ceiling",
        "p99.9",
        "processor per operation",
        "with 21 connections",
        "MB/s in 1 MiB reads on 2 connections",
        "waited, and got it when it was given back",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(names(&setup.work("")).is_empty());
}

#[test]
fn a_listing_of_many_pages_counts_once() {
    let setup = Setup::new();
    let shown =
        setup.json("bench --op readdirp --entries 17000 --duration 1s --warmup 1ms --no-ceiling --verify");
    assert!(
        shown["ops"].as_u64().unwrap() > 0 && shown["wrong"] == 0,
        "{shown}"
    );
}

#[test]
fn two_nodes_are_compared_in_pairs() {
    let (a, b) = (Setup::new(), Setup::new());
    let line = format!(
        "bench --compare {} {} --pairs 3 --slice 300ms --depth 2",
        a.url(),
        b.url()
    );
    let shown = a.json(&line);
    assert_eq!(shown["pairs"].as_array().unwrap().len(), 3);
    is_in_help(&a, &shown);
    let spread = &shown["throughput"];
    assert!(
        spread["min"].as_f64() <= spread["median"].as_f64()
            && spread["median"].as_f64() <= spread["max"].as_f64()
    );
    assert!(a.ok(&line).contains("throughput"));
    assert!(names(&a.work("")).is_empty() && names(&b.work("")).is_empty());
}
