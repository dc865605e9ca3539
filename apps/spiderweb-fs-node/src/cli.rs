//! From arguments and environment to a configuration (contract: `docs/operations.md`).
//!
//! Arguments are checked from left to right and the first problem ends the program. A problem is said twice: in
//! plain words that name the flag, the value and what would be valid, and as the last line under the name the
//! original gives it, which scripts look for. Every failure to start exits with 1, as the original's do.

mod control;
mod hub;
mod services;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use spiderweb_node::{DiskWork, ExportConfig, Limits, NodeConfig};
use spiderweb_protocol::{Dialect, Secret};

use self::control::ControlFlags;
use self::hub::HubFlags;
pub(crate) use self::hub::HubPlan;
use self::services::ServiceFlags;

/// Variable with the token that `--auth-token` overrides.
const TOKEN_VARIABLE: &str = "SPIDERWEB_FS_NODE_AUTH_TOKEN";

#[derive(Parser, Debug)]
#[command(
    name = "spiderweb-fs-node",
    version,
    about = "spiderweb-fs-node - Distributed filesystem node server / daemon",
    help_template = "{about}\n\n{usage-heading} {usage}\n\n{all-args}{after-help}",
    args_override_self = true,
    after_help = "Without --export the current folder is served read-write as `work`.\n\
                  SPIDERWEB_FS_NODE_AUTH_TOKEN sets the token when --auth-token is not given, \
                  SPIDERWEB_AUTH_TOKEN that for the hub when --control-auth-token is not; \
                  SPIDERWEB_LOG chooses what is logged (`warn`, `info`, `debug`).\n\
                  `spiderweb-fs-node check FILE_OR_DIR…` says what is wrong with manifests of services; on Windows \
                  `spiderweb-fs-node service` makes the node a service of the system. Both have a --help of their own."
)]
struct Flags {
    /// Address to listen on: a literal IPv4 or IPv6 address
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_parser = address, allow_hyphen_values = true)]
    bind: IpAddr,

    /// Port to listen on; 0 takes a free one and the log says which
    #[arg(long, value_name = "PORT", default_value_t = 18891, value_parser = port, allow_hyphen_values = true)]
    port: u16,

    /// Folder to serve; repeat for more. Read-write unless `:ro` is appended
    #[arg(long, value_name = "NAME=PATH[:ro|:rw]", value_parser = export, allow_hyphen_values = true)]
    export: Vec<ExportConfig>,

    /// Token that clients must say; better in the environment, where other users do not see it
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    auth_token: Option<String>,

    #[command(flatten)]
    control: ControlFlags,

    #[command(flatten)]
    hub: HubFlags,

    #[command(flatten)]
    services: ServiceFlags,

    /// Print a completion script for this shell and exit
    #[arg(long, value_name = "SHELL")]
    completions: Option<clap_complete::Shell>,
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
    Serve(Box<Plan>),
}

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The node.
    pub(crate) node: NodeConfig,
    /// The hub inside it, if there is to be one.
    pub(crate) hub: Option<HubPlan>,
}

/// Why the arguments make no configuration.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct CliError {
    words: String,
    name: &'static str,
    /// The help text goes to stdout as well, where the original prints it.
    with_help: bool,
}

impl CliError {
    /// Tells the user, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if self.with_help {
            let help = Flags::command().render_help();
            // A closed pipe is the reader's choice, here and below.
            let _ = io::stdout().write_all(help.to_string().as_bytes());
        }
        report(self.lines())
    }

    /// In words, then under the original's name.
    pub(crate) fn lines(&self) -> [&str; 2] {
        [&self.words, self.name]
    }
}

/// Says what went wrong on stderr: in words, then under the original's name alone.
pub(crate) fn report(lines: [&str; 2]) -> ExitCode {
    for line in lines {
        let _ = writeln!(io::stderr(), "error: {line}");
    }
    ExitCode::FAILURE
}

/// A value that is not acceptable, under the original's name for the problem.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct BadValue {
    words: String,
    name: &'static str,
}

fn bad(name: &'static str, words: impl Into<String>) -> BadValue {
    BadValue {
        words: words.into(),
        name,
    }
}

fn address(text: &str) -> Result<IpAddr, BadValue> {
    text.parse().map_err(|_| {
        bad(
            "InvalidIPAddressFormat",
            "expected a literal address such as 127.0.0.1, 0.0.0.0 or ::1; names are not looked up",
        )
    })
}

fn port(text: &str) -> Result<u16, BadValue> {
    number(text, "expected a number from 0 to 65535")
}

fn number<N: std::str::FromStr>(text: &str, valid: &str) -> Result<N, BadValue> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad("InvalidCharacter", valid));
    }
    text.parse().map_err(|_| bad("Overflow", valid))
}

/// Takes `<name>=<path>[:ro|:rw][:cred=<handle>]` apart: known suffixes are cut from the right as long as there
/// are any, so that of several the leftmost counts and `C:\dir:rw` works.
pub(crate) fn export(text: &str) -> Result<ExportConfig, BadValue> {
    let invalid = |what: &str| {
        bad(
            "InvalidArguments",
            format!("{what}; expected NAME=PATH, NAME=PATH:ro or NAME=PATH:rw"),
        )
    };
    let (name, mut path) = text.split_once('=').ok_or_else(|| invalid("there is no `=`"))?;
    if name.is_empty() {
        return Err(invalid("the name before `=` is empty"));
    }
    let mut read_only = false;
    loop {
        if let Some(rest) = path.strip_suffix(":ro") {
            (path, read_only) = (rest, true);
        } else if let Some(rest) = path.strip_suffix(":rw") {
            (path, read_only) = (rest, false);
        } else if let Some((rest, handle)) = path.rsplit_once(":cred=") {
            // A handle names stored credentials, which a folder does not need.
            if handle.is_empty() || handle.contains(':') {
                break;
            }
            path = rest;
        } else {
            break;
        }
    }
    if path.is_empty() {
        return Err(invalid("the path is empty"));
    }
    Ok(ExportConfig {
        name: name.to_owned(),
        path: PathBuf::from(path),
        description: path.to_owned(),
        read_only,
    })
}

/// Reads arguments and environment. Nothing is opened yet.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Command, CliError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let flags = match read(&arguments) {
        Ok(flags) => flags,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Command::Print(error.render().to_string()));
        }
        Err(error) => return Err(explain(&first_problem(&arguments, error))),
    };
    if let Some(shell) = flags.completions {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut crate::command(), "spiderweb-fs-node", &mut script);
        return Ok(Command::Print(String::from_utf8_lossy(&script).into_owned()));
    }
    let dialect = services::dialect(&arguments);
    planned(flags, dialect, environment).map(|plan| Command::Serve(Box::new(plan)))
}

fn read(arguments: &[OsString]) -> Result<Flags, clap::Error> {
    Flags::command()
        .try_get_matches_from(arguments)
        .and_then(|matches| Flags::from_arg_matches(&matches))
}

/// The parser notices an unknown argument before it looks at the value in front of it; we report from left to
/// right.
fn first_problem(arguments: &[OsString], error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let unknown = error
        .get(ContextKind::InvalidArg)
        .map(ToString::to_string)
        .unwrap_or_default();
    let position = arguments
        .iter()
        .position(|argument| argument.to_string_lossy().starts_with(&unknown));
    position
        .and_then(|end| arguments.get(..end))
        .and_then(|before| read(before).err())
        .unwrap_or(error)
}

fn planned(
    flags: Flags,
    dialect: Dialect,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Plan, CliError> {
    let mut exports = flags.export;
    for (index, export) in exports.iter().enumerate() {
        if exports.iter().take(index).any(|other| other.name == export.name) {
            return Err(CliError {
                words: format!(
                    "--export {}: two exports have this name; give each its own",
                    export.name
                ),
                name: "InvalidArguments",
                with_help: false,
            });
        }
    }
    let names: Vec<&str> = exports.iter().map(|export| export.name.as_str()).collect();
    let (node_name, mut services) = flags.services.configuration(dialect, &names, &environment)?;
    let hub = flags.hub.plan(&environment)?;
    let control = flags.control.configuration(
        &node_name,
        services.state_file.clone(),
        hub.as_ref(),
        &environment,
    )?;
    if let Some(control) = &control {
        services.state_file = Some(control.state_file.clone());
    }
    let default_export = exports.is_empty();
    if default_export {
        exports.push(ExportConfig {
            name: "work".to_owned(),
            path: PathBuf::from("."),
            description: "workspace root".to_owned(),
            read_only: false,
        });
    }
    // In control mode the hub says who may come.
    let from_environment = || match control {
        None => trimmed(environment(TOKEN_VARIABLE)),
        Some(_) => None,
    };
    let token = flags.auth_token.or_else(from_environment).map(Secret::new);
    let node = NodeConfig {
        listen: SocketAddr::new(flags.bind, flags.port),
        control,
        exports,
        default_export,
        node_name,
        services,
        token,
        limits: Limits::default(),
        disk_work: DiskWork::default(),
    };
    Ok(Plan { node, hub })
}

/// The value of a variable without white space around it; an empty one is none.
fn trimmed(value: Option<String>) -> Option<String> {
    let value = value?;
    let value = value.trim_matches([' ', '\t', '\r', '\n']);
    (!value.is_empty()).then(|| value.to_owned())
}

/// Options that cannot go together, or not with this value.
fn conflict(name: &'static str, words: String) -> CliError {
    CliError {
        words,
        name,
        with_help: false,
    }
}

/// Puts what the argument parser found into our words, with the original's name.
fn explain(error: &clap::Error) -> CliError {
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let flag = context(ContextKind::InvalidArg);
    let flag_name = flag.split_whitespace().next().unwrap_or_default().to_owned();
    if let Some(bad) = std::error::Error::source(error).and_then(|source| source.downcast_ref::<BadValue>()) {
        let value = context(ContextKind::InvalidValue);
        return CliError {
            words: format!("{flag_name} {value}: {}", bad.words),
            name: bad.name,
            with_help: false,
        };
    }
    match error.kind() {
        ErrorKind::UnknownArgument => CliError {
            words: match &*flag {
                "check" => {
                    "unknown argument: check; it comes first, as in `spiderweb-fs-node check FILE`".to_owned()
                }
                "service" if !cfg!(windows) => {
                    "unknown argument: service; nodes are services of Windows alone".to_owned()
                }
                _ => format!("unknown argument: {flag}"),
            },
            name: "InvalidArguments",
            with_help: true,
        },
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => CliError {
            words: format!("{flag_name} needs a value: {flag}"),
            name: "InvalidArguments",
            with_help: false,
        },
        _ => {
            let words = error.render().to_string();
            let words = words
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned();
            CliError {
                words,
                name: "InvalidArguments",
                with_help: false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn run(arguments: &[&str]) -> Result<Command, CliError> {
        let all = ["spiderweb-fs-node"].iter().chain(arguments).map(OsString::from);
        parse(all.collect::<Vec<_>>(), |_| None)
    }

    pub(super) fn run_with(arguments: &[&str], environment: impl Fn(&str) -> Option<String>) -> NodeConfig {
        let all = ["spiderweb-fs-node"].iter().chain(arguments).map(OsString::from);
        match parse(all.collect::<Vec<_>>(), environment) {
            Ok(Command::Serve(plan)) => plan.node,
            other => panic!("{arguments:?} gave {other:?}"),
        }
    }

    pub(super) fn config(arguments: &[&str]) -> NodeConfig {
        plan(arguments).node
    }

    pub(super) fn plan(arguments: &[&str]) -> Plan {
        match run(arguments) {
            Ok(Command::Serve(plan)) => *plan,
            other => panic!("{arguments:?} gave {other:?}"),
        }
    }

    #[test]
    fn the_first_problem_has_the_originals_name_and_our_words() {
        for (arguments, name, words) in [
            (&["--bogus"][..], "InvalidArguments", "unknown argument: --bogus"),
            (&["extra"], "InvalidArguments", "unknown argument: extra"),
            (&["--port"], "InvalidArguments", "--port needs a value"),
            (
                &["--port", "abc"],
                "InvalidCharacter",
                "--port abc: expected a number from 0 to 65535",
            ),
            (&["--port", ""], "InvalidCharacter", "--port"),
            (&["--port=65536"], "Overflow", "--port 65536: expected a number"),
            (&["--port", "-1"], "Overflow", "--port -1"),
            (&["--port", "abc", "--bogus"], "InvalidCharacter", "--port abc"),
            (&["--bogus", "--port", "abc"], "InvalidArguments", "--bogus"),
            (
                &["--bind", "localhost"],
                "InvalidIPAddressFormat",
                "--bind localhost: expected a literal address",
            ),
            (
                &["--export", "bad"],
                "InvalidArguments",
                "--export bad: there is no `=`",
            ),
            (
                &["--export", "=."],
                "InvalidArguments",
                "name before `=` is empty",
            ),
            (&["--export", "a="], "InvalidArguments", "the path is empty"),
            (&["--export", "a=:ro"], "InvalidArguments", "the path is empty"),
            (
                &["--export", "a=.", "--export", "a=/"],
                "InvalidArguments",
                "two exports have this name",
            ),
        ] {
            let error = run(arguments).expect_err(&format!("{arguments:?}"));
            assert_eq!(error.name, name, "{arguments:?}: {error:?}");
            assert!(error.words.contains(words), "{arguments:?}: {error:?}");
        }
        assert!(run(&["--bogus"]).unwrap_err().with_help);
    }

    #[test]
    fn export_suffixes_are_cut_from_the_right() {
        for (text, name, path, read_only) in [
            ("a=.", "a", ".", false),
            ("a=.:ro", "a", ".", true),
            ("a=.:ro:rw", "a", ".", true),
            ("a=.:rw:ro", "a", ".", false),
            ("a=work:cred=h1:ro", "a", "work", true),
            ("a=a:b", "a", "a:b", false),
            ("a=x=y", "a", "x=y", false),
            ("a=C:\\dir:rw", "a", "C:\\dir", false),
            ("a=x:cred=", "a", "x:cred=", false),
            ("odd \"name\"/1=third", "odd \"name\"/1", "third", false),
        ] {
            let export = export(text).unwrap();
            assert_eq!(
                (
                    export.name.as_str(),
                    export.path.to_str().unwrap(),
                    export.read_only
                ),
                (name, path, read_only),
                "{text}"
            );
            assert_eq!(export.description, path);
        }
    }

    #[test]
    fn defaults_and_last_value() {
        let plain = config(&[]);
        assert_eq!(plain.listen.to_string(), "127.0.0.1:18891");
        assert_eq!(plain.exports.len(), 1);
        assert_eq!(plain.exports[0].description, "workspace root");
        assert_eq!(
            config(&["--port", "1", "--port=2", "--bind", "::1"])
                .listen
                .to_string(),
            "[::1]:2"
        );
        assert!(config(&["--export=a=."]).exports[0].name == "a");
    }

    #[test]
    fn the_token_comes_from_the_flag_or_the_environment() {
        let token = |arguments: &[&str], variable: &str| {
            let all = ["spiderweb-fs-node"].iter().chain(arguments).map(OsString::from);
            let environment = |name: &str| (name == TOKEN_VARIABLE).then(|| variable.to_owned());
            let Ok(Command::Serve(config)) = parse(all.collect::<Vec<_>>(), environment) else {
                panic!()
            };
            config.node.token.map(|token| token.expose().to_owned())
        };
        assert_eq!(token(&[], "  envtok\n").as_deref(), Some("envtok"));
        assert_eq!(token(&[], " \t "), None);
        assert_eq!(token(&["--auth-token", ""], "envtok").as_deref(), Some(""));
        assert_eq!(
            token(&["--auth-token", "--port"], "envtok").as_deref(),
            Some("--port")
        );
    }

    #[test]
    fn help_version_and_completions_are_printed() {
        for arguments in [&["--help"][..], &["-h"], &["--port", "1", "--help"]] {
            let Ok(Command::Print(text)) = run(arguments) else {
                panic!("{arguments:?}")
            };
            assert!(
                text.starts_with("spiderweb-fs-node - Distributed filesystem node server / daemon\n"),
                "{text}"
            );
        }
        let Ok(Command::Print(text)) = run(&["--version"]) else {
            panic!()
        };
        assert!(text.starts_with("spiderweb-fs-node 0."), "{text}");
        let Ok(Command::Print(text)) = run(&["--completions", "bash"]) else {
            panic!()
        };
        assert!(text.contains("--auth-token"));
    }
}
