//! Scripts: what a node says and what it is answered, one line each.
//!
//! ```text
//! # a comment
//! > node_join {"invite_token":"inv-1"}      the node asks for this, in this order; `*` stands for any value, `$hub` for host and port
//! < {"node_id":"node-2"}                    the hub answers with this payload,
//! ! node_not_found NodeNotFound             or refuses with code and message,
//! ? invalid_envelope UnsupportedType        or refuses without saying what
//! > tunnel {"node_id":"node-2"}             the hello of a tunnel; members that are not named may be there
//! < welcome
//! ! 2 NodeNotFound                          errno and message
//! ```

use serde_json::{Value, json};

use crate::hub::{Arrival, Hub, Names, Said};

/// Plays the hub's part. Gives the connection of the last tunnel that was welcomed.
#[track_caller]
pub(crate) fn play(hub: &mut Hub, script: &str) -> Option<usize> {
    let mut question: Option<Arrival> = None;
    let mut tunnel = None;
    for line in script.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
        if sign == ">" {
            assert!(question.is_none(), "a question is open before `{line}`");
            question = Some(expect(hub, rest));
            continue;
        }
        let asked = question
            .take()
            .unwrap_or_else(|| panic!("nothing to answer with `{line}`"));
        if answer(hub, &asked, sign, rest) {
            tunnel = Some(asked.connection);
        }
    }
    assert!(question.is_none(), "the last question has no answer");
    tunnel
}

#[track_caller]
fn expect(hub: &mut Hub, rest: &str) -> Arrival {
    let (name, expected) = rest.split_once(' ').unwrap_or((rest, "{}"));
    let address = hub.address().to_string();
    let expected = expected.replace("$hub", &address);
    let in_order: Names = serde_json::from_str(&expected).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let kind = match name {
        "tunnel" => "acheron.t_fs_hello".to_owned(),
        operation => format!("control.{operation}"),
    };
    let arrival = hub.next(
        rest,
        |arrival| matches!(&arrival.message, Said::Text(text) if text["type"] == *kind),
    );
    let Said::Text(text) = &arrival.message else {
        unreachable!()
    };
    let is_alike = if name == "tunnel" {
        assert_eq!(arrival.path, "/v2/node");
        assert_eq!(text["tag"], 1);
        contains(&expected, &text["payload"])
    } else {
        is_like(&expected, &text["payload"]) && in_order.0 == arrival.members
    };
    assert!(
        is_alike,
        "expected {name} {expected} in this order\n  found {} as {:?}",
        text["payload"], arrival.members
    );
    arrival
}

/// Whether both are the same, where the expected one does not leave it open.
fn is_like(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(any), _) if any == "*" => true,
        (Value::Object(expected), Value::Object(found)) => {
            expected.len() == found.len()
                && expected
                    .iter()
                    .zip(found)
                    .all(|((name, value), (other, found))| name == other && is_like(value, found))
        }
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && expected.iter().zip(found).all(|(a, b)| is_like(a, b))
        }
        _ => expected == found,
    }
}

fn contains(expected: &Value, found: &Value) -> bool {
    let members = expected.as_object().unwrap();
    members.iter().all(|(name, value)| is_like(value, &found[name]))
}

/// Whether it welcomed a tunnel.
fn answer(hub: &Hub, asked: &Arrival, sign: &str, rest: &str) -> bool {
    let rest = &rest.replace("$hub", &hub.address().to_string());
    let Said::Text(text) = &asked.message else {
        unreachable!()
    };
    let is_tunnel = asked.path == "/v2/node";
    let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
    let reply = match (sign, is_tunnel) {
        ("<", true) => json!({
            "channel": "acheron", "type": "acheron.r_fs_hello", "tag": 1, "ok": true,
            "payload": {"protocol": "unified-v2-fs", "proto": 2, "node_id": text["payload"]["node_id"]},
        }),
        ("!", true) => json!({
            "channel": "acheron", "type": "acheron.err_fs", "tag": 1, "ok": false,
            "error": {"errno": first.parse::<i32>().unwrap(), "message": second},
        }),
        ("<", false) => json!({
            "channel": "control", "type": text["type"], "id": text["id"], "ok": true,
            "payload": serde_json::from_str::<Value>(rest).unwrap(),
        }),
        ("!", false) => json!({
            "channel": "control", "type": "control.error", "id": text["id"], "ok": false,
            "error": {"code": first, "message": second, "correlation_id": text["id"]},
        }),
        ("?", false) => json!({
            "channel": "control", "type": "control.error", "ok": false,
            "error": {"code": first, "message": second},
        }),
        _ => panic!("no answer: {sign} {rest}"),
    };
    hub.say(asked.connection, &reply.to_string());
    if is_tunnel && sign == "!" {
        hub.close(asked.connection, &[]);
    }
    is_tunnel && sign == "<"
}
