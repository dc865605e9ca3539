//! Where our node answers differently from the original on purpose.
//!
//! The table is `departures.txt`: quotations of recorded steps, and what stands in their place. An entry
//! whose quotation is not found exactly once is an error, so the table cannot outlive its reasons. Golden
//! files hold the outcome; replaying recordings applies the same table.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};

use super::golden;
use super::script::{Action, Incoming, Script, Step};

/// The table of this project.
const TABLE: &str = include_str!("departures.txt");

/// Quotes every event of the connection that follows.
const EVENTS_ON: &str = "events on ";

/// Deliberate differences, in the order in which they are applied.
#[derive(Debug, Clone)]
pub struct Departures(Vec<Departure>);

/// One deliberate difference.
#[derive(Debug, Clone)]
struct Departure {
    topic: String,
    reason: String,
    recorded: Vec<String>,
    ours: Vec<String>,
}

impl Departures {
    /// The differences of our node.
    pub fn of_this_node() -> Result<Self> {
        Self::parse(TABLE).context("in departures.txt")
    }

    /// Reads a table.
    pub fn parse(text: &str) -> Result<Self> {
        let mut entries: Vec<Departure> = Vec::new();
        let mut topic = None;
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (marker, rest) = line.split_once(' ').unwrap_or((line, ""));
            let rest = rest.to_owned();
            let entry = entries.last_mut();
            match (marker, &topic, entry) {
                ("topic", ..) => topic = Some(rest),
                ("because", Some(topic), _) => {
                    let topic = topic.clone();
                    entries.push(Departure {
                        topic,
                        reason: rest,
                        recorded: Vec::new(),
                        ours: Vec::new(),
                    });
                }
                ("-", _, Some(entry)) if entry.ours.is_empty() => entry.recorded.push(rest),
                ("+", _, Some(entry)) => entry.ours.push(rest),
                _ => bail!("line {}: {line:?} has no place here", index + 1),
            }
        }
        Ok(Self(entries))
    }

    /// The topics that have entries.
    pub fn topics(&self) -> BTreeSet<&str> {
        self.0.iter().map(|departure| &*departure.topic).collect()
    }

    /// Turns what the original did into what our node must do.
    pub fn apply(&self, script: &mut Script) -> Result<()> {
        let topic = script.topic.clone();
        for departure in self.0.iter().filter(|departure| departure.topic == topic) {
            departure.apply(script).with_context(|| {
                format!(
                    "the departure of {topic} because {:?} does not fit",
                    departure.reason
                )
            })?;
        }
        Ok(())
    }
}

impl Departure {
    fn apply(&self, script: &mut Script) -> Result<()> {
        let at = match &*self.recorded {
            [all] if all.starts_with(EVENTS_ON) => remove_events(script, all[EVENTS_ON.len()..].parse()?)?,
            quoted => remove_steps(script, quoted)?,
        };
        let line = script.steps.get(at).map_or(0, |step| step.line);
        let mut ours = vec![Step {
            line,
            action: Action::Note(format!("ours: {}", self.reason)),
        }];
        for text in &self.ours {
            ours.push(Step {
                line,
                action: golden::parse_action(text)?,
            });
        }
        script.steps.splice(at..at, ours);
        Ok(())
    }
}

/// Removes the consecutive steps that print as `quoted` and returns where they were.
fn remove_steps(script: &mut Script, quoted: &[String]) -> Result<usize> {
    let printed: Vec<String> = script
        .steps
        .iter()
        .map(|step| golden::print_action(&step.action))
        .collect();
    let places: Vec<usize> = (0..printed.len())
        .filter(|at| printed[*at..].starts_with(quoted))
        .collect();
    let [at] = *places else {
        bail!("{quoted:#?} occurs {} times", places.len())
    };
    script.steps.drain(at..at + quoted.len());
    Ok(at)
}

/// Removes the events of a connection and returns where the last one was.
fn remove_events(script: &mut Script, conn: u32) -> Result<usize> {
    let is_event = |step: &Step| match &step.action {
        Action::Expect {
            conn: on,
            what: Incoming::Message(message),
        } => *on == conn && message.is_event(),
        _ => false,
    };
    let last = script
        .steps
        .iter()
        .rposition(is_event)
        .with_context(|| format!("no event on connection {conn}"))?;
    let kept = script.steps[..last].iter().filter(|step| !is_event(step)).count();
    script.steps.retain(|step| !is_event(step));
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str =
        "topic t\nnode []\n> lookup 1 node=5 {}\n< inval_dir 5\n< error 1 5 \"X\"\n< inval_dir 6\ndrop\n";

    fn applied(table: &str) -> Result<Vec<String>> {
        let mut script = golden::parse(SCRIPT)?;
        Departures::parse(table)?.apply(&mut script)?;
        Ok(script
            .steps
            .iter()
            .map(|step| golden::print_action(&step.action))
            .collect())
    }

    #[test]
    fn quoted_steps_are_replaced() {
        let steps =
            applied("topic t\nbecause it is right\n- < error 1 5 \"X\"\n+ < error 1 39 text\n+ quiet\n")
                .unwrap();
        let replaced = ["note \"ours: it is right\"", "< error 1 39 text", "quiet"];
        assert_eq!(steps[2..5], replaced);
        assert_eq!(steps.len(), 7);
    }

    #[test]
    fn events_of_a_connection_are_replaced_where_the_last_one_was() {
        let steps = applied("topic t\nbecause of peace\n- events on 0\n+ quiet\n").unwrap();
        assert_eq!(
            steps[1..],
            ["< error 1 5 \"X\"", "note \"ours: of peace\"", "quiet", "drop"]
        );
    }

    #[test]
    fn an_entry_that_never_fires_is_an_error() {
        assert!(applied("topic t\nbecause x\n- < error 1 6 \"X\"\n+ drop\n").is_err());
        assert!(applied("topic t\nbecause x\n- events on 3\n+ drop\n").is_err());
        assert!(applied("topic other\nbecause x\n- < error 1 6 \"X\"\n+ drop\n").is_ok());
    }

    #[test]
    fn a_quotation_that_fits_twice_is_an_error() {
        let twice = format!("{SCRIPT}drop\n");
        let mut script = golden::parse(&twice).unwrap();
        assert!(
            Departures::parse("topic t\nbecause x\n- drop\n")
                .unwrap()
                .apply(&mut script)
                .is_err()
        );
    }

    #[test]
    fn lines_out_of_place_are_errors() {
        for table in [
            "- drop\n",
            "because x\n",
            "topic t\nbecause x\n+ drop\n- drop\n",
            "topic t\nwhatever\n",
        ] {
            assert!(Departures::parse(table).is_err(), "{table:?}");
        }
    }
}
