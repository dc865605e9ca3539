//! The options of every command, and how paths on nodes are read.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use spiderweb_client::{PathError, RemotePath};
use spiderweb_transport::{WsUrl, WsUrlError};

use crate::failure::Failure;
use crate::units::parse_duration;

/// What every command takes.
///
/// Variables are not clap's business: it takes an empty one for a value, names the flag when a variable is wrong, and
/// shows flags that come from variables in its usage as if they had to be typed.
#[derive(Clone, Debug, Args)]
#[expect(clippy::doc_markdown, reason = "this is help text")]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The node's address [env: SPIDERWEB_URL].
    #[arg(
        long,
        global = true,
        value_name = "URL",
        value_parser = address,
        default_value = "ws://127.0.0.1:18891/v2/fs"
    )]
    pub(crate) url: WsUrl,

    /// The address of a hub; its nodes are found below /nodes. On the command line, --url turns the variable off [env:
    /// SPIDERWEB_HUB].
    #[arg(long, global = true, value_name = "URL", value_parser = address)]
    pub(crate) hub: Option<WsUrl>,

    /// Read the hub's token from a file: one token, or the hub's auth_tokens.json. Without it the variable
    /// SPIDERWEB_HUB_TOKEN counts [env: SPIDERWEB_HUB_TOKEN_FILE].
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) hub_token_file: Option<PathBuf>,

    /// The variable that named this file, to be named when the file is no good.
    #[arg(skip)]
    pub(crate) hub_token_file_by: Option<&'static str>,

    /// Read the operator token from a file, for hubs that have one. Without it the variable SPIDERWEB_OPERATOR_TOKEN
    /// counts.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) operator_token_file: Option<PathBuf>,

    /// With --hub: take paths as paths on this node, named by its id or unique name.
    #[arg(long, global = true, value_name = "NODE")]
    pub(crate) node: Option<String>,

    /// Take paths as paths within this export.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) export: Option<String>,

    /// The token the node wants. Other users of this machine can see it; prefer --token-file or the variable [env:
    /// SPIDERWEB_FS_NODE_AUTH_TOKEN].
    #[arg(long, global = true, value_name = "TOKEN", conflicts_with = "token_file")]
    pub(crate) token: Option<String>,

    /// Read the token from a file; blanks and line ends around it do not count.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,

    /// Time for one answer of the node, such as 15s or 500ms; for invoke and exec, time for the outcome [default: 15s;
    /// as long as the service allows].
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,

    /// Text for people or JSON for programs.
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub(crate) output: Format,

    /// When to use colour.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub(crate) color: Color,
}

/// The variable that names the file with the hub's token.
const HUB_TOKEN_FILE: &str = "SPIDERWEB_HUB_TOKEN_FILE";

/// The value of a variable; an empty one counts as not set.
pub(crate) type Variables<'v> = &'v dyn Fn(&str) -> Option<OsString>;

/// The variables this program was started with.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

impl Global {
    /// Takes from variables what was not typed. The error says which variable is wrong, and why.
    pub(crate) fn complete(
        &mut self,
        is_typed: impl Fn(&str) -> bool,
        variables: Variables<'_>,
    ) -> Result<(), String> {
        // A node and a hub exclude each other, and what was typed decides.
        if !is_typed("url") && !is_typed("hub") {
            self.hub = read(variables, "SPIDERWEB_HUB", address)?;
        }
        if !is_typed("url") && self.hub.is_none() {
            self.url = read(variables, "SPIDERWEB_URL", address)?.unwrap_or_else(|| self.url.clone());
        }
        if self.hub_token_file.is_none() {
            self.hub_token_file = variables(HUB_TOKEN_FILE).map(PathBuf::from);
            self.hub_token_file_by = self.hub_token_file.is_some().then_some(HUB_TOKEN_FILE);
        }
        if self.token.is_none() && self.token_file.is_none() {
            let as_it_is = |text: &str| Ok(text.to_owned());
            self.token = read(variables, "SPIDERWEB_FS_NODE_AUTH_TOKEN", as_it_is)?;
        }
        Ok(())
    }
}

/// Reads a variable.
fn read<T>(
    variables: Variables<'_>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    let Some(value) = variables(name) else {
        return Ok(None);
    };
    // The value may be a secret.
    let text = value
        .to_str()
        .ok_or_else(|| format!("the value of {name} is not UTF-8"))?;
    let value = parse(text).map_err(|reason| format!("invalid value '{text}' of {name}: {reason}"))?;
    Ok(Some(value))
}

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// When colour is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Even in a pipe.
    Always,
    /// Not at all.
    Never,
}

impl Color {
    /// Makes the choice count for everything printed from now on.
    pub(crate) fn write_global(self) {
        let choice = match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

/// Parses a path on a node; used by every command's arguments. The error is what is wrong with it, for somebody who
/// has said which path it is.
pub(crate) fn remote_path(text: &str) -> Result<RemotePath, String> {
    text.parse().map_err(|error: PathError| {
        let reason = error.reason();
        if text.starts_with(':') {
            format!("{reason}; only cp marks remote paths with `:`")
        } else {
            format!("{reason}, as in /work/file")
        }
    })
}

/// The same for an argument that may be something else, too.
pub(crate) fn maybe_path(text: &str) -> Result<RemotePath, Failure> {
    remote_path(text).map_err(|reason| Failure::Usage(format!("invalid path {text:?}: {reason}")))
}

/// Parses the address of a node or a hub; errors as those of [`remote_path`].
pub(crate) fn address(text: &str) -> Result<WsUrl, String> {
    text.parse().map_err(|error: WsUrlError| {
        let said = error.to_string();
        let named = format!("invalid WebSocket address {text:?}: ");
        said.strip_prefix(&named).unwrap_or(&said).to_owned()
    })
}
