//! Who this node is to its hub, as text: the state file (section 4 of the contract).
//!
//! Everything an original node writes is read, with its rules: unknown members are ignored, whoever has an id but no
//! secret is not paired. What is written, an original node reads.

use spiderweb_protocol::Secret;
use spiderweb_protocol::canonical::{ObjectWriter, quoted};
use spiderweb_protocol::control::{Credentials, NodeId, RequestId};
use spiderweb_protocol::strict::{JsonFaultKind, Shape, Value};

use crate::pairing::{Identity, Stage};

/// Version of the text.
const SCHEMA: u32 = 1;

/// Most bytes of a state file.
pub const MAX_IDENTITY: u64 = 1024 * 1024;

/// What of pairing outlives the process.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// How far pairing has come.
    pub stage: Stage,
    /// Handed out with every lease; nothing asks for it.
    pub lease_token: Option<Secret>,
    /// When the lease ends by the hub's clock; 0 if it did not say.
    pub lease_expires_at_ms: u64,
    /// What the hub calls the node.
    pub node_name: Option<String>,
    /// The address the hub knows.
    pub fs_url: Option<String>,
}

impl Kept {
    /// Of a node that just got credentials.
    pub fn of(credentials: &Credentials) -> Self {
        Self {
            stage: Stage::Paired(Identity {
                node_id: credentials.node_id.clone(),
                node_secret: credentials.node_secret.clone(),
            }),
            lease_token: Some(credentials.lease_token.clone()),
            lease_expires_at_ms: credentials.lease_expires_at_ms,
            node_name: credentials.node_name.clone(),
            fs_url: credentials.fs_url.clone(),
        }
    }

    /// Of a node that waits.
    pub fn awaiting(request_id: RequestId) -> Self {
        Self {
            stage: Stage::AwaitingApproval(request_id),
            ..Self::default()
        }
    }
}

/// A text that is no state; the name is the original's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct IdentityFault {
    /// The original's name for it.
    pub name: &'static str,
    words: &'static str,
}

/// Reads the text of a state file.
pub fn parse_identity(text: &[u8]) -> Result<Kept, IdentityFault> {
    let root = Value::parse(text).map_err(|fault| match fault.kind {
        JsonFaultKind::UnexpectedEnd => IdentityFault {
            name: "UnexpectedEndOfInput",
            words: "it is cut off",
        },
        _ => IdentityFault {
            name: "SyntaxError",
            words: "it is not JSON",
        },
    })?;
    if root.as_object().is_none() {
        return Err(IdentityFault {
            name: "InvalidStateFile",
            words: "it is not a JSON object",
        });
    }
    let text = |name: &str| match root.member(name).map(|value| &value.shape) {
        None | Some(Shape::Null) => Ok(None),
        Some(Shape::Text(text)) => Ok(Some(text.to_string()).filter(|text| !text.is_empty())),
        Some(_) => Err(INVALID),
    };
    let node_id = text("node_id")?.map(|id| NodeId::new(&id).map_err(|_| INVALID));
    let node_secret = text("node_secret")?.map(Secret::new);
    let request_id = text("request_id")?.map(|id| RequestId::new(&id).map_err(|_| INVALID));
    let stage = match (node_id.transpose()?, node_secret, request_id.transpose()?) {
        (Some(node_id), Some(node_secret), _) => Stage::Paired(Identity { node_id, node_secret }),
        (_, _, Some(request_id)) => Stage::AwaitingApproval(request_id),
        _ => Stage::Unpaired,
    };
    let expires = root.member("lease_expires_at_ms");
    Ok(Kept {
        stage,
        lease_token: text("lease_token")?.map(Secret::new),
        lease_expires_at_ms: expires.and_then(Value::as_unsigned).unwrap_or_default(),
        node_name: text("node_name")?,
        fs_url: text("fs_url")?,
    })
}

const INVALID: IdentityFault = IdentityFault {
    name: "InvalidPayload",
    words: "one of its members is of another type",
};

/// The text of a state file, as the original writes it. It holds the secret.
pub fn render_identity(kept: &Kept) -> String {
    let or_null = |text: Option<&str>| text.map_or_else(|| "null".to_owned(), quoted);
    let (identity, request_id) = match &kept.stage {
        Stage::Unpaired => (None, None),
        Stage::AwaitingApproval(request_id) => (None, Some(request_id)),
        Stage::Paired(identity) => (Some(identity), None),
    };
    let node_id = identity.map(|identity| identity.node_id.as_str());
    let node_secret = identity.map(|identity| identity.node_secret.expose());
    ObjectWriter::new()
        .json("schema", SCHEMA)
        .json("node_id", or_null(node_id))
        .json("node_secret", or_null(node_secret))
        .json(
            "lease_token",
            or_null(kept.lease_token.as_ref().map(Secret::expose)),
        )
        .json("lease_expires_at_ms", kept.lease_expires_at_ms)
        .json("request_id", or_null(request_id.map(RequestId::as_str)))
        .json("node_name", or_null(kept.node_name.as_deref()))
        .json("fs_url", or_null(kept.fs_url.as_deref()))
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = r#"{"schema":1,"node_id":"node-2","node_secret":"secret-02f6","lease_token":"lease-ac46","lease_expires_at_ms":1795404357433,"request_id":null,"node_name":"edge","fs_url":"ws://127.0.0.1:18790/v2/fs/node/node-2"}"#;
    const CLEARED: &str = r#"{"schema":1,"node_id":null,"node_secret":null,"lease_token":null,"lease_expires_at_ms":0,"request_id":null,"node_name":null,"fs_url":null}"#;

    #[test]
    fn recorded_files_are_read_and_written_alike() {
        let waiting = CLEARED.replace(r#""request_id":null"#, r#""request_id":"pending-join-5""#);
        for text in [RECORDED, CLEARED, &waiting] {
            assert_eq!(render_identity(&parse_identity(text.as_bytes()).unwrap()), text);
        }
    }

    #[test]
    fn odd_files_are_read_as_the_original_reads_them() {
        for (text, outcome) in [
            ("", Err("UnexpectedEndOfInput")),
            (r#"{"schema":1,"node_id""#, Err("UnexpectedEndOfInput")),
            ("hello", Err("SyntaxError")),
            ("[]", Err("InvalidStateFile")),
            (r#"{"node_id":5}"#, Err("InvalidPayload")),
            (r#"{"lease_expires_at_ms":"x"}"#, Ok("unpaired")),
            (r#"{"node_id":"node-9"}"#, Ok("unpaired")),
            (
                r#"{"schema":99,"x":1,"request_id":"pending-join-5"}"#,
                Ok("awaiting"),
            ),
            (
                r#"{"schema":1,"node_id":"node-9","node_secret":"secret-x"}"#,
                Ok("paired"),
            ),
        ] {
            let read = parse_identity(text.as_bytes());
            let read = read.map_err(|fault| fault.name).map(|kept| match kept.stage {
                Stage::Unpaired => "unpaired",
                Stage::AwaitingApproval(_) => "awaiting",
                Stage::Paired(_) => "paired",
            });
            assert_eq!(read, outcome, "{text}");
        }
    }
}
