//! Frames on their way in: bytes become messages, without I/O.
//!
//! The decoder is deliberately forgiving, because a node answers what other libraries would drop (see
//! [`crate::Frame`] for why):
//!
//! | seen | result |
//! |---|---|
//! | text, whole or in fragments with control frames between | [`Message::Text`] |
//! | ping, pong, close of any size up to the limit | [`Message::Ping`], [`Message::Pong`], [`Message::Close`] |
//! | opcodes 2–7 and 11–15, a lone continuation with `FIN` | [`Message::Unsupported`], once per message |
//! | reserved bits, lengths that are not minimal | ignored |
//! | close without a mask, towards a server | accepted |
//! | anything else that breaks the rules | [`FrameError`]; drop the connection |
//!
//! A payload above the limit is refused when its header has arrived, before any of it is buffered. Text is **not**
//! checked to be UTF-8: the JSON layer does that while it reads, and must be able to answer instead of hanging up.

use bytes::{Buf, BytesMut};

use crate::frame::{CLOSE, CONTINUATION, FINAL, LENGTH_16, LENGTH_64, MASKED, PING, PONG, TEXT};
use crate::mask::{self, MaskKey};

/// One message from the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The payload of a text message, reassembled if it came in fragments. Not checked to be UTF-8.
    Text(BytesMut),
    /// A ping; answer with [`crate::Frame::pong`] and the same payload.
    Ping(BytesMut),
    /// A pong; its payload is dropped, nobody needs it.
    Pong,
    /// A close frame with its payload (a status code and a reason, or nothing). More frames may follow from a sloppy
    /// peer; the owner decides to stop reading.
    Close(BytesMut),
    /// A frame this protocol has no use for; its payload is dropped.
    Unsupported {
        /// The opcode, 0 to 15. 0 is a continuation of nothing.
        opcode: u8,
    },
}

/// The outcome of one decoding step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A complete message, removed from the buffer.
    Message(Message),
    /// Nothing complete: at least this many bytes (never 0) must be appended first.
    Need(usize),
}

/// Why a stream of frames cannot go on. The connection is to be dropped; decoding again yields the same error. Only
/// after [`FrameError::TooLarge`] it goes on if the limit is raised, as nothing of the message was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A client sent a frame without a mask.
    #[error("client frame with opcode {opcode} is not masked")]
    NotMasked {
        /// The frame's opcode.
        opcode: u8,
    },
    /// A server sent a frame with a mask.
    #[error("server frame with opcode {opcode} is masked")]
    Masked {
        /// The frame's opcode.
        opcode: u8,
    },
    /// The payload, or the fragments of one message together, exceed the limit.
    #[error("message of {length} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Bytes announced by the header, plus fragments already received.
        length: u64,
        /// The most this decoder accepts, in bytes.
        limit: usize,
    },
    /// A control frame without `FIN`; those may not be split.
    #[error("control frame with opcode {opcode} is fragmented")]
    FragmentedControl {
        /// The frame's opcode.
        opcode: u8,
    },
    /// The first fragment of a message while another message is unfinished.
    #[error("message with opcode {opcode} starts inside another message")]
    Interleaved {
        /// The frame's opcode.
        opcode: u8,
    },
    /// A fragment, neither first nor last, of a message that never began.
    #[error("continuation fragment without a message")]
    NothingToContinue,
}

/// Takes messages off the front of a byte buffer. Remembers only the fragments of an unfinished message.
#[derive(Debug)]
pub struct Decoder {
    peer: Peer,
    limit: usize,
    unfinished: Option<Unfinished>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Client,
    Server,
}

/// A message whose last fragment has not come.
#[derive(Debug)]
enum Unfinished {
    Text(BytesMut),
    /// Already reported as unsupported; the rest is swallowed.
    Unsupported,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    opcode: u8,
    fin: bool,
    key: Option<MaskKey>,
    /// Length of the header itself in bytes.
    size: usize,
    /// Length of the payload in bytes.
    length: usize,
}

impl Decoder {
    /// A decoder for frames sent by clients, with messages of at most `limit` bytes.
    pub const fn of_client_frames(limit: usize) -> Self {
        Self {
            peer: Peer::Client,
            limit,
            unfinished: None,
        }
    }

    /// A decoder for frames sent by a server, with messages of at most `limit` bytes.
    pub const fn of_server_frames(limit: usize) -> Self {
        Self {
            peer: Peer::Server,
            limit,
            unfinished: None,
        }
    }

    /// Changes the largest message accepted, in bytes; counts for frames whose header is not decoded yet.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether fragments of an unfinished message are held.
    pub const fn is_mid_message(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Takes the next message off the front of `buffer`, or says how much is missing.
    ///
    /// Payloads are split off, not copied, so a message keeps the allocation of `buffer` alive.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, FrameError> {
        loop {
            let header = match self.parse_header(buffer)? {
                Ok(header) => header,
                Err(missing) => return Ok(Decoded::Need(missing)),
            };
            let whole = header.size + header.length;
            if buffer.len() < whole {
                return Ok(Decoded::Need(whole - buffer.len()));
            }
            buffer.advance(header.size);
            let payload = buffer.split_to(header.length);
            if let Some(message) = self.take(header, payload) {
                return Ok(Decoded::Message(message));
            }
        }
    }

    /// Reads and judges the header at the front; the inner error is the number of bytes missing.
    fn parse_header(&self, buffer: &[u8]) -> Result<Result<Header, usize>, FrameError> {
        let Some((&[first, second], rest)) = buffer.split_first_chunk::<2>() else {
            return Ok(Err(2 - buffer.len()));
        };
        let fin = first & FINAL != 0;
        let opcode = first & 0x0f;
        let masked = second & MASKED != 0;
        match self.peer {
            Peer::Client if !masked && opcode != CLOSE => return Err(FrameError::NotMasked { opcode }),
            Peer::Server if masked => return Err(FrameError::Masked { opcode }),
            _ => {}
        }
        self.check_sequence(opcode, fin)?;

        let (length_size, length) = match second & !MASKED {
            LENGTH_16 => (
                2,
                rest.first_chunk()
                    .map(|&bytes| u64::from(u16::from_be_bytes(bytes))),
            ),
            LENGTH_64 => (8, rest.first_chunk().map(|&bytes| u64::from_be_bytes(bytes))),
            short => (0, Some(u64::from(short))),
        };
        let size = 2 + length_size + if masked { 4 } else { 0 };
        let Some(length) = length else {
            return Ok(Err(size - buffer.len()));
        };
        let length = self.check_length(opcode, length)?;
        let key = match buffer.get(2 + length_size..).and_then(<[u8]>::first_chunk) {
            _ if !masked => None,
            Some(&key) => Some(key),
            None => return Ok(Err(size + length - buffer.len())),
        };
        Ok(Ok(Header {
            opcode,
            fin,
            key,
            size,
            length,
        }))
    }

    /// Whether a frame with this opcode may come now.
    const fn check_sequence(&self, opcode: u8, fin: bool) -> Result<(), FrameError> {
        if fin {
            // A whole text inside a fragmented one would overtake it; other whole frames are answered or ignored.
            return match (opcode, &self.unfinished) {
                (TEXT, Some(_)) => Err(FrameError::Interleaved { opcode }),
                _ => Ok(()),
            };
        }
        match (opcode, &self.unfinished) {
            (CLOSE.., _) => Err(FrameError::FragmentedControl { opcode }),
            (CONTINUATION, None) => Err(FrameError::NothingToContinue),
            (CONTINUATION, Some(_)) | (_, None) => Ok(()),
            (_, Some(_)) => Err(FrameError::Interleaved { opcode }),
        }
    }

    /// The payload length as a size that fits the limit together with what is already held.
    fn check_length(&self, opcode: u8, length: u64) -> Result<usize, FrameError> {
        let held = match &self.unfinished {
            Some(Unfinished::Text(text)) if opcode == CONTINUATION => text.len(),
            _ => 0,
        };
        let total = length.saturating_add(held as u64);
        if total > self.limit as u64 {
            return Err(FrameError::TooLarge {
                length: total,
                limit: self.limit,
            });
        }
        Ok(length as usize)
    }

    /// Unmasks a payload and decides what it is; `None` when it is part of something unfinished.
    fn take(&mut self, header: Header, mut payload: BytesMut) -> Option<Message> {
        if let Some(key) = header.key {
            mask::apply(key, &mut payload);
        }
        match (header.opcode, header.fin) {
            (TEXT, true) => Some(Message::Text(payload)),
            (TEXT, false) => {
                self.unfinished = Some(Unfinished::Text(payload));
                None
            }
            (CONTINUATION, fin) => self.take_continuation(fin, &payload),
            (CLOSE, _) => Some(Message::Close(payload)),
            (PING, _) => Some(Message::Ping(payload)),
            (PONG, _) => Some(Message::Pong),
            (opcode, fin) => {
                if !fin {
                    self.unfinished = Some(Unfinished::Unsupported);
                }
                Some(Message::Unsupported { opcode })
            }
        }
    }

    fn take_continuation(&mut self, fin: bool, payload: &[u8]) -> Option<Message> {
        match self.unfinished.take() {
            None => Some(Message::Unsupported { opcode: CONTINUATION }),
            Some(Unfinished::Text(mut text)) => {
                text.extend_from_slice(payload);
                if fin {
                    return Some(Message::Text(text));
                }
                self.unfinished = Some(Unfinished::Text(text));
                None
            }
            Some(Unfinished::Unsupported) => {
                if !fin {
                    self.unfinished = Some(Unfinished::Unsupported);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
