//! The same as a WASM module with the host ABI, for the runtime `wasm` and the target `wasm32-unknown-unknown`.

use spiderweb_driver_sdk::{DriverError, Value, export_venom, json};

fn shout(mut payload: Value) -> Result<Value, DriverError> {
    match payload.get_mut("text").map(Value::take) {
        Some(Value::String(text)) => Ok(json!({ "shouted": text.to_uppercase() })),
        _ => Err(DriverError::new(2, "payload needs a string: text")),
    }
}
export_venom!(shout);
