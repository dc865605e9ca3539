//! A driver as a program, for the runtime `native_proc`: `echo '{"text":"hi"}' | shout` prints `{"shouted":"HI"}`.

use std::process::ExitCode;

use spiderweb_driver_sdk::{DriverError, Value, json, serve};

fn shout(mut payload: Value) -> Result<Value, DriverError> {
    match payload.get_mut("text").map(Value::take) {
        Some(Value::String(text)) => Ok(json!({ "shouted": text.to_uppercase() })),
        _ => Err(DriverError::new(2, "payload needs a string: text")),
    }
}

fn main() -> ExitCode {
    serve(shout)
}
