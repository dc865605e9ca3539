//! What a node asked for, in order, without what it may repeat.
//!
//! Left out are a catalog that equals the one before, lease refreshes after the first of an identity, and a refusal that
//! only repeats itself. The original does each as often as its timers tell; ours only when there is something to say.

/// The operation that publishes a catalog, whatever the generation calls it.
pub(super) const UPSERT: &str = "upsert";
/// The operation that prolongs a lease.
pub(super) const REFRESH: &str = "node_lease_refresh";
/// Stands for a stage in which nothing was asked.
const NOTHING: &str = "-";

/// The short name of an operation.
pub(super) fn short(operation: &str) -> &str {
    match operation {
        "node_service_upsert" | "venom_upsert" => UPSERT,
        other => other,
    }
}

/// Operations and how they ended, stage by stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sequence {
    stages: Vec<Vec<String>>,
    catalog: Option<String>,
    is_leased: bool,
    last: String,
    repeated_catalogs: usize,
}

impl Sequence {
    /// Begins a stage; a node that starts has said nothing yet.
    pub(super) fn begin_stage(&mut self, is_new_node: bool) {
        self.stages.push(Vec::new());
        if is_new_node {
            self.catalog = None;
            self.is_leased = false;
            self.last.clear();
        }
    }

    /// Whether this catalog was the last one accepted.
    pub(super) fn is_known_catalog(&self, payload: &str) -> bool {
        self.catalog.as_deref() == Some(payload)
    }

    /// Adds an operation; `refusal` is the code of a refusal. Whether it was no repetition.
    pub(super) fn add(&mut self, operation: &str, payload: &str, refusal: Option<&str>) -> bool {
        let word = match refusal {
            None => operation.to_owned(),
            Some(code) => format!("{operation}:{code}"),
        };
        let is_repeated = match (operation, refusal) {
            (_, Some(_)) => self.last == word,
            (UPSERT, None) => self.is_known_catalog(payload),
            (REFRESH, None) => self.is_leased,
            _ => false,
        };
        // One that was refused may be tried again.
        let is_published = operation == UPSERT && refusal.is_none();
        self.repeated_catalogs += usize::from(is_repeated && is_published);
        match (operation, refusal) {
            (UPSERT, None) => self.catalog = Some(payload.to_owned()),
            (REFRESH, None) => self.is_leased = true,
            ("node_join" | "node_join_approve", None) => {
                self.catalog = None;
                self.is_leased = false;
            }
            _ => {}
        }
        self.last.clone_from(&word);
        if !is_repeated && let Some(stage) = self.stages.last_mut() {
            stage.push(word);
        }
        !is_repeated
    }

    /// Whether anything was asked in a stage.
    pub(super) fn has_begun(&self, stage: usize) -> bool {
        self.stages.get(stage).is_some_and(|words| !words.is_empty())
    }

    /// One stage in words.
    pub(super) fn stage(&self, stage: usize) -> String {
        match self.stages.get(stage) {
            Some(words) if !words.is_empty() => words.join(" "),
            _ => NOTHING.to_owned(),
        }
    }

    /// How often a catalog was published that had been accepted already.
    pub(super) fn repeated_catalogs(&self) -> usize {
        self.repeated_catalogs
    }

    pub(super) fn set_repeated_catalogs(&mut self, count: usize) {
        self.repeated_catalogs = count;
    }

    /// Forgets what only matters while operations are added.
    pub(super) fn settle(&mut self) {
        self.catalog = None;
        self.is_leased = false;
        self.last.clear();
    }

    /// What [`print`](Self::print) gave.
    pub(super) fn from_words(words: &str) -> Self {
        let stage = |words: &str| {
            let words = words.split_whitespace().filter(|word| *word != NOTHING);
            words.map(str::to_owned).collect()
        };
        Self {
            stages: words.split(" | ").map(stage).collect(),
            ..Self::default()
        }
    }

    /// All stages in words.
    pub(super) fn print(&self) -> String {
        let stages: Vec<_> = (0..self.stages.len()).map(|stage| self.stage(stage)).collect();
        stages.join(" | ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_left_out() {
        let mut sequence = Sequence::default();
        sequence.begin_stage(true);
        for (operation, payload, refusal) in [
            ("node_join", "", Some("invite_expired")),
            ("node_join", "", Some("invite_expired")),
            ("node_join", "", None),
            (UPSERT, "a", None),
            (REFRESH, "", None),
            (UPSERT, "a", None),
            (UPSERT, "b", None),
            (REFRESH, "", None),
        ] {
            sequence.add(operation, payload, refusal);
        }
        sequence.begin_stage(false);
        sequence.add(REFRESH, "", None);
        sequence.begin_stage(true);
        sequence.add(REFRESH, "", None);
        assert_eq!(
            sequence.print(),
            "node_join:invite_expired node_join upsert node_lease_refresh upsert | - | node_lease_refresh"
        );
    }
}
