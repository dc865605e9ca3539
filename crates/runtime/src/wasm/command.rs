//! Modules that are WASI commands: payload on standard input, result on standard output (section 17.1).

use bytes::Bytes;
use spiderweb_protocol::limits::MAX_DRIVER_OUTPUT;
use tokio::io::AsyncWrite;
use tokio_util::sync::CancellationToken;
use wasmtime::{Engine, Error, InstancePre, Linker, Store, Val};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};
use wasmtime_wasi::preview1::{self, WasiP1Ctx};
use wasmtime_wasi::{I32Exit, WasiCtxBuilder, async_trait};

use crate::driver::{Ended, Fault, Outcome};
use crate::output::Stream;
use crate::wasm::engine::store;
use crate::wasm::limits::MemoryLimits;
use crate::wasm::{Question, Worked, trap, with_line};

/// What is said of a function that the module does not export.
const MISSING_FUNCTION: &str = "FunctionIndexOutOfBounds";

/// What one instance has beside its memory.
pub(crate) struct CommandState {
    wasi: WasiP1Ctx,
    memory: MemoryLimits,
}

/// WASI preview 1.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<CommandState>> {
    let mut linker = Linker::new(engine);
    preview1::add_to_linker_async(&mut linker, |state: &mut CommandState| &mut state.wasi)?;
    Ok(linker)
}

/// Runs one invoke.
pub(crate) async fn run(
    module: &InstancePre<CommandState>,
    question: Question<'_>,
    stop: &CancellationToken,
) -> Worked {
    let stdout = Captured::new(Stream::Stdout);
    let stderr = Captured::new(Stream::Stderr);
    let state = CommandState {
        wasi: WasiCtxBuilder::new()
            .args(question.args)
            .stdin(MemoryInputPipe::new(question.payload))
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .build_p1(),
        memory: question.settings.memory,
    };
    let mut store = match store(module.module().engine(), state, question.settings.fuel) {
        Ok(store) => store,
        Err(fault) => return Worked::Ended(Outcome::failed(fault)),
    };
    store.limiter(|state| &mut state.memory);
    let result = tokio::select! {
        biased;
        () = stop.cancelled() => return Worked::Stopped(stderr.contents()),
        result = call(&mut store, module, question.entrypoint) => result,
    };
    let (ended, stderr) = match result {
        Ok(code) => (Ended::Exited(code), stderr.contents()),
        Err(Failure::Fault(fault)) => return Worked::Ended(Outcome::failed(fault)),
        Err(Failure::Died(name)) => {
            let message = format!("zwasm invoke failed: {name}");
            (Ended::Died, with_line(stderr.contents(), &message))
        }
    };
    Worked::Ended(Outcome {
        ended,
        stdout: stdout.contents(),
        stderr,
    })
}

/// Why a command gave no exit code.
enum Failure {
    /// It trapped, or has no such function.
    Died(&'static str),
    /// Its output is of no use.
    Fault(Fault),
}

async fn call(
    store: &mut Store<CommandState>,
    module: &InstancePre<CommandState>,
    entrypoint: &str,
) -> Result<i32, Failure> {
    let instance = match module.instantiate_async(&mut *store).await {
        Ok(instance) => instance,
        Err(error) => return ended(error),
    };
    let function = instance
        .get_func(&mut *store, entrypoint)
        .ok_or(Failure::Died(MISSING_FUNCTION))?;
    let mut results = vec![Val::I32(0); function.ty(&*store).results().len()];
    match function.call_async(&mut *store, &[], &mut results).await {
        Ok(()) => Ok(0),
        Err(error) => ended(error),
    }
}

/// The exit code that a module gave, if this error is its way to do so.
fn ended(error: Error) -> Result<i32, Failure> {
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Ok(*code);
    }
    match trap::fault(error) {
        Fault::Trapped(name) => Err(Failure::Died(name)),
        fault => Err(Failure::Fault(fault)),
    }
}

/// An output of a module. Writing more than the limit ends the run.
#[derive(Clone)]
struct Captured {
    pipe: MemoryOutputPipe,
    stream: Stream,
}

impl Captured {
    fn new(stream: Stream) -> Self {
        Self {
            pipe: MemoryOutputPipe::new(MAX_DRIVER_OUTPUT),
            stream,
        }
    }

    fn contents(&self) -> Vec<u8> {
        self.pipe.contents().into()
    }

    fn too_long(&self) -> StreamError {
        StreamError::Trap(Fault::from(self.stream).into())
    }
}

impl IsTerminal for Captured {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Captured {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        self.pipe.async_stream()
    }
}

impl OutputStream for Captured {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.pipe.write(bytes).map_err(|_| self.too_long())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        self.pipe.check_write().map_err(|_| self.too_long())
    }
}

#[async_trait]
impl Pollable for Captured {
    async fn ready(&mut self) {}
}
