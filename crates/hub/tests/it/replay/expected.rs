//! Listed differences, and which of them came up.

use std::collections::BTreeSet;

/// Which of the listed differences, of those that belong to a folder, came up.
pub(super) struct Expected {
    left: BTreeSet<[&'static str; 3]>,
    met: BTreeSet<[&'static str; 3]>,
}

impl Expected {
    pub(super) fn of(generation: &str, listed: impl Iterator<Item = [&'static str; 3]>) -> Self {
        Self {
            left: listed
                .filter(|[scenario, ..]| scenario.split('/').next() == Some(generation))
                .collect(),
            met: BTreeSet::new(),
        }
    }

    /// Whether it was to be expected.
    pub(super) fn meets(&mut self, is_it: impl Fn(&[&'static str; 3]) -> bool) -> bool {
        let found: Vec<_> = self.left.iter().filter(|listed| is_it(listed)).copied().collect();
        self.met.extend(&found);
        !found.is_empty()
    }

    pub(super) fn gone(&self) -> impl Iterator<Item = String> {
        self.left
            .difference(&self.met)
            .map(|gone| format!("no longer: {gone:?}"))
    }
}

/// Whether an entry of [`INSIDE`](super::INSIDE) names this difference: another value at this member, or with a mark
/// (`-`, `+`) a member that is not there (at ours, at the recorded); with `.*` everything below it.
pub(super) fn is_inside(entry: &[&str; 3], scenario: &str, kind: &str, what: &str) -> bool {
    let [of, of_kind, at] = *entry;
    let is_of = of == scenario
        || of
            .strip_suffix('*')
            .is_some_and(|folder| scenario.starts_with(folder));
    let (mark, path) = what.split_once(' ').unwrap_or_default();
    let is_at = match at.strip_prefix(['-', '+']) {
        Some(absent) if at.starts_with(mark) => match absent.strip_suffix('*') {
            Some(above) => path.starts_with(above),
            None => path == absent,
        },
        Some(_) => false,
        None => path
            .strip_prefix(at)
            .is_some_and(|value| value.starts_with(" = ")),
    };
    is_of && of_kind == kind && is_at
}
