//! What a node sent against what it should have sent.
//!
//! The rule of each value stands in the [`Term`] itself; this module only applies it. Members a node adds to
//! an object are allowed: clients ignore them.

use std::collections::HashMap;

use base64_simd::STANDARD;
use serde_json::Value;

use super::term::{Attr, Term, Wildcard};

/// The largest integer clients accept.
const MAX_INTEGER: u64 = i64::MAX as u64;

/// Longer values are cut in messages.
const SHOWN: usize = 200;

/// The numbers a node chose, by symbol.
#[derive(Debug, Default, Clone)]
pub(super) struct Known(HashMap<String, u64>);

impl Known {
    /// The number of a symbol.
    pub(super) fn get(&self, symbol: &str) -> Option<u64> {
        self.0.get(symbol).copied()
    }

    /// Takes over what a comparison learned.
    pub(super) fn learn(&mut self, comparison: &Comparison) {
        self.0.extend(comparison.learned.clone());
    }
}

/// The outcome of comparing one message.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Numbers seen under symbols, also when other parts of the message differ.
    learned: HashMap<String, u64>,
    /// One line per difference, with the place in the message.
    pub(super) problems: Vec<String>,
}

/// Compares a message.
pub(super) fn compare(want: &Term, got: &Value, known: &Known) -> Comparison {
    let mut comparison = Comparison::default();
    comparison.value("", want, got, known);
    comparison
}

impl Comparison {
    fn value(&mut self, at: &str, want: &Term, got: &Value, known: &Known) {
        match want {
            Term::Null => self.require(at, got.is_null(), want, got),
            Term::Bool(value) => self.require(at, got == value, want, got),
            Term::Number(lexeme) => self.require(at, is_number(got, lexeme), want, got),
            Term::Text(text) => self.require(at, got == text, want, got),
            Term::Base64(bytes) => self.require(at, *got == *STANDARD.encode_to_string(bytes), want, got),
            Term::Any(kind) => self.require(at, is_kind(got, *kind), want, got),
            Term::Symbol(symbol) => self.symbol(at, symbol, got, known),
            Term::Attr(attr) => self.attr(at, attr, got, known),
            Term::Object(members) => self.members(at, members, got, known),
            Term::Entries(entries) => self.entries(at, entries, got, known),
            Term::List(items) => match got {
                Value::Array(values) if values.len() == items.len() => {
                    for (index, (item, value)) in items.iter().zip(values).enumerate() {
                        self.value(&format!("{at}[{index}]"), item, value, known);
                    }
                }
                _ => self.differ(at, want, got),
            },
            Term::Names(names) => {
                let mut names = names.clone();
                names.sort_unstable();
                let got_names = got
                    .as_array()
                    .and_then(|values| values.iter().map(Value::as_str).collect());
                let got_names = got_names.map(|mut names: Vec<&str>| {
                    names.sort_unstable();
                    names
                });
                self.require(
                    at,
                    got_names.is_some_and(|got_names| got_names == names),
                    want,
                    got,
                );
            }
            Term::Page(count) => {
                let entries = got.as_array();
                self.require(
                    at,
                    entries.is_some_and(|entries| entries.len() == *count),
                    want,
                    got,
                );
                for (index, entry) in entries.into_iter().flatten().enumerate() {
                    let whole = entry["name"].is_string() && entry["attr"].is_object();
                    if !whole {
                        self.problems.push(format!(
                            "{at}[{index}]: {} is no entry",
                            shown(&entry.to_string())
                        ));
                    }
                }
            }
        }
    }

    fn symbol(&mut self, at: &str, symbol: &str, got: &Value, known: &Known) {
        let Some(number) = got.as_u64().filter(|number| *number <= MAX_INTEGER) else {
            self.problems.push(format!(
                "{at}: ${symbol} must be an integer in 0..2^63, got {}",
                shown(&got.to_string())
            ));
            return;
        };
        match known.get(symbol).or_else(|| self.learned.get(symbol).copied()) {
            Some(before) if before != number => {
                self.problems
                    .push(format!("{at}: ${symbol} was {before} before, now {number}"));
            }
            _ => {
                self.learned.insert(symbol.to_owned(), number);
            }
        }
    }

    fn attr(&mut self, at: &str, attr: &Attr, got: &Value, known: &Known) {
        let (kind, type_bits) = if attr.size.is_some() {
            (1, 0o100_000)
        } else {
            (2, 0o040_000)
        };
        let size = attr.size.map_or(Term::Any(Wildcard::Natural), Term::number);
        let natural = Term::Any(Wildcard::Natural);
        let members = [
            ("id", (*attr.id).clone()),
            ("k", Term::number(kind)),
            ("m", Term::number(type_bits | attr.mode)),
            ("n", Term::Any(Wildcard::Positive)),
            ("u", natural.clone()),
            ("g", natural.clone()),
            ("sz", size),
            ("at", natural.clone()),
            ("mt", natural.clone()),
            ("ct", natural.clone()),
            ("gen", natural),
        ];
        self.members(
            at,
            &members.map(|(name, term)| (name.to_owned(), term)),
            got,
            known,
        );
    }

    fn members(&mut self, at: &str, members: &[(String, Term)], got: &Value, known: &Known) {
        let Value::Object(values) = got else {
            self.problems.push(format!(
                "{at}: an object was expected, got {}",
                shown(&got.to_string())
            ));
            return;
        };
        for (name, want) in members {
            match values.get(name) {
                Some(value) => self.value(&format!("{at}.{name}"), want, value, known),
                None => self.problems.push(format!("{at}.{name}: missing")),
            }
        }
    }

    fn entries(&mut self, at: &str, entries: &[(String, Term)], got: &Value, known: &Known) {
        let Value::Array(values) = got else {
            self.problems.push(format!(
                "{at}: entries were expected, got {}",
                shown(&got.to_string())
            ));
            return;
        };
        let mut by_name: HashMap<&str, &Value> = HashMap::new();
        for value in values {
            let name = value["name"].as_str().unwrap_or_default();
            if by_name.insert(name, &value["attr"]).is_some() {
                self.problems.push(format!("{at}: {name:?} is listed twice"));
            }
        }
        for (name, want) in entries {
            match by_name.remove(&**name) {
                Some(attr) => self.value(&format!("{at}[{name:?}]"), want, attr, known),
                None => self.problems.push(format!("{at}: {name:?} is not listed")),
            }
        }
        let mut extra: Vec<&str> = by_name.into_keys().collect();
        extra.sort_unstable();
        self.problems.extend(
            extra
                .iter()
                .map(|name| format!("{at}: {name:?} should not be listed")),
        );
    }

    fn require(&mut self, at: &str, fits: bool, want: &Term, got: &Value) {
        if !fits {
            self.differ(at, want, got);
        }
    }

    fn differ(&mut self, at: &str, want: &Term, got: &Value) {
        let (want, got) = (want.to_string(), got.to_string());
        self.problems
            .push(format!("{at}: want {}, got {}", shown(&want), shown(&got)));
    }
}

/// Equal, and written as the same kind of number: `2` is not `2.0`.
fn is_number(got: &Value, lexeme: &str) -> bool {
    got.as_number().is_some_and(|number| {
        let is_integer = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let text = number.to_string();
        text == lexeme
            || (!is_integer(&text) && !is_integer(lexeme) && number.as_f64() == lexeme.parse().ok())
    })
}

fn is_kind(got: &Value, kind: Wildcard) -> bool {
    let at_least = |least| {
        got.as_u64()
            .is_some_and(|number| (least..=MAX_INTEGER).contains(&number))
    };
    match kind {
        Wildcard::Natural => at_least(0),
        Wildcard::Positive => at_least(1),
        Wildcard::Text => got.is_string(),
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::replay::term::Scanner;

    fn problems(want: &str, got: &Value, known: &Known) -> Vec<String> {
        compare(&Scanner::new(want).term().unwrap(), got, known).problems
    }

    fn attr(id: u64, mode: u32, size: u64) -> Value {
        let kind = if mode & 0o040_000 == 0 { 1 } else { 2 };
        json!({"id": id, "k": kind, "m": mode, "n": 1, "u": 0, "g": 0, "sz": size, "at": 9, "mt": 9, "ct": 9, "gen": 9})
    }

    #[test]
    fn what_may_vary_may_vary() {
        for (want, got) in [
            ("{\"a\":1}", json!({"a": 1, "next_cookie": 0})),
            (
                "{\"t\":nat,\"n\":pos,\"m\":text}",
                json!({"t": 0, "n": 7, "m": "whatever"}),
            ),
            ("file($f,0644,12)", attr(77, 0o100_644, 12)),
            ("dir($d,0755)", attr(78, 0o040_755, 4096)),
            ("names[\"a\",\"b\"]", json!(["b", "a"])),
            ("page(1)", json!([{"name": "x", "attr": {}}])),
            ("b64(\"hi\")", json!("aGk=")),
            (
                "entries{\".\":dir($d,0755),\"f\":file($f,0644,1)}",
                json!([{"name": "f", "attr": attr(2, 0o100_644, 1)}, {"name": ".", "attr": attr(1, 0o040_755, 0)}]),
            ),
        ] {
            assert_eq!(problems(want, &got, &Known::default()), [""; 0], "{want}");
        }
    }

    #[test]
    fn what_may_not_vary_is_reported() {
        for (want, got) in [
            ("1", json!(1.0)),
            ("1", json!("1")),
            ("1", json!(true)),
            ("2.0", json!(2)),
            ("null", json!(0)),
            ("{\"a\":1}", json!({"b": 1})),
            ("{\"a\":1}", json!([])),
            ("[1]", json!([1, 2])),
            ("nat", json!(-1)),
            ("nat", json!(1.5)),
            ("nat", json!(u64::MAX)),
            ("pos", json!(0)),
            ("text", json!(null)),
            ("$id", json!(1_u64 << 63)),
            ("[$id,$id]", json!([1, 2])),
            ("file($f,0644,12)", attr(7, 0o100_644, 13)),
            ("file($f,0644,12)", attr(7, 0o100_600, 12)),
            ("file($f,0644,12)", attr(7, 0o040_644, 12)),
            ("dir($d,0755)", attr(7, 0o100_755, 0)),
            ("names[\"a\",\"b\"]", json!(["a"])),
            ("names[\"a\"]", json!(["a", 5])),
            ("page(2)", json!([{"name": "x", "attr": {}}])),
            ("page(1)", json!([{"name": "x"}])),
            ("b64(\"hi\")", json!("aGl=")),
            ("entries{}", json!([{"name": "f", "attr": {}}])),
            ("entries{\"f\":1}", json!([])),
            (
                "entries{\"f\":1}",
                json!([{"name": "f", "attr": 1}, {"name": "f", "attr": 1}]),
            ),
        ] {
            assert_ne!(
                problems(want, &got, &Known::default()),
                [""; 0],
                "{want} against {got}"
            );
        }
    }

    #[test]
    fn a_symbol_keeps_its_number() {
        let mut known = Known::default();
        known.learn(&compare(&Term::Symbol("f".to_owned()), &json!(5), &known));
        assert_eq!(known.get("f"), Some(5));
        assert_eq!(problems("$f", &json!(5), &known), [""; 0]);
        assert_eq!(problems("$f", &json!(6), &known), [": $f was 5 before, now 6"]);
    }
}
