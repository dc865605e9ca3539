//! The program as a node runs it: what goes in, what comes out.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

fn run(stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_spiderweb-echo-driver"))
        .arg("ignored")
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

/// The echoed text, of a run that must succeed.
fn echoed(stdin: &[u8]) -> String {
    let output = run(stdin);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let rest = stdout
        .strip_prefix(r#"{"ok":true,"driver":"spiderweb-echo-driver","ts_ms":"#)
        .unwrap();
    let (time, echo) = rest.split_once(r#","echo":"#).unwrap();
    assert!(time.parse::<u64>().unwrap() > 1_600_000_000_000, "{time}");
    echo.strip_suffix('}').unwrap().to_owned()
}

#[test]
fn an_object_is_echoed_in_canonical_form() {
    for (stdin, echo) in [
        ("{}", "{}"),
        (r#"{"a":1}"#, r#"{"a":1}"#),
        (
            " {\"b\" : [1, 2.50, true, null] , \"s\":\"x\\ny\"}\n",
            r#"{"b":[1,2.5,true,null],"s":"x\ny"}"#,
        ),
        (r#"{"u":"\u00e9\ud83d\ude00"}"#, r#"{"u":"é😀"}"#),
        (
            r#"{"n":1e3,"m":0.1,"big":12345678901234567890123}"#,
            r#"{"n":1000,"m":0.1,"big":12345678901234567890123}"#,
        ),
        (
            r#"{"z":{},"e":[], "n": [ [ ] , { } ]}"#,
            r#"{"z":{},"e":[],"n":[[],{}]}"#,
        ),
        (
            r#"{"q":"\"\\\/\b\f\t\u0001\u007f\u2028"}"#,
            "{\"q\":\"\\\"\\\\/\\b\\f\\t\\u0001\u{7f}\u{2028}\"}",
        ),
        (r#"{"f":1e400}"#, r#"{"f":1e400}"#),
        (
            r#"{"f":100000000000000000000.0}"#,
            r#"{"f":100000000000000000000}"#,
        ),
        (
            r#"{"f":[1e21,1e-7,2.0]}"#,
            r#"{"f":[1000000000000000000000,0.0000001,2]}"#,
        ),
        (r#"{"f":1.5e-10}"#, r#"{"f":0.00000000015}"#),
        (r#"{"x":123456789.123456789}"#, r#"{"x":123456789.12345679}"#),
        (r#"{"i":-5,"z":-0,"zf":-0.0}"#, r#"{"i":-5,"z":-0,"zf":-0}"#),
        (r#"{"b":1,"a":2}"#, r#"{"b":1,"a":2}"#),
    ] {
        assert_eq!(echoed(stdin.as_bytes()), echo, "{stdin}");
    }
}

#[test]
fn what_is_no_object_is_refused() {
    const NOT_AN_OBJECT: &str = "invoke payload must be a JSON object\n";
    const NOT_JSON: &str = "invoke payload must be valid JSON\n";
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for (stdin, message) in [
        (&b""[..], NOT_AN_OBJECT),
        (b"   \n", NOT_AN_OBJECT),
        (b"[1]", NOT_AN_OBJECT),
        (b"\"x\"", NOT_AN_OBJECT),
        (b"5", NOT_AN_OBJECT),
        (b"null", NOT_AN_OBJECT),
        (b"nope", NOT_JSON),
        (b"{\"a\":1", NOT_JSON),
        (b"{\"a\":1} x", NOT_JSON),
        (b"{\"a\":1,}", NOT_JSON),
        (b"{\"a\":1,\"a\":2}", NOT_JSON),
        (b"{\"a\":{\"b\":1,\"\\u0062\":2}}", NOT_JSON),
        (b"{\"a\":\"\xff\"}", NOT_JSON),
        (b"{\"a\":\"\x01\"}", NOT_JSON),
        (b"{\"a\":[\"\\ud800\"]}", NOT_JSON),
        (b"\xef\xbb\xbf{}", NOT_JSON),
        (deep.as_bytes(), NOT_JSON),
    ] {
        let output = run(stdin);
        let said = String::from_utf8_lossy(&output.stderr);
        let start = stdin.escape_ascii().take(60).map(char::from).collect::<String>();
        assert_eq!((output.status.code(), &*said), (Some(2), message), "{start}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_mebibyte_is_the_limit() {
    let payload = format!("{{\"x\":\"{}\"}}", "y".repeat(1024 * 1024 - 8));
    assert_eq!(payload.len(), 1024 * 1024);
    assert_eq!(echoed(payload.as_bytes()), payload);
    let output = run(format!("{payload} ").as_bytes());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"error: FileTooBig\n");
    assert!(output.stdout.is_empty());
}
