//! `spiderweb hub`: what an operator does.

use std::io::{BufRead as _, BufReader};

use serde_json::{Value, json};

use crate::hub_setup::{Network, OPERATOR};
use crate::setup::Said;

#[test]
fn invites_are_made_listed_and_revoked() {
    let network = Network::new();
    let said = network.run("hub invite create --max-uses 2 --expires 12h --name fleet");
    let token = said.out.trim_end();
    assert!(said.code == 0 && token.starts_with("inv-"), "{said:?}");
    assert!(
        said.err.starts_with("invite-1 is good for 2 nodes, until ") && !said.err.contains("inv-"),
        "{said:?}"
    );
    let mut node = network.desk(None);
    let joined = node.ok("node_join", &json!({"invite_token": token, "node_name": "a"}));
    assert_eq!(joined["node_name"], "fleet");
    let made = network.json("hub invite create");
    assert!(made["invite_token"].as_str().unwrap().starts_with("inv-"));

    let listed = network.json("hub invite list");
    assert_eq!(
        (
            &listed[0]["node_name"],
            &listed[0]["uses"],
            &listed[0]["max_uses"],
            &listed[0]["open"]
        ),
        (&json!("fleet"), &json!(1), &json!(2), &json!(true))
    );
    let table = network.ok("hub invite list");
    assert!(
        table.starts_with("Invite    State  Uses  Expires") && table.contains("invite-1  open   1/2 "),
        "{table}"
    );
    assert!(!table.contains("inv-") && !listed.to_string().contains("inv-"));
    assert_eq!(network.ok("hub invite revoke invite-1"), "");
    assert_eq!(network.json("hub invite list").as_array().unwrap().len(), 1);
    let said = network.run("hub invite revoke invite-1");
    assert!(
        said.code == 1
            && said.err.contains("invite_not_found")
            && said.err.contains("`spiderweb hub invite list`"),
        "{said:?}"
    );
}

#[test]
fn requests_to_join_are_approved_and_denied() {
    let network = Network::new();
    let token = network.hub().node_token().expose().to_owned();
    let mut node = network.desk(Some(&token));
    let platform = json!({"os": "linux", "arch": "x86_64", "runtime_kind": "native"});
    let ask = |node: &mut crate::hub_setup::Desk<'_>, name: &str| {
        let filed = node.ok(
            "node_join_request",
            &json!({"node_name": name, "platform": platform}),
        );
        filed["request_id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (ask(&mut node, "edge"), ask(&mut node, "far"));
    let table = network.ok("hub pending");
    assert!(
        table.starts_with("Request")
            && table.contains(&first)
            && table.contains("edge  linux/x86_64  127.0.0.1  "),
        "{table}"
    );
    let approved = network.ok(&format!("hub approve {first}"));
    let id = approved.strip_suffix("  edge\n").unwrap();
    assert!(id.starts_with("node-"), "{approved}");
    assert_eq!(network.ok(&format!("hub deny {second}")), "");
    assert_eq!(network.json("hub pending"), json!([]));
    assert_eq!(network.ok("hub pending"), "");
    let fetched = node.ok("node_join_approve", &json!({"request_id": first}));
    assert_eq!(fetched["node_id"], id);

    let said = network.run(&format!("hub approve {second}"));
    assert!(said.code == 1 && said.err.contains("join_denied"), "{said:?}");
    let third = ask(&mut node, "third");
    let mut command = network.command(&format!("hub approve {third}"));
    let said = Said::by(command.env("SPIDERWEB_OPERATOR_TOKEN", "wrong").spawn().unwrap());
    assert!(
        said.code == 1
            && said.err.contains("operator_auth_failed")
            && said.err.contains("--operator-token-file"),
        "{said:?}"
    );
    let mut command = network.command("hub pending");
    let said = Said::by(command.env_remove("SPIDERWEB_OPERATOR_TOKEN").spawn().unwrap());
    assert!(
        said.code == 1 && said.err.contains("--operator-token-file"),
        "{said:?}"
    );
    std::fs::write(network.local("operator"), OPERATOR).unwrap();
    let approved = network.json(&format!("hub approve {third} --operator-token-file operator"));
    assert_eq!(approved["node_name"], "third");
    assert_ne!(approved["node_id"], id, "{approved}");
}

#[test]
fn nodes_are_shown_and_their_catalogs_watched() {
    let mut network = Network::with_nodes();
    let id = network.id("edge");
    let table = network.ok("hub nodes");
    assert!(
        table.starts_with("Name  Id ") && table.contains("edge  ") && table.contains("  online  3 "),
        "{table}"
    );
    let nodes = network.json("hub nodes");
    assert_eq!(
        (
            &nodes[0]["node_name"],
            &nodes[0]["state"],
            &nodes[0]["labels"]["site"]
        ),
        (&json!("edge"), &json!("online"), &json!("lab"))
    );
    for name in ["edge", &id] {
        let shown = network.json(&format!("hub node show {name}"));
        assert_eq!(shown["node_id"], *id);
        let echo = json!({"service": "echo", "state": "online", "mounts": [format!("/nodes/{id}/echo")]});
        assert!(shown["services"].as_array().unwrap().contains(&echo), "{shown}");
    }
    let text = network.ok("hub node show edge");
    assert!(
        text.contains("   state  online") && text.contains("echo"),
        "{text}"
    );
    let said = network.run("hub node show nope");
    assert!(
        said.code == 1 && said.err.contains("shows no node \"nope\""),
        "{said:?}"
    );

    let mut child = network.command("hub watch --output json").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    // What is past comes first, so the watch stands once it has spoken.
    let mut change = next();
    assert_eq!(
        (&change["what"], &change["state"]),
        (&json!("added"), &json!("online"))
    );
    network.start_node("late", &[]);
    while change["node_name"] != "late" {
        change = next();
    }
    assert_eq!(change["service"], "fs");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn without_a_hub_there_is_nothing_to_look_after() {
    let network = Network::new();
    let mut command = network.command("hub nodes");
    let said = Said::by(command.env_remove("SPIDERWEB_HUB").spawn().unwrap());
    assert!(said.code == 2 && said.err.contains("say which hub"), "{said:?}");
}
