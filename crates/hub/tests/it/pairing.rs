//! How a node becomes known.

use serde_json::json;

use crate::peer::{ADMIN, Control, NODE, OPERATOR, USER, start, until};
use spiderweb_hub::Random;
use spiderweb_protocol::Secret;

#[tokio::test]
async fn two_lives_of_a_hub_begin_to_count_at_different_numbers() {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (hub, _) = start(|config| config.random = Random::system()).await;
        let mut admin = Control::dial(&hub, Some(ADMIN)).await;
        for name in ["edge", "far"] {
            ids.push(admin.pair(name).await.0);
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert_ne!(
        ids[0], ids[2],
        "clients of the first must not find another node at the second: {ids:?}"
    );
}

#[tokio::test]
async fn an_invite_pairs_one_node() {
    let (hub, clock) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let invite = admin
        .ok("node_invite_create", json!({"expires_in_ms": 60_000}))
        .await;
    assert_eq!(invite["invite_id"], "invite-1");
    let token = invite["invite_token"].as_str().unwrap();
    assert!(token.starts_with("inv-") && token.len() == 36, "{token}");

    // A node needs no bearer token: the invite says enough.
    let mut node = Control::dial(&hub, None).await;
    let join = json!({"invite_token": token, "node_name": "edge", "fs_url": "", "lease_ttl_ms": 900_000});
    let joined = node.ok("node_join", join.clone()).await;
    assert_eq!(
        (&joined["node_id"], &joined["node_name"]),
        (&json!("node-1"), &json!("edge"))
    );
    assert!(joined["node_secret"].as_str().unwrap().starts_with("secret-"));
    assert_eq!(joined["platform"]["os"], "unknown");

    // The reply may have been lost: the same node gets the same credentials, until it has used them.
    assert_eq!(node.ok("node_join", join.clone()).await, joined);
    let other = json!({"invite_token": token, "node_name": "other"});
    assert_eq!(node.refused("node_join", other).await, "invite_redeemed");
    let refresh = json!({"node_id": "node-1", "node_secret": joined["node_secret"]});
    node.ok("node_lease_refresh", refresh).await;
    assert_eq!(node.refused("node_join", join).await, "invite_redeemed");

    let late = admin.invite(json!({"expires_in_ms": 1000})).await;
    clock.advance(1000);
    assert_eq!(
        node.refused("node_join", json!({"invite_token": late})).await,
        "invite_expired"
    );
    assert_eq!(
        node.refused("node_join", json!({"invite_token": "inv-nope"}))
            .await,
        "invite_not_found"
    );
    assert_eq!(node.refused("node_join", json!({})).await, "missing_field");
}

#[tokio::test]
async fn an_invite_for_many_pairs_many_and_may_fix_the_name() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let token = admin.invite(json!({"max_uses": 2, "node_name": "fleet"})).await;
    for id in ["node-1", "node-2"] {
        let joined = admin
            .ok("node_join", json!({"invite_token": token, "node_name": id}))
            .await;
        assert_eq!(
            (&joined["node_id"], &joined["node_name"]),
            (&json!(id), &json!("fleet"))
        );
    }
    assert_eq!(
        admin.refused("node_join", json!({"invite_token": token})).await,
        "invite_redeemed"
    );
}

#[tokio::test]
async fn invites_are_listed_without_their_tokens_and_a_revoked_one_pairs_nobody() {
    let (hub, clock) = start(|config| config.tokens.operator = Some(Secret::new(OPERATOR))).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let make =
        json!({"max_uses": 2, "node_name": "fleet", "expires_in_ms": 1000, "operator_token": OPERATOR});
    let token = admin.invite(make.clone()).await;
    admin.invite(make).await;
    admin
        .ok("node_join", json!({"invite_token": token, "node_name": "a"}))
        .await;
    let list = json!({"operator_token": OPERATOR});
    let listed = admin.ok("node_invite_list", list.clone()).await;
    let first = &listed["invites"][0];
    assert_eq!(
        (
            &first["invite_id"],
            &first["node_name"],
            &first["uses"],
            &first["open"]
        ),
        (&json!("invite-1"), &json!("fleet"), &json!(1), &json!(true))
    );
    assert_eq!(listed["invites"][1]["invite_id"], "invite-2");
    assert!(!listed.to_string().contains("inv-"), "{listed}");

    let revoke = json!({"invite_id": "invite-1", "operator_token": OPERATOR});
    assert_eq!(
        admin.ok("node_invite_revoke", revoke.clone()).await,
        json!({"revoked": true, "invite_id": "invite-1"})
    );
    assert_eq!(
        admin.refused("node_invite_revoke", revoke).await,
        "invite_not_found"
    );
    let mut node = Control::dial(&hub, None).await;
    assert_eq!(
        node.refused("node_join", json!({"invite_token": token})).await,
        "invite_not_found"
    );
    clock.advance(1000);
    let listed = admin.ok("node_invite_list", list).await;
    assert_eq!(listed["invites"][0]["open"], false);

    assert_eq!(
        admin.refused("node_invite_list", json!({})).await,
        "missing_field"
    );
    let mut user = Control::dial(&hub, Some(USER)).await;
    assert_eq!(user.refused("node_invite_list", json!({})).await, "forbidden");
}

#[tokio::test]
async fn a_human_approves_and_the_node_gets_its_credentials() {
    let (hub, _) = start(|config| config.tokens.operator = Some(Secret::new(OPERATOR))).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let mut node = Control::dial(&hub, Some(NODE)).await;
    let platform = json!({"os": "linux", "arch": "x86_64", "runtime_kind": "native"});
    let ask = json!({"node_name": "edge", "fs_url": "", "platform": platform});
    let filed = node.ok("node_join_request", ask).await;
    let id = filed["request_id"].as_str().unwrap().to_owned();
    let approve = json!({"request_id": id, "lease_ttl_ms": 900_000});

    // The node asks and asks; that neither decides anything nor makes it start over.
    for _ in 0..2 {
        assert_eq!(
            node.refused("node_join_approve", approve.clone()).await,
            "approval_pending"
        );
    }
    assert_eq!(
        admin.refused("node_join_pending_list", json!({})).await,
        "missing_field"
    );
    let listed = admin
        .ok("node_join_pending_list", json!({"operator_token": OPERATOR}))
        .await;
    assert_eq!(listed["pending"][0]["node_name"], "edge");
    assert_eq!(listed["pending"][0]["address"], "127.0.0.1");

    let wrong = json!({"request_id": id, "operator_token": "guess"});
    assert_eq!(
        admin.refused("node_join_approve", wrong).await,
        "operator_auth_failed"
    );
    let approved = admin
        .ok(
            "node_join_approve",
            json!({"request_id": id, "operator_token": OPERATOR}),
        )
        .await;
    assert_eq!(approved["platform"], platform);

    // Somebody who merely knows the id gets nothing.
    let mut thief = Control::dial(&hub, Some(ADMIN)).await;
    assert_eq!(
        thief.refused("node_join_approve", approve.clone()).await,
        "pending_join_not_found"
    );
    for _ in 0..2 {
        let fetched = node.ok("node_join_approve", approve.clone()).await;
        assert_eq!(
            fetched["node_secret"], approved["node_secret"],
            "a lost reply does no harm"
        );
    }
    let refresh = json!({"node_id": approved["node_id"], "node_secret": approved["node_secret"]});
    node.ok("node_lease_refresh", refresh).await;
    assert_eq!(
        node.refused("node_join_approve", approve).await,
        "pending_join_not_found"
    );
}

#[tokio::test]
async fn an_admin_who_approves_without_the_operator_token_is_told_what_is_missing() {
    let (hub, _) = start(|config| config.tokens.operator = Some(Secret::new(OPERATOR))).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let mut node = Control::dial(&hub, Some(NODE)).await;
    let filed = node.ok("node_join_request", json!({"node_name": "edge"})).await;
    let payload = json!({"request_id": filed["request_id"]});
    for operation in ["node_join_approve", "node_join_deny"] {
        assert_eq!(admin.refused(operation, payload.clone()).await, "missing_field");
    }
    assert_eq!(
        admin
            .refused("node_join_approve", json!({"request_id": "pending-join-9"}))
            .await,
        "pending_join_not_found"
    );
    // Whoever asks for its own request waits, and another node learns nothing.
    assert_eq!(
        node.refused("node_join_approve", payload.clone()).await,
        "approval_pending"
    );
    let filed = admin.ok("node_join_request", json!({"node_name": "other"})).await;
    let payload = json!({"request_id": filed["request_id"]});
    assert_eq!(
        admin.refused("node_join_approve", payload.clone()).await,
        "approval_pending"
    );
    assert_eq!(
        node.refused("node_join_approve", payload).await,
        "pending_join_not_found"
    );
}

#[tokio::test]
async fn a_node_whose_token_changed_is_not_stuck_with_its_old_request() {
    let (hub, clock) = start(|config| config.tokens.operator = Some(Secret::new(OPERATOR))).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let filed = admin.ok("node_join_request", json!({"node_name": "edge"})).await;
    let old = filed["request_id"].clone();
    let approve = |id: &serde_json::Value| json!({"request_id": id, "operator_token": OPERATOR});
    let approved = admin.ok("node_join_approve", approve(&old)).await;

    // It starts again with the token of nodes.
    let mut node = Control::dial(&hub, Some(NODE)).await;
    let code = node
        .refused("node_join_approve", json!({"request_id": old}))
        .await;
    assert_eq!(code, "pending_join_not_found");
    let filed = node.ok("node_join_request", json!({"node_name": "edge"})).await;
    let new = filed["request_id"].clone();
    admin.ok("node_join_approve", approve(&new)).await;
    let joined = node.ok("node_join_approve", json!({"request_id": new})).await;
    assert_ne!(joined["node_id"], approved["node_id"]);
    let refresh = json!({"node_id": joined["node_id"], "node_secret": joined["node_secret"]});
    node.ok("node_lease_refresh", refresh).await;

    // The node that was approved first never came, so after a day it is forgotten with its request.
    clock.advance(24 * 60 * 60 * 1000);
    let shown = until(&mut admin, "node_list", json!({}), |shown| {
        shown["nodes"].as_array().unwrap().len() == 1
    })
    .await;
    assert_eq!(shown["nodes"][0]["node_id"], joined["node_id"]);
}

#[tokio::test]
async fn a_denied_node_is_told_so_as_long_as_it_asks() {
    let (hub, _) = start(|config| config.tokens.operator = Some(Secret::new(OPERATOR))).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let mut node = Control::dial(&hub, Some(NODE)).await;
    let filed = node.ok("node_join_request", json!({"node_name": "edge"})).await;
    let id = &filed["request_id"];
    let deny = json!({"request_id": id, "operator_token": OPERATOR});
    assert_eq!(
        admin.ok("node_join_deny", deny.clone()).await,
        json!({"denied": true, "request_id": id})
    );
    assert_eq!(
        admin.refused("node_join_deny", deny).await,
        "pending_join_not_found"
    );
    for _ in 0..2 {
        // `pending_join_not_found` would make the node file a new request at once.
        assert_eq!(
            node.refused("node_join_approve", json!({"request_id": id})).await,
            "join_denied"
        );
    }
    let listed = admin
        .ok("node_join_pending_list", json!({"operator_token": OPERATOR}))
        .await;
    assert_eq!(listed, json!({"pending": []}));
}

#[tokio::test]
async fn without_an_operator_token_the_admin_approves_and_so_does_a_node_that_holds_it() {
    let (hub, _) = start(|_| {}).await;
    let mut original = Control::dial(&hub, Some(ADMIN)).await;
    let filed = original
        .ok("node_join_request", json!({"node_name": "edge"}))
        .await;
    let approved = original
        .ok("node_join_approve", json!({"request_id": filed["request_id"]}))
        .await;
    assert_eq!(approved["node_id"], "node-1");

    let mut node = Control::dial(&hub, Some(NODE)).await;
    let filed = node.ok("node_join_request", json!({"node_name": "other"})).await;
    let ask = json!({"request_id": filed["request_id"]});
    assert_eq!(
        node.refused("node_join_approve", ask.clone()).await,
        "approval_pending"
    );
    original.ok("node_join_approve", ask.clone()).await;
    assert_eq!(node.ok("node_join_approve", ask).await["node_id"], "node-2");
    let unknown = json!({"request_id": "pending-join-77"});
    assert_eq!(
        node.refused("node_join_approve", unknown).await,
        "pending_join_not_found"
    );
}

#[tokio::test]
async fn one_address_cannot_fill_the_waiting_room() {
    let (hub, _) = start(|_| {}).await;
    let mut node = Control::dial(&hub, Some(NODE)).await;
    for _ in 0..8 {
        node.ok("node_join_request", json!({})).await;
    }
    assert_eq!(node.refused("node_join_request", json!({})).await, "too_many");
}

#[tokio::test]
async fn ensure_finds_a_node_by_its_name() {
    let (hub, _) = start(|_| {}).await;
    let mut admin = Control::dial(&hub, Some(ADMIN)).await;
    let first = admin.ok("node_ensure", json!({"node_name": "edge"})).await;
    let again = admin
        .ok(
            "node_ensure",
            json!({"node_name": "edge", "fs_url": "ws://h:1/v2/fs"}),
        )
        .await;
    assert_eq!(first["node_secret"], again["node_secret"]);
    assert_eq!(again["fs_url"], "ws://h:1/v2/fs");
}
