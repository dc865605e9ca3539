//! Failures as sentences for people.

use std::fmt::{self, Display};
use std::io;
use std::process::ExitCode;

use spiderweb_client::{ControlError, Error, LinkError, NodeError};
use spiderweb_protocol::Errno;
use spiderweb_protocol::control::Code;
use spiderweb_transport::DialError;

use crate::output::shown;

/// 128 + 2, as shells report a program that an interrupt ended.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something did not work.
    Failed {
        /// One sentence that names the thing.
        message: String,
        /// What would work.
        hint: Option<String>,
    },
    /// The command line asks for something that makes no sense.
    Usage(String),
    /// Whoever read our output has left; nothing to say.
    BrokenPipe,
    /// The user ended it.
    Interrupted,
    /// A command on the node ended with this code, which is passed on.
    Exit(u8),
    /// Some of many things failed, and each was reported.
    Reported,
}

impl Failure {
    /// A failure of something on this machine.
    #[expect(clippy::needless_pass_by_value, reason = "meant for map_err")]
    pub(crate) fn local(what: impl Display, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::Failed {
            message: format!("{what}: {}", plain(&error)),
            hint: None,
        }
    }

    /// A failure that is no error of anything else.
    pub(crate) fn message(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            hint: None,
        }
    }

    /// The same with advice.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Failed { message, .. } => Self::Failed {
                message,
                hint: Some(hint.into()),
            },
            other => other,
        }
    }

    /// The same with another beginning, if it begins like that.
    fn rephrase(self, old: &str, new: &str) -> Self {
        match self {
            Self::Failed { message, hint } => Self::Failed {
                message: match message.strip_prefix(old) {
                    Some(rest) => format!("{new}{rest}"),
                    None => message,
                },
                hint,
            },
            other => other,
        }
    }

    /// Prints the failure and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if let Some(text) = self.text() {
            let style = anstyle::AnsiColor::Red.on_default().bold();
            anstream::eprintln!("{style}error:{style:#} {text}");
        }
        match self {
            Self::BrokenPipe => ExitCode::SUCCESS,
            Self::Failed { .. } | Self::Reported => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
            Self::Interrupted => ExitCode::from(INTERRUPTED),
            Self::Exit(code) => ExitCode::from(*code),
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Failed { message, hint: None } => Some(message.clone()),
            Self::Failed {
                message,
                hint: Some(hint),
            } => Some(format!("{message}\n  hint: {hint}")),
            Self::Usage(message) => Some(format!("{message}\n\nFor more information, try '--help'.")),
            Self::BrokenPipe | Self::Interrupted | Self::Exit(_) | Self::Reported => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        explain("reach", None, &error)
    }
}

/// Says what was being done when a call failed.
pub(crate) trait Doing<T> {
    /// `verb` completes the sentence "cannot … PATH".
    fn doing(self, verb: &str, path: &dyn Display) -> Result<T, Failure>;
}

impl<T> Doing<T> for Result<T, Error> {
    fn doing(self, verb: &str, path: &dyn Display) -> Result<T, Failure> {
        self.map_err(|error| explain(verb, Some(&path.to_string()), &error))
    }
}

/// One sentence for an error, and advice where there is any.
fn explain(verb: &str, path: Option<&str>, error: &Error) -> Failure {
    match error {
        Error::At { path: inner, source } => match path {
            // A directory on the way is missing, or no directory: the whole path is what was asked for.
            Some(outer)
                if outer
                    .strip_prefix(inner.as_str())
                    .is_some_and(|rest| rest.starts_with('/')) =>
            {
                let reason = explain(verb, Some(inner), source);
                let subject = format!("cannot {verb} {}: ", shown(outer, true));
                reason.rephrase(&format!("cannot {verb} "), &subject)
            }
            _ => explain(verb, Some(inner), source),
        },
        Error::Stopped => Failure::Interrupted,
        Error::Local { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        Error::Local { what, source } => Failure::message(format!("{what}: {}", plain(source))),
        Error::Dial { url, source } => {
            let reason = match source {
                DialError::Connect { source, .. } => plain(source),
                other => other.to_string(),
            };
            Failure::message(format!("cannot reach a node at {url}: {reason}"))
                .hint("is spiderweb-fs-node running there? Name another address with --url or SPIDERWEB_URL")
        }
        Error::Hello {
            source: Some(said), ..
        } if said.message.starts_with("Auth") => Failure::message(error.to_string())
            .hint("give the node's token with --token-file FILE or SPIDERWEB_FS_NODE_AUTH_TOKEN"),
        Error::NoExport {
            exports,
            below: Some(below),
            ..
        } => {
            let example = exports.first().map_or("work", String::as_str);
            let exports = format!("spiderweb exports {below}");
            Failure::message(error.to_string()).hint(format!(
                "paths are {below}/EXPORT/PATH, as in {below}/{example}/file; `{}` lists the exports",
                exports.trim_end()
            ))
        }
        Error::NoDirectory => Failure::message(sentence(verb, path, &error.to_string()))
            .hint("a slash at the end asks for a directory; without it, it is the name of a file"),
        Error::NoService { .. } => Failure::message(error.to_string())
            .hint("`spiderweb services` lists them; a service is named by its id, as in echo-main"),
        Error::Lost { .. } if verb == "invoke" => Failure::message(format!(
            "{}: the connection was lost meanwhile, and whether the driver was run is not known",
            sentence(verb, path, "no answer came")
        )),
        Error::TimedOut { limit, .. } if verb == "invoke" => Failure::message(sentence(
            verb,
            path,
            &format!("no outcome came within {limit:?}; the driver may still be running"),
        ))
        .hint("wait longer with --timeout"),
        Error::Lost {
            url,
            source: LinkError::Io(source),
        } => Failure::message(format!("the connection to {url} was lost: {}", plain(source))),
        Error::Hello { .. }
        | Error::Lost { .. }
        | Error::NoExport { .. }
        | Error::Top { .. }
        | Error::OtherNode { .. } => Failure::message(error.to_string()),
        Error::Node { error: said, .. } => {
            let (reason, hint) = words(said.errno, &said.message, path);
            let failure = Failure::message(sentence(verb, path, &reason));
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        }
        other => Failure::message(sentence(verb, path, &other.to_string())),
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        let message = Self::message(shown(&error.to_string(), true));
        match error {
            NodeError::Control(error) => error.into(),
            NodeError::Client(error) => error.into(),
            NodeError::Unknown { .. } => message.hint("`spiderweb ls /nodes` lists them; a user's token is shown those that projects mount"),
            NodeError::Ambiguous { .. } => message.hint("name the node by its id, as in /nodes/ID"),
            NodeError::Offline { .. } => message
                .hint("is spiderweb-fs-node running there, with this hub as its --control-url? `spiderweb hub nodes` shows when the hub last heard of it"),
            NodeError::Forbidden { .. } => {
                message.hint(format!("{TOKENS}; a user's token opens the nodes that a project mounts for it"))
            }
            NodeError::Nowhere { .. } => message.hint("`spiderweb ls /nodes` lists the nodes"),
            NodeError::List { .. } => message.hint("`spiderweb ls /nodes` lists them"),
        }
    }
}

/// How to give the hub a token.
const TOKENS: &str = "give the hub's admin token with --hub-token-file FILE or SPIDERWEB_HUB_TOKEN";
/// How to give the hub the second factor.
const OPERATOR: &str =
    "give the hub's operator token with --operator-token-file FILE or SPIDERWEB_OPERATOR_TOKEN";

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let message = Self::message(shown(&error.to_string(), true));
        match &error {
            ControlError::Dial { url, source } => {
                let reason = match source {
                    DialError::Connect { source, .. } => plain(source),
                    other => other.to_string(),
                };
                Self::message(format!("cannot reach a hub at {url}: {reason}"))
                    .hint("is spiderweb-hub running there? Name another address with --hub or SPIDERWEB_HUB")
            }
            ControlError::Denied { .. } | ControlError::Token(_) => message.hint(TOKENS),
            ControlError::Lost { operation, .. } if operation == "version" => message.hint(TOKENS),
            ControlError::Refused { operation, refusal } => match &refusal.code {
                Code::AuthFailed | Code::Forbidden | Code::ProvisioningRequired => message.hint(TOKENS),
                Code::OperatorAuthFailed => message.hint(OPERATOR),
                // Every member that is always needed is always sent.
                Code::MissingField if operation.starts_with("node_") => message.hint(OPERATOR),
                Code::PendingJoinNotFound => {
                    message.hint("`spiderweb hub pending` lists the requests that wait")
                }
                Code::InviteNotFound => message.hint("`spiderweb hub invite list` lists the invites"),
                Code::ProjectNotFound => message.hint("`spiderweb hub projects` lists the projects"),
                Code::Unsupported => message.hint("this hub is of another kind and cannot do it"),
                _ => message,
            },
            _ => message,
        }
    }
}

fn sentence(verb: &str, path: Option<&str>, reason: &str) -> String {
    match path {
        Some(path) => format!("cannot {verb} {}: {reason}", shown(path, true)),
        None => reason.to_owned(),
    }
}

/// An errno in words, and what would help.
fn words(errno: Errno, said: &str, path: Option<&str>) -> (String, Option<String>) {
    let parent = path
        .and_then(|path| path.trim_end_matches('/').rsplit_once('/'))
        .map_or("/", |(parent, _)| if parent.is_empty() { "/" } else { parent });
    let (words, hint) = match errno {
        // What a hub says in place of the node.
        Errno::EIO if said == "NodeTunnelUnavailable" => {
            ("the hub has lost its connection to the node", None)
        }
        Errno::ENOENT => (
            "no such file or directory",
            Some(format!("`spiderweb ls {parent}` shows what is there")),
        ),
        Errno::EACCES | Errno::EPERM if has_name(path, |name| name == RESERVED) => {
            return (format!("the name {RESERVED} is reserved"), None);
        }
        Errno::EINVAL if has_name(path, is_long) => {
            return (
                format!("a name in it is longer than {LONGEST} bytes, which file systems do not take"),
                None,
            );
        }
        Errno::EACCES | Errno::EPERM => (
            "the node may not do that",
            Some(
                "it needs the rights on its own machine, and never leaves its exports through links"
                    .to_owned(),
            ),
        ),
        Errno::EEXIST => ("it exists", None),
        Errno::ENOTDIR => ("not a directory", None),
        Errno::EISDIR => ("is a directory", None),
        Errno::ENOTEMPTY => (
            "the directory is not empty",
            Some("`spiderweb rm -r` removes what is in it, too".to_owned()),
        ),
        Errno::EROFS => (
            "the export is read-only",
            Some("`spiderweb exports` shows which can be written".to_owned()),
        ),
        Errno::ENOSPC => ("no space left on the node", None),
        Errno::EDQUOT => ("the node's disk quota is used up", None),
        Errno::EXDEV => (
            "source and target lie in different exports",
            Some("copy with `spiderweb cp -r :OLD :NEW`, then remove the old one".to_owned()),
        ),
        Errno::ELOOP => ("its links lead in a circle", None),
        Errno::ENOSYS => ("this export cannot do that", None),
        Errno::EIO => ("the node's disk or file system failed", None),
        _ => {
            return (
                format!("the node answered {said:?} (errno {})", errno.number()),
                None,
            );
        }
    };
    (words.to_owned(), hint)
}

/// The name that nodes see and make in no folder.
const RESERVED: &str = ".spiderweb-sandbox";
/// Bytes of the longest name that file systems take.
const LONGEST: usize = 255;

fn has_name(path: Option<&str>, is_it: impl Fn(&str) -> bool) -> bool {
    path.is_some_and(|path| path.split('/').any(is_it))
}

/// Whether a name is longer than file systems take. Nodes answer that as they answer any invalid argument.
pub(crate) fn is_long(name: &str) -> bool {
    name.len() > LONGEST
}

/// A system error without the number in parentheses.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => error.kind().to_string(),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use spiderweb_protocol::fs::{Op, WireError};

    use super::*;

    fn said(errno: Errno) -> Error {
        Error::Node {
            op: Op::Lookup,
            error: WireError {
                errno,
                message: "words of the node".into(),
            },
        }
    }

    #[test]
    fn failures_name_the_path_and_what_would_work() {
        for (errno, part) in [
            (
                Errno::ENOENT,
                "cannot read /work/a/x: no such file or directory\n  hint: `spiderweb ls /work/a`",
            ),
            (Errno::EROFS, "read-only\n  hint: `spiderweb exports`"),
            (Errno::from_wire(99), "\"words of the node\" (errno 99)"),
        ] {
            let failure = Err::<(), _>(said(errno)).doing("read", &"/work/a/x").unwrap_err();
            assert!(failure.to_string().contains(part), "{failure}");
        }
    }

    #[test]
    fn a_missing_directory_on_the_way_is_named_beside_the_path() {
        let error = said(Errno::ENOENT).at(&"/work/no");
        let failure = Err::<(), _>(error).doing("write", &"/work/no/a").unwrap_err();
        assert!(
            failure
                .to_string()
                .starts_with("cannot write /work/no/a: /work/no: no such file or directory"),
            "{failure}"
        );
    }

    #[test]
    fn a_path_deeper_down_wins_and_control_characters_do_not_reach_the_terminal() {
        let error = said(Errno::EISDIR).at(&"/work/deep\x1b[2J");
        let failure = Err::<(), _>(error).doing("remove", &"/work").unwrap_err();
        assert_eq!(
            failure.to_string(),
            "cannot remove /work/deep\\x1b[2J: is a directory"
        );
    }
}
