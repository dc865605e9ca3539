//! watch

use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::time::{Duration, Instant};

use crate::setup::Setup;

type Changes = std::sync::mpsc::Receiver<(String, String)>;

/// Reads the lines of a watching program as (what, path).
fn changes(child: &mut Child) -> Changes {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while let Some(Ok(line)) = lines.next() {
            let change: serde_json::Value = serde_json::from_str(&line).unwrap();
            let member = |name: &str| change[name].as_str().unwrap_or("?").to_owned();
            if tell.send((member("what"), member("path"))).is_err() {
                return;
            }
        }
    });
    told
}

/// Makes a change until it is announced: the program says nothing when it begins to listen.
fn announced(changes: &Changes, change: impl Fn(), what: &str, path: &str) {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        change();
        while let Ok(seen) = changes.recv_timeout(Duration::from_millis(200)) {
            if seen == (what.to_owned(), path.to_owned()) {
                return;
            }
        }
        assert!(Instant::now() < give_up, "{what} of {path} was never announced");
    }
}

#[test]
fn changes_are_printed_with_their_paths() {
    let setup = Setup::new();
    std::fs::create_dir(setup.work("d")).unwrap();
    std::fs::write(setup.work("d/f"), "f").unwrap();
    let mut child = setup.command("watch --output json /work").spawn().unwrap();
    let changes = changes(&mut child);
    let put = |line: &str| assert_eq!(setup.feed(line, b"x").code, 0, "{line}");
    announced(&changes, || put("put --in-place /work/d/f"), "data", "/work/d/f");
    announced(&changes, || put("put /work/d/g"), "entries", "/work/d");
    announced(&changes, || put("put --in-place /work/d/g"), "data", "/work/d/g");
    announced(&changes, || drop(setup.run("mkdir /work/e")), "entries", "/work");
    // Made by another program, in a directory that did not exist before.
    let append = || {
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(setup.work("e/new"))
            .unwrap();
        std::io::Write::write_all(&mut file, b"more").unwrap();
    };
    announced(&changes, append, "all", "/work/e/new");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn watching_goes_on_when_the_node_was_away() {
    let mut setup = Setup::new();
    std::fs::write(setup.work("f"), "f").unwrap();
    let mut child = setup.command("watch --output json").spawn().unwrap();
    let changes = changes(&mut child);
    let put = |setup: &Setup| assert_eq!(setup.feed("put --in-place /work/f", b"x").code, 0);
    announced(&changes, || put(&setup), "data", "/work/f");
    setup.stop();
    setup.start();
    announced(&changes, || {}, "reconnected", "?");
    announced(&changes, || put(&setup), "data", "/work/f");
    let append = || std::fs::write(setup.work("f"), "longer than before").unwrap();
    announced(&changes, append, "all", "/work/f");
    child.kill().unwrap();
    child.wait().unwrap();
}
