//! The socket under [`Control`](super::Control): questions, their answers, and what comes besides.

use std::collections::VecDeque;
use std::time::Duration;

use spiderweb_protocol::control::{
    Answer, Code, ControlEnvelope, FieldFault, Fields, VersionAck, request, version_payload,
};
use spiderweb_transport::{Authorization, DialOptions, Frame, Message, WebSocket, dial};

use super::ControlOptions;
use super::error::ControlError;
use super::event::CatalogEvent;

/// Most events kept while an answer is awaited: what a hub replays at most, and some.
const PUSHED: usize = 1024;

/// A connection, and what came over it that nobody has asked for yet.
#[derive(Debug)]
pub(super) struct Connection {
    socket: WebSocket,
    url: String,
    timeout: Duration,
    asked: u64,
    pushed: VecDeque<CatalogEvent>,
}

/// What is asked.
pub(super) struct Question<'q> {
    /// The operation, in the hub's words.
    pub(super) name: &'q str,
    /// The name of its answer.
    pub(super) reply: &'q str,
    /// The payload's text.
    pub(super) payload: &'q str,
}

impl Connection {
    /// Dials and shakes hands. What the hub is, it may say or not.
    pub(super) async fn open(options: &ControlOptions) -> Result<(Self, Option<VersionAck>), ControlError> {
        let bearer = options.token.as_ref();
        let authorization = bearer.map(|token| Authorization::bearer(token.expose()));
        let dialling = DialOptions {
            authorization: authorization.transpose()?,
            timeout: options.dial_timeout,
        };
        let url = options.url.to_string();
        let socket = match dial(&options.url, &dialling).await {
            Ok(socket) => socket,
            Err(source) => return Err(ControlError::Dial { url, source }),
        };
        let mut connection = Self {
            socket,
            url,
            timeout: options.timeout,
            asked: 0,
            pushed: VecDeque::new(),
        };
        let version = Question {
            name: "version",
            reply: "version_ack",
            payload: &version_payload(),
        };
        let generation = connection
            .ask(version, |fields| Ok(VersionAck::decode(fields).ok()))
            .await
            .map_err(|error| connection.at_the_door(error))?;
        let connect = Question {
            name: "connect",
            reply: "connect_ack",
            payload: "{}",
        };
        let connected = connection.ask(connect, |_| Ok(())).await;
        connected.map_err(|error| connection.at_the_door(error))?;
        Ok((connection, generation))
    }

    /// A refused handshake is about the token, unless it is about the version.
    fn at_the_door(&self, error: ControlError) -> ControlError {
        match error {
            ControlError::Refused { refusal, .. }
                if matches!(refusal.code, Code::AuthFailed | Code::ProviderAuthFailed) =>
            {
                ControlError::Denied {
                    url: self.url.clone(),
                    refusal,
                }
            }
            // What original hubs do on a wrong token, often before their reason arrives.
            ControlError::Lost {
                url,
                operation,
                reason,
            } => ControlError::Lost {
                url,
                operation,
                reason: format!("{reason}, which is what some hubs do when the token is wrong"),
            },
            error => error,
        }
    }

    /// Asks, and reads the payload of the answer.
    ///
    /// Not cancel safe: the question may have been sent, and its answer will be skipped.
    pub(super) async fn ask<T>(
        &mut self,
        question: Question<'_>,
        read: impl FnOnce(Fields<'_>) -> Result<T, FieldFault>,
    ) -> Result<T, ControlError> {
        let limit = self.timeout;
        let operation = question.name.to_owned();
        let url = self.url.clone();
        tokio::time::timeout(limit, self.exchange(question, read))
            .await
            .unwrap_or(Err(ControlError::TimedOut {
                url,
                operation,
                limit,
            }))
    }

    async fn exchange<T>(
        &mut self,
        question: Question<'_>,
        read: impl FnOnce(Fields<'_>) -> Result<T, FieldFault>,
    ) -> Result<T, ControlError> {
        let Question { name, reply, payload } = question;
        self.asked += 1;
        let id = format!("spiderweb-{}", self.asked);
        let frame = Frame::text_from(self.socket.masking(), &request(name, &id, payload));
        // The hub may have said why it will not listen before it hung up.
        let sent = self.socket.send(frame).await.err();
        let unreadable = |reason: String| ControlError::Answer {
            operation: name.to_owned(),
            reason,
        };
        loop {
            let text = match self.receive().await {
                Ok(text) => text,
                Err(reason) => {
                    return Err(ControlError::Lost {
                        url: self.url.clone(),
                        operation: name.to_owned(),
                        reason: sent.map_or(reason, |error| error.to_string()),
                    });
                }
            };
            match Answer::of(&text).map_err(|error| unreadable(error.to_string()))? {
                Answer::Denied(refusal) => {
                    return Err(ControlError::Denied {
                        url: self.url.clone(),
                        refusal,
                    });
                }
                // Without an id it can only answer the one question there is.
                Answer::Refused {
                    id: answered,
                    refusal,
                } if answered.as_deref().is_none_or(|answered| answered == id) => {
                    return Err(ControlError::Refused {
                        operation: name.to_owned(),
                        refusal,
                    });
                }
                Answer::Reply(envelope) if envelope.id.as_deref() == Some(id.as_str()) => {
                    if envelope.name != reply {
                        return Err(unreadable(format!("it is called {}", envelope.name)));
                    }
                    let fields = Fields::of(envelope.payload.as_ref());
                    return fields
                        .and_then(read)
                        .map_err(|fault| unreadable(fault.to_string()));
                }
                Answer::Reply(envelope) => {
                    if let Some(event) = catalog_event(&envelope)
                        && self.pushed.len() < PUSHED
                    {
                        self.pushed.push_back(event);
                    }
                }
                // Somebody else's, or pushed.
                Answer::Refused { .. } | Answer::Other => {}
            }
        }
    }

    /// The next change of a catalog; everything else is skipped. Cancel safe.
    pub(super) async fn next_event(&mut self) -> Result<CatalogEvent, ControlError> {
        if let Some(event) = self.pushed.pop_front() {
            return Ok(event);
        }
        loop {
            let text = self.receive().await.map_err(|reason| ControlError::Lost {
                url: self.url.clone(),
                operation: "watch".to_owned(),
                reason,
            })?;
            if let Ok(Answer::Reply(envelope)) = Answer::of(&text)
                && let Some(event) = catalog_event(&envelope)
            {
                return Ok(event);
            }
        }
    }

    /// The next text, pings answered; otherwise how the connection ended. Cancel safe.
    async fn receive(&mut self) -> Result<bytes::BytesMut, String> {
        loop {
            match self.socket.receive().await {
                Ok(Some(Message::Text(text))) => return Ok(text),
                Ok(Some(Message::Ping(payload))) => self.socket.answer_ping(&payload),
                Ok(Some(Message::Pong | Message::Unsupported { .. })) => {}
                Ok(Some(Message::Close(_)) | None) => return Err("the hub hung up".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

fn catalog_event(envelope: &ControlEnvelope<'_>) -> Option<CatalogEvent> {
    if envelope.name != "node_service_event" {
        return None;
    }
    CatalogEvent::decode(Fields::of(envelope.payload.as_ref()).ok()?).ok()
}
