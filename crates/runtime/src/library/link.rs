//! What a node and a helper that keeps a library loaded say to each other.
//!
//! The helper says once whether it could load the library. Then every question is a payload, and every answer what
//! the library's function gave. The helper's standard outputs are not part of this: what the library prints itself
//! goes to the node through pipes, and is there before the answer.
//!
//! ```text
//! helper: status u8
//! node:   length u32, payload
//! helper: code u8, children u8, out length u32, err length u32, out, err
//! ```
//!
//! Numbers are little-endian.
#![cfg_attr(
    not(unix),
    allow(dead_code, reason = "only helpers that are asked again have a link")
)]

use std::io::{self, Read, Write};

use spiderweb_protocol::limits::MAX_DRIVER_OUTPUT;

/// Room for each of a function's two buffers (section 16).
pub(crate) const CAPACITY: usize = MAX_DRIVER_OUTPUT;

/// Whether the library could be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greeting {
    Ready,
    NotFound,
    MissingSymbol,
}

impl Greeting {
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Ready => 0,
            Self::NotFound => 1,
            Self::MissingSymbol => 2,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Ready),
            1 => Some(Self::NotFound),
            2 => Some(Self::MissingSymbol),
            _ => None,
        }
    }
}

/// What the library's function gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its return value, as an exit code.
    pub(crate) code: u8,
    /// Whether processes that it started are still there.
    pub(crate) has_children: bool,
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
}

/// Size of what precedes the two buffers.
pub(crate) const ANSWER_HEAD: usize = 10;

/// The head of an answer: what it says beside the buffers, and how long those are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerHead {
    pub(crate) code: u8,
    pub(crate) has_children: bool,
    pub(crate) out: usize,
    pub(crate) err: usize,
}

impl AnswerHead {
    /// None for what no helper of ours says.
    pub(crate) fn decode(bytes: [u8; ANSWER_HEAD]) -> Option<Self> {
        let [code, children, lengths @ ..] = bytes;
        let lengths = u64::from_le_bytes(lengths);
        let checked = |length: u32| usize::try_from(length).ok().filter(|length| *length <= CAPACITY);
        Some(Self {
            code,
            has_children: children != 0,
            out: checked(lengths as u32)?,
            err: checked((lengths >> 32) as u32)?,
        })
    }
}

/// The next payload; none once the node is gone.
pub(crate) fn read_question(link: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match link.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let length = u64::from(u32::from_le_bytes(length));
    let mut payload = Vec::new();
    let read = link.take(length).read_to_end(&mut payload)?;
    Ok((read as u64 == length).then_some(payload))
}

pub(crate) fn encode_question(payload: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(payload.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut frame = Vec::with_capacity(4 + payload.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(payload);
    Ok(frame)
}

pub(crate) fn write_answer(link: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let mut frame = Vec::with_capacity(ANSWER_HEAD + answer.out.len() + answer.err.len());
    frame.extend([answer.code, u8::from(answer.has_children)]);
    for buffer in [&answer.out, &answer.err] {
        let length = u32::try_from(buffer.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        frame.extend(length.to_le_bytes());
    }
    frame.extend_from_slice(&answer.out);
    frame.extend_from_slice(&answer.err);
    link.write_all(&frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_arrives_as_it_was_asked() {
        for payload in [&b""[..], b"{}", &vec![0xff; 70_000]] {
            let frame = encode_question(payload).unwrap();
            assert_eq!(
                read_question(&mut frame.as_slice()).unwrap().as_deref(),
                Some(payload)
            );
            let cut = &frame[..frame.len() - 1];
            assert_eq!(
                read_question(&mut &cut[..]).unwrap(),
                None,
                "the node died while asking"
            );
        }
    }

    #[test]
    fn the_head_of_an_answer_is_checked() {
        let answer = Answer {
            code: 7,
            has_children: true,
            out: b"result".to_vec(),
            err: b"!".to_vec(),
        };
        let mut frame = Vec::new();
        write_answer(&mut frame, &answer).unwrap();
        let mut head: [u8; ANSWER_HEAD] = frame[..ANSWER_HEAD].try_into().unwrap();
        let expected = AnswerHead {
            code: 7,
            has_children: true,
            out: 6,
            err: 1,
        };
        assert_eq!(AnswerHead::decode(head), Some(expected));
        assert_eq!(&frame[ANSWER_HEAD..], b"result!");
        head[4] = 0x11;
        assert_eq!(AnswerHead::decode(head), None, "longer than any buffer");
    }
}
