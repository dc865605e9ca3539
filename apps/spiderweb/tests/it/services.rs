//! Services, played by folders whose files already say what came of the invoke.

use crate::setup::{Said, Setup};

/// A node with one service whose next invoke ends like this.
struct Service {
    setup: Setup,
    export: &'static str,
}

impl Service {
    fn new(export: &'static str) -> Self {
        let service = Self {
            setup: Setup::with_exports(&[export]),
            export,
        };
        std::fs::create_dir(service.setup.within(export, "control")).unwrap();
        service.put(
            "control/invoke.json",
            "an older and longer payload than the next one",
        );
        service.put("health.json", r#"{"state":"online","timeout_ms":15000}"#);
        service
    }

    fn put(&self, path: &str, contents: &str) {
        std::fs::write(self.setup.within(self.export, path), contents).unwrap();
    }

    fn ends(&self, status: &str, result: &str, error: &str) {
        self.put("status.json", status);
        self.put("result.json", result);
        self.put("last_error.txt", error);
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let mut command = self.setup.command("");
        Said::by(command.args(arguments).spawn().unwrap())
    }
}

const OK: &str = r#"{"state":"ok","exit_code":0}"#;

#[test]
fn the_payload_is_written_and_the_result_printed() {
    let service = Service::new("svc-echo-main");
    service.ends(OK, r#"{"ok":true}"#, "");
    std::fs::write(service.setup.local("payload"), r#"{"from":"file"}"#).unwrap();
    for (arguments, written) in [
        (&["invoke", "echo-main", r#"{"a": 1}"#][..], r#"{"a": 1}"#),
        (&["invoke", "svc-echo-main", "@payload"], r#"{"from":"file"}"#),
        (&["invoke", "echo-main"], "{}"),
    ] {
        let said = service.run(arguments);
        assert_eq!(
            (said.code, said.out.as_str(), said.err.as_str()),
            (0, r#"{"ok":true}"#, "")
        );
        let payload = std::fs::read_to_string(service.setup.within("svc-echo-main", "control/invoke.json"));
        assert_eq!(payload.unwrap(), written);
    }
    let said = service.setup.feed("invoke echo-main -", b" {\"b\":2}\n");
    assert_eq!((said.code, said.out.as_str()), (0, r#"{"ok":true}"#));
    assert_eq!(
        service.setup.json("invoke echo-main"),
        serde_json::json!({"status": {"state": "ok", "exit_code": 0}, "result": {"ok": true}, "error": ""})
    );
}

#[test]
fn a_failed_driver_is_exit_code_1_and_a_sentence() {
    let service = Service::new("svc-x");
    for (status, error, words) in [
        (
            r#"{"state":"error","reason":"invoke_error","exit_code":3}"#,
            "no luck",
            "no luck\nerror: the driver of svc-x failed with exit code 3\n",
        ),
        (
            r#"{"state":"error","exit_code":-1}"#,
            "service process failed",
            "service process failed\nerror: the driver of svc-x failed: it crashed or was killed\n",
        ),
        (
            r#"{"state":"timeout","exit_code":-1}"#,
            "",
            "error: the driver of svc-x did not finish within 15 s\n",
        ),
        (
            r#"{"state":"offline","reason":"max_consecutive_failures","exit_code":3}"#,
            "",
            "too many failures\n  hint: `echo 1 | spiderweb put --in-place - /svc-x/control/enable` enables it\n",
        ),
        (r#"{"state":"running"}"#, "", "somebody else may be using it"),
        ("no status", "", "is not known"),
    ] {
        service.ends(status, r#"{"old":1}"#, error);
        let said = service.run(&["invoke", "x"]);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{status}");
        assert!(said.err.contains(words), "{status}: {said:?}");
    }
    service.ends(r#"{"state":"error","exit_code":3}"#, "{}", "no luck");
    let said = service.run(&["invoke", "x", "--output", "json"]);
    assert_eq!(said.code, 1);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&said.out).unwrap(),
        serde_json::json!({"status": {"state": "error", "exit_code": 3}, "result": null, "error": "no luck"})
    );
}

#[test]
fn what_cannot_be_invoked_is_said_before_anything_is_written() {
    let service = Service::new("svc-x");
    for (arguments, code, words) in [
        (&["invoke", "x", "{"][..], 2, "must be one JSON object"),
        (&["invoke", "x", "[1]"], 2, "it is JSON, but no object"),
        (&["invoke", "x", "@missing"], 1, "cannot read missing"),
        (&["invoke", "nope"], 1, "no service named \"nope\""),
        (&["invoke", "work"], 1, "work is a folder, not a service"),
        (
            &["invoke", "x", "nojson"],
            2,
            "must be one JSON object, such as '{\"message\":\"hello\"}': it is no JSON",
        ),
        (&["exec", "--", "ls"], 1, "no terminal service"),
        (&["exec"], 2, "COMMAND"),
    ] {
        let said = service.run(arguments);
        assert_eq!(said.code, code, "{arguments:?}: {said:?}");
        assert!(
            said.err.starts_with("error: ") && said.err.contains(words),
            "{said:?}"
        );
    }
    let payload = std::fs::read_to_string(service.setup.within("svc-x", "control/invoke.json")).unwrap();
    assert!(payload.starts_with("an older"), "{payload}");
}

#[test]
fn exec_prints_what_the_command_printed_and_ends_like_it() {
    let service = Service::new("terminal-1");
    let result = r#"{"service":"terminal","terminal_id":"1","operation":"exec","ok":false,"state":"exited","exit_code":42,"stdout":"out\n","stderr":"err\n"}"#;
    service.ends(OK, result, "");
    let said = service.run(&["exec", "--cwd", "/tmp", "--", "sh", "-c", "exit 42"]);
    assert_eq!(
        (said.code, said.out.as_str(), said.err.as_str()),
        (42, "out\n", "err\n")
    );
    let payload = std::fs::read_to_string(service.setup.within("terminal-1", "control/invoke.json"));
    assert_eq!(
        payload.unwrap(),
        r#"{"tool_name":"terminal_exec","arguments":{"argv":["sh","-c","exit 42"],"cwd":"/tmp"}}"#
    );
    let said = service.run(&["--output", "json", "--timeout", "2s", "exec", "-c", "exit 42"]);
    assert_eq!(said.code, 42);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&said.out).unwrap(),
        serde_json::json!({"state": "exited", "exit_code": 42, "stdout": "out\n", "stderr": "err\n"})
    );
    service.ends(OK, r#"{"ok":true}"#, "");
    let said = service.run(&["exec", "ls"]);
    assert!(
        said.code == 1 && said.err.contains("terminal-1 is no terminal service"),
        "{said:?}"
    );
}

#[test]
fn what_becomes_of_a_command_is_a_line_of_its_own() {
    let service = Service::new("terminal-1");
    for (state, stdout, stderr, err) in [
        (
            "launch_failed",
            "",
            "FileNotFound",
            "error: the command could not be run: there is no such program or directory on the node\n",
        ),
        (
            "launch_failed",
            "",
            "StdoutStreamTooLong",
            "error: the command was ended: it printed more than is allowed\n  hint: allow more with --max-output 1MiB, or \
             print to a file\n",
        ),
        (
            "timeout",
            "begun",
            "half a line",
            "half a line\nerror: the command did not finish within 2s and was ended\n  hint: give it more time with \
             --timeout\n",
        ),
        (
            "terminated",
            "",
            "a line\\n",
            "a line\nerror: the command was ended by a signal\n",
        ),
    ] {
        let result = format!(
            r#"{{"service":"terminal","ok":false,"state":"{state}","exit_code":-1,"stdout":"{stdout}","stderr":"{stderr}"}}"#
        );
        service.ends(OK, &result, "");
        let said = service.run(&["exec", "--timeout", "2s", "--", "x"]);
        assert_eq!(
            (said.code, said.out.as_str(), said.err.as_str()),
            (1, stdout, err),
            "{state}"
        );
        let said = service.run(&["exec", "--output", "json", "--timeout", "2s", "--", "x"]);
        assert!(said.out.contains(stderr), "{said:?}");
    }
    // The command's own words are not touched.
    let result = r#"{"state":"exited","exit_code":3,"stdout":"","stderr":"no line end"}"#;
    service.ends(OK, result, "");
    let said = service.run(&["exec", "x"]);
    assert_eq!((said.code, said.err.as_str()), (3, "no line end"));
}

#[test]
fn folders_are_not_listed_as_services() {
    let setup = Setup::new();
    assert_eq!(setup.ok("services"), "");
    assert_eq!(setup.json("services"), serde_json::json!([]));
}
