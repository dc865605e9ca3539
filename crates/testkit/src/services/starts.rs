//! Starts of a node that must succeed or fail: which manifests and arguments are taken.
//!
//! ```text
//! starts manifest-validation
//!
//! case "no kind"
//! place file m/a.json 0644 {"service_id":"s"}
//! node ["--service-manifest","m/a.json"]
//! fails 1 "InvalidManifest"
//!
//! case "minimal"
//! place file m/a.json 0644 {"service_id":"s","kind":"k"}
//! node ["--service-manifest","m/a.json"]
//! listens
//! export "work"
//! loaded "s"
//! ```

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::content::Content;
use super::place::{self, Artifacts};
use super::script::{Placed, Setup, Thing};
use super::{golden, tree, vector};
use crate::process::{NodeCommand, NodeProcess};
use crate::raw_peer::RawPeer;
use crate::replay::Difference;
use crate::replay::term::{Scanner, Term, quote};

/// How long a start that fails may take.
const END_LIMIT: Duration = Duration::from_secs(20);

/// How long the last lines of a log may be on their way.
const LOG_LIMIT: Duration = Duration::from_secs(5);
const LOG_POLL: Duration = Duration::from_millis(2);

/// How many nodes start at once.
const AT_ONCE: usize = 4;

/// The vector shows this much of an id.
const SHOWN_ID: usize = 40;

/// Where the cases have their manifest.
const MANIFEST: &str = "m/a.json";

/// One start.
#[derive(Debug, Clone)]
struct Case {
    line: usize,
    name: String,
    setup: Setup,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// The node listens, offers these exports and said that it loaded these services.
    Listens {
        exports: Vec<String>,
        loaded: Vec<String>,
    },
    /// The node ends with this status, and its last line is `error: NAME`.
    Fails { status: i32, error: String },
}

/// Makes the golden text of a vector.
pub(super) fn from_vector(topic: &str, vector: &Term) -> Result<String> {
    let mut text = format!("starts {topic}\n");
    for case in vector::member(vector, "cases")?
        .as_list()
        .context("cases are a list")?
    {
        let name = vector::text(case, "case")?;
        let printed = print(case).with_context(|| format!("in case {name:?}"))?;
        write!(text, "\ncase {}\n{printed}", quote(name.as_bytes()))?;
    }
    Ok(text)
}

fn print(case: &Term) -> Result<String> {
    let placed = Placed {
        path: MANIFEST.to_owned(),
        what: Thing::File {
            mode: 0o644,
            content: manifest(vector::member(case, "file_a_json")?)?,
        },
    };
    let arguments = strings(vector::member(case, "args")?);
    let mut lines = vec![golden::print_placed(&placed), golden::print_arguments(&arguments)];
    if vector::member(case, "starts")? == &Term::Bool(true) {
        lines.push("listens".to_owned());
        for (name, member) in [("export", "exports"), ("loaded", "loaded")] {
            let names = strings(vector::member(case, member)?);
            lines.extend(
                names
                    .iter()
                    .map(|text| format!("{name} {}", quote(text.as_bytes()))),
            );
        }
    } else {
        let status = vector::member(case, "exit_code")?;
        let error = vector::text(case, "error")?;
        lines.push(format!("fails {status} {}", quote(error.as_bytes())));
    }
    Ok(lines.join("\n") + "\n")
}

/// The vector tells long contents in words.
fn manifest(content: &Term) -> Result<Content> {
    if let Some(length) = content.get("valid manifest padded with spaces to bytes") {
        let length = length.as_u64().context("a length")? as usize;
        let valid = r#"{"service_id": "s", "kind": "k"}"#;
        let padding = " ".repeat(length - valid.len());
        return Ok(Content::Bytes([valid, &*padding].concat().into_bytes()));
    }
    if content.as_str().is_some() || content.get("b64").is_some() {
        return vector::content(content);
    }
    let mut content = content.clone();
    if let Some(Term::Text(help)) = content.get_mut("help_md") {
        let times = help
            .strip_prefix('(')
            .and_then(|help| help.strip_suffix(" times h)"));
        if let Some(times) = times {
            *help = "h".repeat(times.parse()?);
        }
    }
    Ok(Content::from(&*vector::json(&content)))
}

fn strings(list: &Term) -> Vec<String> {
    let items = list.as_list().unwrap_or_default().iter();
    items.filter_map(Term::as_str).map(str::to_owned).collect()
}

fn parse(text: &str) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    for (index, line) in text.lines().enumerate().skip(1) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        if verb.is_empty() || verb == "#" {
            continue;
        }
        let parsed = parse_line(&mut cases, index + 1, verb, rest);
        parsed.with_context(|| format!("line {}: {line:.200}", index + 1))?;
    }
    Ok(cases)
}

fn parse_line(cases: &mut Vec<Case>, line: usize, verb: &str, rest: &str) -> Result<()> {
    if verb == "case" {
        cases.push(Case {
            line,
            name: Scanner::new(rest).string()?,
            setup: Setup::default(),
            outcome: Outcome::Listens {
                exports: Vec::new(),
                loaded: Vec::new(),
            },
        });
        return Ok(());
    }
    let case = cases.last_mut().context("a case comes first")?;
    match (verb, &mut case.outcome) {
        ("place", _) => case.setup.placed.push(golden::placed(rest)?),
        ("node", _) => case.setup.arguments = golden::arguments(rest)?,
        ("listens", _) => {}
        ("export", Outcome::Listens { exports, .. }) => exports.push(Scanner::new(rest).string()?),
        ("loaded", Outcome::Listens { loaded, .. }) => loaded.push(Scanner::new(rest).string()?),
        ("fails", outcome) => {
            let mut scanner = Scanner::new(rest);
            *outcome = Outcome::Fails {
                status: scanner.decimal()?,
                error: scanner.string()?,
            };
        }
        _ => bail!("{verb:?} has no place here"),
    }
    Ok(())
}

/// Starts a node for each case.
pub(super) fn play(topic: &str, text: &str, artifacts: &Artifacts) -> Result<Vec<Difference>> {
    let cases = parse(text)?;
    let next = AtomicUsize::new(0);
    let differences = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = match start(case, artifacts) {
                        Ok(outcome) if outcome == case.outcome => continue,
                        Ok(outcome) => format!("must be {:?}\nand  is {outcome:?}", case.outcome),
                        Err(error) => format!("{error:#}"),
                    };
                    differences.lock().unwrap().push(Difference {
                        topic: topic.to_owned(),
                        line: case.line,
                        step: format!("case {:?}", case.name),
                        found,
                    });
                }
            });
        }
    });
    let mut differences = differences.into_inner().unwrap();
    differences.sort_by_key(|difference| difference.line);
    Ok(differences)
}

fn start(case: &Case, artifacts: &Artifacts) -> Result<Outcome> {
    let folder = tempfile::Builder::new().prefix("start-").tempdir()?;
    place::build(folder.path(), artifacts, &case.setup)?;
    let command = NodeCommand::new(&artifacts.node)
        .directory(folder.path())
        .arguments(&case.setup.arguments);
    match &case.outcome {
        Outcome::Listens { .. } => {
            let node = command.start()?;
            let mut peer = RawPeer::hello(node.addr())?;
            let exports = tree::ask(&mut peer, "exports", json!({"payload": {}}))?;
            let exports = exports["exports"].as_array().context("exports")?;
            let names = exports
                .iter()
                .map(|export| export["name"].as_str().unwrap_or_default());
            Ok(Outcome::Listens {
                exports: names.map(str::to_owned).collect(),
                loaded: loaded(&node.log()),
            })
        }
        Outcome::Fails { .. } => {
            let port = ["--port", "0"].map(str::to_owned);
            let mut node = NodeCommand::new(&artifacts.node)
                .directory(folder.path())
                .arguments(port.iter().chain(&case.setup.arguments))
                .launch()?;
            let status = node.wait_exit(END_LIMIT)?;
            Ok(Outcome::Fails {
                status: status.code().context("an exit status")?,
                error: last_error(&node)?,
            })
        }
    }
}

/// The services a log says were loaded.
fn loaded(log: &str) -> Vec<String> {
    let ids = log
        .lines()
        .filter_map(|line| line.split_once("Loaded service manifest: "));
    ids.map(|(_, id)| id.trim_end().chars().take(SHOWN_ID).collect())
        .collect()
}

/// The name in the last line of the log of a node that has ended.
fn last_error(node: &NodeProcess) -> Result<String> {
    let deadline = Instant::now() + LOG_LIMIT;
    loop {
        let log = node.log();
        if let Some(name) = log.lines().last().and_then(|line| line.strip_prefix("error: ")) {
            return Ok(name.to_owned());
        }
        if Instant::now() >= deadline {
            bail!("no error name in the last line of {log:?}");
        }
        thread::sleep(LOG_POLL);
    }
}
