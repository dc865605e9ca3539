//! Secrets nobody can guess.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use spiderweb_protocol::Secret;

/// The system has no random numbers, so no secret can be made.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers: {0}")]
pub struct NoRandomness(#[from] getrandom::Error);

/// Where the bytes of secrets come from: the system, or a sequence that tests can repeat. A copy goes on in the same
/// sequence.
#[derive(Debug, Clone, Default)]
pub struct Random {
    counter: Option<Arc<AtomicU64>>,
}

impl Random {
    /// The system's random numbers.
    pub const fn system() -> Self {
        Self { counter: None }
    }

    /// A sequence that is always the same: for tests, never for secrets.
    pub fn counting() -> Self {
        Self::counting_from(0)
    }

    /// The same sequence, entered elsewhere: hubs that follow one another in a test give out different secrets.
    pub fn counting_from(start: u64) -> Self {
        Self {
            counter: Some(Arc::new(AtomicU64::new(start))),
        }
    }

    /// Sixteen bytes.
    pub(crate) fn bytes(&mut self) -> Result<[u8; 16], NoRandomness> {
        let mut bytes = [0; 16];
        match &self.counter {
            None => getrandom::fill(&mut bytes)?,
            Some(counter) => {
                let count = counter.fetch_add(1, Ordering::SeqCst) + 1;
                // Both halves, because some names are made of one.
                bytes = (u128::from(count) << 64 | u128::from(count)).to_be_bytes();
            }
        }
        Ok(bytes)
    }

    /// A prefix and 32 hexadecimal digits.
    pub(crate) fn text(&mut self, prefix: &str) -> Result<String, NoRandomness> {
        Ok(format!("{prefix}{}", hex(&self.bytes()?)))
    }

    /// The same as a secret.
    pub(crate) fn secret(&mut self, prefix: &str) -> Result<Secret, NoRandomness> {
        Ok(Secret::new(self.text(prefix)?))
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}
