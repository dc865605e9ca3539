//! Which entry stands at which place of a directory.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::term::Term;

/// What the pages of directories said so far.
///
/// A page of which only the length is known must still agree with the pages before it: a cookie counts
/// entries, so an entry has one place, and a place has one entry, for as long as nothing changes.
#[derive(Default)]
pub(super) struct Listings {
    asked: Vec<(u32, Term)>,
    places: HashMap<String, BTreeMap<u64, String>>,
}

impl Listings {
    /// Notes a request; one that may change a directory ends the comparison with earlier pages.
    pub(super) fn request(&mut self, conn: u32, request: &Term) {
        match request.message_type() {
            Some("t_fs_readdirp") => self.asked.push((conn, request.clone())),
            Some("t_fs_hello" | "t_fs_exports" | "t_fs_lookup" | "t_fs_getattr") => {}
            _ => self.clear(),
        }
    }

    /// Forgets the pages so far.
    pub(super) fn clear(&mut self) {
        self.places.clear();
    }

    /// Notes a reply and returns what contradicts earlier pages.
    pub(super) fn reply(&mut self, conn: u32, want: &Term, got: &Value) -> Vec<String> {
        let tag = want.get("tag");
        let at = self
            .asked
            .iter()
            .position(|(on, request)| *on == conn && request.get("tag") == tag);
        let is_page = want
            .get("payload")
            .and_then(|payload| payload.get("ents"))
            .is_some_and(Term::is_page);
        let (Some(at), true) = (at, is_page) else {
            return Vec::new();
        };
        let (_, request) = self.asked.remove(at);
        let directory = request.get("node").map(Term::to_string).unwrap_or_default();
        let cookie = request.get("payload").and_then(|payload| payload.get("cookie"));
        // Written as `1.0` a cookie is still a number to the node.
        let first = cookie
            .and_then(|cookie| cookie.to_string().parse::<f64>().ok())
            .unwrap_or(0.0) as u64;
        let places = self.places.entry(directory).or_default();
        let mut problems = Vec::new();
        for (place, entry) in (first..).zip(got["payload"]["ents"].as_array().into_iter().flatten()) {
            let name = entry["name"].as_str().unwrap_or_default();
            if let Some((other, _)) = places
                .iter()
                .find(|(other, known)| **other != place && *known == name)
            {
                problems.push(format!("{name:?} is at place {place} and was at {other}"));
            }
            match places.insert(place, name.to_owned()) {
                Some(before) if before != name => {
                    problems.push(format!("{name:?} is at place {place}, where {before:?} was"));
                }
                _ => {}
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::replay::golden;
    use crate::replay::script::{Action, Incoming, Outgoing};

    fn message(line: &str) -> Term {
        match golden::parse_action(line).unwrap() {
            Action::Send {
                what: Outgoing::Message(message),
                ..
            }
            | Action::Expect {
                what: Incoming::Message(message),
                ..
            } => message,
            other => panic!("{other:?} is no message"),
        }
    }

    fn page(listings: &mut Listings, cookie: &str, names: &[&str]) -> Vec<String> {
        listings.request(
            0,
            &message(&format!("> readdirp 1 node=$d {{\"cookie\":{cookie}}}")),
        );
        let entries: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        let want = message(&format!("< readdirp 1 {{\"ents\":page({})}}", names.len()));
        listings.reply(0, &want, &json!({"payload": {"ents": entries}}))
    }

    #[test]
    fn pages_that_agree_are_fine() {
        let mut listings = Listings::default();
        assert_eq!(page(&mut listings, "0", &["a", "b"]), [""; 0]);
        assert_eq!(page(&mut listings, "2", &["c"]), [""; 0]);
        assert_eq!(page(&mut listings, "1.0", &["b", "c"]), [""; 0]);
    }

    #[test]
    fn an_entry_in_two_places_is_reported() {
        let mut listings = Listings::default();
        page(&mut listings, "0", &["a", "b"]);
        assert_eq!(
            page(&mut listings, "2", &["a"]),
            ["\"a\" is at place 2 and was at 0"]
        );
    }

    #[test]
    fn two_entries_in_one_place_are_reported() {
        let mut listings = Listings::default();
        page(&mut listings, "0", &["a", "b"]);
        assert_eq!(
            page(&mut listings, "1", &["c"]),
            ["\"c\" is at place 1, where \"b\" was"]
        );
    }

    #[test]
    fn a_change_makes_old_pages_worthless() {
        let mut listings = Listings::default();
        page(&mut listings, "0", &["a", "b"]);
        listings.request(0, &message("> unlink 2 node=$d {\"name\":\"a\"}"));
        assert_eq!(page(&mut listings, "0", &["b"]), [""; 0]);
    }
}
