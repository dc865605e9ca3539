//! The C ABI, called as the helper process calls it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]
#![allow(unsafe_code, reason = "calls the ABI under test")]

use std::ffi::c_int;
use std::ptr::{null, null_mut};

use spiderweb_driver_sdk::{DriverError, Value, export_library, json};

#[expect(clippy::needless_pass_by_value, reason = "what a driver looks like")]
fn driver(payload: Value) -> Result<Value, DriverError> {
    match payload["do"].as_str() {
        Some("fail") => Err(DriverError::new(9, "as you wish")),
        Some("panic") => panic!("as you wish"),
        Some("long") => Ok(Value::from("x".repeat(100))),
        _ => Ok(json!({ "echo": payload })),
    }
}
export_library!(driver);

/// Calls with buffers of these sizes and returns the code and what is in them.
fn call(payload: &[u8], out_cap: usize, err_cap: usize) -> (c_int, Vec<u8>, String) {
    // One byte more than the driver is told, to see that it stays untouched.
    let (mut out, mut err) = (vec![0xaa; out_cap + 1], vec![0xaa; err_cap + 1]);
    let (mut out_len, mut err_len) = (0, 0);
    // SAFETY: every pointer is valid for the length beside it.
    let code = unsafe {
        spiderweb_driver_v1_invoke_json(
            payload.as_ptr(),
            payload.len(),
            out.as_mut_ptr(),
            out_cap,
            &raw mut out_len,
            err.as_mut_ptr(),
            err_cap,
            &raw mut err_len,
        )
    };
    assert!(out_len <= out_cap && err_len <= err_cap);
    assert_eq!(
        (out.pop(), err.pop()),
        (Some(0xaa), Some(0xaa)),
        "wrote past the end"
    );
    out.truncate(out_len);
    err.truncate(err_len);
    (code, out, String::from_utf8(err).unwrap())
}

#[test]
fn a_result_is_code_0_and_the_first_buffer() {
    assert_eq!(
        call(br#"{"a":1}"#, 1024, 1024),
        (0, br#"{"echo":{"a":1}}"#.to_vec(), String::new())
    );
}

#[test]
fn a_failure_is_its_code_and_the_second_buffer() {
    for (payload, code, message) in [
        (&br#"{"do":"fail"}"#[..], 9, "as you wish"),
        (b"", 2, "invoke payload must be a JSON object"),
        (b"[]", 2, "invoke payload must be a JSON object"),
        (b"nope", 2, "invoke payload must be valid JSON"),
    ] {
        assert_eq!(call(payload, 1024, 1024), (code, Vec::new(), message.to_owned()));
    }
}

#[test]
fn a_panic_stays_inside() {
    let (code, out, err) = call(br#"{"do":"panic"}"#, 1024, 1024);
    assert_eq!((code, out), (101, Vec::new()));
    assert_eq!(err, "the driver panicked: as you wish");
    // The library still works.
    assert_eq!(call(b"{}", 1024, 1024).0, 0);
}

#[test]
fn a_buffer_that_is_too_small_is_a_failure_and_one_that_just_fits_is_not() {
    assert_eq!(call(br#"{"do":"long"}"#, 102, 64).0, 0);
    assert_eq!(
        call(br#"{"do":"long"}"#, 101, 64),
        (3, Vec::new(), "output buffer too small".to_owned())
    );
    assert_eq!(call(b"{}", 0, 0), (3, Vec::new(), String::new()));
    // A message is cut.
    assert_eq!(call(br#"{"do":"fail"}"#, 64, 2), (9, Vec::new(), "as".to_owned()));
}

#[test]
fn null_pointers_without_a_length_are_fine() {
    // SAFETY: the ABI takes null where the length is 0, and this one forgives missing lengths.
    let code = unsafe {
        spiderweb_driver_v1_invoke_json(null(), 0, null_mut(), 0, null_mut(), null_mut(), 0, null_mut())
    };
    assert_eq!(code, 2);
}
