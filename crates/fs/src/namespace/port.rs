//! What a projected tree needs from the service behind it.

use bytes::Bytes;

use crate::FsError;
use crate::source::BoxFuture;

/// A file whose text the service makes, at the moment it is read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LiveFile {
    /// `result.json`
    Result,
    /// `last_error.txt`
    LastError,
    /// `status.json`
    Status,
    /// `metrics.json`
    Metrics,
    /// `config.json`
    Config,
    /// `health.json`
    Health,
}

/// What a write asks of the service.
#[derive(Clone, Debug)]
pub enum Command {
    /// Run the driver with this content of `control/invoke.json`, or of `control/invoke.<name>.json`.
    Invoke {
        /// The whole content, not trimmed.
        content: Bytes,
        /// The name in the file's name, if there is one.
        name: Option<Box<str>>,
        /// Tells writers apart, for the sake of fairness.
        writer: u64,
    },
    /// A payload goes on in further writes: nothing, unless an invoke would be refused now whatever it says.
    Await,
    /// `control/enable`
    Enable,
    /// `control/disable`
    Disable,
    /// `control/restart`
    Restart,
    /// `control/reset`
    Reset,
    /// `control/cancel`; the content says which invoke, every running one if it is empty.
    Cancel(Bytes),
    /// The whole content of `config.json`.
    Configure(Bytes),
}

/// Files that changed, in order; one can occur twice.
pub type Changed = smallvec::SmallVec<[LiveFile; 6]>;

/// What came of a command.
#[derive(Debug)]
pub struct Done {
    /// Its answer.
    pub result: Result<(), FsError>,
    /// What it changed.
    pub changed: Changed,
}

/// How a command goes.
pub enum Action {
    /// It is over.
    Done(Done),
    /// It goes on. `changed` is what changed so far. The future is to be awaited even if nobody wants the answer
    /// any more: it says which files others have to be told of.
    Begun {
        /// What changed so far.
        changed: Changed,
        /// The end, with what changed since.
        end: BoxFuture<Done>,
    },
}

/// An invoke that is over and not forgotten yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PastInvoke {
    /// Counts up with every invoke; never used twice.
    pub number: u64,
    /// The name it was given, or its number.
    pub name: Box<str>,
}

/// The service behind a projected tree.
///
/// The caller may ask from any number of threads. The implementer answers without waiting for a driver: what takes
/// time comes as [`Action::Begun`].
pub trait ServicePort: Send + Sync {
    /// The text of a file as of now.
    fn text(&self, file: LiveFile) -> Bytes;

    /// Carries out a command.
    fn act(&self, command: Command) -> Action;

    /// The invokes that are remembered, oldest first.
    fn past(&self) -> Vec<PastInvoke>;

    /// The record of one of them.
    fn record(&self, number: u64) -> Option<Bytes>;
}
