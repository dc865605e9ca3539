//! Where the services of our node behave differently from the original's on purpose.
//!
//! The table is `departures.txt`: quotations of golden lines as the vectors give them, and what stands in their place.
//! As with [the file protocol](crate::replay::departures), a quotation that is not found exactly once (or, after
//! `everywhere`, not at all) is an error, so no entry outlives what it is about.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};

/// The table of this project.
const TABLE: &str = include_str!("departures.txt");

/// Deliberate differences, in the order in which they are applied.
#[derive(Debug, Clone)]
pub struct Departures(Vec<Departure>);

/// One deliberate difference.
#[derive(Debug, Clone)]
struct Departure {
    topics: Vec<String>,
    everywhere: bool,
    reason: String,
    recorded: Vec<String>,
    ours: Vec<String>,
}

impl Departures {
    /// The differences of our node.
    pub fn of_this_node() -> Result<Self> {
        Self::parse(TABLE).context("in the departures of services")
    }

    /// Reads a table.
    pub fn parse(text: &str) -> Result<Self> {
        let mut entries: Vec<Departure> = Vec::new();
        let mut topics = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (marker, rest) = line.split_once(' ').unwrap_or((line, ""));
            match (marker, entries.last_mut()) {
                ("topic", _) => topics = rest.split(' ').map(str::to_owned).collect(),
                ("because" | "everywhere", _) if !topics.is_empty() => entries.push(Departure {
                    topics: topics.clone(),
                    everywhere: marker == "everywhere",
                    reason: rest.trim_start_matches("because ").to_owned(),
                    recorded: Vec::new(),
                    ours: Vec::new(),
                }),
                ("-", Some(entry)) if entry.ours.is_empty() => entry.recorded.push(rest.to_owned()),
                ("+", Some(entry)) => entry.ours.push(rest.to_owned()),
                _ => bail!("line {}: {line:?} has no place here", index + 1),
            }
        }
        Ok(Self(entries))
    }

    /// The topics that have entries.
    pub fn topics(&self) -> BTreeSet<&str> {
        let topics = self.0.iter().flat_map(|departure| &departure.topics);
        topics.map(String::as_str).collect()
    }

    /// Turns the golden text of what the original did into that of what our node must do.
    pub fn apply(&self, topic: &str, text: &str) -> Result<String> {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mine = |departure: &&Departure| departure.topics.iter().any(|name| name == topic);
        for departure in self.0.iter().filter(mine) {
            departure.apply(&mut lines).with_context(|| {
                format!(
                    "the departure of {topic} because {:?} does not fit",
                    departure.reason
                )
            })?;
        }
        lines.push(String::new());
        Ok(lines.join("\n"))
    }
}

impl Departure {
    fn apply(&self, lines: &mut Vec<String>) -> Result<()> {
        let length = self.recorded.len();
        ensure!(length > 0, "it quotes nothing");
        let mut found: Vec<(usize, BTreeMap<String, String>)> = Vec::new();
        for (at, quoted) in lines.windows(length).enumerate() {
            let overlaps = found.last().is_some_and(|(last, _)| at < last + length);
            if let (false, Some(values)) = (overlaps, self.quotes(quoted)) {
                found.push((at, values));
            }
        }
        let is_enough = if self.everywhere {
            !found.is_empty()
        } else {
            found.len() == 1
        };
        ensure!(is_enough, "{:#?} occurs {} times", self.recorded, found.len());
        for (at, values) in found.into_iter().rev() {
            let mut ours = vec![format!("# ours: {}", self.reason)];
            ours.extend(self.ours.iter().map(|line| filled(line, &values)));
            lines.splice(at..at + length, ours);
        }
        Ok(())
    }

    /// What the placeholders stand for, if these lines are the quoted ones.
    fn quotes(&self, lines: &[String]) -> Option<BTreeMap<String, String>> {
        let mut values = BTreeMap::new();
        let mut pairs = self.recorded.iter().zip(lines);
        let all = pairs.all(|(pattern, line)| fits(pattern, line, &mut values));
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        all.then(|| values.into_iter().map(owned).collect())
    }
}

type Values<'a> = BTreeMap<&'a str, &'a str>;

/// Whether a line fits a quotation. `<name>` in it stands for any text, the same everywhere in one entry.
fn fits<'a>(pattern: &'a str, line: &'a str, values: &mut Values<'a>) -> bool {
    let Some((before, name, after)) = placeholder(pattern) else {
        return pattern == line;
    };
    let Some(rest) = line.strip_prefix(before) else {
        return false;
    };
    if let Some(value) = values.get(name) {
        return rest
            .strip_prefix(*value)
            .is_some_and(|rest| fits(after, rest, values));
    }
    let literal = placeholder(after).map_or(after, |(literal, ..)| literal);
    let end = if literal.is_empty() {
        Some(rest.len())
    } else {
        rest.find(literal)
    };
    let Some((value, rest)) = end.map(|end| rest.split_at(end)) else {
        return false;
    };
    values.insert(name, value);
    fits(after, rest, values)
}

fn filled(line: &str, values: &BTreeMap<String, String>) -> String {
    let mut line = line.to_owned();
    for (name, value) in values {
        line = line.replace(&format!("<{name}>"), value);
    }
    line
}

/// The text before the first `<name>`, the name, and the text behind it.
fn placeholder(pattern: &str) -> Option<(&str, &str, &str)> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
    let mut starts = pattern.match_indices('<');
    starts.find_map(|(start, _)| {
        let (name, after) = pattern[start + 1..].split_once('>')?;
        is_name(name).then_some((&pattern[..start], name, after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "service t\n> write /a {}\n< error 5 \"Broken\"\nlook\n= /s {\"id\":\"x\",\"n\":1}\n";

    fn applied(table: &str) -> Result<String> {
        Departures::parse(table)?.apply("t", TEXT)
    }

    #[test]
    fn quoted_lines_are_replaced() {
        let table = "topic s t\nbecause it is right\n- < error 5 \"<why>\"\n- look\n- = /s {\"id\":\"<id>\",<rest>\n\
                     + < error 5 \"<why>\"\n+ look\n+ = /s {\"who\":\"<id>\",\"why\":\"<why>\"}\n";
        assert_eq!(
            applied(table).unwrap(),
            "service t\n> write /a {}\n# ours: it is right\n< error 5 \"Broken\"\nlook\n\
             = /s {\"who\":\"x\",\"why\":\"Broken\"}\n"
        );
    }

    #[test]
    fn an_entry_that_never_fires_or_fires_twice_is_an_error() {
        assert!(applied("topic t\nbecause x\n- < error 6 \"Broken\"\n+ look\n").is_err());
        assert!(applied("topic t\nbecause x\n- <any>\n+ look\n").is_err());
        assert!(applied("topic t\nbecause x\n+ look\n").is_err());
        let all = applied("topic t\neverywhere because x\n- l<rest>\n+ peek\n").unwrap();
        assert_eq!(all.matches("# ours: x\npeek").count(), 1);
        assert!(applied("topic t\neverywhere because x\n- none\n").is_err());
        assert_eq!(applied("topic other\nbecause x\n- nothing\n").unwrap(), TEXT);
    }

    #[test]
    fn lines_out_of_place_are_errors() {
        for table in [
            "- a\n",
            "because x\n",
            "topic t\nbecause x\n- a\n+ b\n- c\n",
            "whatever\n",
        ] {
            assert!(Departures::parse(table).is_err(), "{table:?}");
        }
    }
}
