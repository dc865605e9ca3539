//! The outer shape of every message, and what is wrong with one that has not got it (sections 3.1–3.3).

use std::borrow::Cow;

use crate::base64;
use crate::fs::Op;
use crate::ids::{HandleId, InodeId, Tag};
use crate::json::{Json, JsonError};

/// A message whose envelope was accepted. Its payload is not looked into yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope<'a> {
    /// What the message is.
    pub kind: MessageKind,
    /// The tag, if the message has one. A request without is handled as tag 0.
    pub tag: Option<Tag>,
    /// The file an id-based operation is about.
    pub node: Option<InodeId>,
    /// The handle a handle-based operation is about.
    pub handle: Option<HandleId>,
    /// The arguments; absent is not the same as `null`.
    pub payload: Option<Json<'a>>,
}

/// What a message is, as far as a file service cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// A request of this protocol.
    Request(Op),
    /// A type the original's parser knows, which is no file request.
    OtherAcheron,
    /// A message of the control protocol.
    Control,
}

/// Why a text is no message. The words are the wire's (section 3.3); each ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON, or not UTF-8.
    #[error("SyntaxError")]
    Syntax,
    /// The text ends inside a value, or is empty.
    #[error("UnexpectedEndOfInput")]
    UnexpectedEnd,
    /// Nested beyond [`MAX_JSON_DEPTH`](crate::limits::MAX_JSON_DEPTH).
    #[error("JSON nested deeper than 256 levels")]
    TooDeep,
    /// More values than [`MAX_JSON_VALUES`](crate::limits::MAX_JSON_VALUES).
    #[error("JSON of more than 65536 values")]
    TooManyValues,
    /// JSON, but no object.
    #[error("InvalidEnvelope")]
    NotAnObject,
    /// `type` or `channel` is missing.
    #[error("MissingField")]
    MissingField,
    /// A member has the wrong type or is out of range.
    #[error("InvalidType")]
    InvalidType,
    /// A type that is unknown or does not belong to the channel.
    #[error("UnsupportedType")]
    UnsupportedType,
    /// A member name occurs twice.
    #[error("DuplicateField")]
    DuplicateField,
    /// A top-level `data_b64` that is no base64.
    #[error("InvalidBase64")]
    InvalidBase64,
}

impl From<JsonError> for EnvelopeError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Syntax => Self::Syntax,
            JsonError::UnexpectedEnd => Self::UnexpectedEnd,
            JsonError::DuplicateMember => Self::DuplicateField,
            JsonError::TooDeep => Self::TooDeep,
            JsonError::TooManyValues => Self::TooManyValues,
        }
    }
}

impl<'a> Envelope<'a> {
    /// Reads one frame.
    pub fn parse(frame: &'a [u8]) -> Result<Self, EnvelopeError> {
        let text = simdutf8::basic::from_utf8(frame).map_err(|_| EnvelopeError::Syntax)?;
        let Json::Object(members) = Json::parse(text)? else {
            return Err(EnvelopeError::NotAnObject);
        };
        let member = |name: &str| {
            members
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value)
        };

        let kind = member("type").ok_or(EnvelopeError::MissingField)?;
        let kind = kind.as_text().ok_or(EnvelopeError::InvalidType)?;
        let channel = member("channel").ok_or(EnvelopeError::MissingField)?;
        let kind = match channel.as_text() {
            Some("acheron") => acheron_kind(
                kind.strip_prefix("acheron.")
                    .ok_or(EnvelopeError::UnsupportedType)?,
            )?,
            Some("control") => control_kind(
                kind.strip_prefix("control.")
                    .ok_or(EnvelopeError::UnsupportedType)?,
            )?,
            _ => return Err(EnvelopeError::InvalidType),
        };

        if let (None, Some(data)) = (member("data_b64"), member("data")) {
            data.as_text().ok_or(EnvelopeError::InvalidType)?;
        }
        let mut envelope = Self {
            kind,
            tag: None,
            node: None,
            handle: None,
            payload: None,
        };
        for (name, value) in members {
            envelope.take(&name, value)?;
        }
        Ok(envelope)
    }

    /// Notes one member. Members of other protocols on the same parser are checked and forgotten.
    fn take(&mut self, name: &str, value: Json<'a>) -> Result<(), EnvelopeError> {
        let unsigned = |value: &Json<'_>| value.as_strict_unsigned().ok_or(EnvelopeError::InvalidType);
        let unsigned32 =
            |value: &Json<'_>| u32::try_from(unsigned(value)?).map_err(|_| EnvelopeError::InvalidType);
        match name {
            "tag" => self.tag = Some(Tag(unsigned32(&value)?)),
            "node" => self.node = InodeId::new(unsigned(&value)?),
            "h" => self.handle = HandleId::new(unsigned(&value)?),
            "payload" => self.payload = Some(value),
            "id" | "correlation_id" | "session_key" | "mode" | "version" => {
                value.as_text().ok_or(EnvelopeError::InvalidType)?;
            }
            "fid" | "newfid" | "count" | "msize" => {
                unsigned32(&value)?;
            }
            "offset" => {
                unsigned(&value)?;
            }
            "path" => match &value {
                Json::Array(parts) if parts.iter().all(|part| part.as_text().is_some()) => {}
                _ => return Err(EnvelopeError::InvalidType),
            },
            "data_b64" => {
                let text = value.as_text().ok_or(EnvelopeError::InvalidType)?;
                base64::decode(text.as_bytes()).map_err(|_| EnvelopeError::InvalidBase64)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The members of the payload; a missing payload counts as empty, anything but an object as wrong.
    pub fn arguments(&self) -> Option<&[(Cow<'a, str>, Json<'a>)]> {
        match &self.payload {
            None => Some(&[]),
            Some(payload) => payload.as_object(),
        }
    }
}

fn acheron_kind(name: &str) -> Result<MessageKind, EnvelopeError> {
    if let Some(op) = name.strip_prefix("t_fs_").and_then(Op::from_wire) {
        return Ok(MessageKind::Request(op));
    }
    let known = match name.split_once("_fs") {
        Some(("r", op)) => op.strip_prefix('_').and_then(Op::from_wire).is_some(),
        Some(("e", event)) => matches!(event, "_inval" | "_inval_dir"),
        Some(("err", "")) => true,
        _ => {
            name == "error"
                || name
                    .strip_prefix("t_")
                    .or_else(|| name.strip_prefix("r_"))
                    .is_some_and(|op| RUNTIME.contains(&op))
        }
    };
    if known {
        Ok(MessageKind::OtherAcheron)
    } else {
        Err(EnvelopeError::UnsupportedType)
    }
}

fn control_kind(name: &str) -> Result<MessageKind, EnvelopeError> {
    if CONTROL.contains(&name) {
        Ok(MessageKind::Control)
    } else {
        Err(EnvelopeError::UnsupportedType)
    }
}

/// The agent runtime's messages, which share the channel.
const RUNTIME: &[&str] = &[
    "version", "auth", "attach", "walk", "open", "create", "read", "write", "clunk", "remove", "stat",
    "wstat", "flush",
];

/// The operations of the control protocol, both generations. A file service refuses them all; a name it
/// knows does not cost the peer its connection.
const CONTROL: &[&str] = &[
    "agent_ensure",
    "agent_get",
    "agent_list",
    "audit_tail",
    "auth_rotate",
    "auth_status",
    "connect",
    "connect_ack",
    "debug_subscribe",
    "debug_unsubscribe",
    "error",
    "metrics",
    "node_delete",
    "node_ensure",
    "node_get",
    "node_invite_create",
    "node_join",
    "node_join_approve",
    "node_join_deny",
    "node_join_pending_list",
    "node_join_request",
    "node_lease_refresh",
    "node_list",
    "node_service_event",
    "node_service_get",
    "node_service_unwatch",
    "node_service_upsert",
    "node_service_watch",
    "ping",
    "pong",
    "project_activate",
    "project_create",
    "project_delete",
    "project_get",
    "project_list",
    "project_mount_list",
    "project_mount_remove",
    "project_mount_set",
    "project_token_revoke",
    "project_token_rotate",
    "project_up",
    "project_update",
    "reconcile_status",
    "session_attach",
    "session_close",
    "session_history",
    "session_list",
    "session_restore",
    "session_resume",
    "session_status",
    "venom_bind",
    "venom_get",
    "venom_upsert",
    "version",
    "version_ack",
    "workspace_activate",
    "workspace_bind_list",
    "workspace_bind_remove",
    "workspace_bind_set",
    "workspace_create",
    "workspace_delete",
    "workspace_get",
    "workspace_list",
    "workspace_mount_list",
    "workspace_mount_remove",
    "workspace_mount_set",
    "workspace_status",
    "workspace_template_get",
    "workspace_template_list",
    "workspace_token_revoke",
    "workspace_token_rotate",
    "workspace_up",
    "workspace_update",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Envelope<'_>, EnvelopeError> {
        Envelope::parse(text.as_bytes())
    }

    #[test]
    fn faults_are_named_as_the_original_names_them() {
        use EnvelopeError as E;
        for (text, fault) in [
            ("[]", E::NotAnObject),
            ("null", E::NotAnObject),
            ("{}", E::MissingField),
            (r#"{"channel":"acheron"}"#, E::MissingField),
            (r#"{"type":"acheron.t_fs_hello"}"#, E::MissingField),
            (r#"{"channel":"acheron","type":5}"#, E::InvalidType),
            (r#"{"channel":5,"type":"acheron.t_fs_hello"}"#, E::InvalidType),
            (
                r#"{"channel":"other","type":"acheron.t_fs_hello"}"#,
                E::InvalidType,
            ),
            (
                r#"{"channel":"acheron","type":"control.connect"}"#,
                E::UnsupportedType,
            ),
            (
                r#"{"channel":"control","type":"acheron.t_fs_hello"}"#,
                E::UnsupportedType,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_nope","tag":3}"#,
                E::UnsupportedType,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.fs_t_lookup"}"#,
                E::UnsupportedType,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.e_fs_other"}"#,
                E::UnsupportedType,
            ),
            (
                r#"{"channel":"control","type":"control.zzz"}"#,
                E::UnsupportedType,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_exports","tag":1.0}"#,
                E::InvalidType,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_exports","tag":4294967296}"#,
                E::InvalidType,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_exports","node":9223372036854775808}"#,
                E::InvalidType,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_exports","tag":1e400}"#,
                E::InvalidType,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_exports","h":null}"#,
                E::InvalidType,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_exports","path":["a",1]}"#,
                E::InvalidType,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_exports","data_b64":"%%%"}"#,
                E::InvalidBase64,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_exports","id":7}"#,
                E::InvalidType,
            ),
            (r#"{"channel":"acheron","channel":"acheron"}"#, E::DuplicateField),
        ] {
            assert_eq!(parse(text), Err(fault), "{text}");
        }
        assert_eq!(Envelope::parse(b"{\"a\":\"\xff\"}"), Err(E::Syntax));
    }

    #[test]
    fn accepted_messages_are_sorted() {
        for (text, kind) in [
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_lookup","tag":7}"#,
                MessageKind::Request(Op::Lookup),
            ),
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_lookup","x":-1e400,"payload":{"x":1e400}}"#,
                MessageKind::Request(Op::Lookup),
            ),
            (
                r#" {"type":"acheron.t_walk","channel":"acheron"} "#,
                MessageKind::OtherAcheron,
            ),
            (
                r#"{"type":"acheron.r_fs_hello","channel":"acheron"}"#,
                MessageKind::OtherAcheron,
            ),
            (
                r#"{"type":"acheron.err_fs","channel":"acheron"}"#,
                MessageKind::OtherAcheron,
            ),
            (
                r#"{"type":"acheron.e_fs_inval_dir","channel":"acheron"}"#,
                MessageKind::OtherAcheron,
            ),
            (
                r#"{"type":"control.ping","channel":"control","id":"a"}"#,
                MessageKind::Control,
            ),
        ] {
            assert_eq!(parse(text).unwrap().kind, kind, "{text}");
        }
    }

    #[test]
    fn members_are_kept() {
        let text =
            r#"{"h":3,"channel":"acheron","node":9,"payload":{"off":0},"type":"acheron.t_fs_read","tag":8}"#;
        let envelope = parse(text).unwrap();
        assert_eq!(envelope.tag, Some(Tag(8)));
        assert_eq!(
            (envelope.node.unwrap().get(), envelope.handle.unwrap().get()),
            (9, 3)
        );
        assert_eq!(envelope.arguments().unwrap().len(), 1);
        let none = parse(r#"{"channel":"acheron","type":"acheron.t_fs_read"}"#).unwrap();
        assert_eq!((none.tag, none.arguments()), (None, Some(&[][..])));
        let wrong = parse(r#"{"channel":"acheron","type":"acheron.t_fs_read","payload":null}"#).unwrap();
        assert_eq!(wrong.arguments(), None);
    }
}
