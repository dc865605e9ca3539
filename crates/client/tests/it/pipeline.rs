//! One connection: tags, events, time and nonsense.

use std::time::Duration;

use spiderweb_client::{Client, Error, LinkError, Notice};
use spiderweb_protocol::fs::{Change, Event, FileKind, Op, Reply, Request};
use spiderweb_protocol::{Errno, Secret};
use spiderweb_transport::{Frame, Masking, Message};

use crate::peer::{Conversation, Peer, SOON, attr, id, name};

#[tokio::test]
async fn answers_out_of_order_reach_the_one_who_asked() {
    let peer = Peer::listen().await;
    let (client, mut node) = peer.meet(peer.options()).await;
    let answering = async {
        let mut asked = Vec::new();
        for _ in 0..20 {
            asked.push(node.request().await);
        }
        for (tag, request) in asked.into_iter().rev() {
            let Request::Getattr { id } = request else {
                panic!("{request:?}")
            };
            node.reply(
                Op::Getattr,
                tag,
                &Reply::Attr(attr(id, FileKind::File, id.local(), 0)),
            )
            .await;
        }
    };
    let asking = async {
        let mut calls = tokio::task::JoinSet::new();
        for number in 1..=20 {
            let client = client.clone();
            calls.spawn(async move { (number, client.getattr(id(number)).await.unwrap().sz) });
        }
        calls.join_all().await
    };
    let (sizes, ()) = tokio::join!(asking, answering);
    assert!(sizes.iter().all(|(number, size)| number == size), "{sizes:?}");
}

#[tokio::test]
async fn no_more_than_the_agreed_number_is_outstanding() {
    let peer = Peer::listen().await;
    let mut options = peer.options();
    options.pipeline.in_flight = 3;
    let (client, mut node) = peer.meet(options).await;
    for number in 0..5 {
        let client = client.clone();
        tokio::spawn(async move { client.getattr(id(number)).await });
    }
    let first = node.request().await;
    node.request().await;
    node.request().await;
    let fourth = tokio::time::timeout(Duration::from_millis(50), node.next()).await;
    assert!(fourth.is_err(), "a fourth request came before an answer");
    node.refuse(first.0, Errno::ENOENT, "file not found").await;
    node.request().await;
}

#[tokio::test]
async fn events_come_through_between_answers_and_a_slow_subscriber_learns_what_it_missed() {
    let peer = Peer::listen().await;
    let mut options = peer.options();
    options.pipeline.events = 4;
    let (client, mut node) = peer.meet(options).await;
    let mut news = client.news();
    let event = |number| Event::Inode {
        id: id(number),
        change: Change::Data,
        generation: None,
    };
    let answering = async {
        let (tag, _) = node.request().await;
        node.event(event(1)).await;
        node.event(Event::Directory { id: id(2) }).await;
        node.reply(Op::Unlink, tag, &Reply::Done).await;
    };
    let a = name("a");
    tokio::join!(client.unlink(id(9), &a), answering).0.unwrap();
    assert_eq!(news.next().await, Some(Notice::Event(event(1))));
    assert_eq!(
        news.next().await,
        Some(Notice::Event(Event::Directory { id: id(2) }))
    );

    let flood = async {
        let (tag, _) = node.request().await;
        for number in 0..10 {
            node.event(event(number)).await;
        }
        node.reply(Op::Unlink, tag, &Reply::Done).await;
    };
    tokio::join!(client.unlink(id(9), &a), flood).0.unwrap();
    assert_eq!(news.next().await, Some(Notice::Lagged(6)));
    assert_eq!(news.next().await, Some(Notice::Event(event(6))));
}

#[tokio::test]
async fn a_slow_answer_fails_its_caller_alone_and_is_dropped_when_it_comes() {
    let peer = Peer::listen().await;
    let options = peer.options().timeout(Duration::from_millis(50));
    let (client, mut node) = peer.meet(options).await;
    let (slow, _) = {
        let asking = client.getattr(id(1));
        tokio::pin!(asking);
        let slow = tokio::select! {
            slow = node.request() => slow,
            _ = &mut asking => panic!("nobody answered"),
        };
        let failed = loop {
            // Signs of life.
            node.event(Event::Directory { id: id(7) }).await;
            let pause = tokio::time::sleep(Duration::from_millis(10));
            tokio::select! {
                failed = &mut asking => break failed,
                () = pause => {}
            }
        };
        assert!(
            matches!(failed, Err(Error::TimedOut { op: Op::Getattr, .. })),
            "{failed:?}"
        );
        slow
    };
    let answering = async {
        let (tag, _) = node.request().await;
        node.reply(Op::Getattr, slow, &Reply::Attr(attr(id(1), FileKind::File, 1, 0)))
            .await;
        node.reply(Op::Getattr, tag, &Reply::Attr(attr(id(2), FileKind::File, 2, 0)))
            .await;
    };
    let (found, ()) = tokio::join!(client.getattr(id(2)), answering);
    assert_eq!(found.unwrap().sz, 2, "on the same connection");
}

#[tokio::test]
async fn a_silent_connection_is_replaced() {
    let peer = Peer::listen().await;
    let options = peer.options().timeout(Duration::from_millis(100));
    let (client, mut silent) = peer.meet(options).await;
    let mut news = client.news();
    let answering = async {
        silent.request().await;
        let mut node = peer.accept().await;
        let (tag, request) = node.request().await;
        assert_eq!(request, Request::Getattr { id: id(1) });
        node.reply(Op::Getattr, tag, &Reply::Attr(attr(id(1), FileKind::File, 5, 0)))
            .await;
        node
    };
    let (found, _node) = tokio::join!(client.getattr(id(1)), answering);
    assert_eq!(found.unwrap().sz, 5);
    assert_eq!(news.next().await, Some(Notice::Reconnected));
}

#[tokio::test]
async fn pings_are_answered() {
    let peer = Peer::listen().await;
    let (_client, mut node) = peer.meet(peer.options()).await;
    node.raw(Frame::ping(Masking::None, b"are you there")).await;
    assert_eq!(node.message().await, Message::Pong);
}

#[tokio::test]
async fn nonsense_from_a_node_is_an_error_and_never_a_panic() {
    let tagged = |rest: &str| format!(r#"{{"channel":"acheron","type":"acheron.{rest}"#);
    let lookalikes = [
        tagged(r#"r_fs_getattr","tag":TAG,"ok":true,"payload":{}}"#),
        tagged(r#"r_fs_getattr","tag":TAG,"ok":true,"payload":null}"#),
        tagged(r#"r_fs_getattr","tag":TAG,"ok":true,"payload":{"attr":{"id":-1}}}"#),
        tagged(r#"r_fs_lookup","tag":TAG,"ok":true,"payload":{}}"#),
        tagged(r#"r_fs_getattr","tag":TAG,"ok":true,"payload":"#),
        tagged(r#"err_fs","tag":TAG,"ok":false}"#),
        tagged(r#"err_fs","tag":TAG,"ok":false,"error":{"errno":"two"}}"#),
    ];
    for text in lookalikes {
        let peer = Peer::listen().await;
        let (client, mut node) = peer.meet(peer.options()).await;
        let answering = async {
            let (tag, _) = node.request().await;
            node.say(&text.replace("TAG", &tag.0.to_string())).await;
        };
        let (result, ()) = tokio::join!(client.getattr(id(1)), answering);
        assert!(
            matches!(result, Err(Error::Answer { op: Op::Getattr, .. })),
            "{text}: {result:?}"
        );
    }
    let nonsense = [
        "",
        "x",
        "{}",
        "[]",
        "null",
        "{\"channel\":\"acheron\"",
        "\u{0}",
        r#"{"channel":"acheron","type":"acheron.t_fs_getattr","tag":1}"#,
        r#"{"channel":"acheron","type":"acheron.e_fs_inval","payload":{"node":-1,"what":"all"}}"#,
        r#"{"channel":"acheron","type":"acheron.e_fs_inval_dir"}"#,
        r#"{"channel":"acheron","type":"acheron.r_fs_getattr","ok":true}"#,
        r#"{"channel":"acheron","type":"acheron.err_fs","ok":false,"error":{"errno":22,"message":"SyntaxError"}}"#,
    ];
    for text in nonsense {
        let peer = Peer::listen().await;
        let options = spiderweb_client::Options {
            patience: Duration::ZERO,
            ..peer.options()
        };
        let (client, mut node) = peer.meet(options).await;
        let answering = async {
            node.request().await;
            node.say(text).await;
            drop(node);
            // No second chance: whoever comes back is hung up on.
            drop(peer);
        };
        let (result, ()) = tokio::join!(client.getattr(id(1)), answering);
        assert!(matches!(result, Err(Error::Lost { .. })), "{text}: {result:?}");
    }
}

#[tokio::test]
async fn binary_frames_and_bytes_that_are_no_text_end_the_connection() {
    let peer = Peer::listen().await;
    let options = spiderweb_client::Options {
        patience: Duration::ZERO,
        ..peer.options()
    };
    let (client, mut node) = peer.meet(options).await;
    let answering = async {
        node.request().await;
        node.raw(Frame::text(Masking::None, 4, |out| {
            out.extend([0xff, 0xfe, b'{', 0xc0]);
        }))
        .await;
        drop(node);
        drop(peer);
    };
    let (result, ()) = tokio::join!(client.getattr(id(1)), answering);
    assert!(
        matches!(
            result,
            Err(Error::Lost {
                source: LinkError::Message(_),
                ..
            })
        ),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_refused_hello_says_what_would_work() {
    for (wanted, given, words) in [
        (Some("right"), None, "wants a token"),
        (Some("right"), Some("wrong"), "token is wrong"),
    ] {
        let peer = Peer::listen().await;
        let wanted = wanted.map(Secret::new);
        let refusing = async {
            let mut node = Conversation::new(peer.accept_raw().await);
            node.greet(wanted.as_ref()).await;
        };
        let connecting = Client::connect(peer.options().token(given.map(Secret::new)));
        let (client, ()) = tokio::join!(connecting, refusing);
        let error = client.unwrap_err().to_string();
        assert!(
            error.contains(words) && error.contains(&peer.url.to_string()),
            "{error}"
        );
    }
    let peer = Peer::listen().await;
    let refusing = async {
        let mut node = Conversation::new(peer.accept_raw().await);
        node.say(r#"{"channel":"acheron","type":"acheron.err_fs","ok":false,"error":{"errno":22,"message":"invalid FS endpoint path"}}"#).await;
    };
    let (client, ()) = tokio::join!(Client::connect(peer.options()), refusing);
    let error = client.unwrap_err().to_string();
    assert!(error.contains("/v2/fs"), "{error}");
}

#[tokio::test]
async fn nobody_listening_fails_at_once_and_names_the_address() {
    let peer = Peer::listen().await;
    let (options, url) = (peer.options(), peer.url.to_string());
    drop(peer);
    let connecting = tokio::time::timeout(SOON, Client::connect(options));
    let error = connecting.await.unwrap().unwrap_err().to_string();
    assert!(error.contains(&url) && error.contains("refused"), "{error}");
}
