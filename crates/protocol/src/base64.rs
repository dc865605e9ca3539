//! File bytes on the wire: standard alphabet, padded, nothing else accepted (section 8.8).

use bytes::Bytes;

/// Base64 text that was received and not yet decoded.
///
/// Decoding costs more than everything else about a large write, so it waits until the request runs, away
/// from the task that reads the socket. The text usually is a slice of the received frame, not a copy.
#[derive(Clone, PartialEq, Eq)]
pub struct Base64Text(Bytes);

/// Text that is no strict base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid base64 payload")]
pub struct Base64Error;

impl Base64Text {
    /// Wraps received text; it is checked by [`decode`](Self::decode).
    pub fn new(text: Bytes) -> Self {
        Self(text)
    }

    /// Encodes bytes, for the side that sends.
    pub fn encode(data: &[u8]) -> Self {
        let mut text = Vec::with_capacity(data.len().div_ceil(3) * 4);
        encode_into(data, &mut text);
        Self(text.into())
    }

    /// The text as received.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Most bytes this text can decode to; known before anything is allocated.
    pub fn decoded_bound(&self) -> usize {
        self.0.len() / 4 * 3
    }

    /// The decoded bytes. White space, missing padding and unused bits that are not zero are errors.
    pub fn decode(&self) -> Result<Vec<u8>, Base64Error> {
        decode(&self.0)
    }
}

impl std::fmt::Debug for Base64Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Base64Text({} characters)", self.0.len())
    }
}

pub(crate) fn decode(text: &[u8]) -> Result<Vec<u8>, Base64Error> {
    base64_simd::STANDARD.decode_to_vec(text).map_err(|_| Base64Error)
}

pub(crate) fn encode_into(data: &[u8], out: &mut Vec<u8>) {
    base64_simd::STANDARD.encode_append(data, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_is_strict() {
        for bad in [
            "%%%", "QQ", "QQ=", "QQ===", "QQ==\n", " QQ==", "QR==", "QUJ=", "Q", "QQ==QQ==", "Q-_=",
        ] {
            assert_eq!(decode(bad.as_bytes()), Err(Base64Error), "{bad:?}");
        }
        assert_eq!(decode(b"QQ==").unwrap(), b"A");
        assert_eq!(decode(b"").unwrap(), b"");
    }

    #[test]
    fn encoding_comes_back() {
        for length in [0, 1, 2, 3, 31, 32, 33, 4096] {
            let data: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
            let text = Base64Text::encode(&data);
            assert!(text.decoded_bound() >= data.len());
            assert_eq!(text.decode().unwrap(), data);
        }
    }
}
