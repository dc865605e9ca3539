//! The program as a runner runs it, built for this machine.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

fn run(stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_spiderweb-echo-driver-wasm"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // A driver that has read enough closes its end.
    let _ = input.write_all(stdin);
    drop(input);
    child.wait_with_output().unwrap()
}

#[test]
fn what_looks_like_an_object_is_echoed_unchanged() {
    for payload in [
        &b"{}"[..],
        b" {\"b\" : [1, 2.50, true, null] , \"s\":\"x\\ny\"}\n",
        b"{\"a\":1",
        b"{\"a\":1} x",
        b"{\"a\":1,\"a\":2}",
        b"{\"a\":\"\xff\"}",
        b"{\"f\":1e400}",
    ] {
        let output = run(payload);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let echo = [&br#","echo":"#[..], payload.trim_ascii(), b"}"].concat();
        assert!(
            output
                .stdout
                .starts_with(br#"{"ok":true,"driver":"spiderweb-echo-wasm","ts_ms":1"#)
        );
        assert!(output.stdout.ends_with(&echo), "{output:?}");
    }
}

#[test]
fn everything_else_is_refused() {
    for payload in [&b""[..], b"   \n", b"[1]", b"\"x\"", b"null", b"nope"] {
        let output = run(payload);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(output.stderr, b"invoke payload must be a JSON object\n");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_mebibyte_is_the_limit() {
    let mut payload = vec![b'{'; 1024 * 1024];
    assert!(run(&payload).status.success());
    payload.push(b'}');
    let output = run(&payload);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"error: FileTooBig\n");
}
