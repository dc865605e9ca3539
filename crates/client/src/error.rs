//! What can go wrong between a caller and a node.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use spiderweb_protocol::fs::{Op, ReplyError, WireError};
use spiderweb_protocol::{Errno, InvalidName};
use spiderweb_transport::{DialError, FrameError, WsUrlError};

use crate::path::PathError;

/// A failure of a call or of something made of calls.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection and none could be made.
    #[error("cannot reach the node at {url}: {}", causes(.source))]
    Dial {
        /// Where it was looked for.
        url: String,
        /// Why not.
        source: DialError,
    },
    /// The node accepted the connection and refused to talk.
    #[error("the node at {url} refuses this client: {reason}")]
    Hello {
        /// The node's address.
        url: String,
        /// The node's words, explained.
        reason: String,
        /// What the node answered, if it did.
        source: Option<WireError>,
    },
    /// The connection broke and the request could not be completed on another one.
    #[error("the connection to {url} was lost: {source}")]
    Lost {
        /// The node's address.
        url: String,
        /// How it ended.
        source: LinkError,
    },
    /// The node did not answer this request; it still answers others.
    #[error("the node did not answer {op} within {limit:?}")]
    TimedOut {
        /// What was asked.
        op: Op,
        /// How long was waited.
        limit: Duration,
    },
    /// The node refused the request.
    #[error("{op}: {error}")]
    Node {
        /// What was asked.
        op: Op,
        /// The node's number and words.
        error: WireError,
    },
    /// The node answered something that is no answer to the request.
    #[error("{op}: {reason}")]
    Answer {
        /// What was asked.
        op: Op,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The connection broke during a request that must not be done twice, and looking does not tell whether it was
    /// done.
    #[error(
        "the connection was lost during {op} and the name exists now: whether this client or another one made it \
         cannot be told"
    )]
    Uncertain {
        /// What was asked.
        op: Op,
    },
    /// A failure, and the path it concerns.
    #[error("{path}: {source}")]
    At {
        /// The path as a person writes it.
        path: String,
        /// What happened there.
        source: Box<Error>,
    },
    /// There is no such export.
    #[error("the node has no export named {name:?}; it has {}", listed(.exports))]
    NoExport {
        /// The name asked for.
        name: String,
        /// The names there are.
        exports: Vec<String>,
        /// The path of the node, which exports lie below, when a path was to lead to the export; empty at the top.
        below: Option<String>,
    },
    /// There is no such namespace service.
    #[error("the node has no service named {name:?}; it has {}", listed(.services))]
    NoService {
        /// The name asked for.
        name: String,
        /// The services' exports.
        services: Vec<String>,
    },
    /// The path names no file but the list of exports.
    #[error("{path} is the list of exports, not a directory of one; name an export, as in {}/work/file", path.trim_end_matches('/'))]
    Top {
        /// The path of the list.
        path: String,
    },
    /// The path leads to another node than the one that was asked.
    #[error("{path} is not below {node}")]
    OtherNode {
        /// The path.
        path: String,
        /// Where everything on the node lies.
        node: String,
    },
    /// A file was expected.
    #[error("is a directory")]
    IsDirectory,
    /// A directory was expected.
    #[error("is not a directory")]
    NotDirectory,
    /// A path that asks for a directory leads to nothing.
    #[error("there is no such directory")]
    NoDirectory,
    /// A file that is no regular one: nodes open no devices, pipes and sockets.
    #[error("is a device, pipe or socket")]
    NotRegular,
    /// A directory that looks empty and cannot be removed.
    #[error(
        "it holds entries that the node does not list, such as links that lead nowhere or out of the export; remove \
         them by name"
    )]
    Unlisted,
    /// A file of a service that is longer than anything a service shows.
    #[error("it is longer than {limit} bytes")]
    TooLong {
        /// Most bytes that are read.
        limit: usize,
    },
    /// A copy came out with another length than its source.
    #[error("the copy has {found} bytes instead of {expected}")]
    Length {
        /// Bytes that were sent or announced.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A file changed while it was read, every time it was tried.
    #[error("the file changed while it was read, {attempts} times; try again when nobody writes to it")]
    Changing {
        /// How often it was tried.
        attempts: u32,
    },
    /// Reading or writing on this machine failed.
    #[error("{what}: {source}")]
    Local {
        /// What was being done, and to what.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// The caller asked to end it.
    #[error("stopped")]
    Stopped,
    /// A task of this client panicked or was cancelled.
    #[error("an internal task of the client ended early")]
    Task,
    /// An address that is no WebSocket address.
    #[error(transparent)]
    Url(#[from] WsUrlError),
    /// A text that is no path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A text that cannot name a file.
    #[error("a name must not be empty, `.` or `..`, and must not contain `/`, `\\` or NUL")]
    Name(#[from] InvalidName),
}

impl Error {
    /// The node's error number, if the node refused something.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Node { error, .. } => Some(error.errno),
            Self::Hello { source, .. } => source.as_ref().map(|error| error.errno),
            Self::At { source, .. } => source.errno(),
            _ => None,
        }
    }

    /// The same failure with the path it concerns; keeps a path that is already there.
    #[must_use]
    pub fn at(self, path: &dyn std::fmt::Display) -> Self {
        match self {
            located @ Self::At { .. } => located,
            other => Self::At {
                path: path.to_string(),
                source: Box::new(other),
            },
        }
    }

    pub(crate) fn is(&self, errno: Errno) -> bool {
        self.errno() == Some(errno)
    }

    pub(crate) fn local(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Local { what, source }
    }
}

/// How a connection ended. Cheap to copy, because every request on it ends the same way.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkError {
    /// The link failed.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// The node broke the framing rules.
    #[error("the node sent a bad frame: {0}")]
    Frame(FrameError),
    /// The node sent text that is no message.
    #[error("{0}")]
    Message(Arc<ReplyError>),
    /// The node sent a frame that is no text.
    #[error("the node sent a frame with opcode {0}")]
    Opcode(u8),
    /// The node hung up.
    #[error("the node closed the connection")]
    Closed,
    /// The node said why it hangs up.
    #[error("the node ended it: {0}")]
    Refused(WireError),
    /// Nothing at all came from the node for this long while it owed an answer.
    #[error("nothing came from the node for {0:?}")]
    Silent(Duration),
    /// A hub lost its tunnel to the node while the request was on its way.
    #[error("the hub lost its connection to the node")]
    Unrouted,
    /// This side ended it.
    #[error("this client closed it")]
    Dropped,
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<FrameError> for LinkError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<ReplyError> for LinkError {
    fn from(error: ReplyError) -> Self {
        Self::Message(Arc::new(error))
    }
}

/// An error and what caused it in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

pub(crate) fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
