//! What the system says when a daemon is to end.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io;

#[cfg(unix)]
use self::unix::Sources;
#[cfg(windows)]
use self::windows::Sources;

/// Requests to end, from whoever started the process or from the system. While there is one of these, they do not end
/// the process by themselves.
#[derive(Debug)]
pub struct EndSignals(Sources);

impl EndSignals {
    /// Listens from now on.
    pub fn new() -> io::Result<Self> {
        Sources::new().map(Self)
    }

    /// Waits for the next request. Cancel safe.
    pub async fn next(&mut self) {
        self.0.next().await;
    }
}
