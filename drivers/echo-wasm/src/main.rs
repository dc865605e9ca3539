//! The echo driver as a WASI command (section 15.3), for `wasm32-wasip1`; on other targets an ordinary program.
//!
//! Answers with the payload's text unchanged, and uses nothing but the standard library, so that the module is small.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use spiderweb_driver_sdk::{DriverError, serve_bytes, trim};

fn main() -> ExitCode {
    serve_bytes(echo)
}

fn echo(payload: &[u8]) -> Result<Vec<u8>, DriverError> {
    let object = trim(payload);
    if !object.starts_with(b"{") {
        return Err(DriverError::new(2, "invoke payload must be a JSON object"));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(0, |time| time.as_millis());
    let start = format!(r#"{{"ok":true,"driver":"spiderweb-echo-wasm","ts_ms":{now_ms},"echo":"#);
    Ok([start.as_bytes(), object, b"}"].concat())
}
