//! A supervised service over a driver that does as it is told.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail; its helpers are outside of test functions"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use spiderweb_protocol::{Dialect, ServiceId};
use spiderweb_runtime::{
    BoxFuture, Definition, Driver, Ended, Fault, Host, Invoke, Journal, Order, Outcome, Refusal, Response,
    RuntimeKind, Saved, Service, Settled, Surface,
};
use tokio::sync::{Notify, oneshot};

/// Ends each invoke when the test says so, with what the test says; or at once when it is cancelled.
#[derive(Default)]
struct Puppet {
    runs: Mutex<VecDeque<(String, oneshot::Sender<Outcome>)>>,
    began: Notify,
}

impl Puppet {
    /// The payload of the next run, and the string to pull.
    async fn next(&self) -> (String, oneshot::Sender<Outcome>) {
        loop {
            let began = self.began.notified();
            if let Some(run) = self.runs.lock().unwrap().pop_front() {
                return run;
            }
            began.await;
        }
    }
}

impl Driver for Puppet {
    fn run(self: Arc<Self>, invoke: Invoke) -> BoxFuture<Outcome> {
        let payload = String::from_utf8(invoke.payload.to_vec()).unwrap();
        let (end, ended) = oneshot::channel();
        self.runs.lock().unwrap().push_back((payload.clone(), end));
        self.began.notify_one();
        Box::pin(async move {
            assert_ne!(payload, r#"{"panic":1}"#, "as the test wants it");
            tokio::select! {
                outcome = ended => outcome.unwrap(),
                () = invoke.cancel.cancelled() => Outcome {
                    ended: Ended::Cancelled,
                    stdout: Vec::new(),
                    stderr: Vec::new(),
                },
            }
        })
    }

    fn check(&self) -> Result<(), Fault> {
        Ok(())
    }
}

fn outcome(ended: Ended, stdout: &str, stderr: &str) -> Outcome {
    Outcome {
        ended,
        stdout: stdout.into(),
        stderr: stderr.into(),
    }
}

fn good(stdout: &str) -> Outcome {
    outcome(Ended::Exited(0), stdout, "ignored")
}

/// Stores when it is allowed to.
#[derive(Default)]
struct Notes {
    saved: Mutex<Vec<Saved>>,
    gate: Arc<Notify>,
}

impl Journal for Notes {
    fn record(&self, _: &ServiceId, saved: Saved) -> BoxFuture<()> {
        self.saved.lock().unwrap().push(saved);
        let gate = self.gate.clone();
        Box::pin(async move { gate.notified().await })
    }
}

struct Scene {
    driver: Arc<Puppet>,
    service: Service,
    told: Arc<Mutex<Vec<Surface>>>,
}

fn definition(driver: Arc<Puppet>, concurrency: usize) -> Definition {
    Definition {
        dialect: Dialect::Seed,
        id: ServiceId::new("demo").unwrap(),
        runtime: RuntimeKind::NativeProc,
        timeout: Duration::from_secs(30),
        concurrency,
        driver,
    }
}

fn host(journal: Option<Arc<dyn Journal>>) -> Host {
    Host {
        spawn: Arc::new(|task| drop(tokio::spawn(task))),
        now_ms: || 1_000_000,
        journal,
    }
}

impl Scene {
    fn new(concurrency: usize, journal: Option<Arc<dyn Journal>>, saved: Option<Saved>) -> Self {
        let driver = Arc::new(Puppet::default());
        let service = Service::new(definition(driver.clone(), concurrency), host(journal), saved);
        let told = Arc::new(Mutex::new(Vec::new()));
        let ears = told.clone();
        service.listen(Box::new(move |changed| ears.lock().unwrap().extend(changed)));
        Self {
            driver,
            service,
            told,
        }
    }

    fn invoke_as(&self, payload: &str, name: Option<&str>, writer: u64) -> Response {
        self.service.act(Order::Invoke {
            content: Bytes::copy_from_slice(payload.as_bytes()),
            name: name.map(Into::into),
            writer,
        })
    }

    fn invoke(&self, payload: &str) -> BoxFuture<Settled> {
        match self.invoke_as(payload, None, 1) {
            Response::Pending { end, .. } => end,
            Response::Settled(settled) => panic!("{settled:?}"),
        }
    }

    fn order(&self, order: Order) -> Settled {
        match self.service.act(order) {
            Response::Settled(settled) => settled,
            Response::Pending { .. } => panic!("nothing to wait for"),
        }
    }

    fn configure(&self, text: &'static str) {
        self.order(Order::Configure(Bytes::from_static(text.as_bytes())))
            .result
            .unwrap();
    }

    fn text(&self, surface: Surface) -> String {
        String::from_utf8(self.service.text(surface).to_vec()).unwrap()
    }
}

#[tokio::test]
async fn a_success_shows_in_every_file() {
    let scene = Scene::new(1, None, None);
    let Response::Pending { changed, end } = scene.invoke_as("  {\"a\":1}\n", None, 1) else {
        panic!("it runs")
    };
    assert_eq!(changed.to_vec(), [Surface::Status]);
    let (payload, pull) = scene.driver.next().await;
    assert_eq!(payload, "{\"a\":1}", "trimmed, and nothing else");
    assert!(
        scene
            .text(Surface::Status)
            .starts_with(r#"{"state":"running","service_id":"demo""#)
    );
    assert!(
        scene
            .text(Surface::Metrics)
            .ends_with(r#""consecutive_timeouts":0}"#)
    );
    pull.send(good("")).unwrap();
    let settled = end.await;
    settled.result.unwrap();
    assert_eq!(
        settled.changed.to_vec(),
        [
            Surface::Result,
            Surface::LastError,
            Surface::Status,
            Surface::Metrics,
            Surface::Health
        ]
    );
    assert_eq!(scene.text(Surface::Result), "{}", "no output is an empty object");
    assert_eq!(scene.text(Surface::LastError), "");
    assert!(scene.text(Surface::Status).contains(r#""state":"ok""#));
    assert!(scene.text(Surface::Status).contains(r#""bytes":2,"exit_code":0"#));
    assert!(scene.text(Surface::Metrics).ends_with(r#""last_exit_code":0}"#));
}

#[tokio::test]
async fn failures_are_told_by_the_files_and_launch_faults_by_the_answer_too() {
    let scene = Scene::new(1, None, None);
    for (ended, stderr, last_error, status) in [
        (
            Ended::Exited(3),
            "broken\n",
            "broken\n",
            r#""state":"error","reason":"invoke_error""#,
        ),
        (Ended::Died, "", "service process failed", r#""exit_code":-1"#),
        (
            Ended::TimedOut,
            "",
            "service invocation terminated after timeout_ms",
            r#""state":"timeout","reason":"timeout""#,
        ),
        (
            Ended::Cancelled,
            "",
            "service invocation cancelled",
            r#""reason":"cancelled""#,
        ),
    ] {
        let end = scene.invoke("{}");
        let (_, pull) = scene.driver.next().await;
        pull.send(outcome(ended, "dropped", stderr)).unwrap();
        let settled = end.await;
        settled.result.unwrap();
        assert_eq!(settled.changed.len(), 4, "all but the result");
        assert_eq!(scene.text(Surface::LastError), last_error);
        assert!(
            scene.text(Surface::Status).contains(status),
            "{}",
            scene.text(Surface::Status)
        );
        assert_eq!(scene.text(Surface::Result), r#"{"state":"idle"}"#);
    }
    let end = scene.invoke("{}");
    let (_, pull) = scene.driver.next().await;
    pull.send(outcome(Ended::Failed(Fault::NotFound), "", ""))
        .unwrap();
    assert!(matches!(end.await.result, Err(Refusal::Driver(Fault::NotFound))));
    assert_eq!(scene.text(Surface::LastError), "FileNotFound");
    assert!(
        scene
            .text(Surface::Status)
            .contains(r#""state":"error","reason":"invoke_error""#)
    );
    let stats = scene.service.machine().stats;
    assert_eq!(
        (stats.failures_total, stats.timeouts_total, stats.invokes_total),
        (4, 1, 5)
    );
}

#[tokio::test]
async fn the_checks_come_in_their_order() {
    let scene = Scene::new(1, None, None);
    let refuse = |payload: &str| match scene.invoke_as(payload, None, 1) {
        Response::Settled(settled) => settled,
        Response::Pending { .. } => panic!("{payload} runs"),
    };
    scene.configure(r#"{"supervision":{"cooldown_ms":5000}}"#);
    let end = scene.invoke("{}");
    scene
        .driver
        .next()
        .await
        .1
        .send(outcome(Ended::Died, "", ""))
        .unwrap();
    end.await.result.unwrap();

    let cooling = refuse("not looked at");
    assert!(matches!(cooling.result, Err(Refusal::CoolingDown)));
    assert_eq!(
        cooling.changed.to_vec(),
        [Surface::Status, Surface::LastError, Surface::Health]
    );
    assert!(
        scene
            .text(Surface::Status)
            .starts_with(r#"{"state":"backoff","reason":"cooldown""#)
    );

    scene.order(Order::Disable).result.unwrap();
    let denied = refuse("not looked at");
    assert!(matches!(denied.result, Err(Refusal::Disabled)));
    assert_eq!(
        denied.changed.to_vec(),
        [Surface::LastError, Surface::Status, Surface::Health]
    );
    assert_eq!(scene.text(Surface::LastError), "service runtime disabled");

    scene.order(Order::Enable).result.unwrap();
    assert_eq!(scene.text(Surface::Status), r#"{"state":"idle"}"#);
    assert!(refuse(" \n\t\r").result.is_ok(), "nothing to run");
    for (payload, incomplete) in [
        ("[]", false),
        ("{\"a\":", true),
        ("{} {}", false),
        ("{\"a\":1,\"a\":2}", false),
    ] {
        let refused = refuse(payload);
        assert!(refused.changed.is_empty());
        match refused.result {
            Err(Refusal::Incomplete) => assert!(incomplete, "{payload}"),
            Err(Refusal::Invalid) => assert!(!incomplete, "{payload}"),
            other => panic!("{payload}: {other:?}"),
        }
    }
    assert_eq!(scene.service.machine().stats.invokes_total, 1);
}

#[tokio::test]
async fn invokes_take_turns_and_each_writer_finds_its_own_record() {
    let scene = Scene::new(1, None, None);
    let first = scene.invoke("{\"n\":1}");
    let Response::Pending { changed, end: named } = scene.invoke_as("{\"n\":2}", Some("mine"), 2) else {
        panic!("it waits")
    };
    assert!(changed.is_empty(), "nothing has begun");
    let (_, pull) = scene.driver.next().await;
    assert!(scene.driver.runs.lock().unwrap().is_empty(), "one at a time");
    pull.send(good("one")).unwrap();
    first.await.result.unwrap();
    let (payload, pull) = scene.driver.next().await;
    assert_eq!(payload, "{\"n\":2}");
    assert_eq!(
        *scene.told.lock().unwrap(),
        [Surface::Status],
        "others hear of its start"
    );
    pull.send(good("two")).unwrap();
    named.await.result.unwrap();
    let third = scene.invoke("{\"n\":3}");
    scene.driver.next().await.1.send(good("three")).unwrap();
    third.await.result.unwrap();

    assert_eq!(
        scene.service.past(),
        [(1, "1".into()), (2, "mine".into()), (3, "3".into())]
    );
    let record = String::from_utf8(scene.service.record(2).unwrap().to_vec()).unwrap();
    assert!(record.starts_with(r#"{"invoke":"mine","number":2,"state":"ok","exit_code":0"#));
    assert!(record.contains(r#""result":"two""#));
}

#[tokio::test]
async fn a_manifest_may_allow_several_at_once_and_the_queue_is_bounded() {
    let scene = Scene::new(2, None, None);
    let ends: Vec<_> = (0..66).map(|_| scene.invoke("{}")).collect();
    assert!(matches!(
        scene.invoke_as("{}", None, 1),
        Response::Settled(Settled {
            result: Err(Refusal::QueueFull),
            ..
        })
    ));
    let (a, b) = (scene.driver.next().await, scene.driver.next().await);
    assert!(scene.driver.runs.lock().unwrap().is_empty());
    scene.service.stop();
    let stopped = futures_count(ends).await;
    assert_eq!(stopped, (2, 64), "two were cancelled, the others never ran");
    drop((a, b));
    assert!(matches!(
        scene.invoke_as("{}", None, 1),
        Response::Settled(Settled {
            result: Err(Refusal::Stopping),
            ..
        })
    ));
}

/// How many ended well, and how many because the node stops.
async fn futures_count(ends: Vec<BoxFuture<Settled>>) -> (usize, usize) {
    let (mut well, mut stopping) = (0, 0);
    for end in ends {
        match end.await.result {
            Ok(()) => well += 1,
            Err(Refusal::Stopping) => stopping += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    (well, stopping)
}

#[tokio::test]
async fn cancel_stops_what_it_names() {
    let scene = Scene::new(1, None, None);
    let running = scene.invoke("{\"n\":1}");
    let Response::Pending { end: waiting, .. } = scene.invoke_as("{\"n\":2}", Some("later"), 2) else {
        panic!("it waits")
    };
    let cancel = |what: &'static str| scene.order(Order::Cancel(Bytes::from_static(what.as_bytes())));
    assert!(matches!(cancel("17").result, Err(Refusal::NoSuchInvoke)));
    cancel("later\n").result.unwrap();
    waiting.await.result.unwrap();
    cancel("1").result.unwrap();
    running.await.result.unwrap();
    assert!(scene.text(Surface::Status).contains(r#""reason":"cancelled""#));
    assert_eq!(scene.service.machine().stats.failures_total, 0);
    cancel("").result.unwrap();
}

#[tokio::test]
async fn what_is_disabled_while_it_runs_stays_disabled() {
    let scene = Scene::new(1, None, None);
    let running = scene.invoke("{}");
    let waiting = scene.invoke("{}");
    let (_, pull) = scene.driver.next().await;
    scene.order(Order::Disable).result.unwrap();
    assert!(scene.text(Surface::Status).contains("offline"));
    pull.send(good("late")).unwrap();
    running.await.result.unwrap();
    assert!(matches!(waiting.await.result, Err(Refusal::Disabled)));
    assert_eq!(scene.text(Surface::Result), "late");
    assert_eq!(
        scene.text(Surface::Status),
        r#"{"state":"offline","reason":"disabled"}"#
    );
}

#[tokio::test]
async fn an_answer_waits_for_the_journal_and_what_it_keeps_comes_back() {
    let notes = Arc::new(Notes::default());
    let scene = Scene::new(1, Some(notes.clone()), None);
    let end = scene.invoke("{}");
    let (_, pull) = scene.driver.next().await;
    pull.send(good("kept")).unwrap();
    let mut answer = tokio::spawn(end);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), &mut answer)
            .await
            .is_err()
    );
    notes.gate.notify_one();
    answer.await.unwrap().result.unwrap();

    let Response::Pending { changed, end } = scene.service.act(Order::Disable) else {
        panic!("it is stored first")
    };
    assert_eq!(changed.to_vec(), [Surface::Status, Surface::Health]);
    notes.gate.notify_one();
    end.await.result.unwrap();

    let saved = notes.saved.lock().unwrap().last().cloned().unwrap();
    let again = Scene::new(1, None, Some(saved));
    for surface in [
        Surface::Result,
        Surface::LastError,
        Surface::Status,
        Surface::Metrics,
        Surface::Config,
        Surface::Health,
    ] {
        assert_eq!(again.text(surface), scene.text(surface), "{surface:?}");
    }
}

#[tokio::test]
async fn a_running_invoke_is_stored_as_if_it_had_not_begun() {
    let notes = Arc::new(Notes::default());
    let scene = Scene::new(1, Some(notes.clone()), None);
    let _end = scene.invoke("{}");
    let saved = scene.service.saved();
    assert_eq!(saved.status, r#"{"state":"idle"}"#);
    assert_eq!((saved.stats.invokes_total, saved.stats.last_started_ms), (0, 0));
}

#[tokio::test]
async fn a_driver_that_panics_or_whose_writer_left_ends_like_any_other() {
    let scene = Scene::new(1, None, None);
    let end = scene.invoke(r#"{"panic":1}"#);
    assert!(matches!(end.await.result, Err(Refusal::Driver(_))));
    scene.driver.next().await;
    drop(scene.invoke("{}"));
    let (_, pull) = scene.driver.next().await;
    pull.send(good("unasked")).unwrap();
    let end = scene.invoke("{}");
    scene.driver.next().await.1.send(good("asked")).unwrap();
    end.await.result.unwrap();
    assert!(
        scene.told.lock().unwrap().contains(&Surface::Result),
        "everybody is told of what nobody waited for"
    );
    assert_eq!(scene.text(Surface::Result), "asked");
}

#[tokio::test]
async fn a_new_definition_leaves_everything_but_itself() {
    let scene = Scene::new(1, None, None);
    scene.configure(r#"{"k":1}"#);
    let running = scene.invoke("{}");
    let (_, pull) = scene.driver.next().await;
    let other = Arc::new(Puppet::default());
    scene.service.redefine(Definition {
        timeout: Duration::from_millis(7),
        ..definition(other.clone(), 1)
    });
    assert!(scene.service.set_manifest_error(Some("line 3".to_owned())));
    assert!(!scene.service.set_manifest_error(Some("line 3".to_owned())));
    assert!(scene.text(Surface::Health).contains(r#""timeout_ms":7"#));
    assert!(
        scene
            .text(Surface::Health)
            .contains(r#""manifest_error":"line 3""#)
    );
    pull.send(good("by the old driver")).unwrap();
    running.await.result.unwrap();
    assert_eq!(scene.text(Surface::Config), r#"{"k":1}"#);
    let end = scene.invoke("{}");
    other.next().await.1.send(good("by the new one")).unwrap();
    end.await.result.unwrap();
    assert_eq!(scene.text(Surface::Result), "by the new one");
}

#[tokio::test]
async fn a_writer_that_waited_is_told_all_that_its_invoke_changed() {
    let scene = Scene::new(1, None, None);
    let first = scene.invoke("{}");
    let Response::Pending { changed, end: second } = scene.invoke_as("{}", None, 2) else {
        panic!("it waits")
    };
    assert!(changed.is_empty(), "nothing happened yet");
    let third = scene.invoke("{}");
    scene.driver.next().await.1.send(good("1")).unwrap();
    first.await.result.unwrap();
    let (_, pull) = scene.driver.next().await;
    assert_eq!(
        scene.told.lock().unwrap().clone(),
        [Surface::Status],
        "others see it run"
    );
    // The third is refused at its turn.
    scene.order(Order::Disable).result.unwrap();
    pull.send(good("2")).unwrap();
    assert_eq!(
        second.await.changed.to_vec(),
        [
            Surface::Status,
            Surface::Result,
            Surface::LastError,
            Surface::Status,
            Surface::Metrics,
            Surface::Health
        ]
    );
    let third = third.await;
    assert!(matches!(third.result, Err(Refusal::Disabled)), "{third:?}");
    assert_eq!(
        third.changed.to_vec(),
        [Surface::LastError, Surface::Status, Surface::Health]
    );
}

#[tokio::test]
async fn what_was_retired_stores_nothing_and_does_nothing() {
    let notes = Arc::new(Notes::default());
    let scene = Scene::new(1, Some(notes.clone()), None);
    let end = scene.invoke("{}");
    let (_, pull) = scene.driver.next().await;
    scene.service.retire();
    pull.send(good("late")).unwrap();
    end.await.result.unwrap();
    for order in [
        Order::Enable,
        Order::Disable,
        Order::Configure(Bytes::from_static(b"{}")),
    ] {
        let settled = scene.order(order);
        assert!(matches!(settled.result, Err(Refusal::Stopping)), "{settled:?}");
    }
    assert_eq!(notes.saved.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn an_invoke_cancelled_while_it_waits_leaves_a_record() {
    let scene = Scene::new(1, None, None);
    let _running = scene.invoke("{}");
    let Response::Pending { end, .. } = scene.invoke_as("{}", Some("mine"), 2) else {
        panic!("it waits")
    };
    scene
        .order(Order::Cancel(Bytes::from_static(b"mine")))
        .result
        .unwrap();
    end.await.result.unwrap();
    let past = scene.service.past();
    let (number, _) = past.iter().find(|(_, name)| &**name == "mine").unwrap();
    let record = scene.service.record(*number).unwrap();
    assert!(
        record.windows(9).any(|window| window == b"cancelled"),
        "{record:?}"
    );
    assert_eq!(scene.service.machine().stats.invokes_total, 1);
}
