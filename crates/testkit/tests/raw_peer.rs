//! The raw peer must not let a node get away with anything.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a broken assumption should stop the test where it is noticed"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use serde_json::json;
use spiderweb_testkit::raw_peer::frame::{PONG, TEXT};
use spiderweb_testkit::{Frame, PeerError, RawPeer};

const MOMENT: Duration = Duration::from_millis(20);

/// A server that upgrades one connection, sends `bytes` and keeps the connection until the client ends it.
fn server(bytes: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head =
            b"HTTP/1.1 101 x\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n".to_vec();
        head.extend(bytes);
        stream.write_all(&head).unwrap();
        while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {}
    });
    addr
}

fn peer(frames: &[Frame]) -> RawPeer {
    RawPeer::connect(server(frames.iter().flat_map(Frame::encode).collect()), "/v2/fs").unwrap()
}

#[test]
fn frames_that_no_node_may_send_are_refused() {
    let text = Frame::text("{}");
    for wrong in [
        text.clone(),
        text.clone().unmasked().unfinished(),
        text.clone().unmasked().reserved(4),
    ] {
        let error = peer(&[wrong]).frame(MOMENT).unwrap_err();
        assert!(matches!(error, PeerError::Malformed(_)), "{error}");
    }
}

#[test]
fn silence_is_a_timeout_and_not_an_end() {
    let mut peer = peer(&[]);
    assert!(matches!(peer.frame(MOMENT), Err(PeerError::Timeout(_))));
    assert!(matches!(peer.expect_end(MOMENT), Err(PeerError::Timeout(_))));
}

#[test]
fn events_are_set_aside_while_a_reply_is_awaited() {
    let event = json!({"channel": "acheron", "type": "acheron.e_fs_inval_dir", "payload": {"dir": 5}});
    let reply = json!({"type": "acheron.r_fs_exports", "tag": 1, "ok": true, "payload": {}});
    let [event_frame, reply_frame] =
        [&event, &reply].map(|value| Frame::new(TEXT, value.to_string()).unmasked());
    let mut peer = peer(&[event_frame, reply_frame]);
    let got = peer.request(json!({"type": "acheron.t_fs_exports"})).unwrap();
    assert_eq!(got, reply);
    assert_eq!(peer.take_event(|event| event["payload"]["dir"] == 4), None);
    assert_eq!(peer.take_event(|event| event["payload"]["dir"] == 5), Some(event));
    assert_eq!(peer.take_event(|_| true), None);
}

#[test]
fn a_reply_to_another_tag_is_refused() {
    let reply = Frame::text(r#"{"type":"acheron.r_fs_exports","tag":2}"#).unmasked();
    let error = peer(&[reply])
        .request(json!({"type": "acheron.t_fs_exports"}))
        .unwrap_err();
    assert!(matches!(error, PeerError::Malformed(_)), "{error}");
}

#[test]
fn a_frame_that_is_no_message_stays_to_be_read() {
    let mut peer = peer(&[Frame::new(PONG, "late").unmasked()]);
    assert!(matches!(peer.message(MOMENT), Err(PeerError::Malformed(_))));
    assert_eq!(peer.frame(MOMENT).unwrap().payload, b"late");
}
