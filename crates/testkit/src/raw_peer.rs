//! A client with the bytes in hand.
//!
//! It stands on `std::net` alone, so that it can send what our transport would never send and notices what
//! our transport would quietly repair. Every wait has a deadline. Towards the node it is lenient (it sends
//! whatever it is told), towards what the node sends it is strict: one unmasked, unfragmented frame per
//! message.

pub mod frame;

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use self::frame::Frame;

/// How long a peer waits for an answer when the caller does not say.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// The path of the file protocol.
pub const ENDPOINT: &str = "/v2/fs";

/// The key of RFC 6455, 1.3, and the answer it must get.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Why a peer did not get what it waited for.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Nothing, or not enough, came within the time given.
    #[error("nothing came within {0:?}")]
    Timeout(Duration),
    /// The other side ended the stream.
    #[error("the connection was closed")]
    Closed,
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something came that a node must never send.
    #[error("the node sent {0}")]
    Malformed(String),
}

/// The head of an HTTP answer.
#[derive(Debug, Clone)]
pub struct HttpHead {
    /// The three digits of the status line.
    pub status: u16,
    /// The whole head as it came, status line included.
    pub text: String,
}

/// What a node says in a text frame.
#[derive(Debug, Clone)]
pub enum Message {
    /// An invalidation (`acheron.e_…`), which may come between any two replies.
    Event(Value),
    /// Everything else.
    Reply(Value),
}

impl Message {
    /// Reads a text frame; any other frame is an error.
    pub fn parse(frame: &Frame) -> Result<Self, PeerError> {
        if frame.opcode != frame::TEXT {
            return Err(PeerError::Malformed(format!(
                "a frame with opcode {} instead of text",
                frame.opcode
            )));
        }
        let value: Value = serde_json::from_slice(&frame.payload)
            .map_err(|error| PeerError::Malformed(format!("text that is not JSON ({error})")))?;
        let is_event = value["type"]
            .as_str()
            .is_some_and(|name| name.starts_with("acheron.e_"));
        Ok(if is_event {
            Self::Event(value)
        } else {
            Self::Reply(value)
        })
    }
}

/// A connection to a node.
#[derive(Debug)]
pub struct RawPeer {
    stream: TcpStream,
    unread: Vec<u8>,
    pushed_back: VecDeque<Frame>,
    events: VecDeque<Value>,
    last_tag: u32,
}

impl RawPeer {
    /// Connects and says nothing.
    pub fn dial(addr: SocketAddr) -> Result<Self, PeerError> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            unread: Vec::new(),
            pushed_back: VecDeque::new(),
            events: VecDeque::new(),
            last_tag: 0,
        })
    }

    /// Connects and upgrades on `path`.
    pub fn connect(addr: SocketAddr, path: &str) -> Result<Self, PeerError> {
        let mut peer = Self::dial(addr)?;
        peer.send_bytes(upgrade_request(addr, path).as_bytes())?;
        let head = peer.http_head(PATIENCE)?;
        if head.status != 101 || !head.text.contains(ACCEPT) {
            return Err(PeerError::Malformed(format!(
                "no upgrade on {path}: {:?}",
                head.text
            )));
        }
        Ok(peer)
    }

    /// Connects to the file protocol and says hello.
    pub fn hello(addr: SocketAddr) -> Result<Self, PeerError> {
        Self::hello_with(addr, json!({}))
    }

    /// Connects to the file protocol and says hello with these members added to the payload.
    pub fn hello_with(addr: SocketAddr, extra: Value) -> Result<Self, PeerError> {
        let mut payload = json!({"protocol": "unified-v2-fs", "proto": 2});
        if let (Some(payload), Value::Object(extra)) = (payload.as_object_mut(), extra) {
            payload.extend(extra);
        }
        let mut peer = Self::connect(addr, ENDPOINT)?;
        let reply = peer.request(json!({"type": "acheron.t_fs_hello", "payload": payload}))?;
        if reply["ok"] != true {
            return Err(PeerError::Malformed(format!("no welcome: {reply}")));
        }
        Ok(peer)
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), PeerError> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Sends one frame as it is.
    pub fn send(&mut self, frame: &Frame) -> Result<(), PeerError> {
        self.send_bytes(&frame.encode())
    }

    /// Sends a correct text frame.
    pub fn send_text(&mut self, text: &str) -> Result<(), PeerError> {
        self.send(&Frame::text(text))
    }

    /// Sends a JSON value in a correct text frame.
    pub fn send_json(&mut self, value: &Value) -> Result<(), PeerError> {
        self.send_text(&value.to_string())
    }

    /// Sends a request and returns its reply.
    ///
    /// `request` needs `type` and whatever the operation takes; the channel is added, and a tag one above the
    /// last. Events that come first are kept for [`take_event`](Self::take_event).
    pub fn request(&mut self, mut request: Value) -> Result<Value, PeerError> {
        self.last_tag += 1;
        request["channel"] = json!("acheron");
        request["tag"] = json!(self.last_tag);
        self.send_json(&request)?;
        let reply = self.reply(PATIENCE)?;
        if reply["tag"] != self.last_tag {
            return Err(PeerError::Malformed(format!(
                "{reply} in answer to tag {}",
                self.last_tag
            )));
        }
        Ok(reply)
    }

    /// The next reply; events before it are kept.
    pub fn reply(&mut self, within: Duration) -> Result<Value, PeerError> {
        let deadline = Instant::now() + within;
        loop {
            match self.message(deadline.saturating_duration_since(Instant::now()))? {
                Message::Reply(reply) => return Ok(reply),
                Message::Event(event) => self.events.push_back(event),
            }
        }
    }

    /// The next frame as a message. A frame that is none stays to be read and is an error.
    pub fn message(&mut self, within: Duration) -> Result<Message, PeerError> {
        let frame = self.frame(within)?;
        Message::parse(&frame).inspect_err(|_| self.push_back(frame))
    }

    /// Returns, and forgets, the first event set aside that `wanted` accepts.
    pub fn take_event(&mut self, wanted: impl FnMut(&Value) -> bool) -> Option<Value> {
        let at = self.events.iter().position(wanted)?;
        self.events.remove(at)
    }

    /// Sets an event aside, as if it had come while something else was waited for.
    pub fn keep_event(&mut self, event: Value) {
        self.events.push_back(event);
    }

    /// Forgets the events set aside.
    pub fn forget_events(&mut self) {
        self.events.clear();
    }

    /// The next frame of any kind.
    pub fn frame(&mut self, within: Duration) -> Result<Frame, PeerError> {
        if let Some(frame) = self.pushed_back.pop_front() {
            return Ok(frame);
        }
        let deadline = Instant::now() + within;
        loop {
            if let Some((frame, length)) = Frame::decode(&self.unread).map_err(PeerError::Malformed)? {
                self.unread.drain(..length);
                return checked(frame);
            }
            self.receive(deadline, within)?;
        }
    }

    /// Puts a frame back, to be returned by the next [`frame`](Self::frame).
    pub fn push_back(&mut self, frame: Frame) {
        self.pushed_back.push_front(frame);
    }

    /// The head of an HTTP answer; what follows it is left to be read as frames.
    pub fn http_head(&mut self, within: Duration) -> Result<HttpHead, PeerError> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                let text = String::from_utf8(head).map_err(|error| {
                    PeerError::Malformed(format!("an HTTP head that is not text: {error}"))
                })?;
                let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
                let status = status.ok_or_else(|| PeerError::Malformed(format!("the HTTP head {text:?}")))?;
                return Ok(HttpHead { status, text });
            }
            self.receive(deadline, within)?;
        }
    }

    /// Waits for the end of the stream; close frames and events on the way are fine.
    pub fn expect_end(&mut self, within: Duration) -> Result<(), PeerError> {
        let deadline = Instant::now() + within;
        loop {
            let frame = match self.frame(deadline.saturating_duration_since(Instant::now())) {
                Err(PeerError::Closed) => return Ok(()),
                other => other?,
            };
            if frame.opcode != frame::CLOSE {
                self.expect_event(&frame, "the end of the stream")?;
            }
        }
    }

    /// Waits for the end of the stream and throws away whatever comes before it.
    pub fn drain(&mut self, within: Duration) -> Result<(), PeerError> {
        let deadline = Instant::now() + within;
        loop {
            self.unread.clear();
            match self.receive(deadline, within) {
                Ok(()) => {}
                Err(PeerError::Closed) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Proves that the connection lives: sends a ping and waits for its pong. Events before it are kept.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), PeerError> {
        self.send(&Frame::new(frame::PING, payload))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let frame = self.frame(deadline.saturating_duration_since(Instant::now()))?;
            if frame.opcode == frame::PONG && frame.payload == payload {
                return Ok(());
            }
            self.expect_event(&frame, "a pong")?;
        }
    }

    /// Ends the sending direction, as a client does that has nothing more to say.
    pub fn end_sending(&mut self) -> Result<(), PeerError> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// The socket, for what this type does not offer (buffer sizes, resets).
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn expect_event(&mut self, frame: &Frame, wanted: &str) -> Result<(), PeerError> {
        match Message::parse(frame)? {
            Message::Event(event) => self.events.push_back(event),
            Message::Reply(reply) => {
                return Err(PeerError::Malformed(format!("{reply} instead of {wanted}")));
            }
        }
        Ok(())
    }

    fn receive(&mut self, deadline: Instant, within: Duration) -> Result<(), PeerError> {
        let left = deadline.saturating_duration_since(Instant::now());
        // A timeout of zero would mean none; the last look gets a millisecond.
        self.stream
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut chunk = [0; 1 << 14];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(PeerError::Closed),
            Ok(length) => {
                self.unread.extend(&chunk[..length]);
                Ok(())
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err(PeerError::Timeout(within)),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Err(PeerError::Closed),
                io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error.into()),
            },
        }
    }
}

/// The upgrade request of a correct client.
pub fn upgrade_request(addr: SocketAddr, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

fn checked(frame: Frame) -> Result<Frame, PeerError> {
    if frame.masked || !frame.fin || frame.rsv != 0 {
        return Err(PeerError::Malformed(format!(
            "a frame with opcode {}, fin {}, mask {}, reserved bits {}",
            frame.opcode, frame.fin, frame.masked, frame.rsv
        )));
    }
    Ok(frame)
}
