//! Programs as drivers: what they are given, how they may misbehave, and that nothing of them is left.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{
    PATIENCE, eventually, invoke, invoke_within, processes_with, run, shell, shell_in, sleep_mark, text,
    variables,
};
use spiderweb_runtime::{Driver, Ended, Fault, ProcessDriver, ProcessSpec, Surroundings};

const LIMIT: usize = 1024 * 1024;

fn program(executable: &str) -> Arc<ProcessDriver> {
    Arc::new(ProcessDriver::new(ProcessSpec {
        executable: executable.into(),
        args: Vec::new(),
        surroundings: Surroundings::default(),
    }))
}

#[tokio::test]
async fn exit_codes_and_outputs_are_the_drivers() {
    for (script, code, stdout, stderr) in [
        ("cat", 0, "payload", ""),
        ("cat >/dev/null", 0, "", ""),
        (
            "printf 'partial'; printf 'exploded\\n' >&2; exit 3",
            3,
            "partial",
            "exploded\n",
        ),
        ("exit 255", 255, "", ""),
        // Never reads, or closes its input at once.
        ("exec <&-; printf ok", 0, "ok", ""),
        ("printf \"$HOME\" >/dev/null; printf '%s' '$HOME'", 0, "$HOME", ""),
    ] {
        let outcome = run(&shell(script), invoke("payload")).await;
        assert!(
            matches!(outcome.ended, Ended::Exited(c) if c == code),
            "{script}: {outcome:?}"
        );
        assert_eq!(
            (text(&outcome.stdout), text(&outcome.stderr)),
            (stdout, stderr),
            "{script}"
        );
    }
}

#[tokio::test]
async fn a_foreign_signal_is_a_death() {
    let outcome = run(&shell("printf before >&2; kill -9 $$"), invoke("")).await;
    assert!(matches!(outcome.ended, Ended::Died), "{outcome:?}");
    assert_eq!(text(&outcome.stderr), "before");
}

#[tokio::test]
async fn bytes_that_are_no_text_pass_unchanged() {
    let bytes = [0xff, 0xfe, 0, b'a'];
    let outcome = run(&shell("cat"), invoke(bytes.to_vec())).await;
    assert_eq!(outcome.stdout, bytes);
}

#[tokio::test]
async fn payloads_larger_than_a_pipe_pass_in_any_order() {
    let payload = vec![b'p'; 900_000];
    for (script, length) in [
        // Echoes while it reads; writes first and reads then; writes first and never reads.
        ("cat", 900_000),
        ("head -c 300000 /dev/zero; cat >/dev/null", 300_000),
        ("head -c 300000 /dev/zero", 300_000),
        ("exec 0<&-; head -c 300000 /dev/zero", 300_000),
    ] {
        let outcome = run(&shell(script), invoke(payload.clone())).await;
        assert!(
            matches!(outcome.ended, Ended::Exited(0)),
            "{script}: {:?}",
            outcome.ended
        );
        assert_eq!(outcome.stdout.len(), length, "{script}");
    }
}

#[tokio::test]
async fn each_output_may_have_exactly_the_limit() {
    for (redirect, fault) in [("", "StdoutStreamTooLong"), (">&2", "StderrStreamTooLong")] {
        let fine = run(
            &shell(&format!("head -c {LIMIT} /dev/zero {redirect}")),
            invoke(""),
        )
        .await;
        assert!(matches!(fine.ended, Ended::Exited(0)), "{:?}", fine.ended);
        assert_eq!(fine.stdout.len() + fine.stderr.len(), LIMIT);
        for script in [
            format!("head -c {} /dev/zero {redirect}", LIMIT + 1),
            format!("exec cat /dev/zero {redirect}"),
        ] {
            let long = run(&shell(&script), invoke("")).await;
            assert!(
                matches!(&long.ended, Ended::Failed(f) if f.to_string() == fault),
                "{:?}",
                long.ended
            );
        }
    }
}

#[tokio::test]
async fn the_deadline_keeps_what_was_said_on_stderr() {
    for script in [
        "printf 'still working' >&2; exec sleep 60",
        // The deadline covers the exit as well, not only the pipes.
        "printf 'still working' >&2; exec 0<&- 1>&- 2>&-; exec sleep 60",
        "trap 'printf \" working\" >&2; exit 0' TERM; printf still >&2; while :; do :; done",
        "trap '' TERM; printf 'still working' >&2; while :; do sleep 60; done",
    ] {
        let before = Instant::now();
        let outcome = run(&shell(script), invoke_within("", Duration::from_millis(400))).await;
        assert!(matches!(outcome.ended, Ended::TimedOut), "{script}: {outcome:?}");
        assert_eq!(text(&outcome.stderr), "still working", "{script}");
        assert!(before.elapsed() >= Duration::from_millis(400));
        assert!(before.elapsed() < PATIENCE / 2);
    }
}

#[tokio::test]
async fn somebody_who_holds_the_pipes_does_not_prolong_a_run() {
    let mark = sleep_mark(1);
    let outcome = run(&shell(&format!("sleep {mark} & printf done")), invoke("")).await;
    assert!(matches!(outcome.ended, Ended::Exited(0)), "{outcome:?}");
    assert_eq!(text(&outcome.stdout), "done");
    assert!(processes_with(&mark).is_empty());
}

#[tokio::test]
async fn a_cancelled_or_dropped_run_leaves_nothing() {
    for is_dropped in [false, true] {
        let mark = sleep_mark(2 + u32::from(is_dropped));
        let driver = shell(&format!("sleep {mark} & sleep {mark}"));
        let asked = invoke("");
        let cancel = asked.cancel.clone();
        let running = tokio::spawn(driver.run(asked));
        eventually("both sleep", || processes_with(&mark).len() >= 3).await;
        if is_dropped {
            running.abort();
            assert!(running.await.unwrap_err().is_cancelled());
        } else {
            cancel.cancel();
            let outcome = running.await.unwrap();
            assert!(matches!(outcome.ended, Ended::Cancelled), "{outcome:?}");
            assert!(processes_with(&mark).is_empty());
        }
        eventually("all are dead", || processes_with(&mark).is_empty()).await;
    }
}

#[tokio::test]
async fn what_cannot_be_started_has_a_name() {
    let root = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str, mode: u32| {
        let path = root.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let folder = root.path().to_str().unwrap().to_owned();
    for (executable, expected, check) in [
        (format!("{folder}/none"), "FileNotFound", "FileNotFound"),
        (format!("{folder}/none/none"), "FileNotFound", "FileNotFound"),
        (
            "no-such-program-anywhere".to_owned(),
            "FileNotFound",
            "FileNotFound",
        ),
        (folder.clone(), "AccessDenied", "AccessDenied"),
        (
            file("plain", "#!/bin/sh\n", 0o644),
            "AccessDenied",
            "AccessDenied",
        ),
        // What only the kernel can tell.
        (file("text", "no program\n", 0o755), "InvalidExe", ""),
        (file("empty", "", 0o755), "InvalidExe", ""),
        (
            file("lost", "#!/no/such/interpreter\n", 0o755),
            "FileNotFound",
            "",
        ),
    ] {
        let driver = program(&executable);
        let outcome = run(&driver, invoke("")).await;
        let Ended::Failed(fault) = &outcome.ended else {
            panic!("{executable}: {outcome:?}");
        };
        assert_eq!(fault.to_string(), expected, "{executable}");
        let checked = driver
            .check()
            .err()
            .map_or_else(String::new, |fault| fault.to_string());
        assert_eq!(checked, check, "{executable}");
    }
    assert!(program("sh").check().is_ok());
}

#[tokio::test]
async fn a_driver_sees_its_surroundings() {
    let cwd = tempfile::tempdir().unwrap();
    let surroundings = Surroundings {
        env: variables([("SPIDERWEB_TOKEN", "given"), ("OTHER", "thing")]),
        cwd: Some(cwd.path().to_owned()),
    };
    let driver = shell_in(
        "printf '%s %s %s' \"$SPIDERWEB_TOKEN\" \"$OTHER\" \"$PWD\"",
        surroundings,
    );
    let outcome = run(&driver, invoke("")).await;
    let cwd = cwd.path().canonicalize().unwrap();
    assert_eq!(text(&outcome.stdout), format!("given thing {}", cwd.display()));

    let missing = Surroundings {
        cwd: Some(cwd.join("none")),
        ..Surroundings::default()
    };
    let outcome = run(&shell_in("true", missing), invoke("")).await;
    assert!(
        matches!(outcome.ended, Ended::Failed(Fault::NotFound)),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_driver_gets_none_of_the_nodes_descriptors() {
    let open = tempfile::NamedTempFile::new().unwrap();
    let script = format!("ls -l /proc/self/fd | grep -c {}", open.path().display());
    let outcome = run(&shell(&script), invoke("")).await;
    assert_eq!(text(&outcome.stdout), "0\n", "{outcome:?}");
}

#[tokio::test]
async fn a_relative_path_starts_from_the_nodes_directory() {
    // The working directory of a test is that of its package.
    let copy = tempfile::NamedTempFile::new_in(".").unwrap().into_temp_path();
    fs::write(&copy, "#!/bin/sh\nprintf found; printf \" $0\" >&2").unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let relative = format!("./{}", copy.file_name().unwrap().to_str().unwrap());
    let driver = Arc::new(ProcessDriver::new(ProcessSpec {
        executable: relative.into(),
        args: Vec::new(),
        surroundings: Surroundings {
            cwd: Some("/".into()),
            ..Surroundings::default()
        },
    }));
    let outcome = run(&driver, invoke("")).await;
    assert_eq!(text(&outcome.stdout), "found", "{outcome:?}");
}
