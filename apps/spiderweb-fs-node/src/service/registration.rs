//! What is registered: flags that were checked, with paths that mean the same wherever the service starts.

use std::ffi::OsString;
use std::path::{Path, absolute};

use clap::Arg;

use super::{Home, ServiceName};
use crate::cli::{self, CliError, Command, Plan};

/// Why flags make no service.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// A start with them would fail in the same way.
    #[error(transparent)]
    Flags(CliError),
    /// A start would succeed, and the service would be of no use.
    #[error("{0}")]
    Service(String),
}

/// Checks the node's flags as a start does, and makes the paths in them absolute.
///
/// # Errors
///
/// The first thing that is wrong.
pub(super) fn checked(
    flags: Vec<OsString>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, Refused> {
    let flags = flags
        .into_iter()
        .map(OsString::into_string)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|flag| Refused::Service(format!("{}: this is no text", flag.display())))?;
    match planned(flags.iter().map(OsString::from), environment).map_err(Refused::Flags)? {
        Some(plan) if serves_something(&plan) => {}
        Some(_) => {
            return Err(Refused::Service(
                "a service has no current folder to serve; say what with --export NAME=PATH, --services-dir, \
                 --service-manifest or --terminal-id"
                    .to_owned(),
            ));
        }
        None => {
            return Err(Refused::Service(
                "with --help, --version or --completions the node prints something and ends".to_owned(),
            ));
        }
    }
    with_absolute_paths(flags)
}

/// What a start with these flags would do; `None` if it would print something and end.
pub(super) fn planned(
    flags: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<Plan>, CliError> {
    let line = std::iter::once(OsString::from("spiderweb-fs-node")).chain(flags);
    Ok(match cli::parse(line, environment)? {
        Command::Serve(plan) => Some(*plan),
        Command::Print(_) => None,
    })
}

fn serves_something(plan: &Plan) -> bool {
    let services = &plan.node.services;
    !plan.node.default_export
        || !services.terminals.is_empty()
        || !services.manifests.files.is_empty()
        || !services.manifests.folders.is_empty()
}

/// The arguments that the service manager starts the program with.
pub(super) fn arguments(name: &ServiceName, home: &Home, flags: &[String]) -> Vec<OsString> {
    let own = ["service", "run", "--name", &name.0, "--folder"].map(OsString::from);
    own.into_iter()
        .chain([home.path().into(), "--".into()])
        .chain(flags.iter().map(OsString::from))
        .collect()
}

/// Options with a token in them, which everybody on this machine can read in the registry.
pub(super) fn tokens(flags: &[String]) -> Vec<&str> {
    let names = flags.iter().map(|flag| name_of(flag));
    names
        .filter(|name| name.starts_with("--") && name.ends_with("-token"))
        .collect()
}

fn name_of(flag: &str) -> &str {
    flag.split_once('=').map_or(flag, |(name, _)| name)
}

/// Expects flags that were accepted, so that values can be told from names.
fn with_absolute_paths(flags: Vec<String>) -> Result<Vec<String>, Refused> {
    let known = cli::flags();
    let mut flags = flags.into_iter().peekable();
    let mut made = Vec::new();
    while let Some(flag) = flags.next() {
        let Some(option) = known
            .get_arguments()
            .find(|option| is_named(option, name_of(&flag)))
        else {
            made.push(flag);
            continue;
        };
        if let Some((name, value)) = flag.split_once('=') {
            made.push(format!("{name}={}", with_absolute_path(option, value)?));
            continue;
        }
        made.push(flag);
        // An option whose value may be left out takes none that looks like an option.
        let takes_next = match option.get_num_args() {
            Some(count) if count.min_values() == 0 => {
                count.takes_values() && flags.peek().is_some_and(|next| !next.starts_with('-'))
            }
            Some(count) => count.takes_values(),
            None => option.get_action().takes_values(),
        };
        if takes_next && let Some(value) = flags.next() {
            made.push(with_absolute_path(option, &value)?);
        }
    }
    Ok(made)
}

fn is_named(option: &Arg, flag: &str) -> bool {
    flag.strip_prefix("--").is_some_and(|name| {
        let aliases = option.get_all_aliases().unwrap_or_default();
        option.get_long() == Some(name) || aliases.contains(&name)
    })
}

fn with_absolute_path(option: &Arg, value: &str) -> Result<String, Refused> {
    let kind = option.get_value_names().and_then(<[_]>::first);
    match kind.map(clap::builder::Str::as_str) {
        Some("FILE" | "DIR") => made_absolute(value),
        Some(kind) if kind.starts_with("NAME=PATH") => {
            // Accepted before, so it can be taken apart.
            let Ok(export) = cli::export(value) else {
                return Ok(value.to_owned());
            };
            let path = export.description.as_str();
            let suffix = value
                .get(export.name.len() + 1 + path.len()..)
                .unwrap_or_default();
            Ok(format!("{}={}{suffix}", export.name, made_absolute(path)?))
        }
        _ => Ok(value.to_owned()),
    }
}

fn made_absolute(path: &str) -> Result<String, Refused> {
    let made = absolute(Path::new(path))
        .map_err(|error| Refused::Service(format!("{path:?} cannot be made absolute: {error}")))?;
    let made = made.into_os_string().into_string();
    made.map_err(|_| Refused::Service(format!("{path:?}: the current folder's name is no text")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked_without_variables(flags: &[&str]) -> Result<Vec<String>, Refused> {
        checked(flags.iter().map(OsString::from).collect(), |_| None)
    }

    fn here(path: &str) -> String {
        absolute(path).unwrap().into_os_string().into_string().unwrap()
    }

    #[test]
    fn a_wrong_flag_is_refused_in_the_words_of_a_start() {
        for (flags, words) in [
            (&["--bogus"][..], "unknown argument: --bogus"),
            (&["--port", "abc"], "--port abc: expected a number"),
            (
                &["--export", "a=x", "--export", "a=y"],
                "two exports have this name",
            ),
            (&["--hub-data-dir", "d"], "--hub-data-dir: there is no hub"),
        ] {
            let refused = checked_without_variables(flags).unwrap_err();
            assert!(matches!(refused, Refused::Flags(_)), "{flags:?}");
            assert!(refused.to_string().contains(words), "{refused}");
        }
    }

    #[test]
    fn what_would_end_at_once_or_serve_nothing_is_no_service() {
        for (flags, words) in [
            (&["--help"][..], "prints something"),
            (&["--completions", "bash"], "prints something"),
            (&[], "no current folder"),
            (&["--port", "0"], "no current folder"),
            (&["--control-url", "ws://h/"], "no current folder"),
        ] {
            let refused = checked_without_variables(flags).unwrap_err();
            assert!(refused.to_string().contains(words), "{flags:?}: {refused}");
        }
        for flags in [
            ["--terminal-id", "1"],
            ["--services-dir", "d"],
            ["--service-manifest", "f"],
        ] {
            checked_without_variables(&flags).unwrap();
        }
    }

    #[test]
    fn paths_are_absolute_and_nothing_else_is_touched() {
        let (file, folder) = (here("a b"), here("."));
        for (given, made) in [
            ("--export|w=a b:ro", format!("--export|w={file}:ro")),
            ("--export=w=d=e", format!("--export=w={}", here("d=e"))),
            ("--export|w=.:rw:cred=x", format!("--export|w={folder}:rw:cred=x")),
            (
                "--venoms-dir|.|--venom-manifest=a b",
                format!("--venoms-dir|{folder}|--venom-manifest={file}"),
            ),
            (
                "--terminal-id|1|--auth-token|--state-file|--state-file|a b",
                format!("--terminal-id|1|--auth-token|--state-file|--state-file|{file}"),
            ),
            (
                "--terminal-id|1|--hub|--hub-data-dir|a b",
                format!("--terminal-id|1|--hub|--hub-data-dir|{file}"),
            ),
            (
                "--terminal-id|1|--hub|127.0.0.1:0|--no-fs-service|--port=0",
                "--terminal-id|1|--hub|127.0.0.1:0|--no-fs-service|--port=0".to_owned(),
            ),
        ] {
            let given: Vec<&str> = given.split('|').collect();
            let checked = checked_without_variables(&given).unwrap();
            assert_eq!(checked.join("|"), made, "{given:?}");
        }
    }

    /// A flag for a path has to say so by its value's name, or a service would look for it in its own folder.
    #[test]
    fn every_option_for_a_path_is_known_as_one() {
        let known = cli::flags();
        let is_path = |option: &&Arg| {
            let long = option.get_long().unwrap_or_default();
            ["-file", "-dir", "-manifest"]
                .iter()
                .any(|end| long.ends_with(end))
        };
        let paths: Vec<&Arg> = known.get_arguments().filter(is_path).collect();
        assert!(paths.len() >= 8, "{paths:?}");
        for option in paths {
            let made = with_absolute_path(option, "p").unwrap();
            assert_eq!(made, here("p"), "{option}");
        }
    }

    #[test]
    fn what_is_registered_reads_back_as_what_was_given() {
        let name = "n".parse().unwrap();
        let home = Home("a b".into());
        let flags = ["--export", "w=/a b\"c:ro", "--", "--name"].map(str::to_owned);
        let line = std::iter::once("spiderweb-fs-node service".into())
            .chain(arguments(&name, &home, &flags).into_iter().skip(1));
        let flags_read = match <super::super::Flags as clap::Parser>::try_parse_from(line)
            .unwrap()
            .action
        {
            super::super::Action::Run(run) => {
                assert_eq!((&run.named.name, run.folder.as_path()), (&name, home.path()));
                run.flags
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(flags_read, flags.map(OsString::from));
    }

    #[test]
    fn tokens_are_noticed_and_files_of_tokens_are_not() {
        let flags = [
            "--auth-token=a",
            "--invite-token",
            "b",
            "--invite-token-file",
            "c",
        ]
        .map(str::to_owned);
        assert_eq!(tokens(&flags), ["--auth-token", "--invite-token"]);
    }
}
