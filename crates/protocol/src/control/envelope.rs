//! The outer shape of control messages: requests, replies, refusals and pushed events.

use super::refusal::{Code, Refusal, one_line};
use crate::canonical::{ObjectWriter, quoted};
use crate::envelope::EnvelopeError;
use crate::limits::MAX_JSON_VALUES;
use crate::strict::{JsonFaultKind, Scanner, Value};

/// A frame of the control channel. Its payload is not looked into yet.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlEnvelope<'a> {
    /// The type without its `control.`.
    pub name: String,
    /// The request's id; a reply carries that of its request.
    pub id: Option<String>,
    /// What the audit calls this operation.
    pub correlation_id: Option<String>,
    /// Arguments or result.
    pub payload: Option<Value<'a>>,
    /// In a refusal: why.
    pub error: Option<Value<'a>>,
}

/// A frame that is no control message, with what could be read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFault {
    /// What is wrong, in the wire's words.
    pub error: EnvelopeError,
    /// The id to answer under.
    pub id: Option<String>,
    /// It is a well-formed frame of the file protocol, with this tag.
    pub file_frame: Option<Option<u32>>,
}

impl ControlFault {
    fn new(error: EnvelopeError) -> Self {
        Self {
            error,
            id: None,
            file_frame: None,
        }
    }
}

impl<'a> ControlEnvelope<'a> {
    /// Reads one frame. Any type on the control channel is accepted: whether it is known is the next question.
    pub fn parse(frame: &'a [u8]) -> Result<Self, ControlFault> {
        let root = read(frame).map_err(ControlFault::new)?;
        if root.as_object().is_none() {
            return Err(ControlFault::new(EnvelopeError::NotAnObject));
        }
        let text = |name: &str| root.member(name).and_then(Value::as_text).map(str::to_owned);
        let id = text("id");
        let fault = |error| ControlFault {
            id: id.clone(),
            ..ControlFault::new(error)
        };
        let named = |name: &str| {
            let value = root
                .member(name)
                .ok_or_else(|| fault(EnvelopeError::MissingField))?;
            value.as_text().ok_or_else(|| fault(EnvelopeError::InvalidType))
        };
        let kind = named("type")?;
        let channel = named("channel")?;
        let name = match channel {
            "control" => kind.strip_prefix("control."),
            "acheron" if kind.starts_with("acheron.") => {
                let tag = root.member("tag").and_then(Value::as_unsigned);
                return Err(ControlFault {
                    file_frame: Some(tag.and_then(|tag| u32::try_from(tag).ok())),
                    ..fault(EnvelopeError::UnsupportedType)
                });
            }
            "acheron" => None,
            _ => return Err(fault(EnvelopeError::InvalidType)),
        };
        let name = name
            .ok_or_else(|| fault(EnvelopeError::UnsupportedType))?
            .to_owned();
        for name in ["id", "correlation_id", "session_key"] {
            if root.member(name).is_some_and(|value| value.as_text().is_none()) {
                return Err(fault(EnvelopeError::InvalidType));
            }
        }
        Ok(Self {
            name,
            correlation_id: text("correlation_id"),
            payload: root.member("payload").cloned(),
            error: root.member("error").cloned(),
            id,
        })
    }
}

/// Reads JSON of a bounded number of values.
fn read(frame: &[u8]) -> Result<Value<'_>, EnvelopeError> {
    let as_envelope = |kind| match kind {
        JsonFaultKind::Syntax | JsonFaultKind::NotAnObject => EnvelopeError::Syntax,
        JsonFaultKind::UnexpectedEnd => EnvelopeError::UnexpectedEnd,
        JsonFaultKind::DuplicateMember => EnvelopeError::DuplicateField,
        JsonFaultKind::TooDeep => EnvelopeError::TooDeep,
    };
    // The tree takes many times the memory of its text, so its size is known before it is made.
    let mut scanner = Scanner::new(frame).map_err(|fault| as_envelope(fault.kind))?;
    let mut events: u32 = 0;
    while scanner.next().map_err(|fault| as_envelope(fault.kind))?.is_some() {
        events += 1;
        // A value makes at most two events, a member's name one more.
        if events > MAX_JSON_VALUES.saturating_mul(3) {
            return Err(EnvelopeError::TooManyValues);
        }
    }
    Value::parse(frame).map_err(|fault| as_envelope(fault.kind))
}

/// What a node or tool gets from its hub.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer<'a> {
    /// A reply, or a pushed event if it has no id.
    Reply(ControlEnvelope<'a>),
    /// A refusal. Without an id it answers whatever is outstanding.
    Refused {
        /// The id of the request.
        id: Option<String>,
        /// Why.
        refusal: Refusal,
    },
    /// The server does not talk to this peer at all: what the original says to a wrong bearer token.
    Denied(Refusal),
    /// No control frame, such as a debug event, or one that nobody asked for.
    Other,
}

impl<'a> Answer<'a> {
    /// Reads a frame of the server. Only what is no JSON is a fault; what is no control frame is to be skipped
    /// (section 3.2).
    pub fn of(frame: &'a [u8]) -> Result<Self, EnvelopeError> {
        use EnvelopeError as E;
        match ControlEnvelope::parse(frame) {
            Ok(envelope) if envelope.name == "error" => {
                let member = |name: &str| envelope.error.as_ref()?.member(name)?.as_text();
                let said = |name: &str| one_line(member(name).unwrap_or_default());
                return Ok(Self::Refused {
                    id: envelope.id,
                    refusal: Refusal::saying(Code::from_wire(&said("code")), said("message")),
                });
            }
            Ok(envelope) => return Ok(Self::Reply(envelope)),
            Err(fault) => match fault.error {
                E::NotAnObject => return Ok(Self::Other),
                E::MissingField | E::InvalidType | E::UnsupportedType => {}
                E::Syntax
                | E::UnexpectedEnd
                | E::DuplicateField
                | E::InvalidBase64
                | E::TooDeep
                | E::TooManyValues => {
                    return Err(fault.error);
                }
            },
        }
        let root = read(frame)?;
        let member = |name: &str| root.member(name).and_then(Value::as_text);
        let code = Code::from_wire(member("code").unwrap_or_default());
        let is_denial = member("type") == Some("error") && root.member("channel").is_none();
        if is_denial && matches!(code, Code::ProviderAuthFailed | Code::AuthFailed) {
            let message = one_line(member("message").unwrap_or_default());
            return Ok(Self::Denied(Refusal::saying(code, message)));
        }
        Ok(Self::Other)
    }
}

fn begin(kind: &str, id: Option<&str>) -> ObjectWriter {
    let frame = ObjectWriter::new()
        .text("channel", "control")
        .text("type", &format!("control.{kind}"));
    match id {
        Some(id) => frame.text("id", id),
        None => frame,
    }
}

/// A request: the operation's name in the generation of the server, an id, the text of the payload.
pub fn request(name: &str, id: &str, payload: &str) -> String {
    begin(name, Some(id)).json("payload", payload).finish()
}

/// A reply of this type.
pub fn reply(kind: &str, id: &str, payload: &str) -> String {
    begin(kind, Some(id))
        .json("ok", true)
        .json("payload", payload)
        .finish()
}

/// A reply to a request that had no id.
pub fn reply_without_id(kind: &str, payload: &str) -> String {
    event(kind, payload)
}

/// A pushed message of this type.
pub fn event(kind: &str, payload: &str) -> String {
    begin(kind, None)
        .json("ok", true)
        .json("payload", payload)
        .finish()
}

/// A refusal. `correlation` is what the audit calls the operation; the outer `None` leaves the member out.
pub fn error(id: Option<&str>, refusal: &Refusal, correlation: Option<Option<&str>>) -> String {
    let mut body = ObjectWriter::new()
        .text("code", refusal.code.as_str())
        .text("message", &refusal.message);
    if let Some(correlation) = correlation {
        body = body.json("correlation_id", correlation.map_or("null".to_owned(), quoted));
    }
    begin("error", id)
        .json("ok", false)
        .json("error", body.finish())
        .finish()
}

/// A push to those who subscribed to topology changes, or the answer to the subscription.
pub fn debug_event(request: &str, category: &str, payload: &str, now_ms: u64) -> String {
    ObjectWriter::new()
        .text("type", "debug.event")
        .text("request", request)
        .text("category", category)
        .json("payload", payload)
        .json("timestamp", now_ms)
        .finish()
}

/// What is said to a peer on a path that leads nowhere.
pub fn server_error(code: &str, message: &str, now_ms: u64) -> String {
    ObjectWriter::new()
        .text("type", "error")
        .text("request", "unknown")
        .text("code", code)
        .text("message", message)
        .json("timestamp", now_ms)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_keep_the_id_where_it_can_be_read() {
        use EnvelopeError as E;
        for (text, error, id) in [
            ("{bad", E::Syntax, None),
            ("[]", E::NotAnObject, None),
            (r#"{"type":"control.ping","id":"x"}"#, E::MissingField, Some("x")),
            (r#"{"channel":"control","id":"x"}"#, E::MissingField, Some("x")),
            (
                r#"{"channel":"control","type":5,"id":"x"}"#,
                E::InvalidType,
                Some("x"),
            ),
            (
                r#"{"channel":"other","type":"control.ping"}"#,
                E::InvalidType,
                None,
            ),
            (
                r#"{"channel":"control","type":"control.ping","id":7}"#,
                E::InvalidType,
                None,
            ),
            (
                r#"{"channel":"control","type":"acheron.t_walk","id":"x"}"#,
                E::UnsupportedType,
                Some("x"),
            ),
        ] {
            let fault = ControlEnvelope::parse(text.as_bytes()).unwrap_err();
            assert_eq!((fault.error, fault.id.as_deref()), (error, id), "{text}");
        }
        let file = ControlEnvelope::parse(br#"{"channel":"acheron","type":"acheron.t_fs_hello","tag":3}"#);
        assert_eq!(file.unwrap_err().file_frame, Some(Some(3)));
    }

    #[test]
    fn frames_are_written_as_recorded() {
        assert_eq!(
            request("version", "fs-node-version", r#"{"protocol":"unified-v2"}"#),
            r#"{"channel":"control","type":"control.version","id":"fs-node-version","payload":{"protocol":"unified-v2"}}"#
        );
        assert_eq!(
            reply("pong", "q1", "{}"),
            r#"{"channel":"control","type":"control.pong","id":"q1","ok":true,"payload":{}}"#
        );
        assert_eq!(
            error(
                Some("q7"),
                &Refusal::new(Code::PendingJoinNotFound),
                Some(Some("q7"))
            ),
            r#"{"channel":"control","type":"control.error","id":"q7","ok":false,"error":{"code":"pending_join_not_found","message":"PendingJoinNotFound","correlation_id":"q7"}}"#
        );
        assert_eq!(
            error(None, &Refusal::new(Code::CorrelationRequired), Some(None)),
            r#"{"channel":"control","type":"control.error","ok":false,"error":{"code":"correlation_required","message":"missing correlation_id on mutating control operation","correlation_id":null}}"#
        );
    }

    #[test]
    fn answers_are_told_apart() {
        let recorded = r#"{"channel":"control","type":"control.error","ok":false,"error":{"code":"invalid_envelope","message":"UnsupportedType"}}"#;
        assert_eq!(
            Answer::of(recorded.as_bytes()).unwrap(),
            Answer::Refused {
                id: None,
                refusal: Refusal::saying(Code::InvalidEnvelope, "UnsupportedType")
            }
        );
        let denied = server_error("provider_auth_failed", "forbidden", 5);
        assert_eq!(
            Answer::of(denied.as_bytes()).unwrap(),
            Answer::Denied(Refusal::new(Code::ProviderAuthFailed))
        );
        let pushed = debug_event("workspace-topology", "control.workspace_topology", "{}", 5);
        assert_eq!(Answer::of(pushed.as_bytes()).unwrap(), Answer::Other);
        let failed = server_error("execution_failed", "somebody else's business", 5);
        for skipped in [
            &failed,
            "[]",
            r#"{"foo":1}"#,
            r#"{"channel":"control"}"#,
            r#"{"channel":"chat","type":"chat.msg"}"#,
            r#"{"channel":"control","type":"control.node_join","id":5}"#,
            r#"{"channel":"acheron","type":"acheron.t_fs_hello","tag":1}"#,
        ] {
            assert_eq!(
                Answer::of(skipped.as_bytes()).unwrap(),
                Answer::Other,
                "{skipped}"
            );
        }
        let Answer::Reply(reply) =
            Answer::of(br#"{"channel":"control","type":"control.pong","id":"a","ok":true}"#).unwrap()
        else {
            panic!("no reply")
        };
        assert_eq!((reply.name.as_str(), reply.id.as_deref()), ("pong", Some("a")));
        assert!(Answer::of(b"nope").is_err());
    }

    #[test]
    fn what_a_server_says_cannot_forge_a_line_of_a_log() {
        let text = format!(
            r#"{{"channel":"control","type":"control.error","id":"q","ok":false,"error":{{"code":"x\ny","message":"a\r\nwarning: b{}"}}}}"#,
            "c".repeat(1 << 20)
        );
        let Ok(Answer::Refused { refusal, .. }) = Answer::of(text.as_bytes()) else {
            panic!("no refusal")
        };
        assert_eq!(refusal.code.as_str(), "x y");
        assert!(refusal.message.starts_with("a  warning: bc") && refusal.message.len() == 500);
    }

    #[test]
    fn a_frame_of_very_many_values_is_refused() {
        let text = format!(
            r#"{{"channel":"control","type":"control.ping","payload":[{}0]}}"#,
            "0,".repeat(1 << 20)
        );
        assert_eq!(
            ControlEnvelope::parse(text.as_bytes()).unwrap_err().error,
            EnvelopeError::TooManyValues
        );
    }
}
