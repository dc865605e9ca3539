//! What can go wrong between this client and a hub.

use std::time::Duration;

use spiderweb_protocol::control::{Code, Refusal};
use spiderweb_transport::{AuthorizationError, DialError};

use crate::error::causes;

/// A hub that was not reached, did not answer or said no.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no connection.
    #[error("cannot reach a hub at {url}: {}", causes(.source))]
    Dial {
        /// Where it was looked for.
        url: String,
        /// Why not.
        source: DialError,
    },
    /// The token cannot travel in a header.
    #[error("the hub's token cannot be sent: {0}")]
    Token(#[from] AuthorizationError),
    /// The hub does not talk to whoever holds this token.
    #[error("the hub at {url} does not accept the token: {refusal}")]
    Denied {
        /// The hub's address.
        url: String,
        /// Its code and sentence.
        refusal: Refusal,
    },
    /// The hub said no.
    #[error("the hub refused {operation}: {refusal}")]
    Refused {
        /// What was asked.
        operation: String,
        /// The hub's code and sentence.
        refusal: Refusal,
    },
    /// No answer came.
    #[error("the hub at {url} did not answer {operation} within {limit:?}")]
    TimedOut {
        /// The hub's address.
        url: String,
        /// What was asked.
        operation: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The connection ended before the answer came.
    #[error("the connection to the hub at {url} was lost during {operation}: {reason}")]
    Lost {
        /// The hub's address.
        url: String,
        /// What was asked.
        operation: String,
        /// How it ended.
        reason: String,
    },
    /// What came is no answer to what was asked.
    #[error("the hub's answer to {operation} cannot be understood: {reason}")]
    Answer {
        /// What was asked.
        operation: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ControlError {
    /// The hub's code, if it refused something.
    pub fn code(&self) -> Option<&Code> {
        match self {
            Self::Denied { refusal, .. } | Self::Refused { refusal, .. } => Some(&refusal.code),
            _ => None,
        }
    }
}
