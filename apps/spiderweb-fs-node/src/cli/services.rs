//! Flags for namespace services, in the words of both generations.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use spiderweb_node::{DEFAULT_RELOAD, ManifestSources, ServicesConfig};
use spiderweb_protocol::{Dialect, ServiceId, is_identifier};

use super::{BadValue, CliError, bad, conflict};

#[derive(Args, Debug)]
#[command(next_help_heading = "Namespace services")]
pub(super) struct ServiceFlags {
    /// Manifest of a service; repeat for more. A fault in it keeps the node from starting
    #[arg(
        long,
        value_name = "FILE",
        alias = "venom-manifest",
        allow_hyphen_values = true
    )]
    service_manifest: Vec<PathBuf>,

    /// Folder of manifests (*.json), read again whenever they change; repeat for more
    #[arg(long, value_name = "DIR", alias = "venoms-dir", allow_hyphen_values = true)]
    services_dir: Vec<PathBuf>,

    /// Offer a terminal as service `terminal-ID`: whoever reaches the node can run commands with its rights
    #[arg(long, value_name = "ID", value_parser = terminal, allow_hyphen_values = true)]
    terminal_id: Vec<String>,

    /// Leave the entry `fs` out of the catalog
    #[arg(long, alias = "no-fs-venom")]
    no_fs_service: bool,

    /// How often manifests are looked at besides when their files change; 0 means 2000
    #[arg(long, value_name = "MS", value_parser = interval, default_value = "2000", allow_hyphen_values = true)]
    manifest_reload_interval_ms: Duration,

    /// Keep the state of services in FILE.runtime-services.json, and in control mode this node's identity in FILE
    /// (./spiderweb-fs-node-state.json unless given)
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    state_file: Option<PathBuf>,

    /// Keep compiled WebAssembly modules in this folder, which nobody else may write to; without it in
    /// spiderweb-fs-node/modules of the user's cache
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    module_cache_dir: Option<PathBuf>,

    /// Name that stands for `{node_id}` in manifests; in control mode what the node wants to be called
    #[arg(
        long,
        value_name = "NAME",
        default_value = "spiderweb-fs-node",
        allow_hyphen_values = true
    )]
    node_name: String,
}

fn terminal(text: &str) -> Result<String, BadValue> {
    const VALID: &str = "expected 1 to 128 letters, digits, `.`, `_` or `-`";
    if text.is_empty() {
        return Err(bad("InvalidArguments", VALID));
    }
    if !is_identifier(text) || ServiceId::new(&format!("terminal-{text}")).is_err() {
        return Err(bad("InvalidProviderConfig", VALID));
    }
    Ok(text.to_owned())
}

fn interval(text: &str) -> Result<Duration, BadValue> {
    let milliseconds: u32 = super::number(text, "expected milliseconds: a number from 0 to 4294967295")?;
    Ok(match milliseconds {
        0 => DEFAULT_RELOAD,
        milliseconds => Duration::from_millis(milliseconds.into()),
    })
}

/// The options that only the newer generation has; whoever uses one speaks its words.
const HEAD_OPTIONS: [&str; 3] = ["--venom-manifest", "--venoms-dir", "--no-fs-venom"];

/// Which generation's words the arguments are in.
pub(super) fn dialect<'a>(arguments: impl IntoIterator<Item = &'a std::ffi::OsString>) -> Dialect {
    let is_head = |argument: &std::ffi::OsString| {
        let argument = argument.to_string_lossy();
        let name = argument.split_once('=').map_or(&*argument, |(name, _)| name);
        HEAD_OPTIONS.contains(&name)
    };
    if arguments.into_iter().any(is_head) {
        Dialect::Head
    } else {
        Dialect::Seed
    }
}

impl ServiceFlags {
    /// The node's name and its services; `exports` are the names of folders that were asked for.
    pub(super) fn configuration(
        self,
        dialect: Dialect,
        exports: &[&str],
        environment: &impl Fn(&str) -> Option<String>,
    ) -> Result<(String, ServicesConfig), CliError> {
        for (index, id) in self.terminal_id.iter().enumerate() {
            if self.terminal_id.iter().take(index).any(|other| other == id) {
                return Err(conflict(
                    "InvalidProviderConfig",
                    format!("--terminal-id {id}: this id was given already; give each terminal its own"),
                ));
            }
            let name = format!("terminal-{id}");
            if exports.contains(&name.as_str()) {
                return Err(conflict(
                    "InvalidArguments",
                    format!(
                        "--terminal-id {id}: an export is called {name} already; give one of them another name"
                    ),
                ));
            }
        }
        let config = ServicesConfig {
            dialect,
            manifests: ManifestSources {
                files: self.service_manifest,
                folders: self.services_dir,
            },
            terminals: self.terminal_id,
            has_fs_service: !self.no_fs_service,
            reload_every: self.manifest_reload_interval_ms,
            state_file: self.state_file,
            // Known when the program runs; nothing is opened before that.
            helper: PathBuf::new(),
            module_cache: self.module_cache_dir.or_else(|| user_cache(environment)),
        };
        Ok((self.node_name, config))
    }
}

/// Where compiled modules go unless a flag says otherwise: below the service manager's folder for this service, or
/// the user's for all programs.
fn user_cache(environment: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let folder = |name: &str| {
        environment(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let of_program = || {
        let of_user = if cfg!(windows) {
            folder("LOCALAPPDATA")?
        } else {
            folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?
        };
        Some(of_user.join("spiderweb-fs-node"))
    };
    Some(folder("CACHE_DIRECTORY").or_else(of_program)?.join("modules"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn modules_are_kept_where_the_environment_says() {
        for (variables, expected) in [
            (&[][..], None),
            (&[("HOME", "/h")], Some("/h/.cache/spiderweb-fs-node/modules")),
            (
                &[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")],
                Some("/x/spiderweb-fs-node/modules"),
            ),
            (
                &[("HOME", "/h"), ("XDG_CACHE_HOME", "relative")],
                Some("/h/.cache/spiderweb-fs-node/modules"),
            ),
            (
                &[("CACHE_DIRECTORY", "/var/cache/node"), ("HOME", "/h")],
                Some("/var/cache/node/modules"),
            ),
        ] {
            let environment = |wanted: &str| {
                let found = variables.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(
                user_cache(environment),
                expected.map(PathBuf::from),
                "{variables:?}"
            );
        }
    }

    #[test]
    fn whoever_uses_a_newer_option_speaks_its_words() {
        let arguments = |text: &str| -> Vec<std::ffi::OsString> { text.split(' ').map(Into::into).collect() };
        for (text, expected) in [
            ("node --services-dir a", Dialect::Seed),
            ("node --venoms-dir a", Dialect::Head),
            ("node --venom-manifest=a.json", Dialect::Head),
            ("node --no-fs-venom", Dialect::Head),
        ] {
            assert_eq!(dialect(&arguments(text)), expected, "{text}");
        }
    }
}
