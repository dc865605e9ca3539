//! A node whose every word is written by the test.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spiderweb_client::{Client, Options};
use spiderweb_protocol::fs::{
    Attr, Event, FileKind, Hello, HelloReply, NodeCaps, Op, Reply, Request, encode_error,
};
use spiderweb_protocol::{EntryName, Envelope, Errno, InodeId, MessageKind, Secret, Tag};
use spiderweb_transport::{Frame, Link, Masking, Message, Upgrade, UpgradeLimits, WebSocket, WsUrl};
use tokio::net::TcpListener;

/// Long enough for anything that should happen, short enough to see a hang.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Listens for clients.
pub(crate) struct Peer {
    listener: TcpListener,
    pub(crate) url: WsUrl,
}

/// One connection, past its hello.
pub(crate) struct Conversation(WebSocket);

impl Peer {
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("ws://{address}/v2/fs").parse().unwrap();
        Self { listener, url }
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            patience: SOON,
            ..Options::new(self.url.clone()).timeout(SOON)
        }
    }

    /// The next connection, before its hello.
    pub(crate) async fn accept_raw(&self) -> WebSocket {
        let (stream, _) = self.listener.accept().await.unwrap();
        let link = Link::tcp(stream).unwrap();
        let upgrade = Upgrade::accept(link, &UpgradeLimits::default()).await.unwrap();
        upgrade.complete().await.unwrap()
    }

    /// The next connection, its hello answered.
    pub(crate) async fn accept(&self) -> Conversation {
        let mut conversation = Conversation(self.accept_raw().await);
        conversation.greet(None).await;
        conversation
    }

    /// A client, and this end of its first connection.
    pub(crate) async fn meet(&self, options: Options) -> (Client, Conversation) {
        let (client, conversation) = tokio::join!(Client::connect(options), self.accept());
        (client.unwrap(), conversation)
    }
}

impl Conversation {
    pub(crate) fn new(socket: WebSocket) -> Self {
        Self(socket)
    }

    /// Answers the hello, as a node that wants `token` if there is one.
    pub(crate) async fn greet(&mut self, token: Option<&Secret>) {
        let frame = self.text().await.unwrap();
        let envelope = Envelope::parse(&frame).unwrap();
        assert_eq!(envelope.kind, MessageKind::Request(Op::Hello));
        let tag = envelope.tag.unwrap();
        match Hello::check(envelope.payload.as_ref(), token) {
            Ok(_) => self.reply(Op::Hello, tag, &Reply::Hello(Arc::new(hello()))).await,
            Err(refusal) => self.refuse(tag, Errno::EINVAL, &refusal.to_string()).await,
        }
    }

    /// The next text; `None` when the client has hung up.
    pub(crate) async fn text(&mut self) -> Option<Bytes> {
        loop {
            match self.0.receive().await {
                Ok(Some(Message::Text(frame))) => return Some(frame.freeze()),
                Ok(Some(Message::Close(_)) | None) | Err(_) => return None,
                Ok(Some(_)) => {}
            }
        }
    }

    /// The next message of any kind.
    pub(crate) async fn message(&mut self) -> Message {
        self.0.receive().await.unwrap().unwrap()
    }

    /// The next request; `None` when the client has hung up.
    pub(crate) async fn next(&mut self) -> Option<(Tag, Request)> {
        let frame = self.text().await?;
        let envelope = Envelope::parse(&frame).unwrap();
        let MessageKind::Request(op) = envelope.kind else {
            panic!("not a request: {envelope:?}")
        };
        let request = Request::from_envelope(op, &envelope, &frame).unwrap();
        Some((envelope.tag.unwrap(), request))
    }

    /// The next request, which must come.
    pub(crate) async fn request(&mut self) -> (Tag, Request) {
        let next = tokio::time::timeout(SOON, self.next()).await;
        next.expect("no request came").expect("the client hung up")
    }

    pub(crate) async fn reply(&mut self, op: Op, tag: Tag, reply: &Reply) {
        self.send(|out| reply.encode(op, tag, out)).await;
    }

    pub(crate) async fn refuse(&mut self, tag: Tag, errno: Errno, message: &str) {
        self.send(|out| encode_error(Some(tag), errno, message, out))
            .await;
    }

    pub(crate) async fn event(&mut self, event: Event) {
        self.send(|out| event.encode(out)).await;
    }

    pub(crate) async fn raw(&mut self, frame: Frame) {
        // The client may have had enough already.
        let _ = self.0.send(frame).await;
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.raw(Frame::text_from(Masking::None, text)).await;
    }

    async fn send(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        self.raw(Frame::text(Masking::None, 512, fill)).await;
    }
}

pub(crate) fn hello() -> HelloReply {
    HelloReply {
        name: "scripted".into(),
        os: "linux".into(),
        ver: "0".into(),
        caps: NodeCaps {
            symlink: true,
            xattr: true,
            locks: true,
            case_sensitive: true,
        },
        max_read: spiderweb_protocol::limits::MAX_READ,
        max_write: spiderweb_protocol::limits::MAX_WRITE as u32,
    }
}

pub(crate) fn id(local: u64) -> InodeId {
    InodeId::compose(0, local).unwrap()
}

pub(crate) fn name(text: &str) -> EntryName {
    EntryName::new(text).unwrap()
}

pub(crate) fn attr(id: InodeId, kind: FileKind, size: u64, modified: i64) -> Attr {
    let mode = match kind {
        FileKind::Directory => 0o040_755,
        _ => 0o100_644,
    };
    Attr {
        id: id.get(),
        k: Attr::wire_kind(kind),
        m: mode,
        n: 1,
        u: 0,
        g: 0,
        sz: size,
        at: modified,
        mt: modified,
        ct: modified,
        generation: modified.unsigned_abs(),
    }
}
