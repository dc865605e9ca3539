//! Files and services of nodes behind a hub.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use serde_json::json;

use crate::hub_setup::{Network, OPERATOR};
use crate::setup::{Said, names, partial, until};

#[test]
fn nodes_are_directories_and_paths_go_on_below_them() {
    let network = Network::with_nodes();
    fs::write(network.work("edge", "a.txt"), "hello").unwrap();
    fs::create_dir(network.work("edge", "dir")).unwrap();
    let id = network.id("edge");
    assert_eq!(network.ok("ls"), "nodes\n");
    assert_eq!(network.ok("ls /nodes"), "edge\nfar\n");
    assert_eq!(network.ok("ls /nodes/edge"), "work\nterminal-1\necho\n");
    assert_eq!(network.ok("ls /nodes/far"), "work\n");
    for path in [
        "/nodes/edge/work",
        "/nodes/edge/fs/",
        &format!("/nodes/{id}/work"),
    ] {
        assert_eq!(network.ok(&format!("ls {path}")), "a.txt\ndir\n", "{path}");
    }
    assert_eq!(network.ok("--node edge ls"), "work\nterminal-1\necho\n");
    assert_eq!(network.ok("--node edge cat /work/a.txt"), "hello");
    assert_eq!(network.ok("--node edge --export work cat /a.txt"), "hello");
    assert!(network.ok("ls /nodes/edge/echo").contains("status.json"));
    assert!(network.ok("ls /nodes/edge/terminal/1").contains("control"));
    assert!(network.ok("ls -l /nodes").starts_with("dr-xr-xr-x "));
    let listed = network.json("ls /nodes/edge/work");
    assert_eq!(
        (&listed[0]["path"], &listed[0]["size"]),
        (&json!("/nodes/edge/work/a.txt"), &json!(5))
    );
    assert_eq!(network.json("ls /nodes")[1]["path"], "/nodes/far");
    let tree = network.ok("tree -L 3 /");
    for shown in ["└── nodes", "edge", "far", "work"] {
        assert!(tree.contains(shown), "{tree}");
    }
    let tree = network.ok("tree /nodes/edge/work");
    assert!(
        tree.starts_with("/nodes/edge/work\n├── a.txt\n└── dir\n"),
        "{tree}"
    );
    assert!(network.ok("tree -L 1 /nodes/edge").contains("└── work"));
}

#[test]
fn files_are_read_written_and_copied_through_the_hub() {
    let network = Network::with_nodes();
    fs::write(network.local("a.txt"), "from here").unwrap();
    fs::create_dir_all(network.local("tree/deep")).unwrap();
    fs::write(network.local("tree/deep/b"), vec![7; 300_000]).unwrap();
    for line in [
        "put a.txt /nodes/edge/work/a.txt",
        "cp -r tree :/nodes/edge/work/tree",
        "cp -r :/nodes/edge/work/tree :/nodes/far/work/copy",
        "cp -r :/nodes/far/work/copy back",
        "mkdir -p /nodes/far/work/x/y",
        "mv /nodes/edge/work/a.txt /nodes/edge/work/tree",
        "ln -s tree/a.txt /nodes/edge/work/link",
    ] {
        assert_eq!(network.ok(line), "", "{line}");
    }
    assert_eq!(names(&network.work("edge", "")), ["link", "tree"]);
    assert_eq!(
        fs::read(network.work("far", "copy/deep/b")).unwrap(),
        vec![7; 300_000]
    );
    assert_eq!(fs::read(network.local("back/deep/b")).unwrap(), vec![7; 300_000]);
    assert_eq!(network.ok("cat /nodes/edge/work/link"), "from here");
    assert_eq!(network.json("stat /nodes/edge/work/tree/a.txt")["export"], "work");
    // The same node, however it is called.
    let id = network.id("edge");
    assert_eq!(
        network.ok(&format!("mv /nodes/edge/work/link /nodes/{id}/work/renamed")),
        ""
    );
    network.ok("rm -r /nodes/edge/work/tree /nodes/edge/work/renamed /nodes/far/work/copy");
    assert_eq!(names(&network.work("edge", "")), [""; 0]);
    assert_eq!(names(&network.work("far", "")), ["x"]);
    assert_eq!(network.json("df /nodes/far")[0]["export"], "work");
    assert_eq!(network.json("exports --node far")[0]["name"], "work");
    let exports = network.json("exports /nodes/edge/work");
    assert_eq!(
        (&exports[0]["name"], exports.as_array().unwrap().len()),
        (&json!("work"), 1)
    );
    assert_eq!(network.json("services /nodes/edge/echo")[0]["service"], "echo");

    for (line, words) in [
        (
            "mv /nodes/edge/work/a /nodes/far/work/a",
            "cannot move /nodes/edge/work/a to /nodes/far/work/a: they lie on different nodes\n  hint: copy",
        ),
        (
            &format!("cp -r :/nodes/edge/work :/nodes/{id}/work/inside"),
            "into itself",
        ),
    ] {
        let said = network.run(line);
        assert!(said.code == 1 && said.err.contains(words), "{line}: {said:?}");
    }
}

#[test]
fn a_copy_goes_on_when_its_node_was_away() {
    let mut network = Network::new();
    let node = network.start_node("far", &[]);
    let mut child = network
        .command("put - /nodes/far/work/whole")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Together less than the program keeps under way, so that the pipe takes them while the node is away.
    let (first, second) = (vec![1; 2 << 20], vec![2; 1 << 20]);
    stdin.write_all(&first).unwrap();
    until("the copy has begun", || {
        partial(&network.work("far", "")).is_some_and(|part| fs::metadata(part).unwrap().len() > 0)
    });
    network.stop_node(node);
    stdin.write_all(&second).unwrap();
    network.restart_node(node);
    drop(stdin);
    let said = Said::by(child);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert_eq!(names(&network.work("far", "")), ["whole"]);
    assert!(fs::read(network.work("far", "whole")).unwrap() == [first, second].concat());
}

#[test]
fn services_are_invoked_and_commands_run_behind_the_hub() {
    let network = Network::with_nodes();
    let run = |arguments: &[&str]| {
        let mut command = network.command("");
        Said::by(command.args(arguments).spawn().unwrap())
    };
    for arguments in [
        &["invoke", "/nodes/edge/echo", r#"{"message":"hello"}"#][..],
        &["invoke", "--node", "edge", "echo", r#"{"message":"hello"}"#],
    ] {
        let said = run(arguments);
        assert_eq!(
            (said.code, said.out.as_str(), said.err.as_str()),
            (0, r#"{"message":"hello"}"#, "")
        );
    }
    let services = network.json("services /nodes/edge");
    let known: Vec<_> = services
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["service"])
        .collect();
    assert!(known.contains(&&json!("echo")), "{services}");
    assert_eq!(services, network.json("services --node edge"));
    let said = run(&["exec", "--node", "edge", "--", "sh", "-c", "echo out; exit 3"]);
    assert_eq!((said.code, said.out.as_str()), (3, "out\n"));
    let said = run(&["exec", "--service", "/nodes/edge/terminal/1", "echo", "there"]);
    assert_eq!((said.code, said.out.as_str()), (0, "there\n"));
    for (arguments, code, words) in [
        (&["exec", "--", "ls"][..], 2, "say which node: --node edge"),
        (&["exec", "--node", "far", "--", "ls"], 1, "no terminal service"),
        (
            &["invoke", "/nodes/edge/work/a", "{}"],
            1,
            "/nodes/edge/work/a is no service",
        ),
        (
            &["invoke", "/nodes/edge/nope", "{}"],
            1,
            "it has work, terminal-1, echo",
        ),
    ] {
        let said = run(arguments);
        assert!(
            said.code == code && said.err.contains(words),
            "{arguments:?}: {said:?}"
        );
    }
}

#[test]
fn changes_are_watched_through_the_hub() {
    let network = Network::with_nodes();
    fs::write(network.work("far", "file"), "before").unwrap();
    let mut child = network
        .command("watch /nodes/far/work --output json")
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let writing = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (file, goes_on) = (network.work("far", "file"), writing.clone());
    // The watch has begun when it first says something; until then nobody knows when that is.
    let writer = std::thread::spawn(move || {
        while goes_on.load(std::sync::atomic::Ordering::Relaxed) {
            fs::write(&file, "after").unwrap();
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    });
    let of_the_file = |line: std::io::Result<String>| {
        let change: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        change["path"] == "/nodes/far/work/file"
    };
    assert!(lines.any(of_the_file), "the watch ended");
    writing.store(false, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_user_reaches_what_projects_mount_and_nothing_else() {
    let network = Network::with_nodes();
    fs::write(network.work("edge", "a.txt"), "hello").unwrap();
    let user = network.hub().user_token().expose().to_owned();
    let as_user = |line: &str| {
        let mut command = network.command(line);
        command.env("SPIDERWEB_HUB_TOKEN", &user);
        Said::by(command.spawn().unwrap())
    };
    let said = as_user("ls /nodes");
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
    let project = network.admin().ok(
        "project_create",
        &json!({"name": "demo", "operator_token": OPERATOR}),
    );
    network.admin().ok(
        "project_mount_set",
        &json!({"project_id": project["project_id"], "node_id": network.id("edge"), "export_name": "work",
            "mount_path": "/src", "operator_token": OPERATOR}),
    );
    assert_eq!(as_user("ls /nodes").out, "edge\n");
    assert_eq!(as_user("cat /nodes/edge/work/a.txt").out, "hello");
    assert_eq!(as_user("ls /nodes/edge").out, "work\nterminal-1\necho\n");
    let said = as_user("ls /nodes/far");
    assert!(
        said.code == 1
            && said
                .err
                .contains("the hub shows no node \"far\"; it shows edge ("),
        "{said:?}"
    );
    let mounts = network.json("hub mounts demo");
    assert_eq!(
        (&mounts[0]["path"], &mounts[0]["node_name"], &mounts[0]["state"]),
        (&json!("/src"), &json!("edge"), &json!("online"))
    );
    assert!(!mounts.to_string().contains("ticket-"), "{mounts}");
    let projects = network.ok("hub projects");
    assert!(
        projects.contains("demo  ") && projects.contains("  active  1"),
        "{projects}"
    );
}

#[test]
fn what_a_hub_costs_is_measured() {
    let network = Network::with_nodes();
    let quick = "--duration 200ms --warmup 10ms --verify --no-ceiling";
    for place in ["--node edge", "--node edge /work", "/nodes/edge/work"] {
        for op in [
            "getattr --depth 64",
            "read --block 128KiB --depth 4",
            "mixed --background 1",
        ] {
            let line = format!("bench {place} --op {op} {quick}");
            let shown = network.json(&line);
            assert!(shown["ops"].as_u64().unwrap() > 0, "{line}: {shown}");
            assert_eq!(
                (&shown["errors"], &shown["wrong"]),
                (&json!({}), &json!(0)),
                "{line}"
            );
        }
    }
    let shown = network.json("bench --compare edge far --pairs 2 --slice 100ms");
    assert_eq!((&shown["a"], &shown["b"]), (&json!("edge"), &json!("far")));
    assert_eq!(shown["pairs"].as_array().unwrap().len(), 2);
    for node in ["edge", "far"] {
        assert_eq!(fs::read_dir(network.work(node, "")).unwrap().count(), 0, "{node}");
    }
}

#[test]
fn what_goes_wrong_is_one_sentence_that_names_the_thing() {
    let mut network = Network::with_nodes();
    let gone = network.start_node("gone", &[]);
    network.stop_node(gone);
    network.start_node("twin", &[]);
    network.start_node("twin", &[]);
    fs::write(network.local("wrong"), "sw-admin_wrong\n").unwrap();
    fs::write(network.local("empty"), "").unwrap();
    let tokens = network.tokens().display().to_string();
    for (line, code, words) in [
        (
            "ls /nodes/nope",
            1,
            "the hub shows no node \"nope\"; it shows edge (",
        ),
        ("cat /nodes/twin/work/a", 1, "several nodes are called \"twin\": "),
        ("ls /nodes/gone", 1, "the node gone ("),
        (
            "ls /nodes/gone",
            1,
            "is not connected to its hub\n  hint: is spiderweb-fs-node running",
        ),
        (
            "ls /nodes/edge/nope",
            1,
            "no export named \"nope\"; it has work, terminal-1, echo",
        ),
        ("cat /nodes/edge", 1, "/nodes/edge is the list of exports"),
        ("cat /nodes", 1, "/nodes is the list of nodes; name a node"),
        (
            "ls /work",
            1,
            "there is no /work on a hub; its paths are /nodes/NODE",
        ),
        ("cat /nodes/edge/work/x", 1, "`spiderweb ls /nodes/edge/work`"),
        ("rm -r /nodes/edge/work", 2, "is an export itself"),
        (
            "rm -r /nodes/edge",
            2,
            "/nodes/edge is a node itself; only what is in an export",
        ),
        (
            "mv /nodes/edge /nodes/edge/x",
            2,
            "/nodes/edge is a node itself and cannot be moved",
        ),
        (
            "ls /nodes/edge/nix",
            1,
            "paths are /nodes/edge/EXPORT/PATH, as in /nodes/edge/work/file; `spiderweb exports /nodes/edge` lists",
        ),
        (
            "rm -r /nodes/edge/echo/control",
            1,
            "cannot remove /nodes/edge/echo/control: this part of a service cannot be changed\n  hint: files that act",
        ),
        (
            "mkdir /nodes/edge/echo/x",
            1,
            "this part of a service cannot be changed",
        ),
        (
            "cp wrong :/nodes/edge/echo/status.json",
            1,
            "this part of a service cannot be changed",
        ),
        (
            "put wrong /nodes/edge/echo/status.json",
            1,
            "this part of a service cannot be changed",
        ),
        (
            "invoke /nodes/edge/work",
            1,
            "/nodes/edge/work is a folder, not a service",
        ),
        ("exports", 2, "say which node: --node "),
        ("bench", 2, "say which node: --node "),
        (
            "bench --compare ws://127.0.0.1:1/v2/fs nope",
            1,
            "cannot reach a node at ws://127.0.0.1:1/v2/fs",
        ),
        ("bench --compare edge nope", 1, "the hub shows no node \"nope\""),
        (
            "--hub ws://127.0.0.1:1/ ls /nodes",
            1,
            "cannot reach a hub at ws://127.0.0.1:1/: connection refused\n  hint: is spiderweb-hub running",
        ),
        (
            "--hub-token-file wrong ls /nodes",
            1,
            "does not accept the token: auth_failed: bearer token missing or unknown\n  hint: give the hub's admin",
        ),
        (
            "--hub-token-file empty ls",
            1,
            "the token file empty is empty\n  hint: it holds one token",
        ),
        (
            "--hub-token-file missing ls",
            1,
            "cannot read the token file missing: no such file",
        ),
        (
            "--url ws://127.0.0.1:1/v2/fs ls",
            1,
            "cannot reach a node at ws://127.0.0.1:1/v2/fs",
        ),
        (
            "--url ws://127.0.0.1:1/ --node edge ls",
            2,
            "--node names a node behind a hub",
        ),
        ("--hub ws://h:1/ --url ws://n:1/ ls", 2, "use one of them"),
        ("--hub-token t ls", 2, "--hub-token"),
    ] {
        let said = network.run(line);
        assert_eq!(said.code, code, "{line}: {said:?}");
        assert!(
            said.err.starts_with("error: ") && said.err.contains(words) && said.out.is_empty(),
            "{line}: {said:?}"
        );
        assert!(!said.err.contains("sw-admin"), "{line}: {said:?}");
    }
    let mut command = network.command("ls /nodes");
    let nobody = Said::by(command.env_remove("SPIDERWEB_HUB_TOKEN").spawn().unwrap());
    assert!(
        nobody.code == 1 && nobody.err.contains("refused node_list: auth_failed"),
        "{nobody:?}"
    );
    // The hub's own file is as good as a variable, and comes before it.
    let mut command = network.command(&format!("--hub-token-file {tokens} ls /nodes"));
    let listed = Said::by(command.env("SPIDERWEB_HUB_TOKEN", "wrong").spawn().unwrap());
    assert_eq!((listed.code, listed.err.as_str()), (0, ""));
    let twins = listed
        .out
        .lines()
        .filter(|name| name.starts_with("node-"))
        .count();
    assert_eq!(twins, 2, "nodes of one name are listed by id: {listed:?}");
}
