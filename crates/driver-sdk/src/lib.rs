//! A driver of a namespace service in ten lines.
//!
//! A driver is one function: a JSON object comes in, JSON goes out, or a [`DriverError`]. The same function becomes
//!
//! ```text
//! serve(f)            a program: payload on stdin, result on stdout     native_proc, and wasm as a WASI command
//! export_library!(f)  a dynamic library with the C ABI                  native_inproc
//! export_venom!(f)    a WASM module with the host ABI                   wasm, on wasm32-unknown-unknown
//! ```
//!
//! ```no_run
//! use spiderweb_driver_sdk::{DriverError, Value, json, serve};
//!
//! fn shout(mut payload: Value) -> Result<Value, DriverError> {
//!     match payload.get_mut("text").map(Value::take) {
//!         Some(Value::String(text)) => Ok(json!({ "shouted": text.to_uppercase() })),
//!         _ => Err(DriverError::new(2, "payload needs a string: text")),
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     serve(shout)
//! }
//! ```
//!
//! Where a driver wants the payload's bytes as the client wrote them, there is [`serve_bytes`] and
//! `export_library!(bytes: f)`. The contract behind all of this is told in `docs/drivers.md`.
//!
//! This crate depends on nothing else of the project: driver authors do not build our daemon.

pub mod abi;
mod answer;
mod error;
mod export;
mod program;

pub use answer::{answer_json, trim};
pub use error::DriverError;
pub use program::{MAX_PAYLOAD, ReadError, read_payload, serve, serve_bytes};
pub use serde_json::{Value, json};

/// The examples of the page for authors are compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/drivers.md")]
struct Page;
