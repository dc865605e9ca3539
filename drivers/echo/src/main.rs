//! The reference driver: answers with the object it was given, rendered canonically (section 15.1).
//!
//! Canonical means compact, members in their order, integers as written, other numbers in their shortest decimal form
//! (section 1). That needs the numbers' text, which a `serde_json::Value` no longer has, so this driver reads and
//! renders [`RawValue`]s instead of using `serve`.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fmt;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use spiderweb_driver_sdk::{DriverError, serve_bytes, trim};

/// Deepest nesting: each level is a call of its own. A node hands over whatever a payload nests.
const MAX_DEPTH: u32 = 256;

fn main() -> ExitCode {
    serve_bytes(echo)
}

fn echo(payload: &[u8]) -> Result<Vec<u8>, DriverError> {
    let not_an_object = || DriverError::new(2, "invoke payload must be a JSON object");
    let not_json = || DriverError::new(2, "invoke payload must be valid JSON");
    let payload = trim(payload);
    if payload.is_empty() {
        return Err(not_an_object());
    }
    let payload = std::str::from_utf8(payload).map_err(|_| not_json())?;
    let mut result = format!(
        r#"{{"ok":true,"driver":"spiderweb-echo-driver","ts_ms":{},"echo":"#,
        now_ms()
    );
    render(payload, MAX_DEPTH, &mut result).map_err(|_| not_json())?;
    if !payload.starts_with('{') {
        return Err(not_an_object());
    }
    result.push('}');
    Ok(result.into_bytes())
}

fn now_ms() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis())
}

/// Appends a JSON text in canonical form; an error when it is not one.
fn render(json: &str, depth: u32, out: &mut String) -> serde_json::Result<()> {
    if depth == 0 {
        return Err(serde_json::Error::custom("nested too deeply"));
    }
    match json.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(json)?;
            for (index, (name, value)) in members.iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                out.push_str(&serde_json::to_string(name)?);
                out.push(':');
                render(value.get(), depth - 1, out)?;
            }
            out.push_str(if members.is_empty() { "{}" } else { "}" });
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json)?;
            for (index, item) in items.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                render(item.get(), depth - 1, out)?;
            }
            out.push_str(if items.is_empty() { "[]" } else { "]" });
        }
        Some(b'"') => {
            let text: String = serde_json::from_str(json)?;
            out.push_str(&serde_json::to_string(&text)?);
        }
        _ => {
            let scalar: &RawValue = serde_json::from_str(json)?;
            match scalar.get() {
                word @ ("true" | "false" | "null") => out.push_str(word),
                number => out.push_str(&canonical_number(number)),
            }
        }
    }
    Ok(())
}

/// Integers stay as written, and so does what no double can hold; the rest loses exponents and idle zeros.
fn canonical_number(text: &str) -> String {
    let is_integer = !text.contains(['.', 'e', 'E']);
    match text.parse::<f64>() {
        Ok(number) if !is_integer && number.is_finite() => number.to_string(),
        _ => text.to_owned(),
    }
}

/// An object's members in their order. A name that comes twice makes the object invalid.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut members, mut names) = (Vec::new(), HashSet::new());
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom("a name comes twice"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}
