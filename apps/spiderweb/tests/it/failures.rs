//! What goes wrong, in one clear sentence.

use crate::setup::{Said, Setup};

#[test]
fn failures_name_the_thing_and_what_would_work() {
    let setup = Setup::new();
    std::fs::write(setup.work("f"), "f").unwrap();
    std::fs::create_dir_all(setup.work("d/full")).unwrap();
    std::fs::write(setup.ro("r"), "r").unwrap();
    let long = "x".repeat(256);
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
        (
            "mv /work/d /work/d/full",
            1,
            "cannot move /work/d to /work/d/full: a directory cannot be moved into itself",
        ),
        (
            "mv /work/d /work/d/new",
            1,
            "a directory cannot be moved into itself",
        ),
        (
            "rm -r /",
            2,
            "/ is the list of exports; only what is in an export",
        ),
        (
            &format!("mkdir /work/{long}"),
            1,
            "a name in it is longer than 255 bytes",
        ),
        (
            &format!("cat /work/{long}/x"),
            1,
            "a name in it is longer than 255 bytes",
        ),
        (
            &format!("mv /work/f /work/{long}"),
            1,
            "a name in it is longer than 255 bytes",
        ),
        (
            &format!("mv /work/{long} /work/g"),
            1,
            &format!("cannot move /work/{long}: a name in it is longer"),
        ),
        (
            "put /work/.spiderweb-sandbox",
            1,
            "the name .spiderweb-sandbox is reserved",
        ),
        ("mkdir /work/d/.spiderweb-sandbox", 1, "is reserved"),
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
        (
            "ls /nix/a",
            1,
            "paths are /EXPORT/PATH, as in /work/file; `spiderweb exports` lists",
        ),
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
#[cfg(target_os = "linux")]
fn output_that_cannot_be_written_is_named() {
    let setup = Setup::new();
    std::fs::write(setup.work("f"), "f").unwrap();
    for line in ["cat /work/f", "ls /work"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let said = Said::by(setup.command(line).stdout(full).spawn().unwrap());
        assert!(
            said.code == 1
                && said
                    .err
                    .contains("cannot write to standard output: no space left"),
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
fn an_empty_variable_is_none_and_a_wrong_one_is_named() {
    let setup = Setup::new();
    let run = |line: &str, variables: &[(&str, &str)]| {
        let mut command = setup.command(line);
        command.envs(variables.iter().copied());
        Said::by(command.spawn().unwrap())
    };
    let empty = [
        ("SPIDERWEB_HUB", ""),
        ("SPIDERWEB_HUB_TOKEN_FILE", ""),
        ("SPIDERWEB_HUB_TOKEN", ""),
        ("SPIDERWEB_FS_NODE_AUTH_TOKEN", ""),
    ];
    let said = run("ls /", &empty);
    assert_eq!((said.code, said.out.as_str()), (0, "work\nro\n"), "{said:?}");
    let said = run("--help", &[("SPIDERWEB_URL", "")]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = run("--url ws://127.0.0.1:1/ ls", &[("SPIDERWEB_URL", "")]);
    assert!(
        said.code == 1 && said.err.contains("cannot reach a node"),
        "{said:?}"
    );
    for (variables, code, words) in [
        (
            &[("SPIDERWEB_URL", "http://x")][..],
            2,
            "invalid value 'http://x' of SPIDERWEB_URL: its scheme is neither ws nor wss",
        ),
        (
            &[
                ("SPIDERWEB_HUB", "ws://127.0.0.1:1/"),
                ("SPIDERWEB_HUB_TOKEN_FILE", "missing"),
            ],
            1,
            "cannot read the token file missing, which SPIDERWEB_HUB_TOKEN_FILE names: no such file",
        ),
        (
            &[
                ("SPIDERWEB_HUB", "ws://127.0.0.1:1/"),
                ("SPIDERWEB_HUB_TOKEN_FILE", "/dev/null"),
            ],
            1,
            "the token file /dev/null, which SPIDERWEB_HUB_TOKEN_FILE names, is empty",
        ),
    ] {
        let said = run("ls", variables);
        assert!(said.code == code && said.err.contains(words), "{said:?}");
    }
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
