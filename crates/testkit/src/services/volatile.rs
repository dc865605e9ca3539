//! The numbers in a service's files that differ from run to run, made equal.
//!
//! An instant becomes `@` and a duration `#`. A zero stays where it has a meaning of its own (never, none), so the
//! masked texts of two runs are equal when the files say the same.

/// Unix times in milliseconds; 0 means never.
const INSTANTS: [&str; 8] = [
    "updated_ms",
    "started_ms",
    "last_started_ms",
    "last_finished_ms",
    "last_control_ms",
    "cooldown_until_ms",
    "ts_ms",
    "fetched_at_ms",
];

/// What was left of a pause; 0 means none.
const REMAINDER: [&str; 1] = ["retry_after_ms"];

/// How long a run took, and what is left of a pause while it runs out: 0 is as good as any.
const DURATIONS: [&str; 3] = ["duration_ms", "last_duration_ms", "cooldown_remaining_ms"];

/// A text with every volatile number masked. A masked text stays as it is.
pub fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("_ms\":") {
        masked.push_str(before);
        masked.push_str("_ms\":");
        let name = before.rsplit('"').next().unwrap_or_default();
        let length = after
            .find(|char: char| !char.is_ascii_digit())
            .unwrap_or(after.len());
        let (number, behind) = after.split_at(length);
        masked.push_str(mark(&format!("{name}_ms"), number).unwrap_or(number));
        rest = behind;
    }
    masked.push_str(rest);
    masked
}

/// What stands for the number of this member, if anything.
fn mark(name: &str, number: &str) -> Option<&'static str> {
    let is_zero = number == "0";
    let names = |names: &[&str]| names.contains(&name) && !number.is_empty();
    if names(&INSTANTS) && !is_zero {
        Some("@")
    } else if names(&DURATIONS) || (names(&REMAINDER) && !is_zero) {
        Some("#")
    } else {
        None
    }
}

/// The members of an object's text: names and texts of values, in order. Masks may be among the values.
pub fn members(text: &str) -> Option<Vec<(&str, &str)>> {
    let inside = text.strip_prefix('{')?.strip_suffix('}')?;
    if inside.is_empty() {
        return Some(Vec::new());
    }
    let mut members = Vec::new();
    let mut start = 0;
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in inside.bytes().chain([b',']).enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                members.push(inside[start..at].split_once(':')?);
                start = at + 1;
            }
            _ => {}
        }
    }
    Some(members)
}

/// The members of `new` that `old` has otherwise, as an object's text; nothing when the objects do not have the
/// same members in the same order.
pub fn changes(old: &str, new: &str) -> Option<String> {
    let (old, new) = (members(old)?, members(new)?);
    let same_names = old.len() == new.len() && old.iter().zip(&new).all(|(old, new)| old.0 == new.0);
    if !same_names || new.len() < 2 {
        return None;
    }
    let changed = old.iter().zip(&new).filter(|(old, new)| old != new);
    Some(object(changed.map(|(_, new)| *new)))
}

/// `old` with the members of `changes` in the place of its own.
pub fn apply(old: &str, changes: &str) -> Option<String> {
    let changes = members(changes)?;
    let mut new = members(old)?;
    for (name, value) in changes {
        new.iter_mut().find(|member| member.0 == name)?.1 = value;
    }
    Some(object(new))
}

fn object<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let members: Vec<String> = members
        .into_iter()
        .map(|(name, value)| format!("{name}:{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_moment_are_masked() {
        for (text, masked) in [
            (
                r#"{"updated_ms":17,"duration_ms":0,"x":1}"#,
                r#"{"updated_ms":@,"duration_ms":#,"x":1}"#,
            ),
            (
                r#"{"last_started_ms":0,"retry_after_ms":0}"#,
                r#"{"last_started_ms":0,"retry_after_ms":0}"#,
            ),
            (
                r#"{"retry_after_ms":50,"timeout_ms":500}"#,
                r#"{"retry_after_ms":#,"timeout_ms":500}"#,
            ),
            (
                r#"{"cooldown_ms":5,"n":{"ts_ms":7}}"#,
                r#"{"cooldown_ms":5,"n":{"ts_ms":@}}"#,
            ),
            ("no json at all _ms\":", "no json at all _ms\":"),
        ] {
            assert_eq!(mask(text), masked);
            assert_eq!(mask(masked), masked);
        }
    }

    #[test]
    fn an_object_becomes_another_through_its_changes() {
        let old = r#"{"a":1,"b":{"c":[1,2]},"d":"x,\"}"}"#;
        let new = r#"{"a":2,"b":{"c":[1,2]},"d":"y"}"#;
        assert_eq!(changes(old, new).unwrap(), r#"{"a":2,"d":"y"}"#);
        assert_eq!(apply(old, r#"{"a":2,"d":"y"}"#).unwrap(), new);
        assert_eq!(changes(old, "{\"a\":1}"), None);
        assert_eq!(apply(old, r#"{"e":2}"#), None);
        assert_eq!(members("{}"), Some(Vec::new()));
    }
}
