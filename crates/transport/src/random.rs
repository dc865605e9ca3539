//! Cheap random numbers for mask keys, handshake nonces and jitter.
//!
//! None of these protects a secret. A mask key stops proxies from mistaking payload bytes for HTTP, the handshake
//! nonce tells two upgrades apart, jitter spreads load. So a small generator (`SplitMix64`) is enough, seeded from the
//! operating system through the standard library's hash seed, which cannot fail.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// A `SplitMix64` generator.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator that always yields the same numbers for the same seed.
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator nobody can predict without having seen its output.
    pub(crate) fn from_os() -> Self {
        Self(RandomState::new().hash_one(0_u64))
    }

    pub(crate) const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A random number from this thread's generator.
pub(crate) fn next_u64() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(SplitMix64::from_os().0);
    }
    STATE.with(|state| {
        let mut generator = SplitMix64(state.get());
        let number = generator.next_u64();
        state.set(generator.0);
        number
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_numbers_and_the_published_first_value() {
        let mut a = SplitMix64::seeded(0);
        assert_eq!(a.next_u64(), 0xe220_a839_7b1d_cdaf);
        assert_ne!(next_u64(), next_u64());
        assert_ne!(SplitMix64::from_os().next_u64(), SplitMix64::from_os().next_u64());
    }
}
