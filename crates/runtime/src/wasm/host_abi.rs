//! Modules that speak the host ABI, version 1 (section 17.2).

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use spiderweb_protocol::limits::MAX_DRIVER_OUTPUT;
use tokio_util::sync::CancellationToken;
use wasmtime::{
    Caller, Engine, Extern, Instance, InstancePre, Linker, Memory, Store, TypedFunc, WasmParams, WasmResults,
};

use crate::driver::{Ended, Fault, Outcome};
use crate::wasm::engine::store;
use crate::wasm::limits::MemoryLimits;
use crate::wasm::trap::{OUT_OF_BOUNDS, fault};
use crate::wasm::{Question, Worked};

const HOST: &str = "spider_host_v1";

const ABI_VERSION: &str = "spider_venom_abi_version";
const ALLOC: &str = "spider_venom_alloc";
const INVOKE: &str = "spider_venom_invoke_json";

/// What a module must export to be asked this way.
pub(crate) const REQUIRED: [&str; 2] = [ALLOC, INVOKE];

/// The version of the ABI that this node speaks.
const VERSION: i32 = 1;

/// Log, clock and random; no events.
const CAPABILITIES: i64 = 0b0111;

/// What host functions return.
const DONE: i32 = 0;
const NOT_ALLOWED: i32 = 1;

/// What one instance has beside its memory.
pub(crate) struct HostState {
    memory: MemoryLimits,
    /// `<level>: <text>` lines; what does not fit any more is not kept.
    log: Vec<u8>,
}

/// The functions that a module may import.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(HOST, "spider_host_capabilities", || CAPABILITIES)?;
    linker.func_wrap(HOST, "spider_host_now_ms", || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
    })?;
    linker.func_wrap(HOST, "spider_host_log", log)?;
    linker.func_wrap(HOST, "spider_host_random_fill", random_fill)?;
    linker.func_wrap(HOST, "spider_host_emit_event_json", |_: i32, _: i32| NOT_ALLOWED)?;
    Ok(linker)
}

fn log(mut caller: Caller<'_, HostState>, level: i32, address: i32, length: i32) -> wasmtime::Result<i32> {
    let level = match level {
        10 => "debug",
        30 => "warn",
        40 => "error",
        _ => "info",
    };
    let (memory, state) = memory_and_state(&mut caller)?;
    let text = slice(memory, address, length)?;
    let room = MAX_DRIVER_OUTPUT.saturating_sub(state.log.len());
    if level.len() + 2 + text.len() < room {
        state.log.extend_from_slice(level.as_bytes());
        state.log.extend_from_slice(b": ");
        state.log.extend_from_slice(text);
        state.log.push(b'\n');
    }
    Ok(DONE)
}

fn random_fill(mut caller: Caller<'_, HostState>, address: i32, length: i32) -> wasmtime::Result<i32> {
    let (memory, _) = memory_and_state(&mut caller)?;
    let target = range(memory.len(), address, length).and_then(|range| memory.get_mut(range));
    getrandom::fill(target.ok_or(Fault::Trapped(OUT_OF_BOUNDS))?)?;
    Ok(DONE)
}

fn memory_and_state<'a>(
    caller: &'a mut Caller<'_, HostState>,
) -> Result<(&'a mut [u8], &'a mut HostState), Fault> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    Ok(memory
        .ok_or(Fault::Trapped(OUT_OF_BOUNDS))?
        .data_and_store_mut(caller))
}

/// Addresses and lengths are unsigned.
fn range(memory: usize, address: i32, length: i32) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(address.cast_unsigned()).ok()?;
    let end = start.checked_add(usize::try_from(length.cast_unsigned()).ok()?)?;
    (end <= memory).then_some(start..end)
}

fn slice(memory: &[u8], address: i32, length: i32) -> Result<&[u8], Fault> {
    range(memory.len(), address, length)
        .and_then(|range| memory.get(range))
        .ok_or(Fault::Trapped(OUT_OF_BOUNDS))
}

/// Runs one invoke. The log is of use only when something went wrong.
pub(crate) async fn run(
    module: &InstancePre<HostState>,
    question: Question<'_>,
    stop: &CancellationToken,
) -> Worked {
    let state = HostState {
        memory: question.settings.memory,
        log: Vec::new(),
    };
    let mut store = match store(module.module().engine(), state, question.settings.fuel) {
        Ok(store) => store,
        Err(fault) => return Worked::Ended(Outcome::failed(fault)),
    };
    store.limiter(|state| &mut state.memory);
    let answer = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        answer = ask(&mut store, module, &question.payload) => Some(answer),
    };
    let log = store.into_data().log;
    match answer {
        None => Worked::Stopped(log),
        Some(Ok(stdout)) => Worked::Ended(Outcome {
            ended: Ended::Exited(0),
            stdout,
            stderr: Vec::new(),
        }),
        Some(Err(fault)) => Worked::Ended(Outcome {
            ended: Ended::Failed(fault),
            stdout: Vec::new(),
            stderr: log,
        }),
    }
}

async fn ask(
    store: &mut Store<HostState>,
    module: &InstancePre<HostState>,
    payload: &Bytes,
) -> Result<Vec<u8>, Fault> {
    let instance = module.instantiate_async(&mut *store).await.map_err(fault)?;
    if instance.get_func(&mut *store, ABI_VERSION).is_some() {
        let version = function::<(), i32>(store, &instance, ABI_VERSION)?;
        if version.call_async(&mut *store, ()).await.map_err(fault)? != VERSION {
            return Err(Fault::UnsupportedAbiVersion);
        }
    }
    let alloc = function::<i32, i32>(store, &instance, ALLOC)?;
    let invoke = function::<(i32, i32), i64>(store, &instance, INVOKE)?;
    // A payload is far smaller than any address.
    let length = i32::try_from(payload.len()).map_err(|_| Fault::OutOfMemory)?;
    let address = alloc.call_async(&mut *store, length).await.map_err(fault)?;
    if address == 0 && length > 0 {
        return Err(Fault::OutOfMemory);
    }
    let memory = memory(store, &instance)?;
    let data = memory.data_mut(&mut *store);
    let target = range(data.len(), address, length).and_then(|range| data.get_mut(range));
    target
        .ok_or(Fault::Trapped(OUT_OF_BOUNDS))?
        .copy_from_slice(payload);
    let output = invoke
        .call_async(&mut *store, (address, length))
        .await
        .map_err(fault)?;
    let (address, length) = (output as i32, (output >> 32) as i32);
    if length == 0 {
        return Ok(Vec::new());
    }
    if length.cast_unsigned() as usize > MAX_DRIVER_OUTPUT {
        return Err(Fault::StdoutTooLong);
    }
    if address == 0 {
        return Err(Fault::InvalidOutput);
    }
    slice(memory.data(&*store), address, length).map(<[u8]>::to_vec)
}

fn memory(store: &mut Store<HostState>, instance: &Instance) -> Result<Memory, Fault> {
    instance
        .get_memory(&mut *store, "memory")
        .ok_or(Fault::Trapped(OUT_OF_BOUNDS))
}

/// An export that must be a function of this type.
fn function<P: WasmParams, R: WasmResults>(
    store: &mut Store<HostState>,
    instance: &Instance,
    name: &str,
) -> Result<TypedFunc<P, R>, Fault> {
    instance
        .get_typed_func(&mut *store, name)
        .map_err(|_| Fault::InvalidModule)
}
