//! Bounded capture of what a driver writes.
//!
//! A [`Capture`] reads one pipe to its end and holds what came, up to a limit. It owns what was read, so a reader
//! that is dropped half-way loses nothing, and a run that is cut short still has what was written before.

use std::io;

use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStderr, ChildStdout};

use crate::driver::Fault;
use crate::process::Child;
use crate::system::{self, Pipe};

/// Room made for one read; grows with what is already there.
const CHUNK: usize = 8 * 1024;

/// How long the rest of closed pipes is waited for.
#[cfg(windows)]
const REST: std::time::Duration = std::time::Duration::from_millis(250);

/// More came than the limit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

/// What one pipe gave so far.
#[derive(Debug)]
pub(crate) struct Capture<R> {
    /// Gone once the other end is closed.
    pipe: Option<R>,
    bytes: Vec<u8>,
    limit: usize,
}

impl<R: Pipe> Capture<R> {
    /// Captures up to `limit` bytes of a pipe that does not block.
    pub(crate) const fn new(pipe: R, limit: usize) -> Self {
        Self {
            pipe: Some(pipe),
            bytes: Vec::new(),
            limit,
        }
    }

    /// Whether the other end is closed and everything was read.
    pub(crate) const fn is_complete(&self) -> bool {
        self.pipe.is_none()
    }

    /// Takes what was captured and starts over.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Reads until the other end is closed. Cancel safe: what was read stays.
    pub(crate) async fn fill(&mut self) -> Result<(), TooLong> {
        while let Some(pipe) = &mut self.pipe {
            let room = make_room(&mut self.bytes, self.limit)?;
            match pipe.take(room as u64).read_buf(&mut self.bytes).await {
                Ok(0) => self.pipe = None,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A pipe that cannot be read has nothing more to say.
                Err(_) => self.pipe = None,
            }
        }
        within(&self.bytes, self.limit)
    }

    /// Reads what is there now. Asks the system itself: the reactor may not have heard yet of bytes that were
    /// written before an event it did report.
    pub(crate) fn fill_now(&mut self) -> Result<(), TooLong> {
        while let Some(pipe) = &self.pipe {
            make_room(&mut self.bytes, self.limit)?;
            match system::read_at_once(pipe, &mut self.bytes) {
                Ok(Some(0)) | Err(_) => self.pipe = None,
                Ok(Some(_)) => {}
                Ok(None) => break,
            }
        }
        within(&self.bytes, self.limit)
    }
}

fn within(bytes: &[u8], limit: usize) -> Result<(), TooLong> {
    if bytes.len() > limit { Err(TooLong) } else { Ok(()) }
}

/// Makes room for the next read and says for how much: one byte beyond the limit at most, which tells "exactly
/// that many" from "more".
fn make_room(bytes: &mut Vec<u8>, limit: usize) -> Result<usize, TooLong> {
    within(bytes, limit)?;
    let room = (limit + 1 - bytes.len()).min(bytes.len().max(CHUNK));
    bytes.reserve(room);
    Ok(room)
}

/// One of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl From<Stream> for Fault {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Stdout => Self::StdoutTooLong,
            Stream::Stderr => Self::StderrTooLong,
        }
    }
}

/// Both outputs of a driver.
#[derive(Debug)]
pub(crate) struct Outputs {
    stdout: Capture<ChildStdout>,
    stderr: Capture<ChildStderr>,
}

impl Outputs {
    /// Captures up to `limit` bytes of each output of a child that was started with pipes for them.
    pub(crate) fn of(child: &mut Child, limit: usize) -> io::Result<Self> {
        let no_pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        let stdout = system::stdout(child.stdout.take().ok_or_else(no_pipe)?)?;
        let stderr = system::stderr(child.stderr.take().ok_or_else(no_pipe)?)?;
        Ok(Self {
            stdout: Capture::new(stdout, limit),
            stderr: Capture::new(stderr, limit),
        })
    }

    /// Whether both are closed and everything was read.
    pub(crate) const fn are_complete(&self) -> bool {
        self.stdout.is_complete() && self.stderr.is_complete()
    }

    /// Reads until both are closed. Cancel safe.
    pub(crate) async fn fill(&mut self) -> Result<(), Stream> {
        let stdout = async { self.stdout.fill().await.map_err(|TooLong| Stream::Stdout) };
        let stderr = async { self.stderr.fill().await.map_err(|TooLong| Stream::Stderr) };
        tokio::try_join!(stdout, stderr).map(drop)
    }

    /// Reads what is there now.
    pub(crate) fn fill_now(&mut self) -> Result<(), Stream> {
        self.stdout.fill_now().map_err(|TooLong| Stream::Stdout)?;
        self.stderr.fill_now().map_err(|TooLong| Stream::Stderr)
    }

    /// Reads what is left when everybody who could write has ended.
    #[cfg_attr(
        unix,
        expect(clippy::unused_async, reason = "other systems have to wait for it")
    )]
    pub(crate) async fn fill_rest(&mut self) -> Result<(), Stream> {
        #[cfg(windows)]
        if let Ok(filled) = tokio::time::timeout(REST, self.fill()).await {
            return filled;
        }
        self.fill_now()
    }

    /// What standard output and standard error gave so far; both start over.
    pub(crate) fn take(&mut self) -> (Vec<u8>, Vec<u8>) {
        (self.stdout.take(), self.stderr.take())
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::OwnedFd;

    use tokio::net::unix::pipe;

    use super::*;

    fn pipe() -> (std::io::PipeWriter, pipe::Receiver) {
        let (reader, writer) = std::io::pipe().unwrap();
        (
            writer,
            pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).unwrap(),
        )
    }

    #[tokio::test]
    async fn exactly_the_limit_is_fine_and_one_more_is_not() {
        for (length, expected) in [
            (0, Ok(())),
            (100, Ok(())),
            (101, Err(TooLong)),
            (60_000, Err(TooLong)),
        ] {
            for at_once in [false, true] {
                let (mut writer, reader) = pipe();
                let mut capture = Capture::new(reader, 100);
                writer.write_all(&vec![b'x'; length]).unwrap();
                drop(writer);
                let outcome = if at_once {
                    capture.fill_now()
                } else {
                    capture.fill().await
                };
                assert_eq!(outcome, expected, "{length} bytes, at once: {at_once}");
                if expected.is_ok() {
                    assert!(capture.is_complete());
                    assert_eq!(capture.take().len(), length);
                }
            }
        }
    }

    #[tokio::test]
    async fn what_was_read_outlives_a_reader_that_gave_up() {
        let (mut writer, reader) = pipe();
        let mut capture = Capture::new(reader, 100);
        writer.write_all(b"early").unwrap();
        tokio::select! {
            _ = capture.fill() => unreachable!("the pipe is open"),
            () = async { while capture_is_empty().await {} } => {}
        }
        capture.fill_now().unwrap();
        assert!(!capture.is_complete());
        assert_eq!(capture.take(), b"early");
    }

    /// Lets the reader run once.
    async fn capture_is_empty() -> bool {
        tokio::task::yield_now().await;
        false
    }
}
