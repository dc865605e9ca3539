//! The sockets of a control server: it upgrades every connection and hands on what nodes say.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use base64_simd::STANDARD;
use sha1::{Digest as _, Sha1};

use crate::raw_peer::frame::{self, Frame};

/// What RFC 6455 adds to a key.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Something that happened on a connection.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) conn: usize,
    pub(super) said: Said,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// The head of its upgrade request.
    Head(String),
    Text(String),
    Pong(Vec<u8>),
    Close(Vec<u8>),
    Gone,
}

type Writers = Arc<Mutex<HashMap<usize, TcpStream>>>;

pub(super) struct Server {
    address: SocketAddr,
    arrivals: Receiver<Arrival>,
    writers: Writers,
    is_down: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

impl Server {
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (arrived, arrivals) = channel();
        let writers = Writers::default();
        let is_down = Arc::new(AtomicBool::new(false));
        let is_over = Arc::new(AtomicBool::new(false));
        thread::spawn({
            let (writers, is_down, is_over) = (writers.clone(), is_down.clone(), is_over.clone());
            move || accept(&listener, &arrived, &writers, &is_down, &is_over)
        });
        Ok(Self {
            address,
            arrivals,
            writers,
            is_down,
            is_over,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn next(&self, within: Duration) -> Option<Arrival> {
        self.arrivals.recv_timeout(within).ok()
    }

    pub(super) fn say(&self, conn: usize, frame: &Frame) {
        // The node may have gone; what it should have answered is missed then.
        let _ = self.write(conn, &frame.encode());
    }

    /// Ends a connection without a word.
    pub(super) fn cut(&self, conn: usize) {
        if let Some(stream) = self.writers.lock().expect("no writer panics").remove(&conn) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Cuts all connections and takes no new ones.
    pub(super) fn go_down(&self) {
        self.is_down.store(true, Ordering::SeqCst);
        for (_, stream) in self.writers.lock().expect("no writer panics").drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn come_back(&self) {
        self.is_down.store(false, Ordering::SeqCst);
    }

    fn write(&self, conn: usize, bytes: &[u8]) -> std::io::Result<()> {
        let mut writers = self.writers.lock().expect("no writer panics");
        match writers.get_mut(&conn) {
            Some(stream) => stream.write_all(bytes),
            None => Ok(()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.go_down();
        // Wakes the listener, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(
    listener: &TcpListener,
    arrived: &Sender<Arrival>,
    writers: &Writers,
    is_down: &AtomicBool,
    is_over: &AtomicBool,
) {
    for (conn, stream) in listener.incoming().enumerate() {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        // The recording's proxy did the same while its server was away: it took connections and closed them.
        if is_down.load(Ordering::SeqCst) {
            continue;
        }
        let (arrived, writers) = (arrived.clone(), writers.clone());
        thread::spawn(move || {
            // However a connection ends, its end is what the player hears of.
            let _ = serve(conn, stream, &arrived, &writers);
            let _ = arrived.send(Arrival {
                conn,
                said: Said::Gone,
            });
        });
    }
}

fn serve(conn: usize, mut stream: TcpStream, arrived: &Sender<Arrival>, writers: &Writers) -> Result<()> {
    let mut received = Vec::new();
    let head = loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = received.split_off(end + 4);
            break String::from_utf8(std::mem::replace(&mut received, rest))?;
        }
        read(&mut stream, &mut received)?;
    };
    let key = header(&head, "Sec-WebSocket-Key").unwrap_or_default();
    let accept = STANDARD.encode_to_string(Sha1::digest(format!("{key}{KEY_SUFFIX}")));
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    writers
        .lock()
        .expect("no writer panics")
        .insert(conn, stream.try_clone()?);
    let tell = |said| arrived.send(Arrival { conn, said });
    tell(Said::Head(head.trim_end().replace("\r\n", "\n")))?;
    loop {
        while let Some((frame, length)) = Frame::decode(&received).map_err(anyhow::Error::msg)? {
            received.drain(..length);
            match frame.opcode {
                frame::TEXT => tell(Said::Text(String::from_utf8(frame.payload)?))?,
                frame::PONG => tell(Said::Pong(frame.payload))?,
                frame::CLOSE => tell(Said::Close(frame.payload))?,
                frame::PING => {
                    writer.write_all(&Frame::new(frame::PONG, frame.payload).unmasked().encode())?;
                }
                _ => {}
            }
        }
        read(&mut stream, &mut received)?;
    }
}

fn read(stream: &mut TcpStream, received: &mut Vec<u8>) -> Result<()> {
    let mut buffer = [0; 16 * 1024];
    let length = stream.read(&mut buffer)?;
    anyhow::ensure!(length > 0, "the end");
    received.extend(&buffer[..length]);
    Ok(())
}

/// The value of a header.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
