//! What both sides of the upgrade share: reading an HTTP head off a link, and the key exchange.

use std::io;

use bytes::BytesMut;
use sha1::{Digest as _, Sha1};
use tokio::io::AsyncReadExt as _;

use crate::link::Link;

/// Header lines a head may have; the limit that matters is the one in bytes.
pub(crate) const MAX_HEADERS: usize = 100;

/// Appended to the client's key before hashing (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
const READ_SIZE: usize = 1024;

/// Why no complete head was read.
#[derive(Debug)]
pub(crate) enum HeadError {
    Io(io::Error),
    /// The peer hung up before the head was complete.
    Closed,
    TooLarge,
}

/// Reads until a blank line and returns the head, that line included; what came behind stays in `buffer`.
pub(crate) async fn read_head(
    link: &mut Link,
    buffer: &mut BytesMut,
    limit: usize,
) -> Result<BytesMut, HeadError> {
    let mut searched = 0;
    loop {
        if let Some(end) = find_end(buffer, searched) {
            return if end <= limit {
                Ok(buffer.split_to(end))
            } else {
                Err(HeadError::TooLarge)
            };
        }
        if buffer.len() >= limit {
            return Err(HeadError::TooLarge);
        }
        searched = buffer.len();
        buffer.reserve(READ_SIZE);
        if link.read_buf(buffer).await.map_err(HeadError::Io)? == 0 {
            return Err(HeadError::Closed);
        }
        // The head, too, may come in two segments that wait for each other.
        link.acknowledge_now();
    }
}

/// Where the head ends, when the first `searched` bytes are known not to hold the end.
fn find_end(buffer: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(END_OF_HEAD.len() - 1);
    let position = buffer
        .get(from..)?
        .windows(END_OF_HEAD.len())
        .position(|window| window == END_OF_HEAD)?;
    Some(from + position + END_OF_HEAD.len())
}

/// The first header called `name`, in any case, without surrounding blanks.
pub(crate) fn header<'h>(headers: &[httparse::Header<'h>], name: &str) -> Option<&'h [u8]> {
    headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value.trim_ascii())
}

/// The `Sec-WebSocket-Accept` that belongs to a `Sec-WebSocket-Key`.
pub(crate) fn accept_for(key: &[u8]) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    base64_simd::STANDARD.encode_to_string(digest.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_of_the_rfc_and_of_an_empty_key() {
        assert_eq!(
            accept_for(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(accept_for(b""), "Kfh9QIsMVZcl6xEPYxPHzW8SZ8w=");
    }

    #[test]
    fn the_end_is_found_wherever_the_search_resumes() {
        let head = b"GET / HTTP/1.1\r\n\r\nrest";
        for searched in 0..18 {
            assert_eq!(find_end(head, searched), Some(18), "searched {searched}");
        }
        assert_eq!(find_end(b"\r\n\r", 0), None);
    }
}
