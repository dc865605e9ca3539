use spiderweb_protocol::strict::Value;

use super::*;
use crate::config::TokenConfig;
use crate::random::Random;

fn tokens(operator: Option<&str>, node_scope: Option<&str>) -> Tokens {
    let config = TokenConfig {
        operator: operator.map(Secret::new),
        node_scope: node_scope.map(Secret::new),
        ..TokenConfig::default()
    };
    Tokens::open(config, &mut Random::counting()).unwrap()
}

fn factor(tokens: &Tokens, who: Principal, operation: Operation, payload: &str) -> Result<bool, String> {
    let value = Value::parse(payload.as_bytes()).unwrap();
    let fields = Fields::of(Some(&value)).unwrap();
    second_factor(tokens, who, operation, operation.scope().unwrap(), fields)
        .map(|checked| checked.is_operator)
        .map_err(|refusal| refusal.code.to_string())
}

#[test]
fn second_factors_are_asked_for_as_the_original_does() {
    use Operation as O;
    let admin = Principal::Admin;
    let right = r#"{"operator_token":"op"}"#;
    let wrong = r#"{"operator_token":"no"}"#;
    let refused = |code: &str| Err(code.to_owned());
    for (operator, scope, operation, payload, result) in [
        (None, None, O::NodeDelete, "{}", Ok(true)),
        (Some("op"), None, O::NodeDelete, "{}", refused("missing_field")),
        (
            Some("op"),
            None,
            O::NodeDelete,
            wrong,
            refused("operator_auth_failed"),
        ),
        (Some("op"), None, O::NodeDelete, right, Ok(true)),
        (None, Some("ns"), O::NodeDelete, "{}", refused("missing_field")),
        (
            None,
            Some("ns"),
            O::NodeDelete,
            r#"{"node_scope_token":"no"}"#,
            refused("operator_auth_failed"),
        ),
        (
            None,
            Some("ns"),
            O::NodeDelete,
            r#"{"node_scope_token":"ns"}"#,
            Ok(true),
        ),
        (Some("op"), Some("ns"), O::NodeDelete, right, Ok(true)),
        (None, Some("ns"), O::ProjectCreate, "{}", Ok(true)),
        (None, None, O::NodeJoinApprove, "{}", Ok(true)),
        (Some("op"), None, O::NodeJoinApprove, "{}", Ok(false)),
        (
            Some("op"),
            None,
            O::NodeJoinApprove,
            wrong,
            refused("operator_auth_failed"),
        ),
        (Some("op"), None, O::NodeJoinDeny, "{}", refused("missing_field")),
    ] {
        let tokens = tokens(operator, scope);
        assert_eq!(
            factor(&tokens, admin, operation, payload),
            result,
            "{operation:?} {payload}"
        );
    }
    assert_eq!(
        factor(&tokens(None, None), Principal::Node, O::NodeJoinApprove, "{}"),
        Ok(false)
    );
    assert_eq!(
        factor(
            &tokens(Some("op"), None),
            Principal::Node,
            O::NodeJoinApprove,
            right
        ),
        Ok(true)
    );
}

#[test]
fn a_node_token_is_good_for_nodes_and_nothing_else() {
    use Operation as O;
    for (operation, node, user, anonymous) in [
        (O::Ping, true, true, true),
        (O::NodeJoin, true, false, true),
        (O::NodeJoinRequest, true, false, false),
        (O::NodeLeaseRefresh, true, false, true),
        (O::NodeList, false, false, false),
        (O::NodeInviteCreate, false, false, false),
        (O::NodeInviteList, false, false, false),
        (O::NodeInviteRevoke, false, false, false),
        (O::WorkspaceStatus, false, true, false),
        (O::ProjectCreate, false, false, false),
        (O::AuthRotate, false, false, false),
        (O::CatalogWatch, false, false, false),
    ] {
        let rights =
            [Principal::Node, Principal::User, Principal::Anonymous].map(|who| allows(who, operation));
        assert_eq!(rights, [node, user, anonymous], "{operation:?}");
        assert!(allows(Principal::Admin, operation));
    }
}
