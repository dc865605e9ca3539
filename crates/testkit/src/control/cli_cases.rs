//! Command lines, environments and state files, each a start of its own without a server.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Difference;
use super::recording::{json, parse};
use crate::process::NodeCommand;
use crate::replay::term::Term;

/// How many starts run beside each other: most of them only wait.
const AT_ONCE: usize = 6;
/// How long a start that must fail may take.
const END_LIMIT: Duration = Duration::from_secs(20);
/// What a line tells the class of an error after.
const ERROR: &str = "error: ";

/// Runs every case.
pub(super) fn play(binary: &Path, text: &str) -> Result<Vec<Difference>> {
    // What comes first says what this is.
    let cases: Vec<&str> = text.lines().skip(1).collect();
    let mut found = Vec::new();
    for some in cases.chunks(AT_ONCE) {
        let ends = thread::scope(|scope| {
            let starts = some.iter().map(|case| scope.spawn(|| run(binary, case)));
            let starts: Vec<_> = starts.collect();
            let ends = starts
                .into_iter()
                .map(|start| start.join().expect("a case does not panic"));
            ends.collect::<Result<Vec<_>>>()
        })?;
        found.extend(ends.into_iter().flatten());
    }
    Ok(found)
}

fn run(binary: &Path, case: &str) -> Result<Vec<Difference>> {
    let place = tempfile::Builder::new().prefix("case-").tempdir()?;
    let root = place.path();
    // Nobody listens there any more.
    let nowhere = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let case = case
        .replace(":20319", &format!(":{nowhere}"))
        .replace("\"20331\"", "\"0\"")
        .replace("/opt/node/bin/spiderweb-fs-node", &binary.display().to_string())
        .replace("/data/", &format!("{}/", root.display()));
    let case = parse(&case)?;
    let name = case
        .get("case")
        .and_then(Term::as_str)
        .context("a case without a name")?;
    let texts = |name: &str| -> Vec<String> {
        let items = case.get(name).and_then(Term::as_list).unwrap_or_default().iter();
        items.filter_map(Term::as_str).map(str::to_owned).collect()
    };
    let arguments = texts("args");
    build(root)?;
    let state = arguments.iter().skip_while(|flag| *flag != "--state-file").nth(1);
    if let (Some(path), Some(before)) = (state, case.get("state_file_before").and_then(Term::as_str)) {
        fs::write(path, before)?;
    }
    let work = root.join("cwd");
    let mut command = NodeCommand::new(binary).directory(&work).arguments(&arguments);
    if let Some(Term::Object(variables)) = case.get("env") {
        for (name, value) in variables {
            command = command.variable(name, value.as_str().unwrap_or_default());
        }
    }
    let mut node = command.launch()?;
    let recorded_exit = case.get("exit_code").map(json);
    let end = if recorded_exit.is_some() {
        Some(node.wait_exit(END_LIMIT)?)
    } else {
        thread::sleep(Duration::from_secs(2));
        node.exited()?
    };
    let words = |exit: Option<String>, log: &[String]| {
        let class = log.iter().rev().find_map(|line| line.strip_prefix(ERROR));
        match (exit, class) {
            (None, _) => format!("{name}: runs"),
            (Some(code), Some(class)) => format!("{name}: exit {code} {class}"),
            (Some(code), None) => format!("{name}: exit {code}"),
        }
    };
    let log = if end.is_some() {
        node.whole_log()
    } else {
        node.log()
    };
    let log: Vec<String> = log.lines().map(str::to_owned).collect();
    let exit = end.map(|status| {
        status
            .code()
            .map_or("by a signal".to_owned(), |code| code.to_string())
    });
    let (recorded, ours) = (words(recorded_exit, &texts("stderr")), words(exit, &log));
    let mut found = Vec::new();
    if recorded != ours {
        found.push(Difference::new(recorded, ours));
    }
    if let (Some(path), Some(after)) = (state, case.get("state_file_after").and_then(Term::as_str)) {
        let ours = fs::read_to_string(path).unwrap_or_else(|_| "no file".to_owned());
        if ours != after {
            found.push(Difference::new(format!("{name}: state {after}"), ours));
        }
    }
    let made = texts("files_created_in_cwd");
    if !made.is_empty() {
        let mut ours = Vec::new();
        for entry in fs::read_dir(&work)? {
            ours.push(entry?.file_name().to_string_lossy().into_owned());
        }
        ours.sort();
        if made != ours {
            found.push(Difference::new(
                format!("{name}: {}", made.join(" ")),
                ours.join(" "),
            ));
        }
    }
    Ok(found)
}

/// The files that cases name; their names say what is in them.
fn build(root: &Path) -> Result<()> {
    for folder in ["cwd", "sd"] {
        fs::create_dir(root.join(folder))?;
    }
    let service = |id: &str, more: &str| format!(r#"{{"service_id":"{id}","kind":"k"{more}}}"#);
    for (name, text) in [
        ("plainfile", String::new()),
        ("m1.json", r#"{"service_id":"#.to_owned()),
        ("m2.json", service("fs", "")),
        ("m3.json", service("camera", "")),
        ("m4.json", service("camera", r#","enabled":false"#)),
        ("m5.json", service("a/b", "")),
        ("m6.json", service("camera", r#","runtime":{"type":"bogus"}"#)),
    ] {
        fs::write(root.join(name), text)?;
    }
    Ok(())
}
