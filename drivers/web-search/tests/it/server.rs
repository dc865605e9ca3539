//! A server that plays one kind of reply and keeps what it was asked.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the server does.
pub(crate) enum Play {
    /// Always the same.
    Reply {
        status: &'static str,
        /// Lines, each with its end.
        headers: String,
        body: Vec<u8>,
    },
    /// The body in chunks of a few bytes.
    Chunked(String),
    /// So many redirects, then the body.
    Redirects(usize, String),
    /// So many times 202, then the body.
    Accepted(usize, String),
    /// Reads the request and says nothing.
    HangsUp,
}

impl Play {
    pub(crate) fn ok(body: &str) -> Self {
        Self::Reply {
            status: "200 OK",
            headers: String::new(),
            body: body.into(),
        }
    }

    /// The reply to the request that comes after `earlier` others.
    fn reply(&self, earlier: usize) -> Vec<u8> {
        let whole = |status: &str, headers: &str, body: &[u8]| {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n"
            );
            [head.as_bytes(), body].concat()
        };
        match self {
            Self::Reply {
                status,
                headers,
                body,
            } => whole(status, headers, body),
            Self::Chunked(body) => {
                let mut reply = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
                for chunk in body.as_bytes().chunks(7) {
                    let size = format!("{:x}\r\n", chunk.len());
                    reply.extend([size.as_bytes(), chunk, b"\r\n"].concat());
                }
                reply.extend(b"0\r\n\r\n");
                reply
            }
            Self::Redirects(count, _) if earlier < *count => {
                whole("302 Found", &format!("location: /hop{earlier}\r\n"), b"")
            }
            Self::Accepted(count, _) if earlier < *count => whole("202 Accepted", "", b""),
            Self::Redirects(_, body) | Self::Accepted(_, body) => whole("200 OK", "", body.as_bytes()),
            Self::HangsUp => Vec::new(),
        }
    }
}

/// A running server; it ends with the test's process.
pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(play: Play) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(&stream.unwrap(), &play, &kept);
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The heads of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(mut stream: &TcpStream, play: &Play, requests: &Mutex<Vec<String>>) {
    let mut head = String::new();
    let mut lines = BufReader::new(stream);
    while !head.ends_with("\r\n\r\n") {
        if lines.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let earlier = {
        let mut requests = requests.lock().unwrap();
        requests.push(head);
        requests.len() - 1
    };
    // A client that has had enough of a long reply hangs up.
    let _ = stream.write_all(&play.reply(earlier));
}
