//! The options of every command, and how paths on nodes are read.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use spiderweb_client::RemotePath;
use spiderweb_transport::WsUrl;

use crate::units::parse_duration;

/// What every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The node's address.
    #[arg(
        long,
        global = true,
        env = "SPIDERWEB_URL",
        value_name = "URL",
        default_value = "ws://127.0.0.1:18891/v2/fs"
    )]
    pub(crate) url: WsUrl,

    /// The address of a hub; its nodes are found below /nodes. On the command line, --url turns the variable off.
    #[arg(long, global = true, env = "SPIDERWEB_HUB", value_name = "URL")]
    pub(crate) hub: Option<WsUrl>,

    /// Read the hub's token from a file: one token, or the hub's `auth_tokens.json`. Without it the variable
    /// `SPIDERWEB_HUB_TOKEN` counts.
    #[arg(
        long,
        global = true,
        env = "SPIDERWEB_HUB_TOKEN_FILE",
        value_name = "FILE",
        value_hint = ValueHint::FilePath
    )]
    pub(crate) hub_token_file: Option<PathBuf>,

    /// Read the operator token from a file, for hubs that have one. Without it the variable
    /// `SPIDERWEB_OPERATOR_TOKEN` counts.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) operator_token_file: Option<PathBuf>,

    /// With --hub: take paths as paths on this node, named by its id or unique name.
    #[arg(long, global = true, value_name = "NODE")]
    pub(crate) node: Option<String>,

    /// Take paths as paths within this export.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) export: Option<String>,

    /// The token the node wants. Other users of this machine can see it; prefer --token-file or the variable.
    #[arg(
        long,
        global = true,
        env = "SPIDERWEB_FS_NODE_AUTH_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        conflicts_with = "token_file"
    )]
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

/// Parses a path on a node; used by every command's arguments.
pub(crate) fn remote_path(text: &str) -> Result<RemotePath, String> {
    text.parse().map_err(|error: spiderweb_client::PathError| {
        if text.starts_with(':') {
            format!("{error}; only cp marks remote paths with `:`")
        } else {
            format!("{error}, as in /work/file")
        }
    })
}
