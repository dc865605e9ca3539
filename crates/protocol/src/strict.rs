//! Strict JSON text, read event by event (`services.md`, section 1).
//!
//! Strict means: valid UTF-8 without a byte order mark, no comments, no trailing commas or text, no raw control
//! characters, no lone surrogates, no repeated member names at any depth, nested at most [`MAX_JSON_DEPTH`] deep
//! where a tree is made of it. There is no bound on the number of values but the size of the text.
//!
//! Why this is not `serde_json`: what is made of these texts needs each number as it was written (`1e400` is
//! fine), and the place of every value, so that a fault names a line. The library gives the first only by a
//! feature that would change how [`Json`](crate::Json) reads numbers, and the second not at all. A property test
//! holds the two against each other.
//!
//! [`Scanner`] takes time linear in the text, and memory of at most a few bytes per open value and per member of the
//! objects that are open. [`Value`] is the tree, for texts that are looked into.

mod fault;
mod names;
mod tree;

use std::borrow::Cow;

pub use fault::{JsonFault, JsonFaultKind, Position};
use smallvec::SmallVec;
pub use tree::{Member, Shape, Value};

use self::names::Names;
use crate::limits::MAX_JSON_DEPTH;

/// Longest text, in bytes; places in it are kept in 31 bits. Every caller has a bound far below.
const MAX_TEXT: usize = 1 << 30;

/// One step through a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// `{`
    BeginObject,
    /// A member's name; its value follows.
    Name(Quoted<'a>),
    /// `}`
    EndObject,
    /// `[`
    BeginArray,
    /// `]`
    EndArray,
    /// A string.
    Text(Quoted<'a>),
    /// A number, as written.
    Number(&'a str),
    /// `true` or `false`
    Bool(bool),
    /// `null`
    Null,
}

/// A string as it stands between its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted<'a> {
    raw: &'a str,
    has_escapes: bool,
}

impl<'a> Quoted<'a> {
    /// The text meant; borrowed unless there are escapes in it.
    pub fn decode(self) -> Cow<'a, str> {
        if self.has_escapes {
            Cow::Owned(unescape(self.raw))
        } else {
            Cow::Borrowed(self.raw)
        }
    }

    /// The text, if it stands there without escapes.
    pub(crate) fn plain(self) -> Option<&'a str> {
        (!self.has_escapes).then_some(self.raw)
    }
}

/// Reads one text.
#[derive(Debug)]
pub struct Scanner<'a> {
    text: &'a str,
    /// Where reading goes on.
    at: usize,
    /// Where the last event began.
    began: usize,
    open: SmallVec<[Open; 16]>,
    /// Values that may be open at a time.
    deepest: usize,
    names: Names,
    expect: Expect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Object,
    Array,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ItemOrEnd,
    Name,
    NameOrEnd,
    CommaOrEnd,
    Nothing,
}

impl<'a> Scanner<'a> {
    /// Starts on a text; a fault if it is not UTF-8.
    pub fn new(text: &'a [u8]) -> Result<Self, JsonFault> {
        let Ok(text) = simdutf8::basic::from_utf8(text) else {
            return Err(fault::not_utf8(text));
        };
        Self::of(text)
    }

    /// Starts on a text that is known to be UTF-8.
    pub fn of(text: &'a str) -> Result<Self, JsonFault> {
        if text.len() > MAX_TEXT {
            let what = "longer than a gigabyte";
            return Err(JsonFault::new(JsonFaultKind::Syntax, what, text, MAX_TEXT));
        }
        Ok(Self {
            text,
            at: 0,
            began: 0,
            open: SmallVec::new(),
            deepest: MAX_JSON_DEPTH as usize,
            names: Names::default(),
            expect: Expect::Value,
        })
    }

    /// Lets the text nest as deep as it can. Who reads it must not call itself for each level.
    #[must_use]
    pub fn at_any_depth(self) -> Self {
        Self {
            deepest: usize::MAX,
            ..self
        }
    }

    /// The text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Where in the text the last event began, in bytes.
    pub fn began(&self) -> usize {
        self.began
    }

    /// Where the last event ended.
    pub fn ended(&self) -> usize {
        self.at
    }

    /// The next event; `None` once after the value and nothing but white space behind it.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would go on after a fault"
    )]
    pub fn next(&mut self) -> Result<Option<Event<'a>>, JsonFault> {
        self.skip_space();
        if self.expect == Expect::CommaOrEnd && self.peek() == Some(b',') {
            self.at += 1;
            self.skip_space();
            self.expect = match self.open.last() {
                Some(Open::Object) => Expect::Name,
                _ => Expect::Value,
            };
        }
        self.began = self.at;
        let Some(byte) = self.peek() else {
            return match self.expect {
                Expect::Nothing => Ok(None),
                _ => Err(self.fault(JsonFaultKind::UnexpectedEnd, "the text ends too early")),
            };
        };
        match (self.expect, byte) {
            (Expect::Nothing, _) => Err(self.syntax("nothing may follow the value")),
            (Expect::NameOrEnd | Expect::CommaOrEnd, b'}') if self.open.last() == Some(&Open::Object) => {
                self.close();
                self.names.leave();
                Ok(Some(Event::EndObject))
            }
            (Expect::ItemOrEnd | Expect::CommaOrEnd, b']') if self.open.last() == Some(&Open::Array) => {
                self.close();
                Ok(Some(Event::EndArray))
            }
            (Expect::CommaOrEnd, _) => Err(match self.open.last() {
                Some(Open::Object) => self.syntax("expected `,` or `}`"),
                _ => self.syntax("expected `,` or `]`"),
            }),
            (Expect::Name | Expect::NameOrEnd, b'"') => self.name().map(Some),
            (Expect::Name | Expect::NameOrEnd, _) => Err(self.syntax("expected a member name in quotes")),
            (Expect::Value | Expect::ItemOrEnd, _) => self.value(byte).map(Some),
        }
    }

    fn name(&mut self) -> Result<Event<'a>, JsonFault> {
        let name = self.string()?;
        if !self.names.insert(self.text, self.began, name) {
            return Err(self.fault(JsonFaultKind::DuplicateMember, "this member is there already"));
        }
        let end = self.at;
        self.skip_space();
        match self.peek() {
            Some(b':') => {
                self.at += 1;
                self.expect = Expect::Value;
                Ok(Event::Name(name))
            }
            Some(_) => Err(self.syntax_here("expected `:` after the member's name")),
            None => {
                self.began = end.max(self.at);
                Err(self.fault(JsonFaultKind::UnexpectedEnd, "the text ends too early"))
            }
        }
    }

    fn value(&mut self, byte: u8) -> Result<Event<'a>, JsonFault> {
        let event = match byte {
            b'{' => {
                self.enter(Open::Object)?;
                self.names.enter();
                self.expect = Expect::NameOrEnd;
                return Ok(Event::BeginObject);
            }
            b'[' => {
                self.enter(Open::Array)?;
                self.expect = Expect::ItemOrEnd;
                return Ok(Event::BeginArray);
            }
            b'"' => Event::Text(self.string()?),
            b'-' | b'0'..=b'9' => Event::Number(self.number()?),
            b't' => self.word("true", Event::Bool(true))?,
            b'f' => self.word("false", Event::Bool(false))?,
            b'n' => self.word("null", Event::Null)?,
            _ => return Err(self.syntax("expected a value")),
        };
        self.expect = self.after_value();
        Ok(event)
    }

    fn enter(&mut self, what: Open) -> Result<(), JsonFault> {
        if self.open.len() >= self.deepest {
            return Err(self.fault(JsonFaultKind::TooDeep, "nested deeper than 256 levels"));
        }
        self.open.push(what);
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) {
        self.at += 1;
        self.open.pop();
        self.expect = self.after_value();
    }

    fn after_value(&self) -> Expect {
        if self.open.is_empty() {
            Expect::Nothing
        } else {
            Expect::CommaOrEnd
        }
    }

    fn word(&mut self, word: &str, event: Event<'a>) -> Result<Event<'a>, JsonFault> {
        for expected in word.bytes() {
            match self.peek() {
                Some(byte) if byte == expected => self.at += 1,
                Some(_) => return Err(self.syntax("expected a value")),
                None => return Err(self.cut_off()),
            }
        }
        Ok(event)
    }

    /// A number by the grammar of JSON; `began` is at its start.
    fn number(&mut self) -> Result<&'a str, JsonFault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                return Err(self.syntax_here("a number must not start with 0"));
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.since(self.began))
    }

    fn digits(&mut self) -> Result<(), JsonFault> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(match self.peek() {
                Some(_) => self.syntax_here("expected a digit"),
                None => self.cut_off(),
            });
        }
        self.at += count;
        Ok(())
    }

    /// A string; `at` is at its opening quote.
    fn string(&mut self) -> Result<Quoted<'a>, JsonFault> {
        self.at += 1;
        let start = self.at;
        let mut has_escapes = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            self.at += plain(rest);
            match self.peek() {
                Some(b'"') => {
                    let raw = self.since(start);
                    self.at += 1;
                    return Ok(Quoted { raw, has_escapes });
                }
                Some(b'\\') => {
                    has_escapes = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.syntax_here("a control character must be escaped")),
                None => return Err(self.cut_off()),
            }
        }
    }

    /// Steps over one escape, or the two of a surrogate pair.
    fn escape(&mut self) -> Result<(), JsonFault> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                match self.hex4()? {
                    0xd800..0xdc00 => self.low_surrogate(),
                    0xdc00..0xe000 => Err(self.syntax_here("half of a surrogate pair")),
                    _ => Ok(()),
                }
            }
            Some(_) => Err(self.syntax_here("unknown escape")),
            None => Err(self.cut_off()),
        }
    }

    fn low_surrogate(&mut self) -> Result<(), JsonFault> {
        for expected in *b"\\u" {
            match self.peek() {
                Some(byte) if byte == expected => self.at += 1,
                Some(_) => return Err(self.syntax_here("half of a surrogate pair")),
                None => return Err(self.cut_off()),
            }
        }
        match self.hex4()? {
            0xdc00..0xe000 => Ok(()),
            _ => Err(self.syntax_here("half of a surrogate pair")),
        }
    }

    fn hex4(&mut self) -> Result<u32, JsonFault> {
        let mut number = 0;
        for _ in 0..4 {
            let Some(byte) = self.peek() else {
                return Err(self.cut_off());
            };
            let Some(digit) = char::from(byte).to_digit(16) else {
                return Err(self.syntax_here("expected four hexadecimal digits"));
            };
            number = number * 16 + digit;
            self.at += 1;
        }
        Ok(number)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// What was read since `start`. Both ends are beside ASCII characters.
    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// A fault where the current event began.
    fn syntax(&self, what: &'static str) -> JsonFault {
        self.fault(JsonFaultKind::Syntax, what)
    }

    /// A fault at the very byte.
    fn syntax_here(&self, what: &'static str) -> JsonFault {
        JsonFault::new(JsonFaultKind::Syntax, what, self.text, self.at)
    }

    fn cut_off(&self) -> JsonFault {
        JsonFault::new(
            JsonFaultKind::UnexpectedEnd,
            "the text ends too early",
            self.text,
            self.at,
        )
    }

    fn fault(&self, kind: JsonFaultKind, what: &'static str) -> JsonFault {
        JsonFault::new(kind, what, self.text, self.began)
    }
}

/// Resolves the escapes of a string that was checked.
fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let mut chars = escape.chars();
        match chars.next() {
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('u') => {
                let high = unit(&mut chars);
                let code = if (0xd800..0xdc00).contains(&high) {
                    chars.next();
                    chars.next();
                    let low = unit(&mut chars);
                    0x10000 + ((high & 0x3ff) << 10) + (low & 0x3ff)
                } else {
                    high
                };
                text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(itself) => text.push(itself),
            None => {}
        }
        rest = chars.as_str();
    }
    text.push_str(rest);
    text
}

fn unit(chars: &mut std::str::Chars<'_>) -> u32 {
    chars
        .take(4)
        .fold(0, |number, digit| number * 16 + digit.to_digit(16).unwrap_or(0))
}

/// Bytes at the beginning that a string may hold as they are.
///
/// Most strings are names, and end at once; the few others hold file contents. So the first bytes are looked at one by
/// one, and the rest in blocks, which the compiler turns into vector instructions.
fn plain(text: &[u8]) -> usize {
    const FIRST: usize = 16;
    const BLOCK: usize = 64;
    let is_special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    let (first, rest) = text.split_at(text.len().min(FIRST));
    if let Some(at) = first.iter().position(is_special) {
        return at;
    }
    let is_plain = |block: &&[u8]| !block.iter().fold(false, |any, byte| any | is_special(byte));
    let at = first.len() + rest.chunks_exact(BLOCK).take_while(is_plain).count() * BLOCK;
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(is_special).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests;
