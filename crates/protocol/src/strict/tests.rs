use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn kind(text: &[u8]) -> Option<JsonFaultKind> {
    Value::parse(text).err().map(|fault| fault.kind)
}

#[test]
fn faults_are_told_apart_and_placed() {
    use JsonFaultKind::{DuplicateMember, Syntax, UnexpectedEnd};
    for (text, kind, line, column) in [
        ("garbage", Syntax, 1, 1),
        ("{} x", Syntax, 1, 4),
        ("//x\n{}", Syntax, 1, 1),
        ("{'a':1}", Syntax, 1, 2),
        ("{\"a\":NaN}", Syntax, 1, 6),
        ("{\"a\":1,}", Syntax, 1, 8),
        ("[1,]", Syntax, 1, 4),
        ("[1 2]", Syntax, 1, 4),
        ("{\"a\" 1}", Syntax, 1, 6),
        ("[}", Syntax, 1, 2),
        ("[1}", Syntax, 1, 3),
        ("\u{feff}{}", Syntax, 1, 1),
        ("\"raw\u{1}\"", Syntax, 1, 5),
        ("01", Syntax, 1, 2),
        ("+1", Syntax, 1, 1),
        (".5", Syntax, 1, 1),
        ("1.x", Syntax, 1, 3),
        ("1e", UnexpectedEnd, 1, 3),
        ("-", UnexpectedEnd, 1, 2),
        (r#""\x""#, Syntax, 1, 3),
        (r#""\ud800""#, Syntax, 1, 8),
        (r#""\ud800A""#, Syntax, 1, 8),
        (r#""\udc00""#, Syntax, 1, 8),
        (r#""\u00g0""#, Syntax, 1, 6),
        ("tru", UnexpectedEnd, 1, 4),
        ("", UnexpectedEnd, 1, 1),
        (" \n ", UnexpectedEnd, 2, 2),
        ("{\"a\":", UnexpectedEnd, 1, 6),
        ("{\"a\"", UnexpectedEnd, 1, 5),
        ("{\n \"é\": \"open", UnexpectedEnd, 2, 12),
        ("{\"a\":1,\n \"a\":2}", DuplicateMember, 2, 2),
        (r#"{"p":{"x":[{"a":1,"\u0061":2}]}}"#, DuplicateMember, 1, 19),
    ] {
        let fault = Value::parse(text.as_bytes()).unwrap_err();
        assert_eq!(
            (fault.kind, fault.position),
            (kind, Position { line, column }),
            "{text:?}"
        );
    }
    let fault = Value::parse(b"{\"a\":\n \"\xff\"}").unwrap_err();
    assert_eq!((fault.kind, fault.position.line), (Syntax, 2));
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(kind(nested(256).as_bytes()), None);
    assert_eq!(kind(nested(257).as_bytes()), Some(JsonFaultKind::TooDeep));
    assert_eq!(
        kind("[".repeat(4_000_000).as_bytes()),
        Some(JsonFaultKind::TooDeep)
    );
}

#[test]
fn values_know_their_place_and_text() {
    let text = "{\"a\": [1.50 , \"x\\ty\"],\n  \"b\":{\"c\":null}}";
    let root = Value::parse(text.as_bytes()).unwrap();
    let items = root.member("a").unwrap();
    assert_eq!(items.source, "[1.50 , \"x\\ty\"]");
    assert_eq!(items.as_array().unwrap()[0].shape, Shape::Number("1.50"));
    assert_eq!(items.as_array().unwrap()[1].as_text(), Some("x\ty"));
    let b = root.member("b").unwrap();
    assert_eq!(b.position(text), Position { line: 2, column: 7 });
    assert_eq!(b.member("c").unwrap().shape, Shape::Null);
}

#[test]
fn integers_are_written_plainly() {
    for (text, integer) in [
        ("0", Some(0)),
        ("-7", Some(-7)),
        ("-0", None),
        ("9223372036854775807", Some(i64::MAX)),
        ("9223372036854775808", None),
        ("5.0", None),
        ("1e3", None),
        ("\"1\"", None),
    ] {
        assert_eq!(
            Value::parse(text.as_bytes()).unwrap().as_integer(),
            integer,
            "{text}"
        );
    }
}

#[test]
fn large_objects_are_checked_in_linear_time() {
    let members = |count: usize| -> String {
        let mut text: String = (0..count).fold("{".into(), |text, i| text + &format!("\"m{i}\":0,"));
        text.push_str("\"last\":{}");
        text
    };
    let started = Instant::now();
    assert_eq!(kind((members(300_000) + "}").as_bytes()), None);
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(
        kind((members(300_000) + ",\"\\u006d299999\":1}").as_bytes()),
        Some(JsonFaultKind::DuplicateMember)
    );
    assert_eq!(
        kind((members(20) + ",\"m3\":1}").as_bytes()),
        Some(JsonFaultKind::DuplicateMember)
    );
    // The names of an object that ended do not count for the one around it.
    assert_eq!(kind(br#"{"a":{"b":1,"c":2},"b":{"b":1},"c":0}"#), None);
    let inner = members(20) + "}";
    let outer = |last: &str| format!("{},\"inner\":{inner},\"{last}\":{inner}}}", members(20));
    assert_eq!(kind(outer("other").as_bytes()), None);
    assert_eq!(kind(outer("m7").as_bytes()), Some(JsonFaultKind::DuplicateMember));
}

proptest! {
    /// `serde_json` accepts the same texts, but for repeated members and numbers beyond a double.
    #[test]
    fn the_library_agrees(text in r#"([\[\]{},:"]|"a":|"b":|"[a-z\\u0-9d]{0,7}"|true|null|-?[0-9]{1,3}(\.[0-9])?(e-?[0-9])?|[ \n]){0,12}"#) {
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        match Value::parse(text.as_bytes()) {
            Ok(_) => {
                let is_too_large = |error: &serde_json::Error| error.to_string().contains("number out of range");
                prop_assert!(theirs.as_ref().err().is_none_or(is_too_large), "{theirs:?}");
            }
            Err(fault) if fault.kind == JsonFaultKind::DuplicateMember => {}
            Err(fault) => prop_assert!(theirs.is_err(), "{fault}"),
        }
    }

    #[test]
    fn no_bytes_make_it_fall_over(bytes: Vec<u8>) {
        let _ = Value::parse(&bytes);
    }
}

#[test]
fn the_end_of_a_string_is_found_wherever_it_is() {
    for length in (0..200).chain([1000, 4097]) {
        let plain = "é".repeat(length / 2) + if length % 2 == 1 { "~" } else { "" };
        for (end, fault) in [
            ("\"", None),
            ("\\n\"", None),
            ("\u{1f}\"", Some(JsonFaultKind::Syntax)),
            ("", Some(JsonFaultKind::UnexpectedEnd)),
        ] {
            let text = format!("\"{plain}{end}");
            assert_eq!(kind(text.as_bytes()), fault, "{length} {end:?}");
        }
        let text = format!("[\"{plain}\",\"{plain}\\n\",7]");
        let read = Value::parse(text.as_bytes()).unwrap();
        let texts = read.as_array().unwrap().iter().map(|value| value.as_text());
        let expected = [Some(plain.clone()), Some(format!("{plain}\n")), None];
        assert!(texts.eq(expected.iter().map(Option::as_deref)), "{length}");
    }
}
