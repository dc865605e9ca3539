//! A server that plays the node's side of a script.
//!
//! It answers as the golden file says, with numbers and times of its own choice, checks that the replay sends what the
//! file says, and does to the disk what a node would have done. One thread, strictly in the order of the file.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64_simd::STANDARD;
use serde_json::{Value, json};
use spiderweb_testkit::raw_peer::Frame;
use spiderweb_testkit::raw_peer::frame::{PING, PONG, TEXT};
use spiderweb_testkit::replay::script::{
    Action, DiskObject, DiskState, HttpOutcome, Incoming, Outgoing, Script,
};
use spiderweb_testkit::replay::term::{Attr, Term, Wildcard};

/// A replay that has gone wrong may stop talking; then the server gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The accept key of the key that `RawPeer` uses.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Starts the server for a script and the folder it is replayed in. The thread's result says what the replay
/// did wrong.
pub(crate) fn serve(script: &Script, root: PathBuf) -> (SocketAddr, JoinHandle<Result<(), String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let script = script.clone();
    let server = thread::spawn(move || {
        let mut server = Server {
            listener,
            root,
            script,
            connections: HashMap::new(),
            numbers: HashMap::new(),
            ended: HashSet::new(),
            cookie: 0,
        };
        (0..server.script.steps.len()).try_for_each(|at| {
            let action = server.script.steps[at].action.clone();
            server
                .step(at, &action)
                .map_err(|error| format!("{action:?}: {error}"))
        })?;
        server.wait_for_the_end()
    });
    (addr, server)
}

struct Server {
    listener: TcpListener,
    root: PathBuf,
    script: Script,
    connections: HashMap<u32, Connection>,
    numbers: HashMap<String, u64>,
    ended: HashSet<u32>,
    /// Of the latest listing.
    cookie: u64,
}

struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Server {
    fn step(&mut self, at: usize, action: &Action) -> Result<(), String> {
        match action {
            Action::Note(_) | Action::Check(_) => Ok(()),
            Action::Disk(_) => self.announce(),
            Action::Open { conn, path } => {
                let mut connection = self.accept()?;
                let head = connection.head()?;
                if !head.starts_with(&format!("GET {path} HTTP/1.1\r\n")) {
                    return Err(format!("the upgrade was {head}"));
                }
                connection.upgrade(ACCEPT)?;
                self.connections.insert(*conn, connection);
                self.ended.remove(conn);
                Ok(())
            }
            Action::Drop { conn } => {
                let Some(mut connection) = self.connections.remove(conn) else {
                    return Err("it is not open".to_owned());
                };
                match connection.stream.read(&mut [0]) {
                    Ok(0) => Ok(()),
                    other => Err(format!("{other:?} instead of the end")),
                }
            }
            // A client may go on talking to a connection that has ended; nobody hears it.
            Action::Send { conn, .. } if self.ended.contains(conn) => Ok(()),
            Action::Send { conn, what } => self.receive(*conn, what),
            Action::Expect { conn, what } => {
                self.make_checks_true(at).map_err(|error| error.to_string())?;
                let frame = match what {
                    Incoming::End => {
                        self.connections.remove(conn);
                        self.ended.insert(*conn);
                        return Ok(());
                    }
                    Incoming::Frame { opcode, payload } => Frame::new(*opcode, payload.clone()),
                    Incoming::Message(message) => Frame::text(&self.value(message).to_string()),
                };
                self.connection(*conn)?.send(&frame.unmasked())
            }
            Action::Quiet { conn } => self.connection(*conn)?.answer_ping(),
            Action::Http { request, outcome } => self.http(request, outcome),
        }
    }

    /// Keeps what is open until the replay ends it, or has stopped talking.
    fn wait_for_the_end(&mut self) -> Result<(), String> {
        for connection in self.connections.values_mut() {
            match connection.stream.read(&mut [0]) {
                Ok(0) => {}
                other => return Err(format!("{other:?} after the last step")),
            }
        }
        Ok(())
    }

    /// Says that something changed on the disk, so that the replay need not wait for it.
    fn announce(&mut self) -> Result<(), String> {
        let event = json!({"channel": "acheron", "type": "acheron.e_fs_inval_dir", "payload": {"dir": 1}});
        self.connection(0)?
            .send(&Frame::text(&event.to_string()).unmasked())
    }

    fn connection(&mut self, conn: u32) -> Result<&mut Connection, String> {
        self.connections
            .get_mut(&conn)
            .ok_or_else(|| format!("connection {conn} is not open"))
    }

    fn accept(&self) -> Result<Connection, String> {
        let (stream, _) = self.listener.accept().map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Ok(Connection {
            stream,
            unread: Vec::new(),
        })
    }

    fn receive(&mut self, conn: u32, what: &Outgoing) -> Result<(), String> {
        let want = match what {
            Outgoing::Text(text) => Frame::text(text),
            Outgoing::Message(message) => Frame::text(&self.value(message).to_string()),
            Outgoing::Frame {
                opcode,
                payload,
                fin,
                mask,
                rsv,
            } => Frame {
                fin: *fin,
                rsv: *rsv,
                opcode: *opcode,
                masked: *mask,
                payload: payload.clone(),
            },
        };
        if let Outgoing::Message(message) = what {
            let cookie = message.get("payload").and_then(|payload| payload.get("cookie"));
            self.cookie = cookie
                .and_then(|cookie| cookie.to_string().parse::<f64>().ok())
                .unwrap_or(0.0) as u64;
        }
        let got = self.connection(conn)?.frame()?;
        // The order of members is the replay's to choose.
        let is_message = matches!(what, Outgoing::Message(_));
        let as_value = |frame: &Frame| serde_json::from_slice::<Value>(&frame.payload).ok();
        if got == want || (is_message && got.opcode == TEXT && as_value(&got) == as_value(&want)) {
            return Ok(());
        }
        Err(format!(
            "{:?} came instead",
            String::from_utf8_lossy(&got.payload)
        ))
    }

    fn http(&mut self, request: &str, outcome: &HttpOutcome) -> Result<(), String> {
        if *outcome == HttpOutcome::Unchecked {
            return Ok(());
        }
        let mut connection = self.accept()?;
        let mut got = vec![0; request.len()];
        connection
            .stream
            .read_exact(&mut got)
            .map_err(|error| error.to_string())?;
        if got != request.as_bytes() {
            return Err(format!("the request was {:?}", String::from_utf8_lossy(&got)));
        }
        match outcome {
            HttpOutcome::Upgraded { accept } => {
                connection.upgrade(accept)?;
                connection.answer_ping()
            }
            HttpOutcome::UpgradedThenEnded { accept, message } => {
                connection.upgrade(accept)?;
                connection.send(&Frame::text(&self.value(message).to_string()).unmasked())
            }
            HttpOutcome::Refused => connection.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            HttpOutcome::Unchecked => Ok(()),
        }
    }

    /// What must be on the disk at the checks that follow, up to the next request.
    fn make_checks_true(&self, at: usize) -> io::Result<()> {
        let following = self.script.steps[at..].iter().map(|step| &step.action);
        for action in following.take_while(|action| !matches!(action, Action::Send { .. } | Action::Disk(_)))
        {
            if let Action::Check(state) = action {
                self.make_true(state)?;
            }
        }
        Ok(())
    }

    fn make_true(&self, DiskState { path, object }: &DiskState) -> io::Result<()> {
        let path = self.root.join(path);
        let found = fs::symlink_metadata(&path).map(|metadata| metadata.is_dir());
        match (found, object) {
            (Ok(true), DiskObject::Directory(_)) | (Err(_), _) => {}
            (Ok(true), _) => fs::remove_dir_all(&path)?,
            (Ok(false), _) => fs::remove_file(&path)?,
        }
        if let (false, Some(parent)) = (*object == DiskObject::Missing, path.parent()) {
            fs::create_dir_all(parent)?;
        }
        let mode = |bits: u32| fs::set_permissions(&path, fs::Permissions::from_mode(bits));
        match object {
            DiskObject::Missing => Ok(()),
            DiskObject::File(bits, content) => fs::write(&path, content).and_then(|()| mode(*bits)),
            DiskObject::Directory(bits) => fs::create_dir_all(&path).and_then(|()| mode(*bits)),
            DiskObject::Symlink(target) => symlink(target, &path),
        }
    }

    /// A value that matches the term.
    fn value(&mut self, term: &Term) -> Value {
        match term {
            Term::Null => Value::Null,
            Term::Bool(value) => json!(value),
            Term::Number(lexeme) => serde_json::from_str(lexeme).unwrap(),
            Term::Text(text) => json!(text),
            Term::Base64(bytes) => json!(STANDARD.encode_to_string(bytes)),
            Term::Any(Wildcard::Natural) => json!(0),
            Term::Any(Wildcard::Positive) => json!(3),
            Term::Any(Wildcard::Text) => json!("in other words"),
            Term::Symbol(symbol) => {
                let next = 7000 + self.numbers.len() as u64;
                json!(*self.numbers.entry(symbol.clone()).or_insert(next))
            }
            Term::List(items) => items.iter().map(|item| self.value(item)).collect(),
            Term::Object(members) => members
                .iter()
                .map(|(name, value)| (name.clone(), self.value(value)))
                .collect(),
            Term::Names(names) => names.iter().rev().map(|name| json!(name)).collect(),
            Term::Entries(entries) => entries
                .iter()
                .rev()
                .map(|(name, attr)| json!({"name": name, "attr": self.value(attr)}))
                .collect(),
            Term::Page(count) => (self.cookie..)
                .take(*count)
                .map(|place| json!({"name": format!("entry {place}"), "attr": {}}))
                .collect(),
            Term::Attr(Attr { id, mode, size }) => json!({
                "id": self.value(id),
                "k": if size.is_some() { 1 } else { 2 },
                "m": mode | if size.is_some() { 0o100_000 } else { 0o040_000 },
                "sz": size.unwrap_or(77),
                "n": 9, "u": 1000, "g": 1000, "at": 1, "mt": 2, "ct": 3, "gen": 4,
            }),
        }
    }
}

impl Connection {
    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| error.to_string())
    }

    fn send(&mut self, frame: &Frame) -> Result<(), String> {
        self.write(&frame.encode())
    }

    fn upgrade(&mut self, accept: &str) -> Result<(), String> {
        self.write(
            format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes(),
        )
    }

    fn head(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                return Ok(String::from_utf8(self.unread.drain(..end + 4).collect()).unwrap());
            }
            self.fill()?;
        }
    }

    fn frame(&mut self) -> Result<Frame, String> {
        loop {
            if let Some((frame, length)) = Frame::decode(&self.unread)? {
                self.unread.drain(..length);
                return Ok(frame);
            }
            self.fill()?;
        }
    }

    fn answer_ping(&mut self) -> Result<(), String> {
        match self.frame()? {
            ping if ping.opcode == PING => self.send(&Frame::new(PONG, ping.payload).unmasked()),
            other => Err(format!("{other:?} instead of a ping")),
        }
    }

    fn fill(&mut self) -> Result<(), String> {
        let mut chunk = [0; 1 << 14];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err("the replay ended the connection".to_owned()),
            Ok(length) => {
                self.unread.extend(&chunk[..length]);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}
