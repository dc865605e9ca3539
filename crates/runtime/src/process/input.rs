//! The payload on its way into a driver.

use std::io;

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;

use crate::output::Stream;

/// A payload, and the driver's standard input it goes to.
#[derive(Debug)]
pub(super) struct Input {
    /// Closed once everything is written, or the driver wants no more.
    pipe: Option<ChildStdin>,
    payload: Bytes,
}

impl Input {
    /// Writes what fits into the pipe at once: for most payloads that is everything, and nothing is left to do.
    pub(super) fn new(pipe: Option<std::process::ChildStdin>, mut payload: Bytes) -> io::Result<Self> {
        let Some(pipe) = pipe else {
            return Ok(Self { pipe: None, payload });
        };
        rustix::io::ioctl_fionbio(&pipe, true)?;
        while payload.has_remaining() {
            match rustix::io::write(&pipe, &payload) {
                Ok(written) => payload.advance(written),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                // The driver wants none of it.
                Err(_) => payload.clear(),
            }
        }
        let pipe = payload
            .has_remaining()
            .then(|| ChildStdin::from_std(pipe))
            .transpose()?;
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
