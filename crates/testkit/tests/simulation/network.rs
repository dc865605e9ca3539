//! The network between nodes, clients and the hub: every byte goes through here, and every misfortune comes from here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spiderweb_hub::Hub;
use spiderweb_transport::{Dialer, Link};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::ear::{Ear, Heard, member};
use crate::trace::Trace;

/// Bytes on their way within a host.
const PIPE: usize = 64 * 1024;
/// Pieces that may be on their way in one direction.
const PIECES: usize = 64;

/// A clone is the same network.
#[derive(Clone)]
pub(crate) struct Network(Arc<Mutex<Inner>>, Trace);

struct Inner {
    dice: Dice,
    hub: Option<Hub>,
    hosts: BTreeMap<&'static str, Host>,
    links: BTreeMap<u64, Arc<Wire>>,
    last_link: u64,
}

#[derive(Default)]
struct Host {
    delay: Duration,
    jitter: Duration,
    /// Nothing gets through, and nobody is told.
    is_cut_off: bool,
    /// The machine is not there.
    is_down: bool,
    /// Who it said it was, at last and before.
    identity: Option<String>,
    past: BTreeSet<String>,
}

/// One connection, from a host to the hub.
struct Wire {
    id: u64,
    host: &'static str,
    cut: CancellationToken,
    /// Which directions stand still.
    stalled: watch::Sender<[bool; 2]>,
    /// Which directions lead nowhere.
    vanishes: [AtomicBool; 2],
    conversation: Mutex<Conversation>,
}

/// What is under way on a connection, as its host sees it.
#[derive(Default)]
struct Conversation {
    target: String,
    asked: BTreeMap<u64, String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToHub = 0,
    ToHost = 1,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::ToHub { ">" } else { "<" })
    }
}

impl Network {
    pub(crate) fn new(dice: Dice, trace: Trace) -> Self {
        let inner = Inner {
            dice,
            hub: None,
            hosts: BTreeMap::new(),
            links: BTreeMap::new(),
            last_link: 0,
        };
        Self(Arc::new(Mutex::new(inner)), trace)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hub that answers from now on, if any.
    pub(crate) fn set_hub(&self, hub: Option<Hub>) {
        self.inner().hub = hub;
    }

    /// How `host` connects to the hub.
    pub(crate) fn dialer(&self, host: &'static str) -> Dialer {
        self.inner().hosts.entry(host).or_default();
        let network = self.clone();
        Dialer::over(move || network.connect(host))
    }

    fn connect(&self, host: &'static str) -> io::Result<Link> {
        let mut inner = self.inner();
        let state = inner.hosts.entry(host).or_default();
        if state.is_down {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        let is_cut_off = state.is_cut_off;
        let Some(hub) = inner.hub.clone() else {
            drop(inner);
            self.1.note(format_args!("{host}: connection refused"));
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        inner.last_link += 1;
        let wire = Arc::new(Wire {
            id: inner.last_link,
            host,
            cut: CancellationToken::new(),
            stalled: watch::Sender::new([is_cut_off; 2]),
            vanishes: [AtomicBool::new(false), AtomicBool::new(false)],
            conversation: Mutex::default(),
        });
        inner.links.insert(wire.id, wire.clone());
        drop(inner);
        let (theirs, near) = Link::memory_pair(PIPE);
        tokio::spawn(carry(self.clone(), wire, near, hub.connect()));
        Ok(theirs)
    }

    fn delay(&self, host: &str) -> Duration {
        let mut inner = self.inner();
        let Some(state) = inner.hosts.get(host) else {
            return Duration::ZERO;
        };
        let (delay, jitter) = (state.delay, state.jitter.as_millis() as u64);
        delay + inner.dice.millis(0..jitter + 1)
    }

    /// Bytes of `host` take as long as this, and at most `jitter` longer.
    pub(crate) fn slow_down(&self, host: &'static str, delay: Duration, jitter: Duration) {
        self.1.note(format_args!(
            "{host}: delay {} ms, jitter {} ms",
            delay.as_millis(),
            jitter.as_millis()
        ));
        let mut inner = self.inner();
        let state = inner.hosts.entry(host).or_default();
        (state.delay, state.jitter) = (delay, jitter);
    }

    /// Nothing of `host` gets through, or again.
    pub(crate) fn cut_off(&self, host: &'static str, is_cut_off: bool) {
        self.1.note(format_args!(
            "{host}: {}",
            if is_cut_off { "cut off" } else { "reachable" }
        ));
        self.inner().hosts.entry(host).or_default().is_cut_off = is_cut_off;
        for wire in self.wires(Some(host)) {
            wire.stalled.send_replace([is_cut_off; 2]);
        }
    }

    /// The machine of `host` is there or not; its connections end when it goes.
    pub(crate) fn set_down(&self, host: &'static str, is_down: bool) {
        self.inner().hosts.entry(host).or_default().is_down = is_down;
        if is_down {
            self.cut(Some(host));
        }
    }

    fn wires(&self, host: Option<&str>) -> Vec<Arc<Wire>> {
        let inner = self.inner();
        let wires = inner.links.values();
        wires
            .filter(|wire| host.is_none_or(|host| wire.host == host))
            .cloned()
            .collect()
    }

    /// Ends connections at once, with what is on its way; both ends see it.
    pub(crate) fn cut(&self, host: Option<&str>) {
        for wire in self.wires(host) {
            self.1.note(format_args!("link {} cut", wire.id));
            wire.cut.cancel();
        }
    }

    fn any(&self, dice: &mut Dice) -> Option<Arc<Wire>> {
        dice.pick(&self.wires(None)).cloned()
    }

    /// Ends some connection.
    pub(crate) fn cut_any(&self, dice: &mut Dice) {
        if let Some(wire) = self.any(dice) {
            self.1.note(format_args!("link {} of {} cut", wire.id, wire.host));
            wire.cut.cancel();
        }
    }

    /// Some connection takes nothing for a while, in one direction or both.
    pub(crate) fn stall_any(&self, dice: &mut Dice, duration: Duration) {
        let ways = [[true, false], [false, true], [true, true]][dice.below(3)];
        let Some(wire) = self.any(dice) else { return };
        let millis = duration.as_millis();
        self.1.note(format_args!(
            "link {} of {} stalls {ways:?} for {millis} ms",
            wire.id, wire.host
        ));
        wire.stalled.send_replace(ways);
        let network = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            let is_cut_off = network
                .inner()
                .hosts
                .get(wire.host)
                .is_some_and(|host| host.is_cut_off);
            wire.stalled.send_replace([is_cut_off; 2]);
        });
    }

    /// Some connection leads nowhere from now on, and nobody is told.
    pub(crate) fn half_open_any(&self, dice: &mut Dice) {
        let ways = [[true, false], [false, true], [true, true]][dice.below(3)];
        let Some(wire) = self.any(dice) else { return };
        self.1.note(format_args!(
            "link {} of {} half open {ways:?}",
            wire.id, wire.host
        ));
        for (vanishes, way) in wire.vanishes.iter().zip(ways) {
            vanishes.store(way, Ordering::SeqCst);
        }
    }

    /// Ends what leads nowhere.
    pub(crate) fn cut_half_open(&self) {
        for wire in self.wires(None) {
            if wire.vanishes(Way::ToHub) || wire.vanishes(Way::ToHost) {
                self.1.note(format_args!("link {} of {} cut", wire.id, wire.host));
                wire.cut.cancel();
            }
        }
    }

    /// From now on nothing goes wrong that has not gone wrong already.
    pub(crate) fn heal(&self) {
        let hosts: Vec<_> = self.inner().hosts.keys().copied().collect();
        for host in hosts {
            self.cut_off(host, false);
            self.slow_down(host, Duration::from_millis(1), Duration::ZERO);
        }
    }

    /// Links that are open.
    pub(crate) fn open_links(&self) -> usize {
        self.inner().links.len()
    }

    fn heard(&self, wire: &Wire, way: Way, heard: Heard) {
        let (id, host) = (wire.id, wire.host);
        match heard {
            Heard::Head(line) => {
                if way == Way::ToHub {
                    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
                    self.1.note(format_args!("link {id} {host} {target}"));
                    wire.conversation().target = target;
                }
            }
            Heard::Close(code) => self.1.note(format_args!("link {id} {way} close {code}")),
            Heard::Pulse => {}
            Heard::Text(text) => {
                let text = String::from_utf8_lossy(&text);
                let kind = member(&text, "type").unwrap_or("nothing");
                let tag = member(&text, "tag").and_then(|tag| tag.parse().ok());
                match tag {
                    Some(tag) => self.1.note(format_args!("link {id} {way} {kind} {tag}")),
                    None => self.1.note(format_args!("link {id} {way} {kind}")),
                }
                let mut conversation = wire.conversation();
                let is_tunnel = conversation.target == "/v2/node";
                if is_tunnel && kind == "acheron.t_fs_hello" && way == Way::ToHub {
                    self.introduced(host, &text);
                }
                // Clients ask the hub; through a tunnel the hub asks the node. The tunnel's own hello is the exception.
                let asks = if is_tunnel { Way::ToHost } else { Way::ToHub };
                let is_greeting = is_tunnel && way == asks && kind == "acheron.r_fs_hello";
                if let Some(op) = kind.strip_prefix("acheron.t_fs_") {
                    if is_tunnel && op == "hello" && way != asks {
                        return;
                    }
                    if way != asks {
                        self.1
                            .violate(format_args!("link {id} {host}: {kind} went the wrong way"));
                    }
                    let tag = tag.unwrap_or_default();
                    if conversation.asked.insert(tag, op.to_owned()).is_some() {
                        self.1
                            .violate(format_args!("link {id} {host}: tag {tag} is used twice"));
                    }
                } else if let Some(op) = kind.strip_prefix("acheron.r_fs_") {
                    if is_greeting {
                        return;
                    }
                    let asked = conversation.asked.remove(&tag.unwrap_or_default());
                    if asked.as_deref() != Some(op) {
                        self.1
                            .violate(format_args!("link {id} {host}: {kind} {tag:?} answers {asked:?}"));
                    }
                } else if let (true, Some(tag)) = (kind == "acheron.err_fs" && way != asks, tag)
                    && conversation.asked.remove(&tag).is_none()
                {
                    self.1
                        .violate(format_args!("link {id} {host}: {kind} {tag} answers nothing"));
                }
            }
        }
    }

    /// A node says who it is: never somebody it was before.
    fn introduced(&self, host: &'static str, text: &str) {
        let who = [member(text, "node_id"), member(text, "node_secret")];
        let who = who.map(Option::unwrap_or_default).join(" ");
        let mut inner = self.inner();
        let Some(state) = inner.hosts.get_mut(host) else {
            return;
        };
        if state.identity.as_ref() == Some(&who) {
            return;
        }
        let is_old = state.past.contains(&who);
        let before = state.identity.replace(who.clone());
        state.past.extend(before);
        drop(inner);
        if is_old {
            self.1
                .violate(format_args!("{host}: goes by an identity it had given up"));
        }
    }

    /// The identities a host went by in tunnels.
    pub(crate) fn identity(&self, host: &str) -> Option<String> {
        let inner = self.inner();
        let who = inner.hosts.get(host)?.identity.clone()?;
        who.split(' ').next().map(str::to_owned)
    }
}

impl Wire {
    fn conversation(&self) -> MutexGuard<'_, Conversation> {
        self.conversation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn vanishes(&self, way: Way) -> bool {
        self.vanishes
            .get(way as usize)
            .is_some_and(|vanishes| vanishes.load(Ordering::SeqCst))
    }

    async fn flows(&self, way: Way) {
        let mut stalled = self.stalled.subscribe();
        let flows = |stalled: &[bool; 2]| !stalled.get(way as usize).copied().unwrap_or_default();
        let _ = stalled.wait_for(flows).await;
    }
}

/// Carries bytes both ways until both ends have hung up, or the link is cut.
async fn carry(network: Network, wire: Arc<Wire>, near: Link, far: Link) {
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::io::split(far);
    let both = async {
        tokio::join!(
            biased;
            flow(&network, &wire, Way::ToHub, near_read, far_write),
            flow(&network, &wire, Way::ToHost, far_read, near_write),
        )
    };
    let _ = wire.cut.run_until_cancelled(both).await;
    network.inner().links.remove(&wire.id);
    network
        .1
        .note(format_args!("link {} of {} is gone", wire.id, wire.host));
}

async fn flow(
    network: &Network,
    wire: &Wire,
    way: Way,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) {
    let (queue, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let take = async {
        let mut ear = Ear::default();
        let mut last = Instant::now();
        let mut piece = vec![0; 16 * 1024];
        // Nothing at the end: hanging up takes its time as well.
        while let Ok(length) = from.read(&mut piece).await {
            let bytes = piece.get(..length).unwrap_or_default();
            if way == Way::ToHub {
                for heard in ear.listen(bytes) {
                    network.heard(wire, way, heard);
                }
            }
            last = last.max(Instant::now() + network.delay(wire.host));
            if queue.send((last, bytes.to_vec())).await.is_err() || length == 0 {
                break;
            }
        }
        drop(queue);
    };
    let give = async {
        let mut ear = Ear::default();
        while let Some((at, bytes)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            wire.flows(way).await;
            if wire.vanishes(way) {
                continue;
            }
            if bytes.is_empty() {
                let _ = to.shutdown().await;
                return;
            }
            if way == Way::ToHost {
                for heard in ear.listen(&bytes) {
                    network.heard(wire, way, heard);
                }
            }
            if to.write_all(&bytes).await.is_err() {
                // As a reset does.
                wire.cut.cancel();
                return;
            }
        }
    };
    tokio::join!(biased; take, give);
}
