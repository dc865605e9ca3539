//! Frames on their way out.
//!
//! A [`Frame`] is complete when it exists: header, mask and payload sit in one allocation, ready to be written. The
//! payload is encoded directly behind room kept for the longest header, and the header is then placed right before
//! it, so building a frame of a megabyte copies nothing.
//!
//! # Why not an existing library
//!
//! Peers in the field set reserved bits, send reserved opcodes and lone continuation frames, and send close frames
//! without a mask; they expect an *answer* to most of these. The common WebSocket libraries treat every one of them
//! as a fatal protocol error before their user sees it. Frames are simple; owning them costs less than working
//! around that, and it lets us write and read without intermediate copies. The way in is in [`crate::Decoder`].

use std::fmt;

use bytes::BufMut;

use crate::mask;

/// The largest payload in bytes a peer accepts in one frame, inclusive; also the default limit of what we accept.
pub const MAX_PAYLOAD: usize = 4 * 1024 * 1024;

/// Longest header: two fixed bytes, eight of length, four of mask key.
const HEADER_ROOM: usize = 14;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Bit of the first byte: the last or only fragment.
pub(crate) const FINAL: u8 = 0x80;
/// Bit of the second byte: a mask key follows the length.
pub(crate) const MASKED: u8 = 0x80;
/// Values of the other bits of the second byte: the length follows in 16 or 64 bits.
pub(crate) const LENGTH_16: u8 = 126;
pub(crate) const LENGTH_64: u8 = 127;

/// Whether outgoing frames are masked. The protocol decides: clients must, servers must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masking {
    /// The server's side: payloads travel as they are.
    None,
    /// The client's side: every frame gets a fresh random key.
    Client,
}

/// One complete frame, ready to be written to a socket whose [`Masking`] it was built for.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Unused header room, header, payload.
    bytes: Vec<u8>,
    /// Where the header begins.
    start: usize,
}

impl Frame {
    /// A text frame whose payload is what `fill` appends.
    ///
    /// `fill` gets a buffer that already holds a few bytes, kept for the header; it must only append. `size_hint` is
    /// the expected payload length in bytes: a good guess saves growing, a bad one costs nothing else. The payload
    /// must be UTF-8 and at most [`MAX_PAYLOAD`] bytes, or the peer will drop the connection; neither is checked
    /// here, see [`Frame::payload_len`].
    pub fn text(masking: Masking, size_hint: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Self {
        Self::build(TEXT, masking, size_hint, fill)
    }

    /// A text frame holding a copy of `text`.
    pub fn text_from(masking: Masking, text: &str) -> Self {
        Self::copied(TEXT, masking, text.as_bytes())
    }

    /// A ping. Payloads above 125 bytes break RFC 6455, though the peers known to us answer them.
    pub fn ping(masking: Masking, payload: &[u8]) -> Self {
        Self::copied(PING, masking, payload)
    }

    /// The answer to a ping, carrying the ping's payload of any size.
    pub fn pong(masking: Masking, payload: &[u8]) -> Self {
        Self::copied(PONG, masking, payload)
    }

    /// A close frame; `payload` is empty, or a big-endian status code and an optional UTF-8 reason.
    pub fn close(masking: Masking, payload: &[u8]) -> Self {
        Self::copied(CLOSE, masking, payload)
    }

    /// The whole frame as it travels.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Length of the payload in bytes, to be compared with what the peer accepts.
    pub fn payload_len(&self) -> usize {
        self.bytes.len().saturating_sub(HEADER_ROOM)
    }

    /// The allocation and the offset where the frame begins in it.
    pub(crate) fn into_parts(self) -> (Vec<u8>, usize) {
        (self.bytes, self.start)
    }

    fn copied(opcode: u8, masking: Masking, payload: &[u8]) -> Self {
        Self::build(opcode, masking, payload.len(), |bytes| bytes.extend(payload))
    }

    fn build(opcode: u8, masking: Masking, size_hint: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_ROOM + size_hint);
        bytes.resize(HEADER_ROOM, 0);
        fill(&mut bytes);
        // A `fill` that shortened the buffer broke its contract; it gets an empty payload, not a broken stream.
        bytes.resize(bytes.len().max(HEADER_ROOM), 0);

        let (room, payload) = bytes.split_at_mut(HEADER_ROOM);
        let key = match masking {
            Masking::None => None,
            Masking::Client => Some(mask::fresh_key()),
        };
        let (short_length, length_bytes) = match payload.len() {
            short @ 0..=125 => (short as u8, 0),
            126..=0xffff => (LENGTH_16, 2),
            _ => (LENGTH_64, 8),
        };
        let start = HEADER_ROOM - (2 + length_bytes + key.map_or(0, |key| key.len()));

        let (_, mut header) = room.split_at_mut(start);
        let mask_bit = if key.is_some() { MASKED } else { 0 };
        header.put_u8(FINAL | opcode);
        header.put_u8(mask_bit | short_length);
        // Big-endian, in as many of the lowest bytes as the length takes.
        header.put_uint(payload.len() as u64, length_bytes);
        if let Some(key) = key {
            header.put_slice(&key);
            mask::apply(key, payload);
        }
        Self { bytes, start }
    }
}

/// Shows the size only: payloads do not belong in logs.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("payload_len", &self.payload_len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_a_server_are_minimal() {
        let rows: [(usize, &[u8]); 6] = [
            (0, &[0x81, 0]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (0xffff, &[0x81, 126, 0xff, 0xff]),
            (0x1_0000, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (MAX_PAYLOAD, &[0x81, 127, 0, 0, 0, 0, 0, 0x40, 0, 0]),
        ];
        for (length, header) in rows {
            let frame = Frame::text(Masking::None, length, |bytes| bytes.extend(vec![b'x'; length]));
            let (head, payload) = frame.as_bytes().split_at(header.len());
            assert_eq!(head, header, "length {length}");
            assert_eq!(frame.payload_len(), length);
            assert!(
                payload.len() == length && payload.iter().all(|&byte| byte == b'x'),
                "length {length}"
            );
        }
    }

    #[test]
    fn client_frames_carry_the_key_that_unmasks_them() {
        let frame = Frame::text_from(Masking::Client, "hello");
        let (head, payload) = frame.as_bytes().split_at(6);
        assert_eq!(head[..2], [0x81, 0x80 | 5]);
        let mut payload = payload.to_vec();
        mask::apply(head[2..].try_into().unwrap(), &mut payload);
        assert_eq!(payload, b"hello");
    }

    #[test]
    fn control_frames_have_their_opcodes() {
        assert_eq!(Frame::ping(Masking::None, b"a").as_bytes(), [0x89, 1, b'a']);
        assert_eq!(Frame::pong(Masking::None, b"").as_bytes(), [0x8a, 0]);
        assert_eq!(
            Frame::close(Masking::None, &[3, 232]).as_bytes(),
            [0x88, 2, 3, 232]
        );
    }

    #[test]
    fn a_fill_that_truncates_cannot_break_the_stream() {
        let frame = Frame::text(Masking::None, 0, Vec::clear);
        assert_eq!(frame.as_bytes(), [0x81, 0]);
    }
}
