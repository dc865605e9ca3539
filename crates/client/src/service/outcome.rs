//! What came of an invoke.

use bytes::Bytes;
use serde_json::{Map, Value};
use spiderweb_protocol::fs::Op;
use spiderweb_protocol::{Base64Text, Errno};

use crate::error::Error;

/// What came of an invoke.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// What the service says about it.
    pub status: Status,
    /// The driver's output, if it succeeded.
    pub result: Option<Vec<u8>>,
    /// What the service or the driver says went wrong.
    pub error: Vec<u8>,
    /// What the node answered to the write, when that was no.
    pub refusal: Option<Refusal>,
}

/// What a node answers to a write that does not lead to a run of the driver, or to none of use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Its number: 1 disabled, 11 cooling down, 22 no JSON object, 5 the driver could not be run.
    pub errno: Errno,
    /// Its words.
    pub message: String,
}

/// A status, as far as it could be read.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Status {
    /// `ok`, `error`, `timeout`, `offline`, `backoff`, `running` or `idle`; empty when it could not be read.
    pub state: String,
    /// Why, if the service says so.
    pub reason: Option<String>,
    /// The driver's exit code, -1 when it was killed.
    pub exit_code: Option<i64>,
    /// Time until the service can be asked again, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// Everything the service says.
    pub members: Map<String, Value>,
}

impl Status {
    /// Reads `status.json`. A text that is none has no state.
    pub fn parse(text: &[u8]) -> Self {
        Self::of(serde_json::from_slice(text).unwrap_or_default())
    }

    fn of(members: Map<String, Value>) -> Self {
        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            state: text("state").unwrap_or_default(),
            reason: text("reason"),
            exit_code: members.get("exit_code").and_then(Value::as_i64),
            retry_after_ms: members.get("retry_after_ms").and_then(Value::as_u64),
            members,
        }
    }
}

impl Outcome {
    /// Reads `history/<name>.json`: the members of a status, and `result` or `result_b64`, and `error`.
    pub(super) fn from_record(record: &[u8]) -> Result<Self, Error> {
        let broken = |reason: &str| Error::Answer {
            op: Op::Read,
            reason: format!("the record of the invoke {reason}"),
        };
        let mut members: Map<String, Value> =
            serde_json::from_slice(record).map_err(|_| broken("is no JSON object"))?;
        let mut text = |name: &str| match members.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let error = text("error").unwrap_or_default().into_bytes();
        let result = match (text("result"), text("result_b64")) {
            (_, Some(encoded)) => Base64Text::new(Bytes::from(encoded))
                .decode()
                .map_err(|_| broken("has a result that is no base64"))?,
            (text, None) => text.unwrap_or_default().into_bytes(),
        };
        let status = Status::of(members);
        Ok(Self {
            result: (status.state == "ok").then_some(result),
            error,
            status,
            refusal: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_an_outcome() {
        let record =
            br#"{"invoke":"a","number":3,"state":"ok","exit_code":0,"result":"{\"a\":1}","error":""}"#;
        let outcome = Outcome::from_record(record).unwrap();
        assert_eq!(outcome.result.as_deref(), Some(&br#"{"a":1}"#[..]));
        assert_eq!(
            (outcome.status.state.as_str(), outcome.status.exit_code),
            ("ok", Some(0))
        );
        assert!(!outcome.status.members.contains_key("result"));

        let bytes = Outcome::from_record(br#"{"state":"ok","result_b64":"/w=="}"#).unwrap();
        assert_eq!(bytes.result, Some(vec![0xff]));

        let failed = Outcome::from_record(br#"{"state":"error","exit_code":3,"result":"","error":"no"}"#);
        let failed = failed.unwrap();
        assert_eq!((failed.result, failed.error.as_slice()), (None, &b"no"[..]));
    }

    #[test]
    fn a_record_that_is_none_is_an_error_and_a_status_that_is_none_has_no_state() {
        for record in [&b""[..], b"[]", b"{", br#"{"result_b64":"!"}"#] {
            assert!(Outcome::from_record(record).is_err());
        }
        for status in [&b""[..], b"[]", b"\xff", b"{\"state\":5}"] {
            assert_eq!(Status::parse(status).state, "");
        }
    }
}
