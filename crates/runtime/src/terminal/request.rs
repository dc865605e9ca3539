//! What a terminal is asked to run (section 14.1).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use spiderweb_protocol::canonical;
use spiderweb_protocol::limits::MAX_DRIVER_OUTPUT;
use spiderweb_protocol::strict::JsonFaultKind;

use crate::process::Launch;
use crate::spec::Surroundings;

/// Bytes of each output unless the request says otherwise.
const DEFAULT_OUTPUT: usize = 128 * 1024;

/// Names by which tools ask for a command.
const TOOLS: [&str; 3] = ["terminal_exec", "shell_exec", "exec"];

/// The only operation there is.
const EXEC: &str = "exec";

/// The payload says nothing that could be run; under the original's name for the reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) &'static str);

const INVALID: Refused = Refused("InvalidPayload");

/// A command with its limits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    argv: Vec<String>,
    cwd: Option<PathBuf>,
    /// Bytes that each output may have.
    pub(super) max_output: usize,
    /// Time the command has, if the request says so.
    pub(super) timeout: Option<Duration>,
}

impl Request {
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Refused> {
        // What is written to a service was checked; a helper that is run by hand gets anything.
        canonical::check_object(payload).map_err(|fault| match fault.kind {
            JsonFaultKind::NotAnObject => INVALID,
            _ if payload.trim_ascii().is_empty() => INVALID,
            kind => Refused(kind.original_name()),
        })?;
        let root: Value = serde_json::from_slice(payload).map_err(|_| INVALID)?;
        let arguments = root.get("arguments").unwrap_or(&root);
        if !arguments.is_object() {
            return Err(INVALID);
        }
        if text(&root, "tool_name").is_some_and(|name| !TOOLS.contains(&name)) {
            return Err(INVALID);
        }
        let operation = [
            (arguments, "op"),
            (arguments, "operation"),
            (&root, "op"),
            (&root, "operation"),
        ]
        .into_iter()
        .find_map(|(object, name)| text(object, name));
        if operation.is_some_and(|operation| operation != EXEC) {
            return Err(INVALID);
        }
        Ok(Self {
            argv: argv(arguments)?,
            cwd: text(arguments, "cwd").map(PathBuf::from),
            max_output: positive(arguments, "max_output_bytes").map_or(DEFAULT_OUTPUT, |bytes| {
                usize::try_from(bytes)
                    .unwrap_or(usize::MAX)
                    .min(MAX_DRIVER_OUTPUT)
            }),
            timeout: positive(arguments, "timeout_ms").map(Duration::from_millis),
        })
    }

    /// How to start it. A relative program with a slash is meant from the directory of the command.
    pub(super) fn launch(self) -> Launch {
        let mut argv = self.argv.into_iter();
        let program = argv.next().unwrap_or_default();
        let program = match &self.cwd {
            Some(cwd) if program.contains('/') => cwd.join(program),
            _ => Path::new(&program).to_owned(),
        };
        Launch {
            program,
            args: argv.map(OsString::from).collect(),
            surroundings: Surroundings {
                cwd: self.cwd,
                ..Surroundings::default()
            },
        }
    }
}

/// `argv`, or else `command` for the shell.
fn argv(arguments: &Value) -> Result<Vec<String>, Refused> {
    if let Some(argv) = arguments.get("argv") {
        let words = argv.as_array().filter(|words| !words.is_empty()).ok_or(INVALID)?;
        let word = |word: &Value| word.as_str().filter(|word| !word.is_empty()).map(str::to_owned);
        return words.iter().map(word).collect::<Option<_>>().ok_or(INVALID);
    }
    let command = text(arguments, "command").ok_or(INVALID)?;
    let shell = if cfg!(windows) {
        ["cmd", "/C", command]
    } else {
        ["/bin/sh", "-lc", command]
    };
    Ok(shell.map(str::to_owned).into())
}

/// A member that is a string and not empty; any other value is as good as none.
fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// A member that is an integer above zero; any other value is as good as none.
fn positive(object: &Value, name: &str) -> Option<u64> {
    let number = object.get(name)?.as_i64()?;
    u64::try_from(number).ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(payload: &str) -> Option<String> {
        let request = Request::parse(payload.as_bytes()).ok()?;
        Some(request.argv.join(" "))
    }

    #[test]
    fn a_request_names_a_command() {
        for (payload, argv) in [
            (r#"{"command":"ls -l"}"#, Some("/bin/sh -lc ls -l")),
            (r#"{"argv":["echo","a b"],"command":"other"}"#, Some("echo a b")),
            (
                r#"{"arguments":{"command":"inner"},"command":"outer"}"#,
                Some("/bin/sh -lc inner"),
            ),
            (
                r#"{"tool_name":"terminal_exec","arguments":{"argv":["x"]}}"#,
                Some("x"),
            ),
            (r#"{"tool_name":"shell_exec","argv":["x"]}"#, Some("x")),
            (r#"{"tool_name":"exec","argv":["x"]}"#, Some("x")),
            (r#"{"tool_name":"","argv":["x"]}"#, Some("x")),
            (r#"{"tool_name":5,"argv":["x"]}"#, Some("x")),
            (r#"{"tool_name":"other","argv":["x"]}"#, None),
            (r#"{"op":"exec","argv":["x"]}"#, Some("x")),
            (r#"{"op":"","operation":7,"argv":["x"]}"#, Some("x")),
            (r#"{"op":"spawn","argv":["x"]}"#, None),
            (
                r#"{"op":"spawn","arguments":{"operation":"exec","argv":["x"]}}"#,
                Some("x"),
            ),
            (
                r#"{"op":"exec","arguments":{"operation":"spawn","argv":["x"]}}"#,
                None,
            ),
            ("{}", None),
            (r#"{"command":""}"#, None),
            (r#"{"command":5}"#, None),
            (r#"{"argv":[]}"#, None),
            (r#"{"argv":null,"command":"x"}"#, None),
            (r#"{"argv":"echo"}"#, None),
            (r#"{"argv":["echo",""]}"#, None),
            (r#"{"argv":["echo",1]}"#, None),
            (r#"{"arguments":[]}"#, None),
            (r#"{"arguments":null,"command":"x"}"#, None),
            ("[]", None),
            ("not json", None),
            ("", None),
        ] {
            let shell = if cfg!(windows) { "cmd /C" } else { "/bin/sh -lc" };
            let argv = argv.map(|argv| argv.replace("/bin/sh -lc", shell));
            assert_eq!(parsed(payload), argv, "{payload}");
        }
    }

    #[test]
    fn limits_are_integers_above_zero() {
        for (value, max_output, timeout) in [
            ("100", 100, Some(100)),
            ("1048576", 1_048_576, Some(1_048_576)),
            ("1048577", 1_048_576, Some(1_048_577)),
            ("0", DEFAULT_OUTPUT, None),
            ("-1", DEFAULT_OUTPUT, None),
            ("5.0", DEFAULT_OUTPUT, None),
            ("1e3", DEFAULT_OUTPUT, None),
            ("\"9\"", DEFAULT_OUTPUT, None),
            ("9223372036854775808", DEFAULT_OUTPUT, None),
        ] {
            let payload = format!(r#"{{"command":"x","max_output_bytes":{value},"timeout_ms":{value}}}"#);
            let request = Request::parse(payload.as_bytes()).unwrap();
            assert_eq!(request.max_output, max_output, "{value}");
            assert_eq!(request.timeout, timeout.map(Duration::from_millis), "{value}");
        }
    }

    #[test]
    fn a_relative_program_starts_from_the_directory_of_the_command() {
        for (payload, program) in [
            (r#"{"argv":["./x"],"cwd":"/d"}"#, "/d/./x"),
            (r#"{"argv":["/x"],"cwd":"/d"}"#, "/x"),
            (r#"{"argv":["x"],"cwd":"/d"}"#, "x"),
            (r#"{"argv":["./x"]}"#, "./x"),
        ] {
            let launch = Request::parse(payload.as_bytes()).unwrap().launch();
            let started = launch.program.to_str().map(|started| started.replace('\\', "/"));
            assert_eq!(started.as_deref(), Some(program), "{payload}");
        }
    }
}
