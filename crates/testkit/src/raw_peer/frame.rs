//! One WebSocket frame as bytes, honest or broken on purpose.
//!
//! Unlike a product codec this one hides nothing: every header bit can be set and seen.

/// Opcode of a continuation frame.
pub const CONTINUATION: u8 = 0;
/// Opcode of a text frame.
pub const TEXT: u8 = 1;
/// Opcode of a binary frame.
pub const BINARY: u8 = 2;
/// Opcode of a close frame.
pub const CLOSE: u8 = 8;
/// Opcode of a ping.
pub const PING: u8 = 9;
/// Opcode of a pong.
pub const PONG: u8 = 10;

/// Seven bits that say: the length follows in two or in eight bytes.
const LENGTH_IN_2: u8 = 0x7e;
const LENGTH_IN_8: u8 = 0x7f;

/// The masking key of every masked frame: a test wants the same bytes each time (it is the key of RFC 6455,
/// 5.7).
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame with every bit of its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whether this is the last fragment of its message.
    pub fin: bool,
    /// The three reserved bits, 0 to 7.
    pub rsv: u8,
    /// Four bits that say what the frame is.
    pub opcode: u8,
    /// Whether the payload is masked; clients must, servers must not.
    pub masked: bool,
    /// The payload, unmasked.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A correct client frame: final, masked, no reserved bits.
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            fin: true,
            rsv: 0,
            opcode,
            masked: true,
            payload: payload.into(),
        }
    }

    /// A correct text frame of a client.
    pub fn text(text: &str) -> Self {
        Self::new(TEXT, text.as_bytes())
    }

    /// The same frame as a fragment that is not the last.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.fin = false;
        self
    }

    /// The same frame without masking, as a server sends it.
    #[must_use]
    pub fn unmasked(mut self) -> Self {
        self.masked = false;
        self
    }

    /// The same frame with these reserved bits.
    #[must_use]
    pub fn reserved(mut self, rsv: u8) -> Self {
        self.rsv = rsv & 7;
        self
    }

    /// The frame as it goes over the wire, its length encoded as shortly as possible.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len() + 14);
        out.push(u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode & 15);
        let mask_bit = u8::from(self.masked) << 7;
        match self.payload.len() {
            short @ 0..126 => out.push(mask_bit | short as u8),
            medium @ 126..0x1_0000 => {
                out.push(mask_bit | LENGTH_IN_2);
                out.extend((medium as u16).to_be_bytes());
            }
            long => {
                out.push(mask_bit | LENGTH_IN_8);
                out.extend((long as u64).to_be_bytes());
            }
        }
        if self.masked {
            out.extend(MASK);
            out.extend(
                self.payload
                    .iter()
                    .zip(MASK.iter().cycle())
                    .map(|(byte, key)| byte ^ key),
            );
        } else {
            out.extend(&self.payload);
        }
        out
    }

    /// The first frame of `bytes` and how many bytes it takes, or nothing while it is incomplete.
    ///
    /// A length that is longer than need be is an error: nobody we talk to may send one.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, String> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let (length, minimum, width) = match second & 0x7f {
            LENGTH_IN_2 => (
                rest.first_chunk().map(|b| u64::from(u16::from_be_bytes(*b))),
                126,
                2,
            ),
            LENGTH_IN_8 => (rest.first_chunk().map(|b| u64::from_be_bytes(*b)), 0x1_0000, 8),
            short => (Some(u64::from(short)), 0, 0),
        };
        let Some(length) = length else { return Ok(None) };
        if length < minimum {
            return Err(format!("a length of {length} written in {width} bytes"));
        }
        let masked = second & 0x80 != 0;
        let key_at = 2 + width;
        let body_at: usize = key_at + if masked { 4 } else { 0 };
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| body_at.checked_add(length));
        let Some(end) = end else {
            return Err(format!("a frame of {length} bytes"));
        };
        let Some(body) = bytes.get(body_at..end) else {
            return Ok(None);
        };
        let mut payload = body.to_vec();
        if masked {
            let key = &bytes[key_at..body_at];
            payload
                .iter_mut()
                .zip(key.iter().cycle())
                .for_each(|(byte, key)| *byte ^= key);
        }
        let frame = Self {
            fin: first & 0x80 != 0,
            rsv: first >> 4 & 7,
            opcode: first & 15,
            masked,
            payload,
        };
        Ok(Some((frame, end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_bit_and_length_class_survives() {
        for length in [0, 1, 125, 126, 127, 65535, 65536, 70000] {
            for frame in [
                Frame::new(TEXT, vec![7; length]),
                Frame::new(11, vec![7; length])
                    .unfinished()
                    .unmasked()
                    .reserved(5),
            ] {
                let bytes = frame.encode();
                assert_eq!(Frame::decode(&bytes), Ok(Some((frame, bytes.len()))));
            }
        }
    }

    #[test]
    fn an_incomplete_frame_is_not_an_error() {
        let bytes = Frame::text(&"x".repeat(300)).encode();
        for cut in 0..bytes.len() {
            assert_eq!(Frame::decode(&bytes[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn a_padded_length_is_refused() {
        assert!(Frame::decode(&[0x81, 126, 0, 5, 1, 2, 3, 4, 5]).is_err());
        assert!(Frame::decode(&[0x81, 127, 0, 0, 0, 0, 0, 0, 0, 1, 9]).is_err());
    }
}
