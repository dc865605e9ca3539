//! What the operations do: who may, with which second factor, and which answer is given.

mod admin;
mod nodes;
mod projects;

use std::sync::Arc;

use spiderweb_protocol::control::{Code, Fields, Operation, Refusal, Scope};
use spiderweb_protocol::{Dialect, Secret};

use crate::session::Peer;
use crate::shared::Shared;
use crate::tokens::{Principal, Tokens};

/// A payload as the rules of scopes see it.
pub(crate) type Payload<'p> = Option<&'p spiderweb_protocol::strict::Value<'p>>;

/// One operation of one peer.
pub(crate) struct Call<'c> {
    pub(crate) shared: &'c Arc<Shared>,
    pub(crate) peer: &'c Peer,
    pub(crate) who: Principal,
    pub(crate) operation: Operation,
    /// The generation whose words the peer knows: those of the hub, or else those it said last.
    pub(crate) words: Option<Dialect>,
    /// The peer may approve.
    pub(crate) is_operator: bool,
}

impl Call<'_> {
    /// The generation whose words the answer uses.
    pub(crate) fn dialect(&self) -> Dialect {
        self.words.unwrap_or_default()
    }
}

/// What the second factor said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checked {
    /// The peer may approve requests to join.
    pub(crate) is_operator: bool,
}

/// Whether it carries an invite or a node's secret, which say enough.
pub(crate) fn carries_secret(operation: Operation) -> bool {
    use Operation as O;
    matches!(operation, O::NodeJoin | O::NodeLeaseRefresh | O::CatalogUpsert)
}

/// What a principal may do.
fn allows(who: Principal, operation: Operation) -> bool {
    use Operation as O;
    let everybody = matches!(operation, O::Version | O::Connect | O::Ping);
    let secrets = carries_secret(operation);
    let requests = matches!(operation, O::NodeJoinRequest | O::NodeJoinApprove);
    let reading = matches!(
        operation,
        O::ProjectList
            | O::ProjectGet
            | O::MountList
            | O::WorkspaceStatus
            | O::DebugSubscribe
            | O::DebugUnsubscribe
    );
    match who {
        Principal::Admin => true,
        Principal::Node => everybody || secrets || requests,
        Principal::User => everybody || reading,
        Principal::Anonymous => everybody || secrets,
    }
}

/// Checks rights, correlation and second factors, in the original's order.
pub(crate) fn check(
    shared: &Shared,
    who: Principal,
    operation: Operation,
    correlation: Option<&str>,
    payload: Payload<'_>,
) -> Result<Checked, Refusal> {
    if !allows(who, operation) {
        return Err(match who {
            Principal::Anonymous => Code::AuthFailed.into(),
            _ => Code::Forbidden.into(),
        });
    }
    let Some(scope) = operation.scope() else {
        return Ok(Checked { is_operator: false });
    };
    if correlation.is_none() {
        return Err(Code::CorrelationRequired.into());
    }
    // An operation of ours that needs no arguments may come without.
    if payload.is_none() && operation != Operation::NodeInviteList {
        return Err(Code::MissingField.into());
    }
    let fields = Fields::of(payload)?;
    second_factor(&shared.tokens(), who, operation, scope, fields)
}

fn second_factor(
    tokens: &Tokens,
    who: Principal,
    operation: Operation,
    scope: Scope,
    fields: Fields<'_>,
) -> Result<Checked, Refusal> {
    let allowed = Checked { is_operator: true };
    if let Some(operator) = &tokens.operator
        && let Some(given) = fields.text("operator_token")
    {
        return if operator.matches(given) {
            Ok(allowed)
        } else {
            Err(Code::OperatorAuthFailed.into())
        };
    }
    if operation == Operation::NodeJoinApprove {
        // Without the right to approve it is the node that asks what became of its request.
        let is_operator = tokens.operator.is_none() && who == Principal::Admin;
        return Ok(Checked { is_operator });
    }
    let own: Option<(&Secret, &str)> = match scope {
        Scope::Node => tokens
            .node_scope
            .as_ref()
            .map(|token| (token, "node_scope_token")),
        Scope::Project => tokens
            .project_scope
            .as_ref()
            .map(|token| (token, "project_scope_token")),
        Scope::Operator => None,
    };
    match (own, &tokens.operator) {
        (Some((token, member)), _) => match fields.text(member) {
            Some(given) if token.matches(given) => Ok(allowed),
            Some(_) => Err(Code::OperatorAuthFailed.into()),
            None => Err(Code::MissingField.into()),
        },
        (None, Some(_)) => Err(Code::MissingField.into()),
        (None, None) => Ok(allowed),
    }
}

/// Does it; the answer's payload.
pub(crate) async fn run(call: &Call<'_>, fields: Fields<'_>) -> Result<String, Refusal> {
    use Operation as O;
    match call.operation {
        O::NodeInviteCreate
        | O::NodeInviteList
        | O::NodeInviteRevoke
        | O::NodeJoin
        | O::NodeJoinRequest
        | O::NodeJoinPendingList
        | O::NodeJoinApprove
        | O::NodeJoinDeny
        | O::NodeLeaseRefresh
        | O::NodeList
        | O::NodeGet
        | O::NodeDelete
        | O::NodeEnsure
        | O::CatalogUpsert
        | O::CatalogGet => nodes::run(call, fields).await,
        O::ProjectCreate
        | O::ProjectUpdate
        | O::ProjectDelete
        | O::ProjectList
        | O::ProjectGet
        | O::MountSet
        | O::MountRemove
        | O::MountList
        | O::TokenRotate
        | O::TokenRevoke
        | O::ProjectActivate
        | O::ProjectUp
        | O::WorkspaceStatus => projects::run(call, fields).await,
        O::ReconcileStatus | O::AuthStatus | O::AuthRotate | O::AuditTail | O::Metrics => {
            admin::run(call, fields).await
        }
        // The session has answered these.
        O::Version
        | O::Connect
        | O::Ping
        | O::CatalogWatch
        | O::CatalogUnwatch
        | O::DebugSubscribe
        | O::DebugUnsubscribe => Err(Code::Unsupported.into()),
    }
}

#[cfg(test)]
mod tests;
