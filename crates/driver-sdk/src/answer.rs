//! From a payload's bytes to a result's bytes.

use serde_json::Value;

use crate::error::DriverError;

/// Exit code for a payload that is at fault.
const BAD_PAYLOAD: u8 = 2;

/// Lets a function of JSON values answer a payload: parses the object, calls, and renders the result.
///
/// # Errors
///
/// What `driver` says, or exit code 2 when the payload is no JSON object. A node lets nothing else through; by hand
/// anything may come.
pub fn answer_json(
    payload: &[u8],
    driver: impl FnOnce(Value) -> Result<Value, DriverError>,
) -> Result<Vec<u8>, DriverError> {
    let not_an_object = || DriverError::new(BAD_PAYLOAD, "invoke payload must be a JSON object");
    let payload = trim(payload);
    if payload.is_empty() {
        return Err(not_an_object());
    }
    let value: Value = serde_json::from_slice(payload)
        .map_err(|_| DriverError::new(BAD_PAYLOAD, "invoke payload must be valid JSON"))?;
    if !value.is_object() {
        return Err(not_an_object());
    }
    Ok(driver(value)?.to_string().into_bytes())
}

/// The payload without white space around it: space, tab, carriage return and line feed (section 1).
pub fn trim(payload: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = payload.iter().take_while(|byte| is_space(byte)).count();
    let rest = payload.get(start..).unwrap_or_default();
    let end = rest.len() - rest.iter().rev().take_while(|byte| is_space(byte)).count();
    rest.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_reach_the_driver() {
        for (payload, answer) in [
            (&b" {\"a\":1}\n"[..], Ok(&br#"{"a":1}"#[..])),
            (b"{}", Ok(b"{}")),
            (b"", Err("invoke payload must be a JSON object")),
            (b" \t\r\n", Err("invoke payload must be a JSON object")),
            (b"[1]", Err("invoke payload must be a JSON object")),
            (b"null", Err("invoke payload must be a JSON object")),
            (b"nope", Err("invoke payload must be valid JSON")),
            (b"{\"a\":1} x", Err("invoke payload must be valid JSON")),
            (b"{\"a\":\"\xff\"}", Err("invoke payload must be valid JSON")),
        ] {
            let answered = answer_json(payload, Ok);
            let expected = answer
                .map(<[u8]>::to_vec)
                .map_err(|message| DriverError::new(2, message));
            assert_eq!(answered, expected, "{}", payload.escape_ascii());
        }
    }

    #[test]
    fn white_space_is_what_the_contract_says() {
        for (payload, trimmed) in [
            (&b""[..], &b""[..]),
            (b" \r\n\t", b""),
            (b" a b ", b"a b"),
            // A form feed is no white space in JSON.
            (b"\x0ca", b"\x0ca"),
        ] {
            assert_eq!(trim(payload), trimmed);
        }
    }

    #[test]
    fn an_error_never_looks_like_success() {
        assert_eq!(DriverError::new(0, "x").exit_code(), 1);
        assert_eq!(DriverError::new(7, "x").exit_code(), 7);
    }
}
