//! One control connection: dial, agree on the version, connect, then one request after the other.
//!
//! Ids are unique on a connection, so a late answer is nobody else's. Frames that belong to nobody, such as pushed
//! events, are skipped; pings are answered whenever the connection is looked at.

use std::io;
use std::time::Duration;

use crate::pairing::is_hopeless;
use spiderweb_daemon::with_causes;
use spiderweb_protocol::control::{
    Answer, Code, FieldFault, Fields, Refusal, VersionAck, request, version_payload,
};
use spiderweb_transport::{DialError, Frame, Message, SocketError, WebSocket};

/// Time for each answer before the first operation: a server that is there gives them at once.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Time for the answer to an operation, as original nodes wait.
pub(crate) const REPLY: Duration = Duration::from_secs(45);

/// Why the hub did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    /// There is no connection.
    #[error("{}", with_causes(.0))]
    Dial(#[from] DialError),
    /// The hub does not talk to us.
    #[error("the hub does not accept the bearer token ({0}); check --control-auth-token")]
    Denied(Refusal),
    /// The hub lets us in no further.
    #[error(
        "control operation rejected during handshake: code={code} message={message}{hint}",
        code = .0.code, message = .0.message, hint = hint(.0)
    )]
    Gate(Refusal),
    /// The hub refused the operation.
    #[error("{refusal}{hint}", refusal = .0, hint = hint(.0))]
    Refused(Refusal),
    /// No answer came.
    #[error("no answer to {what} within {} s", after.as_secs())]
    Silent {
        /// What was asked.
        what: String,
        /// How long we waited.
        after: Duration,
    },
    /// The hub hung up before it had said a word.
    #[error(
        "the hub hung up at once, as original hubs do on a wrong bearer token; check --control-auth-token"
    )]
    Snubbed,
    /// The hub hung up.
    #[error("the hub hung up")]
    HungUp,
    /// The link broke.
    #[error("{}", with_causes(.0))]
    Link(#[from] SocketError),
    /// What came is no answer to what was asked.
    #[error("the hub's answer to {what} cannot be understood: {why}")]
    Unreadable {
        /// What was asked.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The token cannot be read or sent.
    #[error("{0}")]
    Token(String),
}

/// What an operator can do about a refusal.
fn hint(refusal: &Refusal) -> &'static str {
    match refusal.code {
        Code::Forbidden | Code::ProvisioningRequired => {
            "; the hub wants the admin token here, or one made for nodes: check --control-auth-token"
        }
        Code::OperatorAuthFailed => "; check --operator-token",
        _ => "",
    }
}

impl HubError {
    /// A line of the log: what failed, and how. A handshake that was refused has a line of its own (section 1.6).
    pub(crate) fn told_as(&self, what: &str) -> String {
        match self {
            Self::Gate(_) => self.to_string(),
            _ => format!("{what}: {self}"),
        }
    }

    /// The refusal, if it is one of this operation.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The refusal, whatever was refused.
    pub(crate) fn any_refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::Denied(refusal) | Self::Gate(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether nothing but a person can change this.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.any_refusal()
            .is_some_and(|refusal| is_hopeless(&refusal.code))
    }

    /// Whether somebody surely took the connection, whatever came of it.
    pub(crate) fn is_connected(&self) -> bool {
        !matches!(
            self,
            Self::Dial(DialError::Connect { .. } | DialError::TimedOut(_))
        )
    }

    /// Whether there is no hub at its address. Asking again costs nobody anything.
    pub(crate) fn is_nobody_there(&self) -> bool {
        matches!(self, Self::Dial(DialError::Connect { source, .. }) if source.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Whether the hub does not know this node, or not with this secret.
    pub(crate) fn is_identity_lost(&self) -> bool {
        let code = self.refusal().map(|refusal| &refusal.code);
        matches!(code, Some(Code::NodeNotFound | Code::NodeAuthFailed))
    }
}

/// A connection past its handshake.
pub(super) struct Connection {
    socket: WebSocket,
    generation: VersionAck,
    asked: u64,
}

impl Connection {
    /// Shakes hands.
    pub(super) async fn open(socket: WebSocket) -> Result<Self, HubError> {
        let mut connection = Self {
            socket,
            generation: VersionAck {
                seed: false,
                head: false,
            },
            asked: 0,
        };
        let version = Question {
            what: "version",
            reply: "version_ack",
            id: "fs-node-version",
            payload: &version_payload(),
            patience: HANDSHAKE,
        };
        // What the hub is, it may say or not; the protocol it was asked for is settled.
        let generation = connection.put(version, |fields| {
            Ok(VersionAck::decode(fields).unwrap_or(VersionAck {
                seed: false,
                head: false,
            }))
        });
        connection.generation = generation.await.map_err(|error| match error {
            HubError::Refused(refusal) => HubError::Gate(refusal),
            HubError::HungUp | HubError::Link(_) => HubError::Snubbed,
            error => error,
        })?;
        let connect = Question {
            what: "connect",
            reply: "connect_ack",
            id: "fs-node-connect",
            payload: "{}",
            patience: HANDSHAKE,
        };
        let connected = connection.put(connect, |_| Ok(())).await;
        connected.map_err(|error| match error {
            HubError::Refused(refusal) => HubError::Gate(refusal),
            error => error,
        })?;
        Ok(connection)
    }

    /// What the hub said it is.
    pub(super) fn generation(&self) -> VersionAck {
        self.generation
    }

    /// Asks for an operation and reads its answer's payload.
    ///
    /// Not cancel safe: the answer to a question that was given up is skipped later.
    pub(super) async fn ask<T>(
        &mut self,
        operation: &str,
        payload: &str,
        patience: Duration,
        read: impl FnOnce(Fields<'_>) -> Result<T, FieldFault>,
    ) -> Result<T, HubError> {
        self.asked += 1;
        // The id of original nodes, which ask once on each connection; each further question has its own.
        let id = match self.asked {
            1 => "fs-node-op".to_owned(),
            asked => format!("fs-node-op-{asked}"),
        };
        let question = Question {
            what: operation,
            reply: operation,
            id: &id,
            payload,
            patience,
        };
        self.put(question, read).await
    }

    /// Whether nothing was asked yet.
    pub(super) const fn is_fresh(&self) -> bool {
        self.asked == 0
    }

    /// Waits until the hub ends the connection, and answers its pings meanwhile. Cancel safe.
    pub(super) async fn ended(&mut self) -> HubError {
        loop {
            match self.receive().await {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    async fn put<T>(
        &mut self,
        question: Question<'_>,
        read: impl FnOnce(Fields<'_>) -> Result<T, FieldFault>,
    ) -> Result<T, HubError> {
        let (what, after) = (question.what.to_owned(), question.patience);
        tokio::time::timeout(after, self.exchange(question, read))
            .await
            .unwrap_or(Err(HubError::Silent { what, after }))
    }

    async fn exchange<T>(
        &mut self,
        question: Question<'_>,
        read: impl FnOnce(Fields<'_>) -> Result<T, FieldFault>,
    ) -> Result<T, HubError> {
        let text = request(question.what, question.id, question.payload);
        let frame = Frame::text_from(self.socket.masking(), &text);
        // The hub may have said why it will not listen before it hung up.
        let mut sent = self.socket.send(frame).await.err();
        let unreadable = |why: String| HubError::Unreadable {
            what: question.what.to_owned(),
            why,
        };
        loop {
            let received = match (self.receive().await, sent.take()) {
                (Ok(received), failed) => {
                    sent = failed;
                    received
                }
                (Err(_), Some(failed)) => return Err(failed.into()),
                (Err(error), None) => return Err(error),
            };
            let answer = Answer::of(&received).map_err(|error| unreadable(error.to_string()))?;
            match answer {
                Answer::Denied(refusal) => return Err(HubError::Denied(refusal)),
                // Without an id it can only answer the one question there is.
                Answer::Refused { id, refusal } if id.as_deref().is_none_or(|id| id == question.id) => {
                    return Err(HubError::Refused(refusal));
                }
                Answer::Reply(reply) if reply.id.as_deref() == Some(question.id) => {
                    if reply.name != question.reply {
                        return Err(unreadable(format!("UnexpectedControlResponse {}", reply.name)));
                    }
                    let fields = Fields::of(reply.payload.as_ref());
                    return fields
                        .and_then(read)
                        .map_err(|fault| unreadable(fault.to_string()));
                }
                // Somebody else's, or pushed.
                Answer::Reply(_) | Answer::Refused { .. } | Answer::Other => {}
            }
        }
    }

    /// The next text, pings answered. Cancel safe.
    async fn receive(&mut self) -> Result<bytes::BytesMut, HubError> {
        loop {
            match self.socket.receive().await? {
                Some(Message::Text(text)) => return Ok(text),
                Some(Message::Ping(payload)) => self.socket.answer_ping(&payload),
                Some(Message::Pong | Message::Unsupported { .. }) => {}
                Some(Message::Close(_)) | None => return Err(HubError::HungUp),
            }
        }
    }
}

/// What is asked, and what an answer looks like.
struct Question<'q> {
    what: &'q str,
    reply: &'q str,
    id: &'q str,
    payload: &'q str,
    patience: Duration,
}
