//! `spiderweb-fs-node`: serves folders of this machine over the Acheron file protocol.
//!
//! The program is in a library so that its command line can be described without running it: `cargo xtask dist` makes
//! completions and manual pages from [`command`].
#![forbid(unsafe_code)]

mod check;
mod cli;
#[cfg(feature = "hub")]
mod hub;
#[cfg(not(feature = "hub"))]
#[path = "without_hub.rs"]
mod hub;
#[cfg(any(windows, test))]
mod service;
mod system;

use std::future::{Future, pending};
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use spiderweb_daemon::EndSignals;
use spiderweb_node::{LockError, Node, NodeConfig, StartError, StoreError};
use spiderweb_protocol::EntryName;
use spiderweb_runtime::{adopt_orphans, run_helper};

use crate::cli::{Command, Plan};

/// How long requests may take to finish after the first signal; a second one ends the process at once.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// The command line, for completions and manual pages.
pub fn command() -> clap::Command {
    let program = cli::flags().subcommand(check::flags());
    #[cfg(windows)]
    let program = program.subcommand(service::flags());
    program
}

/// The program.
pub fn main() -> ExitCode {
    if let Some(code) = run_helper(std::env::args_os().skip(1)) {
        return code;
    }
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(first) if first == "check" => {
            return check::run(args, &check::library_opens, &mut std::io::stdout());
        }
        #[cfg(windows)]
        Some(first) if first == "service" => return service::run(args),
        _ => {}
    }
    let command = match cli::parse(std::env::args_os(), |name| std::env::var(name).ok()) {
        Ok(command) => command,
        Err(error) => return error.report(),
    };
    let plan = match command {
        Command::Print(text) => {
            // A closed pipe is the reader's choice.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Command::Serve(plan) => *plan,
    };
    spiderweb_daemon::logging::start();
    match serve(plan, pending(), |_| {}) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Why the daemon did not come up, with the original's name for it.
struct Failure {
    name: &'static str,
    words: String,
}

impl Failure {
    fn report(&self) -> ExitCode {
        cli::report(self.lines())
    }

    /// In words, then under the original's name.
    fn lines(&self) -> [&str; 2] {
        [&self.words, self.name]
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let words = error.to_string();
        let (name, hint) = match error {
            StartError::Export { .. } => (
                "InvalidExportPath",
                "; --export NAME=PATH needs a folder that exists and can be read",
            ),
            StartError::Table(_) => ("InvalidArguments", ""),
            StartError::Services(faults) => {
                let first = faults.faults.first();
                (first.map_or("Unexpected", |fault| fault.name.as_str()), "")
            }
            StartError::NoInvite => (
                "InvalidArguments",
                "; give it one with --invite-token or --invite-token-file, or let it ask with --pair-mode request",
            ),
            StartError::State(error) => state_failure(&error),
            StartError::Listen { reason, .. } => match reason.kind() {
                std::io::ErrorKind::AddrInUse => (
                    "AddressInUse",
                    "; another program uses that port, choose one with --port (0 takes a free one)",
                ),
                std::io::ErrorKind::PermissionDenied => {
                    ("AccessDenied", "; ports below 1024 need more rights")
                }
                std::io::ErrorKind::AddrNotAvailable => {
                    ("AddressNotAvailable", "; --bind needs an address of this machine")
                }
                _ => ("Unexpected", ""),
            },
        };
        Self {
            name,
            words: words + hint,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self {
            name: "Unexpected",
            words: format!("cannot start: {error}"),
        }
    }
}

/// How far a daemon got.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// It listens, or looks for its hub.
    Serving,
    /// It lets requests finish.
    Stopping,
}

/// Runs the daemon until the system or `asked_to_end` ends it; `tell` hears of every stage.
fn serve(plan: Plan, asked_to_end: impl Future<Output = ()>, tell: impl Fn(Stage)) -> Result<(), Failure> {
    let Plan {
        node: mut config,
        hub,
    } = plan;
    system::fit_into_descriptor_limit(&mut config.limits);
    // The program as it was started, even if its file is replaced meanwhile.
    config.services.helper = std::env::current_exe()?;
    adopt_orphans()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(config.limits.blocking_threads())
        .build()?;
    runtime
        .block_on(async {
            // Before anything is acknowledged, so that no signal ends the process in the middle of it. A file over
            // the process's size limit is an error of the write, not the end of the node.
            let mut end = EndSignals::new()?;
            let _over_file_size_limit = system::survive_file_size_limit()?;

            let hub = match (&hub, &mut config.control) {
                (Some(plan), Some(control)) => Some(hub::start(plan, control).await?),
                _ => None,
            };
            let node = start(config).await?;
            tell(Stage::Serving);
            tokio::select! {
                () = end.next() => {}
                () = asked_to_end => {}
            }
            tell(Stage::Stopping);
            tracing::info!("Stopping; a second signal ends at once");
            // The node first: its peers are still connected to the hub.
            let stop = async {
                let is_node_done = node.stop(SHUTDOWN_GRACE).await;
                let is_hub_done = match hub {
                    Some(hub) => hub.stop(SHUTDOWN_GRACE).await,
                    None => true,
                };
                is_node_done && is_hub_done
            };
            tokio::select! {
                finished = stop => if !finished {
                    tracing::warn!("some requests did not finish in time");
                },
                () = end.next() => {}
            }
            Ok(())
        })
        .inspect(|()| {
            // Threads that wait for a hanging disk are not waited for.
            runtime.shutdown_background();
        })
}

/// The original's name for a state file that cannot be used, and what to do.
fn state_failure(error: &StoreError) -> (&'static str, &'static str) {
    match error {
        StoreError::Lock(LockError::Held { .. }) => (
            "StateFileInUse",
            "; stop that process, or give this one a file of its own with --state-file",
        ),
        StoreError::Damaged { fault, .. } => (
            fault.name,
            "; put a good copy in its place, or say with --pair-mode or --invite-token that this node may pair anew",
        ),
        _ => match error.io_kind() {
            Some(ErrorKind::IsADirectory) => ("IsDir", "; --state-file needs a file"),
            Some(ErrorKind::NotADirectory | ErrorKind::AlreadyExists) => {
                ("NotDir", "; --state-file needs a file in a folder")
            }
            Some(ErrorKind::PermissionDenied) => ("AccessDenied", ""),
            Some(ErrorKind::FileTooLarge) => ("FileTooBig", "; it is no state file"),
            _ => ("Unexpected", ""),
        },
    }
}

async fn start(config: NodeConfig) -> Result<Node, Failure> {
    if let Some(control) = &config.control {
        tracing::info!("Starting spiderweb-fs-node for {}", control.url);
    } else {
        tracing::info!("Starting spiderweb-fs-node on {}", config.listen);
    }
    for export in &config.exports {
        let access = if export.read_only { "ro" } else { "rw" };
        if !config.default_export {
            tracing::info!("Export {} => {} ({access})", export.name, export.path.display());
        }
        if let Err(error) = EntryName::new(&export.name) {
            tracing::warn!(
                "clients that show exports as folders cannot show `{}`: {error}",
                export.name
            );
        }
    }
    if config.control.is_some() {
        return Ok(Node::start(config).await?);
    }
    if config.token.is_some() {
        tracing::info!("FS node session auth enabled");
    } else if !config.listen.ip().is_loopback() {
        tracing::warn!(
            "everybody who reaches {} can use the exports with the rights of this process; set --auth-token",
            config.listen
        );
    }
    let node = Node::start(config).await?;
    if let Some(address) = node.address() {
        tracing::info!("FS node websocket server listening at ws://{address}/v2/fs");
    }
    Ok(node)
}
