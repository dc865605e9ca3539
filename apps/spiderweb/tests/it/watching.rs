//! watch

use std::io::{BufRead as _, BufReader};

use crate::setup::Setup;

#[test]
fn changes_are_printed_with_their_paths() {
    let setup = Setup::new();
    std::fs::create_dir(setup.work("d")).unwrap();
    std::fs::write(setup.work("d/f"), "f").unwrap();
    let mut child = setup.command("watch --output json /work").spawn().unwrap();
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
    let give_up = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let await_change = |poke: &dyn Fn(), what: &str, path: &str| {
        loop {
            // The program says nothing when it begins to listen, so the change is made until it is noticed.
            poke();
            let pause = std::time::Duration::from_millis(200);
            while let Ok(change) = told.recv_timeout(pause) {
                if change == (what.to_owned(), path.to_owned()) {
                    return;
                }
            }
            assert!(
                std::time::Instant::now() < give_up,
                "{what} of {path} was never announced"
            );
        }
    };
    await_change(
        &|| assert_eq!(setup.feed("put --in-place /work/d/f", b"x").code, 0),
        "data",
        "/work/d/f",
    );
    await_change(
        &|| assert_eq!(setup.feed("put /work/d/g", b"x").code, 0),
        "entries",
        "/work/d",
    );
    await_change(
        &|| assert_eq!(setup.feed("put --in-place /work/d/g", b"x").code, 0),
        "data",
        "/work/d/g",
    );
    await_change(&|| drop(setup.run("mkdir /work/e")), "entries", "/work");
    child.kill().unwrap();
    child.wait().unwrap();
}
