//! What only a person can change is said loudly once, and then quietly.

/// What was last complained of.
#[derive(Debug, Default)]
pub(crate) struct Complaints(String);

impl Complaints {
    /// Says what a person has to do something about, unless that was the last thing said.
    pub(crate) fn say(&mut self, words: &str) {
        if self.0 == words {
            tracing::debug!("{words}");
        } else {
            tracing::warn!("{words}");
            words.clone_into(&mut self.0);
        }
    }

    /// It is well again: the next complaint is a new one.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
