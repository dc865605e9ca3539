//! Sockets under load, in pieces, cancelled, and at their end.
#![allow(clippy::unwrap_used, reason = "test helpers")]

use std::future::poll_fn;
use std::io::ErrorKind;
#[cfg(target_os = "linux")]
use std::io::Write as _;
use std::time::Duration;
#[cfg(target_os = "linux")]
use std::time::Instant;

use bytes::BytesMut;
use spiderweb_transport::{Frame, FrameError, Link, MAX_PAYLOAD, Masking, Message, SocketError, WebSocket};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

async fn tcp_pair() -> (WebSocket, WebSocket) {
    let (server, client) = tcp_streams().await;
    let client = Link::tcp(client).unwrap();
    (server, WebSocket::client(client, BytesMut::new()))
}

/// A serving socket and the bare stream of its peer.
async fn tcp_streams() -> (WebSocket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let server = Link::tcp(listener.accept().await.unwrap().0).unwrap();
    (WebSocket::server(server, BytesMut::new()), client)
}

fn text(length: usize) -> String {
    "0123456789abcdef".chars().cycle().take(length).collect()
}

/// Answers every text with itself and every ping with a pong, until the peer leaves.
async fn echo(mut socket: WebSocket) -> Result<(), SocketError> {
    let masking = socket.masking();
    while let Some(message) = socket.receive().await? {
        match message {
            Message::Text(text) => {
                socket
                    .send(Frame::text(masking, text.len(), |reply| reply.extend(text)))
                    .await?;
            }
            Message::Ping(payload) => socket.send(Frame::pong(masking, &payload)).await?,
            Message::Close(_) => return Ok(socket.close().await?),
            Message::Pong => {}
            Message::Unsupported { opcode } => {
                socket
                    .send(Frame::text_from(masking, &format!("unsupported {opcode}")))
                    .await?;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn messages_of_every_size_come_back_over_tcp() {
    let (server, mut client) = tcp_pair().await;
    let server = tokio::spawn(echo(server));
    for length in [
        0,
        1,
        125,
        126,
        4095,
        4096,
        65_535,
        65_536,
        1_400_000,
        MAX_PAYLOAD,
        3,
    ] {
        let sent = text(length);
        client
            .send(Frame::text_from(Masking::Client, &sent))
            .await
            .unwrap();
        let reply = client.receive().await.unwrap();
        assert!(
            reply == Some(Message::Text(sent.as_str().into())),
            "length {length}"
        );
    }
    client.close().await.unwrap();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_link_that_carries_one_byte_at_a_time_loses_nothing() {
    let (server, mut client) = WebSocket::memory_pair(1);
    tokio::spawn(echo(server));
    for length in [0, 1, 300] {
        client.queue(Frame::ping(Masking::Client, b"beat"));
        client.queue(Frame::text_from(Masking::Client, &text(length)));
        assert_eq!(client.receive().await.unwrap(), Some(Message::Pong));
        assert_eq!(
            client.receive().await.unwrap(),
            Some(Message::Text(text(length).as_str().into()))
        );
    }
}

#[tokio::test]
async fn many_pipelined_frames_of_mixed_size_come_back_in_order() {
    let (server, mut client) = tcp_pair().await;
    tokio::spawn(echo(server));
    let lengths: Vec<usize> = (0..2000)
        .map(|number| (number * 7919) % 3000 + number / 1990 * 100_000)
        .collect();
    for &length in &lengths {
        client.queue(Frame::text_from(Masking::Client, &text(length)));
    }
    // `receive` writes while it reads, so neither side waits for the other for ever.
    for &length in &lengths {
        let reply = client.receive().await.unwrap();
        assert!(
            reply == Some(Message::Text(text(length).as_str().into())),
            "length {length}"
        );
    }
    assert_eq!(client.queued_bytes(), 0);
    assert!(
        client.bytes_written() > client.bytes_read(),
        "only the client masks"
    );
}

#[tokio::test]
async fn a_message_above_the_limit_ends_the_stream_before_its_payload() {
    for (limit, length) in [(None, MAX_PAYLOAD as u64 + 1), (Some(1000), 1001)] {
        let (mut server, mut peer) = tcp_streams().await;
        if let Some(limit) = limit {
            server.set_max_message(limit);
        }
        let mut header = vec![0x81, 0xff];
        header.extend(length.to_be_bytes());
        peer.write_all(&header).await.unwrap();
        let error = server.receive().await.unwrap_err();
        let limit = limit.unwrap_or(MAX_PAYLOAD);
        assert!(
            matches!(error, SocketError::Frame(ref error) if *error == FrameError::TooLarge { length, limit }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn the_end_of_the_stream_tells_a_goodbye_from_a_breakdown() {
    let whole = Frame::text_from(Masking::Client, "hello");
    for (sent, clean) in [(0, true), (3, false), (whole.as_bytes().len(), true)] {
        let (mut server, mut peer) = tcp_streams().await;
        peer.write_all(&whole.as_bytes()[..sent]).await.unwrap();
        drop(peer);
        if sent == whole.as_bytes().len() {
            assert_eq!(
                server.receive().await.unwrap(),
                Some(Message::Text("hello".into()))
            );
        }
        match server.receive().await {
            Ok(end) => assert!(clean && end.is_none()),
            Err(SocketError::Io(error)) => assert!(!clean && error.kind() == ErrorKind::UnexpectedEof),
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test]
async fn cancelled_calls_lose_neither_input_nor_output() {
    let (mut server, client) = Link::memory_pair(64);
    let mut client = WebSocket::client(client, BytesMut::new());
    let message = text(500);

    // A frame comes in two parts, with a cancelled `receive` between them.
    let frame = Frame::text_from(Masking::None, "half and half");
    let (first, second) = frame.as_bytes().split_at(5);
    server.write_all(first).await.unwrap();
    assert!(poll_once(client.receive()).await.is_none());
    server.write_all(second).await.unwrap();
    assert_eq!(
        client.receive().await.unwrap(),
        Some(Message::Text("half and half".into()))
    );

    // A frame too large for the pipe is cancelled half-way and finished by the next call.
    assert!(
        poll_once(client.send(Frame::text_from(Masking::Client, &message)))
            .await
            .is_none()
    );
    assert!(client.queued_bytes() > 0 && client.bytes_written() > 0);
    let mut server = WebSocket::server(server, BytesMut::new());
    let (received, _) = tokio::join!(server.receive(), poll_fn(|cx| client.poll_flush(cx)));
    assert_eq!(received.unwrap(), Some(Message::Text(message.as_str().into())));
}

async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn the_last_frame_survives_input_nobody_reads() {
    for _ in 0..20 {
        let (mut server, mut client) = tcp_pair().await;
        for _ in 0..50 {
            client.queue(Frame::text_from(Masking::Client, &text(2000)));
        }
        poll_fn(|cx| client.poll_flush(cx)).await.unwrap();
        server.queue(Frame::text_from(Masking::None, "the reason"));
        let server = tokio::spawn(server.close());
        // Not read before the server has said everything: a reset would have thrown it away by now.
        tokio::task::yield_now().await;
        assert_eq!(
            client.receive().await.unwrap(),
            Some(Message::Text("the reason".into()))
        );
        assert_eq!(
            client.receive().await.unwrap(),
            Some(Message::Close(BytesMut::new()))
        );
        assert_eq!(client.receive().await.unwrap(), None);
        drop(client);
        server.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn closing_on_a_peer_that_does_nothing_takes_bounded_time() {
    let begin = tokio::time::Instant::now();
    let (server, _client) = WebSocket::memory_pair(1024);
    server.close().await.unwrap();
    let (mut server, _client) = WebSocket::memory_pair(1024);
    server.queue(Frame::text_from(Masking::None, &text(5000)));
    assert_eq!(server.close().await.unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(begin.elapsed() <= Duration::from_secs(3), "{:?}", begin.elapsed());
}

/// The original clients write header and payload separately with Nagle's algorithm on. Without an immediate
/// acknowledgement of the header every request takes 40 ms.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_peer_that_writes_header_and_payload_apart_is_not_slow() {
    const REQUESTS: u32 = 40;
    let (server, client) = tcp_streams().await;
    tokio::spawn(echo(server));
    let mut client = client.into_std().unwrap();
    let elapsed = tokio::task::spawn_blocking(move || {
        client.set_nonblocking(false).unwrap();
        let frame = Frame::text_from(Masking::Client, &text(200));
        let (header, payload) = frame.as_bytes().split_at(8);
        let mut reply = vec![0; 204];
        let begin = Instant::now();
        for _ in 0..REQUESTS {
            client.write_all(header).unwrap();
            client.write_all(payload).unwrap();
            std::io::Read::read_exact(&mut client, &mut reply).unwrap();
        }
        begin.elapsed()
    });
    let elapsed = elapsed.await.unwrap();
    assert!(
        elapsed < Duration::from_millis(40) * REQUESTS / 2,
        "{REQUESTS} requests took {elapsed:?}"
    );
}

#[tokio::test]
async fn whoever_pings_and_never_reads_is_answered_so_much_and_no_more() {
    let (mut socket, mut deaf) = tcp_streams().await;
    let ping = Frame::ping(Masking::Client, &[b'x'; 100]);
    let asking = tokio::spawn(async move {
        for _ in 0..200_000 {
            if deaf.write_all(ping.as_bytes()).await.is_err() {
                break;
            }
        }
        // Open until all was sent.
        deaf
    });
    let (mut pings, mut most) = (0, 0);
    while pings < 200_000 {
        match socket.receive().await.unwrap() {
            Some(Message::Ping(payload)) => socket.answer_ping(&payload),
            other => panic!("{other:?}"),
        }
        pings += 1;
        most = most.max(socket.queued_bytes());
    }
    assert!(most <= 128 * 1024, "{most} bytes were kept for it");
    drop(asking.await.unwrap());
}
