//! A recorded message against ours: names of members, their order, and values that are not volatile.

use std::collections::HashMap;

use super::Difference;
use super::recording::json;
use crate::replay::term::Term;

/// Longer values are cut in messages.
const SHOWN: usize = 160;
/// How the recordings end a string that was cut.
const CUT: &str = "...(truncated)";

/// Recorded numbers of files and handles, and ours.
pub(super) type Numbers = HashMap<u64, u64>;

/// Compares, and learns numbers on the way.
pub(super) fn compare(
    at: &str,
    recorded: &Term,
    ours: &Term,
    numbers: &mut Numbers,
    found: &mut Vec<Difference>,
) {
    match (recorded, ours) {
        (Term::Object(recorded), Term::Object(ours)) => members(at, recorded, ours, numbers, found),
        (Term::List(recorded), Term::List(ours)) => {
            let (recorded, ours) = (in_order(recorded), in_order(ours));
            if recorded.len() != ours.len() {
                let count = |items: &[&Term]| format!("{} items", items.len());
                found.push(Difference::new(
                    format!("{at}: {}", count(&recorded)),
                    count(&ours),
                ));
            }
            for (recorded, ours) in recorded.iter().zip(ours) {
                compare(&format!("{at}[]"), recorded, ours, numbers, found);
            }
        }
        (Term::Text(recorded), Term::Text(ours)) => {
            let is_alike = match recorded.strip_suffix(CUT) {
                Some(start) => ours.starts_with(start),
                None => recorded == ours,
            };
            if !is_alike {
                found.push(Difference::new(format!("{at}: {}", shown(recorded)), shown(ours)));
            }
        }
        _ if recorded == ours => {}
        _ => found.push(Difference::new(
            format!("{at}: {}", shown(&json(recorded))),
            shown(&json(ours)),
        )),
    }
}

/// Entries of a directory come in no order that could be relied on.
fn in_order(items: &[Term]) -> Vec<&Term> {
    let mut items: Vec<_> = items.iter().collect();
    if items.iter().all(|item| item.get("attr").is_some()) {
        items.sort_by_key(|item| item.get("name").and_then(Term::as_str).map(str::to_owned));
    }
    items
}

fn members(
    at: &str,
    recorded: &[(String, Term)],
    ours: &[(String, Term)],
    numbers: &mut Numbers,
    found: &mut Vec<Difference>,
) {
    let value_in = |members: &[(String, Term)], name: &str| {
        let mut members = members.iter();
        members
            .find(|(member, _)| member == name)
            .map(|(_, value)| value.clone())
    };
    let is_attr = value_in(recorded, "k").is_some();
    let is_folder = value_in(recorded, "k") == Some(Term::number(2));
    let common = |members: &[(String, Term)], others: &[(String, Term)]| -> Vec<String> {
        let names = members.iter().map(|(name, _)| name.clone());
        names.filter(|name| value_in(others, name).is_some()).collect()
    };
    let (order, our_order) = (common(recorded, ours), common(ours, recorded));
    if order != our_order {
        found.push(Difference::new(
            format!("{at}: order {}", order.join(" ")),
            our_order.join(" "),
        ));
    }
    for (name, value) in ours {
        if value_in(recorded, name).is_none() {
            found.push(Difference::new(
                format!("{at}.{name} missing"),
                shown(&json(value)),
            ));
        }
    }
    for (name, value) in recorded {
        let at = if name == "payload" {
            at.to_owned()
        } else {
            format!("{at}.{name}")
        };
        let Some(other) = value_in(ours, name) else {
            found.push(Difference::new(
                format!("{at}: {}", shown(&json(value))),
                "missing",
            ));
            continue;
        };
        // Link counts, and sizes of folders, are the filesystem's.
        let is_of_filesystem = name == "sz" && is_folder || name == "n" && is_attr;
        if let (Some(number), Some(other)) = (value.as_u64(), other.as_u64()) {
            if is_volatile(name) || is_of_filesystem {
                continue;
            }
            if is_name_of_file(name) {
                let known = *numbers.entry(number).or_insert(other);
                if known != other {
                    found.push(Difference::new(
                        format!("{at}: the same number"),
                        "another number",
                    ));
                }
                continue;
            }
        }
        compare(&at, value, &other, numbers, found);
    }
}

/// Clocks, and what depends on the machine.
fn is_volatile(name: &str) -> bool {
    name.ends_with("_ms") && name != "lease_ttl_ms"
        || matches!(name, "at" | "mt" | "ct" | "gen" | "dir_gen" | "u" | "g")
}

fn is_name_of_file(name: &str) -> bool {
    matches!(name, "id" | "root" | "node" | "dir" | "h")
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
