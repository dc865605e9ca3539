//! WebAssembly modules, run in this process by an embedded engine (sections 17.1 and 17.2).
//!
//! A module that speaks the host ABI is asked through it; any other is run as a WASI command without files,
//! environment or network. Every invoke has an instance and outputs of its own.
//!
//! A module runs on a thread of the blocking pool, as a future that gives up the thread when the engine's epoch
//! changes. Nothing changes the epoch but a run that ends before its module does, so nothing ticks while no run is late:
//!
//! ```text
//! runtime:  wait for the thread, the deadline or a cancellation ─► raise the flag, then change the epoch
//! thread:   poll the module ─► it yields at the new epoch, or sleeps ─► see the flag ─► drop the instance
//! ```

mod command;
mod engine;
mod host_abi;
mod limits;
mod trap;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

pub use engine::WasmEngines;

use crate::driver::{BoxFuture, Driver, Ended, Fault, Invoke, Outcome};
use crate::stamp::Stamp;
use crate::wasm::engine::{Program, Settings};
use crate::wasm::limits::MemoryLimits;

/// What a run that came to its deadline says on standard error.
const TIMED_OUT: &str = "wasm venom timed out";

/// Time a module's thread has to notice that its run is over. It takes longer only while a module is being
/// compiled; then the run ends without it, and the next one finds the module ready.
const SETTLE: Duration = Duration::from_millis(500);

/// Runs a module for each invoke.
#[derive(Debug)]
pub struct WasmDriver {
    engines: Arc<WasmEngines>,
    module: PathBuf,
    entrypoint: Option<String>,
    /// The module's file name, then what the manifest adds.
    args: Vec<String>,
    settings: Settings,
    loaded: Mutex<Option<(Stamp, Arc<Program>)>>,
}

/// What one run of a module is given.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) payload: Bytes,
    pub(crate) args: &'a [String],
    pub(crate) entrypoint: &'a str,
    pub(crate) settings: Settings,
}

impl WasmDriver {
    /// A driver that runs this module. `fuel` is the number of instructions one invoke may execute, `max_memory` the
    /// number of bytes its memory may grow to; a module may always have the memory it starts with.
    pub fn new(
        engines: Arc<WasmEngines>,
        module: &Path,
        entrypoint: Option<String>,
        args: Vec<String>,
        fuel: Option<u64>,
        max_memory: Option<u64>,
    ) -> io::Result<Self> {
        let name = module
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Self {
            engines,
            module: std::path::absolute(module)?,
            entrypoint,
            args: std::iter::once(name).chain(args).collect(),
            settings: Settings {
                fuel,
                memory: MemoryLimits::new(max_memory),
            },
            loaded: Mutex::default(),
        })
    }

    /// The module, read and compiled anew only if its file changed. Blocks.
    fn load(&self) -> Result<Arc<Program>, Fault> {
        let stamp = Stamp::of(&self.module)?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, program)) = &*loaded
            && *known == stamp
        {
            return Ok(Arc::clone(program));
        }
        let program = self
            .engines
            .program(&std::fs::read(&self.module)?, self.settings.fuel.is_some())?;
        *loaded = Some((stamp, Arc::clone(&program)));
        Ok(program)
    }

    /// Runs the module on this thread until it ends or `stop` is raised.
    fn work(&self, payload: Bytes, stop: &CancellationToken) -> Worked {
        if stop.is_cancelled() {
            return Worked::Stopped(Vec::new());
        }
        let program = match self.load() {
            Ok(program) => program,
            Err(fault) => return Worked::Ended(Outcome::failed(fault)),
        };
        let question = Question {
            payload,
            args: &self.args,
            entrypoint: self.entrypoint.as_deref().unwrap_or("_start"),
            settings: self.settings,
        };
        let runtime = tokio::runtime::Handle::current();
        match &*program {
            Program::HostAbi(module) => runtime.block_on(host_abi::run(module, question, stop)),
            Program::Command(module) => runtime.block_on(command::run(module, question, stop)),
        }
    }
}

impl Driver for WasmDriver {
    fn run(self: Arc<Self>, invoke: Invoke) -> BoxFuture<Outcome> {
        Box::pin(async move {
            let deadline = Instant::now() + invoke.timeout;
            let brake = Brake::new(&self.engines);
            let stop = brake.stop.clone();
            let payload = invoke.payload;
            let seat = tokio::select! {
                biased;
                seat = self.engines.seat() => seat,
                () = invoke.cancel.cancelled() => return over(Ended::Cancelled, Vec::new()),
                () = sleep_until(deadline) => return over(Ended::TimedOut, Vec::new()),
            };
            let driver = Arc::clone(&self);
            let mut work = tokio::task::spawn_blocking(move || {
                // Until the thread is free, even if the run does not wait for that.
                let _seat = seat;
                driver.work(payload, &stop)
            });
            let ended = tokio::select! {
                biased;
                worked = &mut work => {
                    brake.release();
                    return worked.map_or_else(lost, Worked::into_outcome);
                }
                () = invoke.cancel.cancelled() => Ended::Cancelled,
                () = sleep_until(deadline) => Ended::TimedOut,
            };
            drop(brake);
            // Only work that has not begun can be aborted.
            work.abort();
            let said = match timeout(SETTLE, work).await {
                // It ended by itself at the last moment.
                Ok(Ok(Worked::Ended(outcome))) => return outcome,
                Ok(Ok(Worked::Stopped(said))) => said,
                Ok(Err(_)) | Err(_) => Vec::new(),
            };
            over(ended, said)
        })
    }

    fn check(&self) -> Result<(), Fault> {
        Stamp::of(&self.module).map(drop)
    }
}

/// The outcome of a run that came to no end of its own.
fn over(ended: Ended, said: Vec<u8>) -> Outcome {
    Outcome {
        stderr: match ended {
            Ended::TimedOut => with_line(said, TIMED_OUT),
            _ => said,
        },
        stdout: Vec::new(),
        ended,
    }
}

fn lost(error: tokio::task::JoinError) -> Outcome {
    Outcome::failed(Fault::Io(io::Error::other(error)))
}

/// How a module's thread ended.
pub(crate) enum Worked {
    /// The module came to an end of its own.
    Ended(Outcome),
    /// It was stopped; this is what it had said.
    Stopped(Vec<u8>),
}

impl Worked {
    fn into_outcome(self) -> Outcome {
        match self {
            Self::Ended(outcome) => outcome,
            // Nobody else stops it.
            Self::Stopped(said) => Outcome {
                ended: Ended::Cancelled,
                stdout: Vec::new(),
                stderr: said,
            },
        }
    }
}

/// Stops a run when dropped: with the run's future, or by its deadline.
struct Brake {
    stop: CancellationToken,
    engines: Arc<WasmEngines>,
    is_released: bool,
}

impl Brake {
    fn new(engines: &Arc<WasmEngines>) -> Self {
        Self {
            stop: CancellationToken::new(),
            engines: Arc::clone(engines),
            is_released: false,
        }
    }

    /// The module has ended by itself; no other one needs to look up.
    fn release(mut self) {
        self.is_released = true;
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        if self.is_released {
            return;
        }
        // In this order: a module that yields must find the flag.
        self.stop.cancel();
        for engine in self.engines.all() {
            engine.increment_epoch();
        }
    }
}

/// Adds a line to what a module said on standard error.
pub(crate) fn with_line(mut said: Vec<u8>, line: &str) -> Vec<u8> {
    if said.last().is_some_and(|byte| *byte != b'\n') {
        said.push(b'\n');
    }
    said.extend_from_slice(line.as_bytes());
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::engine::MAX_RUNNING_MODULES;

    #[tokio::test]
    async fn a_module_waits_for_a_thread_no_longer_than_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let module = folder.path().join("module.wasm");
        let command = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
        std::fs::write(&module, command.unwrap()).unwrap();
        let engines = Arc::new(WasmEngines::default());
        let driver = WasmDriver::new(Arc::clone(&engines), &module, None, Vec::new(), None, None);
        let driver = Arc::new(driver.unwrap());
        let run = |timeout| {
            let invoke = Invoke {
                payload: Bytes::new(),
                timeout,
                cancel: CancellationToken::new(),
            };
            Arc::clone(&driver).run(invoke)
        };
        let seats = Arc::clone(&engines.seats);
        let taken = seats.acquire_many(MAX_RUNNING_MODULES as u32).await.unwrap();
        let outcome = run(Duration::from_millis(20)).await;
        assert!(matches!(outcome.ended, Ended::TimedOut), "{outcome:?}");
        let waiting = tokio::spawn(run(Duration::from_secs(60)));
        drop(taken);
        let outcome = waiting.await.unwrap();
        assert!(matches!(outcome.ended, Ended::Exited(0)), "{outcome:?}");
        while seats.available_permits() < MAX_RUNNING_MODULES {
            tokio::task::yield_now().await;
        }
    }
}
