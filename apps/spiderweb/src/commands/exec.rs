//! `spiderweb exec`

use std::io::Write as _;
use std::time::Duration;

use clap::{ArgGroup, Args};
use serde::{Deserialize, Serialize};

use crate::called::Called;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{complain, shown};
use crate::remote::Reach;
use crate::units::parse_size;

/// Run a command on the node, through its terminal service.
///
/// The command has no input and no terminal. What it prints comes when it is done, and its exit code becomes this
/// program's. With --timeout the command is ended after that time, where the node can do so.
///
/// JSON: {state, exit_code, stdout, stderr}.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "this is help text")]
#[command(
    after_help = "Exit codes: that of the command; 1 if it could not be run or was ended, 2 wrong usage, 130 interrupted.",
    group(ArgGroup::new("what").args(["command", "argv"]).required(true))
)]
pub(crate) struct Exec {
    /// The terminal service, such as terminal-1; not needed when the node has one only.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,

    /// Directory to run it in, on the node.
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,

    /// Most bytes of output, and of error output; the node's own limit is 1MiB, its default 128KiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_output: Option<u64>,

    /// A line for the node's shell, instead of a command and its arguments.
    #[arg(short, value_name = "LINE")]
    command: Option<String>,

    /// The command and its arguments; everything from here on is the command's, options too.
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    argv: Vec<String>,
}

/// The payload of a terminal service (section 14.1).
#[derive(Serialize)]
struct Payload<'a> {
    tool_name: &'static str,
    arguments: Arguments<'a>,
}

#[derive(Serialize)]
struct Arguments<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    argv: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

/// Its result (section 14.2).
#[derive(Deserialize, Serialize, Debug)]
struct Ended {
    state: String,
    exit_code: i64,
    stdout: String,
    stderr: String,
}

/// The state of a command that never ran, or printed too much; standard error is a word that says why.
const NOT_LAUNCHED: &str = "launch_failed";

impl Exec {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let mut reach = Reach::open(&context.global).await?;
        let name = if let Some(name) = &self.service {
            name.clone()
        } else {
            let remote = reach.only(None).await?;
            only_terminal(remote.view.exports().iter().map(|export| export.name.as_str()))?
        };
        let called = Called::find(&mut reach, &name).await?;
        let payload = self.payload(context.global.timeout.map(|timeout| timeout.as_millis() as u64));
        let outcome = called.invoke(&payload, &context.global, &context.stop).await?;
        if let Err(failure) = called.judge(&outcome) {
            let said = shown(String::from_utf8_lossy(&outcome.error).trim(), true);
            return Err(if outcome.refusal.is_some() || said.is_empty() {
                failure
            } else {
                failure.hint(format!("it said: {said}"))
            });
        }
        let result = outcome.result.unwrap_or_default();
        let ended = Ended::parse(&result)
            .ok_or_else(|| Failure::message(format!("{} is no terminal service", called.name())))?;
        let judged = ended.judge(context.global.timeout);
        if context.out.is_json() {
            context.out.json(&ended)?;
            return judged;
        }
        context.out.bytes(ended.stdout.as_bytes())?;
        context.out.flush()?;
        match &judged {
            // Not the command's words, but the node's word for what is about to be said.
            Err(_) if ended.state == NOT_LAUNCHED => {}
            Err(Failure::Failed { .. }) => complain(ended.stderr.as_bytes()),
            _ => {
                // Nobody is left to be told.
                let _ = std::io::stderr().write_all(ended.stderr.as_bytes());
            }
        }
        judged
    }

    fn payload(&self, timeout_ms: Option<u64>) -> Vec<u8> {
        let payload = Payload {
            tool_name: "terminal_exec",
            arguments: Arguments {
                command: self.command.as_deref(),
                argv: &self.argv,
                cwd: self.cwd.as_deref(),
                max_output_bytes: self.max_output,
                timeout_ms,
            },
        };
        // Strings and numbers always make JSON.
        serde_json::to_vec(&payload).unwrap_or_default()
    }
}

/// The terminal to use when none is named.
fn only_terminal<'a>(exports: impl Iterator<Item = &'a str>) -> Result<String, Failure> {
    let terminals: Vec<_> = exports.filter(|name| name.starts_with("terminal-")).collect();
    match terminals.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(Failure::message("the node has no terminal service")
            .hint("start it with --terminal-id 1, or name a service with --service")),
        several => Err(Failure::Usage(format!(
            "the node has several terminals; choose one with --service: {}",
            shown(&several.join(", "), true)
        ))),
    }
}

impl Ended {
    /// Reads a result. Original nodes put bytes that are no text into it as they are.
    fn parse(result: &[u8]) -> Option<Self> {
        serde_json::from_str(&String::from_utf8_lossy(result)).ok()
    }

    /// A failure, if it is one; `timeout` is the time the command was given.
    fn judge(&self, timeout: Option<Duration>) -> Result<(), Failure> {
        match (self.state.as_str(), self.exit_code) {
            ("exited", 0) => Ok(()),
            ("exited", code) => Err(Failure::Exit(u8::try_from(code).unwrap_or(1))),
            (NOT_LAUNCHED, _) => Err(Failure::message(match self.stderr.as_str() {
                "FileNotFound" => {
                    "the command could not be run: there is no such program or directory on the node"
                        .to_owned()
                }
                "AccessDenied" => "the command could not be run: the node may not do that".to_owned(),
                "FileBusy" => {
                    "the command could not be run: somebody is still writing the program".to_owned()
                }
                "StdoutStreamTooLong" | "StderrStreamTooLong" => {
                    return Err(
                        Failure::message("the command was ended: it printed more than is allowed")
                            .hint("allow more with --max-output 1MiB, or print to a file"),
                    );
                }
                other => format!("the command could not be run: {}", shown(other, true)),
            })),
            ("terminated", _) => Err(Failure::message("the command was ended by a signal")),
            ("timeout", _) => {
                let within = timeout.map_or_else(|| "in time".to_owned(), |time| format!("within {time:?}"));
                Err(
                    Failure::message(format!("the command did not finish {within} and was ended"))
                        .hint("give it more time with --timeout"),
                )
            }
            (state, _) => Err(Failure::message(format!(
                "the command was ended: its state is {:?}",
                shown(state, true)
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(command: Option<&str>, argv: &[&str]) -> Exec {
        Exec {
            service: None,
            cwd: command.map(|_| "/tmp".to_owned()),
            max_output: None,
            command: command.map(str::to_owned),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    #[test]
    fn payloads_are_those_of_the_terminal_service() {
        assert_eq!(
            exec(None, &["ls", "-l", "a b"]).payload(None),
            br#"{"tool_name":"terminal_exec","arguments":{"argv":["ls","-l","a b"]}}"#
        );
        assert_eq!(
            exec(Some("ls | wc"), &[]).payload(Some(500)),
            br#"{"tool_name":"terminal_exec","arguments":{"command":"ls | wc","cwd":"/tmp","timeout_ms":500}}"#
        );
    }

    #[test]
    fn the_exit_code_is_that_of_the_command() {
        let judged = |state: &str, code: i64, stderr: &str| {
            let text = format!(
                r#"{{"service":"terminal","ok":false,"state":"{state}","exit_code":{code},"stdout":"","stderr":"{stderr}"}}"#
            );
            Ended::parse(text.as_bytes())
                .unwrap()
                .judge(Some(Duration::from_secs(2)))
        };
        assert!(judged("exited", 0, "").is_ok());
        for (code, passed_on) in [(1, 1), (42, 42), (255, 255), (256, 1), (-1, 1)] {
            assert!(matches!(judged("exited", code, ""), Err(Failure::Exit(exit)) if exit == passed_on));
        }
        for (state, stderr, words) in [
            ("terminated", "", "by a signal"),
            ("launch_failed", "FileNotFound", "no such program"),
            ("launch_failed", "AccessDenied", "may not"),
            ("launch_failed", "FileBusy", "still writing"),
            ("launch_failed", "StdoutStreamTooLong", "--max-output"),
            ("launch_failed", "Unexpected", "Unexpected"),
            (
                "timeout",
                "",
                "did not finish within 2s and was ended\n  hint: give it more time",
            ),
            ("lost", "", "its state is \"lost\""),
        ] {
            let failure = judged(state, -1, stderr).unwrap_err().to_string();
            assert!(failure.contains(words), "{failure}");
        }
    }

    #[test]
    fn results_that_are_no_text_are_read_all_the_same() {
        let result = b"{\"state\":\"exited\",\"exit_code\":0,\"stdout\":\"a\xff\",\"stderr\":\"\"}";
        assert_eq!(Ended::parse(result).unwrap().stdout, "a\u{fffd}");
        assert!(Ended::parse(b"{}").is_none());
    }

    #[test]
    fn one_terminal_need_not_be_named() {
        let names = |names: &[&'static str]| only_terminal(names.iter().copied());
        assert_eq!(names(&["svc-echo-main", "terminal-1"]).unwrap(), "terminal-1");
        assert!(matches!(names(&["work"]), Err(Failure::Failed { .. })));
        assert!(matches!(
            names(&["terminal-1", "terminal-2"]),
            Err(Failure::Usage(_))
        ));
    }
}
