//! The canonical re-rendering of JSON (`services.md`, section 1).
//!
//! Compact, members in the order of the input, every number in one form, strings escaped only where they must be.
//! It is the form of `config.json`, of the object members of a manifest in the catalog, and of what the echo driver
//! says. Input is [strict](crate::strict).

use crate::strict::{Event, JsonFault, JsonFaultKind, Quoted, Scanner};

/// Renders a text again.
///
/// The result may be some 50 times as long as the text: `1e308` becomes 309 digits. Who stores it bounds it.
pub fn render(text: &[u8]) -> Result<String, JsonFault> {
    let mut scanner = Scanner::new(text)?;
    let mut out = String::with_capacity(text.len());
    // Whether a comma separates what comes next from what was before.
    let mut follows = false;
    while let Some(event) = scanner.next()? {
        if follows && !matches!(event, Event::EndObject | Event::EndArray) {
            out.push(',');
        }
        follows = !matches!(event, Event::BeginObject | Event::BeginArray | Event::Name(_));
        match event {
            Event::BeginObject => out.push('{'),
            Event::EndObject => out.push('}'),
            Event::BeginArray => out.push('['),
            Event::EndArray => out.push(']'),
            Event::Name(name) => {
                push_quoted(&mut out, name);
                out.push(':');
            }
            Event::Text(text) => push_quoted(&mut out, text),
            Event::Number(text) => push_number(&mut out, text),
            Event::Bool(true) => out.push_str("true"),
            Event::Bool(false) => out.push_str("false"),
            Event::Null => out.push_str("null"),
        }
    }
    Ok(out)
}

/// A text without the white space around it: spaces, tabs, carriage returns and line feeds, no others (section 1).
pub fn trim(text: &[u8]) -> &[u8] {
    let start = text
        .iter()
        .position(|byte| !is_white(*byte))
        .unwrap_or(text.len());
    trim_end(text.get(start..).unwrap_or_default())
}

/// The same at the end only.
pub fn trim_end(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .rposition(|byte| !is_white(*byte))
        .map_or(0, |last| last + 1);
    text.get(..end).unwrap_or_default()
}

/// Whether a byte is white space.
pub const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether a text is one valid JSON object and nothing else but white space, however deep it nests. Takes time linear
/// in the text, and memory of a few bytes for each level and for each member of the largest object.
///
/// A text that more bytes could make valid has [`JsonFaultKind::UnexpectedEnd`], also where it ends inside a character.
pub fn check_object(text: &[u8]) -> Result<(), JsonFault> {
    match Scanner::new(text) {
        Ok(scanner) => check_object_in(scanner),
        // Whether that character may stand there decides, whatever it will be.
        Err(_) if ends_inside_a_character(text) => {
            check_object_in(Scanner::of(&String::from_utf8_lossy(text))?)
        }
        Err(fault) => Err(fault),
    }
}

fn ends_inside_a_character(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_err_and(|fault| fault.error_len().is_none())
}

fn check_object_in(scanner: Scanner<'_>) -> Result<(), JsonFault> {
    let mut scanner = scanner.at_any_depth();
    let first = scanner.next()?;
    let began = scanner.began();
    // A text that is no JSON at all is told as that.
    while scanner.next()?.is_some() {}
    if first == Some(Event::BeginObject) {
        return Ok(());
    }
    Err(JsonFault::new(
        JsonFaultKind::NotAnObject,
        "expected an object",
        scanner.text(),
        began,
    ))
}

/// Appends a string with its quotes.
pub fn push_text(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest
        .bytes()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
    {
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = from.chars();
        match chars.next() {
            Some('\u{8}') => out.push_str("\\b"),
            Some('\u{c}') => out.push_str("\\f"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(mark @ ('"' | '\\')) => out.extend(['\\', mark]),
            Some(control) => {
                let code = control as u32;
                let digit = |shift: u32| char::from_digit(code >> shift & 0xf, 16).unwrap_or('0');
                out.push_str("\\u00");
                out.extend([digit(4), digit(0)]);
            }
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Writes one object, members in the order of the calls, compactly.
#[derive(Debug)]
pub struct ObjectWriter(String);

impl Default for ObjectWriter {
    fn default() -> Self {
        Self("{".to_owned())
    }
}

impl ObjectWriter {
    /// An object without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// A member that is a string.
    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        push_text(&mut self.0, value);
        self
    }

    /// A member whose value displays as JSON: a number, a boolean, or a text that is JSON already.
    #[must_use]
    pub fn json(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        use std::fmt::Write as _;

        self.name(name);
        let _ = write!(self.0, "{value}");
        self
    }

    /// A member that is an array of these JSON texts.
    #[must_use]
    pub fn array(mut self, name: &str, items: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.name(name);
        self.0.push('[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            self.0.push_str(item.as_ref());
        }
        self.0.push(']');
        self
    }

    /// The text.
    pub fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        push_text(&mut self.0, name);
        self.0.push(':');
    }
}

/// A string with its quotes.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_text(&mut out, text);
    out
}

fn push_quoted(out: &mut String, text: Quoted<'_>) {
    match text.plain() {
        Some(plain) => {
            out.push('"');
            out.push_str(plain);
            out.push('"');
        }
        None => push_text(out, &text.decode()),
    }
}

fn push_number(out: &mut String, text: &str) {
    use std::fmt::Write as _;

    if !text.contains(['.', 'e', 'E']) {
        // An integer that fits is plain decimal already, and one that does not keeps its text.
        out.push_str(text);
        return;
    }
    match text.parse::<f64>() {
        // `Display` gives the shortest digits that read back equal, and never an exponent.
        Ok(number) if number.is_finite() => {
            let _ = write!(out, "{number}");
        }
        _ => out.push_str(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::strict::{Shape, Value};

    fn rendered(text: &str) -> String {
        render(text.as_bytes()).unwrap()
    }

    #[test]
    fn white_space_is_what_json_says() {
        assert_eq!(trim(b" \t\r\n{ }\n "), b"{ }");
        assert_eq!(trim(b"\x0c{}\x0b"), b"\x0c{}\x0b");
        assert_eq!((trim(b" \n"), trim_end(b" a ")), (&b""[..], &b" a"[..]));
    }

    #[test]
    fn numbers_have_one_form() {
        for (text, expected) in [
            ("1.50", "1.5"),
            ("1e3", "1000"),
            ("1E+3", "1000"),
            ("1e-7", "0.0000001"),
            ("1e21", "1000000000000000000000"),
            ("2.0", "2"),
            ("-0", "-0"),
            ("-0.0", "-0"),
            ("0", "0"),
            ("-5", "-5"),
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("1e400", "1e400"),
            ("-1E400", "-1E400"),
            ("12345678901234567890", "12345678901234567890"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("100000000000000000000.0", "100000000000000000000"),
            ("1.5e-10", "0.00000000015"),
            ("123456789.123456789", "123456789.12345679"),
            ("0.1", "0.1"),
            ("1e-400", "0"),
        ] {
            assert_eq!(rendered(text), expected, "{text}");
        }
    }

    #[test]
    fn strings_are_escaped_only_where_they_must_be() {
        for (text, expected) in [
            (
                r#""\"\\\/\b\f\n\r\t\u0001\u001f""#,
                r#""\"\\/\b\f\n\r\t\u0001\u001f""#,
            ),
            (r#""\u007f\u2028\u00e9\ud83d\ude00""#, "\"\u{7f}\u{2028}é😀\""),
            ("\"é / 日本\"", "\"é / 日本\""),
        ] {
            assert_eq!(rendered(text), expected, "{text}");
        }
    }

    #[test]
    fn members_keep_their_order_and_lose_their_space() {
        assert_eq!(
            rendered(" {\"b\" : [1, 2.50, true, null,{} ,[ ]] ,\n\"s\":\"x\\ny\" , \"a\":false}\n"),
            r#"{"b":[1,2.5,true,null,{},[]],"s":"x\ny","a":false}"#
        );
    }

    #[test]
    fn an_object_may_nest_as_deep_as_it_can() {
        let nested = |open: &str, close: &str| {
            let levels = 4 * 1024 * 1024 / (open.len() + close.len());
            format!("{{\"a\":{}0{}}}", open.repeat(levels), close.repeat(levels))
        };
        for text in [nested("[", "]"), nested("{\"\":", "}")] {
            assert_eq!(check_object(text.as_bytes()), Ok(()));
            let cut = text.get(..text.len() - 1).unwrap();
            let fault = check_object(cut.as_bytes()).unwrap_err();
            assert_eq!(fault.kind, JsonFaultKind::UnexpectedEnd);
        }
    }

    #[test]
    fn what_more_bytes_could_mend_ends_too_early() {
        use JsonFaultKind::{Syntax, UnexpectedEnd};
        for (text, kind) in [
            (&b"{\"a\":\"\xe2\x82"[..], UnexpectedEnd),
            (b"{\"a\":1,\"\xc3", UnexpectedEnd),
            // No character may stand there, or one is broken already.
            (b"{\"a\":\xc3", Syntax),
            (b"{\"a\":1} \xc3", Syntax),
            (b"{bad \xc3", Syntax),
            (b"{\"a\":\"\xc3 \xc3", Syntax),
            (b"{\"a\":\"\xff", Syntax),
        ] {
            assert_eq!(
                check_object(text).unwrap_err().kind,
                kind,
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn only_one_object_is_an_object() {
        assert_eq!(check_object(b" {\"a\":[{}]} \r\n"), Ok(()));
        assert_eq!(check_object(br#"{"f":1e400}"#), Ok(()));
        for (text, kind) in [
            ("[1]", JsonFaultKind::NotAnObject),
            ("\"x\"", JsonFaultKind::NotAnObject),
            ("5", JsonFaultKind::NotAnObject),
            ("nope", JsonFaultKind::Syntax),
            ("[1", JsonFaultKind::UnexpectedEnd),
            ("{} {}", JsonFaultKind::Syntax),
            ("", JsonFaultKind::UnexpectedEnd),
        ] {
            assert_eq!(check_object(text.as_bytes()).unwrap_err().kind, kind, "{text}");
        }
    }

    #[test]
    fn an_object_is_written_member_by_member() {
        let text = ObjectWriter::new()
            .text("a\"", "\n")
            .json("n", -5)
            .json("b", true)
            .array("l", ["1", "{}"])
            .array("e", [""; 0])
            .finish();
        assert_eq!(text, r#"{"a\"":"\n","n":-5,"b":true,"l":[1,{}],"e":[]}"#);
        assert_eq!(ObjectWriter::new().finish(), "{}");
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(".{0,4}", inner, 0..6)
                    .prop_map(|members| members.into_iter().collect::<serde_json::Value>()),
            ]
        })
    }

    proptest! {
        #[test]
        fn rendering_keeps_the_value_and_is_done_once(value in any_json(), pretty: bool) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let once = rendered(&text);
            prop_assert_eq!(meaning(&Value::parse(once.as_bytes()).unwrap()), meaning(&Value::parse(text.as_bytes()).unwrap()));
            prop_assert_eq!(rendered(&once), once);
        }

        #[test]
        fn our_strings_read_back(text in "\\PC*|[\\x00-\\x7f]*") {
            let mut out = String::new();
            push_text(&mut out, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }

    /// A value without the ways to write it.
    #[derive(Debug, PartialEq)]
    enum Meaning {
        Plain(Shape<'static>),
        Double(f64),
        Text(String),
        Array(Vec<Meaning>),
        Object(Vec<(String, Meaning)>),
    }

    fn meaning(value: &Value<'_>) -> Meaning {
        match &value.shape {
            Shape::Null => Meaning::Plain(Shape::Null),
            Shape::Bool(value) => Meaning::Plain(Shape::Bool(*value)),
            // The standard library rounds correctly, which `serde_json` does not always.
            Shape::Number(text) => Meaning::Double(text.parse().unwrap()),
            Shape::Text(text) => Meaning::Text(text.to_string()),
            Shape::Array(items) => Meaning::Array(items.iter().map(meaning).collect()),
            Shape::Object(members) => Meaning::Object(
                members
                    .iter()
                    .map(|member| (member.name.to_string(), meaning(&member.value)))
                    .collect(),
            ),
        }
    }
}
