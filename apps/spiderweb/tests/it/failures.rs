//! What goes wrong, in one clear sentence.

use crate::setup::Setup;

#[test]
fn failures_name_the_thing_and_what_would_work() {
    let setup = Setup::new();
    std::fs::write(setup.work("f"), "f").unwrap();
    std::fs::create_dir_all(setup.work("d/full")).unwrap();
    std::fs::write(setup.ro("r"), "r").unwrap();
    let elsewhere = setup.url().replace("/v2/fs", "/other");
    for (line, code, words) in [
        ("ls /nope", 1, "no export named \"nope\"; it has work, ro"),
        (
            "ls /work/nope",
            1,
            "cannot list /work/nope: no such file or directory",
        ),
        ("cat /work/nope", 1, "`spiderweb ls /work`"),
        ("cat /work/d", 1, "cannot read /work/d: is a directory"),
        ("cat /work/f/x", 1, "cannot read /work/f/x: not a directory"),
        ("cat /", 1, "/ is the list of exports"),
        ("stat /work/nope", 1, "cannot examine /work/nope"),
        ("tree /work/f", 1, "is not a directory"),
        ("rm /work/d", 1, "`spiderweb rm -r /work/d`"),
        ("rm /work/nope", 1, "no such file"),
        ("rm -r /work", 2, "is an export itself"),
        ("rm /ro/r", 1, "cannot remove /ro/r: the export is read-only"),
        ("mkdir /work/d", 1, "it exists"),
        (
            "mkdir /work/no/x",
            1,
            "cannot make the directory /work/no/x: /work/no: no such file",
        ),
        ("mkdir -p /work/f/x", 1, "not a directory"),
        ("mkdir /ro/x", 1, "read-only"),
        ("mv /work/f /ro/f", 1, "different exports"),
        ("mv /work /work2", 2, "is an export itself"),
        ("mv /work/d /work/d/full", 1, "/work/d"),
        ("ln -s x /work/f", 1, "it exists"),
        ("put missing /work/f", 1, "cannot read missing: no such file"),
        ("put . /work/f", 1, "cp -r"),
        ("put /work", 1, "is a directory"),
        ("watch /work/nope", 1, "cannot watch /work/nope"),
        ("--export nope ls", 1, "no export named \"nope\""),
        (
            "--url ws://127.0.0.1:1/ ls",
            1,
            "cannot reach a node at ws://127.0.0.1:1/: connection refused",
        ),
        (&format!("--url {elsewhere} ls"), 1, "\"/v2/fs\""),
        ("--url http://x ls", 2, "ws://host"),
        ("--token-file missing ls", 1, "cannot read the token file missing"),
        ("bench --export ro", 1, "no export that can be written"),
        ("bench --pid 4000000 --duration 10ms", 1, "cannot examine process"),
        ("ls work", 2, "as in /work/file"),
        ("frobnicate", 2, "unrecognized subcommand"),
    ] {
        let said = setup.feed(line, b"");
        assert_eq!(said.code, code, "{line}: {said:?}");
        assert!(
            said.err.starts_with("error: ") && said.err.contains(words),
            "{line}: {said:?}"
        );
        assert!(
            !said.err.contains("os error") && said.out.is_empty(),
            "{line}: {said:?}"
        );
    }
}

#[test]
fn tokens_come_from_the_line_a_file_or_the_environment() {
    let setup = Setup::with_token(Some("s3cret"));
    std::fs::write(setup.local("token"), " s3cret\n").unwrap();
    std::fs::write(setup.local("empty"), "\n").unwrap();
    assert_eq!(setup.run("--token s3cret exports").code, 0);
    assert_eq!(setup.run("exports --token-file token").code, 0);
    let output = setup
        .command("exports")
        .env("SPIDERWEB_FS_NODE_AUTH_TOKEN", "s3cret")
        .output()
        .unwrap();
    assert!(output.status.success());
    for (line, words) in [
        ("exports", "wants a token and none was given"),
        ("exports --token wrong", "the token is wrong"),
        ("exports --token-file empty", "is empty"),
    ] {
        let said = setup.run(line);
        assert!(said.code == 1 && said.err.contains(words), "{line}: {said:?}");
    }
    let help = setup
        .command("--help")
        .env("SPIDERWEB_FS_NODE_AUTH_TOKEN", "s3cret")
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&help.stdout).contains("s3cret"));
}

#[test]
fn every_shell_gets_completions() {
    let setup = Setup::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(
            setup.ok(&format!("completions {shell}")).contains("spiderweb"),
            "{shell}"
        );
    }
}
