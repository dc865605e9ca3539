//! The hellos of the tunnel and of clients that are routed through it (`hub.md`, section 10).

use super::fields::{FieldFault, Fields};
use super::ids::NodeId;
use super::refusal::one_line;
use super::routing::{FrameKind, FramePeek};
use crate::canonical::ObjectWriter;
use crate::envelope::EnvelopeError;
use crate::errno::Errno;
use crate::fs::{HELLO_PROTOCOL, Op};
use crate::ids::Tag;
use crate::secret::Secret;
use crate::strict::Value;

const PROTO: u64 = 2;

/// Close code of a tunnel whose node was deleted, or whose lease is over: the node should ask what it is now.
pub const NODE_GONE_CLOSE: u16 = 4002;

/// Why a hello is refused. The words are the wire's; each ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TunnelFault {
    /// Something else came first.
    #[error("acheron.t_fs_hello must be negotiated first")]
    SomethingElse,
    /// A control message on a path for files.
    #[error("wrong websocket endpoint: use / for control protocol")]
    WrongEndpoint,
    /// A member is missing.
    #[error("MissingField")]
    MissingField,
    /// A member has another type.
    #[error("InvalidType")]
    InvalidType,
    /// A member has a value that is not allowed.
    #[error("InvalidPayload")]
    InvalidPayload,
    /// Another protocol or version.
    #[error("ProtocolMismatch")]
    ProtocolMismatch,
    /// Nobody of this name. A node that reads this pairs again.
    #[error("NodeNotFound")]
    NodeNotFound,
    /// The secret is wrong. A node that reads this pairs again.
    #[error("NodeAuthFailed")]
    NodeAuthFailed,
    /// A client without a token.
    #[error("missing auth_token in fs hello payload")]
    NoToken,
    /// A later hello in another name.
    #[error("node_id mismatch for active tunnel")]
    AnotherNode,
    /// There is nobody to route to.
    #[error("node tunnel is unavailable")]
    NoTunnel,
}

impl TunnelFault {
    /// The number beside the words.
    pub const fn errno(self) -> Errno {
        match self {
            Self::NodeNotFound => Errno::ENOENT,
            Self::NodeAuthFailed | Self::NoToken | Self::AnotherNode => Errno::EACCES,
            Self::NoTunnel => Errno::EIO,
            Self::SomethingElse
            | Self::WrongEndpoint
            | Self::MissingField
            | Self::InvalidType
            | Self::InvalidPayload
            | Self::ProtocolMismatch => Errno::EINVAL,
        }
    }
}

fn check_protocol<'v>(payload: Option<&'v Value<'v>>) -> Result<Fields<'v>, TunnelFault> {
    let payload = payload.ok_or(TunnelFault::MissingField)?;
    let fields = Fields::of(Some(payload)).map_err(|_| TunnelFault::InvalidType)?;
    if text(fields, "protocol")? != HELLO_PROTOCOL {
        return Err(TunnelFault::ProtocolMismatch);
    }
    let proto = fields.value("proto").ok_or(TunnelFault::MissingField)?;
    match proto.as_integer() {
        Some(number) if u64::try_from(number) == Ok(PROTO) => Ok(fields),
        Some(_) => Err(TunnelFault::ProtocolMismatch),
        None => Err(TunnelFault::InvalidType),
    }
}

fn text<'v>(fields: Fields<'v>, name: &str) -> Result<&'v str, TunnelFault> {
    let value = fields.value(name).ok_or(TunnelFault::MissingField)?;
    value.as_text().ok_or(TunnelFault::InvalidType)
}

/// A node's hello on its tunnel.
#[derive(Debug, Clone)]
pub struct TunnelHello {
    /// Who it is.
    pub node_id: NodeId,
    /// Its proof.
    pub node_secret: Secret,
}

impl TunnelHello {
    /// Reads the payload.
    pub fn decode<'v>(payload: Option<&'v Value<'v>>) -> Result<Self, TunnelFault> {
        let fields = check_protocol(payload)?;
        let node_id = text(fields, "node_id")?;
        text(fields, "node_secret")?;
        let secret = fields.secret("node_secret");
        Ok(Self {
            node_id: NodeId::new(node_id).map_err(|_| TunnelFault::InvalidPayload)?,
            node_secret: secret.map_err(|_| TunnelFault::InvalidPayload)?,
        })
    }

    /// The whole frame.
    pub fn encode(&self, tag: Tag) -> String {
        let payload = ObjectWriter::new()
            .text("protocol", HELLO_PROTOCOL)
            .json("proto", PROTO)
            .text("node_id", self.node_id.as_str())
            .text("node_secret", self.node_secret.expose());
        ObjectWriter::new()
            .text("channel", "acheron")
            .text("type", "acheron.t_fs_hello")
            .json("tag", tag.0)
            .json("payload", payload.finish())
            .finish()
    }
}

/// Member of a welcome: the upper bits of a request's tag say which client of the hub it is from.
const TAGS_BY_CLIENT: &str = "tags_by_client";

/// Bits of a tag that number the requests of one client. Those above tell clients apart; 0 is nobody in particular.
pub const CLIENT_TAG_BITS: u32 = 20;

/// The whole frame of an accepted tunnel hello.
pub fn tunnel_welcome(tag: Tag, node_id: &NodeId) -> String {
    let payload = ObjectWriter::new()
        .text("protocol", HELLO_PROTOCOL)
        .json("proto", PROTO)
        .text("node_id", node_id.as_str())
        .json(TAGS_BY_CLIENT, true);
    ObjectWriter::new()
        .text("channel", "acheron")
        .text("type", "acheron.r_fs_hello")
        .json("tag", tag.0)
        .json("ok", true)
        .json("payload", payload.finish())
        .finish()
}

/// The whole frame of a refused tunnel hello. The original node looks for the reason in `payload`, so it is there a
/// second time.
pub fn tunnel_refusal(tag: Option<Tag>, fault: TunnelFault) -> String {
    let message = fault.to_string();
    let frame = ObjectWriter::new()
        .text("channel", "acheron")
        .text("type", "acheron.err_fs");
    let frame = match tag {
        Some(tag) => frame.json("tag", tag.0),
        None => frame,
    };
    let error = ObjectWriter::new()
        .json("errno", fault.errno().number())
        .text("message", &message);
    let frame = frame.json("ok", false).json("error", error.finish());
    match fault {
        TunnelFault::NodeNotFound | TunnelFault::NodeAuthFailed => {
            frame.json("payload", ObjectWriter::new().text("message", &message).finish())
        }
        _ => frame,
    }
    .finish()
}

/// What a hub answers to a tunnel hello, as the node reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelAnswer {
    /// From now on the hub sends requests.
    Welcome {
        /// Their tags tell clients apart, see [`CLIENT_TAG_BITS`]. Original hubs' do not.
        tags_by_client: bool,
    },
    /// The hub does not know this identity: pair again.
    UnknownIdentity,
    /// Refused for another reason; try again later.
    Refused {
        /// The number.
        errno: Errno,
        /// In words.
        message: String,
    },
    /// Something else, such as a frame for somebody else; wait on.
    Other,
}

impl TunnelAnswer {
    /// Reads a frame that came after a hello with this tag. The reason of a refusal is looked for in `error` and in
    /// `payload`. A refusal without a tag counts: there is nothing else it could answer.
    pub fn of(frame: &[u8], tag: Tag) -> Result<Self, EnvelopeError> {
        let peek = FramePeek::of(frame)?;
        if peek.tag.is_some_and(|other| other != tag) {
            return Ok(Self::Other);
        }
        match peek.kind {
            FrameKind::Reply(Op::Hello) if peek.tag.is_some() => {
                let payload = peek.payload(frame);
                let said = payload
                    .as_ref()
                    .and_then(|payload| payload.member(TAGS_BY_CLIENT));
                let tags_by_client = said.and_then(Value::as_bool) == Some(true);
                return Ok(Self::Welcome { tags_by_client });
            }
            FrameKind::Error => {}
            _ => return Ok(Self::Other),
        }
        let root = Value::parse(frame).map_err(|_| EnvelopeError::Syntax)?;
        let message = |part: &str| root.member(part)?.member("message")?.as_text().map(str::to_owned);
        let is_identity = |text: &String| matches!(text.as_str(), "NodeNotFound" | "NodeAuthFailed");
        let said = [message("error"), message("payload")];
        if said.iter().flatten().any(is_identity) {
            return Ok(Self::UnknownIdentity);
        }
        let errno = root
            .member("error")
            .and_then(|error| error.member("errno")?.as_integer());
        let errno = errno.and_then(|number| i32::try_from(number).ok());
        Ok(Self::Refused {
            errno: errno.map_or(Errno::EIO, Errno::from_wire),
            message: one_line(said.into_iter().flatten().next().as_deref().unwrap_or_default()),
        })
    }
}

/// The hello of a client that wants to be routed to a node.
#[derive(Debug, Clone)]
pub struct RoutedHello {
    /// What authorises it: the node's secret or a ticket.
    pub auth_token: Secret,
    /// Whether it wants events.
    pub subscribe_invalidations: bool,
}

impl RoutedHello {
    /// Reads the payload.
    pub fn decode<'v>(payload: Option<&'v Value<'v>>) -> Result<Self, TunnelFault> {
        let fields = check_protocol(payload)?;
        let token = fields.optional_secret("auth_token");
        let auth_token = token
            .map_err(|_: FieldFault| TunnelFault::NodeAuthFailed)?
            .ok_or(TunnelFault::NoToken)?;
        Ok(Self {
            auth_token,
            subscribe_invalidations: fields.flag("subscribe_invalidations") == Ok(Some(true)),
        })
    }

    /// The payload that is forwarded to the node.
    pub fn encode_payload(&self) -> String {
        ObjectWriter::new()
            .text("protocol", HELLO_PROTOCOL)
            .json("proto", PROTO)
            .text("auth_token", self.auth_token.expose())
            .json("subscribe_invalidations", self.subscribe_invalidations)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_hello_and_its_answers() {
        let recorded = r#"{"channel":"acheron","type":"acheron.t_fs_hello","tag":1,"payload":{"protocol":"unified-v2-fs","proto":2,"node_id":"node-2","node_secret":"secret-02f62bf3d91c8a3f1ebdcd6223dcc70f"}}"#;
        let value = Value::parse(recorded.as_bytes()).unwrap();
        let hello = TunnelHello::decode(value.member("payload")).unwrap();
        assert_eq!(hello.encode(Tag(1)), recorded);
        assert_eq!(
            tunnel_welcome(Tag(1), &hello.node_id),
            // The last member is ours; original nodes do not look.
            r#"{"channel":"acheron","type":"acheron.r_fs_hello","tag":1,"ok":true,"payload":{"protocol":"unified-v2-fs","proto":2,"node_id":"node-2","tags_by_client":true}}"#
        );
        assert_eq!(
            tunnel_refusal(Some(Tag(1)), TunnelFault::NodeNotFound),
            r#"{"channel":"acheron","type":"acheron.err_fs","tag":1,"ok":false,"error":{"errno":2,"message":"NodeNotFound"},"payload":{"message":"NodeNotFound"}}"#
        );
        assert_eq!(
            tunnel_refusal(None, TunnelFault::SomethingElse),
            r#"{"channel":"acheron","type":"acheron.err_fs","ok":false,"error":{"errno":22,"message":"acheron.t_fs_hello must be negotiated first"}}"#
        );
    }

    #[test]
    fn answers_are_understood_wherever_the_reason_stands() {
        let id = NodeId::new("node-2").unwrap();
        let recorded = r#"{"channel":"acheron","type":"acheron.err_fs","tag":1,"ok":false,"error":{"errno":2,"message":"NodeNotFound"}}"#;
        let other = r#"{"channel":"acheron","type":"acheron.err_fs","tag":1,"ok":false,"error":{"errno":2,"message":"x"},"payload":{"message":"NodeAuthFailed"}}"#;
        for (frame, answer) in [
            (
                tunnel_welcome(Tag(1), &id),
                TunnelAnswer::Welcome { tags_by_client: true },
            ),
            (
                r#"{"channel":"acheron","type":"acheron.r_fs_hello","tag":1,"ok":true,"payload":{}}"#
                    .to_owned(),
                TunnelAnswer::Welcome {
                    tags_by_client: false,
                },
            ),
            (tunnel_welcome(Tag(2), &id), TunnelAnswer::Other),
            (recorded.to_owned(), TunnelAnswer::UnknownIdentity),
            (other.to_owned(), TunnelAnswer::UnknownIdentity),
            (
                tunnel_refusal(Some(Tag(1)), TunnelFault::ProtocolMismatch),
                TunnelAnswer::Refused {
                    errno: Errno::EINVAL,
                    message: "ProtocolMismatch".to_owned(),
                },
            ),
            (
                r#"{"channel":"control","type":"control.pong"}"#.to_owned(),
                TunnelAnswer::Other,
            ),
        ] {
            assert_eq!(TunnelAnswer::of(frame.as_bytes(), Tag(1)), Ok(answer), "{frame}");
        }
        assert!(TunnelAnswer::of(b"{", Tag(1)).is_err());
    }

    #[test]
    fn hellos_are_refused_in_the_wires_words() {
        const GOOD: &str = r#""protocol":"unified-v2-fs","proto":2"#;
        for (payload, fault) in [
            ("{}".to_owned(), TunnelFault::MissingField),
            ("[]".to_owned(), TunnelFault::InvalidType),
            (r#"{"protocol":"x"}"#.to_owned(), TunnelFault::ProtocolMismatch),
            (
                r#"{"protocol":"unified-v2-fs","proto":3}"#.to_owned(),
                TunnelFault::ProtocolMismatch,
            ),
            (
                r#"{"protocol":"unified-v2-fs","proto":"2"}"#.to_owned(),
                TunnelFault::InvalidType,
            ),
            (format!("{{{GOOD}}}"), TunnelFault::MissingField),
            (
                format!(r#"{{{GOOD},"node_id":5,"node_secret":"s"}}"#),
                TunnelFault::InvalidType,
            ),
            (
                format!(r#"{{{GOOD},"node_id":"a b","node_secret":"s"}}"#),
                TunnelFault::InvalidPayload,
            ),
            (
                format!(r#"{{{GOOD},"node_id":"n","node_secret":""}}"#),
                TunnelFault::InvalidPayload,
            ),
        ] {
            let value = Value::parse(payload.as_bytes()).unwrap();
            assert_eq!(TunnelHello::decode(Some(&value)).unwrap_err(), fault, "{payload}");
        }
        let value = Value::parse(br#"{"protocol":"unified-v2-fs","proto":2}"#).unwrap();
        assert_eq!(
            RoutedHello::decode(Some(&value)).unwrap_err(),
            TunnelFault::NoToken
        );
        assert_eq!(TunnelHello::decode(None).unwrap_err(), TunnelFault::MissingField);
    }
}
