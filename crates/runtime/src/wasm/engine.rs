//! Compiled modules, and the engines that compile them.
//!
//! Counting instructions slows every module down, so those with `fuel` have an engine of their own. Both are made when
//! first needed. A module is compiled once per content: in memory for all services that use it, and on disk, if the
//! node has a place for it, for the next start. The files on disk are the engine's own; it checks them against its
//! version, its settings and the content before it trusts them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{Cache, CacheConfig, Config, Engine, InstancePre, Linker, Module, Store, UpdateDeadline};

use crate::driver::Fault;
use crate::wasm::command::{self, CommandState};
use crate::wasm::host_abi::{self, HostState};
use crate::wasm::limits::MemoryLimits;

/// Compiled modules kept in memory, for each engine.
const KEPT_MODULES: usize = 64;

/// Modules that run at a time, in all services of a node together; further ones wait. Each has a thread of the
/// blocking pool, which the files of all sessions and the starts of programs need too.
pub(crate) const MAX_RUNNING_MODULES: usize = 224;

/// What a run may use up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) fuel: Option<u64>,
    pub(crate) memory: MemoryLimits,
}

/// A compiled module, linked with what it imports.
pub(crate) enum Program {
    /// Speaks the host ABI (section 17.2).
    HostAbi(InstancePre<HostState>),
    /// A WASI command.
    Command(InstancePre<CommandState>),
}

impl std::fmt::Debug for Program {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::HostAbi(_) => "HostAbi",
            Self::Command(_) => "Command",
        })
    }
}

/// The engines of one node, with its compiled modules.
#[derive(Debug)]
pub struct WasmEngines {
    cache: Option<PathBuf>,
    plain: OnceLock<Option<Workshop>>,
    metered: OnceLock<Option<Workshop>>,
    /// A permit for each module that may run.
    pub(crate) seats: Arc<Semaphore>,
}

impl Default for WasmEngines {
    fn default() -> Self {
        Self::new(None)
    }
}

impl WasmEngines {
    /// Engines that keep compiled modules in this folder, or in memory alone.
    pub fn new(cache: Option<PathBuf>) -> Self {
        Self {
            cache,
            plain: OnceLock::new(),
            metered: OnceLock::new(),
            seats: Arc::new(Semaphore::new(MAX_RUNNING_MODULES)),
        }
    }

    /// Waits until one more module may run, which is while the value is held. Cancel safe.
    pub(crate) async fn seat(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.seats).acquire_owned().await.ok()
    }

    /// The module with this content, compiled if it is not yet. Blocks.
    pub(crate) fn program(&self, content: &[u8], is_metered: bool) -> Result<Arc<Program>, Fault> {
        let place = if is_metered { &self.metered } else { &self.plain };
        let workshop = place.get_or_init(|| Workshop::new(self.cache.clone(), is_metered));
        workshop.as_ref().ok_or(Fault::Unsupported)?.program(content)
    }

    /// Those that exist.
    pub(crate) fn all(&self) -> Vec<Engine> {
        let engines = [&self.plain, &self.metered].into_iter().filter_map(OnceLock::get);
        engines
            .flatten()
            .map(|workshop| workshop.engine.clone())
            .collect()
    }
}

/// One engine with what it has compiled.
struct Workshop {
    engine: Engine,
    host_abi: Linker<HostState>,
    command: Linker<CommandState>,
    /// By content, the one that was added first in front.
    programs: Mutex<Vec<([u8; 32], Arc<Program>)>>,
}

impl std::fmt::Debug for Workshop {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Workshop")
    }
}

impl Workshop {
    fn new(cache: Option<PathBuf>, is_metered: bool) -> Option<Self> {
        let mut config = Config::new();
        config
            .async_support(true)
            .epoch_interruption(true)
            .consume_fuel(is_metered)
            // The ceiling of `limits` is counted for one memory.
            .wasm_multi_memory(false)
            .wasm_backtrace(false)
            .cache(cache.and_then(open_cache));
        let build = || -> wasmtime::Result<Self> {
            let engine = Engine::new(&config)?;
            Ok(Self {
                host_abi: host_abi::linker(&engine)?,
                command: command::linker(&engine)?,
                programs: Mutex::default(),
                engine,
            })
        };
        build()
            .inspect_err(|error| tracing::error!(%error, "no WebAssembly on this machine"))
            .ok()
    }

    fn program(&self, content: &[u8]) -> Result<Arc<Program>, Fault> {
        let digest: [u8; 32] = Sha256::digest(content).into();
        let known = || {
            let programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
            let program = programs.iter().find(|(known, _)| *known == digest);
            program.map(|(_, program)| Arc::clone(program))
        };
        if let Some(program) = known() {
            return Ok(program);
        }
        let module = Module::from_binary(&self.engine, content).map_err(|error| {
            tracing::debug!(%error, "a module cannot be compiled");
            Fault::InvalidModule
        })?;
        let program = Arc::new(self.link(&module)?);
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if programs.len() >= KEPT_MODULES {
            programs.remove(0);
        }
        programs.push((digest, Arc::clone(&program)));
        Ok(program)
    }

    /// The host ABI is tried first; what it does not fit is a command (section 17.1).
    fn link(&self, module: &Module) -> Result<Program, Fault> {
        if host_abi::REQUIRED
            .iter()
            .all(|name| module.get_export(name).is_some())
            && let Ok(linked) = self.host_abi.instantiate_pre(module)
        {
            return Ok(Program::HostAbi(linked));
        }
        let linked = self.command.instantiate_pre(module).map_err(|error| {
            tracing::debug!(%error, "a module cannot be linked");
            Fault::ImportNotFound
        })?;
        Ok(Program::Command(linked))
    }
}

fn open_cache(folder: PathBuf) -> Option<Cache> {
    let shown = folder.display().to_string();
    let opened = secure(&folder).map_err(wasmtime::Error::from).and_then(|()| {
        let mut config = CacheConfig::new();
        config.with_directory(folder);
        Cache::new(config)
    });
    opened
        .inspect_err(|error| tracing::warn!("{shown}: compiled modules are not kept on disk: {error}"))
        .ok()
}

/// Makes the folder if need be. What is in it runs with the rights of this process, so nobody else may write there.
fn secure(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;

        let metadata = fs::metadata(folder)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            let message = "others may write to the folder; it must belong to this user alone";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
    }
    Ok(())
}

/// A store for one run: with its fuel, and yielding whenever the epoch changes.
pub(crate) fn store<T>(engine: &Engine, state: T, fuel: Option<u64>) -> Result<Store<T>, Fault> {
    let mut store = Store::new(engine, state);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
    store.set_epoch_deadline(1);
    if let Some(fuel) = fuel {
        store.set_fuel(fuel).map_err(|_| Fault::Unsupported)?;
    }
    Ok(store)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_cache_that_others_may_write_to_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        secure(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        secure(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(open_cache(folder).is_none());
    }
}
