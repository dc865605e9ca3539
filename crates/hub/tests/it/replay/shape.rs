//! What frames have inside: the names of their members, and the values that depend on nothing but the request.

use std::collections::BTreeSet;

use serde_json::Value;

/// Members whose values are random, clocks, counted up, or the test's surroundings (the recordings' own README).
fn is_volatile(name: &str) -> bool {
    let clocks =
        name.ends_with("_ms") || matches!(name, "timestamp" | "at" | "mt" | "ct" | "gen" | "dir_gen");
    let is_word = matches!(name, "agent_id" | "template_id");
    let names = !is_word && name.ends_with("_id")
        || name == "id"
        || name.ends_with("_token")
        || name == "node_secret";
    let files = matches!(
        name,
        "root" | "node" | "dir" | "h" | "data_b64" | "tag" | "n" | "ino"
    );
    let surroundings = matches!(
        name,
        "fs_url" | "path" | "hash" | "previous_hash" | "project_mount_digest" | "token"
    );
    let worker = matches!(name, "reconcile_state" | "cycles_total" | "request");
    clocks || names || files || surroundings || worker
}

/// A path for each name, and one with its value for each value. Elements of a list are told apart by what they hold,
/// because lists have no order that could be relied on.
#[derive(Default)]
pub(super) struct Shape {
    names: BTreeSet<String>,
    values: BTreeSet<(String, String)>,
}

impl Shape {
    pub(super) fn of(frame: &Value) -> Self {
        let mut shape = Self::default();
        shape.take("", "", frame);
        shape
    }

    fn take(&mut self, at: &str, name: &str, value: &Value) {
        self.names.insert(at.to_owned());
        let shown = match value {
            Value::Object(members) if !members.is_empty() => {
                for (name, member) in members {
                    self.take(&format!("{at}.{name}"), name, member);
                }
                return;
            }
            Value::Array(items) if !items.is_empty() => {
                for item in items {
                    self.take(&format!("{at}[]"), name, item);
                }
                return;
            }
            Value::String(_) if is_volatile(name) => "a string".to_owned(),
            Value::Number(_) if is_volatile(name) => "a number".to_owned(),
            value => value.to_string(),
        };
        self.values.insert((at.to_owned(), shown));
    }

    /// What the recorded shape has that ours has not (`-`), and the other way round (`+`). A member that is not there
    /// at all is one difference, however much is in it.
    pub(super) fn differences(&self, ours: &Self) -> BTreeSet<String> {
        let more = |one: &Self, other: &Self, mark: &str| {
            let missing = one.values.difference(&other.values);
            let missing = missing.map(|(at, value)| match absent(at, &other.names) {
                Some(name) => format!("{mark} {name}"),
                None => format!("{mark} {at} = {value}"),
            });
            missing.collect::<BTreeSet<_>>()
        };
        let mut all = more(self, ours, "-");
        all.extend(more(ours, self, "+"));
        all
    }
}

/// The shortest beginning of a path that is not among the names.
fn absent<'p>(path: &'p str, names: &BTreeSet<String>) -> Option<&'p str> {
    let ends = path
        .match_indices(['.', '['])
        .map(|(at, _)| at)
        .skip(1)
        .chain([path.len()]);
    ends.map(|end| path.get(..end).unwrap_or(path))
        .find(|beginning| !names.contains(*beginning))
}

/// A frame without what belongs to the recorded server's own node and its built-in project: there is nothing here to
/// stand for them.
pub(super) fn without_own(mut frame: Value) -> Value {
    let is_own = |value: &Value| {
        value["node_name"] == "spiderweb-local"
            || value["export_name"] == "system-workspace"
            || value["project_id"] == "system"
            || value["workspace_id"] == "system"
            || value["bind_path"].is_string()
    };
    match &mut frame {
        Value::Array(items) => {
            items.retain(|item| !is_own(item));
            for item in items {
                *item = without_own(item.take());
            }
        }
        Value::Object(members) => members
            .values_mut()
            .for_each(|member| *member = without_own(member.take())),
        _ => {}
    }
    frame
}
