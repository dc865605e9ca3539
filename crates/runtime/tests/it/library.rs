//! Libraries as drivers: the helper by hand, and the node's half around it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spiderweb_runtime::{
    Driver, Ended, Fault, HelperCommand, LibraryDriver, LibrarySpec, Surroundings, library,
};

use crate::support::{
    PATIENCE, eventually, example, invoke, invoke_within, processes_with, run, sleep_mark, text,
};

fn helper() -> HelperCommand {
    HelperCommand {
        program: example("helper"),
    }
}

fn scripted() -> PathBuf {
    example("libscripted_library.so")
}

fn spec(library: impl Into<PathBuf>, fresh: bool) -> LibrarySpec {
    LibrarySpec {
        library: library.into(),
        symbol: LibrarySpec::DEFAULT_SYMBOL.to_owned(),
        fresh,
        surroundings: Surroundings::default(),
    }
}

fn driver(fresh: bool) -> Arc<LibraryDriver> {
    Arc::new(LibraryDriver::new(helper(), spec(scripted(), fresh)).unwrap())
}

fn by_hand(args: &[&str], payload: &[u8]) -> Output {
    let mut child = Command::new(helper().program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A helper that fails early does not read.
    let _ = child.stdin.take().unwrap().write_all(payload);
    child.wait_with_output().unwrap()
}

#[test]
fn the_helper_by_hand_is_the_originals() {
    let library = scripted();
    let library = library.to_str().unwrap();
    let call = &["--internal-inproc-invoke", "--library-path", library][..];
    let long = vec![b' '; 1024 * 1024 + 1];
    for (args, payload, code, stdout, stderr) in [
        (call, &br#"{"a":1}"#[..], 0, r#"{"a":1}"#, ""),
        (call, b"", 0, "", ""),
        (call, br#"{"do":"fail"}"#, 3, "partial", "failed"),
        (call, br#"{"do":"negative"}"#, 255, "kept", ""),
        (call, br#"{"do":"large"}"#, 255, "kept", ""),
        (call, br#"{"do":"print"}"#, 0, "printed answered", "noted erred"),
        (
            call,
            br#"{"do":"above"}"#,
            125,
            "",
            "internal inproc invoke failed: InvalidPayload\n",
        ),
        (
            call,
            &long,
            125,
            "",
            "internal inproc invoke failed: FileTooBig\n",
        ),
        (
            &["--internal-inproc-invoke", "--library-path", "/no/such.so"],
            b"{}",
            125,
            "",
            "internal inproc invoke failed: FileNotFound\n",
        ),
        (
            &[
                "--internal-inproc-invoke",
                "--library-path",
                library,
                "--invoke-symbol",
                "none",
            ],
            b"{}",
            125,
            "",
            "internal inproc invoke failed: MissingSymbol\n",
        ),
        (
            &["--internal-inproc-invoke", "--library-path"],
            b"{}",
            125,
            "",
            "internal inproc invoke failed: InvalidArguments\n",
        ),
        (
            &["--internal-terminal-invoke", "--terminal-id", "7"],
            br#"{"command":"printf x"}"#,
            0,
            r#"{"service":"terminal","terminal_id":"7","operation":"exec","ok":true,"state":"exited","exit_code":0,"stdout":"x","stderr":""}"#,
            "",
        ),
        (
            &["--internal-terminal-invoke", "--terminal-id", "7"],
            b"{}",
            125,
            "",
            "internal terminal invoke failed: InvalidPayload\n",
        ),
        (
            &["--internal-terminal-invoke", "--terminal-id", ""],
            b"{}",
            125,
            "",
            "internal terminal invoke failed: InvalidArguments\n",
        ),
    ] {
        let output = by_hand(args, payload);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        assert_eq!(text(&output.stdout), stdout, "{args:?}");
        assert_eq!(text(&output.stderr), stderr, "{args:?}");
    }
}

#[tokio::test]
async fn both_modes_answer_alike() {
    let longest = vec![b' '; 1024 * 1024];
    let longest = text(&longest);
    let too_long = format!("{longest} ");
    let too_long = too_long.as_str();
    for fresh in [false, true] {
        let driver = driver(fresh);
        for (payload, code, stdout, stderr) in [
            (r#"{"a":1}"#, 0, r#"{"a":1}"#, ""),
            (r#"{"do":"nothing"}"#, 0, "", ""),
            (r#"{"do":"fail"}"#, 3, "partial", "failed"),
            (r#"{"do":"negative"}"#, 255, "kept", ""),
            (r#"{"do":"print"}"#, 0, "printed answered", "noted erred"),
            (r#"{"do":"print"}"#, 0, "printed answered", "noted erred"),
            (
                r#"{"do":"above"}"#,
                125,
                "",
                "internal inproc invoke failed: InvalidPayload\n",
            ),
            (longest, 0, longest, ""),
            (too_long, 125, "", "internal inproc invoke failed: FileTooBig\n"),
            (r#"{"do":"exit"}"#, 9, "leaving", ""),
            (r#"{"do":"read"}"#, 0, "end", ""),
        ] {
            let outcome = run(&driver, invoke(payload.to_owned())).await;
            assert!(
                matches!(outcome.ended, Ended::Exited(c) if c == code),
                "{payload:.40}: {:?}",
                outcome.ended
            );
            assert!(text(&outcome.stdout) == stdout, "{payload:.40}");
            assert_eq!(text(&outcome.stderr), stderr, "{payload:.40}");
        }
        let outcome = run(&driver, invoke(r#"{"do":"abort"}"#)).await;
        assert!(matches!(outcome.ended, Ended::Died), "{outcome:?}");
        assert_eq!(text(&outcome.stderr), "last words");
        let outcome = run(&driver, invoke(r#"{"do":"flood"}"#)).await;
        assert!(
            matches!(outcome.ended, Ended::Failed(Fault::StdoutTooLong)),
            "{:?}",
            outcome.ended
        );
        let hang = invoke_within(r#"{"do":"hang"}"#, Duration::from_millis(300));
        let outcome = run(&driver, hang).await;
        assert!(matches!(outcome.ended, Ended::TimedOut), "{outcome:?}");
        assert_eq!(text(&outcome.stderr), "hanging");
        let mark = sleep_mark(40 + u32::from(fresh));
        let outcome = run(&driver, invoke(format!(r#"{{"do":"spawn {mark}"}}"#))).await;
        assert_eq!(text(&outcome.stdout), "spawned", "{outcome:?}");
        assert!(processes_with(&mark).is_empty());
        let outcome = run(&driver, invoke("{}")).await;
        assert!(
            matches!(outcome.ended, Ended::Exited(0)),
            "the next invoke works: {outcome:?}"
        );
    }
}

async fn pid(driver: &Arc<LibraryDriver>) -> u32 {
    let outcome = run(driver, invoke(r#"{"do":"pid"}"#)).await;
    text(&outcome.stdout).parse().unwrap()
}

#[tokio::test]
async fn a_helper_is_kept_until_something_goes_wrong() {
    let driver = driver(false);
    let first = pid(&driver).await;
    assert_eq!(pid(&driver).await, first);
    run(&driver, invoke(r#"{"do":"print"}"#)).await;
    assert_eq!(pid(&driver).await, first, "success is success");
    let mut second = first;
    for end in ["fail", "negative", "above", "exit", "abort"] {
        run(&driver, invoke(format!(r#"{{"do":"{end}"}}"#))).await;
        let next = pid(&driver).await;
        assert_ne!(next, second, "{end}");
        second = next;
    }
    // Dies while it waits.
    Command::new("kill")
        .args(["-9", &second.to_string()])
        .status()
        .unwrap();
    // The signal was sent; the death comes when the system gets round to it, thread by thread.
    eventually("it is dead", || {
        let threads = fs::read_dir(format!("/proc/{second}/task"));
        threads.into_iter().flatten().flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        })
    })
    .await;
    let third = pid(&driver).await;
    assert_ne!(third, second);
    drop(driver);
    eventually("the end of a driver's helper", || {
        !PathBuf::from(format!("/proc/{third}")).exists()
    })
    .await;
    let driver = self::driver(true);
    assert_ne!(pid(&driver).await, pid(&driver).await, "fresh");
}

#[tokio::test]
async fn a_changed_library_is_loaded_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.so");
    fs::copy(scripted(), &path).unwrap();
    let driver = Arc::new(LibraryDriver::new(helper(), spec(&path, false)).unwrap());
    let first = pid(&driver).await;
    let new = folder.path().join("new.so");
    fs::copy(scripted(), &new).unwrap();
    fs::rename(&new, &path).unwrap();
    assert_ne!(pid(&driver).await, first);
}

#[tokio::test]
async fn many_at_once_have_a_helper_each() {
    let driver = driver(false);
    let runs: Vec<_> = (0..16)
        .map(|number| tokio::spawn(Arc::clone(&driver).run(invoke(format!(r#"{{"n":{number}}}"#)))))
        .collect();
    for (number, run) in runs.into_iter().enumerate() {
        let outcome = run.await.unwrap();
        assert_eq!(
            text(&outcome.stdout),
            format!(r#"{{"n":{number}}}"#),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_loaded_has_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.so");
    fs::write(&garbage, "no library").unwrap();
    let missing = folder.path().join("missing.so");
    for fresh in [false, true] {
        for (library, symbol, expected) in [
            (missing.clone(), LibrarySpec::DEFAULT_SYMBOL, "FileNotFound"),
            (
                folder.path().to_owned(),
                LibrarySpec::DEFAULT_SYMBOL,
                "AccessDenied",
            ),
            (garbage.clone(), LibrarySpec::DEFAULT_SYMBOL, "InvalidExe"),
            (
                PathBuf::from("no-such-library.so"),
                LibrarySpec::DEFAULT_SYMBOL,
                "FileNotFound",
            ),
            (scripted(), "no_such_symbol", "MissingInvokeSymbol"),
        ] {
            let spec = LibrarySpec {
                symbol: symbol.to_owned(),
                ..spec(&library, fresh)
            };
            let driver = Arc::new(LibraryDriver::new(helper(), spec).unwrap());
            let outcome = run(&driver, invoke("{}")).await;
            assert!(
                matches!(&outcome.ended, Ended::Failed(fault) if fault.to_string() == expected),
                "{library:?} {symbol}: {outcome:?}"
            );
            assert_eq!(driver.check().unwrap_err().to_string(), expected);
            assert_eq!(
                library::verify(&helper(), &library, symbol)
                    .unwrap_err()
                    .to_string(),
                expected
            );
        }
        driver(fresh).check().unwrap();
    }
}

#[tokio::test]
async fn a_cancelled_or_dropped_call_ends_the_helper() {
    for is_dropped in [false, true] {
        let driver = driver(false);
        let helper = pid(&driver).await;
        let mark = sleep_mark(42);
        let asked = invoke(format!(r#"{{"do":"hang {mark}"}}"#));
        let cancel = asked.cancel.clone();
        let running = tokio::spawn(Arc::clone(&driver).run(asked));
        eventually("the call", || !processes_with(&mark).is_empty()).await;
        let is_running = || fs::read_to_string(format!("/proc/{helper}/wchan")).is_ok();
        assert!(is_running());
        if is_dropped {
            running.abort();
            assert!(running.await.is_err());
        } else {
            cancel.cancel();
            assert!(matches!(running.await.unwrap().ended, Ended::Cancelled));
        }
        eventually("another helper", || !is_running()).await;
        eventually("the end of its child", || processes_with(&mark).is_empty()).await;
        assert_ne!(pid(&driver).await, helper);
    }
}

#[tokio::test]
async fn a_library_that_never_is_loaded_is_given_up_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let (program, mark) = (folder.path().join("helper"), sleep_mark(41));
    fs::write(&program, format!("#!/bin/sh\nexec sleep {mark}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for fresh in [false, true] {
        let helper = HelperCommand {
            program: program.clone(),
        };
        let driver = Arc::new(LibraryDriver::new(helper, spec(scripted(), fresh)).unwrap());
        let outcome = run(&driver, invoke_within("{}", Duration::from_millis(200))).await;
        assert!(matches!(outcome.ended, Ended::TimedOut), "{outcome:?}");
        let asked = invoke("{}");
        let cancel = asked.cancel.clone();
        let running = tokio::spawn(Arc::clone(&driver).run(asked));
        eventually("a helper", || !processes_with(&mark).is_empty()).await;
        cancel.cancel();
        let outcome = running.await.unwrap();
        assert!(matches!(outcome.ended, Ended::Cancelled), "{outcome:?}");
        eventually("no helper", || processes_with(&mark).is_empty()).await;
    }
}

/// The node of this test is a helper program's parent that is killed: nothing else may end its helper.
#[test]
fn a_helper_ends_with_its_node() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut child = Command::new(helper().program)
        .args(["--internal-inproc-serve", "--library-path"])
        .arg(scripted())
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .spawn_in_its_group();
    let payload = br#"{"do":"hang"}"#;
    let mut question = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
    question.extend(payload);
    (&ours).write_all(&question).unwrap();
    let mut greeting = [1];
    std::io::Read::read_exact(&mut &ours, &mut greeting).unwrap();
    assert_eq!(greeting, [0]);
    // What the system does for a node that dies.
    drop(ours);
    let before = Instant::now();
    child.wait().unwrap();
    assert!(before.elapsed() < PATIENCE);
}

trait OwnGroup {
    fn spawn_in_its_group(&mut self) -> std::process::Child;
}

impl OwnGroup for Command {
    fn spawn_in_its_group(&mut self) -> std::process::Child {
        use std::os::unix::process::CommandExt as _;

        self.stderr(Stdio::null()).process_group(0).spawn().unwrap()
    }
}

#[tokio::test]
async fn kept_helpers_cost_no_more_the_more_often_they_are_used() {
    let driver = driver(false);
    run(&driver, invoke("{}")).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let after_one = tasks();
    for _ in 0..50 {
        run(&driver, invoke("{}")).await;
    }
    assert!(
        tasks() <= after_one + 2,
        "{} tasks, {after_one} after one invoke",
        tasks()
    );
}
