//! The line to the hub: at most one control connection, opened when it is needed and kept.
//!
//! What the hub said it is on the last connection is there for others to see: the tunnel wants to know how large its
//! frames may be.

use std::time::Duration;

use spiderweb_protocol::Dialect;
use spiderweb_protocol::control::{Code, FieldFault, Fields, Operation, Refusal, VersionAck};
use spiderweb_transport::{Authorization, DialError, DialOptions, WebSocket, WsUrl};
use tokio::sync::watch;

use super::connection::{Connection, HubError};
use crate::config::ControlConfig;
use spiderweb_daemon::Tasks;

/// A line to one hub.
pub(crate) struct Line {
    config: ControlConfig,
    tasks: Tasks,
    connection: Option<Connection>,
    /// Counts the connections.
    epoch: u64,
    generation: watch::Sender<Option<VersionAck>>,
}

/// What a hub said it is, on the last connection; `None` before the first.
pub(crate) type Generation = watch::Receiver<Option<VersionAck>>;

/// Dials the hub at `url`, which is its control address or another of the same server. The token is read anew every
/// time.
pub(crate) async fn dial_hub(
    config: &ControlConfig,
    url: &WsUrl,
    tasks: &Tasks,
) -> Result<WebSocket, HubError> {
    let source = config.token.clone();
    let token = tasks.blocking(move || source.read()).await;
    let token = token
        .unwrap_or(Ok(None))
        .map_err(|error| HubError::Token(error.to_string()))?;
    let authorization = token
        .map(|token| Authorization::bearer(token.expose()))
        .transpose();
    let options = DialOptions {
        authorization: authorization.map_err(|error| HubError::Token(error.to_string()))?,
        ..DialOptions::default()
    };
    let dialled = config.dialer.dial(url, &options).await;
    dialled.map_err(|error| match error {
        DialError::Refused { status, reason } if matches!(status, 401 | 403) => {
            let words = format!("HTTP {status} {reason}");
            HubError::Denied(Refusal::saying(Code::AuthFailed, words.trim()))
        }
        error => error.into(),
    })
}

impl Line {
    pub(crate) fn new(config: ControlConfig, tasks: Tasks) -> Self {
        Self {
            config,
            tasks,
            connection: None,
            epoch: 0,
            generation: watch::Sender::new(None),
        }
    }

    /// What the hub said it is.
    pub(crate) fn generation(&self) -> Generation {
        self.generation.subscribe()
    }

    /// Which connection this is, or was the last: behind another one there may be another hub.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether there is a connection, as far as is known.
    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Connects if there is no connection, and says which words the hub speaks.
    pub(crate) async fn connect(&mut self) -> Result<Dialect, HubError> {
        if self.connection.is_none() {
            let socket = dial_hub(&self.config, &self.config.url, &self.tasks).await?;
            let connection = Connection::open(socket).await?;
            self.generation.send_replace(Some(connection.generation()));
            self.connection = Some(connection);
            self.epoch += 1;
        }
        let generation = *self.generation.borrow();
        Ok(generation.map_or(Dialect::Seed, VersionAck::dialect))
    }

    /// Asks for an operation in the words of `dialect`, waits `patience` for its answer and reads the payload. A
    /// connection that had been left by the hub is replaced once, where asking twice does no harm. Where it does, a new
    /// one is opened, because a hub may leave after each answer, and nobody could tell.
    pub(crate) async fn ask<T>(
        &mut self,
        operation: Operation,
        dialect: Dialect,
        payload: &str,
        patience: Duration,
        mut read: impl FnMut(Fields<'_>) -> Result<T, FieldFault>,
    ) -> Result<T, HubError> {
        let is_repeatable = !matches!(operation, Operation::NodeJoin | Operation::NodeJoinRequest);
        if !is_repeatable {
            self.connection.take_if(|connection| !connection.is_fresh());
        }
        let mut may_repeat = is_repeatable && self.connection.is_some();
        loop {
            self.connect().await?;
            let Some(connection) = &mut self.connection else {
                return Err(HubError::HungUp);
            };
            let asked = connection
                .ask(operation.wire(dialect), payload, patience, &mut read)
                .await;
            match &asked {
                Err(HubError::HungUp | HubError::Link(_)) => self.connection = None,
                // After silence nobody knows what comes; after nonsense nobody wants to.
                Err(HubError::Silent { .. } | HubError::Unreadable { .. } | HubError::Denied(_)) => {
                    self.connection = None;
                    return asked;
                }
                _ => return asked,
            }
            if !std::mem::take(&mut may_repeat) {
                return asked;
            }
        }
    }

    /// Resolves when the hub ends the connection, if there is one; meanwhile its pings are answered. Cancel safe.
    pub(crate) async fn ended(&mut self) -> HubError {
        let error = match &mut self.connection {
            Some(connection) => connection.ended().await,
            None => std::future::pending().await,
        };
        self.connection = None;
        error
    }

    /// Waits, and attends to the connection meanwhile. Cancel safe.
    pub(crate) async fn wait(&mut self, pause: Duration) {
        let mut sleep = std::pin::pin!(tokio::time::sleep(pause));
        loop {
            tokio::select! {
                () = &mut sleep => return,
                _ = self.ended() => {}
            }
        }
    }
}
