//! What time it is, as everybody here asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time in milliseconds since 1970. A copy tells the same time.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// The time as tests set it; the system's without.
    set: Option<Arc<AtomicU64>>,
}

impl Clock {
    /// The system's clock.
    pub const fn system() -> Self {
        Self { set: None }
    }

    /// A clock that stands still until it is moved.
    pub fn standing_at(now_ms: u64) -> Self {
        Self {
            set: Some(Arc::new(AtomicU64::new(now_ms))),
        }
    }

    /// Moves a standing clock forward; the system's clock does not care.
    pub fn advance(&self, by_ms: u64) {
        if let Some(now) = &self.set {
            now.fetch_add(by_ms, Ordering::SeqCst);
        }
    }

    /// Moves a standing clock backward, as somebody who corrects it does; the system's clock does not care.
    pub fn set_back(&self, by_ms: u64) {
        if let Some(now) = &self.set {
            now.fetch_sub(by_ms.min(now.load(Ordering::SeqCst)), Ordering::SeqCst);
        }
    }

    /// The time.
    pub fn now_ms(&self) -> u64 {
        match &self.set {
            Some(now) => now.load(Ordering::SeqCst),
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}
