//! `version` and `connect`: how every control connection begins.

use super::fields::{FieldFault, Fields};
use super::refusal::{Code, Refusal};
use crate::canonical::ObjectWriter;
use crate::dialect::Dialect;

/// The only value of `protocol` there is.
pub const CONTROL_PROTOCOL: &str = "unified-v2";

const RUNTIME: &str = "acheron-1";
const FILES: &str = "unified-v2-fs";
const FILES_PROTO: u64 = 2;

/// The payload of a version request.
pub fn version_payload() -> String {
    ObjectWriter::new().text("protocol", CONTROL_PROTOCOL).finish()
}

/// Checks a version request (`hub.md`, section 3.2).
pub fn check_version(fields: Fields<'_>) -> Result<(), Refusal> {
    match fields.text("protocol") {
        Some(CONTROL_PROTOCOL) => Ok(()),
        Some(_) => Err(Code::ProtocolMismatch.into()),
        None => Err(Refusal::saying(Code::ProtocolMismatch, "MissingField")),
    }
}

/// The answer to a version request: which words the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionAck {
    /// It knows the words of the older generation.
    pub seed: bool,
    /// It knows the words of the newer generation.
    pub head: bool,
}

impl VersionAck {
    /// A hub that speaks both.
    pub const BOTH: Self = Self {
        seed: true,
        head: true,
    };

    /// The words to use towards this server: the older generation's if it knows them (`control.md`, section 10.1).
    pub const fn dialect(self) -> Dialect {
        if self.head && !self.seed {
            Dialect::Head
        } else {
            Dialect::Seed
        }
    }

    /// The generation whose words it knows, if it is one alone.
    pub const fn only(self) -> Option<Dialect> {
        match (self.seed, self.head) {
            (true, false) => Some(Dialect::Seed),
            (false, true) => Some(Dialect::Head),
            _ => None,
        }
    }

    /// The payload.
    pub fn encode(self) -> String {
        let mut payload = ObjectWriter::new().text("protocol", CONTROL_PROTOCOL);
        if self.seed {
            payload = payload
                .text("fsrpc_runtime", RUNTIME)
                .text("fsrpc_node", FILES)
                .json("fsrpc_node_proto", FILES_PROTO);
        }
        if self.head {
            payload = payload
                .text("acheron_runtime", RUNTIME)
                .text("acheron_node", FILES)
                .json("acheron_node_proto", FILES_PROTO);
        }
        payload.finish()
    }

    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        if fields.required("protocol")? != CONTROL_PROTOCOL {
            return Err(FieldFault::Invalid);
        }
        Ok(Self {
            seed: fields.text("fsrpc_node").is_some(),
            head: fields.text("acheron_node").is_some(),
        })
    }
}

/// The answer to a connect request. Nodes and tools do not interpret it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectAck<'a> {
    /// The agent that stands for this connection.
    pub agent_id: &'a str,
    /// `admin`, `user` or `node`.
    pub role: &'a str,
}

impl ConnectAck<'_> {
    /// The payload that every program of both generations accepts.
    pub fn encode(&self) -> String {
        ObjectWriter::new()
            .text("agent_id", self.agent_id)
            .text("session", "main")
            .text("protocol", CONTROL_PROTOCOL)
            .text("role", self.role)
            .json("project_id", "null")
            .json("workspace", "null")
            .json("requires_session_attach", false)
            .json("connect_gate", "null")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strict::Value;

    #[test]
    fn acknowledgements_of_both_generations_are_read() {
        let seed = r#"{"protocol":"unified-v2","fsrpc_runtime":"acheron-1","fsrpc_node":"unified-v2-fs","fsrpc_node_proto":2}"#;
        let head = r#"{"protocol":"unified-v2","acheron_runtime":"acheron-1","acheron_node":"unified-v2-fs","acheron_node_proto":2}"#;
        for (text, ack, dialect) in [
            (
                seed.to_owned(),
                VersionAck {
                    seed: true,
                    head: false,
                },
                Dialect::Seed,
            ),
            (
                head.to_owned(),
                VersionAck {
                    seed: false,
                    head: true,
                },
                Dialect::Head,
            ),
            (VersionAck::BOTH.encode(), VersionAck::BOTH, Dialect::Seed),
        ] {
            let value = Value::parse(text.as_bytes()).unwrap();
            let read = VersionAck::decode(Fields::of(Some(&value)).unwrap()).unwrap();
            assert_eq!((read, read.dialect()), (ack, dialect));
            assert_eq!(read.encode(), text);
        }
    }

    #[test]
    fn other_versions_are_refused() {
        for (text, message) in [
            (version_payload(), None),
            (
                r#"{"protocol":"unified-v3"}"#.to_owned(),
                Some("ProtocolMismatch"),
            ),
            ("{}".to_owned(), Some("MissingField")),
        ] {
            let value = Value::parse(text.as_bytes()).unwrap();
            let refused = check_version(Fields::of(Some(&value)).unwrap()).err();
            assert_eq!(
                refused.as_ref().map(|refusal| &*refusal.message),
                message,
                "{text}"
            );
        }
    }
}
