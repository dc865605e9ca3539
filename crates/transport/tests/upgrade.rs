//! The upgrade as peers see it: what is accepted, what is refused and how, and what happens to slow or eager peers.
#![allow(clippy::unwrap_used, reason = "test helpers")]

use std::time::Duration;

use bytes::BytesMut;
use spiderweb_transport::{
    Asked, Authorization, DialError, DialOptions, Frame, Link, Masking, Message, Upgrade, UpgradeError,
    UpgradeLimits, WebSocket, WsUrl, dial, upgrade_over,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpListener;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn pipe() -> (DuplexStream, Link) {
    let (peer, ours) = tokio::io::duplex(64 * 1024);
    (peer, Link::Memory(ours))
}

/// Sends `request` to a server that completes every upgrade; returns the whole response and the judgement.
async fn ask(request: &str) -> (String, Result<String, UpgradeError>) {
    let (mut peer, link) = pipe();
    let server = tokio::spawn(async move {
        let upgrade = Upgrade::accept(link, &UpgradeLimits::default()).await?;
        let path = upgrade.path().to_owned();
        upgrade.complete().await?;
        Ok(path)
    });
    peer.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    peer.read_to_end(&mut response).await.unwrap();
    drop(peer);
    (String::from_utf8(response).unwrap(), server.await.unwrap())
}

/// A complete request whose headers take `size` bytes more than a usual one.
fn padded(size: usize) -> String {
    let pad = "a".repeat(size);
    format!("GET /v2/fs HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{KEY}X-Pad: {pad}\r\n\r\n")
}

#[tokio::test]
async fn requests_that_are_accepted() {
    let get = "GET /v2/fs HTTP/1.1\r\n";
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let full = format!("Host: x\r\n{upgrade}Sec-WebSocket-Version: 13\r\n{KEY}\r\n");
    let rows = [
        // As recorded from the original server.
        (format!("{get}{full}"), "/v2/fs", ACCEPT),
        (format!("GET / HTTP/1.1\r\n{full}"), "/", ACCEPT),
        (format!("GET /v2/fs HTTP/1.0\r\n{full}"), "/v2/fs", ACCEPT),
        (format!("GET /v2/fs/ HTTP/1.1\r\n{full}"), "/v2/fs/", ACCEPT),
        (format!("GET /v2/fs?x=1 HTTP/1.1\r\n{full}"), "/v2/fs?x=1", ACCEPT),
        (
            format!("GET http://x/v2/fs HTTP/1.1\r\n{full}"),
            "http://x/v2/fs",
            ACCEPT,
        ),
        (format!("GET /V2/FS HTTP/1.1\r\n{full}"), "/V2/FS", ACCEPT),
        (format!("{get}upgrade: websocket\r\n{KEY}\r\n"), "/v2/fs", ACCEPT),
        (format!("{get}Upgrade: websocket\r\n{KEY}\r\n"), "/v2/fs", ACCEPT),
        (
            format!("{get}{upgrade}sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"),
            "/v2/fs",
            ACCEPT,
        ),
        (
            format!("{get}{upgrade}Sec-WebSocket-Version: 8\r\n{KEY}\r\n"),
            "/v2/fs",
            ACCEPT,
        ),
        (
            format!("{get}{upgrade}Sec-WebSocket-Key: \r\n\r\n"),
            "/v2/fs",
            "Kfh9QIsMVZcl6xEPYxPHzW8SZ8w=",
        ),
        (
            format!(
                "{get}{upgrade}{KEY}Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
            ),
            "/v2/fs",
            ACCEPT,
        ),
        (padded(15_000), "/v2/fs", ACCEPT),
        // Valid HTTP that the original refused.
        (format!("{get}UPGRADE: websocket\r\n{KEY}\r\n"), "/v2/fs", ACCEPT),
        (format!("{get}Upgrade: WebSocket\r\n{KEY}\r\n"), "/v2/fs", ACCEPT),
        (format!("{get}Upgrade:websocket\r\n{KEY}\r\n"), "/v2/fs", ACCEPT),
        (
            format!("{get}Upgrade: h2c, websocket\r\n{KEY}\r\n"),
            "/v2/fs",
            ACCEPT,
        ),
        (
            format!("{get}{upgrade}Sec-Websocket-Key:dGhlIHNhbXBsZSBub25jZQ==  \r\n\r\n"),
            "/v2/fs",
            ACCEPT,
        ),
    ];
    for (request, path, accept) in rows {
        let (response, judgement) = ask(&request).await;
        let expected = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        assert_eq!(response, expected, "{request}");
        assert_eq!(judgement.unwrap(), path, "{request}");
    }
}

#[tokio::test]
async fn requests_that_are_refused_with_an_answer() {
    let upgrade = "Upgrade: websocket\r\n";
    let many = "X-Many: y\r\n".repeat(200);
    let rows = [
        (
            format!("POST /v2/fs HTTP/1.1\r\n{upgrade}{KEY}\r\n"),
            "405 Method Not Allowed\r\nAllow: GET\r\n",
        ),
        (format!("GET /v2/fs\r\n{upgrade}{KEY}\r\n"), "400 Bad Request\r\n"),
        (
            format!("GET /v2/fs HTTP/2\r\n{upgrade}{KEY}\r\n"),
            "400 Bad Request\r\n",
        ),
        ("hello\r\n\r\n".to_owned(), "400 Bad Request\r\n"),
        (
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "426 Upgrade Required\r\nUpgrade: websocket\r\n",
        ),
        (
            format!("GET / HTTP/1.1\r\n{KEY}\r\n"),
            "426 Upgrade Required\r\nUpgrade: websocket\r\n",
        ),
        (
            format!("GET / HTTP/1.1\r\nUpgrade: h2c\r\n{KEY}\r\n"),
            "426 Upgrade Required\r\n",
        ),
        (format!("GET / HTTP/1.1\r\n{upgrade}\r\n"), "400 Bad Request\r\n"),
        (padded(17_000), "431 Request Header Fields Too Large\r\n"),
        (padded(40_000), "431 Request Header Fields Too Large\r\n"),
        (
            format!("GET / HTTP/1.1\r\n{upgrade}{many}{KEY}\r\n"),
            "431 Request Header Fields Too Large\r\n",
        ),
    ];
    for (request, answer) in rows {
        let (response, judgement) = ask(&request).await;
        let error = judgement.unwrap_err().to_string();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {}", answer.trim_end())),
            "{request:.99}: {head}"
        );
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        assert!(
            head.ends_with(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        assert_eq!(body, format!("{error}\n"));
    }
}

#[tokio::test]
async fn the_head_limit_is_inclusive() {
    let request = padded(100);
    for (max_head, accepted) in [(request.len(), true), (request.len() - 1, false)] {
        let (mut peer, link) = pipe();
        peer.write_all(request.as_bytes()).await.unwrap();
        peer.shutdown().await.unwrap();
        let limits = UpgradeLimits {
            max_head,
            ..UpgradeLimits::default()
        };
        assert_eq!(Upgrade::accept(link, &limits).await.is_ok(), accepted);
    }
}

#[tokio::test]
async fn a_peer_that_hangs_up_early_gets_no_answer() {
    for sent in ["", "GET / HTTP/1.1\r\nUpgrade: web"] {
        let (mut peer, link) = pipe();
        peer.write_all(sent.as_bytes()).await.unwrap();
        peer.shutdown().await.unwrap();
        let error = Upgrade::accept(link, &UpgradeLimits::default())
            .await
            .unwrap_err();
        assert!(matches!(error, UpgradeError::Closed), "{error}");
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_its_request_drop_by_drop_is_timed_out() {
    let (peer, link) = pipe();
    let (mut response, mut request) = tokio::io::split(peer);
    let drip = tokio::spawn(async move {
        for byte in padded(100).into_bytes() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if request.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    });
    let begin = tokio::time::Instant::now();
    let error = Upgrade::accept(link, &UpgradeLimits::default())
        .await
        .unwrap_err();
    let limit = UpgradeLimits::default().timeout;
    assert!(
        matches!(error, UpgradeError::TimedOut(after) if after == limit),
        "{error}"
    );
    // The time for the answer to arrive is bounded as well.
    assert!(
        begin.elapsed() <= limit + Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    let mut answer = String::new();
    response.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    drip.await.unwrap();
}

#[tokio::test]
async fn bytes_behind_the_request_are_kept_even_with_the_request_in_pieces() {
    let hello = Frame::text_from(Masking::Client, "hello");
    let stream = [padded(0).as_bytes(), hello.as_bytes()].concat();
    for size in [1, 7, stream.len()] {
        let (peer, link) = tokio::io::duplex(size);
        let (mut response, mut request) = tokio::io::split(peer);
        let stream = stream.clone();
        tokio::spawn(async move { request.write_all(&stream).await });
        tokio::spawn(async move { tokio::io::copy(&mut response, &mut tokio::io::sink()).await });
        let upgrade = Upgrade::accept(Link::Memory(link), &UpgradeLimits::default())
            .await
            .unwrap();
        let mut socket = upgrade.complete().await.unwrap();
        let message = socket.receive().await.unwrap();
        assert_eq!(message, Some(Message::Text("hello".into())), "pieces of {size}");
    }
}

#[tokio::test]
async fn a_refusal_reaches_a_peer_that_is_still_talking() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    peer.write_all(padded(0).as_bytes()).await.unwrap();
    peer.write_all(&[b'x'; 5000]).await.unwrap();
    let link = Link::tcp(listener.accept().await.unwrap().0).unwrap();
    assert_eq!(link.peer(), Some(peer.local_addr().unwrap()));
    let upgrade = Upgrade::accept(link, &UpgradeLimits::default()).await.unwrap();
    let refusal = tokio::spawn(upgrade.refuse(404, "no such endpoint"));
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await.unwrap();
    drop(peer);
    refusal.await.unwrap().unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 404 Not Found\r\n") && answer.ends_with("no such endpoint\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn dialling_over_tcp_reaches_the_server_with_path_and_token() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: WsUrl = format!("ws://{}/v2/fs?x=1", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let server = tokio::spawn(async move {
        let link = Link::tcp(listener.accept().await.unwrap().0).unwrap();
        let upgrade = Upgrade::accept(link, &UpgradeLimits::default()).await.unwrap();
        assert_eq!(upgrade.path(), "/v2/fs?x=1");
        assert_eq!(upgrade.authorization(), Some("Bearer t0ken"));
        assert!(!format!("{upgrade:?}").contains("t0ken"));
        let mut socket = upgrade.complete().await.unwrap();
        let Some(Message::Text(text)) = socket.receive().await.unwrap() else {
            panic!("no text")
        };
        socket
            .send(Frame::text(socket.masking(), text.len(), |reply| {
                reply.extend(text);
            }))
            .await
            .unwrap();
        socket.close().await.unwrap();
    });
    let options = DialOptions {
        authorization: Some(Authorization::bearer("t0ken").unwrap()),
        ..Default::default()
    };
    let mut socket = dial(&url, &options).await.unwrap();
    socket
        .send(Frame::text_from(socket.masking(), "echo"))
        .await
        .unwrap();
    assert_eq!(
        socket.receive().await.unwrap(),
        Some(Message::Text("echo".into()))
    );
    assert_eq!(
        socket.receive().await.unwrap(),
        Some(Message::Close(BytesMut::new()))
    );
    drop(socket);
    server.await.unwrap();
}

/// Dials a peer that reads the request and answers with what `answer` makes of the right accept value.
async fn dial_peer(answer: impl FnOnce(&str) -> Vec<u8> + Send + 'static) -> Result<WebSocket, DialError> {
    let (mut peer, link) = pipe();
    tokio::spawn(async move {
        let mut request = BytesMut::new();
        while !request.ends_with(b"\r\n\r\n") {
            peer.read_buf(&mut request).await.unwrap();
        }
        let request = String::from_utf8(request.to_vec()).unwrap();
        let key = request
            .split_once("Sec-WebSocket-Key: ")
            .unwrap()
            .1
            .split_once("\r\n")
            .unwrap()
            .0;
        // The server side knows how to answer a key, so let it.
        let (mut inner, inner_link) = pipe();
        let head = format!("GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {key}\r\n\r\n");
        inner.write_all(head.as_bytes()).await.unwrap();
        drop(
            Upgrade::accept(inner_link, &UpgradeLimits::default())
                .await
                .unwrap()
                .complete()
                .await
                .unwrap(),
        );
        let mut response = String::new();
        inner.read_to_string(&mut response).await.unwrap();
        peer.write_all(&answer(&response)).await.unwrap();
    });
    let url = "ws://hub:8790/".parse().unwrap();
    upgrade_over(link, &url, &DialOptions::default()).await
}

#[tokio::test]
async fn a_frame_behind_the_101_is_kept() {
    let dialled = dial_peer(|response| {
        [
            response.as_bytes(),
            Frame::text_from(Masking::None, "early").as_bytes(),
        ]
        .concat()
    });
    let mut socket = dialled.await.unwrap();
    assert_eq!(
        socket.receive().await.unwrap(),
        Some(Message::Text("early".into()))
    );
    assert_eq!(socket.receive().await.unwrap(), None);
}

#[tokio::test]
async fn wrong_answers_to_a_dial_are_told_apart() {
    type Answer = fn(&str) -> Vec<u8>;
    let rows: [(Answer, &str); 7] = [
        (|_| Vec::new(), "hung up"),
        (|response| response[..30].into(), "hung up"),
        (
            |_| b"HTTP/1.1 404 Not Found\r\n\r\n".into(),
            "HTTP status 404 Not Found",
        ),
        (
            |_| b"HTTP/1.1 101 OK\r\n\r\n".into(),
            "Sec-WebSocket-Accept is missing",
        ),
        (
            |_| b"HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n".into(),
            "does not match",
        ),
        (|_| b"SSH-2.0-x\r\n\r\n".into(), "not HTTP"),
        (|_| vec![b'a'; 20_000], "too large"),
    ];
    for (answer, reason) in rows {
        let error = dial_peer(answer).await.map(drop).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}, expected {reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_a_dial_is_timed_out() {
    let (peer, link) = pipe();
    let options = DialOptions {
        timeout: Duration::from_secs(3),
        ..Default::default()
    };
    let error = upgrade_over(link, &"ws://hub".parse().unwrap(), &options)
        .await
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(error, DialError::TimedOut(after) if after == options.timeout),
        "{error}"
    );
    drop(peer);
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("ws://{address}").parse().unwrap();
    let error = dial(&url, &DialOptions::default())
        .await
        .map(drop)
        .unwrap_err()
        .to_string();
    assert_eq!(error, format!("cannot connect to {address}"));
}

#[tokio::test]
async fn a_listener_that_wants_to_answers_ordinary_requests_and_knows_what_it_is_called() {
    let asked = async |request: &str, answers: bool| {
        let (mut peer, link) = pipe();
        peer.write_all(request.as_bytes()).await.unwrap();
        let seen = match Upgrade::accept_any(link, &UpgradeLimits::default())
            .await
            .unwrap()
        {
            Asked::WebSocket(upgrade) => format!("{:?} {}", upgrade.host(), upgrade.path()),
            Asked::Page(page) => {
                let seen = format!("{:?} {}", page.authorization(), page.path());
                let answer = tokio::spawn(async move {
                    if answers {
                        page.answer(200, "application/json", "{}").await
                    } else {
                        page.demand_upgrade().await
                    }
                });
                let mut response = String::new();
                peer.read_to_string(&mut response).await.unwrap();
                drop(peer);
                answer.await.unwrap().unwrap();
                return (seen, response);
            }
        };
        (seen, String::new())
    };
    let page = "GET /metrics?x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t\r\n\r\n";
    let (seen, response) = asked(page, true).await;
    assert_eq!(seen, "Some(\"Bearer t\") /metrics?x");
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(
        response.contains("Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"),
        "{response}"
    );
    let (_, response) = asked(page, false).await;
    assert!(
        response.starts_with("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n"),
        "{response}"
    );
    let upgrade = format!("GET / HTTP/1.1\r\nhost: hub:18790\r\nUpgrade: websocket\r\n{KEY}\r\n");
    assert_eq!(asked(&upgrade, true).await.0, "Some(\"hub:18790\") /");
}
