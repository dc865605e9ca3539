//! The replay against itself: it must find nothing where nothing differs, and everything that does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a broken assumption should stop the test where it is noticed"
)]

#[path = "support/scripted.rs"]
mod scripted;

use std::path::{Path, PathBuf};
use std::thread;

use spiderweb_testkit::raw_peer::frame::{CLOSE, PONG};
use spiderweb_testkit::replay::script::{Action, DiskObject, HttpOutcome, Incoming, Script, Step};
use spiderweb_testkit::replay::term::{Attr, Term};
use spiderweb_testkit::replay::{self, Difference, golden};

/// Turns the step at an index into something a node must not do; false where that makes no sense.
type Mutation = fn(&mut Vec<Step>, usize) -> bool;

/// What goes wrong, how, and whether the difference shows in that very step.
const MUTATIONS: &[(&str, Mutation, bool)] = &[
    (
        "another errno",
        |steps, at| change(steps, at, &["error", "errno"], another_number),
        true,
    ),
    (
        "another message",
        |steps, at| change(steps, at, &["error", "message"], another_text),
        true,
    ),
    (
        "another type",
        |steps, at| change(steps, at, &["type"], another_text),
        true,
    ),
    (
        "another tag",
        |steps, at| change(steps, at, &["tag"], another_number),
        true,
    ),
    (
        "a missing member",
        |steps, at| change(steps, at, &["payload"], without_a_member),
        true,
    ),
    (
        "another size",
        |steps, at| anywhere(steps, at, another_size),
        true,
    ),
    (
        "another mode",
        |steps, at| anywhere(steps, at, another_mode),
        true,
    ),
    (
        "a missing entry",
        |steps, at| anywhere(steps, at, without_an_entry),
        true,
    ),
    (
        "an entry too much",
        |steps, at| anywhere(steps, at, with_an_entry),
        true,
    ),
    ("other data", |steps, at| anywhere(steps, at, other_data), true),
    (
        "another boolean",
        |steps, at| anywhere(steps, at, another_boolean),
        true,
    ),
    (
        "another id for a known object",
        |steps, at| another_id(steps, at),
        true,
    ),
    ("an event withheld", without_event, true),
    ("an event where there must be quiet", noisy, true),
    ("a reply too much", twice, false),
    ("the end instead of a message", |steps, at| ended(steps, at), true),
    (
        "a message instead of the end",
        |steps, at| not_ended(steps, at),
        true,
    ),
    ("another pong", |steps, at| another_pong(steps, at), true),
    (
        "another outcome of an upgrade",
        |steps, at| another_outcome(steps, at),
        true,
    ),
    (
        "something else on the disk",
        |steps, at| another_disk(steps, at),
        true,
    ),
];

#[test]
fn every_golden_file_replays_clean_against_itself() {
    for_each_script(|script| {
        assert_eq!(play(script, script), [], "{}", script.topic);
    });
}

#[test]
fn whatever_goes_wrong_is_found() {
    let found = std::sync::Mutex::new(vec![0; MUTATIONS.len()]);
    for_each_script(|script| {
        // Half a second for each change on the disk, and nothing in it that the others lack.
        if script.topic == "events_external" {
            return;
        }
        for (kind, (name, mutate, shows_at_once)) in MUTATIONS.iter().enumerate() {
            let Some((wrong, at)) = mutated(script, *mutate) else {
                continue;
            };
            let differences = play(script, &wrong);
            let Some(first) = differences.first() else {
                panic!(
                    "{}: {name} at line {} was not found",
                    script.topic, script.steps[at].line
                )
            };
            assert!(
                !shows_at_once || first.line == script.steps[at].line,
                "{name}: {first}"
            );
            found.lock().unwrap()[kind] += 1;
        }
    });
    for (count, (name, ..)) in found.into_inner().unwrap().iter().zip(MUTATIONS) {
        assert_ne!(*count, 0, "no golden file has a place for {name}");
    }
}

#[test]
fn a_node_is_started_in_its_folder_and_does_not_outlive_the_replay() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut script = golden::read(&directory.join("../node/tests/golden/exports_default.golden")).unwrap();
    let (addr, server) = scripted::serve(&script, PathBuf::new());
    script
        .setup
        .variables
        .push(("FAKE_NODE_ADDRESS".to_owned(), addr.to_string()));
    script.setup.arguments.push("--flag of mine".to_owned());
    let report = replay::replay(&directory.join("tests/support/fake_node.sh"), &script).unwrap();
    server.join().unwrap().unwrap();
    assert_eq!(report.differences, []);
    assert!(
        report.log.starts_with("arguments: --port 0 --flag of mine\n"),
        "{}",
        report.log
    );
    assert!(report.log.contains("umask: 0022, folder: f\n"), "{}", report.log);
    let (_, pid) = report.log.split_once("pid: ").unwrap();
    let pid = pid.split(',').next().and_then(|pid| pid.parse().ok()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    assert_eq!(
        rustix::process::test_kill_process(pid),
        Err(rustix::io::Errno::SRCH)
    );
}

/// Plays `script` against a server that follows `server_script`.
fn play(script: &Script, server_script: &Script) -> Vec<Difference> {
    let root = tempfile::tempdir().unwrap();
    replay::build(root.path(), script).unwrap();
    let (addr, server) = scripted::serve(server_script, root.path().to_owned());
    let differences = replay::play(script, addr, root.path());
    if differences.is_empty() && script == server_script {
        server
            .join()
            .unwrap()
            .unwrap_or_else(|error| panic!("{}: {error}", script.topic));
    }
    differences
}

/// The script with the last step changed that can be, or nothing if none can.
fn mutated(script: &Script, mutate: Mutation) -> Option<(Script, usize)> {
    (0..script.steps.len()).rev().find_map(|at| {
        let mut wrong = script.clone();
        mutate(&mut wrong.steps, at).then_some((wrong, at))
    })
}

fn for_each_script(test: impl Fn(&Script) + Sync) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/tests/golden");
    let files = replay::files(&directory, golden::EXTENSION).unwrap();
    assert!(
        files.len() > 30,
        "the golden files are not in {}",
        directory.display()
    );
    let scripts: Vec<Script> = files.iter().map(|file| golden::read(file).unwrap()).collect();
    thread::scope(|scope| {
        for script in &scripts {
            scope.spawn(|| test(script));
        }
    });
}

fn message(step: &mut Step) -> Option<&mut Term> {
    match &mut step.action {
        Action::Expect {
            what: Incoming::Message(message),
            ..
        } => Some(message),
        _ => None,
    }
}

fn change(steps: &mut [Step], at: usize, path: &[&str], change: fn(&mut Term) -> bool) -> bool {
    let message = message(&mut steps[at]).filter(|message| !message.is_event());
    path.iter()
        .try_fold(message, |term, name| Some(term?.get_mut(name)))
        .flatten()
        .is_some_and(change)
}

/// Applies `change` to the first part of the message it fits.
fn anywhere(steps: &mut [Step], at: usize, change: fn(&mut Term) -> bool) -> bool {
    fn visit(term: &mut Term, change: fn(&mut Term) -> bool) -> bool {
        change(term)
            || match term {
                Term::Object(members) | Term::Entries(members) => {
                    members.iter_mut().any(|(_, value)| visit(value, change))
                }
                Term::List(items) => items.iter_mut().any(|item| visit(item, change)),
                _ => false,
            }
    }
    message(&mut steps[at]).is_some_and(|message| visit(message, change))
}

fn another_number(term: &mut Term) -> bool {
    let Some(number) = term.as_u64() else { return false };
    *term = Term::number(number + 1);
    true
}

fn another_text(term: &mut Term) -> bool {
    let Some(text) = term.as_str() else { return false };
    *term = Term::Text(format!("{text}?"));
    true
}

fn another_boolean(term: &mut Term) -> bool {
    let Term::Bool(value) = term else { return false };
    *value = !*value;
    true
}

fn without_a_member(term: &mut Term) -> bool {
    if let Term::Object(members) = term {
        members.pop().is_some()
    } else {
        false
    }
}

fn another_size(term: &mut Term) -> bool {
    let Term::Attr(Attr { size: Some(size), .. }) = term else {
        return false;
    };
    *size += 1;
    true
}

fn another_mode(term: &mut Term) -> bool {
    let Term::Attr(Attr { mode, .. }) = term else {
        return false;
    };
    *mode ^= 1;
    true
}

fn without_an_entry(term: &mut Term) -> bool {
    if let Term::Entries(entries) = term {
        entries.pop().is_some()
    } else {
        false
    }
}

fn with_an_entry(term: &mut Term) -> bool {
    let Term::Entries(entries) = term else {
        return false;
    };
    entries.push(("stranger".to_owned(), Term::Object(Vec::new())));
    true
}

fn other_data(term: &mut Term) -> bool {
    let Term::Base64(bytes) = term else { return false };
    bytes.push(0);
    true
}

fn another_id(steps: &mut [Step], at: usize) -> bool {
    let before: Vec<String> = steps[..at]
        .iter()
        .filter(|step| matches!(step.action, Action::Expect { .. }))
        .map(|step| golden::print_action(&step.action))
        .collect();
    let Some(message) = message(&mut steps[at]) else {
        return false;
    };
    let Some(attr) = message
        .get_mut("payload")
        .and_then(|payload| payload.get_mut("attr"))
    else {
        return false;
    };
    let Term::Attr(Attr { id, .. }) = attr else {
        return false;
    };
    let known = before.iter().any(|line| line.contains(&format!("({id},")));
    if known {
        **id = Term::number(1);
    }
    known
}

fn without_event(steps: &mut Vec<Step>, at: usize) -> bool {
    let is_event = message(&mut steps[at]).is_some_and(|message| message.is_event());
    // Several events of one kind for one object cannot be told apart: one may stand for another.
    let line = golden::print_action(&steps[at].action);
    let since_request = steps[..at]
        .iter()
        .rev()
        .take_while(|step| !matches!(step.action, Action::Send { .. }));
    let is_single = since_request
        .map(|step| golden::print_action(&step.action))
        .all(|other| other != line);
    if is_event && is_single {
        steps.remove(at);
    }
    is_event && is_single
}

fn noisy(steps: &mut Vec<Step>, at: usize) -> bool {
    let Action::Quiet { conn } = steps[at].action else {
        return false;
    };
    let action = golden::parse_action(&format!("{conn} < inval_dir 5")).unwrap();
    steps.insert(at, Step { line: 0, action });
    true
}

fn twice(steps: &mut Vec<Step>, at: usize) -> bool {
    let Action::Expect {
        conn,
        what: Incoming::Message(message),
    } = &steps[at].action
    else {
        return false;
    };
    let is_asked_again = steps[at + 1..].iter().any(|step| match &step.action {
        Action::Expect {
            conn: on,
            what: Incoming::Message(message),
        } => on == conn && !message.is_event(),
        _ => false,
    });
    let fits = is_asked_again && !message.is_event();
    if fits {
        let again = steps[at].clone();
        steps.insert(at, again);
    }
    fits
}

fn ended(steps: &mut [Step], at: usize) -> bool {
    match &mut steps[at].action {
        Action::Expect {
            what: what @ Incoming::Message(_),
            ..
        } => {
            *what = Incoming::End;
            true
        }
        _ => false,
    }
}

fn not_ended(steps: &mut [Step], at: usize) -> bool {
    let is_first = steps[..at].iter().all(|step| step.action != steps[at].action);
    match &mut steps[at].action {
        Action::Expect {
            what: what @ Incoming::End,
            ..
        } if is_first => {
            *what = Incoming::Message(Term::object([("type", Term::text("acheron.err_fs"))]));
            true
        }
        _ => false,
    }
}

fn another_pong(steps: &mut [Step], at: usize) -> bool {
    match &mut steps[at].action {
        Action::Expect {
            what: Incoming::Frame {
                opcode: PONG,
                payload,
            },
            ..
        } => {
            payload.push(b'!');
            true
        }
        Action::Expect {
            what: Incoming::Frame {
                opcode: opcode @ CLOSE,
                ..
            },
            ..
        } => {
            *opcode = PONG;
            true
        }
        _ => false,
    }
}

fn another_outcome(steps: &mut [Step], at: usize) -> bool {
    let Action::Http { outcome, .. } = &mut steps[at].action else {
        return false;
    };
    *outcome = match outcome {
        HttpOutcome::Refused => HttpOutcome::Upgraded {
            accept: "any".to_owned(),
        },
        _ => HttpOutcome::Refused,
    };
    true
}

fn another_disk(steps: &mut [Step], at: usize) -> bool {
    let Action::Check(state) = &mut steps[at].action else {
        return false;
    };
    match &mut state.object {
        DiskObject::Missing => state.object = DiskObject::File(0o644, Vec::new()),
        DiskObject::File(_, content) => content.push(b'!'),
        DiskObject::Directory(mode) => *mode ^= 1,
        DiskObject::Symlink(target) => target.push('!'),
    }
    true
}
