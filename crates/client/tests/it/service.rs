//! Invokes against a node that plays a service.

use spiderweb_client::{Client, Error, Outcome, Service, View};
use spiderweb_protocol::Errno;

use tokio_util::sync::CancellationToken;

use crate::peer::SOON;
use crate::store::{Object, ROOT, Running, Store};

/// A running node whose only export is a service.
struct Playing {
    node: Running,
    control: u64,
    history: Option<u64>,
    service: Service,
}

impl Playing {
    async fn start(with_history: bool) -> Self {
        let node = Store::start().await;
        let directory = || Object::Directory(std::collections::BTreeMap::new());
        let control = node.store.add(ROOT, "control", directory());
        let history = with_history.then(|| node.store.add(ROOT, "history", directory()));
        for (dir, name) in [
            (control, "invoke.json"),
            (ROOT, "status.json"),
            (ROOT, "result.json"),
            (ROOT, "last_error.txt"),
        ] {
            node.store.add(dir, name, file(b"{\"state\":\"idle\"}"));
        }
        let client = Client::connect(node.options.clone()).await.unwrap();
        let view = View::of(&client, None).await.unwrap();
        let service = Service::find(&client, &view, "work").unwrap();
        Self {
            node,
            control,
            history,
            service,
        }
    }

    async fn invoke(&self, payload: &[u8]) -> Result<Outcome, Error> {
        self.service
            .invoke(payload, SOON, &CancellationToken::new())
            .await
    }
}

fn file(data: &[u8]) -> Object {
    Object::File {
        data: data.to_vec(),
        modified: 0,
    }
}

/// What a node does with a payload that is complete: the original's check, roughly.
fn is_object(payload: &[u8]) -> bool {
    payload.starts_with(b"{") && payload.ends_with(b"}")
}

#[tokio::test]
async fn the_classic_way_reads_the_shared_files() {
    let playing = Playing::start(false).await;
    playing.node.store.react(|store, name, payload| {
        assert_eq!(name, "invoke.json");
        if !is_object(payload) {
            return Err(Errno::EINVAL);
        }
        if payload == b"{\"fail\":1}" {
            store.put(
                ROOT,
                "status.json",
                br#"{"state":"error","reason":"invoke_error","exit_code":3}"#,
            );
            store.put(ROOT, "last_error.txt", b"no luck");
            return Ok(());
        }
        store.put(ROOT, "status.json", br#"{"state":"ok","exit_code":0}"#);
        store.put(ROOT, "result.json", payload);
        Ok(())
    });

    let outcome = playing.invoke(b" {\"a\":1}\n").await.unwrap();
    assert_eq!(outcome.result.as_deref(), Some(&b"{\"a\":1}"[..]));
    assert_eq!((outcome.status.state.as_str(), outcome.refusal), ("ok", None));

    // Shorter than the payload before it: the old one's tail is gone.
    let outcome = playing.invoke(b"{}").await.unwrap();
    assert_eq!(outcome.result.as_deref(), Some(&b"{}"[..]));

    let outcome = playing.invoke(b"{\"fail\":1}").await.unwrap();
    assert_eq!(
        (outcome.result, outcome.error.as_slice()),
        (None, &b"no luck"[..])
    );
    assert_eq!(outcome.status.exit_code, Some(3));
    assert_eq!(playing.node.store.handles(), 0);
}

#[tokio::test]
async fn a_payload_in_pieces_runs_the_driver_once() {
    let playing = Playing::start(false).await;
    let payload = format!("{{\"x\":\"{}\"}}", "y".repeat(2_500_000));
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = runs.clone();
    let expected = payload.clone();
    playing.node.store.react(move |store, _, payload| {
        if !is_object(payload) {
            return Err(Errno::EINVAL);
        }
        assert_eq!(payload, expected.as_bytes());
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        store.put(ROOT, "status.json", br#"{"state":"ok"}"#);
        store.put(ROOT, "result.json", b"{}");
        Ok(())
    });
    let outcome = playing.invoke(payload.as_bytes()).await.unwrap();
    assert_eq!((outcome.result, outcome.refusal), (Some(b"{}".to_vec()), None));
    assert_eq!(runs.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_refused_write_is_an_outcome() {
    let playing = Playing::start(false).await;
    for errno in [Errno::EPERM, Errno::EAGAIN, Errno::EINVAL, Errno::EIO] {
        playing.node.store.react(move |store, _, _| {
            store.put(
                ROOT,
                "status.json",
                br#"{"state":"backoff","retry_after_ms":1470}"#,
            );
            Err(errno)
        });
        let outcome = playing.invoke(b"{}").await.unwrap();
        assert_eq!(outcome.refusal.unwrap().errno, errno);
        assert_eq!(outcome.result, None);
        assert_eq!(outcome.status.retry_after_ms, Some(1470));
    }
}

#[tokio::test]
async fn with_a_history_every_caller_reads_its_own_outcome() {
    let playing = Playing::start(true).await;
    let history = playing.history.unwrap();
    playing.node.store.react(move |store, name, payload| {
        if !is_object(payload) {
            return Err(Errno::EINVAL);
        }
        let name = name
            .strip_prefix("invoke.")
            .and_then(|name| name.strip_suffix(".json"))
            .unwrap();
        let text = String::from_utf8(payload.to_vec()).unwrap().replace('"', "\\\"");
        let record =
            format!("{{\"invoke\":\"{name}\",\"state\":\"ok\",\"result\":\"{text}\",\"error\":\"\"}}");
        store.put(history, &format!("{name}.json"), record.as_bytes());
        // Somebody else's, in the shared files.
        store.put(ROOT, "result.json", b"not yours");
        Ok(())
    });
    let payloads: Vec<_> = (0..8).map(|number| format!("{{\"n\":{number}}}")).collect();
    let mut callers = tokio::task::JoinSet::new();
    for payload in payloads {
        let service = playing.service.clone();
        callers.spawn(async move {
            let outcome = service
                .invoke(payload.as_bytes(), SOON, &CancellationToken::new())
                .await
                .unwrap();
            assert_eq!(outcome.result, Some(payload.into_bytes()));
        });
    }
    assert_eq!(callers.join_all().await.len(), 8);
    // Nothing of it is left beside the file that was always there.
    assert_eq!(playing.node.store.names(playing.control), ["invoke.json"]);
    assert_eq!(playing.node.store.handles(), 0);
}

#[tokio::test]
async fn a_lost_connection_never_runs_the_driver_twice() {
    for with_history in [false, true] {
        let playing = Playing::start(with_history).await;
        let runs = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (counted, history) = (runs.clone(), playing.history);
        let cut = playing.node.store.clone();
        playing.node.store.react(move |store, name, _| {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if let Some(history) = history {
                let name = name.trim_start_matches("invoke.");
                store.put(history, name, br#"{"state":"ok","result":"{}","error":""}"#);
            }
            cut.cut_now();
            Ok(())
        });
        let outcome = playing.invoke(b"{}").await;
        if with_history {
            assert_eq!(outcome.unwrap().result, Some(b"{}".to_vec()));
        } else {
            assert!(matches!(outcome, Err(Error::Lost { .. })), "{outcome:?}");
        }
        assert_eq!(runs.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn services_are_found_by_id_and_by_export() {
    let playing = Playing::start(false).await;
    let client = Client::connect(playing.node.options.clone()).await.unwrap();
    let view = View::of(&client, None).await.unwrap();
    assert_eq!(Service::find(&client, &view, "work").unwrap().name(), "work");
    let error = Service::find(&client, &view, "nope").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the node has no service named \"nope\"; it has none"
    );
}

#[tokio::test]
async fn an_interrupt_ends_the_invoke_and_leaves_no_payload_behind() {
    let playing = Playing::start(true).await;
    playing.node.store.add(playing.control, "cancel", file(b""));
    let stop = CancellationToken::new();
    let pulled = stop.clone();
    let (tell, told) = std::sync::mpsc::channel();
    playing.node.store.react(move |_, name, contents| {
        pulled.cancel();
        tell.send((name.to_owned(), String::from_utf8(contents.to_vec()).unwrap()))
            .unwrap();
        Ok(())
    });
    // There is no record, so without the interrupt this would be an error of another kind.
    let outcome = playing.service.invoke(b"{}", SOON, &stop).await;
    assert!(matches!(outcome, Err(Error::Stopped)), "{outcome:?}");
    let written: Vec<_> = told.try_iter().collect();
    let [(invoke, _), (cancel, name)] = &written[..] else {
        panic!("{written:?}");
    };
    assert_eq!(cancel, "cancel");
    assert_eq!(*invoke, format!("invoke.{name}.json"));
    assert_eq!(
        playing.node.store.names(playing.control),
        ["cancel", "invoke.json"]
    );
    assert_eq!(playing.node.store.handles(), 0);
}
