//! Frames waiting to be written.
//!
//! Small frames are gathered into one piece, so a burst of replies leaves in one system call and one TCP segment;
//! large frames stay where they were built and are never copied. Pieces leave together with vectored writes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::frame::Frame;
use crate::link::Link;

/// A frame up to this many bytes is copied behind another small one. Copying this much is cheaper than giving it an
/// entry of its own in a vectored write.
const SMALL: usize = 4 * 1024;
/// A piece of gathered frames stops growing here, so that memory of frames already written is given back.
const GATHERED: usize = 64 * 1024;
/// Pieces handed to the kernel in one call.
const PIECES_PER_WRITE: usize = 16;
/// Bytes after which the owner's task lets others run before it writes on. Copying this much into the kernel takes
/// about a tenth of a millisecond, which a task with something small to say would wait otherwise. A frame is not cut.
const TURN: usize = 256 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pieces: VecDeque<Piece>,
    /// Bytes in all pieces that are not written yet.
    queued: usize,
    /// Bytes ever written.
    written: u64,
}

#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    /// Bytes of unused header room or already written.
    start: usize,
    /// Began as a small frame, so further small ones may be copied behind it.
    gathers: bool,
}

impl Piece {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

impl Outbox {
    pub(crate) const fn queued(&self) -> usize {
        self.queued
    }

    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn push(&mut self, frame: Frame) {
        let whole = frame.as_bytes();
        let small = whole.len() <= SMALL;
        self.queued += whole.len();
        if let Some(last) = self.pieces.back_mut()
            && small
            && last.gathers
            && last.bytes.len() + whole.len() <= GATHERED
        {
            last.bytes.extend_from_slice(whole);
            return;
        }
        let (bytes, start) = frame.into_parts();
        self.pieces.push_back(Piece {
            bytes,
            start,
            gathers: small,
        });
    }

    /// Writes until nothing is left or the link takes no more. After [`TURN`] bytes other tasks come first.
    pub(crate) fn poll_flush(&mut self, link: &mut Link, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let begin = self.written;
        while !self.pieces.is_empty() {
            if self.written - begin >= TURN as u64 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let written = ready!(self.poll_write_some(link, cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Pin::new(link).poll_flush(cx)
    }

    fn poll_write_some(&self, link: &mut Link, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let link = Pin::new(link);
        if let (1, Some(only)) = (self.pieces.len(), self.pieces.front()) {
            return link.poll_write(cx, only.rest());
        }
        let mut slices = [IoSlice::new(&[]); PIECES_PER_WRITE];
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece.rest());
        }
        let used = self.pieces.len().min(PIECES_PER_WRITE);
        link.poll_write_vectored(cx, slices.get(..used).unwrap_or_default())
    }

    fn advance(&mut self, mut written: usize) {
        self.written += written as u64;
        self.queued = self.queued.saturating_sub(written);
        while let Some(first) = self.pieces.front_mut() {
            let rest = first.rest().len();
            if written < rest {
                first.start += written;
                return;
            }
            written -= rest;
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::frame::Masking;

    fn frame(length: usize, fill: u8) -> Frame {
        Frame::text(Masking::None, length, |bytes| bytes.extend(vec![fill; length]))
    }

    #[test]
    fn small_frames_gather_and_large_ones_stay_where_they_are() {
        let mut outbox = Outbox::default();
        let large = frame(10_000, b'l');
        let place = large.as_bytes().as_ptr();
        for _ in 0..3 {
            outbox.push(frame(100, b's'));
        }
        outbox.push(large);
        outbox.push(frame(100, b's'));
        assert_eq!(outbox.pieces.len(), 3);
        assert_eq!(outbox.pieces[1].rest().as_ptr(), place);
        assert_eq!(outbox.queued(), 4 * 102 + 10_004);
        for _ in 0..2000 {
            outbox.push(frame(100, b's'));
        }
        assert!(outbox.pieces.iter().all(|piece| piece.bytes.len() <= GATHERED));
        assert!(outbox.pieces.len() <= 7, "{} pieces", outbox.pieces.len());
    }

    #[tokio::test]
    async fn order_and_bytes_survive_partial_writes() {
        for capacity in [1, 7, 5000, 1 << 20] {
            let (mut link, mut peer) = Link::memory_pair(capacity);
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            for number in 0..60_usize {
                let frame = frame(number * 2311 % 6000, number as u8);
                expected.extend_from_slice(frame.as_bytes());
                outbox.push(frame);
            }
            let total = expected.len();
            let mut received = vec![0; total];
            let write = async {
                poll_fn(|cx| outbox.poll_flush(&mut link, cx)).await.unwrap();
            };
            let ((), read) = tokio::join!(write, peer.read_exact(&mut received));
            assert_eq!(read.unwrap(), total);
            assert!(received == expected, "capacity {capacity}");
            assert_eq!((outbox.queued(), outbox.written()), (0, total as u64));
        }
    }
}
