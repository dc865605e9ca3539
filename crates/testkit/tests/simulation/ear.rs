//! Listens to one direction of a connection: which path was asked for, which messages went by.

/// What was heard.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The first line of the HTTP head.
    Head(String),
    /// A text message.
    Text(Vec<u8>),
    /// A close frame with its code.
    Close(u16),
    /// A ping or a pong.
    Pulse,
}

#[derive(Debug, Default)]
pub(crate) struct Ear {
    is_past_head: bool,
    buffer: Vec<u8>,
}

impl Ear {
    /// Takes bytes as they went by.
    pub(crate) fn listen(&mut self, bytes: &[u8]) -> Vec<Heard> {
        self.buffer.extend_from_slice(bytes);
        let mut heard = Vec::new();
        while let Some(next) = self.next() {
            heard.push(next);
        }
        heard
    }

    fn next(&mut self) -> Option<Heard> {
        if !self.is_past_head {
            let end = self.buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
            let head: Vec<u8> = self.buffer.drain(..end).collect();
            self.is_past_head = true;
            let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
            return Some(Heard::Head(String::from_utf8_lossy(line).into_owned()));
        }
        let (first, second) = (*self.buffer.first()?, *self.buffer.get(1)?);
        let is_masked = second & 0x80 != 0;
        let (length, mut at) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(self.array(2)?)), 4),
            127 => (u64::from_be_bytes(self.array(2)?) as usize, 10),
            short => (usize::from(short), 2),
        };
        let mask: [u8; 4] = if is_masked { self.array(at)? } else { [0; 4] };
        at += if is_masked { 4 } else { 0 };
        if self.buffer.len() < at + length {
            return None;
        }
        let frame: Vec<u8> = self.buffer.drain(..at + length).collect();
        let masks = mask.iter().cycle();
        let payload: Vec<u8> = frame
            .iter()
            .skip(at)
            .zip(masks)
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        Some(match first & 0x0f {
            8 => Heard::Close(match payload.as_slice() {
                [high, low, ..] => u16::from_be_bytes([*high, *low]),
                _ => 0,
            }),
            9 | 10 => Heard::Pulse,
            _ => Heard::Text(payload),
        })
    }

    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.buffer.get(at..at + N)?.try_into().ok()
    }
}

/// The text of a member, wherever it stands first.
pub(crate) fn member<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("\"{name}\":"))?;
    match rest.strip_prefix('"') {
        Some(rest) => rest.split('"').next(),
        None => rest.split([',', '}']).next(),
    }
}
