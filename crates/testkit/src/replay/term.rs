//! Values as golden files write them: JSON, names for learned numbers, and patterns for what may vary.
//!
//! A term is both what a recording expects and what a golden file says. JSON is kept as written (member
//! order, number lexemes), because a request must reach the node as it was recorded: `1.0` is not `1`.

mod parse;
mod print;

pub use self::parse::Scanner;
pub(crate) use self::parse::is_symbol_char;
pub(crate) use self::print::quote;

/// A value in golden notation. [`Display`](std::fmt::Display) prints it, [`Scanner::term`] reads it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number exactly as written.
    Number(String),
    /// `"text"`; long runs are written `"ab" + repeat("c", 300)`.
    Text(String),
    /// `b64("text")`: a string that is the base64 of these bytes.
    Base64(Vec<u8>),
    /// `[…]`
    List(Vec<Term>),
    /// `{…}`; a node may add members to an expected object.
    Object(Vec<(String, Term)>),
    /// `$name`: an id or handle of the node, learned where it first appears in a reply or event.
    Symbol(String),
    /// `nat`, `pos`, `text`: a value of which only the kind is compared.
    Any(Wildcard),
    /// `file($id, 0644, 12)`, `dir($id, 0755)`: an attribute object.
    Attr(Attr),
    /// `entries{".": dir(…), …}`: directory entries in any order.
    Entries(Vec<(String, Term)>),
    /// `names["user.a", …]`: strings in any order.
    Names(Vec<String>),
    /// `page(3)`: three directory entries, whichever they are.
    Page(usize),
}

/// What a value must be when nothing more is known about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wildcard {
    /// `nat`: an integer from 0 (times, versions, filesystem figures).
    Natural,
    /// `pos`: an integer from 1 (link counts).
    Positive,
    /// `text`: any string.
    Text,
}

/// The compared part of an attribute object. Owner, link count and times depend on the machine: only their
/// kind counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attr {
    /// The object's id.
    pub id: Box<Term>,
    /// Permission bits.
    pub mode: u32,
    /// The size of a file; directories have none that could be compared.
    pub size: Option<u64>,
}

impl Term {
    /// A string.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// An integer.
    pub fn number(number: impl Into<i128>) -> Self {
        Self::Number(number.into().to_string())
    }

    /// An object with these members.
    pub fn object<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Object(
            members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    }

    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members
            .iter()
            .find(|(member, _)| member == name)
            .map(|(_, value)| value)
    }

    /// A member of an object, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        let Self::Object(members) = self else { return None };
        members
            .iter_mut()
            .find(|(member, _)| member == name)
            .map(|(_, value)| value)
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// The number, if it is an integer in range.
    pub fn as_u64(&self) -> Option<u64> {
        if let Self::Number(lexeme) = self {
            lexeme.parse().ok()
        } else {
            None
        }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(items) = self {
            Some(items)
        } else {
            None
        }
    }

    /// Whether this stands for entries of which only the number is known.
    pub fn is_page(&self) -> bool {
        matches!(self, Self::Page(_))
    }

    /// The type of a message without `acheron.`, if it is one.
    pub fn message_type(&self) -> Option<&str> {
        self.get("type")?.as_str()?.strip_prefix("acheron.")
    }

    /// Whether this is an invalidation, which may come between any two replies.
    pub fn is_event(&self) -> bool {
        self.message_type().is_some_and(|name| name.starts_with("e_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Term> {
        let mut scanner = Scanner::new(text);
        let term = scanner.term()?;
        scanner.end()?;
        Ok(term)
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        for text in [
            "null",
            "[1,-2.50,1e1,18446744073709551616,true]",
            r#"{"z":1,"a":{"b":[]}}"#,
            r#""tab\t quote\" back\\ nul\u0000 é 日""#,
            r#"repeat("x", 300)"#,
            r#""ab" + repeat("x", 40) + "c""#,
            r#"b64("hello\n")"#,
            r#"b64(hex("00ff"))"#,
            r#"b64(repeat("\u0000", 1048576) + "end")"#,
            "$hello.txt~2",
            r#"{"attr":file($f,0644,12),"dir":dir($d,1777),"t":nat,"n":pos,"m":text}"#,
            r#"entries{".":dir($r,0755),"a b":file($a,0600,0)}"#,
            r#"names["user.a","user.b"]"#,
            "page(3)",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn escapes_of_json_are_understood() {
        assert_eq!(
            parse(r#""\u00e9\ud83d\ude00\/\b\f""#).unwrap(),
            Term::text("é😀/\u{8}\u{c}")
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "nul",
            "truefalse",
            "01",
            "1.",
            "+1",
            "{\"a\":1,}",
            "{\"a\":1,\"a\":2}",
            "[1",
            "\"a",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"a\" +",
            "repeat(\"ab\")",
            "repeat(\"ab\", -1)",
            "b64(5)",
            "b64(hex(\"0\"))",
            "$",
            "file($a,0644)",
            "dir($a,9)",
            "entries{\"a\":1,\"a\":1}",
            "page(x)",
            "1 2",
        ] {
            assert!(parse(text).is_err(), "{text:?} was accepted");
        }
    }
}
