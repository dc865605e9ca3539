//! How a driver is to be run, with everything its runtime needs and nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The time an invoke has unless its manifest says otherwise (section 3.3).
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The three ways to run a driver.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RuntimeKind {
    /// A program that is started for each invoke.
    NativeProc,
    /// A dynamic library behind the C ABI, in a helper process.
    NativeInproc,
    /// A WebAssembly module.
    Wasm,
}

impl RuntimeKind {
    /// The word in manifests and status texts.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::NativeProc => "native_proc",
            Self::NativeInproc => "native_inproc",
            Self::Wasm => "wasm",
        }
    }

    /// The word for it in `HOST.json` (section 6).
    pub const fn host_kind(self) -> &'static str {
        match self {
            Self::NativeProc => "native_process",
            Self::NativeInproc => "native_plugin",
            Self::Wasm => "wasm",
        }
    }
}

/// How to run the driver of one service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuntimeSpec {
    /// What to run.
    pub driver: DriverSpec,
    /// Time one invoke has; not zero.
    pub timeout: Duration,
    /// Invokes of this service that may run at once; at least 1.
    pub concurrency: usize,
}

/// What to run, with the members its runtime needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DriverSpec {
    /// `native_proc`
    Process(ProcessSpec),
    /// `native_inproc`
    Library(LibrarySpec),
    /// `wasm`
    Wasm(WasmSpec),
}

impl DriverSpec {
    /// Which of the three.
    pub const fn kind(&self) -> RuntimeKind {
        match self {
            Self::Process(_) => RuntimeKind::NativeProc,
            Self::Library(_) => RuntimeKind::NativeInproc,
            Self::Wasm(_) => RuntimeKind::Wasm,
        }
    }
}

/// Where a driver finds itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Surroundings {
    /// Variables set beside those inherited from the node; the node's own secrets are never inherited.
    pub env: BTreeMap<String, String>,
    /// Working directory; the node's when absent.
    pub cwd: Option<PathBuf>,
}

/// A program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessSpec {
    /// Path, relative to the node's working directory, or a bare name that is searched in `PATH`.
    pub executable: PathBuf,
    /// Arguments, passed as they are.
    pub args: Vec<String>,
    /// Its environment.
    pub surroundings: Surroundings,
}

/// A dynamic library.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LibrarySpec {
    /// Path, relative to the node's working directory, or a bare name that the system's loader finds.
    pub library: PathBuf,
    /// The function to call (section 16).
    pub symbol: String,
    /// Start a process for every invoke instead of keeping one that has the library loaded.
    pub fresh: bool,
    /// Its environment.
    pub surroundings: Surroundings,
}

impl LibrarySpec {
    /// The function that is called unless a manifest names another.
    pub const DEFAULT_SYMBOL: &str = "spiderweb_driver_v1_invoke_json";
}

/// A WebAssembly module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WasmSpec {
    /// Path, relative to the node's working directory.
    pub module: PathBuf,
    /// The function to run instead of the default.
    pub entrypoint: Option<String>,
    /// Arguments after the module's name.
    pub args: Vec<String>,
    /// Who runs it.
    pub host: WasmHost,
}

/// Who runs a module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WasmHost {
    /// The node itself.
    Embedded {
        /// Instructions one invoke may execute; unlimited when absent.
        fuel: Option<u64>,
        /// Bytes a memory may grow to.
        max_memory: Option<u64>,
    },
    /// A program such as `wasmtime` (section 9.3).
    Runner {
        /// The program: a path or a bare name.
        program: PathBuf,
        /// Its environment.
        surroundings: Surroundings,
    },
}
