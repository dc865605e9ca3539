//! Where our node does otherwise than the recorded ones, and why.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::Difference;

/// Scenario (`*` stands for any rest of its name), what was recorded, what ours does, why.
#[rustfmt::skip]
const DIFFERENCES: &[(&str, &str, &str, &str)] = &[
];

/// The listed differences, and which of them occurred.
#[derive(Debug, Default)]
pub struct Expected {
    seen: Mutex<BTreeSet<usize>>,
}

impl Expected {
    /// What is left of `found` without the listed ones.
    pub(super) fn without(&self, scenario: &str, found: Vec<Difference>) -> Vec<Difference> {
        let mut seen = self.seen.lock().expect("no holder of the list panics");
        let mut left = BTreeSet::new();
        for difference in found {
            let listed = DIFFERENCES.iter().position(|(of, recorded, ours, _)| {
                is_for(of, scenario) && *recorded == difference.recorded && *ours == difference.ours
            });
            match listed {
                Some(at) => drop(seen.insert(at)),
                None => drop(left.insert(difference)),
            }
        }
        left.into_iter().collect()
    }

    /// The entries for `played` scenarios that did not occur.
    pub fn gone(&self, played: &[&str]) -> Vec<String> {
        let seen = self.seen.lock().expect("no holder of the list panics");
        let gone = DIFFERENCES.iter().enumerate().filter(|(at, (of, ..))| {
            !seen.contains(at) && played.iter().any(|scenario| is_for(of, scenario))
        });
        gone.map(|(_, (of, recorded, ours, _))| format!("{of}: no longer {recorded:?} but {ours:?}"))
            .collect()
    }
}

/// What a sequence of this scenario is known to be here.
pub(super) fn known_sequence(scenario: &str, recorded: &str) -> Option<&'static str> {
    let mut entries = DIFFERENCES.iter();
    entries
        .find(|(of, listed, ..)| is_for(of, scenario) && *listed == recorded)
        .map(|(_, _, ours, _)| *ours)
}

fn is_for(of: &str, scenario: &str) -> bool {
    of.strip_suffix('*')
        .map_or(of == scenario, |start| scenario.starts_with(start))
}
