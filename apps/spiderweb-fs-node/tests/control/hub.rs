//! A hub that does what a test says: it answers the handshake by itself and hands everything else to the test.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use spiderweb_transport::{Frame, Link, Message, Upgrade, UpgradeLimits, WebSocket};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::place::SOON;

/// What a hub says it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Generation {
    Seed,
    Head,
    Both,
}

/// How a hub receives its peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// As it should.
    Polite(Generation),
    /// It tells every token that it is wrong, as originals do.
    Deaf,
    /// It lets nobody past `connect`.
    Gate,
    /// It takes connections and says nothing.
    Silent,
}

/// Something a node said.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) connection: usize,
    pub(crate) path: String,
    /// Names of the payload's members in the order they came.
    pub(crate) members: Vec<String>,
    pub(crate) message: Said,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    Text(Value),
    Ping,
    Close(Vec<u8>),
    Gone,
}

/// Names of members in the order they stand in a text.
#[derive(Default)]
pub(crate) struct Names(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self::default())
    }
}

impl<'de> Visitor<'de> for Names {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some((name, IgnoredAny)) = map.next_entry()? {
            self.0.push(name);
        }
        Ok(self)
    }
}

fn members_of_payload(text: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Frame {
        #[serde(default)]
        payload: Names,
    }
    serde_json::from_slice(text).map_or_else(|_| Vec::new(), |frame: Frame| frame.payload.0)
}

enum Order {
    Frame(Frame),
    Drop,
}

type Orders = Arc<Mutex<HashMap<usize, UnboundedSender<Order>>>>;

pub(crate) struct Hub {
    address: SocketAddr,
    runtime: Option<Runtime>,
    arrivals: Receiver<Arrival>,
    /// What came before anybody asked for it.
    early: Vec<Arrival>,
    orders: Orders,
}

impl Hub {
    pub(crate) fn start(manner: Manner) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), manner)
    }

    pub(crate) fn start_at(address: SocketAddr, manner: Manner) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let (arrived, arrivals) = channel();
        let orders = Orders::default();
        let address = listener.local_addr().unwrap();
        runtime.spawn(accept(listener, manner, arrived, orders.clone()));
        Self {
            address,
            runtime: Some(runtime),
            arrivals,
            early: Vec::new(),
            orders,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    /// Vanishes, with all its connections; gives the address it had.
    pub(crate) fn stop(mut self) -> SocketAddr {
        self.runtime
            .take()
            .unwrap()
            .shutdown_timeout(Duration::from_secs(5));
        self.address
    }

    /// The next thing said that is wanted; other things wait.
    #[track_caller]
    pub(crate) fn next(&mut self, what: &str, wanted: impl Fn(&Arrival) -> bool) -> Arrival {
        if let Some(at) = self.early.iter().position(&wanted) {
            return self.early.remove(at);
        }
        let deadline = Instant::now() + SOON;
        loop {
            match self
                .arrivals
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(arrival) if wanted(&arrival) => return arrival,
                Ok(arrival) => self.early.push(arrival),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("{what} did not come; instead: {:#?}", self.early)
                }
            }
        }
    }

    /// Gives back what was only looked at.
    pub(crate) fn put_back(&mut self, arrival: Arrival) {
        self.early.insert(0, arrival);
    }

    /// Everything said until now and not asked for.
    pub(crate) fn rest(&mut self) -> &[Arrival] {
        self.early.extend(self.arrivals.try_iter());
        &self.early
    }

    pub(crate) fn say(&self, connection: usize, text: &str) {
        self.order(
            connection,
            Order::Frame(Frame::text_from(spiderweb_transport::Masking::None, text)),
        );
    }

    pub(crate) fn ping(&self, connection: usize, payload: &[u8]) {
        self.order(
            connection,
            Order::Frame(Frame::ping(spiderweb_transport::Masking::None, payload)),
        );
    }

    pub(crate) fn close(&self, connection: usize, payload: &[u8]) {
        self.order(
            connection,
            Order::Frame(Frame::close(spiderweb_transport::Masking::None, payload)),
        );
    }

    /// Ends a connection without a word.
    pub(crate) fn drop_connection(&self, connection: usize) {
        self.order(connection, Order::Drop);
    }

    fn order(&self, connection: usize, order: Order) {
        let orders = self.orders.lock().unwrap();
        // The node may be gone; what it has to do then is tested elsewhere.
        let _ = orders[&connection].send(order);
    }
}

async fn accept(listener: TcpListener, manner: Manner, arrived: Sender<Arrival>, orders: Orders) {
    let mut connections = 0;
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections += 1;
        let (sender, receiver) = unbounded_channel();
        orders.lock().unwrap().insert(connections, sender);
        let (arrived, link) = (arrived.clone(), Link::tcp(stream).unwrap());
        tokio::spawn(serve(connections, link, manner, arrived, receiver));
    }
}

async fn serve(
    connection: usize,
    link: Link,
    manner: Manner,
    arrived: Sender<Arrival>,
    mut orders: UnboundedReceiver<Order>,
) {
    let Ok(upgrade) = Upgrade::accept(link, &UpgradeLimits::default()).await else {
        return;
    };
    let path = upgrade.path().to_owned();
    let mut socket = upgrade.complete().await.unwrap();
    if manner == Manner::Deaf {
        let denied = json!({"type": "error", "request": "unknown", "code": "provider_auth_failed", "message": "forbidden", "timestamp": 1});
        socket.queue(Frame::text_from(socket.masking(), &denied.to_string()));
        let _ = socket.close().await;
        return;
    }
    let tell_of = |members, message| {
        let path = path.clone();
        let _ = arrived.send(Arrival {
            connection,
            path,
            members,
            message,
        });
    };
    let tell = |message| tell_of(Vec::new(), message);
    loop {
        tokio::select! {
            message = socket.receive() => match message {
                Ok(Some(Message::Text(text))) => {
                    let members = members_of_payload(&text);
                    let text: Value = serde_json::from_slice(&text).unwrap();
                    if manner != Manner::Silent && !shake_hands(&mut socket, manner, &text) {
                        tell_of(members, Said::Text(text));
                    }
                }
                Ok(Some(Message::Ping(payload))) => {
                    socket.queue(Frame::pong(socket.masking(), &payload));
                    tell(Said::Ping);
                }
                Ok(Some(Message::Close(payload))) => tell(Said::Close(payload.to_vec())),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return tell(Said::Gone),
            },
            order = orders.recv() => match order {
                Some(Order::Frame(frame)) => {
                    let _ = socket.send(frame).await;
                }
                Some(Order::Drop) | None => return,
            },
        }
    }
}

/// Answers what begins every control connection. Whether it was that.
fn shake_hands(socket: &mut WebSocket, manner: Manner, text: &Value) -> bool {
    let answer = match (text["type"].as_str().unwrap(), manner) {
        ("control.version", _) => {
            let mut payload = json!({"protocol": "unified-v2"});
            let generation = match manner {
                Manner::Polite(generation) => generation,
                _ => Generation::Seed,
            };
            if generation != Generation::Head {
                payload["fsrpc_node"] = "unified-v2-fs".into();
            }
            if generation != Generation::Seed {
                payload["acheron_node"] = "unified-v2-fs".into();
            }
            assert_eq!(text["payload"], json!({"protocol": "unified-v2"}));
            json!({"channel": "control", "type": "control.version_ack", "id": text["id"], "ok": true, "payload": payload})
        }
        ("control.connect", Manner::Gate) => json!({
            "channel": "control", "type": "control.error", "id": text["id"], "ok": false,
            "error": {"code": "provisioning_required", "message": "ask an admin"},
        }),
        ("control.connect", _) => {
            json!({"channel": "control", "type": "control.connect_ack", "id": text["id"], "ok": true, "payload": {"role": "admin"}})
        }
        _ => return false,
    };
    socket.queue(Frame::text_from(socket.masking(), &answer.to_string()));
    true
}
