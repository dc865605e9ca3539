//! What happens to a request whose connection breaks before the answer.

use std::time::Duration;

use spiderweb_client::{Client, Error, Notice, Options};
use spiderweb_protocol::fs::{Event, FileKind, LockKind, Op, OpenFlags, Reply, Request, XattrFlags};
use spiderweb_protocol::{Envelope, Errno, HandleId};

use crate::peer::{Conversation, Peer, SOON, attr, id, name};

/// What a node answers to the repetition of a request.
enum Second {
    Says(Reply),
    Refuses(Errno),
    /// Refuses, and answers the lookup or getxattr that follows.
    RefusesThen(Errno, Result<Reply, Errno>),
}

/// Lets `call` lose its first connection after sending, answers the repetition and returns what came of it.
async fn repeat<T>(call: impl AsyncFnOnce(&Client) -> T, second: Second) -> T {
    let peer = Peer::listen().await;
    let (client, mut node) = peer.meet(peer.options()).await;
    let answering = async {
        let (_, first) = node.request().await;
        drop(node);
        let mut node = peer.accept().await;
        let (tag, again) = node.request().await;
        assert_eq!(again, first, "the repetition is the same request");
        match second {
            Second::Says(reply) => node.reply(first.op(), tag, &reply).await,
            Second::Refuses(errno) => node.refuse(tag, errno, "no").await,
            Second::RefusesThen(errno, look) => {
                node.refuse(tag, errno, "no").await;
                let (tag, request) = node.request().await;
                match look {
                    Ok(reply) => node.reply(request.op(), tag, &reply).await,
                    Err(errno) => node.refuse(tag, errno, "no").await,
                }
            }
        }
        node
    };
    let (result, _node) = tokio::join!(call(&client), answering);
    result
}

fn handle() -> HandleId {
    HandleId::new(77).unwrap()
}

#[tokio::test]
async fn reads_and_writes_go_on_with_the_same_handle() {
    let data = Reply::Data {
        bytes: b"abc".to_vec(),
        eof: true,
    };
    let read = repeat(
        async |client| client.read(handle(), 4096, 100).await,
        Second::Says(data),
    )
    .await;
    assert_eq!(read.unwrap(), (b"abc".to_vec(), true));
    let write = async |client: &Client| client.write(handle(), 1 << 40, b"xyz").await;
    assert_eq!(repeat(write, Second::Says(Reply::Written(3))).await.unwrap(), 3);
    let lock = async |client: &Client| client.lock(handle(), LockKind::Shared, true).await;
    repeat(lock, Second::Says(Reply::Done)).await.unwrap();
}

#[tokio::test]
async fn what_the_first_sending_did_is_not_an_error() {
    let directory = || Ok(Reply::Attr(attr(id(5), FileKind::Directory, 0, 0)));
    let file = || Ok(Reply::Attr(attr(id(5), FileKind::File, 0, 0)));

    let close = async |client: &Client| client.close(handle()).await;
    repeat(close, Second::Refuses(Errno::EBADF)).await.unwrap();
    let unlink = async |client: &Client| client.unlink(id(1), &name("a")).await;
    repeat(unlink, Second::Refuses(Errno::ENOENT)).await.unwrap();
    let rmdir = async |client: &Client| client.rmdir(id(1), &name("a")).await;
    repeat(rmdir, Second::Refuses(Errno::ENOENT)).await.unwrap();
    let removexattr = async |client: &Client| client.removexattr(id(1), "user.a").await;
    repeat(removexattr, Second::Refuses(Errno::ENODATA))
        .await
        .unwrap();
    let mkdir = async |client: &Client| client.mkdir(id(1), &name("a")).await;
    repeat(mkdir, Second::RefusesThen(Errno::EEXIST, directory()))
        .await
        .unwrap();
    let rename = async |client: &Client| client.rename(id(1), &name("a"), id(2), &name("b")).await;
    repeat(rename, Second::RefusesThen(Errno::ENOENT, file()))
        .await
        .unwrap();
    let setxattr = async |client: &Client| client.setxattr(id(1), "user.a", b"v", XattrFlags(1)).await;
    let value = Ok(Reply::XattrValue(b"v".to_vec()));
    repeat(setxattr, Second::RefusesThen(Errno::EEXIST, value))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_somebody_else_did_is_an_error() {
    let file = || Ok(Reply::Attr(attr(id(5), FileKind::File, 0, 0)));
    let mkdir = async |client: &Client| client.mkdir(id(1), &name("a")).await;
    let error = repeat(mkdir, Second::RefusesThen(Errno::EEXIST, file()))
        .await
        .unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EEXIST));
    let rename = async |client: &Client| client.rename(id(1), &name("a"), id(2), &name("b")).await;
    let gone = Second::RefusesThen(Errno::ENOENT, Err(Errno::ENOENT));
    assert_eq!(
        repeat(rename, gone).await.unwrap_err().errno(),
        Some(Errno::ENOENT)
    );
    let unlink = async |client: &Client| client.unlink(id(1), &name("a")).await;
    let refused = Second::Refuses(Errno::EACCES);
    assert_eq!(
        repeat(unlink, refused).await.unwrap_err().errno(),
        Some(Errno::EACCES)
    );
}

#[tokio::test]
async fn what_cannot_be_told_is_said_to_be_uncertain() {
    let create = async |client: &Client| {
        client
            .create(id(1), &name("a"), 0o644, OpenFlags::READ_WRITE)
            .await
            .map(drop)
    };
    let error = repeat(create, Second::Refuses(Errno::EEXIST)).await.unwrap_err();
    assert!(matches!(error, Error::Uncertain { op: Op::Create }), "{error}");
    let symlink = async |client: &Client| client.symlink(id(1), &name("a"), "b").await;
    let error = repeat(symlink, Second::Refuses(Errno::EEXIST)).await.unwrap_err();
    assert!(matches!(error, Error::Uncertain { op: Op::Symlink }), "{error}");
}

#[tokio::test]
async fn without_a_lost_connection_every_refusal_stands() {
    let peer = Peer::listen().await;
    let (client, mut node) = peer.meet(peer.options()).await;
    let answering = async {
        for errno in [Errno::EBADF, Errno::ENOENT, Errno::EEXIST, Errno::EEXIST] {
            let (tag, _) = node.request().await;
            node.refuse(tag, errno, "no").await;
        }
    };
    let asking = async {
        [
            client.close(handle()).await.unwrap_err(),
            client.unlink(id(1), &name("a")).await.unwrap_err(),
            client.mkdir(id(1), &name("a")).await.unwrap_err(),
            client
                .create(id(1), &name("a"), 0, OpenFlags::WRITE)
                .await
                .unwrap_err(),
        ]
    };
    let (errors, ()) = tokio::join!(asking, answering);
    assert!(
        errors.iter().all(|error| matches!(error, Error::Node { .. })),
        "{errors:?}"
    );
}

#[tokio::test]
async fn many_callers_that_lost_a_connection_share_the_next_one() {
    let peer = Peer::listen().await;
    let (client, mut node) = peer.meet(peer.options()).await;
    let answering = async {
        for _ in 0..8 {
            node.request().await;
        }
        drop(node);
        let mut node = peer.accept().await;
        for _ in 0..8 {
            let (tag, request) = node.request().await;
            let Request::Getattr { id } = request else {
                panic!("{request:?}")
            };
            node.reply(Op::Getattr, tag, &Reply::Attr(attr(id, FileKind::File, 0, 0)))
                .await;
        }
        node
    };
    let asking = async {
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..8 {
            let client = client.clone();
            calls.spawn(async move { client.getattr(id(number)).await.unwrap().id });
        }
        calls.join_all().await
    };
    let (mut ids, _node) = tokio::join!(asking, answering);
    ids.sort_unstable();
    assert_eq!(ids, (0..8).map(|number| id(number).get()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_that_only_listens_is_kept_connected() {
    let peer = Peer::listen().await;
    let (client, node) = peer.meet(peer.options()).await;
    let mut news = client.news();
    let event = Event::Directory { id: id(3) };
    let talking = async {
        drop(node);
        let mut node = peer.accept().await;
        node.event(event).await;
        node
    };
    let listening = async {
        assert_eq!(news.next().await, Some(Notice::Reconnected));
        assert_eq!(news.next().await, Some(Notice::Event(event)));
    };
    let both = async { tokio::join!(talking, listening) };
    tokio::select! {
        _ = both => {}
        error = client.keep_connected() => panic!("{error}"),
    }
}

#[tokio::test]
async fn patience_ends() {
    let peer = Peer::listen().await;
    let options = spiderweb_client::Options {
        patience: Duration::from_millis(300),
        ..peer.options()
    };
    let (client, mut node) = peer.meet(options).await;
    let leaving = async {
        node.request().await;
        drop((node, peer));
    };
    let (result, ()) = tokio::join!(client.getattr(id(1)), leaving);
    assert!(matches!(result, Err(Error::Lost { .. })), "{result:?}");
}

#[tokio::test]
async fn patience_ends_with_a_node_that_takes_connections_and_says_nothing() {
    for has_upgrade in [false, true] {
        let peer = Peer::listen().await;
        let options = Options {
            patience: Duration::from_millis(300),
            dial_timeout: SOON,
            ..peer.options()
        };
        let (client, mut node) = peer.meet(options).await;
        let falling_silent = async {
            for _ in 0..8 {
                node.request().await;
            }
            drop(node);
            // Without an upgrade connections wait in the listener's queue; with one it is the hello that waits.
            let silent = if has_upgrade {
                Some(peer.accept_raw().await)
            } else {
                None
            };
            std::future::pending::<()>().await;
            drop(silent);
        };
        let asking = async {
            let mut calls = tokio::task::JoinSet::new();
            for number in 0..8 {
                let client = client.clone();
                calls.spawn(async move { client.getattr(id(number)).await });
            }
            calls.join_all().await
        };
        let asking = tokio::time::timeout(Duration::from_millis(1500), asking);
        let results = tokio::select! {
            results = asking => results.expect("eight times the patience would be 2.4 s"),
            () = falling_silent => unreachable!(),
        };
        for result in results {
            assert!(matches!(result, Err(Error::Lost { .. })), "{result:?}");
        }
    }
}

#[tokio::test]
async fn a_request_that_breaks_every_connection_is_given_up() {
    let peer = Peer::listen().await;
    let (client, mut node) = peer.meet(peer.options()).await;
    let breaking = async {
        loop {
            node.request().await;
            drop(node);
            node = peer.accept().await;
        }
    };
    let result = tokio::select! {
        result = client.getattr(id(1)) => result,
        () = breaking => unreachable!(),
    };
    assert!(matches!(result, Err(Error::Lost { .. })), "{result:?}");
}

#[tokio::test]
async fn a_node_that_comes_back_and_refuses_is_not_asked_again() {
    let peer = Peer::listen().await;
    let (client, mut node) = peer.meet(peer.options()).await;
    let refusing = async {
        node.request().await;
        drop(node);
        let mut node = Conversation::new(peer.accept_raw().await);
        let token = spiderweb_protocol::Secret::new("new");
        node.greet(Some(&token)).await;
    };
    let (result, ()) = tokio::join!(client.getattr(id(1)), refusing);
    assert!(matches!(result, Err(Error::Hello { .. })), "{result:?}");
}

#[tokio::test]
async fn what_a_hub_answers_for_a_node_it_lost_is_no_answer() {
    let peer = Peer::listen().await;
    let (client, mut hub) = peer.meet(peer.options()).await;
    let name = name("a");
    let (removed, ()) = tokio::join!(client.unlink(id(1), &name), async {
        for _ in 0..2 {
            let (tag, _) = hub.request().await;
            hub.refuse(tag, Errno::EIO, "NodeTunnelUnavailable").await;
        }
        // The first sending may have got through.
        let (tag, _) = hub.request().await;
        hub.refuse(tag, Errno::ENOENT, "no").await;
    });
    removed.unwrap();

    let (once, ()) = tokio::join!(client.write_once(handle(), 0, b"{}", SOON), async {
        let (tag, _) = hub.request().await;
        hub.refuse(tag, Errno::EIO, "NodeTunnelUnavailable").await;
    });
    assert!(matches!(once, Err(Error::Lost { .. })), "{once:?}");

    // A disk of the node's that fails is another thing.
    let (read, ()) = tokio::join!(client.read(handle(), 0, 1), async {
        let (tag, _) = hub.request().await;
        hub.refuse(tag, Errno::EIO, "EIO").await;
    });
    assert_eq!(read.unwrap_err().errno(), Some(Errno::EIO));

    let impatient = Options {
        patience: Duration::from_millis(1),
        ..peer.options()
    };
    let (client, mut hub) = peer.meet(impatient).await;
    let (read, ()) = tokio::join!(client.read(handle(), 0, 1), async {
        let (tag, _) = hub.request().await;
        hub.refuse(tag, Errno::EIO, "NodeTunnelUnavailable").await;
    });
    assert_eq!(read.unwrap_err().errno(), Some(Errno::EIO));
}

#[tokio::test]
async fn a_hub_without_tunnel_to_the_node_is_asked_again() {
    let peer = Peer::listen().await;
    let (client, mut node) = peer.meet(peer.options()).await;
    let hub = async {
        node.request().await;
        drop(node);
        let mut hub = Conversation::new(peer.accept_raw().await);
        let hello = hub.text().await.unwrap();
        let tag = Envelope::parse(&hello).unwrap().tag.unwrap();
        hub.refuse(tag, Errno::EIO, "node tunnel is unavailable").await;
        let mut node = peer.accept().await;
        let (tag, _) = node.request().await;
        node.reply(Op::Close, tag, &Reply::Done).await;
        node
    };
    let (closed, _node) = tokio::join!(client.close(handle()), hub);
    closed.unwrap();
}
