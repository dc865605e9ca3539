//! What every driver promises, whichever runtime it is run by.

use std::sync::Arc;
use std::time::{Duration, Instant};

use spiderweb_runtime::{
    Driver, DriverSpec, Drivers, Ended, HelperCommand, LibrarySpec, Outcome, ProcessSpec, RuntimeSpec,
    Surroundings,
};

use crate::support::{PATIENCE, eventually, example, invoke, invoke_within, processes_with, run, text};

/// One driver with the payloads that make it do things.
struct Subject {
    driver: Arc<dyn Driver>,
    name: &'static str,
    fail: &'static str,
    hang: &'static str,
    flood: &'static str,
    nothing: &'static str,
}

fn drivers() -> Drivers {
    let helper = HelperCommand {
        program: example("helper"),
    };
    Drivers::new(helper, None)
}

fn built(driver: DriverSpec) -> Arc<dyn Driver> {
    drivers().build(&RuntimeSpec {
        driver,
        timeout: PATIENCE,
        concurrency: 16,
    })
}

fn scripted(name: &'static str, driver: DriverSpec) -> Subject {
    Subject {
        driver: built(driver),
        name,
        fail: r#"{"do":"fail"}"#,
        hang: r#"{"do":"hang"}"#,
        flood: r#"{"do":"flood"}"#,
        nothing: r#"{"do":"nothing"}"#,
    }
}

const SHELL: &str = r#"payload=$(cat)
case $payload in
  *'"fail"'*) printf partial; printf failed >&2; exit 3;;
  *'"hang"'*) trap '' TERM; while :; do sleep 1; done;;
  *'"flood"'*) exec cat /dev/zero;;
  *'"nothing"'*) ;;
  *) printf '%s' "$payload";;
esac"#;

fn library(fresh: bool) -> DriverSpec {
    DriverSpec::Library(LibrarySpec {
        library: example("libscripted_library.so"),
        symbol: LibrarySpec::DEFAULT_SYMBOL.to_owned(),
        fresh,
        surroundings: Surroundings::default(),
    })
}

fn subjects() -> Vec<Subject> {
    vec![
        scripted(
            "process",
            DriverSpec::Process(ProcessSpec {
                executable: "sh".into(),
                args: vec!["-c".to_owned(), SHELL.to_owned()],
                surroundings: Surroundings::default(),
            }),
        ),
        scripted("library", library(false)),
        scripted("library, fresh", library(true)),
        Subject {
            driver: drivers().terminal("1"),
            name: "terminal",
            fail: "{}",
            hang: r#"{"argv":["sleep","3600"]}"#,
            // A flood is a result of the terminal, unless it is long only once it is escaped.
            flood: r#"{"command":"head -c 300000 /dev/zero","max_output_bytes":1048576}"#,
            nothing: r#"{"command":"true"}"#,
        },
        #[cfg(feature = "wasm")]
        wasm("wasm, command", COMMAND),
        #[cfg(feature = "wasm")]
        wasm("wasm, host ABI", HOST_ABI),
    ]
}

#[cfg(feature = "wasm")]
fn wasm(name: &'static str, wat: &str) -> Subject {
    use spiderweb_runtime::{WasmHost, WasmSpec};

    let folder = tempfile::tempdir().unwrap();
    let module = folder.keep().join("module.wasm");
    std::fs::write(&module, wat::parse_str(wat).unwrap()).unwrap();
    scripted(
        name,
        DriverSpec::Wasm(WasmSpec {
            module,
            entrypoint: None,
            args: Vec::new(),
            host: WasmHost::Embedded {
                fuel: None,
                max_memory: None,
            },
        }),
    )
}

/// Does what the eighth byte of its payload says, which it has at 1024.
#[cfg(feature = "wasm")]
const COMMAND: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (func $is (param $letter i32) (result i32)
    (i32.and (i32.eq (i32.load8_u (i32.const 1031)) (local.get $letter))
             (i32.eq (i32.load8_u (i32.const 1026)) (i32.const 100))))
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 65536))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (if (i32.and (call $is (i32.const 102)) (i32.eq (i32.load8_u (i32.const 1032)) (i32.const 97)))
      (then (call $exit (i32.const 3))))
    (if (call $is (i32.const 104)) (then (loop $l (br $l))))
    (if (call $is (i32.const 110)) (then (return)))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (loop $again
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $again (call $is (i32.const 102))))))"#;

#[cfg(feature = "wasm")]
const HOST_ABI: &str = r#"(module
  (memory (export "memory") 2)
  (func $is (param $letter i32) (result i32)
    (i32.and (i32.eq (i32.load8_u (i32.const 1031)) (local.get $letter))
             (i32.eq (i32.load8_u (i32.const 1026)) (i32.const 100))))
  (func (export "spider_venom_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "spider_venom_invoke_json") (param $p i32) (param $l i32) (result i64)
    (if (i32.and (call $is (i32.const 102)) (i32.eq (i32.load8_u (i32.const 1032)) (i32.const 97)))
      (then (unreachable)))
    (if (call $is (i32.const 102)) (then (return (i64.const -1))))
    (if (call $is (i32.const 104)) (then (loop $l (br $l))))
    (if (call $is (i32.const 110)) (then (return (i64.const 0))))
    (i64.or (i64.shl (i64.extend_i32_u (local.get $l)) (i64.const 32)) (i64.extend_i32_u (local.get $p)))))"#;

fn is_success(outcome: &Outcome) -> bool {
    matches!(outcome.ended, Ended::Exited(0))
}

/// Whatever happened before, the next invoke works and finds nothing of it.
async fn works(subject: &Subject) {
    let outcome = run(&subject.driver, invoke(subject.nothing)).await;
    assert!(is_success(&outcome), "{}: {outcome:?}", subject.name);
    assert!(outcome.stderr.is_empty(), "{}: {outcome:?}", subject.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_driver_keeps_the_contract() {
    for subject in subjects() {
        let Subject { driver, name, .. } = &subject;
        driver.check().unwrap();
        works(&subject).await;

        let outcome = run(driver, invoke(subject.fail)).await;
        assert!(!is_success(&outcome), "{name}: {outcome:?}");
        works(&subject).await;

        let outcome = run(driver, invoke(subject.flood)).await;
        assert!(
            matches!(&outcome.ended, Ended::Failed(fault) if fault.to_string() == "StdoutStreamTooLong"),
            "{name}: {:?}",
            outcome.ended
        );
        works(&subject).await;

        let limit = Duration::from_millis(300);
        let before = Instant::now();
        let outcome = run(driver, invoke_within(subject.hang, limit)).await;
        assert!(matches!(outcome.ended, Ended::TimedOut), "{name}: {outcome:?}");
        assert!(
            before.elapsed() >= limit && before.elapsed() < PATIENCE / 2,
            "{name}"
        );
        works(&subject).await;

        for delay in [0, 30] {
            let asked = invoke(subject.hang);
            let cancel = asked.cancel.clone();
            let running = tokio::spawn(Arc::clone(driver).run(asked));
            tokio::time::sleep(Duration::from_millis(delay)).await;
            cancel.cancel();
            let outcome = running.await.unwrap();
            assert!(matches!(outcome.ended, Ended::Cancelled), "{name}: {outcome:?}");

            let run = Arc::clone(driver).run(invoke(subject.hang));
            assert!(
                tokio::time::timeout(Duration::from_millis(delay), run)
                    .await
                    .is_err(),
                "{name}"
            );
        }
        works(&subject).await;

        // Tests beside this one leave nothing either, so this moment comes.
        drop(subject);
        let mark = format!("SPIDERWEB_INVOKE_ID={}-", std::process::id());
        eventually("nothing is left", || processes_with(&mark).is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_at_once_do_not_mix() {
    for subject in subjects() {
        let payload = |number: usize| match subject.name {
            "terminal" => format!(r#"{{"command":"printf '<{number}>'"}}"#),
            _ => format!(r#"{{"n":"<{number}>"}}"#),
        };
        let runs: Vec<_> = (0..16)
            .map(|number| tokio::spawn(Arc::clone(&subject.driver).run(invoke(payload(number)))))
            .collect();
        for (number, run) in runs.into_iter().enumerate() {
            let outcome = run.await.unwrap();
            assert!(is_success(&outcome), "{}: {outcome:?}", subject.name);
            assert!(
                text(&outcome.stdout).contains(&format!("<{number}>")),
                "{}",
                subject.name
            );
        }
    }
}
