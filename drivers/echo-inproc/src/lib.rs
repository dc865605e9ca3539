//! The echo driver as a dynamic library (section 15.2).
//!
//! Answers with the payload's text unchanged; beyond its first byte it is not looked at.

use spiderweb_driver_sdk::{DriverError, export_library, trim};

fn echo(payload: &[u8]) -> Result<Vec<u8>, DriverError> {
    if payload.is_empty() {
        return Err(DriverError::new(2, "payload is empty"));
    }
    let object = trim(payload);
    if !object.starts_with(b"{") {
        return Err(DriverError::new(2, "payload must be a JSON object"));
    }
    let start = br#"{"ok":true,"driver":"spiderweb-echo-inproc","echo":"#;
    Ok([start, object, b"}"].concat())
}
export_library!(bytes: echo);
