//! One run of a driver: payload in, outcome out, under a deadline.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spiderweb_protocol::Errno;
use tokio_util::sync::CancellationToken;

/// A future that owns what it needs.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs invokes one way: as a process, through a library, as a module.
///
/// The caller may run any number of invokes at once. The implementer must resolve every run within its timeout
/// plus a moment for killing what is left, must leave nothing running then, and must treat a dropped future as a
/// cancelled run. Nothing may block the thread that polls.
pub trait Driver: Send + Sync + 'static {
    /// Runs one invoke to its end.
    fn run(self: Arc<Self>, invoke: Invoke) -> BoxFuture<Outcome>;

    /// Whether a run could be started now, as far as that can be told without starting one (section 13.1). May
    /// wait for a disk.
    fn check(&self) -> Result<(), Fault>;
}

/// What a driver is asked.
#[derive(Debug, Clone)]
pub struct Invoke {
    /// The payload, trimmed of white space; otherwise byte for byte what the client wrote.
    pub payload: Bytes,
    /// Time from now until the run is over, whatever the driver does.
    pub timeout: Duration,
    /// Ends the run early.
    pub cancel: CancellationToken,
}

/// What came of an invoke.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// What the driver wrote to its standard output; at most
    /// [`MAX_DRIVER_OUTPUT`](spiderweb_protocol::limits::MAX_DRIVER_OUTPUT) bytes.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error, likewise.
    pub stderr: Vec<u8>,
}

impl Outcome {
    /// A run that came to nothing.
    pub fn failed(fault: Fault) -> Self {
        Self {
            ended: Ended::Failed(fault),
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// The driver gave this exit code.
    Exited(i32),
    /// The driver died: by a signal, a crash or a trap. Its exit code counts as -1.
    Died,
    /// The deadline came first.
    TimedOut,
    /// Somebody asked for the end.
    Cancelled,
    /// The driver could not be run, or what it did was of no use (section 9.7).
    Failed(Fault),
}

/// Why a driver could not be run, or why its output is of no use. Displays as the original's name, which is what
/// clients are told.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The program, library, module or runner does not exist.
    #[error("FileNotFound")]
    NotFound,
    /// No permission to run it, or it is a directory.
    #[error("AccessDenied")]
    AccessDenied,
    /// No executable format.
    #[error("InvalidExe")]
    InvalidExecutable,
    /// Somebody has the program open for writing, and kept it so for longer than a copy takes to end.
    #[error("FileBusy")]
    FileBusy,
    /// The library lacks the symbol.
    #[error("MissingInvokeSymbol")]
    MissingSymbol,
    /// More standard output than allowed.
    #[error("StdoutStreamTooLong")]
    StdoutTooLong,
    /// More standard error than allowed.
    #[error("StderrStreamTooLong")]
    StderrTooLong,
    /// No memory, or the module found none for the payload.
    #[error("OutOfMemory")]
    OutOfMemory,
    /// The module answered with an output that starts at no address (section 17.2).
    #[error("service invoke payload invalid")]
    InvalidOutput,
    /// The file is no module this node can run.
    #[error("InvalidWasm")]
    InvalidModule,
    /// The module imports what no host gives it.
    #[error("ImportNotFound")]
    ImportNotFound,
    /// The module speaks another version of the host ABI.
    #[error("UnsupportedWasmAbiVersion")]
    UnsupportedAbiVersion,
    /// The module ended by a trap; the name says which.
    #[error("{0}")]
    Trapped(&'static str),
    /// The node was built without this runtime.
    #[error("UnsupportedPlatform")]
    Unsupported,
    /// The system failed.
    #[error("{}", io_name(.0))]
    Io(#[source] io::Error),
}

impl Fault {
    /// The number the client sees.
    pub fn errno(&self) -> Errno {
        match self {
            Self::InvalidOutput => Errno::EINVAL,
            _ => Errno::EIO,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory => Self::AccessDenied,
            io::ErrorKind::OutOfMemory => Self::OutOfMemory,
            io::ErrorKind::ExecutableFileBusy => Self::FileBusy,
            _ => Self::Io(error),
        }
    }
}

/// The original's names are single words, which clients may look for.
fn io_name(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::BrokenPipe => "BrokenPipe",
        io::ErrorKind::WouldBlock => "SystemResources",
        io::ErrorKind::ArgumentListTooLong => "ArgListTooLong",
        _ if crate::system::is_process_full(error) => "ProcessFdQuotaExceeded",
        _ if crate::system::is_system_full(error) => "SystemFdQuotaExceeded",
        _ => "Unexpected",
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_the_system_says_has_the_originals_name() {
        for (errno, expected) in [
            (Errno::NOENT, "FileNotFound"),
            (Errno::NOTDIR, "FileNotFound"),
            (Errno::ACCESS, "AccessDenied"),
            (Errno::NOMEM, "OutOfMemory"),
            (Errno::TXTBSY, "FileBusy"),
            (Errno::AGAIN, "SystemResources"),
            (Errno::TOOBIG, "ArgListTooLong"),
            (Errno::MFILE, "ProcessFdQuotaExceeded"),
            (Errno::NFILE, "SystemFdQuotaExceeded"),
            (Errno::IO, "Unexpected"),
        ] {
            let fault = Fault::from(io::Error::from(errno));
            assert_eq!(fault.to_string(), expected, "{errno:?}");
            assert_eq!(fault.errno(), spiderweb_protocol::Errno::EIO);
        }
    }
}
