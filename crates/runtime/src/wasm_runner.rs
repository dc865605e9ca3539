//! A WebAssembly module run by a program such as `wasmtime` (section 9.3).

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::driver::{BoxFuture, Driver, Fault, Invoke, Outcome};
use crate::process::{Launch, ProcessDriver};
use crate::spec::Surroundings;

/// Runs a module with a program of the manifest's choice.
#[derive(Debug)]
pub(crate) struct RunnerDriver {
    process: Arc<ProcessDriver>,
    module: PathBuf,
}

impl RunnerDriver {
    pub(crate) fn new(
        program: PathBuf,
        surroundings: Surroundings,
        module: PathBuf,
        entrypoint: Option<String>,
        args: Vec<String>,
    ) -> io::Result<Self> {
        // The module is meant from the node's directory, which the runner may not start in.
        let module = if surroundings.cwd.is_some() {
            std::path::absolute(module)?
        } else {
            module
        };
        let mut argv: Vec<OsString> = vec!["run".into()];
        if let Some(entrypoint) = entrypoint {
            argv.extend(["--invoke".into(), entrypoint.into()]);
        }
        argv.push(module.clone().into());
        argv.extend(args.into_iter().map(OsString::from));
        let process = ProcessDriver::from_launch(Launch {
            program,
            args: argv,
            surroundings,
        });
        Ok(Self {
            process: Arc::new(process),
            module,
        })
    }
}

impl Driver for RunnerDriver {
    fn run(self: Arc<Self>, invoke: Invoke) -> BoxFuture<Outcome> {
        Arc::clone(&self.process).run(invoke)
    }

    fn check(&self) -> Result<(), Fault> {
        if !self.module.metadata()?.is_file() {
            return Err(Fault::AccessDenied);
        }
        self.process.check()
    }
}
