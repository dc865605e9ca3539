//! Requests per second on one connection over loopback TCP, client and server each on a thread of its own.
//!
//! `cargo bench -p spiderweb-transport` prints one line per workload: request and reply sizes, how many requests
//! are under way at once, and the rate. What the server does with a request is nothing, so this is the ceiling the
//! transport leaves to everything above it.
//!
//! Pin it before comparing two revisions. Where the scheduler puts the two threads changes the rates tenfold on a
//! virtual machine: on one processor (`taskset -c 0`) a wake-up is a context switch and the figures show the work;
//! on two, it means waking an idle processor, and the figures at low depth show that. Each workload also checks its
//! count of replies against the bytes the socket received.

use std::error::Error;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use spiderweb_transport::{Frame, Link, Masking, Message, WebSocket};
use tokio::net::{TcpListener, TcpStream};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

struct Workload {
    request: usize,
    reply: usize,
    depth: usize,
}

const WORKLOADS: [Workload; 6] = [
    Workload {
        request: 150,
        reply: 250,
        depth: 1,
    },
    Workload {
        request: 150,
        reply: 250,
        depth: 16,
    },
    Workload {
        request: 150,
        reply: 250,
        depth: 128,
    },
    Workload {
        request: 150,
        reply: 175_000,
        depth: 1,
    },
    Workload {
        request: 150,
        reply: 1_400_000,
        depth: 1,
    },
    Workload {
        request: 1_400_000,
        reply: 250,
        depth: 1,
    },
];
const DURATION: Duration = Duration::from_secs(2);

fn main() -> Outcome<()> {
    // `cargo test --benches` only wants to know that this starts.
    let duration = if std::env::args().any(|arg| arg == "--bench") {
        DURATION
    } else {
        Duration::ZERO
    };
    for workload in WORKLOADS {
        let (rate, bytes) = measure(&workload, duration)?;
        println!(
            "request {:>9} B, reply {:>9} B, depth {:>3}: {rate:>9.0} requests/s, {:>7.1} MB/s",
            workload.request,
            workload.reply,
            workload.depth,
            bytes / 1e6
        );
    }
    Ok(())
}

/// Requests and payload bytes per second.
fn measure(workload: &Workload, duration: Duration) -> Outcome<(f64, f64)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let reply = workload.reply;
    let server = std::thread::spawn(move || {
        runtime()?.block_on(async {
            let (stream, _) = TcpListener::from_std(listener)?.accept().await?;
            serve(WebSocket::server(Link::tcp(stream)?, BytesMut::new()), reply).await
        })
    });
    let result = runtime()?.block_on(async {
        let link = Link::tcp(TcpStream::connect(address).await?)?;
        ask(WebSocket::client(link, BytesMut::new()), workload, duration).await
    });
    server.join().map_err(|_| "server panicked")??;
    result
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn serve(mut socket: WebSocket, reply: usize) -> Outcome<()> {
    let reply = vec![b'r'; reply];
    loop {
        while let Some(message) = socket.next_buffered()? {
            if let Message::Text(_) = message {
                socket.queue(Frame::text(Masking::None, reply.len(), |bytes| {
                    bytes.extend_from_slice(&reply);
                }));
            }
        }
        let read = poll_fn(|cx| match socket.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => socket.poll_fill(cx),
        });
        if read.await? == 0 {
            return Ok(());
        }
    }
}

async fn ask(mut socket: WebSocket, workload: &Workload, duration: Duration) -> Outcome<(f64, f64)> {
    let payload = vec![b'q'; workload.request];
    let request = || {
        Frame::text(Masking::Client, payload.len(), |bytes| {
            bytes.extend_from_slice(&payload);
        })
    };
    for _ in 0..workload.depth {
        socket.queue(request());
    }
    let begin = Instant::now();
    let (mut under_way, mut answered) = (workload.depth, 0_u64);
    while under_way > 0 {
        socket.receive().await?.ok_or("server hung up")?;
        let mut arrived = 1;
        while socket.next_buffered()?.is_some() {
            arrived += 1;
        }
        answered += arrived as u64;
        under_way -= arrived;
        if begin.elapsed() < duration {
            // What arrived together is replaced together, with one write.
            for _ in 0..arrived {
                socket.queue(request());
            }
            under_way += arrived;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let frame = Frame::text(Masking::None, 0, |bytes| {
        bytes.resize(bytes.len() + workload.reply, 0);
    });
    if socket.bytes_read() != answered * frame.as_bytes().len() as u64 {
        return Err("the count of replies does not match the bytes received".into());
    }
    let rate = answered as f64 / seconds;
    Ok((rate, rate * (workload.request + workload.reply) as f64))
}
