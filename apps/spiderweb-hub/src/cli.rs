//! From arguments and environment to a configuration (contract: `docs/hub.md`).
//!
//! Nothing is opened here. Tokens are better given in files or in the environment, where other users of the machine do
//! not see them.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{CommandFactory as _, Parser, ValueEnum};
use spiderweb_hub::{Database, HubConfig};
use spiderweb_protocol::Secret;
use spiderweb_protocol::control::VersionAck;

/// The port of the original.
const PORT: u16 = 18790;

/// Shortest time between two looks that a flag may ask for.
const MIN_MS: u64 = 1;

#[derive(Parser, Debug)]
#[command(
    name = "spiderweb-hub",
    version,
    about = "spiderweb-hub - pairs nodes, keeps their leases, routes clients to them",
    after_help = "Tokens are made on the first start and kept in the token file: admin_token for operators, node_token \
                  for nodes, user_token for mount clients.\n\
                  With an operator token, a node that asks to join waits until somebody approves it:\n  \
                  spiderweb --hub ws://… hub pending\n  \
                  spiderweb --hub ws://… hub approve REQUEST\n\
                  Health and numbers for machines: GET /livez, /readyz, /metrics on the same port.\n\
                  SPIDERWEB_LOG chooses what is logged (`warn`, `info`, `debug`)."
)]
struct Flags {
    /// Address to listen on: a literal IPv4 or IPv6 address
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,

    /// Port to listen on; 0 takes a free one and the log says which
    #[arg(long, value_name = "PORT", default_value_t = PORT)]
    port: u16,

    /// Folder for the database, the token file and the audit file, unless they are named
    #[arg(
        long,
        value_name = "DIR",
        env = "SPIDERWEB_HUB_DATA",
        default_value = "spiderweb-hub-data"
    )]
    data_dir: PathBuf,

    /// Database file; `none` keeps everything in memory and forgets it at the end
    #[arg(long, value_name = "FILE", env = "SPIDERWEB_HUB_DATABASE")]
    database: Option<PathBuf>,

    /// File of the admin, user and node tokens; made with access for its owner only
    #[arg(long, value_name = "FILE", env = "SPIDERWEB_HUB_AUTH_TOKENS")]
    token_file: Option<PathBuf>,

    /// File whose first line is the operator token
    #[arg(long, value_name = "FILE", conflicts_with = "operator_token")]
    operator_token_file: Option<PathBuf>,

    /// Token that operators must say to approve nodes and to change nodes and projects
    #[arg(
        long,
        value_name = "TOKEN",
        env = "SPIDERWEB_CONTROL_OPERATOR_TOKEN",
        hide_env_values = true
    )]
    operator_token: Option<String>,

    /// Token for changes of nodes, instead of the operator's
    #[arg(
        long,
        value_name = "TOKEN",
        env = "SPIDERWEB_CONTROL_NODE_SCOPE_TOKEN",
        hide_env_values = true
    )]
    node_scope_token: Option<String>,

    /// Token for changes of projects, instead of the operator's
    #[arg(
        long,
        value_name = "TOKEN",
        env = "SPIDERWEB_CONTROL_PROJECT_SCOPE_TOKEN",
        hide_env_values = true
    )]
    project_scope_token: Option<String>,

    /// Refuse peers without a bearer token, even if they hold an invite or a node's secret
    #[arg(long)]
    no_anonymous: bool,

    /// Whose words the handshake uses, and answers to a peer that has used none; operations of both are understood in any
    /// case
    #[arg(long, value_enum, default_value_t = Generations::Both)]
    dialect: Generations,

    /// Audit file, appended to; `none` keeps the last records in memory only
    #[arg(long, value_name = "FILE")]
    audit_file: Option<PathBuf>,

    /// How long requests wait for a node whose tunnel was just lost
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    tunnel_grace_ms: u64,

    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 4096)]
    max_connections: usize,

    /// Between two looks at leases
    #[arg(long, value_name = "MS", default_value_t = 1000, hide = true)]
    sweep_interval_ms: u64,

    /// Print a completion script for this shell and exit
    #[arg(long, value_name = "SHELL")]
    completions: Option<clap_complete::Shell>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Generations {
    /// Both at once
    Both,
    /// The older one alone: services and projects
    Seed,
    /// The newer one alone: venoms and workspaces
    Head,
}

/// The flags, for completions and manual pages.
pub(crate) fn flags() -> clap::Command {
    Flags::command()
}

/// What the program was asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Print this and exit.
    Print(String),
    /// Serve.
    Serve(Box<HubConfig>),
}

/// Reads arguments and environment. Nothing is opened but the operator's token file.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    let flags = Flags::try_parse_from(arguments)?;
    if let Some(shell) = flags.completions {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Flags::command(), "spiderweb-hub", &mut script);
        return Ok(Command::Print(String::from_utf8_lossy(&script).into_owned()));
    }
    configuration(flags).map(|config| Command::Serve(Box::new(config)))
}

fn configuration(flags: Flags) -> Result<HubConfig, clap::Error> {
    let is_none = |path: &PathBuf| path == Path::new("none");
    let mut config = HubConfig::in_folder(SocketAddr::new(flags.bind, flags.port), &flags.data_dir);
    match flags.database {
        Some(path) if is_none(&path) => {
            config.database = Database::Store(Box::new(spiderweb_hub::store::MemoryStore::new()));
        }
        Some(path) => config.database = Database::File(path),
        None => {}
    }
    match flags.audit_file {
        Some(path) if is_none(&path) => config.audit_file = None,
        Some(path) => config.audit_file = Some(path),
        None => {}
    }
    if let Some(path) = flags.token_file {
        config.tokens.file = Some(path);
    }
    let secret = |name: &str, text: Option<String>| match text {
        Some(text) if text.trim().is_empty() => {
            Err(usage(&format!("{name} is empty; leave it out for none")))
        }
        text => Ok(text.map(|text| Secret::new(text.trim()))),
    };
    let operator = match &flags.operator_token_file {
        Some(path) => Some(first_line(path)?),
        None => flags.operator_token,
    };
    config.tokens.operator = secret("the operator token", operator)?;
    config.tokens.node_scope = secret("--node-scope-token", flags.node_scope_token)?;
    config.tokens.project_scope = secret("--project-scope-token", flags.project_scope_token)?;
    config.tokens.allows_anonymous = !flags.no_anonymous;
    config.limits.tunnel_grace = Duration::from_millis(flags.tunnel_grace_ms);
    config.limits.connections = flags.max_connections.max(1);
    config.limits.sweep_every = Duration::from_millis(flags.sweep_interval_ms.max(MIN_MS));
    config.generations = match flags.dialect {
        Generations::Both => VersionAck::BOTH,
        Generations::Seed => VersionAck {
            seed: true,
            head: false,
        },
        Generations::Head => VersionAck {
            seed: false,
            head: true,
        },
    };
    Ok(config)
}

fn first_line(path: &Path) -> Result<String, clap::Error> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        usage(&format!(
            "cannot read --operator-token-file {}: {error}",
            path.display()
        ))
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn usage(words: &str) -> clap::Error {
    Flags::command().error(clap::error::ErrorKind::ValueValidation, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Box<HubConfig>, String> {
        let arguments = ["spiderweb-hub"].iter().chain(arguments).map(OsString::from);
        match parse(arguments) {
            Ok(Command::Serve(config)) => Ok(config),
            Ok(Command::Print(text)) => Err(text),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn files_lie_in_the_folder_unless_they_are_named() {
        let config = parsed(&["--data-dir", "d", "--token-file", "t.json"]).unwrap();
        let Database::File(database) = &config.database else {
            panic!("{config:?}")
        };
        assert_eq!(database, Path::new("d/hub.redb"));
        assert_eq!(config.tokens.file.as_deref(), Some(Path::new("t.json")));
        assert_eq!(config.audit_file.as_deref(), Some(Path::new("d/audit.jsonl")));
        assert_eq!(config.listen.to_string(), "127.0.0.1:18790");
        let nothing = parsed(&["--database", "none", "--audit-file", "none"]).unwrap();
        assert!(matches!(nothing.database, Database::Store(_)) && nothing.audit_file.is_none());
    }

    #[test]
    fn what_cannot_be_is_said_before_anything_is_opened() {
        for (arguments, words) in [
            (&["--bind", "localhost"][..], "--bind"),
            (&["--port", "70000"], "--port"),
            (&["--operator-token", " "], "operator token is empty"),
            (&["--operator-token-file", "/nowhere"], "/nowhere"),
            (&["--dialect", "old"], "--dialect"),
            (&["extra"], "extra"),
        ] {
            let error = parsed(arguments).unwrap_err();
            assert!(error.contains(words), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn the_help_says_how_to_approve() {
        Flags::command().debug_assert();
        let help = Flags::command().render_long_help().to_string();
        assert!(
            help.contains("hub approve REQUEST") && help.contains("--token-file"),
            "{help}"
        );
    }
}
