//! What connections count while they are measured.

use std::collections::{BTreeMap, BTreeSet};

use hdrhistogram::Histogram;

/// What was seen between begin and end.
#[derive(Debug)]
pub(super) struct Tally {
    /// Operations completed.
    pub(super) ops: u64,
    /// Bytes of file contents moved.
    pub(super) bytes: u64,
    /// Entries listed.
    pub(super) entries: u64,
    /// Refusals by errno, warm-up included: a warm-up that fails is no warm-up.
    pub(super) errors: BTreeMap<i32, u64>,
    /// Nanoseconds from queueing the first request of an operation to its last answer.
    pub(super) latency: Option<Histogram<u64>>,
    /// Events received.
    pub(super) events: u64,
    /// Requests sent and answers received from first to last.
    pub(super) sent: u64,
    pub(super) answered: u64,
    /// Answers that said something else than they should.
    pub(super) wrong: u64,
    /// The blocks that were acknowledged as written: connection and slot.
    pub(super) written: BTreeSet<(usize, u16)>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            ops: 0,
            bytes: 0,
            entries: 0,
            errors: BTreeMap::new(),
            // Three digits; grows as needed, so a thousand connections stay small.
            latency: Histogram::new(3).ok(),
            events: 0,
            sent: 0,
            answered: 0,
            wrong: 0,
            written: BTreeSet::new(),
        }
    }
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.ops += other.ops;
        self.bytes += other.bytes;
        self.entries += other.entries;
        self.events += other.events;
        self.sent += other.sent;
        self.answered += other.answered;
        self.wrong += other.wrong;
        self.written.extend(&other.written);
        for (errno, count) in &other.errors {
            *self.errors.entry(*errno).or_default() += count;
        }
        if let (Some(sum), Some(other)) = (&mut self.latency, &other.latency) {
            // Both grow by themselves, so every value fits.
            let _ = sum.add(other);
        }
    }

    /// Refusals altogether.
    pub(super) fn failures(&self) -> u64 {
        self.errors.values().sum()
    }
}
