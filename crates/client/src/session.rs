//! A connection that is made again when it is lost.
//!
//! One dial at a time: callers that lost the same link wait for the same new one. The first connection is tried
//! once, so that a wrong address fails at once; a lost one is redialled with growing delays until
//! [`Options::patience`] runs out, because by then the node has begun to forget the handles anyway.

use std::sync::Arc;
use std::time::Duration;

use spiderweb_protocol::fs::{HelloReply, Op, Payload, ReplyError, Request, WireError};
use spiderweb_protocol::{Errno, Secret};
use spiderweb_transport::{Backoff, DialOptions, Dialer, WsUrl};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, broadcast};
use tokio::time::Instant;

use crate::error::{Error, LinkError};
use crate::pipeline::{Answer, AnswerError, CallError, HelloFailure, Notice, Pipeline, PipelineOptions};

/// First delay between two dials.
const BACKOFF_BASE: Duration = Duration::from_millis(100);
/// Longest delay between two dials.
const BACKOFF_MAX: Duration = Duration::from_secs(3);
/// How often one request is sent before it counts as the reason why connections break.
const MOST_SENDINGS: u32 = 5;
/// How many of these may end in silence: each costs the whole timeout.
const MOST_SILENCES: u32 = 2;

/// Where and how to connect.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node's file endpoint.
    pub url: WsUrl,
    /// How it is connected to; a hub in the same process needs no socket.
    pub dialer: Dialer,
    /// What a connection is used like.
    pub pipeline: PipelineOptions,
    /// Time for connecting and upgrading.
    pub dial_timeout: Duration,
    /// How long a lost connection is redialled, a dial and hello under way included. Nodes keep handles for 120 seconds.
    pub patience: Duration,
}

impl Options {
    /// The defaults for a node at `url`: 10 seconds to connect, 30 seconds of redialling.
    pub fn new(url: WsUrl) -> Self {
        Self {
            url,
            dialer: Dialer::tcp(),
            pipeline: PipelineOptions::default(),
            dial_timeout: Duration::from_secs(10),
            patience: Duration::from_secs(30),
        }
    }

    /// The same with a token for the node.
    #[must_use]
    pub fn token(mut self, token: Option<Secret>) -> Self {
        self.pipeline.token = token;
        self
    }

    /// The same with another time for one answer.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.pipeline.timeout = timeout;
        self
    }

    /// The same with or without events that others cause.
    #[must_use]
    pub fn subscribe(mut self, subscribe: bool) -> Self {
        self.pipeline.subscribe = subscribe;
        self
    }
}

/// A subscription to a node's events.
#[derive(Debug)]
pub struct News {
    notices: broadcast::Receiver<Notice>,
}

impl News {
    /// The next notice; `None` when the client is gone.
    ///
    /// Cancel safe: a notice is only taken when it is returned.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.notices.recv().await {
            Ok(notice) => Some(notice),
            Err(RecvError::Lagged(count)) => Some(Notice::Lagged(count)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Exchange {
    answer: Answer,
    op: Op,
    /// An earlier sending of the same request may have been carried out.
    pub(crate) repeated: bool,
}

impl Exchange {
    /// Parses the answer.
    pub(crate) fn decode<'a, T>(
        &'a self,
        decode: impl FnOnce(Payload<'a>) -> Result<T, ReplyError>,
    ) -> Result<T, Error> {
        let op = self.op;
        self.answer.decode(op, decode).map_err(|error| match error {
            AnswerError::Refused(error) => Error::Node { op, error },
            AnswerError::Broken(reason) => Error::Answer { op, reason },
        })
    }
}

#[derive(Debug)]
pub(crate) struct Session {
    options: Options,
    /// Held while dialling, so that there is one dial at a time.
    current: Mutex<Arc<Pipeline>>,
    events: broadcast::Sender<Notice>,
    hello: HelloReply,
}

impl Session {
    /// Connects, trying once.
    pub(crate) async fn connect(options: Options) -> Result<Self, Error> {
        let (events, _) = broadcast::channel(options.pipeline.events.max(1));
        let (pipeline, hello) = connect(&options, &events, None).await?;
        Ok(Self {
            options,
            current: Mutex::new(Arc::new(pipeline)),
            events,
            hello,
        })
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn url(&self) -> &WsUrl {
        &self.options.url
    }

    pub(crate) fn hello(&self) -> &HelloReply {
        &self.hello
    }

    pub(crate) fn news(&self) -> News {
        News {
            notices: self.events.subscribe(),
        }
    }

    /// Says hello again, on a new connection if the old one has ended.
    pub(crate) async fn check(&self) -> Result<HelloReply, Error> {
        let pipeline = self.pipeline(None).await?;
        let hello = pipeline.hello(&self.options.pipeline).await;
        hello.map_err(|failure| refusal(&self.options, failure))
    }

    /// Redials whenever the connection ends; returns why that is no longer possible.
    pub(crate) async fn keep(&self) -> Error {
        loop {
            match self.pipeline(None).await {
                Ok(pipeline) => pipeline.ended().await,
                Err(error) => return error,
            }
        }
    }

    /// Sends a request until it is answered: again after every lost connection.
    pub(crate) async fn exchange(&self, request: &Request) -> Result<Exchange, Error> {
        let op = request.op();
        let (mut sendings, mut silences) = (0, 0);
        let mut lost = None;
        let mut tunnel: Option<TunnelWait> = None;
        loop {
            let pipeline = self.pipeline(lost.take()).await?;
            let end = match pipeline.call(request).await {
                Ok(answer) => {
                    let repeated = sendings > 0 || tunnel.is_some();
                    if answer.is_unrouted() {
                        let wait = tunnel.get_or_insert_with(|| TunnelWait::new(self.options.patience));
                        if wait.pause().await {
                            continue;
                        }
                    }
                    return Ok(Exchange { answer, op, repeated });
                }
                Err(CallError::TimedOut(limit)) => return Err(Error::TimedOut { op, limit }),
                Err(CallError::NotSent(end)) => end,
                Err(CallError::Lost(end)) => {
                    sendings += 1;
                    silences += u32::from(matches!(end, LinkError::Silent(_)));
                    end
                }
            };
            if sendings == MOST_SENDINGS || silences == MOST_SILENCES {
                return Err(self.lost(end));
            }
            lost = Some(end);
        }
    }

    /// Sends a request that must not be carried out twice: once, whatever becomes of the connection. Waits up to
    /// `patience` for the answer.
    pub(crate) async fn exchange_once(
        &self,
        request: &Request,
        patience: Duration,
    ) -> Result<Exchange, Error> {
        let op = request.op();
        let mut lost = None;
        loop {
            let pipeline = self.pipeline(lost.take()).await?;
            match pipeline.call_patiently(request, patience).await {
                Ok(answer) if answer.is_unrouted() => return Err(self.lost(LinkError::Unrouted)),
                Ok(answer) => {
                    return Ok(Exchange {
                        answer,
                        op,
                        repeated: false,
                    });
                }
                Err(CallError::TimedOut(limit)) => return Err(Error::TimedOut { op, limit }),
                Err(CallError::NotSent(end)) => lost = Some(end),
                Err(CallError::Lost(end)) => return Err(self.lost(end)),
            }
        }
    }

    /// The connection, redialled if it has ended. `lost` is how the last one ended, for the error message.
    async fn pipeline(&self, lost: Option<LinkError>) -> Result<Arc<Pipeline>, Error> {
        // The time counts for those, too, who wait while somebody else dials: otherwise they would begin anew one after
        // the other.
        let give_up = Instant::now() + self.options.patience;
        let mut current = self.current.lock().await;
        if current.is_alive() {
            return Ok(Arc::clone(&current));
        }
        let mut failed = None;
        let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_MAX);
        loop {
            let connecting = connect(&self.options, &self.events, Some(Notice::Reconnected));
            // A node that takes the connection and says nothing would keep a dial and its hello waiting for longer.
            let Ok(connected) = tokio::time::timeout_at(give_up, connecting).await else {
                let silent = || self.lost(LinkError::Silent(self.options.patience));
                return Err(lost.map_or_else(|| failed.unwrap_or_else(silent), |end| self.lost(end)));
            };
            match connected {
                Ok((pipeline, _)) => {
                    *current = Arc::new(pipeline);
                    return Ok(Arc::clone(&current));
                }
                // A node that is back and says no will not say yes a second later. A hub that has no tunnel to the
                // node may have one again.
                Err(Error::Hello {
                    url,
                    reason,
                    source: Some(said),
                }) if said.errno != Errno::EIO => {
                    return Err(Error::Hello {
                        url,
                        reason,
                        source: Some(said),
                    });
                }
                Err(error) => {
                    let delay = backoff.next_delay();
                    if Instant::now() + delay > give_up {
                        return Err(lost.map_or(error, |end| self.lost(end)));
                    }
                    failed = Some(error);
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }

    fn lost(&self, source: LinkError) -> Error {
        Error::Lost {
            url: self.options.url.to_string(),
            source,
        }
    }
}

/// Waiting for a hub to have a tunnel again, as long as for a lost connection.
struct TunnelWait {
    give_up: Instant,
    backoff: Backoff,
}

impl TunnelWait {
    fn new(patience: Duration) -> Self {
        Self {
            give_up: Instant::now() + patience,
            backoff: Backoff::new(BACKOFF_BASE, BACKOFF_MAX),
        }
    }

    /// Waits before the next try; `false` when it has been long enough.
    async fn pause(&mut self) -> bool {
        let delay = self.backoff.next_delay();
        let goes_on = Instant::now() + delay <= self.give_up;
        if goes_on {
            tokio::time::sleep(delay).await;
        }
        goes_on
    }
}

async fn connect(
    options: &Options,
    events: &broadcast::Sender<Notice>,
    announcement: Option<Notice>,
) -> Result<(Pipeline, HelloReply), Error> {
    let dialling = DialOptions {
        timeout: options.dial_timeout,
        ..DialOptions::default()
    };
    let socket = options
        .dialer
        .dial(&options.url, &dialling)
        .await
        .map_err(|source| Error::Dial {
            url: options.url.to_string(),
            source,
        })?;
    let started = Pipeline::start(socket, &options.pipeline, events.clone(), announcement).await;
    started.map_err(|failure| refusal(options, failure))
}

fn refusal(options: &Options, failure: HelloFailure) -> Error {
    let (reason, source) = match failure {
        HelloFailure::Refused(error) => (explained(options, &error), Some(error)),
        HelloFailure::Broken(reason) => (reason, None),
        HelloFailure::Link(end) => (end.to_string(), None),
        HelloFailure::TimedOut(limit) => (format!("no answer to hello within {limit:?}"), None),
    };
    Error::Hello {
        url: options.url.to_string(),
        reason,
        source,
    }
}

/// A node's one-word refusals in a sentence.
fn explained(options: &Options, error: &WireError) -> String {
    match error.message.as_str() {
        "AuthMissing" => "it wants a token and none was given".to_owned(),
        "AuthFailed" => "the token is wrong".to_owned(),
        "ProtocolMismatch" => "it speaks another version of the protocol".to_owned(),
        "invalid FS endpoint path" => format!(
            "it serves no files at {:?}; nodes serve them at \"/v2/fs\"",
            options.url.target()
        ),
        other => other.to_owned(),
    }
}
