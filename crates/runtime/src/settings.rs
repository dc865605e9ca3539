//! `config.json`: the supervision policy, and whatever else a client keeps there (section 10.1).

use spiderweb_protocol::canonical;
use spiderweb_protocol::strict::{Shape, Value};

use crate::policy::Policy;

/// Largest canonical form that is kept. Numbers can grow by a factor of fifty when they are written out.
const MAX_CONFIG: usize = 1024 * 1024;

/// An accepted `config.json`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Settings {
    /// The whole object, canonical.
    pub(crate) text: String,
    pub(crate) policy: Policy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            text: "{}".to_owned(),
            policy: Policy::default(),
        }
    }
}

impl Settings {
    /// Reads what a client wrote; `None` if it is not acceptable. Nothing at all means the defaults.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = canonical::trim(text);
        if text.is_empty() {
            return Some(Self::default());
        }
        let value = Value::parse(text).ok()?;
        value.as_object()?;
        let policy = match value.member("supervision") {
            Some(supervision) => policy(supervision)?,
            None => Policy::default(),
        };
        let text = canonical::render(text).ok()?;
        (text.len() <= MAX_CONFIG).then_some(Self { text, policy })
    }
}

/// Missing members take their defaults: a policy is replaced, not merged.
fn policy(supervision: &Value<'_>) -> Option<Policy> {
    supervision.as_object()?;
    let number = |name: &str| match supervision.member(name) {
        None => Some(0),
        Some(value) => value.as_unsigned(),
    };
    let auto_disable_on_threshold = match supervision.member("auto_disable_on_threshold") {
        None => true,
        Some(Value {
            shape: Shape::Bool(value),
            ..
        }) => *value,
        Some(_) => return None,
    };
    Some(Policy {
        max_consecutive_failures: number("max_consecutive_failures")?,
        max_consecutive_timeouts: number("max_consecutive_timeouts")?,
        cooldown_ms: number("cooldown_ms")?,
        auto_disable_on_threshold,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_taken_whole_or_not_at_all() {
        let parse = |text: &str| Settings::parse(text.as_bytes());
        let accepted =
            parse(r#" {"supervision":{"unknown":1,"cooldown_ms": 7},  "other": [1, 2.50]} "#).unwrap();
        assert_eq!(
            accepted.text,
            r#"{"supervision":{"unknown":1,"cooldown_ms":7},"other":[1,2.5]}"#
        );
        assert_eq!(accepted.policy.cooldown_ms, 7);
        assert_eq!(parse("  \n"), Some(Settings::default()));
        let off = parse(r#"{"supervision":{"auto_disable_on_threshold":false}}"#).unwrap();
        assert!(!off.policy.auto_disable_on_threshold);
        for refused in [
            "[]",
            "nope",
            r#"{"supervision":[]}"#,
            r#"{"supervision":null}"#,
            r#"{"supervision":{"max_consecutive_failures":-1}}"#,
            r#"{"supervision":{"max_consecutive_failures":1.5}}"#,
            r#"{"supervision":{"cooldown_ms":"5"}}"#,
            r#"{"supervision":{"cooldown_ms":1e3}}"#,
            r#"{"supervision":{"cooldown_ms":null}}"#,
            r#"{"supervision":{"cooldown_ms":-0}}"#,
            r#"{"supervision":{"cooldown_ms":99999999999999999999}}"#,
            r#"{"supervision":{"cooldown_ms":9223372036854775808}}"#,
            r#"{"supervision":{"auto_disable_on_threshold":1}}"#,
            r#"{"supervision":{},"supervision":{}}"#,
            r#"{}a":1}"#,
        ] {
            assert_eq!(parse(refused), None, "{refused}");
        }
    }

    #[test]
    fn a_text_that_would_grow_out_of_hand_is_refused() {
        let numbers = vec!["1e308"; 10_000].join(",");
        assert_eq!(Settings::parse(format!("{{\"n\":[{numbers}]}}").as_bytes()), None);
    }
}
