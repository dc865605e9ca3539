//! Why an operation was refused: a code for programs, a message for people.

use std::fmt;

use super::fields::FieldFault;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $wire:literal, $message:literal;)*) => {
        /// The code of a refusal.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)*
            /// One this version does not know.
            Other(Box<str>),
        }

        impl Code {
            /// The word on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $wire,)*
                    Self::Other(word) => word,
                }
            }

            /// The code of a word.
            pub fn from_wire(word: &str) -> Self {
                match word {
                    $($wire => Self::$name,)*
                    other => Self::Other(other.into()),
                }
            }

            /// What the original says beside it.
            fn message(&self) -> &str {
                match self {
                    $(Self::$name => $message,)*
                    Self::Other(word) => word,
                }
            }
        }
    };
}

codes! {
    /// The bearer token is missing or unknown.
    AuthFailed = "auth_failed", "bearer token missing or unknown";
    /// Version was not negotiated, or is another one.
    ProtocolMismatch = "protocol_mismatch", "ProtocolMismatch";
    /// The frame is no message of this protocol (older generation).
    InvalidEnvelope = "invalid_envelope", "InvalidEnvelope";
    /// The same in the newer generation.
    UnsupportedLegacyApi = "unsupported_legacy_api", "UnsupportedType";
    /// An operation this hub does not have.
    Unsupported = "unsupported", "unsupported control operation";
    /// A member has the wrong type or value.
    InvalidPayload = "invalid_payload", "InvalidPayload";
    /// A member is missing.
    MissingField = "missing_field", "MissingField";
    /// A changing operation needs an id to be found again in the audit.
    CorrelationRequired = "correlation_required", "missing correlation_id on mutating control operation";
    /// The bearer token has no right to this.
    Forbidden = "forbidden", "operation requires admin token";
    /// The operator token is wrong.
    OperatorAuthFailed = "operator_auth_failed", "OperatorAuthFailed";
    /// No such invite.
    InviteNotFound = "invite_not_found", "InviteNotFound";
    /// The invite is too old.
    InviteExpired = "invite_expired", "InviteExpired";
    /// The invite was used.
    InviteRedeemed = "invite_redeemed", "InviteRedeemed";
    /// No such node. A node that reads this pairs again.
    NodeNotFound = "node_not_found", "NodeNotFound";
    /// The node's secret is wrong. A node that reads this pairs again.
    NodeAuthFailed = "node_auth_failed", "NodeAuthFailed";
    /// No such request to join. A node that reads this files a new one.
    PendingJoinNotFound = "pending_join_not_found", "PendingJoinNotFound";
    /// The request to join waits for an operator.
    ApprovalPending = "approval_pending", "waiting for an operator";
    /// The request to join was denied.
    JoinDenied = "join_denied", "denied by operator";
    /// Too many of something at a time.
    TooMany = "too_many", "too many requests are waiting";
    /// No such project.
    ProjectNotFound = "project_not_found", "ProjectNotFound";
    /// The project's token is missing or wrong.
    ProjectAuthFailed = "project_auth_failed", "ProjectAuthFailed";
    /// A built-in project.
    ProjectProtected = "project_protected", "ProjectProtected";
    /// The agent may not be given this project.
    ProjectAssignmentForbidden = "project_assignment_forbidden", "ProjectAssignmentForbidden";
    /// The access policy says no.
    ProjectPolicyForbidden = "project_policy_forbidden", "ProjectPolicyForbidden";
    /// Another mount is above or below this path.
    MountConflict = "mount_conflict", "MountConflict";
    /// Nothing is mounted there.
    MountNotFound = "mount_not_found", "MountNotFound";
    /// No such template of workspaces (newer generation).
    TemplateNotFound = "template_not_found", "TemplateNotFound";
    /// A user token that nothing was given to yet.
    ProvisioningRequired = "provisioning_required", "no project is available for this token; ask an admin to provision one";
    /// The path is for file requests.
    InvalidEndpoint = "invalid_endpoint", "wrong websocket endpoint: use / for control protocol";
    /// What the older generation says to a wrong bearer token.
    ProviderAuthFailed = "provider_auth_failed", "forbidden";
    /// Anything else.
    ControlPlaneError = "control_plane_error", "Unexpected";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Characters of what a peer says that anybody reads.
const MOST_WORDS: usize = 500;

/// A refused operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: Box<str>,
}

impl Refusal {
    /// A refusal in the original's words for this code.
    pub fn new(code: Code) -> Self {
        let message = code.message().into();
        Self { code, message }
    }

    /// A refusal in words of its own.
    pub fn saying(code: Code, message: impl Into<Box<str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// What a peer says for people, fit for one line of a log: without control characters, 500 characters at most.
pub fn one_line(words: &str) -> String {
    let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
    words.chars().take(MOST_WORDS).map(printable).collect()
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl From<FieldFault> for Refusal {
    fn from(fault: FieldFault) -> Self {
        Self::new(match fault {
            FieldFault::Missing => Code::MissingField,
            FieldFault::Invalid => Code::InvalidPayload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_the_wire() {
        for word in [
            "node_not_found",
            "invite_redeemed",
            "approval_pending",
            "something_new",
        ] {
            assert_eq!(Code::from_wire(word).as_str(), word);
        }
        assert_eq!(Code::from_wire("node_not_found"), Code::NodeNotFound);
        assert_eq!(
            Refusal::from(FieldFault::Missing).to_string(),
            "missing_field: MissingField"
        );
    }
}
