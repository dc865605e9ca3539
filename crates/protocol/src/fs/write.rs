//! Writes JSON text straight into a frame: the members' order and the escaping rules of section 3.1 are part
//! of the contract, and a reply costs no intermediate value.

pub(super) struct JsonWriter<'a>(pub(super) &'a mut Vec<u8>);

impl JsonWriter<'_> {
    pub(super) fn raw(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn int(&mut self, number: impl itoa::Integer) -> &mut Self {
        self.0
            .extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self
    }

    pub(super) fn bool(&mut self, value: bool) -> &mut Self {
        self.raw(if value { "true" } else { "false" })
    }

    /// A string in quotes. Escapes `\`, `"` and bytes below 0x20, everything else goes out as it is.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.push(b'"');
        let mut rest = text.as_bytes();
        while let Some(at) = rest
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
        {
            let (plain, tail) = rest.split_at(at);
            self.0.extend_from_slice(plain);
            let Some((special, tail)) = tail.split_first() else {
                break;
            };
            self.escape(*special);
            rest = tail;
        }
        self.0.extend_from_slice(rest);
        self.0.push(b'"');
        self
    }

    fn escape(&mut self, byte: u8) {
        match byte {
            b'"' => self.raw("\\\""),
            b'\\' => self.raw("\\\\"),
            b'\n' => self.raw("\\n"),
            b'\r' => self.raw("\\r"),
            b'\t' => self.raw("\\t"),
            other => {
                let digit = |nibble: u8| {
                    if nibble < 10 {
                        b'0' + nibble
                    } else {
                        b'a' + nibble - 10
                    }
                };
                self.0
                    .extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(other >> 4), digit(other & 15)]);
                self
            }
        };
    }

    pub(super) fn base64(&mut self, data: &[u8]) -> &mut Self {
        self.0.push(b'"');
        crate::base64::encode_into(data, self.0);
        self.0.push(b'"');
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_the_contract_says() {
        let mut out = Vec::new();
        JsonWriter(&mut out).text("a\"b\\c\nd\re\tf\u{8}g\u{1f}h/é\u{7f}");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#""a\"b\\c\nd\re\tf\u0008g\u001fh/é"#.to_owned() + "\u{7f}\""
        );
    }
}
