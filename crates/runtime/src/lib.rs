//! Drivers of namespace services: how one is run, when it may run, and what is known about it.
//!
//! A [`Driver`] runs one invoke: payload in, [`Outcome`] out, under a deadline. It knows nothing of files. A
//! [`Service`] decides when it runs, remembers what came of it, and gives the texts that are shown of both; it knows
//! nothing of sockets.

mod driver;
mod drivers;
mod helper;
mod history;
pub mod library;
mod library_helper;
mod output;
mod policy;
mod probe;
mod process;
mod queue;
mod saved;
mod service;
mod settings;
mod spec;
mod stamp;
mod status;
mod system;
pub mod terminal;
#[cfg(feature = "wasm")]
mod wasm;
mod wasm_runner;

pub use driver::{BoxFuture, Driver, Ended, Fault, Invoke, Outcome};
pub use drivers::Drivers;
pub use helper::{HelperCommand, run_helper};
pub use library::LibraryDriver;
pub use policy::{Admission, ControlOp, Ending, Health, Machine, Policy, Stats, Threshold, Verdict};
pub use probe::{Probe, ProbePolicy, ProbeStatus, PublishedState};
pub use process::{ProcessDriver, adopt_orphans};
pub use saved::Saved;
pub use service::{
    Changes, Definition, Host, Journal, Listener, Order, Refusal, Response, Service, Settled, Surface,
};
pub use spec::{
    DEFAULT_TIMEOUT, DriverSpec, LibrarySpec, ProcessSpec, RuntimeKind, RuntimeSpec, Surroundings, WasmHost,
    WasmSpec,
};
pub use terminal::TerminalDriver;
#[cfg(feature = "wasm")]
pub use wasm::{WasmDriver, WasmEngines};
