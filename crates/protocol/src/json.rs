//! JSON text as a borrowed tree, under the rules of the original parser (section 3.2).
//!
//! Strings without escapes are borrowed from the frame, so a megabyte of base64 is not copied. A repeated
//! member name anywhere and a nesting beyond [`MAX_JSON_DEPTH`](crate::limits::MAX_JSON_DEPTH) are errors of their own.
//! Numbers are what they are written as: one beyond a double is valid, and no integer.
//!
//! Our own [`Scanner`] says what a text is. Short texts are first read by `serde_json`, which takes half the time for them
//! (and twice the time for file contents), and what it takes is the same. A property test holds the two against each other.

mod quick;

use std::borrow::Cow;

use crate::limits::{MAX_JSON_VALUES, MAX_WIRE_INTEGER};
use crate::strict::{Event, JsonFault, JsonFaultKind, Scanner};

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

impl From<JsonFault> for JsonError {
    fn from(fault: JsonFault) -> Self {
        match fault.kind {
            JsonFaultKind::UnexpectedEnd => Self::UnexpectedEnd,
            JsonFaultKind::DuplicateMember => Self::DuplicateMember,
            JsonFaultKind::TooDeep => Self::TooDeep,
            JsonFaultKind::Syntax | JsonFaultKind::NotAnObject => Self::Syntax,
        }
    }
}

impl<'a> Json<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, JsonError> {
        if text.len() > SHORT {
            return Reader::read(text);
        }
        // What the library refuses may be fine, such as `1e400`, or wrong in a way that it cannot name.
        quick::parse(text).or_else(|_| Reader::read(text))
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

/// Longest text that is read faster by the library.
const SHORT: usize = 2048;

/// Builds the tree from what the scanner finds.
struct Reader<'a> {
    scanner: Scanner<'a>,
    /// Values that may still come.
    left: u32,
}

impl<'a> Reader<'a> {
    fn read(text: &'a str) -> Result<Json<'a>, JsonError> {
        let mut reader = Self {
            scanner: Scanner::of(text)?,
            left: MAX_JSON_VALUES,
        };
        let first = reader.event()?;
        let value = reader.value(first)?;
        // Whatever follows is a fault.
        reader.scanner.next()?;
        Ok(value)
    }

    fn event(&mut self) -> Result<Event<'a>, JsonError> {
        // The scanner itself reports a text that ends inside a value.
        self.scanner.next()?.ok_or(JsonError::UnexpectedEnd)
    }

    /// The value that begins with this event. It calls itself at most as deep as texts may nest.
    fn value(&mut self, first: Event<'a>) -> Result<Json<'a>, JsonError> {
        self.left = self.left.checked_sub(1).ok_or(JsonError::TooManyValues)?;
        Ok(match first {
            // The scanner gives neither a name nor an end where a value is due.
            Event::Null | Event::Name(_) | Event::EndObject | Event::EndArray => Json::Null,
            Event::Bool(value) => Json::Bool(value),
            Event::Number(text) => number(text)?,
            Event::Text(text) => Json::Text(text.decode()),
            Event::BeginArray => {
                let mut items = Vec::new();
                loop {
                    match self.event()? {
                        Event::EndArray => break Json::Array(items),
                        first => items.push(self.value(first)?),
                    }
                }
            }
            Event::BeginObject => {
                let mut members = Vec::new();
                while let Event::Name(name) = self.event()? {
                    let first = self.event()?;
                    members.push((name.decode(), self.value(first)?));
                }
                Json::Object(members)
            }
        })
    }
}

/// A number by how it is written: `-0` is none that an integer can be, and `1e400` is larger than all of them.
fn number(text: &str) -> Result<Json<'_>, JsonError> {
    match text.parse() {
        Ok(integer) if text != "-0" => Ok(Json::Integer(integer)),
        _ => text.parse().map(Json::Number).map_err(|_| JsonError::Syntax),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            ("1e400", None, None),
            ("-1e400", None, None),
            ("-0", None, Some(0)),
            ("123456789012345678901234567890", None, None),
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

    /// Texts of JSON's pieces in any order, few of which are JSON.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = proptest::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"b\"",
            "\"\\u00e9\"",
            "\"\\ud800\"",
            "\"\n\"",
            "1",
            "-0",
            "1e400",
            "01",
            "1.5",
            "9223372036854775808",
            "true",
            "nul",
            " ",
            "\u{feff}",
        ]);
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    /// Texts that are JSON.
    fn values() -> impl Strategy<Value = String> {
        let leaf = proptest::sample::select(vec!["null", "-7", "1e3", "\"x\\ty\"", "{}", "[]", "-0", "0.5"]);
        leaf.prop_map(str::to_owned).prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| format!("[{}]", items.join(","))),
                proptest::collection::vec(inner, 0..4).prop_map(|items| {
                    let members = (0..)
                        .zip(items)
                        .map(|(name, item)| format!("\"{name}\" : {item}"));
                    format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
                }),
            ]
        })
    }

    /// Numbers that are no integers are nobody's business to the last digit.
    fn is_same(one: &Json<'_>, other: &Json<'_>) -> bool {
        match (one, other) {
            (Json::Number(one), Json::Number(other)) => (one - other).abs() <= one.abs() * 1e-12,
            (Json::Array(one), Json::Array(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
            }
            (Json::Object(one), Json::Object(other)) => {
                one.len() == other.len()
                    && one
                        .iter()
                        .zip(other)
                        .all(|(one, other)| one.0 == other.0 && is_same(&one.1, &other.1))
            }
            _ => one == other,
        }
    }

    proptest! {
        #[test]
        fn what_the_library_takes_is_the_same(text in prop_oneof![pieces(), values()]) {
            if let Ok(value) = quick::parse(&text) {
                let read = Reader::read(&text).unwrap();
                prop_assert!(is_same(&value, &read), "{value:?} and {read:?}");
            }
        }
    }
}
