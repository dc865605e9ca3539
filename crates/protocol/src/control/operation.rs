//! The operations of the control protocol by their names in both generations.

use crate::dialect::Dialect;

/// What a mutating operation changes; each may have a token of its own (`hub.md`, section 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Which nodes there are.
    Node,
    /// Who may join.
    Operator,
    /// Projects and their mounts.
    Project,
}

impl Scope {
    /// The word in audit records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Operator => "operator",
            Self::Project => "project",
        }
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $seed:literal $(| $head:literal)? $(, $scope:ident)?;)*) => {
        /// An operation, whatever a generation calls it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation {
            $($(#[$doc])* $name,)*
        }

        impl Operation {
            /// The operation of a type without its `control.`, and the generation that calls it so if only one does.
            pub fn from_wire(name: &str) -> Option<(Self, Option<Dialect>)> {
                match name {
                    $(
                        $seed => Some((Self::$name, operations!(@only Seed $($head)?))),
                        $($head => Some((Self::$name, Some(Dialect::Head))),)?
                    )*
                    _ => None,
                }
            }

            /// The type, without its `control.`.
            pub const fn wire(self, dialect: Dialect) -> &'static str {
                match (self, dialect) {
                    $(
                        $((Self::$name, Dialect::Head) => $head,)?
                        (Self::$name, _) => $seed,
                    )*
                }
            }

            /// What it changes, if it is one of those that need a second factor.
            pub const fn scope(self) -> Option<Scope> {
                match self {
                    $($(Self::$name => Some(Scope::$scope),)?)*
                    _ => None,
                }
            }
        }
    };
    (@only Seed $head:literal) => { Some(Dialect::Seed) };
    (@only Seed) => { None };
}

operations! {
    /// Negotiates the protocol; must come first.
    Version = "version";
    /// Says hello.
    Connect = "connect";
    /// Is the hub there?
    Ping = "ping";
    /// Makes an invite.
    NodeInviteCreate = "node_invite_create", Node;
    /// Lists invites, without their tokens (ours).
    NodeInviteList = "node_invite_list", Node;
    /// Makes an invite worthless (ours).
    NodeInviteRevoke = "node_invite_revoke", Node;
    /// Pairs a node that has an invite.
    NodeJoin = "node_join";
    /// Asks to be paired.
    NodeJoinRequest = "node_join_request";
    /// Lists who asked.
    NodeJoinPendingList = "node_join_pending_list", Operator;
    /// Approves a request; or its node asks for the outcome.
    NodeJoinApprove = "node_join_approve", Operator;
    /// Denies a request.
    NodeJoinDeny = "node_join_deny", Operator;
    /// Renews a lease.
    NodeLeaseRefresh = "node_lease_refresh";
    /// Lists the nodes.
    NodeList = "node_list";
    /// Shows one node.
    NodeGet = "node_get";
    /// Forgets a node.
    NodeDelete = "node_delete", Node;
    /// Pairs a node by name, again and again (newer generation).
    NodeEnsure = "node_ensure", Node;
    /// Publishes a node's catalog.
    CatalogUpsert = "node_service_upsert" | "venom_upsert";
    /// Reads a node's catalog.
    CatalogGet = "node_service_get" | "venom_get";
    /// Subscribes to catalog changes.
    CatalogWatch = "node_service_watch";
    /// Ends that.
    CatalogUnwatch = "node_service_unwatch";
    /// Makes a project.
    ProjectCreate = "project_create" | "workspace_create", Project;
    /// Changes a project.
    ProjectUpdate = "project_update" | "workspace_update", Project;
    /// Removes a project.
    ProjectDelete = "project_delete" | "workspace_delete", Project;
    /// Lists projects.
    ProjectList = "project_list" | "workspace_list";
    /// Shows a project.
    ProjectGet = "project_get" | "workspace_get";
    /// Adds a mount.
    MountSet = "project_mount_set" | "workspace_mount_set", Project;
    /// Removes a mount.
    MountRemove = "project_mount_remove" | "workspace_mount_remove", Project;
    /// Lists a project's mounts.
    MountList = "project_mount_list" | "workspace_mount_list";
    /// Gives a project a token.
    TokenRotate = "project_token_rotate" | "workspace_token_rotate", Project;
    /// Takes it away.
    TokenRevoke = "project_token_revoke" | "workspace_token_revoke", Project;
    /// Makes a project the default.
    ProjectActivate = "project_activate" | "workspace_activate", Project;
    /// Makes a project with all its mounts in one go.
    ProjectUp = "project_up" | "workspace_up", Project;
    /// Resolves a project to what can be mounted now.
    WorkspaceStatus = "workspace_status";
    /// Says how wish and reality differ.
    ReconcileStatus = "reconcile_status";
    /// Subscribes to topology changes.
    DebugSubscribe = "debug_subscribe";
    /// Ends that.
    DebugUnsubscribe = "debug_unsubscribe";
    /// Shows the tokens, masked.
    AuthStatus = "auth_status";
    /// Replaces a token.
    AuthRotate = "auth_rotate";
    /// The last mutations.
    AuditTail = "audit_tail";
    /// Counters.
    Metrics = "metrics";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_operations_and_back() {
        for (name, operation, dialect) in [
            ("ping", Operation::Ping, None),
            (
                "node_service_upsert",
                Operation::CatalogUpsert,
                Some(Dialect::Seed),
            ),
            ("venom_upsert", Operation::CatalogUpsert, Some(Dialect::Head)),
            ("workspace_create", Operation::ProjectCreate, Some(Dialect::Head)),
            ("workspace_status", Operation::WorkspaceStatus, None),
        ] {
            assert_eq!(Operation::from_wire(name), Some((operation, dialect)));
            assert_eq!(operation.wire(dialect.unwrap_or_default()), name);
        }
        assert_eq!(Operation::from_wire("bogus"), None);
        assert_eq!(Operation::NodeDelete.scope(), Some(Scope::Node));
        assert_eq!(Operation::NodeJoin.scope(), None);
    }
}
