//! Modules in the embedded engine: the host ABI and WASI commands, by the original's results.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spiderweb_runtime::{Driver, Ended, Fault, WasmDriver, WasmEngines};
use tempfile::TempDir;

use crate::support::{PATIENCE, invoke, invoke_within, run, text};

const START: Duration = Duration::from_millis(300);

/// A module in a file of its own.
struct Module {
    folder: TempDir,
    engines: Arc<WasmEngines>,
}

#[derive(Default)]
struct Options {
    entrypoint: Option<&'static str>,
    args: Vec<String>,
    fuel: Option<u64>,
    max_memory: Option<u64>,
}

impl Module {
    fn new(wat: &str) -> Self {
        let module = Self {
            folder: tempfile::tempdir().unwrap(),
            engines: Arc::new(WasmEngines::new(None)),
        };
        fs::write(module.path(), wat::parse_str(wat).unwrap()).unwrap();
        module
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("module.wasm")
    }

    fn driver(&self, options: Options) -> Arc<WasmDriver> {
        driver(&self.path(), Arc::clone(&self.engines), options)
    }
}

fn driver(path: &Path, engines: Arc<WasmEngines>, options: Options) -> Arc<WasmDriver> {
    let Options {
        entrypoint,
        args,
        fuel,
        max_memory,
    } = options;
    let entrypoint = entrypoint.map(str::to_owned);
    Arc::new(WasmDriver::new(engines, path, entrypoint, args, fuel, max_memory).unwrap())
}

/// A module of the host ABI. Text at 16 is `hello log`, of nine bytes.
fn host_abi(version: &str, alloc: &str, body: &str) -> String {
    format!(
        r#"(module
          (import "spider_host_v1" "spider_host_capabilities" (func $caps (result i64)))
          (import "spider_host_v1" "spider_host_now_ms" (func $now (result i64)))
          (import "spider_host_v1" "spider_host_log" (func $log (param i32 i32 i32) (result i32)))
          (import "spider_host_v1" "spider_host_random_fill" (func $random (param i32 i32) (result i32)))
          (import "spider_host_v1" "spider_host_emit_event_json" (func $emit (param i32 i32) (result i32)))
          (memory (export "memory") 2)
          (data (i32.const 16) "hello log")
          {version}
          (func (export "spider_venom_alloc") (param i32) (result i32) (i32.const {alloc}))
          (func (export "spider_venom_invoke_json") (param $p i32) (param $l i32) (result i64)
            {body}
            (i64.or (i64.shl (i64.extend_i32_u (local.get $l)) (i64.const 32)) (i64.extend_i32_u (local.get $p)))))"#
    )
}

const VERSION_1: &str = r#"(func (export "spider_venom_abi_version") (result i32) (i32.const 1))"#;
const VERSION_2: &str = r#"(func (export "spider_venom_abi_version") (result i32) (i32.const 2))"#;

/// Returns the four bytes at 200.
const RETURN_200: &str = "(return (i64.or (i64.shl (i64.const 4) (i64.const 32)) (i64.const 200)))";

const PAYLOAD: &str = r#"{"a":1}"#;

#[tokio::test]
async fn the_host_abi_answers_as_recorded() {
    let answer = |length: &str, address: &str| {
        format!("(return (i64.or (i64.shl (i64.const {length}) (i64.const 32)) (i64.const {address})))")
    };
    let capabilities = format!(
        "(i32.store (i32.const 200) (i32.add (i32.const 0x30303030) (i32.wrap_i64 (call $caps)))){RETURN_200}"
    );
    let returns = format!(
        "(i32.store (i32.const 200) (i32.add (i32.const 0x30303030) (i32.add (call $emit (i32.const 48) (i32.const 12)) \
         (i32.shl (call $log (i32.const 20) (i32.const 16) (i32.const 9)) (i32.const 8))))){RETURN_200}"
    );
    let clock = "(if (i64.lt_u (call $now) (i64.const 1700000000000)) (then (unreachable)))";
    let random = "(if (call $random (i32.const 300) (i32.const 64)) (then (unreachable))) \
                  (if (i64.eqz (i64.load (i32.const 300))) (then (unreachable)))";
    let grow = "(if (i32.eq (memory.grow (i32.const 4)) (i32.const -1)) \
                (then (return (i64.or (i64.shl (i64.const 9) (i64.const 32)) (i64.const 16)))))";
    let logs = "(drop (call $log (i32.const 30) (i32.const 16) (i32.const 9)))";
    let cap = Some(131_072);
    for (name, wat, max_memory, expected) in [
        ("echo", host_abi(VERSION_1, "4096", ""), None, Ok(PAYLOAD)),
        ("no version", host_abi("", "4096", ""), None, Ok(PAYLOAD)),
        ("log", host_abi(VERSION_1, "4096", logs), None, Ok(PAYLOAD)),
        (
            "empty",
            host_abi(VERSION_1, "4096", "(return (i64.const 0))"),
            None,
            Ok(""),
        ),
        (
            "capabilities",
            host_abi(VERSION_1, "4096", &capabilities),
            None,
            Ok("7000"),
        ),
        ("returns", host_abi(VERSION_1, "4096", &returns), None, Ok("1000")),
        ("clock", host_abi(VERSION_1, "4096", clock), None, Ok(PAYLOAD)),
        ("random", host_abi(VERSION_1, "4096", random), None, Ok(PAYLOAD)),
        ("grow", host_abi(VERSION_1, "4096", grow), None, Ok(PAYLOAD)),
        (
            "grow too far",
            host_abi(VERSION_1, "4096", grow),
            cap,
            Ok("hello log"),
        ),
        (
            "version 2",
            host_abi(VERSION_2, "4096", ""),
            None,
            Err("UnsupportedWasmAbiVersion"),
        ),
        ("no room", host_abi(VERSION_1, "0", ""), None, Err("OutOfMemory")),
        (
            "payload outside",
            host_abi(VERSION_1, "131070", ""),
            None,
            Err("OutOfBoundsMemoryAccess"),
        ),
        (
            "too long",
            host_abi(VERSION_1, "4096", &answer("2000000", "16")),
            None,
            Err("StdoutStreamTooLong"),
        ),
        (
            "nowhere",
            host_abi(VERSION_1, "4096", &answer("5", "0")),
            None,
            Err("service invoke payload invalid"),
        ),
        (
            "outside",
            host_abi(VERSION_1, "4096", &answer("900000", "16")),
            None,
            Err("OutOfBoundsMemoryAccess"),
        ),
        (
            "far outside",
            host_abi(VERSION_1, "4096", &answer("16", "0xffffffff")),
            None,
            Err("OutOfBoundsMemoryAccess"),
        ),
        (
            "trap",
            host_abi(VERSION_1, "4096", "(unreachable)"),
            None,
            Err("Unreachable"),
        ),
        (
            "division",
            host_abi(
                VERSION_1,
                "4096",
                "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
            ),
            None,
            Err("DivisionByZero"),
        ),
        (
            "log outside",
            host_abi(
                VERSION_1,
                "4096",
                "(drop (call $log (i32.const 20) (i32.const 131000) (i32.const 100)))",
            ),
            None,
            Err("OutOfBoundsMemoryAccess"),
        ),
        (
            "unknown import",
            host_abi(VERSION_1, "4096", "").replace("spider_host_now_ms", "spider_host_other"),
            None,
            Err("ImportNotFound"),
        ),
    ] {
        let module = Module::new(&wat);
        let driver = module.driver(Options {
            max_memory,
            ..Options::default()
        });
        let outcome = run(&driver, invoke(PAYLOAD)).await;
        match (&outcome.ended, expected) {
            (Ended::Exited(0), Ok(stdout)) => assert_eq!(text(&outcome.stdout), stdout, "{name}"),
            (Ended::Failed(fault), Err(expected)) => assert_eq!(fault.to_string(), expected, "{name}"),
            _ => panic!("{name}: {outcome:?}"),
        }
        assert!(outcome.stderr.is_empty(), "{name}: {outcome:?}");
    }
}

#[tokio::test]
async fn the_log_is_kept_when_something_goes_wrong() {
    let logs = "(drop (call $log (i32.const 30) (i32.const 16) (i32.const 9))) \
                (drop (call $log (i32.const 99) (i32.const 16) (i32.const 5)))";
    let trap = Module::new(&host_abi(VERSION_1, "4096", &format!("{logs}(unreachable)")));
    let outcome = run(&trap.driver(Options::default()), invoke(PAYLOAD)).await;
    assert!(
        matches!(outcome.ended, Ended::Failed(Fault::Trapped("Unreachable"))),
        "{outcome:?}"
    );
    assert_eq!(text(&outcome.stderr), "warn: hello log\ninfo: hello\n");
    let endless = Module::new(&host_abi(VERSION_1, "4096", &format!("{logs}(loop $l (br $l))")));
    let outcome = run(&endless.driver(Options::default()), invoke_within(PAYLOAD, START)).await;
    assert!(matches!(outcome.ended, Ended::TimedOut), "{outcome:?}");
    assert_eq!(
        text(&outcome.stderr),
        "warn: hello log\ninfo: hello\nwasm venom timed out"
    );
}

const READ: &str =
    r#"(import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))"#;
const WRITE: &str =
    r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))"#;

/// Writes what it reads to this descriptor, then does something else.
fn echo(descriptor: u8, then: &str) -> String {
    format!(
        r#"(module {READ} {WRITE} (memory (export "memory") 2)
          (func (export "_start")
            (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 65536))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (i32.store (i32.const 4) (i32.load (i32.const 8)))
            (drop (call $write (i32.const {descriptor}) (i32.const 0) (i32.const 1) (i32.const 8)))
            {then}))"#
    )
}

#[tokio::test]
async fn commands_end_as_recorded() {
    let exit = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                  (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 3))))"#;
    let flood = format!(
        r#"(module {WRITE} (memory (export "memory") 2)
          (func (export "_start")
            (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 65536))
            (loop $l (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $l))))"#
    );
    let unreachable = r#"(module (memory (export "memory") 1) (func (export "_start") unreachable))"#;
    let endless = r#"(module (func (export "_start") (loop $l (br $l))))"#;
    let other = r#"(module (import "env" "other" (func)) (func (export "_start")))"#;
    for (name, wat, entrypoint, fuel, expected, stdout, stderr) in [
        ("echo", echo(1, ""), None, None, "0", PAYLOAD, ""),
        ("stderr", echo(2, ""), Some("_start"), None, "0", "", PAYLOAD),
        ("metered", echo(1, ""), None, Some(1_000_000), "0", PAYLOAD, ""),
        ("exit", exit.to_owned(), None, None, "3", "", ""),
        (
            "trap",
            unreachable.to_owned(),
            None,
            None,
            "died",
            "",
            "zwasm invoke failed: Unreachable",
        ),
        (
            "trap after words",
            echo(2, "unreachable"),
            None,
            None,
            "died",
            "",
            "{\"a\":1}\nzwasm invoke failed: Unreachable",
        ),
        (
            "no such function",
            echo(1, ""),
            Some("nope"),
            None,
            "died",
            "",
            "zwasm invoke failed: FunctionIndexOutOfBounds",
        ),
        (
            "fuel",
            endless.to_owned(),
            None,
            Some(1000),
            "died",
            "",
            "zwasm invoke failed: FuelExhausted",
        ),
        ("flood", flood, None, None, "StdoutStreamTooLong", "", ""),
        ("import", other.to_owned(), None, None, "ImportNotFound", "", ""),
    ] {
        let module = Module::new(&wat);
        let driver = module.driver(Options {
            entrypoint,
            fuel,
            ..Options::default()
        });
        let outcome = run(&driver, invoke(PAYLOAD)).await;
        let ended = match &outcome.ended {
            Ended::Exited(code) => code.to_string(),
            Ended::Died => "died".to_owned(),
            Ended::Failed(fault) => fault.to_string(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(ended, expected, "{name}");
        assert_eq!(
            (text(&outcome.stdout), text(&outcome.stderr)),
            (stdout, stderr),
            "{name}"
        );
    }
}

/// The start function may not take what the module does not declare, also if it begins with nothing.
#[tokio::test]
async fn a_memory_has_its_ceiling_from_the_start() {
    for (name, start, expected) in [("within", 2, 0), ("beyond", 3, 1), ("all there is", 65_536, 1)] {
        let module = Module::new(&format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
              (memory (export "memory") 0) (global $refused (mut i32) (i32.const 0))
              (func $start (global.set $refused (i32.eq (memory.grow (i32.const {start})) (i32.const -1))))
              (start $start)
              (func (export "_start") (call $exit (global.get $refused))))"#
        ));
        let driver = module.driver(Options {
            max_memory: Some(131_072),
            ..Options::default()
        });
        let outcome = run(&driver, invoke(PAYLOAD)).await;
        assert!(
            matches!(outcome.ended, Ended::Exited(code) if code == expected),
            "{name}: {outcome:?}"
        );
    }
    let large = Module::new(r#"(module (memory (export "memory") 3) (func (export "_start")))"#);
    let driver = large.driver(Options {
        max_memory: Some(65_536),
        ..Options::default()
    });
    let outcome = run(&driver, invoke(PAYLOAD)).await;
    assert!(
        matches!(outcome.ended, Ended::Exited(0)),
        "what it declares it may have: {outcome:?}"
    );
}

#[tokio::test]
async fn a_module_has_one_memory() {
    let module = Module::new(r#"(module (memory (export "memory") 1) (memory 1) (func (export "_start")))"#);
    let outcome = run(&module.driver(Options::default()), invoke(PAYLOAD)).await;
    assert!(
        matches!(outcome.ended, Ended::Failed(Fault::InvalidModule)),
        "the ceiling would count for each: {outcome:?}"
    );
}

#[tokio::test]
async fn a_command_sees_its_arguments_and_nothing_else() {
    let wat = format!(
        r#"(module {WRITE}
          (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_prestat_get" (func $pre (param i32 i32) (result i32)))
          (memory (export "memory") 2)
          (func (export "_start")
            (drop (call $args (i32.const 100) (i32.const 1024)))
            (drop (call $env (i32.const 200) (i32.const 204)))
            (if (i32.load (i32.const 200)) (then unreachable))
            (if (i32.eqz (call $pre (i32.const 3) (i32.const 300))) (then unreachable))
            (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 18))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    );
    let module = Module::new(&wat);
    let driver = module.driver(Options {
        args: vec!["x".to_owned(), "y z".to_owned()],
        ..Options::default()
    });
    let outcome = run(&driver, invoke(PAYLOAD)).await;
    assert!(matches!(outcome.ended, Ended::Exited(0)), "{outcome:?}");
    assert_eq!(text(&outcome.stdout), "module.wasm\0x\0y z\0");
}

/// Sleeps for an hour.
const SLEEPER: &str = r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 3600000000000))
    (drop (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200)))))"#;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlasts_its_deadline() {
    let endless = r#"(module (func (export "_start") (loop $l (br $l))))"#;
    let modules = [endless, SLEEPER].map(Module::new);
    for module in &modules {
        let driver = module.driver(Options::default());
        let before = Instant::now();
        let runs: Vec<_> = (0..4)
            .map(|_| tokio::spawn(Arc::clone(&driver).run(invoke_within(PAYLOAD, START))))
            .collect();
        for run in runs {
            let outcome = run.await.unwrap();
            assert!(matches!(outcome.ended, Ended::TimedOut), "{outcome:?}");
            assert_eq!(text(&outcome.stderr), "wasm venom timed out");
        }
        assert!(before.elapsed() >= START && before.elapsed() < PATIENCE / 2);
        let asked = invoke(PAYLOAD);
        let cancel = asked.cancel.clone();
        let running = tokio::spawn(Arc::clone(&driver).run(asked));
        cancel.cancel();
        assert!(matches!(running.await.unwrap().ended, Ended::Cancelled));
    }
}

#[tokio::test]
async fn a_changed_file_is_compiled_anew_and_a_bad_one_has_a_name() {
    let module = Module::new(&echo(1, ""));
    let driver = module.driver(Options::default());
    assert_eq!(text(&run(&driver, invoke(PAYLOAD)).await.stdout), PAYLOAD);
    fs::write(module.path(), "no module").unwrap();
    let outcome = run(&driver, invoke(PAYLOAD)).await;
    assert!(
        matches!(outcome.ended, Ended::Failed(Fault::InvalidModule)),
        "{outcome:?}"
    );
    driver.check().unwrap();
    fs::remove_file(module.path()).unwrap();
    let outcome = run(&driver, invoke(PAYLOAD)).await;
    assert!(
        matches!(outcome.ended, Ended::Failed(Fault::NotFound)),
        "{outcome:?}"
    );
    assert!(matches!(driver.check(), Err(Fault::NotFound)));
    let folder = self::driver(
        module.folder.path(),
        Arc::clone(&module.engines),
        Options::default(),
    );
    assert!(matches!(folder.check(), Err(Fault::AccessDenied)));
}

#[tokio::test]
async fn compiled_modules_are_kept_on_disk() {
    let cache = tempfile::tempdir().unwrap();
    let module = Module::new(&echo(1, ""));
    for _ in 0..2 {
        let engines = Arc::new(WasmEngines::new(Some(cache.path().to_owned())));
        let driver = driver(&module.path(), engines, Options::default());
        let outcome = run(&driver, invoke(PAYLOAD)).await;
        assert_eq!(text(&outcome.stdout), PAYLOAD, "{outcome:?}");
        assert!(fs::read_dir(cache.path()).unwrap().next().is_some());
    }
}
