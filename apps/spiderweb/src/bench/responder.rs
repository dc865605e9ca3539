//! A node that answers at once and does nothing: the ceiling of a measurement.
//!
//! Its frames have the size of real answers; it looks at a request only for its type and tag. It has threads of its
//! own, as a node on the same machine would.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::BytesMut;
use spiderweb_protocol::fs::{Attr, HelloReply, ListingEncoder, NodeCaps, Op, Opened, Reply};
use spiderweb_protocol::limits::MAX_PAGE_ENTRIES;
use spiderweb_protocol::{HandleId, Tag};
use spiderweb_transport::{Frame, Link, Masking, Message, Upgrade, UpgradeLimits, WebSocket, WsUrl};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;

/// A running responder; stops when dropped.
pub(super) struct Responder {
    url: WsUrl,
    /// Its threads; empty only while it is dropped.
    threads: Option<Runtime>,
}

impl Drop for Responder {
    fn drop(&mut self) {
        // Waiting for the threads is not allowed on a thread that runs tasks, and nothing depends on their end.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// An answer without its tag.
struct Canned {
    before: Vec<u8>,
    after: Vec<u8>,
}

type Answers = Arc<HashMap<&'static str, Canned>>;

impl Responder {
    /// Listens on a free port of the loopback interface.
    pub(super) fn start(block: u32, entries: u32) -> Result<Self, Failure> {
        let cannot = |error| Failure::local("cannot listen on the loopback interface", error);
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let url = format!("ws://{address}/v2/fs");
        let url = url
            .parse()
            .map_err(|error| Failure::message(format!("{error}")))?;
        let threads = Builder::new_multi_thread().enable_all().build().map_err(cannot)?;
        threads.spawn(accept(listener, Arc::new(answers(block, entries))));
        Ok(Self {
            url,
            threads: Some(threads),
        })
    }

    pub(super) fn url(&self) -> WsUrl {
        self.url.clone()
    }
}

async fn accept(listener: std::net::TcpListener, answers: Answers) -> Option<()> {
    // Whatever goes wrong from here on is seen on the other end, in the same program.
    let listener = TcpListener::from_std(listener).ok()?;
    let mut peers = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.ok()?;
        let answers = Arc::clone(&answers);
        peers.spawn(async move { serve(stream, &answers).await });
    }
}

async fn serve(stream: TcpStream, answers: &Answers) -> Option<()> {
    let link = Link::tcp(stream).ok()?;
    let upgrade = Upgrade::accept(link, &UpgradeLimits::default()).await.ok()?;
    let mut socket = upgrade.complete().await.ok()?;
    loop {
        match socket.receive().await.ok()?? {
            Message::Text(frame) => answer(&mut socket, &frame, answers)?,
            _ => return None,
        }
        while let Some(message) = socket.next_buffered().ok()? {
            if let Message::Text(frame) = message {
                answer(&mut socket, &frame, answers)?;
            }
        }
    }
}

fn answer(socket: &mut WebSocket, frame: &BytesMut, answers: &Answers) -> Option<()> {
    let (op, tag) = request(frame)?;
    let canned = answers.get(op)?;
    let size = canned.before.len() + tag.len() + canned.after.len();
    socket.queue(Frame::text(Masking::None, size, |out| {
        out.extend_from_slice(&canned.before);
        out.extend_from_slice(tag);
        out.extend_from_slice(&canned.after);
    }));
    Some(())
}

/// Type and tag of a request as our client encodes it.
fn request(frame: &[u8]) -> Option<(&str, &[u8])> {
    let rest = frame.strip_prefix(br#"{"channel":"acheron","type":"acheron.t_fs_"#)?;
    let (op, rest) = rest.split_at_checked(rest.iter().position(|&byte| byte == b'"')?)?;
    let digits = rest.strip_prefix(br#"","tag":"#)?;
    let (tag, _) = digits.split_at_checked(digits.iter().position(|byte| !byte.is_ascii_digit())?)?;
    Some((std::str::from_utf8(op).ok()?, tag))
}

fn answers(block: u32, entries: u32) -> HashMap<&'static str, Canned> {
    Op::ALL
        .iter()
        .map(|&op| (op.wire(), canned(op, &reply(op, block, entries))))
        .collect()
}

fn canned(op: Op, reply: &Reply) -> Canned {
    let mut whole = Vec::with_capacity(reply.size_hint());
    reply.encode(op, Tag(0), &mut whole);
    let marker = b"\"tag\":0";
    let at = whole.windows(marker.len()).position(|window| window == marker);
    let at = at.map_or(whole.len(), |at| at + marker.len() - 1);
    let after = whole.split_off((at + 1).min(whole.len()));
    whole.truncate(at);
    Canned { before: whole, after }
}

fn reply(op: Op, block: u32, entries: u32) -> Reply {
    const TIME: i64 = 1_770_000_000_000_000_000;
    let attr = Attr {
        id: (1 << 48) + 42,
        k: 1,
        m: 0o100_644,
        n: 1,
        u: 1000,
        g: 1000,
        sz: 1 << 20,
        at: TIME,
        mt: TIME,
        ct: TIME,
        generation: TIME as u64,
    };
    let handle = HandleId::new(7);
    match (op, handle) {
        (Op::Hello, _) => Reply::Hello(Arc::new(HelloReply {
            name: "ceiling".into(),
            os: std::env::consts::OS.into(),
            ver: env!("CARGO_PKG_VERSION").into(),
            caps: NodeCaps {
                symlink: true,
                xattr: true,
                locks: true,
                case_sensitive: true,
            },
            max_read: spiderweb_protocol::limits::MAX_READ,
            max_write: spiderweb_protocol::limits::MAX_WRITE as u32,
        })),
        (Op::Lookup | Op::Getattr, _) => Reply::Attr(attr),
        (Op::Open, Some(handle)) => Reply::Opened(Opened {
            handle,
            readable: true,
            writable: false,
            generation: attr.generation,
        }),
        (Op::Create, Some(handle)) => Reply::Created { attr, handle },
        (Op::Read, _) => Reply::Data {
            bytes: vec![0x5a; block as usize],
            eof: false,
        },
        (Op::Write, _) => Reply::Written(block as usize),
        (Op::Readdirp, _) => {
            let mut page = ListingEncoder::new(0, MAX_PAGE_ENTRIES);
            for number in 0..entries.min(MAX_PAGE_ENTRIES) {
                if page.is_full() {
                    break;
                }
                page.push(&format!("entry-{number:07}"), &attr);
            }
            Reply::Listing(page.finish(true, attr.generation))
        }
        _ => Reply::Done,
    }
}

#[cfg(test)]
mod tests {
    use spiderweb_client::Glance;
    use spiderweb_protocol::fs::{Incoming, Request};

    use super::*;

    #[test]
    fn every_request_gets_an_answer_of_its_type_with_its_tag() {
        let answers = answers(4096, 10);
        let mut out = Vec::new();
        Request::Exports.encode(Tag(4_000_000_000), &mut out);
        let (op, tag) = request(&out).unwrap();
        assert_eq!((op, tag), ("exports", &b"4000000000"[..]));
        for op in Op::ALL {
            let canned = &answers[op.wire()];
            let frame = [&canned.before[..], b"77", &canned.after].concat();
            assert_eq!(Glance::at(&frame).unwrap(), Glance::Reply(Tag(77)), "{op}");
            let Ok(Incoming::Reply { op: found, .. }) = Incoming::parse(&frame) else {
                panic!("{op}: no reply")
            };
            assert_eq!(found, *op);
        }
    }
}
