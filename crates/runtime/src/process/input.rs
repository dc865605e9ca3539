//! The payload on its way into a driver.

use std::io;

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;

use crate::output::Stream;
use crate::process::ChildInput;
use crate::system;

/// A payload, and the driver's standard input it goes to.
#[derive(Debug)]
pub(super) struct Input {
    /// Closed once everything is written, or the driver wants no more.
    pipe: Option<ChildStdin>,
    payload: Bytes,
}

impl Input {
    /// Writes what fits into the pipe at once: for most payloads that is everything, and nothing is left to do.
    pub(super) fn new(pipe: Option<ChildInput>, mut payload: Bytes) -> io::Result<Self> {
        let Some(pipe) = pipe else {
            return Ok(Self { pipe: None, payload });
        };
        let pipe = system::write_at_once(pipe, &mut payload)?;
        Ok(Self { pipe, payload })
    }

    /// Writes the rest. A driver that does not want it may close its end, which is no error. Cancel safe.
    pub(super) async fn feed(&mut self) -> Result<(), Stream> {
        while let Some(pipe) = &mut self.pipe {
            if !self.payload.has_remaining() || pipe.write_buf(&mut self.payload).await.is_err() {
                self.pipe = None;
            }
        }
        Ok(())
    }
}
