//! `spiderweb-hub`: the control plane as a program.
//!
//! It is in a library so that its command line can be described without running it.
#![forbid(unsafe_code)]

mod cli;

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use spiderweb_daemon::EndSignals;
use spiderweb_hub::{Hub, HubConfig, StartError};

use crate::cli::Command;

/// How long peers may take to say goodbye after the first signal; a second one ends the process at once.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// The command line, for completions and manual pages.
pub fn command() -> clap::Command {
    cli::flags()
}

/// The program.
pub fn main() -> ExitCode {
    let config = match cli::parse(std::env::args_os()) {
        Ok(Command::Serve(config)) => *config,
        Ok(Command::Print(text)) => {
            // A closed pipe is the reader's choice.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => error.exit(),
    };
    spiderweb_daemon::logging::start();
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Why the hub did not come up, in a sentence that says what to do.
struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let hint = match &error {
            StartError::Listen { reason, .. } => match reason.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "; another program uses that port, choose one with --port (0 takes a free one)"
                }
                std::io::ErrorKind::PermissionDenied => "; ports below 1024 need more rights",
                std::io::ErrorKind::AddrNotAvailable => "; --bind needs an address of this machine",
                _ => "",
            },
            StartError::Audit { .. } => "; name another with --audit-file, or none",
            _ => "",
        };
        Self(format!("{error}{hint}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(format!("cannot start: {error}"))
    }
}

fn serve(config: HubConfig) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anything is acknowledged, so that no signal ends the process in the middle of it.
        let mut end = EndSignals::new()?;
        let hub = Hub::start(config).await?;
        end.next().await;
        tracing::info!("Stopping; a second signal ends at once");
        tokio::select! {
            finished = hub.stop(SHUTDOWN_GRACE) => if !finished {
                tracing::warn!("some peers did not say goodbye in time; nothing that was acknowledged is lost");
            },
            () = end.next() => {}
        }
        Ok(())
    })
}
