//! What a project's access policy says to those who hold no admin token (`hub.md`, section 8.3).
//!
//! `{"actions":{"mount":"deny"},"agents":{"user":{"read":"token"}}}`: what is said of the agent counts before what is
//! said of the action; without either a project is open, or asks for its token if it has one. A word nobody knows means
//! no.

use spiderweb_protocol::control::{Code, Refusal};
use spiderweb_protocol::strict::Value;

/// What somebody wants to do with a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Look at what it is.
    Read,
    /// Resolve it, to mount it.
    Mount,
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Mount => "mount",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The agent that stands for the connection.
    pub agent_id: &'a str,
    /// It holds the admin token, so no policy concerns it.
    pub is_admin: bool,
}

/// What a policy demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    Token,
    Admin,
    Deny,
}

impl Mode {
    fn of(word: &str) -> Self {
        match word {
            "open" | "allow" => Self::Open,
            "token" | "token-required" | "token_or_admin" => Self::Token,
            "admin" | "admin-only" => Self::Admin,
            _ => Self::Deny,
        }
    }
}

/// Whether the policy lets the asker do this. `is_locked`: the project has a token; `has_token`: the asker said it.
pub(super) fn check(
    policy: &str,
    asker: Asker<'_>,
    action: Action,
    is_locked: bool,
    has_token: bool,
) -> Result<(), Refusal> {
    if asker.is_admin {
        return Ok(());
    }
    match mode(policy, asker.agent_id, action, is_locked) {
        Mode::Open => Ok(()),
        Mode::Token if has_token => Ok(()),
        Mode::Token => Err(Code::ProjectAuthFailed.into()),
        Mode::Admin | Mode::Deny => Err(Code::ProjectPolicyForbidden.into()),
    }
}

fn mode(policy: &str, agent: &str, action: Action, is_locked: bool) -> Mode {
    let usual = if is_locked { Mode::Token } else { Mode::Open };
    let Ok(policy) = Value::parse(policy.as_bytes()) else {
        return Mode::Deny;
    };
    let said = |part: Option<&Value<'_>>| {
        let value = part?.member(action.word())?;
        Some(value.as_text().map_or(Mode::Deny, Mode::of))
    };
    let agents = policy.member("agents").and_then(|agents| agents.member(agent));
    said(agents)
        .or_else(|| said(policy.member("actions")))
        .unwrap_or(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_counts_before_the_action_and_the_unknown_is_no() {
        let user = Asker {
            agent_id: "user",
            is_admin: false,
        };
        let ok = Ok(());
        let forbidden = Err(Refusal::new(Code::ProjectPolicyForbidden));
        let auth = Err(Refusal::new(Code::ProjectAuthFailed));
        for (policy, locked, token, result) in [
            (r#"{"actions":{},"agents":{}}"#, false, false, &ok),
            (r#"{"actions":{},"agents":{}}"#, true, false, &auth),
            (r#"{"actions":{},"agents":{}}"#, true, true, &ok),
            (r#"{"actions":{"mount":"deny"}}"#, false, true, &forbidden),
            (
                r#"{"actions":{"mount":"deny"},"agents":{"user":{"mount":"allow"}}}"#,
                true,
                false,
                &ok,
            ),
            (
                r#"{"actions":{"mount":"open"},"agents":{"user":{"mount":"admin-only"}}}"#,
                false,
                true,
                &forbidden,
            ),
            (r#"{"actions":{"mount":"token"}}"#, true, false, &auth),
            (r#"{"actions":{"mount":"token"}}"#, true, true, &ok),
            (r#"{"actions":{"read":"deny"}}"#, false, false, &ok),
            (r#"{"actions":{"mount":"whatever"}}"#, false, true, &forbidden),
            (r#"{"actions":{"mount":5}}"#, false, true, &forbidden),
            ("{}", false, false, &ok),
        ] {
            assert_eq!(
                &check(policy, user, Action::Mount, locked, token),
                result,
                "{policy}"
            );
        }
        let admin = Asker {
            is_admin: true,
            ..user
        };
        assert!(
            check(
                r#"{"actions":{"mount":"deny"}}"#,
                admin,
                Action::Mount,
                true,
                false
            )
            .is_ok()
        );
    }
}
