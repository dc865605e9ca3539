//! The terminal service, by the original's results.

use std::sync::Arc;
use std::time::{Duration, Instant};

use spiderweb_runtime::{Ended, Fault, TerminalDriver};

use crate::support::{PATIENCE, invoke, invoke_within, processes_with, run, sleep_mark, text};

fn terminal() -> Arc<TerminalDriver> {
    Arc::new(TerminalDriver::new("1"))
}

#[tokio::test]
async fn commands_end_as_recorded() {
    let too_long =
        r#""ok":false,"state":"launch_failed","exit_code":-1,"stdout":"","stderr":"StdoutStreamTooLong""#;
    for (payload, expected) in [
        (
            r#"{"command":"echo hello from terminal"}"#,
            r#""ok":true,"state":"exited","exit_code":0,"stdout":"hello from terminal\n","stderr":"""#,
        ),
        (
            r#"{"argv":["/bin/sh","-lc","echo hello"],"cwd":".","max_output_bytes":65536}"#,
            r#""ok":true,"state":"exited","exit_code":0,"stdout":"hello\n","stderr":"""#,
        ),
        (
            r#"{"tool_name":"terminal_exec","arguments":{"command":"echo out; echo err >&2; exit 3"}}"#,
            r#""ok":false,"state":"exited","exit_code":3,"stdout":"out\n","stderr":"err\n""#,
        ),
        (
            r#"{"command":"pwd","cwd":"/"}"#,
            r#""ok":true,"state":"exited","exit_code":0,"stdout":"/\n","stderr":"""#,
        ),
        (
            r#"{"command":"kill -9 $$"}"#,
            r#""ok":false,"state":"terminated","exit_code":-1,"stdout":"","stderr":"""#,
        ),
        (
            r#"{"argv":["/no/such/program"]}"#,
            r#""ok":false,"state":"launch_failed","exit_code":-1,"stdout":"","stderr":"FileNotFound""#,
        ),
        (
            r#"{"command":"echo x","cwd":"/no/such/dir"}"#,
            r#""ok":false,"state":"launch_failed","exit_code":-1,"stdout":"","stderr":"FileNotFound""#,
        ),
        (
            r#"{"argv":["/"]}"#,
            r#""ok":false,"state":"launch_failed","exit_code":-1,"stdout":"","stderr":"AccessDenied""#,
        ),
        (
            r#"{"command":"head -c 101 /dev/zero | tr '\\0' a","max_output_bytes":100}"#,
            too_long,
        ),
        (r#"{"command":"cat /dev/zero"}"#, too_long),
        (
            r#"{"command":"head -c 101 /dev/zero | tr '\\0' e >&2","max_output_bytes":100}"#,
            r#""ok":false,"state":"launch_failed","exit_code":-1,"stdout":"","stderr":"StderrStreamTooLong""#,
        ),
        (
            r#"{"command":"printf '\\377ok'"}"#,
            "\"ok\":true,\"state\":\"exited\",\"exit_code\":0,\"stdout\":\"\u{fffd}ok\",\"stderr\":\"\"",
        ),
        (
            r#"{"command":"cat"}"#,
            r#""ok":true,"state":"exited","exit_code":0,"stdout":"","stderr":"""#,
        ),
    ] {
        let outcome = run(&terminal(), invoke(payload)).await;
        assert!(
            matches!(outcome.ended, Ended::Exited(0)),
            "{payload}: {outcome:?}"
        );
        let head = r#"{"service":"terminal","terminal_id":"1","operation":"exec","#;
        assert_eq!(text(&outcome.stdout), format!("{head}{expected}}}"), "{payload}");
        assert!(outcome.stderr.is_empty());
    }
}

#[tokio::test]
async fn a_payload_without_a_command_is_a_failure() {
    let outcome = run(&terminal(), invoke("{}")).await;
    assert!(matches!(outcome.ended, Ended::Exited(125)), "{outcome:?}");
    assert_eq!(
        text(&outcome.stderr),
        "internal terminal invoke failed: InvalidPayload\n"
    );
}

#[tokio::test]
async fn a_result_too_long_after_escaping_is_a_failure() {
    let payload = r#"{"command":"head -c 300000 /dev/zero","max_output_bytes":1048576}"#;
    let outcome = run(&terminal(), invoke(payload)).await;
    assert!(
        matches!(outcome.ended, Ended::Failed(Fault::StdoutTooLong)),
        "{:?}",
        outcome.ended
    );
}

#[tokio::test]
async fn a_request_may_shorten_its_time() {
    let mark = sleep_mark(20);
    let payload = format!(r#"{{"command":"printf early; sleep {mark} & sleep {mark}","timeout_ms":200}}"#);
    let before = Instant::now();
    let outcome = run(&terminal(), invoke(payload)).await;
    assert!(before.elapsed() < PATIENCE / 2);
    assert!(matches!(outcome.ended, Ended::Exited(0)), "{outcome:?}");
    assert!(
        text(&outcome.stdout).contains(r#""ok":false,"state":"timeout","exit_code":-1,"stdout":"early""#)
    );
    assert!(processes_with(&mark).is_empty());
}

#[tokio::test]
async fn the_services_deadline_ends_the_whole_tree() {
    let mark = sleep_mark(21);
    let payload = format!(r#"{{"command":"sleep {mark} & sleep {mark}","timeout_ms":60000}}"#);
    let outcome = run(&terminal(), invoke_within(payload, Duration::from_millis(200))).await;
    assert!(matches!(outcome.ended, Ended::TimedOut), "{outcome:?}");
    assert!(outcome.stdout.is_empty() && outcome.stderr.is_empty());
    assert!(processes_with(&mark).is_empty());
}
