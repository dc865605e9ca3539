//! What happened in a run, in order, and what was wrong with it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Lines kept for the report of a run that failed.
const KEPT: usize = 400;

/// A clone notes into the same trace.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    began: Instant,
    prints: bool,
    hash: u64,
    events: u64,
    last: VecDeque<String>,
    violations: Vec<String>,
}

impl Trace {
    pub(crate) fn new(prints: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            began: Instant::now(),
            prints,
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            last: VecDeque::new(),
            violations: Vec::new(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, what: impl fmt::Display) {
        let mut inner = self.inner();
        let line = format!("{:>7} {what}", inner.began.elapsed().as_millis());
        for byte in line.bytes().chain([b'\n']) {
            // FNV-1a: the same on every machine.
            inner.hash = (inner.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        inner.events += 1;
        if inner.prints {
            println!("{line}");
        }
        if inner.last.len() == KEPT {
            inner.last.pop_front();
        }
        inner.last.push_back(line);
    }

    /// Something happened that must not.
    pub(crate) fn violate(&self, what: impl fmt::Display) {
        self.note(format_args!("VIOLATION {what}"));
        let mut inner = self.inner();
        let at = inner.began.elapsed().as_millis();
        inner.violations.push(format!("at {at} ms: {what}"));
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.inner().violations.clone()
    }

    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.inner().last.iter().cloned().collect()
    }

    /// What tells two runs apart, and how much happened.
    pub(crate) fn summary(&self) -> String {
        let inner = self.inner();
        format!(
            "trace {:016x}, {} events, {} s",
            inner.hash,
            inner.events,
            inner.began.elapsed().as_secs()
        )
    }
}
