//! The built-in terminal service: runs a command and reports how it ended (section 14).
//!
//! A command that fails is a result, not a failed invoke; only a payload that names no command, a result that is too
//! long and the deadline of the service are. The whole tree of a command is ended with it.

mod report;
mod request;

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spiderweb_protocol::limits::MAX_DRIVER_OUTPUT;
use tokio_util::sync::CancellationToken;

use crate::driver::{BoxFuture, Driver, Ended, Fault, Invoke, Outcome};
use crate::helper::HELPER_FAILED;
use crate::process::execute;
use crate::terminal::report::Report;
use crate::terminal::request::{Refused, Request};

/// A helper has no deadline of its own; whoever started it has.
const HELPER_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Longest terminal id, as for every identifier (section 2).
const MAX_ID: usize = 128;

/// Runs the commands of one terminal.
#[derive(Debug)]
pub struct TerminalDriver {
    id: String,
}

impl TerminalDriver {
    /// The terminal of this id.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into() }
    }

    async fn exec(&self, invoke: Invoke) -> Outcome {
        let request = match Request::parse(&invoke.payload) {
            Ok(request) => request,
            Err(Refused(name)) => return failure(name),
        };
        // A request may shorten the time of the service; then running out of it is a result.
        let own_timeout = request.timeout.filter(|timeout| *timeout < invoke.timeout);
        let limit = request.max_output;
        let command = Invoke {
            payload: Bytes::new(),
            timeout: own_timeout.unwrap_or(invoke.timeout),
            cancel: invoke.cancel,
        };
        let Outcome {
            ended,
            stdout,
            stderr,
        } = execute(Arc::new(request.launch()), command, limit).await;
        let name;
        let report = match ended {
            Ended::Exited(code) => Report::exited(code, &stdout, &stderr),
            Ended::Died => Report::terminated(&stdout, &stderr),
            Ended::TimedOut if own_timeout.is_some() => Report::timed_out(&stdout, &stderr),
            Ended::TimedOut | Ended::Cancelled => {
                return Outcome {
                    ended,
                    stdout: Vec::new(),
                    stderr: Vec::new(),
                };
            }
            Ended::Failed(fault) => {
                name = fault.to_string();
                Report::launch_failed(&name)
            }
        };
        let result = report.render(&self.id).into_bytes();
        if result.len() > MAX_DRIVER_OUTPUT {
            return Outcome::failed(Fault::StdoutTooLong);
        }
        Outcome {
            ended: Ended::Exited(0),
            stdout: result,
            stderr: Vec::new(),
        }
    }
}

impl Driver for TerminalDriver {
    fn run(self: Arc<Self>, invoke: Invoke) -> BoxFuture<Outcome> {
        Box::pin(async move { self.exec(invoke).await })
    }

    fn check(&self) -> Result<(), Fault> {
        Ok(())
    }
}

fn failure(name: &str) -> Outcome {
    Outcome {
        ended: Ended::Exited(HELPER_FAILED.into()),
        stdout: Vec::new(),
        stderr: format!("internal terminal invoke failed: {name}\n").into_bytes(),
    }
}

/// `--internal-terminal-invoke --terminal-id <id>`, with the arguments that follow the first: one invoke with the
/// payload on standard input and the result on standard output. The node itself does not need it; tools that know
/// the original may.
pub fn helper(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = helper_outcome(args).unwrap_or_else(failure);
    let code = match outcome.ended {
        Ended::Exited(code) => u8::try_from(code).unwrap_or(u8::MAX),
        _ => HELPER_FAILED,
    };
    // A closed pipe is the reader's choice.
    let _ = io::stdout().write_all(&outcome.stdout);
    let _ = io::stderr().write_all(&outcome.stderr);
    ExitCode::from(code)
}

fn helper_outcome(args: impl IntoIterator<Item = OsString>) -> Result<Outcome, &'static str> {
    let args: Vec<_> = args.into_iter().map(OsString::into_string).collect();
    let id = match args.as_slice() {
        [Ok(option), Ok(id)] if option == "--terminal-id" && is_identifier(id) => id,
        _ => return Err("InvalidArguments"),
    };
    let mut payload = Vec::new();
    let limit = MAX_DRIVER_OUTPUT as u64 + 1;
    io::stdin()
        .take(limit)
        .read_to_end(&mut payload)
        .map_err(|_| "InputOutput")?;
    if payload.len() > MAX_DRIVER_OUTPUT {
        return Err("FileTooBig");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|_| "SystemResources")?;
    let invoke = Invoke {
        payload: payload.into(),
        timeout: HELPER_TIMEOUT,
        cancel: CancellationToken::new(),
    };
    let outcome = runtime.block_on(TerminalDriver::new(id).exec(invoke));
    match outcome.ended {
        Ended::Failed(Fault::StdoutTooLong) => Err("StdoutStreamTooLong"),
        _ => Ok(outcome),
    }
}

fn is_identifier(id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(is_allowed)
}
