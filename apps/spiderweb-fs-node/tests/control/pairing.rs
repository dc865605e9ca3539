//! How a node becomes known to its hub, and stays so.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::hub::{Arrival, Generation, Hub, Manner, Said};
use crate::place::{Place, eventually, says};
use crate::script::play;

const SEED: Manner = Manner::Polite(Generation::Seed);

/// A lost identity is replaced within this time (section 12), on a machine that does other things, too.
const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn an_invite_pairs_and_the_tunnel_opens() {
    let (place, mut hub) = (Place::new(), Hub::start(SEED));
    let node = place.start(&hub, &["--invite-token", "inv-1"]);
    play(&mut hub, include_str!("scripts/invite_pairing.txt")).unwrap();
    says(&node, "info: node paired via invite: node-2");
    says(&node, "info: control tunnel established for node node-2");
    says(
        &node,
        &format!(
            "info: Advertised routed FS URL: ws://{}/v2/fs/node/node-2",
            hub.address()
        ),
    );
    let state = eventually("the refreshed lease", || {
        Some(place.state()).filter(|state| state["lease_token"] == "lease-b")
    });
    assert_eq!(
        state,
        json!({
            "schema": 1, "node_id": "node-2", "node_secret": "secret-a", "lease_token": "lease-b",
            "lease_expires_at_ms": 0, "request_id": null, "node_name": "edge",
            "fs_url": format!("ws://{}/v2/fs/node/node-2", hub.address()),
        })
    );
    for secret in ["secret-a", "inv-1", "lease-b"] {
        assert!(!node.log().contains(secret), "{}", node.log());
    }
}

#[test]
fn a_node_with_the_operators_token_approves_itself() {
    let (place, mut hub) = (Place::new(), Hub::start(SEED));
    let node = place.start(&hub, &["--operator-token", "op-1"]);
    play(&mut hub, include_str!("scripts/request_approved_by_itself.txt")).unwrap();
    says(&node, "info: node join request submitted: pending-join-1");
    says(&node, "info: node paired via join-request approval: node-2");
}

#[test]
fn a_request_outlives_the_process_and_is_approved() {
    let (place, mut hub) = (Place::new(), Hub::start(SEED));
    let node = place.start(&hub, &[]);
    play(&mut hub, include_str!("scripts/request_pending.txt"));
    says(
        &node,
        "info: node join approval pending: code=missing_field message=MissingField",
    );
    assert_eq!(place.state()["request_id"], "pending-join-1");
    drop(node);
    let _node = place.start(&hub, &[]);
    play(&mut hub, include_str!("scripts/request_approved.txt")).unwrap();
    let state = place.state();
    assert_eq!(
        (&state["node_id"], &state["request_id"]),
        (&json!("node-2"), &json!(null))
    );
}

#[test]
fn a_denied_request_is_told_and_filed_again_later() {
    let (place, mut hub) = (Place::new(), Hub::start(SEED));
    let node = place.start(&hub, &[]);
    play(&mut hub, include_str!("scripts/request_pending.txt"));
    play(&mut hub, include_str!("scripts/request_denied.txt"));
    says(
        &node,
        "error: the hub has no join request pending-join-1 any more",
    );
    assert_eq!(place.state()["request_id"], "pending-join-2");
}

#[test]
fn a_saved_identity_needs_no_pairing() {
    let (place, mut hub) = (Place::paired(), Hub::start(SEED));
    let node = place.start(&hub, &[]);
    play(&mut hub, include_str!("scripts/saved_identity.txt")).unwrap();
    says(&node, "info: control tunnel established for node node-2");
    assert!(!node.log().contains("paired via"), "{}", node.log());
    assert!(hub.rest().is_empty(), "nothing is said twice: {:?}", hub.rest());
}

#[test]
fn a_short_lease_is_renewed_again_and_again_on_one_connection() {
    let (place, mut hub) = (Place::paired(), Hub::start(SEED));
    let _node = place.start(&hub, &["--lease-ttl-ms", "1000"]);
    play(&mut hub, include_str!("scripts/saved_identity.txt")).unwrap();
    let mut connections = Vec::new();
    for round in 0..3_u64 {
        let asked = hub.next("a renewal", |arrival| {
            matches!(&arrival.message, Said::Text(text) if text["type"] == "control.node_lease_refresh")
        });
        let Said::Text(text) = &asked.message else {
            unreachable!()
        };
        let token = format!("lease-{round}");
        let reply = json!({
            "channel": "control", "type": "control.node_lease_refresh", "id": text["id"], "ok": true,
            "payload": {"node_id": "node-2", "node_secret": "secret-a", "lease_token": token, "lease_expires_at_ms": 1_900_000_000_000_u64 + round},
        });
        hub.say(asked.connection, &reply.to_string());
        connections.push((asked.connection, text["id"].as_str().unwrap().to_owned()));
        eventually("the new token", || {
            let state = place.state();
            let is_stored = state["lease_expires_at_ms"] == 1_900_000_000_000_u64 + round;
            (state["lease_token"] == *token && is_stored).then_some(())
        });
    }
    assert!(
        connections
            .windows(2)
            .all(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1)
    );
    assert!(
        hub.rest().is_empty(),
        "the catalog did not change: {:?}",
        hub.rest()
    );
}

#[test]
fn whoever_refuses_the_identity_it_is_replaced_at_once() {
    const UPSERT: &str = "> node_service_upsert {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"platform\":\"*\",\"services\":\"*\"}\n";
    const REFRESH: &str = "> node_lease_refresh {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"fs_url\":\"*\",\"lease_ttl_ms\":\"*\"}\n";
    let granted = "< {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"lease_token\":\"l\",\"lease_expires_at_ms\":0}\n";
    let start = format!("{UPSERT}< {{}}\n{REFRESH}{granted}");
    for (what, before) in [
        ("the catalog", format!("{UPSERT}! node_not_found NodeNotFound")),
        (
            "the first lease",
            format!("{UPSERT}< {{}}\n{REFRESH}! node_auth_failed NodeAuthFailed"),
        ),
        (
            "the tunnel",
            format!("{start}> tunnel {{\"node_id\":\"node-2\"}}\n! 2 NodeNotFound"),
        ),
        (
            "a later lease",
            format!(
                "{start}> tunnel {{\"node_id\":\"node-2\"}}\n< welcome\n{REFRESH}! node_not_found NodeNotFound"
            ),
        ),
    ] {
        let (place, mut hub) = (Place::paired(), Hub::start(SEED));
        let _node = place.start(&hub, &["--invite-token", "inv-2", "--lease-ttl-ms", "3000"]);
        let old = play(&mut hub, &before);
        let refused = Instant::now();
        let join = hub.next(
            "a join",
            |arrival| matches!(&arrival.message, Said::Text(text) if text["type"] == "control.node_join"),
        );
        assert!(refused.elapsed() < AT_ONCE, "{what}: {:?}", refused.elapsed());
        hub.put_back(join);
        play(&mut hub, include_str!("scripts/invite_again.txt")).unwrap();
        if let Some(old) = old {
            hub.next("the end of the old tunnel", |arrival| {
                arrival.connection == old && matches!(arrival.message, Said::Close(_))
            });
        }
        assert_eq!(place.state()["node_id"], "node-3", "{what}");
    }
}

/// An invite is never sent twice, so it must not go where perhaps nobody listens any more.
#[test]
fn a_hub_may_leave_after_each_answer() {
    let (place, mut hub) = (Place::paired(), Hub::start(SEED));
    let _node = place.start(&hub, &["--invite-token", "inv-2"]);
    let is_request = |arrival: &Arrival, name: &str| matches!(&arrival.message, Said::Text(text) if text["type"] == format!("control.{name}"));
    let upsert = hub.next("the catalog", |arrival| {
        is_request(arrival, "node_service_upsert")
    });
    let Said::Text(asked) = &upsert.message else {
        unreachable!()
    };
    assert_eq!(asked["id"], "fs-node-op", "the id of original nodes");
    let refusal = json!({"channel": "control", "type": "control.error", "id": asked["id"], "ok": false,
        "error": {"code": "node_not_found", "message": "NodeNotFound"}});
    hub.say(upsert.connection, &refusal.to_string());
    let join = hub.next("a join", |arrival| is_request(arrival, "node_join"));
    assert_ne!(join.connection, upsert.connection);
    hub.put_back(join);
    play(&mut hub, include_str!("scripts/invite_again.txt")).unwrap();
}

#[test]
fn an_invite_put_into_the_file_is_used() {
    let (place, mut hub) = (Place::new(), Hub::start(SEED));
    fs::write(place.path("invites"), "inv-old\n").unwrap();
    let node = place.start(&hub, &["--invite-token-file", "invites"]);
    play(
        &mut hub,
        "> node_join {\"invite_token\":\"inv-old\",\"node_name\":\"edge\",\"fs_url\":\"\",\"lease_ttl_ms\":900000}\n\
         ! invite_redeemed InviteRedeemed",
    );
    says(
        &node,
        "warning: node invite join rejected: code=invite_redeemed message=InviteRedeemed",
    );
    fs::write(place.path("new"), "inv-1\n").unwrap();
    fs::rename(place.path("new"), place.path("invites")).unwrap();
    // The old one may have been shown once more meanwhile.
    let join = hub.next(
        "the new invite",
        |arrival| matches!(&arrival.message, Said::Text(text) if text["payload"]["invite_token"] == "inv-1"),
    );
    hub.put_back(join);
    play(&mut hub, include_str!("scripts/invite_pairing.txt")).unwrap();
}

#[test]
fn credentials_put_into_the_state_file_end_the_pairing() {
    let (place, mut hub) = (Place::new(), Hub::start(SEED));
    let node = place.start(&hub, &[]);
    play(&mut hub, include_str!("scripts/request_pending.txt"));
    fs::write(place.path("new"), crate::place::PAIRED).unwrap();
    fs::rename(place.path("new"), place.path("node.json")).unwrap();
    says(&node, "info: node paired by its state file: node-2");
    play(&mut hub, include_str!("scripts/saved_identity.txt")).unwrap();
}
