//! The library through its only symbol.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]
#![allow(unsafe_code, reason = "calls the ABI under test")]

use spiderweb_echo_driver_inproc::spiderweb_driver_v1_invoke_json;

/// What a host offers: 1 MiB each.
const CAPACITY: usize = 1024 * 1024;

fn call(payload: &[u8]) -> (i32, Vec<u8>, String) {
    let (mut out, mut err) = (vec![0; CAPACITY], vec![0; CAPACITY]);
    let (mut out_len, mut err_len) = (0, 0);
    // SAFETY: every pointer is valid for the length beside it.
    let code = unsafe {
        spiderweb_driver_v1_invoke_json(
            payload.as_ptr(),
            payload.len(),
            out.as_mut_ptr(),
            CAPACITY,
            &raw mut out_len,
            err.as_mut_ptr(),
            CAPACITY,
            &raw mut err_len,
        )
    };
    out.truncate(out_len);
    err.truncate(err_len);
    (code, out, String::from_utf8(err).unwrap())
}

#[test]
fn what_looks_like_an_object_is_echoed_unchanged() {
    for payload in [
        &b"{}"[..],
        b"{\"a\":1}",
        b" {\"b\" : [1, 2.50, true, null] , \"s\":\"x\\ny\"}\n",
        b"{\"a\":1",
        b"{\"a\":1} x",
        b"{\"a\":1,\"a\":2}",
        b"{\"a\":\"\xff\"}",
        b"{\"f\":1e400}",
    ] {
        let start = &br#"{"ok":true,"driver":"spiderweb-echo-inproc","echo":"#[..];
        let expected = [start, payload.trim_ascii(), b"}"].concat();
        assert_eq!(call(payload), (0, expected, String::new()));
    }
}

#[test]
fn everything_else_is_refused() {
    for (payload, message) in [
        (&b""[..], "payload is empty"),
        (b"   \n", "payload must be a JSON object"),
        (b"[1]", "payload must be a JSON object"),
        (b"\"x\"", "payload must be a JSON object"),
        (b"nope", "payload must be a JSON object"),
    ] {
        assert_eq!(call(payload), (2, Vec::new(), message.to_owned()));
    }
}

#[test]
fn an_echo_that_does_not_fit_is_refused() {
    let around = br#"{"ok":true,"driver":"spiderweb-echo-inproc","echo":}"#.len();
    let mut payload = vec![b'{'; CAPACITY - around];
    assert_eq!(call(&payload).0, 0);
    payload.push(b' ');
    assert_eq!(call(&payload).0, 0, "white space around it does not count");
    payload.push(b'}');
    assert_eq!(
        call(&payload),
        (3, Vec::new(), "output buffer too small".to_owned())
    );
}
