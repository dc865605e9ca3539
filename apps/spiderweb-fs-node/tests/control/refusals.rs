//! Hubs that do not do what they should, and what the operator is told.

use crate::hub::{Generation, Hub, Manner};
use crate::place::{Place, says};
use crate::script::play;

#[test]
fn a_wrong_token_is_called_one() {
    let (place, hub) = (Place::new(), Hub::start(Manner::Deaf));
    let node = place.start(
        &hub,
        &["--control-auth-token", "wr0ng", "--invite-token", "inv-1"],
    );
    says(&node, "check --control-auth-token");
    says(&node, "info: node pairing pending; retrying in ");
    assert!(!node.log().contains("wr0ng"), "{}", node.log());
}

#[test]
fn a_token_of_a_user_is_called_one() {
    let (place, hub) = (Place::new(), Hub::start(Manner::Gate));
    let node = place.start(&hub, &["--invite-token", "inv-1"]);
    says(
        &node,
        "warning: control operation rejected during handshake: code=provisioning_required message=ask an admin",
    );
    says(&node, "the hub wants the admin token here");
    let complaints = node.log().matches("warning: ").count();
    assert_eq!(
        complaints,
        1,
        "what only a person can change is said once:\n{}",
        node.log()
    );
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let (place, hub) = (Place::new(), Hub::start(Manner::Silent));
    let node = place.start(&hub, &["--invite-token", "inv-1"]);
    says(
        &node,
        "warning: node invite join request failed: no answer to version within 10 s",
    );
}

#[test]
fn nobody_there_is_tried_again() {
    let place = Place::new();
    let node = place
        .command("ws://127.0.0.1:1/", &["--invite-token", "inv-1"])
        .launch()
        .unwrap();
    says(
        &node,
        "warning: node invite join request failed: cannot connect to 127.0.0.1:1",
    );
    says(&node, "info: node pairing pending; retrying in ");
}

#[test]
fn a_hub_that_speaks_the_other_words_is_understood_without_waiting() {
    let (place, mut hub) = (Place::paired(), Hub::start(Manner::Polite(Generation::Seed)));
    let _node = place.start(&hub, &[]);
    play(
        &mut hub,
        "> node_service_upsert {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"platform\":\"*\",\"services\":\"*\"}\n\
         ? unsupported_legacy_api UnsupportedType\n\
         > venom_upsert {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"platform\":\"*\",\"venoms\":\"*\"}\n\
         < {}\n\
         > node_lease_refresh {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"fs_url\":\"*\",\"lease_ttl_ms\":900000}\n\
         < {\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"lease_token\":\"l\"}",
    );
}

#[test]
fn a_hub_of_the_newer_generation_gets_its_own_words() {
    let (place, mut hub) = (Place::paired(), Hub::start(Manner::Polite(Generation::Head)));
    let _node = place.start(&hub, &[]);
    play(&mut hub, include_str!("scripts/saved_identity_head.txt")).unwrap();
}

#[test]
fn a_hub_of_both_generations_gets_the_older_words() {
    let (place, mut hub) = (Place::paired(), Hub::start(Manner::Polite(Generation::Both)));
    let _node = place.start(&hub, &[]);
    play(&mut hub, include_str!("scripts/saved_identity.txt")).unwrap();
}
