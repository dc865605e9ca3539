//! The same as a dynamic library with the C ABI, for the runtime `native_inproc`.

use spiderweb_driver_sdk::{DriverError, Value, export_library, json};

fn shout(mut payload: Value) -> Result<Value, DriverError> {
    match payload.get_mut("text").map(Value::take) {
        Some(Value::String(text)) => Ok(json!({ "shouted": text.to_uppercase() })),
        _ => Err(DriverError::new(2, "payload needs a string: text")),
    }
}
export_library!(shout);
