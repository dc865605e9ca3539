//! Recordings as golden files: what a player has to do, one thing a line.
//!
//! ```text
//! control 05-restart-saved-state
//! node ["--export","work=/data/export:rw",…]     the arguments of each node, in the order they start
//! exit runs                                      how each ended
//! state {…}                                      what the state file holds in the end
//! head "GET / HTTP/1.1\nHost: …"                 the first upgrade to each path
//! handshake {…}                                  what begins a control connection,
//! answer {…}                                     and what it is answered
//! operations node_join upsert | upsert           what is asked in each stage, without repetitions
//! tunnels hello | hello
//! repeats 2                                      how often an equal catalog is published again
//! stage stop, start                              what the operator does; there is one before the first
//! ask {…}                                        an operation of this stage and its answer
//! answer {…}
//! tunnel {…}                                     a tunnel's hello, and its steps, each in the stage with this number
//! 0 say {…}
//! 0 expect {…}
//! ```
//!
//! Of `cli-cases` each line is one start.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64_simd::STANDARD;

use super::CLI_CASES;
use super::recording::{Act, Ask, Recording, Step, Tunnel, json, parse as term, texts};
use super::sequence::Sequence;
use crate::raw_peer::frame::Frame;
use crate::replay::term::Term;

/// What golden files begin with.
const FIRST: &str = "control ";
/// Beginnings of secrets, whose rest is random.
const SECRETS: [&str; 5] = ["sw-admin_", "sw-user_", "inv-", "secret-", "lease-"];
/// What is shorter after that was chosen by a person.
const SHORTEST_SECRET: usize = 24;
/// Members of a case that are compared or needed to start it.
const CASE_MEMBERS: [&str; 8] = [
    "case",
    "args",
    "env",
    "state_file_before",
    "exit_code",
    "stderr",
    "state_file_after",
    "files_created_in_cwd",
];

/// Whether a text is golden.
pub(super) fn is_golden(text: &str) -> bool {
    text.starts_with(FIRST)
}

/// The golden text of a recording.
pub(super) fn from_recording(topic: &str, text: &str) -> Result<String> {
    let text = without_secrets(text);
    let mut lines = vec![format!("{FIRST}{topic}")];
    if topic == CLI_CASES {
        for case in text.lines().skip(1) {
            let case = term(case)?;
            let members = CASE_MEMBERS.iter();
            let members = members.filter_map(|name| Some(((*name).to_owned(), case.get(name)?.clone())));
            lines.push(json(&Term::Object(members.collect())));
        }
    } else {
        print(&Recording::parse(&text)?, &mut lines);
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// Numbers the secrets, so that nobody takes them for real ones.
fn without_secrets(text: &str) -> String {
    let is_secret = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '_';
    let mut secrets: Vec<&str> = Vec::new();
    for prefix in SECRETS {
        for (at, _) in text.match_indices(prefix) {
            let rest = &text[at + prefix.len()..];
            let length = rest.find(|char| !is_secret(char)).unwrap_or(rest.len());
            let secret = &text[at..at + prefix.len() + length];
            if length >= SHORTEST_SECRET && !secrets.contains(&secret) {
                secrets.push(secret);
            }
        }
    }
    let mut text = text.to_owned();
    for (at, secret) in secrets.clone().into_iter().enumerate() {
        let prefix = SECRETS.iter().find(|prefix| secret.starts_with(**prefix));
        text = text.replace(secret, &format!("{}{}", prefix.unwrap_or(&""), at + 1));
    }
    text
}

fn print(recording: &Recording, lines: &mut Vec<String>) {
    for arguments in &recording.nodes {
        let arguments = arguments.iter().map(Term::text).collect();
        lines.push(format!("node {}", json(&Term::List(arguments))));
    }
    for exit in &recording.exits {
        let end = exit.map_or("runs".to_owned(), |code| code.to_string());
        lines.push(format!("exit {end}"));
    }
    if let Some(state) = &recording.final_state {
        lines.push(format!("state {}", json(state)));
    }
    for head in &recording.heads {
        lines.push(format!("head {}", json(&Term::text(head))));
    }
    for (asked, reply) in &recording.handshake {
        lines.push(format!("handshake {}", json(asked)));
        lines.push(format!("answer {}", json(reply)));
    }
    lines.push(format!("operations {}", recording.control.print()));
    lines.push(format!("tunnels {}", recording.hellos.print()));
    lines.push(format!("repeats {}", recording.control.repeated_catalogs()));
    for (stage, acts) in recording.stages.iter().enumerate() {
        let acts: Vec<_> = acts.iter().map(act_in_words).collect();
        lines.push(format!("stage {}", acts.join(", ")).trim_end().to_owned());
        for ask in recording.asks.iter().filter(|ask| ask.stage == stage) {
            let word = if ask.is_after_hello { "ask-late" } else { "ask" };
            lines.push(format!("{word} {} {}", ask.operation, json(&ask.request)));
            lines.push(format!("answer {}", json(&ask.reply)));
        }
    }
    for tunnel in &recording.tunnels {
        lines.push(format!("tunnel {}", json(&tunnel.hello)));
        for (stage, step) in &tunnel.steps {
            lines.push(format!("{stage} {}", step_in_words(step)));
        }
    }
}

fn act_in_words(act: &Act) -> String {
    match act {
        Act::Start => "start".to_owned(),
        Act::Stop => "stop".to_owned(),
        Act::Kill => "kill".to_owned(),
        Act::ForgetState => "forget".to_owned(),
        Act::ReplaceSecret(secret) => format!("replace {secret}"),
        Act::Outage(time) => format!("outage {}", time.as_millis()),
        Act::Manifest(Some(version)) => format!("manifest {version}"),
        Act::Manifest(None) => "manifest".to_owned(),
    }
}

fn act_from_words(words: &str) -> Result<Act> {
    let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
    Ok(match (word, rest) {
        ("start", _) => Act::Start,
        ("stop", _) => Act::Stop,
        ("kill", _) => Act::Kill,
        ("forget", _) => Act::ForgetState,
        ("replace", secret) => Act::ReplaceSecret(secret.to_owned()),
        ("outage", time) => Act::Outage(Duration::from_millis(time.parse()?)),
        ("manifest", "") => Act::Manifest(None),
        ("manifest", version) => Act::Manifest(Some(version.to_owned())),
        _ => bail!("nobody can {words:?}"),
    })
}

fn step_in_words(step: &Step) -> String {
    match step {
        Step::Say(frame) => format!("frame {}", STANDARD.encode_to_string(frame.encode())),
        Step::Ask(message, false) => format!("say {}", json(message)),
        Step::Ask(message, true) => format!("say-masked {}", json(message)),
        Step::Expect(message) => format!("expect {}", json(message)),
        Step::ExpectPong(payload) => format!("pong {}", STANDARD.encode_to_string(payload)),
        Step::ExpectClose(payload) => format!("close {}", STANDARD.encode_to_string(payload)),
        Step::ExpectEnd => "end".to_owned(),
        Step::Cut => "cut".to_owned(),
    }
}

fn step_from_words(words: &str) -> Result<Step> {
    let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
    let bytes = || STANDARD.decode_to_vec(rest).context("bytes that are no base64");
    Ok(match word {
        "frame" => {
            let frame = Frame::decode(&bytes()?).map_err(anyhow::Error::msg)?;
            Step::Say(frame.context("half a frame")?.0)
        }
        "say" => Step::Ask(term(rest)?, false),
        "say-masked" => Step::Ask(term(rest)?, true),
        "expect" => Step::Expect(term(rest)?),
        "pong" => Step::ExpectPong(bytes()?),
        "close" => Step::ExpectClose(bytes()?),
        "end" => Step::ExpectEnd,
        "cut" => Step::Cut,
        _ => bail!("no tunnel has a step {word:?}"),
    })
}

/// Reads a golden text.
pub(super) fn parse(text: &str) -> Result<Recording> {
    let mut recording = Recording::default();
    let mut lines = text.lines().skip(1);
    let mut repeats = 0;
    while let Some(line) = lines.next() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut answer = || {
            let line = lines.next().and_then(|line| line.strip_prefix("answer "));
            term(line.context("a question without an answer")?)
        };
        match word {
            "node" => recording.nodes.push(texts(&term(rest)?)),
            "exit" => recording.exits.push(rest.parse().ok()),
            "state" => recording.final_state = Some(term(rest)?),
            "head" => {
                let head = term(rest)?;
                recording.heads.push(head.as_str().unwrap_or_default().to_owned());
            }
            "handshake" => recording.handshake.push((term(rest)?, answer()?)),
            "operations" => recording.control = Sequence::from_words(rest),
            "tunnels" => recording.hellos = Sequence::from_words(rest),
            "repeats" => repeats = rest.parse()?,
            "stage" => {
                let acts = rest.split(", ").filter(|words| !words.is_empty());
                recording
                    .stages
                    .push(acts.map(act_from_words).collect::<Result<_>>()?);
            }
            "ask" | "ask-late" => {
                let (operation, request) = rest.split_once(' ').context("an operation without a request")?;
                recording.asks.push(Ask {
                    stage: recording.stages.len().checked_sub(1).context("no stage")?,
                    is_after_hello: word == "ask-late",
                    operation: operation.to_owned(),
                    request: term(request)?,
                    reply: answer()?,
                });
            }
            "tunnel" => recording.tunnels.push(Tunnel {
                hello: term(rest)?,
                steps: Vec::new(),
            }),
            stage => {
                let tunnel = recording.tunnels.last_mut().context("a step without a tunnel")?;
                let stage = stage.parse().with_context(|| format!("a line {line:?}"))?;
                tunnel.steps.push((stage, step_from_words(rest)?));
            }
        }
    }
    recording.control.set_repeated_catalogs(repeats);
    Ok(recording)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = r#"{"setup":{"node_args":[["--invite-token","inv-0123456789abcdef0123456789abcdef"]]}}
{"t_ms":0,"conn":1,"dir":"n2s","path":"/","event":"http","frame":"GET / HTTP/1.1\nHost: h"}
{"t_ms":1,"conn":1,"dir":"n2s","path":"/","frame":{"type":"control.version","id":"v"}}
{"t_ms":2,"conn":1,"dir":"s2n","path":"/","frame":{"type":"control.version_ack","id":"v"}}
{"t_ms":3,"conn":1,"dir":"n2s","path":"/","frame":{"type":"control.venom_upsert","id":"o","payload":{"b":1,"a":2}}}
{"t_ms":4,"conn":1,"dir":"s2n","path":"/","frame":{"type":"control.venom_upsert","id":"o","ok":true}}
{"t_ms":5,"conn":2,"dir":"n2s","path":"/v2/node","frame":{"type":"acheron.t_fs_hello","tag":1}}
{"t_ms":6,"conn":2,"dir":"s2n","path":"/v2/node","frame":{"type":"acheron.r_fs_hello","tag":1}}
{"t_ms":7,"conn":2,"dir":"s2n","path":"/v2/node","op":"ping","frame":"p"}
{"t_ms":8,"conn":2,"dir":"n2s","path":"/v2/node","op":"pong","frame":"p"}
{"t_ms":9,"conn":2,"dir":"s2n","path":"/v2/node","op":"text","frame":"{"}
{"t_ms":9,"conn":2,"dir":"s2n","path":"/v2/node","op":"close","frame":"base64:A+g="}
{"t_ms":9,"conn":2,"dir":"n2s","path":"/v2/node","op":"close","frame":"base64:A+g="}
{"t_ms":9,"conn":2,"dir":"s2n","path":"/v2/node","event":"eof"}
{"note":"server killed"}
{"note":"manifest removed"}
{"t_ms":9,"conn":3,"dir":"n2s","path":"/","frame":{"type":"control.node_lease_refresh","id":"r"}}
{"t_ms":9,"conn":3,"dir":"s2n","path":"/","frame":{"type":"control.error","id":"r","error":{"code":"c"}}}
{"result":{"nodes":[{"exit_code":-15}],"final_state_file":{"schema":1}}}"#;

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let golden = from_recording("topic", RECORDED).unwrap();
        assert!(!golden.contains("0123456789abcdef"), "{golden}");
        let recording = Recording::parse(&without_secrets(RECORDED)).unwrap();
        assert_eq!(recording.control.print(), "upsert | - | node_lease_refresh:c");
        assert_eq!(parse(&golden).unwrap(), recording, "{golden}");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "control x\nask node_join {}",
            "control x\nstage dance",
            "control x\ntunnel {}\n0 hop",
            "control x\n0 cut",
        ] {
            assert!(parse(text).is_err(), "{text:?} was accepted");
        }
    }
}
