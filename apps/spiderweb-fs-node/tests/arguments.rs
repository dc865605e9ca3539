//! What the program says of its arguments, to readers of all kinds.
#![allow(clippy::unwrap_used, reason = "test helpers")]

use std::process::{Command, Stdio};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_spiderweb-fs-node"))
}

#[test]
fn a_reader_that_leaves_is_no_crash() {
    let mut child = program()
        .arg("--bogus")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn words_that_come_first_are_named_where_they_do_not() {
    let output = program()
        .args(["--port", "0", "check", "x.json"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("it comes first"), "{said}");
    assert!(said.ends_with("error: InvalidArguments\n"), "{said}");
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("spiderweb-fs-node check FILE_OR_DIR"), "{help}");
}
