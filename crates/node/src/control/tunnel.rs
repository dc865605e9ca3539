//! The tunnel: a connection the node opens, through which its hub sends the requests of clients.
//!
//! ```text
//! dial ──► hello ──accepted──► session (the same as behind the listener) ──ended──┐
//!   ▲        │ refused                                                           │
//!   └─ wait ◄┴──────────────── unless the hub does not know this node ◄──────────┘
//! ```
//!
//! Open files, ids and locks belong to the process, so they are still good when the tunnel comes back.

use std::sync::Arc;
use std::time::Duration;

use spiderweb_daemon::with_causes;
use spiderweb_protocol::control::{NODE_GONE_CLOSE, TunnelAnswer, TunnelHello, VersionAck};
use spiderweb_protocol::limits::{MAX_FRAME, SEED_FRAME};
use spiderweb_protocol::{EnvelopeError, Errno, Tag};
use spiderweb_transport::{Backoff, Frame, Message, SocketError, WebSocket, WsUrl, WsUrlError};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attendance::Rounds;
use super::connection::HubError;
use super::line::{Generation, dial_hub};
use crate::config::ControlConfig;
use crate::pairing::Identity;
use crate::session::{End, TunnelTerms, serve_tunnel};
use crate::shared::Service;

/// Where hubs take tunnels, whatever path the control address has.
const PATH: &str = "/v2/node";

/// Time for the answer to hello.
const HELLO: Duration = Duration::from_secs(10);

/// Tag of the hello; the hub counts its requests from 1 as well, but begins only after it.
const HELLO_TAG: Tag = Tag(1);

/// How soon a tunnel that was up is tried again the first time: hubs let requests wait that long.
const FIRST_RETURN: Duration = Duration::from_millis(500);

/// Close code of a hub that stops.
const GOING_AWAY_CLOSE: u16 = 1001;

/// A tunnel has to have been up for this long to be tried again so soon.
const SETTLED: Duration = Duration::from_secs(10);

/// A tunnel that was up for this long and is then closed because the node is gone opens as soon as the lease is back.
const BELIEVED: Duration = Duration::from_secs(1);

/// How long the tunnel waits for the lease before it opens regardless.
const LEASE_FIRST: Duration = Duration::from_secs(2);

/// A node's tunnel under one identity.
pub(crate) struct Tunnel {
    pub(crate) config: ControlConfig,
    pub(crate) identity: Identity,
    pub(crate) service: Arc<Service>,
    /// What the hub is.
    pub(crate) generation: Generation,
    /// How often the lease was asked for: after the first time the hub surely knows the node.
    pub(crate) rounds: watch::Receiver<Rounds>,
    /// Told when the hub seems to have given the lease up, so that it is asked for at once.
    pub(crate) doubt: Arc<Notify>,
    /// Told when the hub does not know this identity.
    pub(crate) lost: Arc<Notify>,
    /// Ends the tunnel.
    pub(crate) stop: CancellationToken,
}

/// Why a tunnel did not open.
#[derive(Debug, thiserror::Error)]
enum TunnelError {
    #[error("{what}: {0}", what = if .0.is_connected() { "websocket handshake failed" } else { "connect failed" })]
    Connect(#[from] HubError),
    #[error("invalid control URL: {0}")]
    Address(#[from] WsUrlError),
    #[error("fs hello failed: {message} ({})", errno.number())]
    Refused { errno: Errno, message: String },
    #[error("fs hello failed: no answer within {} s", HELLO.as_secs())]
    Silent,
    #[error("fs hello failed: {0}")]
    Unreadable(#[from] EnvelopeError),
    #[error("fs hello failed: {}", with_causes(.0))]
    Link(#[from] SocketError),
    #[error("fs hello failed: the hub hung up")]
    HungUp,
    #[error("the hub does not know this node")]
    UnknownIdentity,
}

impl TunnelError {
    fn is_nobody_there(&self) -> bool {
        matches!(self, Self::Connect(error) if error.is_nobody_there())
    }

    /// Whether it does not get better by itself: another process has the identity, or a token is wrong.
    fn is_for_a_person(&self) -> bool {
        match self {
            Self::Refused { errno, .. } => *errno == Errno::EBUSY,
            Self::Connect(error) => error.is_hopeless(),
            _ => false,
        }
    }
}

/// Until when the tunnel is not dialled.
struct Wait {
    pause: Duration,
    /// It is over earlier when the lease was renewed.
    ends_with_lease: bool,
}

impl Wait {
    const fn of(pause: Duration) -> Self {
        Self {
            pause,
            ends_with_lease: false,
        }
    }

    /// Until the hub is back, which the lease's renewal shows.
    const fn for_the_hub(pause: Duration) -> Self {
        Self {
            pause,
            ends_with_lease: true,
        }
    }
}

impl Tunnel {
    /// Keeps the tunnel open until it is stopped, or the hub does not know this identity.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        let mut rounds = self.rounds.clone();
        let asked = tokio::time::timeout(LEASE_FIRST, rounds.wait_for(|rounds| rounds.asked > 0));
        if stop.run_until_cancelled(asked).await.is_none() {
            return;
        }
        let mut backoff = Backoff::new(self.config.backoff, self.config.backoff_max);
        let mut is_return = false;
        // What is said of a hub that is away is said less and less often.
        let mut said_until = Instant::now();
        while let Some(opened) = stop.run_until_cancelled(self.open()).await {
            let wait = match opened {
                Ok((socket, tags_by_client)) => {
                    tracing::info!("control tunnel established for node {}", self.identity.node_id);
                    backoff.reset();
                    let begun = (is_return, tags_by_client);
                    let wait = self.serve(socket, begun, &mut backoff).await;
                    is_return = true;
                    if stop.is_cancelled() {
                        return;
                    }
                    tracing::info!("control tunnel reconnect in {} ms", wait.pause.as_millis());
                    wait
                }
                Err(TunnelError::UnknownIdentity) => {
                    tracing::warn!(
                        "control tunnel rejected saved node identity; clearing local node state and re-pairing"
                    );
                    return self.lost.notify_one();
                }
                Err(error) => {
                    let wait = if error.is_for_a_person() {
                        Wait::of(backoff.longest())
                    } else if error.is_nobody_there() {
                        Wait::for_the_hub(backoff.shortest())
                    } else {
                        Wait::for_the_hub(backoff.next_delay())
                    };
                    let words = format!(
                        "control tunnel: {error}; retrying in {} ms",
                        wait.pause.as_millis()
                    );
                    if error.is_nobody_there() && Instant::now() < said_until {
                        tracing::debug!("{words}");
                    } else {
                        tracing::warn!("{words}");
                        said_until = Instant::now() + backoff.next_delay();
                    }
                    wait
                }
            };
            if stop.run_until_cancelled(self.wait(wait)).await.is_none() {
                return;
            }
        }
    }

    async fn wait(&mut self, wait: Wait) {
        let sleep = tokio::time::sleep(wait.pause);
        if !wait.ends_with_lease {
            return sleep.await;
        }
        let renewed = self.rounds.borrow().renewed;
        tokio::select! {
            () = sleep => {}
            _ = self.rounds.wait_for(|rounds| rounds.renewed > renewed) => {}
        }
    }

    /// Serves until the tunnel ends; then says how long to wait.
    async fn serve(
        &mut self,
        socket: WebSocket,
        (is_return, tags_by_client): (bool, bool),
        backoff: &mut Backoff,
    ) -> Wait {
        let generation = *self.generation.borrow();
        let terms = TunnelTerms {
            frame_limit: frame_limit(generation),
            is_return,
            tags_by_client,
            stop: self.stop.clone(),
        };
        let opened = Instant::now();
        let end = serve_tunnel(socket, self.service.clone(), terms).await;
        if matches!(end, End::Stopped) {
            return Wait::of(Duration::ZERO);
        }
        tracing::warn!("control tunnel disconnected: {end}");
        let usual = backoff.next_delay();
        let lasted = opened.elapsed();
        match end.close_code() {
            Some(NODE_GONE_CLOSE) => {
                self.doubt.notify_one();
                Wait {
                    pause: usual,
                    // A hub that does so again and again is not dialled without a pause.
                    ends_with_lease: lasted >= BELIEVED,
                }
            }
            Some(GOING_AWAY_CLOSE) => Wait::for_the_hub(usual),
            None if lasted >= SETTLED => Wait::for_the_hub(usual.min(backoff.spread(FIRST_RETURN))),
            // Whoever is replaced and comes back at once only takes it back.
            _ => Wait::of(usual),
        }
    }

    async fn open(&self) -> Result<(WebSocket, bool), TunnelError> {
        let url: WsUrl = self.config.url.with_target(PATH)?;
        let socket = dial_hub(&self.config, &url, &self.service.tasks).await?;
        tokio::time::timeout(HELLO, self.greet(socket))
            .await
            .unwrap_or(Err(TunnelError::Silent))
    }

    /// Says hello; the result says whether tags tell clients apart.
    async fn greet(&self, mut socket: WebSocket) -> Result<(WebSocket, bool), TunnelError> {
        let hello = TunnelHello {
            node_id: self.identity.node_id.clone(),
            node_secret: self.identity.node_secret.clone(),
        };
        let frame = Frame::text_from(socket.masking(), &hello.encode(HELLO_TAG));
        socket.send(frame).await?;
        loop {
            match socket.receive().await? {
                Some(Message::Text(text)) => match TunnelAnswer::of(&text, HELLO_TAG)? {
                    TunnelAnswer::Welcome { tags_by_client } => return Ok((socket, tags_by_client)),
                    TunnelAnswer::UnknownIdentity => return Err(TunnelError::UnknownIdentity),
                    TunnelAnswer::Refused { errno, message } => {
                        return Err(TunnelError::Refused { errno, message });
                    }
                    TunnelAnswer::Other => {}
                },
                Some(Message::Ping(payload)) => socket.answer_ping(&payload),
                Some(Message::Pong | Message::Unsupported { .. }) => {}
                Some(Message::Close(_)) | None => return Err(TunnelError::HungUp),
            }
        }
    }
}

/// The largest frame a hub takes: what the older generation takes, unless it says that it is something else.
fn frame_limit(generation: Option<VersionAck>) -> usize {
    if generation.is_some_and(|generation| generation.head) {
        MAX_FRAME
    } else {
        SEED_FRAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_fit_the_hub() {
        let ack = |seed, head| Some(VersionAck { seed, head });
        for (generation, limit) in [
            (None, SEED_FRAME),
            (ack(true, false), SEED_FRAME),
            (ack(false, false), SEED_FRAME),
            (ack(false, true), MAX_FRAME),
            (Some(VersionAck::BOTH), MAX_FRAME),
        ] {
            assert_eq!(frame_limit(generation), limit, "{generation:?}");
        }
    }
}
