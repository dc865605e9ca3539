//! How large a module's memory and tables may become.

use wasmtime::ResourceLimiter;

/// Ceiling of a memory whose manifest names none: 1 GiB.
const DEFAULT_MAX_MEMORY: usize = 1 << 30;

/// Ceiling of a table, in elements.
const MAX_TABLE: usize = 1_000_000;

/// Limits of one instance, which has one memory at most: the engines refuse modules with more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryLimits {
    max_memory: usize,
    /// What a module declares it may have from the start; only growth is limited (section 17.1). The engine asks for
    /// that first, also for no page at all, before the module's own start function can ask for more.
    is_allocated: bool,
}

impl MemoryLimits {
    /// Lets a memory grow to this many bytes.
    pub(crate) fn new(max_memory: Option<u64>) -> Self {
        Self {
            max_memory: max_memory.map_or(DEFAULT_MAX_MEMORY, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }),
            is_allocated: false,
        }
    }
}

impl ResourceLimiter for MemoryLimits {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let is_initial = !std::mem::replace(&mut self.is_allocated, true);
        let is_declared = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(is_declared && (is_initial || desired <= self.max_memory))
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE && maximum.is_none_or(|maximum| desired <= maximum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_growth_is_limited() {
        let mut limits = MemoryLimits::new(Some(100));
        assert!(limits.memory_growing(0, 1000, None).unwrap());
        for (desired, maximum, expected) in [
            (100, None, true),
            (101, None, false),
            (100, Some(99), false),
            (50, Some(50), true),
        ] {
            assert_eq!(
                limits.memory_growing(0, desired, maximum).unwrap(),
                expected,
                "{desired} {maximum:?}"
            );
        }
        let mut limits = MemoryLimits::new(None);
        assert!(limits.memory_growing(0, 0, None).unwrap());
        assert!(!limits.memory_growing(0, DEFAULT_MAX_MEMORY + 1, None).unwrap());
        assert!(!limits.table_growing(1, MAX_TABLE + 1, None).unwrap());
    }
}
