//! Reading golden notation. Strict: what is not understood is an error with its column.

use anyhow::{Context as _, Result, bail, ensure};

use super::{Attr, Term, Wildcard};

/// How deep terms may nest; recordings stay far below.
const MAX_DEPTH: usize = 200;

/// A position in one line of text.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    /// Starts at the beginning of `text`.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    /// Skips blanks and returns what is left.
    pub fn rest(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    /// Whether anything but blanks is left.
    pub fn is_at_end(&mut self) -> bool {
        self.rest().is_empty()
    }

    /// Nothing but blanks may be left.
    pub fn end(&mut self) -> Result<()> {
        ensure!(
            self.is_at_end(),
            "column {}: {:?} is too much",
            self.at + 1,
            clipped(self.rest())
        );
        Ok(())
    }

    /// Takes `token` if it comes next.
    pub fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Takes `token`, which must come next.
    pub fn require(&mut self, token: &str) -> Result<()> {
        ensure!(
            self.eat(token),
            "column {}: {token:?} is missing before {:?}",
            self.at + 1,
            clipped(self.rest())
        );
        Ok(())
    }

    /// The next run of characters up to a blank; empty at the end.
    pub fn word(&mut self) -> &'a str {
        self.take_while(|char| !char.is_whitespace())
    }

    /// The next run of letters, digits and underscores.
    pub fn identifier(&mut self) -> &'a str {
        self.take_while(|char| char.is_ascii_alphanumeric() || char == '_')
    }

    /// An unsigned decimal number.
    pub fn decimal<N: std::str::FromStr>(&mut self) -> Result<N> {
        let digits = self.take_while(|char| char.is_ascii_digit());
        digits
            .parse()
            .ok()
            .with_context(|| format!("column {}: a number was expected", self.at + 1))
    }

    /// Permission bits as four octal digits.
    pub fn mode(&mut self) -> Result<u32> {
        let digits = self.take_while(|char| char.is_ascii_digit());
        ensure!(
            digits.len() == 4,
            "column {}: a mode has four octal digits",
            self.at + 1
        );
        u32::from_str_radix(digits, 8)
            .with_context(|| format!("column {}: {digits} is not octal", self.at + 1))
    }

    /// A string expression.
    pub fn string(&mut self) -> Result<String> {
        String::from_utf8(self.bytes()?).context("a string that is not UTF-8")
    }

    /// A byte expression: quoted text, `repeat(…)` and `hex(…)` joined by `+`.
    pub fn bytes(&mut self) -> Result<Vec<u8>> {
        let mut bytes = self.piece()?;
        while self.eat("+") {
            bytes.extend(self.piece()?);
        }
        Ok(bytes)
    }

    /// A term.
    pub fn term(&mut self) -> Result<Term> {
        self.depth += 1;
        ensure!(
            self.depth <= MAX_DEPTH,
            "column {}: nested too deeply",
            self.at + 1
        );
        let term = self.term_inside()?;
        self.depth -= 1;
        Ok(term)
    }

    fn term_inside(&mut self) -> Result<Term> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            bail!("a value is missing at the end")
        };
        match first {
            '"' => Ok(Term::Text(self.string()?)),
            '{' => Ok(Term::Object(self.members("{")?)),
            '[' => Ok(Term::List(self.sequence("[", Self::term)?)),
            '-' | '0'..='9' => self.number(),
            '$' => {
                self.require("$")?;
                Ok(Term::Symbol(self.symbol_name()?))
            }
            _ => self.keyword(),
        }
    }

    fn keyword(&mut self) -> Result<Term> {
        let start = self.at;
        let word = self.identifier();
        Ok(match word {
            "null" => Term::Null,
            "true" => Term::Bool(true),
            "false" => Term::Bool(false),
            "nat" => Term::Any(Wildcard::Natural),
            "pos" => Term::Any(Wildcard::Positive),
            "text" => Term::Any(Wildcard::Text),
            "repeat" => {
                self.at = start;
                Term::Text(self.string()?)
            }
            "b64" => Term::Base64(self.in_parentheses(Self::bytes)?),
            "page" => Term::Page(self.in_parentheses(Self::decimal)?),
            "file" => Term::Attr(self.in_parentheses(|scanner| scanner.attr(true))?),
            "dir" => Term::Attr(self.in_parentheses(|scanner| scanner.attr(false))?),
            "entries" => Term::Entries(self.members("{")?),
            "names" => Term::Names(self.sequence("[", Self::string)?),
            _ => bail!(
                "column {}: {:?} is no value",
                start + 1,
                clipped(&self.text[start..])
            ),
        })
    }

    fn attr(&mut self, is_file: bool) -> Result<Attr> {
        let id = Box::new(self.term()?);
        self.require(",")?;
        let mode = self.mode()?;
        let size = if is_file {
            self.require(",")?;
            Some(self.decimal()?)
        } else {
            None
        };
        Ok(Attr { id, mode, size })
    }

    fn symbol_name(&mut self) -> Result<String> {
        let rest = &self.text[self.at..];
        let length = rest
            .find(|char: char| !is_symbol_char(char))
            .unwrap_or(rest.len());
        ensure!(length > 0, "column {}: a name is missing after $", self.at + 1);
        self.at += length;
        Ok(rest[..length].to_owned())
    }

    /// A JSON number, kept as written.
    fn number(&mut self) -> Result<Term> {
        let lexeme = self.take_while(|char| matches!(char, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
        // The grammar is JSON's, so the JSON parser decides.
        let known = serde_json::from_str::<serde_json::Number>(lexeme);
        ensure!(
            known.is_ok(),
            "column {}: {lexeme} is no JSON number",
            self.at + 1
        );
        Ok(Term::Number(lexeme.to_owned()))
    }

    fn members(&mut self, open: &str) -> Result<Vec<(String, Term)>> {
        let members = self.sequence(open, |scanner| {
            let name = scanner.string()?;
            scanner.require(":")?;
            Ok((name, scanner.term()?))
        })?;
        let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
        ensure!(twice.is_none(), "{twice:?} are the same name");
        Ok(members)
    }

    fn sequence<T>(&mut self, open: &str, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let close = if open == "[" { "]" } else { "}" };
        self.require(open)?;
        let mut items = Vec::new();
        if self.eat(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat(close) {
                return Ok(items);
            }
            self.require(",")?;
        }
    }

    fn in_parentheses<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.require("(")?;
        let value = inside(self)?;
        self.require(")")?;
        Ok(value)
    }

    fn piece(&mut self) -> Result<Vec<u8>> {
        if self.eat("repeat(") {
            let unit = self.quoted()?;
            self.require(",")?;
            let times: usize = self.decimal()?;
            self.require(")")?;
            return Ok(unit.repeat(times).into_bytes());
        }
        if self.eat("hex(") {
            let digits = self.quoted()?;
            self.require(")")?;
            return decode_hex(&digits).with_context(|| format!("column {}: bad hex digits", self.at + 1));
        }
        Ok(self.quoted()?.into_bytes())
    }

    /// A quoted string; the escapes are JSON's, so the JSON parser resolves them.
    fn quoted(&mut self) -> Result<String> {
        let rest = self.rest();
        ensure!(
            rest.starts_with('"'),
            "column {}: a string was expected before {:?}",
            self.at + 1,
            clipped(rest)
        );
        let mut escaped = false;
        let end = rest.bytes().enumerate().skip(1).find(|(_, byte)| {
            let is_end = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            is_end
        });
        let Some((end, _)) = end else {
            bail!("column {}: a string without end", self.at + 1)
        };
        let literal = &rest[..=end];
        let text =
            serde_json::from_str(literal).with_context(|| format!("column {}: bad string", self.at + 1))?;
        self.at += literal.len();
        Ok(text)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|char| !wanted(char)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }
}

/// The characters of a symbol's name.
pub(crate) fn is_symbol_char(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '.' | '-' | '~')
}

fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
        .collect()
}

fn clipped(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| &text[..end])
}
