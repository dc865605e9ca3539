//! What an invoke costs in each runtime, beside a bare fork, exec and wait of the same program.
//!
//! `cargo bench -p spiderweb-runtime --bench invoke` prints a line for each: median, 99th percentile, and the median as a
//! multiple of the bare one. The subjects take turns in one run, so that whatever else the machine does falls on all of
//! them; every answer is looked at. `ROUNDS=1000` runs longer.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use spiderweb_runtime::{
    Driver, DriverSpec, Drivers, Ended, HelperCommand, Invoke, LibrarySpec, ProcessSpec, RuntimeSpec,
    Surroundings,
};
use tokio_util::sync::CancellationToken;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PAYLOAD: &str = r#"{"message":"hello"}"#;
const ROUNDS: usize = 300;
const LIMIT: Duration = Duration::from_secs(10);

/// A runtime that echoes.
struct Subject {
    name: &'static str,
    driver: Arc<dyn Driver>,
    times: Vec<Duration>,
}

fn main() -> Outcome<()> {
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: usize = rounds.unwrap_or(ROUNDS);
    let echo = example("echo_process")?;
    let mut subjects = subjects(&echo)?;
    let mut bare = Vec::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // The first round starts helpers and compiles modules.
    for round in 0..=rounds {
        let mut took = spawn_and_wait(&echo)?;
        if round > 0 {
            bare.push(took);
        }
        for subject in &mut subjects {
            took = runtime.block_on(invoke(&subject.driver))?;
            if round > 0 {
                subject.times.push(took);
            }
        }
    }
    let floor = print("bare fork, exec and wait", bare, None);
    for subject in subjects {
        print(subject.name, subject.times, Some(floor));
    }
    Ok(())
}

fn subjects(echo: &Path) -> Outcome<Vec<Subject>> {
    let helper = HelperCommand {
        program: example("helper")?,
    };
    let drivers = Drivers::new(helper, None);
    let library = |fresh| {
        Outcome::Ok(DriverSpec::Library(LibrarySpec {
            library: example("libscripted_library.so")?,
            symbol: LibrarySpec::DEFAULT_SYMBOL.to_owned(),
            fresh,
            surroundings: Surroundings::default(),
        }))
    };
    let process = DriverSpec::Process(ProcessSpec {
        executable: echo.to_owned(),
        args: Vec::new(),
        surroundings: Surroundings::default(),
    });
    let subject = |name, driver| Subject {
        name,
        driver: drivers.build(&RuntimeSpec {
            driver,
            timeout: LIMIT,
            concurrency: 1,
        }),
        times: Vec::new(),
    };
    let mut subjects = vec![
        subject("native_proc", process),
        subject("native_inproc, kept helper", library(false)?),
        subject("native_inproc, fresh helper", library(true)?),
    ];
    #[cfg(feature = "wasm")]
    for (name, module) in wasm::modules()? {
        subjects.push(subject(name, module));
    }
    Ok(subjects)
}

#[cfg(feature = "wasm")]
mod wasm {
    use spiderweb_runtime::{DriverSpec, WasmHost, WasmSpec};

    use super::Outcome;

    /// The prebuilt reference driver, a WASI command, and an echo in the host ABI.
    pub(super) fn modules() -> Outcome<[(&'static str, DriverSpec); 2]> {
        const HOST_ABI: &str = r#"(module
          (memory (export "memory") 1)
          (func (export "spider_venom_alloc") (param i32) (result i32) i32.const 1024)
          (func (export "spider_venom_invoke_json") (param $at i32) (param $length i32) (result i64)
            (i64.or (i64.extend_i32_u (local.get $at)) (i64.shl (i64.extend_i32_u (local.get $length)) (i64.const 32)))))"#;
        let folder = tempfile::tempdir()?.keep();
        let command = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../drivers/echo-wasm/prebuilt/spiderweb-echo-driver-wasm.wasm"
        );
        let host_abi = folder.join("echo.wasm");
        std::fs::write(&host_abi, wat::parse_str(HOST_ABI)?)?;
        let spec = |module| {
            DriverSpec::Wasm(WasmSpec {
                module,
                entrypoint: None,
                args: Vec::new(),
                host: WasmHost::Embedded {
                    fuel: None,
                    max_memory: None,
                },
            })
        };
        Ok([
            ("wasm, WASI command", spec(command.into())),
            ("wasm, host ABI", spec(host_abi)),
        ])
    }
}

/// The least that a process for each invoke can cost.
fn spawn_and_wait(program: &Path) -> Outcome<Duration> {
    let began = Instant::now();
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .ok_or("no input")?
        .write_all(PAYLOAD.as_bytes())?;
    let mut text = String::new();
    child
        .stdout
        .take()
        .ok_or("no output")?
        .read_to_string(&mut text)?;
    let status = child.wait()?;
    if !status.success() || text != PAYLOAD {
        return Err(format!("the program ended with {status} and said {text:?}").into());
    }
    Ok(began.elapsed())
}

async fn invoke(driver: &Arc<dyn Driver>) -> Outcome<Duration> {
    let invoke = Invoke {
        payload: Bytes::from_static(PAYLOAD.as_bytes()),
        timeout: LIMIT,
        cancel: CancellationToken::new(),
    };
    let began = Instant::now();
    let outcome = Arc::clone(driver).run(invoke).await;
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&outcome.stdout);
    if matches!(outcome.ended, Ended::Exited(0)) && said.contains(PAYLOAD) {
        Ok(took)
    } else {
        Err(format!("{:?}: {said}", outcome.ended).into())
    }
}

/// Prints a line and gives the median.
fn print(name: &str, mut times: Vec<Duration>, floor: Option<Duration>) -> Duration {
    times.sort_unstable();
    let at = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        times.get(place).copied().unwrap_or_default()
    };
    let (median, late) = (at(0.5), at(0.99));
    let ratio = floor.map_or(String::new(), |floor| {
        format!("   {:.2} times bare", median.as_secs_f64() / floor.as_secs_f64())
    });
    println!("{name:<28} p50 {median:>9.3?}   p99 {late:>9.3?}{ratio}");
    median
}

/// A program or library that `cargo bench` built from `examples/`.
fn example(name: &str) -> Outcome<PathBuf> {
    let this = std::env::current_exe()?;
    let folder = this.ancestors().nth(2).ok_or("a benchmark in no folder")?;
    let path = folder.join("examples").join(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(format!(
            "{} is missing: cargo build --release --examples -p spiderweb-runtime",
            path.display()
        )
        .into())
    }
}
