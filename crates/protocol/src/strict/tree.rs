//! A strict text as a tree whose values know where they stand.

use std::borrow::Cow;

use super::{Event, JsonFault, JsonFaultKind, Position, Scanner};

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Value<'a> {
    /// Where it begins in the text, in bytes.
    pub at: usize,
    /// Its text.
    pub source: &'a str,
    /// What it is.
    pub shape: Shape<'a>,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as written.
    Number(&'a str),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object, members in order of appearance.
    Object(Vec<Member<'a>>),
}

/// A member of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Member<'a> {
    /// Its name, unique in the object.
    pub name: Cow<'a, str>,
    /// Where the name begins, in bytes.
    pub at: usize,
    /// Its value.
    pub value: Value<'a>,
}

impl<'a> Value<'a> {
    /// Reads a text. The tree takes many times the memory of its text, so the caller bounds the text.
    pub fn parse(text: &'a [u8]) -> Result<Self, JsonFault> {
        let mut scanner = Scanner::new(text)?;
        let first = expect(&mut scanner)?;
        let value = value(&mut scanner, first)?;
        while scanner.next()?.is_some() {}
        Ok(value)
    }

    /// The member of this name, if this is an object that has it.
    pub fn member(&self, name: &str) -> Option<&Value<'a>> {
        let members = self.as_object()?;
        let member = members.iter().find(|member| member.name == name)?;
        Some(&member.value)
    }

    /// The members of an object.
    pub fn as_object(&self) -> Option<&[Member<'a>]> {
        match &self.shape {
            Shape::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The items of an array.
    pub fn as_array(&self) -> Option<&[Value<'a>]> {
        match &self.shape {
            Shape::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_text(&self) -> Option<&str> {
        match &self.shape {
            Shape::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self.shape {
            Shape::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// A number written without fraction and exponent that fits in 64 signed bits. `-0` is a double (section 1).
    pub fn as_integer(&self) -> Option<i64> {
        match self.shape {
            Shape::Number("-0") => None,
            Shape::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The same, from 0.
    pub fn as_unsigned(&self) -> Option<u64> {
        u64::try_from(self.as_integer()?).ok()
    }

    /// What this is, in words for people.
    pub fn type_words(&self) -> &'static str {
        match self.shape {
            Shape::Null => "null",
            Shape::Bool(_) => "a boolean",
            Shape::Number(_) => "a number",
            Shape::Text(_) => "a string",
            Shape::Array(_) => "an array",
            Shape::Object(_) => "an object",
        }
    }

    /// Where it begins, for people.
    pub fn position(&self, text: &str) -> Position {
        Position::of(text, self.at)
    }
}

fn expect<'a>(scanner: &mut Scanner<'a>) -> Result<Event<'a>, JsonFault> {
    let next = scanner.next()?;
    // The scanner itself reports a text that ends inside a value.
    next.ok_or_else(|| {
        JsonFault::new(
            JsonFaultKind::UnexpectedEnd,
            "the text ends too early",
            scanner.text(),
            scanner.ended(),
        )
    })
}

/// The value that begins with this event. It calls itself at most as deep as texts may nest.
fn value<'a>(scanner: &mut Scanner<'a>, first: Event<'a>) -> Result<Value<'a>, JsonFault> {
    let at = scanner.began();
    let shape = match first {
        Event::Null | Event::Name(_) | Event::EndObject | Event::EndArray => Shape::Null,
        Event::Bool(value) => Shape::Bool(value),
        Event::Number(text) => Shape::Number(text),
        Event::Text(text) => Shape::Text(text.decode()),
        Event::BeginArray => {
            let mut items = Vec::new();
            loop {
                match expect(scanner)? {
                    Event::EndArray => break Shape::Array(items),
                    first => items.push(value(scanner, first)?),
                }
            }
        }
        Event::BeginObject => {
            let mut members = Vec::new();
            while let Event::Name(name) = expect(scanner)? {
                let at = scanner.began();
                let first = expect(scanner)?;
                members.push(Member {
                    name: name.decode(),
                    at,
                    value: value(scanner, first)?,
                });
            }
            Shape::Object(members)
        }
    };
    let source = scanner.text().get(at..scanner.ended()).unwrap_or_default();
    Ok(Value { at, source, shape })
}
