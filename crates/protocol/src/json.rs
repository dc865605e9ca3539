//! JSON text as a borrowed tree, under the rules of the original parser (section 3.2).
//!
//! Strings without escapes are borrowed from the frame, so a megabyte of base64 is not copied. A repeated
//! member name anywhere and a nesting beyond [`MAX_JSON_DEPTH`] are errors of their own.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::limits::{MAX_JSON_DEPTH, MAX_JSON_VALUES, MAX_WIRE_INTEGER};

/// A JSON value that borrows from its text.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number written as an integer that fits in 64 signed bits.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object, members in order of appearance, names unique.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Why a text is no acceptable JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonError {
    Syntax,
    UnexpectedEnd,
    DuplicateMember,
    TooDeep,
    TooManyValues,
}

// What the visitor says through `serde_json::Error`, the only channel there is.
const DUPLICATE: &str = "repeated member";
const TOO_DEEP: &str = "nested too deep";
const TOO_MANY: &str = "too many values";

impl<'a> Json<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, JsonError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        // The seed counts levels itself; the library's fixed limit of 128 is below what peers send.
        deserializer.disable_recursion_limit();
        let value = Level {
            depth: MAX_JSON_DEPTH,
            values: &Cell::new(MAX_JSON_VALUES),
        }
        .deserialize(&mut deserializer)
        .map_err(|e| classify(&e))?;
        deserializer.end().map_err(|e| classify(&e))?;
        Ok(value)
    }

    /// The text of a string.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number that is written as an integer in 0 … 2^63−1: the rule for members of the envelope.
    pub fn as_strict_unsigned(&self) -> Option<u64> {
        match self {
            Self::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A number with an integral value in 0 … 2^63−1, `2.0` and `1e1` included: the rule inside `payload`.
    pub fn as_unsigned(&self) -> Option<u64> {
        match self {
            Self::Integer(number) => u64::try_from(*number).ok(),
            #[expect(clippy::float_cmp, reason = "integral values are exact")]
            Self::Number(number)
                if *number >= 0.0 && *number < MAX_WIRE_INTEGER as f64 && number.trunc() == *number =>
            {
                Some(*number as u64)
            }
            _ => None,
        }
    }

    /// The members of an object.
    pub fn as_object(&self) -> Option<&[(Cow<'a, str>, Json<'a>)]> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }
}

fn classify(error: &serde_json::Error) -> JsonError {
    use serde_json::error::Category;
    match error.classify() {
        Category::Eof => JsonError::UnexpectedEnd,
        Category::Data => {
            let message = error.to_string();
            if message.starts_with(DUPLICATE) {
                JsonError::DuplicateMember
            } else if message.starts_with(TOO_DEEP) {
                JsonError::TooDeep
            } else if message.starts_with(TOO_MANY) {
                JsonError::TooManyValues
            } else {
                JsonError::Syntax
            }
        }
        Category::Syntax | Category::Io => JsonError::Syntax,
    }
}

/// Deserialises one value with this many levels left below it, and this many values left in the text.
#[derive(Clone, Copy)]
struct Level<'c> {
    depth: u32,
    values: &'c Cell<u32>,
}

impl Level<'_> {
    fn down<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom(TOO_DEEP))?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        let left = self.values.get().checked_sub(1);
        self.values.set(left.ok_or_else(|| D::Error::custom(TOO_MANY))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(i64::try_from(value).map_or(Json::Number(value as f64), Json::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json<'de>, A::Error> {
        let below = self.down()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(below)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let below = self.down()?;
        let mut members: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        // A linear search is fastest for the handful of members a message has; the set keeps an object with
        // a million members from costing a trillion comparisons.
        let mut many: Option<HashSet<Cow<'de, str>>> = None;
        while let Some(name) = map.next_key_seed(MemberName)? {
            let repeated = match &mut many {
                Some(seen) => !seen.insert(name.clone()),
                None => members.iter().any(|(other, _)| *other == name),
            };
            if repeated {
                return Err(A::Error::custom(DUPLICATE));
            }
            members.push((name, map.next_value_seed(below)?));
            if members.len() == 32 {
                many = Some(members.iter().map(|(name, _)| name.clone()).collect());
            }
        }
        Ok(Json::Object(members))
    }
}

struct MemberName;

impl<'de> DeserializeSeed<'de> for MemberName {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for MemberName {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_apart() {
        for (text, fault) in [
            ("garbage", JsonError::Syntax),
            ("{} x", JsonError::Syntax),
            ("{'a':1}", JsonError::Syntax),
            ("{\"a\":NaN}", JsonError::Syntax),
            ("\u{feff}{}", JsonError::Syntax),
            (r#""\ud800""#, JsonError::Syntax),
            ("\"raw\u{1}control\"", JsonError::Syntax),
            ("", JsonError::UnexpectedEnd),
            ("  ", JsonError::UnexpectedEnd),
            ("{\"a\":", JsonError::UnexpectedEnd),
            (r#"{"a":1,"a":2}"#, JsonError::DuplicateMember),
            (r#"{"p":{"x":[{"a":1,"\u0061":2}]}}"#, JsonError::DuplicateMember),
        ] {
            assert_eq!(Json::parse(text), Err(fault), "{text:?}");
        }
    }

    #[test]
    fn nesting_is_bounded_where_the_original_died() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Json::parse(&nested(256)).is_ok());
        assert_eq!(Json::parse(&nested(257)), Err(JsonError::TooDeep));
        assert_eq!(Json::parse(&"[".repeat(4_000_000)), Err(JsonError::TooDeep));
        assert_eq!(Json::parse(&r#"{"a":"#.repeat(500_000)), Err(JsonError::TooDeep));
    }

    #[test]
    fn a_text_of_very_many_values_is_refused_before_it_is_all_read() {
        let zeros = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
        assert!(Json::parse(&zeros(MAX_JSON_VALUES as usize - 1)).is_ok());
        assert_eq!(
            Json::parse(&zeros(MAX_JSON_VALUES as usize)),
            Err(JsonError::TooManyValues)
        );
        assert_eq!(Json::parse(&"[[],".repeat(1_000_000)), Err(JsonError::TooDeep));
        assert_eq!(
            Json::parse(&format!("[{}", "{},".repeat(1_000_000))),
            Err(JsonError::TooManyValues)
        );
    }

    #[test]
    fn numbers_follow_two_rules() {
        for (text, strict, loose) in [
            ("0", Some(0), Some(0)),
            (
                "9223372036854775807",
                Some(i64::MAX as u64),
                Some(i64::MAX as u64),
            ),
            ("9223372036854775808", None, None),
            ("-1", None, None),
            ("2.0", None, Some(2)),
            ("1e1", None, Some(10)),
            ("1.5", None, None),
            ("1e300", None, None),
            ("\"1\"", None, None),
            ("null", None, None),
        ] {
            let value = Json::parse(text).unwrap();
            assert_eq!(
                (value.as_strict_unsigned(), value.as_unsigned()),
                (strict, loose),
                "{text}"
            );
        }
    }

    #[test]
    fn an_object_with_very_many_members_is_still_checked() {
        let mut text: String = (0..50_000).fold("{".into(), |text, i| text + &format!("\"m{i}\":0,"));
        text.push_str("\"m40000\":1}");
        assert_eq!(Json::parse(&text), Err(JsonError::DuplicateMember));
    }

    #[test]
    fn plain_strings_are_borrowed() {
        let Json::Text(text) = Json::parse(r#""QUJD""#).unwrap() else {
            panic!("not a string")
        };
        assert!(matches!(text, Cow::Borrowed("QUJD")));
    }
}
