//! That nothing a driver starts outlives its run, whatever it does to get away.
#![cfg(target_os = "linux")]

#[path = "it/support.rs"]
mod support;

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use spiderweb_runtime::{Driver, Ended, adopt_orphans};
use support::{eventually, invoke_within, processes_with, run, shell, sleep_mark, text};

/// Each test looks at all children of this process.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Ignores the request to end, leaves its group and session, forks twice, and hides its environment.
fn hostile(mark: &str) -> String {
    format!(
        "trap '' TERM; \
         setsid sh -c '(trap \"\" TERM; sleep {mark}; sleep {mark}) & (setsid sleep {mark} &) & wait' \
             </dev/null >/dev/null 2>&1 & \
         printf out; printf err >&2; \
         case $(cat) in wait) while :; do sleep {mark}; done;; esac"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_escapes_by_leaving_its_session() {
    let _alone = ALONE.lock().await;
    adopt_orphans().unwrap();
    let mut unrelated = Command::new("sleep").arg("60").spawn().unwrap();
    for (number, payload) in [(1, "exit"), (2, "wait")] {
        let mark = sleep_mark(number);
        let outcome = run(
            &shell(&hostile(&mark)),
            invoke_within(payload, Duration::from_millis(600)),
        )
        .await;
        match payload {
            "exit" => assert!(matches!(outcome.ended, Ended::Exited(0)), "{outcome:?}"),
            _ => assert!(matches!(outcome.ended, Ended::TimedOut), "{outcome:?}"),
        }
        assert_eq!(text(&outcome.stderr), "err");
        assert!(processes_with(&mark).is_empty(), "after {payload}");
    }
    assert!(unrelated.try_wait().unwrap().is_none(), "a stranger was killed");
    unrelated.kill().unwrap();
    unrelated.wait().unwrap();
}

/// How often something is done over and over.
#[expect(clippy::unwrap_used, reason = "whoever sets it sees the failure")]
fn cycles() -> usize {
    std::env::var("SPIDERWEB_STRESS_CYCLES").map_or(200, |text| text.parse().unwrap())
}

/// Started, killed, timed out and dropped, over and over.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_after_many_runs() {
    let _alone = ALONE.lock().await;
    adopt_orphans().unwrap();
    let mark = &sleep_mark(3);
    let scripts = [
        "cat".to_owned(),
        format!("sleep {mark}"),
        format!("sleep {mark} & exit 3"),
        "kill -9 $$".to_owned(),
        hostile(mark),
    ];
    let drivers: Vec<_> = scripts.iter().map(|script| shell(script)).collect();
    let mut running = tokio::task::JoinSet::new();
    for cycle in 0..cycles() {
        while running.len() >= 16 {
            running.join_next().await.unwrap().unwrap();
        }
        let driver = Arc::clone(&drivers[cycle % drivers.len()]);
        let limit = Duration::from_millis(20 + cycle as u64 % 7 * 10);
        running.spawn(async move {
            let run = driver.run(invoke_within("exit", limit));
            if cycle % 3 == 0 {
                let _ = tokio::time::timeout(limit / 2, run).await;
            } else {
                run.await;
            }
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    eventually("all are dead", || {
        processes_with(mark).is_empty()
            && processes_with(&format!("SPIDERWEB_INVOKE_ID={}-", std::process::id())).is_empty()
    })
    .await;
    eventually("no zombie is left", || {
        let children = fs::read_dir("/proc/self/task")
            .unwrap()
            .map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default());
        children.collect::<String>().trim().is_empty()
    })
    .await;
}

/// What leaves its session may be becoming another program at the very moment it is looked at, and has no environment
/// then. While another run is under way there is nothing else to tell it by.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_escapes_by_starting_late_while_others_run() {
    let _alone = ALONE.lock().await;
    adopt_orphans().unwrap();
    let mark = sleep_mark(4);
    let long = invoke_within("", Duration::from_secs(600));
    let end = long.cancel.clone();
    let other = tokio::spawn(shell("sleep 600").run(long));
    let driver = shell(&format!("setsid sleep {mark} >/dev/null 2>&1 & printf fine"));
    for cycle in 0..cycles() {
        let run = Arc::clone(&driver).run(invoke_within("", Duration::from_secs(30)));
        let outcome = run.await;
        assert!(matches!(outcome.ended, Ended::Exited(0)), "{outcome:?}");
        assert!(processes_with(&mark).is_empty(), "after run {cycle}");
    }
    end.cancel();
    assert!(matches!(other.await.unwrap().ended, Ended::Cancelled));
}

/// In a container, or below a first process that never began a session, the session of this process has no number.
#[test]
fn nothing_escapes_where_the_session_has_no_number() {
    let apart = || {
        let mut command = Command::new("unshare");
        command.args([
            "--map-root-user",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
        ]);
        command
    };
    if !apart().arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("not shown: this user may not make a namespace for processes");
        return;
    }
    let there = apart()
        .arg(std::env::current_exe().unwrap())
        .args(["nothing_escapes_by", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&there.stdout);
    assert!(
        there.status.success() && said.contains("2 passed"),
        "{said}{}",
        String::from_utf8_lossy(&there.stderr)
    );
}
