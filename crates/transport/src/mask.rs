//! Masking: every byte a client sends is combined (exclusive or) with a four-byte key that travels in the frame's header.
//!
//! Frames of more than a megabyte are ordinary here, so the work is done on wide words, which the compiler turns
//! into vector instructions.

use crate::random;

/// Four bytes, repeated over the payload.
pub(crate) type MaskKey = [u8; 4];

/// A fresh key for one outgoing frame.
pub(crate) fn fresh_key() -> MaskKey {
    ((random::next_u64() >> 32) as u32).to_ne_bytes()
}

/// Masks or unmasks `data` in place; applying the same key twice changes nothing.
pub(crate) fn apply(key: MaskKey, data: &mut [u8]) {
    let word = u32::from_ne_bytes(key);
    let wide = u64::from(word) | u64::from(word) << 32;
    let (chunks, tail) = data.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_every_length_like_the_byte_wise_definition() {
        let key = [0x12, 0xfe, 0x00, 0xa7];
        for length in 0..70 {
            let plain: Vec<u8> = (0..length).collect();
            let expected: Vec<u8> = plain.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect();
            let mut masked = plain.clone();
            apply(key, &mut masked);
            assert_eq!(masked, expected, "length {length}");
            apply(key, &mut masked);
            assert_eq!(masked, plain, "length {length}");
        }
    }
}
