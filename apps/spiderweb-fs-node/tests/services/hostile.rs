//! Drivers that mean no good: each ends in the documented state, within its time, with nothing left; and the next
//! invoke works.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spiderweb_testkit::{Answer, NodeProcess};

use crate::place::{Caller, Place, SOON};

/// A script, and what must come of it: the write's answer, state, exit code and the start of the error.
struct Case {
    name: &'static str,
    script: &'static str,
    errno: Option<i64>,
    state: &'static str,
    exit_code: i64,
    error: &'static str,
}

const TIMEOUT_MS: u64 = 700;

const fn case(
    name: &'static str,
    script: &'static str,
    errno: Option<i64>,
    state: &'static str,
    exit_code: i64,
    error: &'static str,
) -> Case {
    Case {
        name,
        script,
        errno,
        state,
        exit_code,
        error,
    }
}

const TIMED_OUT: &str = "service invocation terminated after timeout_ms";

const CASES: [Case; 12] = [
    case("endless", "yes", Some(5), "error", -1, "StdoutStreamTooLong"),
    case(
        "endless-errors",
        "yes >&2",
        Some(5),
        "error",
        -1,
        "StderrStreamTooLong",
    ),
    case(
        "gigabytes",
        "head -c 10G /dev/zero",
        Some(5),
        "error",
        -1,
        "StdoutStreamTooLong",
    ),
    case("closes-input", "exec <&-; echo fine", None, "ok", 0, ""),
    case("never-reads", "sleep 3600", None, "timeout", -1, TIMED_OUT),
    case(
        "invalid-text",
        r"cat >/dev/null; printf '\377' >&2; exit 1",
        None,
        "error",
        1,
        "",
    ),
    case(
        "exits-255",
        "exit 255",
        None,
        "error",
        255,
        "service process failed",
    ),
    case(
        "crashes",
        "kill -SEGV $$",
        None,
        "error",
        -1,
        "service process failed",
    ),
    case(
        "ignores-signals",
        "trap '' TERM INT HUP; while :; do sleep 1; done",
        None,
        "timeout",
        -1,
        TIMED_OUT,
    ),
    case(
        "leaves-children",
        "sleep 3600 & sleep 3600 & echo fine",
        None,
        "ok",
        0,
        "",
    ),
    case(
        "leaves-its-session",
        // It ends only when the other is away, so that killing the group is not enough.
        "setsid sh -c ': >away; exec sleep 3600' >/dev/null 2>&1 & until [ -e away ]; do :; done; echo fine",
        None,
        "ok",
        0,
        "",
    ),
    case(
        "forks-and-sleeps",
        "for i in 1 2 3 4; do (trap '' TERM; sleep 3600) & done; wait",
        None,
        "timeout",
        -1,
        TIMED_OUT,
    ),
];

#[test]
fn every_program_ends_in_its_documented_state() {
    let place = Place::new();
    for case in &CASES {
        // The second time it behaves, so that the next invoke shows that nothing was broken.
        let script = format!(
            "if [ -e {0}.once ]; then exec cat; fi; touch {0}.once\n{1}",
            case.name, case.script
        );
        place.service_within(case.name, &script, TIMEOUT_MS);
    }
    let node = place.start();
    // Large enough that nobody can take it in without reading.
    let payload = format!("{{\"filler\":\"{}\"}}", "x".repeat(200_000));
    for case in &CASES {
        let name = case.name;
        let mut caller = Caller::of(&node, name);
        let begin = Instant::now();
        let answer = caller.invoke(&payload);
        assert!(begin.elapsed() < SOON, "{name} took {:?}", begin.elapsed());
        assert_eq!(
            answer.as_ref().err().map(|refusal| refusal.errno),
            case.errno,
            "{name}: {answer:?}"
        );
        let status = caller.json("status.json");
        assert_eq!(status["state"], case.state, "{name}: {status}");
        assert_eq!(status["exit_code"], case.exit_code, "{name}: {status}");
        let error = caller.peer.find(caller.root, "last_error.txt");
        let error = caller.peer.content(error).unwrap();
        assert!(
            error.starts_with(case.error.as_bytes()),
            "{name}: {}",
            String::from_utf8_lossy(&error)
        );
        let failed = u64::from(case.state != "ok");
        assert_eq!(caller.json("health.json")["failures_total"], failed, "{name}");
        assert_eq!(place.leftovers(), [""; 0], "{name} left something running");
        caller.invoke(r#"{"next":1}"#).unwrap();
        assert_eq!(caller.text("result.json"), r#"{"next":1}"#, "{name}");
    }
}

/// A module in the text format of WASM that runs into each bound; `(invoke)` stands for what it does.
fn module(imports: &str, invoke: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {imports}
             (memory (export "memory") 1)
             (func (export "spider_venom_alloc") (param i32) (result i32) i32.const 16)
             (func (export "spider_venom_invoke_json") (param i32 i32) (result i64) {invoke}))"#
    );
    wat::parse_str(text).unwrap()
}

/// A module with its bounds, and what must come of it.
struct ModuleCase {
    name: &'static str,
    bytes: Vec<u8>,
    bounds: Value,
    errno: Option<i64>,
    state: &'static str,
    error: &'static str,
}

fn modules() -> [ModuleCase; 6] {
    const LOOP: &str = "(loop br 0) i64.const 0";
    const GROW: &str =
        "(if (i32.ne (memory.grow (i32.const 1000)) (i32.const -1)) (then unreachable)) i64.const 0";
    let case = |name, bytes, bounds, (errno, state, error)| ModuleCase {
        name,
        bytes,
        bounds,
        errno,
        state,
        error,
    };
    let failed = |error| (Some(5), "error", error);
    let small = json!({"max_memory_bytes": 1_000_000});
    let stranger = r#"(import "env" "system" (func))"#;
    [
        case(
            "loops",
            module("", LOOP),
            json!({}),
            (None, "timeout", "wasm venom timed out"),
        ),
        case(
            "burns",
            module("", LOOP),
            json!({"fuel": 100_000}),
            failed("FuelExhausted"),
        ),
        case("grows", module("", GROW), small, (None, "ok", "")),
        case(
            "traps",
            module("", "unreachable"),
            json!({}),
            failed("Unreachable"),
        ),
        case(
            "imports",
            module(stranger, "i64.const 0"),
            json!({}),
            failed("ImportNotFound"),
        ),
        case(
            "nonsense",
            b"this is no module".to_vec(),
            json!({}),
            failed("InvalidWasm"),
        ),
    ]
}

#[test]
fn every_module_ends_in_its_documented_state() {
    let place = Place::new();
    let cases = modules();
    for case in &cases {
        let path = format!("{}.wasm", case.name);
        std::fs::write(place.path(&path), &case.bytes).unwrap();
        let mut runtime =
            json!({"type": "wasm", "module_path": format!("./{path}"), "timeout_ms": TIMEOUT_MS});
        let bounds = case.bounds.as_object().unwrap().clone();
        runtime.as_object_mut().unwrap().extend(bounds);
        place.manifest(case.name, &runtime);
    }
    place.service("next", "cat");
    let node = place.start();
    for case in &cases {
        let name = case.name;
        let mut caller = Caller::of(&node, name);
        let answer = caller.invoke("{}");
        let errno = |answer: &Answer<u64>| answer.as_ref().err().map(|refusal| refusal.errno);
        assert_eq!(errno(&answer), case.errno, "{name}: {answer:?}");
        assert_eq!(caller.state(), case.state, "{name}");
        let error = caller.text("last_error.txt");
        assert_eq!(error.lines().next().unwrap_or_default(), case.error, "{name}");
        // The same one again ends the same way, and others are as well as before.
        assert_eq!(errno(&caller.invoke("{}")), case.errno, "{name} again");
        Caller::of(&node, "next").invoke("{}").unwrap();
    }
}

#[test]
fn sleepers_flooders_and_forkers_at_once_all_end_and_harm_nobody() {
    let place = Place::new();
    let kinds: [(&str, usize, &str); 3] = [
        ("sleeper", 64, "sleep 3600"),
        (
            "flooder",
            8,
            "while :; do head -c 900000 /dev/zero; sleep 0.05; exec sleep 3600; done",
        ),
        (
            "forker",
            4,
            "trap '' TERM; for i in 1 2 3; do (trap '' TERM; sleep 3600) & done; while :; do sleep 1; done",
        ),
    ];
    let names: Vec<String> = kinds
        .iter()
        .flat_map(|(kind, count, _)| (0..*count).map(move |number| format!("{kind}-{number}")))
        .collect();
    for (kind, count, script) in kinds {
        for number in 0..count {
            place.service_within(&format!("{kind}-{number}"), script, 2000);
        }
    }
    let node = place.start();
    let mut callers: Vec<_> = names.iter().map(|name| Caller::of(&node, name)).collect();
    let sent: Vec<_> = callers.iter_mut().map(|caller| caller.begin("{}")).collect();
    answers_meanwhile(&node);
    for ((caller, tag), name) in callers.iter_mut().zip(sent).zip(&names) {
        caller.peer.answer(tag).unwrap();
        assert_eq!(caller.state(), "timeout", "{name}");
        let took = caller.json("status.json")["duration_ms"].as_u64().unwrap();
        assert!(took < 2000 + SOON.as_millis() as u64, "{name} took {took} ms");
    }
    assert_eq!(place.leftovers(), [""; 0]);
}

/// How fast it answers is the benchmark's business; here, that it does.
fn answers_meanwhile(node: &NodeProcess) {
    let mut peer = spiderweb_testkit::FilePeer::connect(node.addr());
    let file = peer.find(peer.root(), "file");
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        peer.getattr(file).unwrap();
    }
}
