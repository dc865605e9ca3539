//! Everything random of a run, from one number.

use std::ops::Range;
use std::time::Duration;

/// A `SplitMix64` generator.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Dice of somebody's own, so that what one does is not moved by how often another throws.
    pub(crate) const fn fork(&mut self) -> Self {
        Self(self.number())
    }

    /// A number below `end`, which is not zero.
    pub(crate) const fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    pub(crate) const fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) const fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.number() % (range.end - range.start))
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() {
            return None;
        }
        from.get(self.below(from.len()))
    }
}
