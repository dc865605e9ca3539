//! From a specification to the driver that follows it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::driver::{BoxFuture, Driver, Fault, Invoke, Outcome};
use crate::helper::HelperCommand;
use crate::library::{self, LibraryDriver};
use crate::process::ProcessDriver;
use crate::spec::{DriverSpec, RuntimeSpec, WasmHost, WasmSpec};
use crate::terminal::TerminalDriver;
#[cfg(feature = "wasm")]
use crate::wasm::{WasmDriver, WasmEngines};
use crate::wasm_runner::RunnerDriver;

/// Makes the drivers of a node, and holds what they share.
#[derive(Debug)]
pub struct Drivers {
    helper: HelperCommand,
    #[cfg(feature = "wasm")]
    engines: Arc<WasmEngines>,
}

impl Drivers {
    /// Libraries run in `helper`; compiled modules are kept in the folder `cache`, or in memory alone.
    #[cfg_attr(
        not(feature = "wasm"),
        expect(
            unused_variables,
            clippy::needless_pass_by_value,
            reason = "nothing is compiled then"
        )
    )]
    pub fn new(helper: HelperCommand, cache: Option<PathBuf>) -> Self {
        Self {
            helper,
            #[cfg(feature = "wasm")]
            engines: Arc::new(WasmEngines::new(cache)),
        }
    }

    /// The driver for a service. Starts nothing; what cannot be run says so when it is run or checked.
    pub fn build(&self, spec: &RuntimeSpec) -> Arc<dyn Driver> {
        self.try_build(spec)
            .unwrap_or_else(|error| Arc::new(Unusable(error.kind())))
    }

    /// The terminal of this id.
    pub fn terminal(&self, id: &str) -> Arc<dyn Driver> {
        Arc::new(TerminalDriver::new(id))
    }

    /// Fails only if the working directory is gone.
    fn try_build(&self, spec: &RuntimeSpec) -> io::Result<Arc<dyn Driver>> {
        Ok(match spec.driver.clone() {
            DriverSpec::Process(process) => Arc::new(ProcessDriver::new(process)),
            DriverSpec::Library(_) if !library::CAN_OPEN => Arc::new(Unusable(io::ErrorKind::Unsupported)),
            DriverSpec::Library(library) => Arc::new(LibraryDriver::new(self.helper.clone(), library)?),
            DriverSpec::Wasm(wasm) => self.wasm(wasm)?,
        })
    }

    #[cfg_attr(
        not(feature = "wasm"),
        expect(clippy::unused_self, reason = "there are no engines then")
    )]
    fn wasm(&self, spec: WasmSpec) -> io::Result<Arc<dyn Driver>> {
        let WasmSpec {
            module,
            entrypoint,
            args,
            host,
        } = spec;
        match host {
            WasmHost::Runner {
                program,
                surroundings,
            } => {
                let driver = RunnerDriver::new(program, surroundings, module, entrypoint, args)?;
                Ok(Arc::new(driver))
            }
            #[cfg(feature = "wasm")]
            WasmHost::Embedded { fuel, max_memory } => {
                let engines = Arc::clone(&self.engines);
                let driver = WasmDriver::new(engines, &module, entrypoint, args, fuel, max_memory)?;
                Ok(Arc::new(driver))
            }
            #[cfg(not(feature = "wasm"))]
            WasmHost::Embedded { .. } => Ok(Arc::new(Unusable(io::ErrorKind::Unsupported))),
        }
    }
}

/// Stands for a driver that this node cannot make.
#[derive(Debug)]
struct Unusable(io::ErrorKind);

impl Unusable {
    fn fault(&self) -> Fault {
        match self.0 {
            io::ErrorKind::Unsupported => Fault::Unsupported,
            kind => io::Error::from(kind).into(),
        }
    }
}

impl Driver for Unusable {
    fn run(self: Arc<Self>, _invoke: Invoke) -> BoxFuture<Outcome> {
        Box::pin(async move { Outcome::failed(self.fault()) })
    }

    fn check(&self) -> Result<(), Fault> {
        Err(self.fault())
    }
}
