//! Programs run by hand: the reference drivers and the helpers of the node.
//!
//! ```text
//! programs drivers-cli
//!
//! run bin/spiderweb-echo-driver []
//! stdin {"a":1}
//! exit 0
//! stdout {"ok":true,"driver":"spiderweb-echo-driver","ts_ms":@,"echo":{"a":1}}
//! stderr ""
//! ```
//!
//! `node` stands for the node itself. Of long output only the start and the length are compared: `starts 1048650 "…"`.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::content::Content;
use super::place::{self, Artifacts};
use super::script::Setup;
use super::{vector, volatile};
use crate::replay::Difference;
use crate::replay::term::{Scanner, Term, quote};

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(2);

/// The member of a vector that holds the runs, and the command line when the runs have none.
const RUNS: [(&str, &str, &[&str]); 6] = [
    ("echo_native_proc", "bin/spiderweb-echo-driver", &[]),
    (
        "echo_native_inproc_via_helper",
        "node",
        &[
            "--internal-inproc-invoke",
            "--library-path",
            "./lib/libspiderweb-echo-driver-inproc.so",
        ],
    ),
    (
        "echo_wasm_via_wasmtime_run",
        "wbin/wasmtime",
        &["run", "bin/spiderweb-echo-driver-wasm.wasm"],
    ),
    ("helper_argument_errors", "node", &[]),
    ("terminal_helper", "node", &[]),
    ("rejected", "bin/spiderweb-web-search-driver", &[]),
];

/// What a stream must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Output {
    Is(Content),
    Starts { length: usize, start: String },
}

#[derive(Debug, Clone)]
struct Run {
    line: usize,
    program: String,
    arguments: Vec<String>,
    stdin: Vec<u8>,
    exit: i32,
    stdout: Output,
    stderr: Output,
}

/// Makes the golden text of a vector.
pub(super) fn from_vector(topic: &str, vector: &Term) -> Result<String> {
    let mut text = format!("programs {topic}\n");
    for (member, program, usual) in RUNS {
        for run in vector.get(member).and_then(Term::as_list).unwrap_or_default() {
            let arguments = match run.get("args") {
                Some(arguments) => vector::json(arguments),
                None => serde_json::to_string(usual)?,
            };
            write!(
                text,
                "\nrun {program} {arguments}\nstdin {}\nexit {}\nstdout {}\nstderr {}\n",
                stdin(vector::member(run, "stdin")?)?,
                vector::member(run, "exit_code")?,
                output(vector::member(run, "stdout")?)?,
                output(vector::member(run, "stderr")?)?,
            )?;
        }
    }
    Ok(text)
}

/// Long payloads are objects with one long member.
fn stdin(term: &Term) -> Result<Content> {
    let Some(length) = term.get("length").and_then(Term::as_u64) else {
        return vector::content(term);
    };
    let (start, end) = (r#"{"x":""#, r#""}"#);
    let filler = "y".repeat(length as usize - start.len() - end.len());
    let text = format!("{start}{filler}{end}");
    let shown = vector::text(term, "starts")?;
    ensure!(text.starts_with(&shown), "a long payload starts with {shown}");
    Ok(Content::from(&*text))
}

fn output(term: &Term) -> Result<String> {
    if let Some(length) = term.get("length").and_then(Term::as_u64) {
        let start = vector::text(term, "starts")?;
        return Ok(format!("starts {length} {}", quote(start.as_bytes())));
    }
    Ok(masked(&vector::content(term)?).to_string())
}

fn masked(content: &Content) -> Content {
    match content.text() {
        Some(text) => Content::from(&*volatile::mask(text)),
        None => Content::Bytes(mask_bytes(content.bytes().unwrap_or_default())),
    }
}

/// Bytes that are no text are looked at as Latin letters: the names and digits in them are ASCII.
fn mask_bytes(bytes: &[u8]) -> Vec<u8> {
    let letters: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let masked = volatile::mask(&letters);
    masked.chars().map(|letter| letter as u8).collect()
}

fn parse(text: &str) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for (index, line) in text.lines().enumerate().skip(1) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        if verb.is_empty() || verb == "#" {
            continue;
        }
        let parsed = parse_line(&mut runs, index + 1, verb, rest);
        parsed.with_context(|| format!("line {}: {line:.200}", index + 1))?;
    }
    Ok(runs)
}

fn parse_line(runs: &mut Vec<Run>, line: usize, verb: &str, rest: &str) -> Result<()> {
    if verb == "run" {
        let (program, arguments) = rest.split_once(' ').context("a program and its arguments")?;
        let nothing = Output::Is(Content::from(""));
        runs.push(Run {
            line,
            program: program.to_owned(),
            arguments: serde_json::from_str(arguments)?,
            stdin: Vec::new(),
            exit: 0,
            stdout: nothing.clone(),
            stderr: nothing,
        });
        return Ok(());
    }
    let run = runs.last_mut().context("a run comes first")?;
    match verb {
        "stdin" => run.stdin = Content::parse(rest)?.bytes()?.to_vec(),
        "exit" => run.exit = rest.parse()?,
        "stdout" => run.stdout = parse_output(rest)?,
        "stderr" => run.stderr = parse_output(rest)?,
        _ => bail!("{verb:?} has no place here"),
    }
    Ok(())
}

fn parse_output(text: &str) -> Result<Output> {
    let mut scanner = Scanner::new(text);
    if scanner.eat("starts ") {
        return Ok(Output::Starts {
            length: scanner.decimal()?,
            start: scanner.string()?,
        });
    }
    Ok(Output::Is(Content::parse(text)?))
}

/// Runs the programs one after the other.
pub(super) fn play(topic: &str, text: &str, artifacts: &Artifacts) -> Result<Vec<Difference>> {
    let folder = tempfile::Builder::new().prefix("programs-").tempdir()?;
    place::build(folder.path(), artifacts, &Setup::default())?;
    let mut differences = Vec::new();
    for run in parse(text)? {
        let problems = match execute(&run, folder.path(), artifacts) {
            Ok((exit, stdout, stderr)) => {
                let streams = [("stdout", &run.stdout, stdout), ("stderr", &run.stderr, stderr)];
                let mut problems: Vec<String> = streams
                    .into_iter()
                    .filter(|(_, want, got)| !want.fits(got))
                    .map(|(name, want, got)| {
                        let got: String = String::from_utf8_lossy(&got).chars().take(300).collect();
                        format!("{name} must be {want:.300?}\nand is {got}")
                    })
                    .collect();
                if exit != Some(run.exit) {
                    problems.push(format!("it ended with {exit:?} instead of {}", run.exit));
                }
                problems
            }
            Err(error) => vec![format!("{error:#}")],
        };
        differences.extend(problems.into_iter().map(|found| Difference {
            topic: topic.to_owned(),
            line: run.line,
            step: format!("run {} {:?}", run.program, run.arguments),
            found,
        }));
    }
    Ok(differences)
}

impl Output {
    fn fits(&self, got: &[u8]) -> bool {
        match self {
            Self::Is(want) => *want == masked(&Content::Bytes(got.to_vec())),
            Self::Starts { length, start } => got.len() == *length && got.starts_with(start.as_bytes()),
        }
    }
}

type Ended = (Option<i32>, Vec<u8>, Vec<u8>);

fn execute(run: &Run, folder: &Path, artifacts: &Artifacts) -> Result<Ended> {
    let program = match &*run.program {
        "node" => artifacts.node.clone(),
        path => folder.join(path),
    };
    let mut child = Command::new(&program)
        .args(&run.arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let mut stdin = child.stdin.take().context("stdin")?;
    let mut stdout = child.stdout.take().context("stdout")?;
    let mut stderr = child.stderr.take().context("stderr")?;
    thread::scope(|scope| {
        scope.spawn(move || {
            // A program may end without reading everything.
            let _ = stdin.write_all(&run.stdin);
        });
        let out = scope.spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).map(|_| bytes)
        });
        let err = scope.spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).map(|_| bytes)
        });
        let status = wait(&mut child);
        // Without an end the pipes would stay open.
        let _ = child.kill();
        let _ = child.wait();
        let out = out.join().expect("reading does not panic")?;
        let err = err.join().expect("reading does not panic")?;
        Ok((status?, out, err))
    })
}

fn wait(child: &mut Child) -> Result<Option<i32>> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        ensure!(Instant::now() < deadline, "it still runs after {LIMIT:?}");
        thread::sleep(POLL);
    }
}
