//! A look at a file frame on its way through a hub: just what routing needs, without a tree of its contents.

use std::ops::Range;

use crate::envelope::EnvelopeError;
use crate::fs::Op;
use crate::ids::Tag;
use crate::strict::{Event, JsonFaultKind, Scanner, Value};

/// What a frame is, as far as routing cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A request of the file protocol.
    Request(Op),
    /// A reply.
    Reply(Op),
    /// An error, which is a reply to anything.
    Error,
    /// An invalidation event.
    Event,
    /// A message of the control protocol.
    Control,
    /// Some other file message.
    Other,
}

/// What was seen in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FramePeek {
    /// What it is.
    pub kind: FrameKind,
    /// Its tag.
    pub tag: Option<Tag>,
    /// The handle it is about.
    pub handle: Option<u64>,
    /// The handle it opened: `payload.h` of a reply.
    pub opened: Option<u64>,
    /// Where the tag's number stands.
    tag_at: Option<Range<usize>>,
    /// Where the payload stands.
    payload_at: Option<Range<usize>>,
}

impl FramePeek {
    /// Looks at a frame. Takes time linear in it and hardly any memory; it must be JSON without repeated members, so
    /// that what is seen here is what the receiver will see.
    pub fn of(frame: &[u8]) -> Result<Self, EnvelopeError> {
        let mut scanner = Scanner::new(frame).map_err(|fault| as_envelope(fault.kind))?;
        let mut peek = Self {
            kind: FrameKind::Other,
            tag: None,
            handle: None,
            opened: None,
            tag_at: None,
            payload_at: None,
        };
        let mut next = || -> Result<_, EnvelopeError> {
            let event = scanner.next().map_err(|fault| as_envelope(fault.kind))?;
            Ok(event.map(|event| (event, scanner.began()..scanner.ended())))
        };
        match next()? {
            Some((Event::BeginObject, _)) => {}
            _ => return Err(EnvelopeError::NotAnObject),
        }
        let (mut channel, mut name) = (None, None);
        while let Some((Event::Name(member), _)) = next()? {
            let member = member.decode();
            let Some((event, mut at)) = next()? else { break };
            match (&*member, event) {
                ("channel", Event::Text(text)) => channel = Some(text.decode()),
                ("type", Event::Text(text)) => name = Some(text.decode()),
                ("channel" | "type", _) => return Err(EnvelopeError::InvalidType),
                ("tag", event) => {
                    let Event::Number(number) = event else {
                        return Err(EnvelopeError::InvalidType);
                    };
                    peek.tag = Some(Tag(number.parse().map_err(|_| EnvelopeError::InvalidType)?));
                    peek.tag_at = Some(at.clone());
                }
                ("h", Event::Number(number)) => peek.handle = number.parse().ok(),
                _ => {}
            }
            // Step over what is inside, noting the handle of a payload.
            let mut depth = u32::from(matches!(event, Event::BeginObject | Event::BeginArray));
            let mut is_handle = false;
            while depth > 0 {
                let Some((event, place)) = next()? else { break };
                at.end = place.end;
                match event {
                    Event::BeginObject | Event::BeginArray => depth += 1,
                    Event::EndObject | Event::EndArray => depth -= 1,
                    Event::Number(number) if is_handle => peek.opened = number.parse().ok(),
                    _ => {}
                }
                is_handle = member == "payload"
                    && depth == 1
                    && matches!(event, Event::Name(inner) if inner.decode() == "h");
            }
            if member == "payload" {
                peek.payload_at = Some(at);
            }
        }
        // The rest of the text must be nothing.
        while next()?.is_some() {}
        let channel = channel.ok_or(EnvelopeError::MissingField)?;
        let name = name.ok_or(EnvelopeError::MissingField)?;
        peek.kind = kind(&channel, &name)?;
        Ok(peek)
    }

    /// The frame with another tag, appended to `out`; every other byte is as it was.
    pub fn retag(&self, frame: &[u8], tag: Tag, out: &mut Vec<u8>) {
        let at = self.tag_at.clone().unwrap_or(0..0);
        out.extend_from_slice(frame.get(..at.start).unwrap_or_default());
        out.extend_from_slice(itoa::Buffer::new().format(tag.0).as_bytes());
        out.extend_from_slice(frame.get(at.end..).unwrap_or_default());
    }

    /// Bytes of the frame with another tag.
    pub fn retagged_len(&self, frame: &[u8], tag: Tag) -> usize {
        let before = self.tag_at.as_ref().map_or(0, ExactSizeIterator::len);
        frame.len() - before.min(frame.len()) + itoa::Buffer::new().format(tag.0).len()
    }

    /// The payload as a tree, for the few frames whose payload matters to a hub.
    pub fn payload<'f>(&self, frame: &'f [u8]) -> Option<Value<'f>> {
        Value::parse(frame.get(self.payload_at.clone()?)?).ok()
    }

    /// The frame with another tag and another payload.
    pub fn replace_payload(&self, frame: &[u8], tag: Tag, payload: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(frame.len() + payload.len());
        let (Some(tag_at), Some(payload_at)) = (self.tag_at.clone(), self.payload_at.clone()) else {
            return frame.to_vec();
        };
        let tag = tag.0.to_string();
        let mut parts = [(tag_at, tag.as_str()), (payload_at, payload)];
        parts.sort_by_key(|(at, _)| at.start);
        let mut done = 0;
        for (at, text) in parts {
            out.extend_from_slice(frame.get(done..at.start).unwrap_or_default());
            out.extend_from_slice(text.as_bytes());
            done = at.end;
        }
        out.extend_from_slice(frame.get(done..).unwrap_or_default());
        out
    }
}

fn as_envelope(kind: JsonFaultKind) -> EnvelopeError {
    match kind {
        JsonFaultKind::Syntax | JsonFaultKind::NotAnObject => EnvelopeError::Syntax,
        JsonFaultKind::UnexpectedEnd => EnvelopeError::UnexpectedEnd,
        JsonFaultKind::DuplicateMember => EnvelopeError::DuplicateField,
        JsonFaultKind::TooDeep => EnvelopeError::TooDeep,
    }
}

fn kind(channel: &str, name: &str) -> Result<FrameKind, EnvelopeError> {
    match channel {
        "control" => return Ok(FrameKind::Control),
        "acheron" => {}
        _ => return Err(EnvelopeError::InvalidType),
    }
    let name = name
        .strip_prefix("acheron.")
        .ok_or(EnvelopeError::UnsupportedType)?;
    if let Some(op) = name.strip_prefix("t_fs_").and_then(Op::from_wire) {
        return Ok(FrameKind::Request(op));
    }
    if let Some(op) = name.strip_prefix("r_fs_").and_then(Op::from_wire) {
        return Ok(FrameKind::Reply(op));
    }
    Ok(match name {
        "err_fs" => FrameKind::Error,
        "e_fs_inval" | "e_fs_inval_dir" => FrameKind::Event,
        _ => FrameKind::Other,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn retagged(text: &str, tag: u32) -> String {
        let mut out = Vec::new();
        FramePeek::of(text.as_bytes())
            .unwrap()
            .retag(text.as_bytes(), Tag(tag), &mut out);
        let peek = FramePeek::of(text.as_bytes()).unwrap();
        assert_eq!(peek.retagged_len(text.as_bytes(), Tag(tag)), out.len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_the_tag_is_rewritten() {
        let text = r#" {"channel":"acheron", "type":"acheron.t_fs_read","x":{"tag":5},"tag": 7 ,"h":3,"payload":{"off":0}}"#;
        assert_eq!(
            retagged(text, 4_000_000_000),
            text.replace(": 7 ", ": 4000000000 ")
        );
        let peek = FramePeek::of(text.as_bytes()).unwrap();
        assert_eq!(
            (peek.kind, peek.tag, peek.handle),
            (FrameKind::Request(Op::Read), Some(Tag(7)), Some(3))
        );
    }

    #[test]
    fn what_routing_needs_is_seen() {
        let opened = br#"{"channel":"acheron","type":"acheron.r_fs_open","tag":12,"ok":true,"payload":{"x":{"h":9},"h":1,"caps":{"rd":true}}}"#;
        let peek = FramePeek::of(opened).unwrap();
        assert_eq!((peek.kind, peek.opened), (FrameKind::Reply(Op::Open), Some(1)));
        for (text, kind) in [
            (
                r#"{"channel":"acheron","type":"acheron.err_fs","tag":1}"#,
                FrameKind::Error,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.e_fs_inval_dir","payload":{}}"#,
                FrameKind::Event,
            ),
            (
                r#"{"channel":"control","type":"control.version"}"#,
                FrameKind::Control,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.t_walk","tag":1}"#,
                FrameKind::Other,
            ),
        ] {
            assert_eq!(FramePeek::of(text.as_bytes()).unwrap().kind, kind, "{text}");
        }
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        use EnvelopeError as E;
        for (text, fault) in [
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_read","tag":1,"tag":2}"#,
                E::DuplicateField,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_read","tag":1,"\u0074ag":2}"#,
                E::DuplicateField,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_read","tag":1.0}"#,
                E::InvalidType,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_read","tag":"1"}"#,
                E::InvalidType,
            ),
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_read","tag":1}{}"#,
                E::Syntax,
            ),
            (r#"{"channel":"acheron","tag":1}"#, E::MissingField),
            ("[]", E::NotAnObject),
            ("", E::UnexpectedEnd),
        ] {
            assert_eq!(FramePeek::of(text.as_bytes()).unwrap_err(), fault, "{text}");
        }
    }

    #[test]
    fn a_hello_can_be_given_another_payload() {
        let text =
            br#"{"channel":"acheron","payload":{"auth_token":"t"},"type":"acheron.t_fs_hello","tag":1}"#;
        let peek = FramePeek::of(text).unwrap();
        assert_eq!(peek.payload(text).unwrap().source, r#"{"auth_token":"t"}"#);
        assert_eq!(
            String::from_utf8(peek.replace_payload(text, Tag(42), "{}")).unwrap(),
            r#"{"channel":"acheron","payload":{},"type":"acheron.t_fs_hello","tag":42}"#
        );
    }

    proptest! {
        #[test]
        fn retagging_there_and_back_changes_nothing(tag: u32, other: u32, data in "[a-zA-Z0-9+/=]{0,60}", nested in "[\\[\\]{}\":,a]{0,20}") {
            let nested = crate::canonical::quoted(&nested);
            let text = format!(r#"{{"channel":"acheron","type":"acheron.t_fs_write","tag":{tag},"h":1,"payload":{{"n":{nested},"data_b64":"{data}"}}}}"#);
            prop_assert_eq!(retagged(&retagged(&text, other), tag), text);
        }

        #[test]
        fn no_text_makes_it_fall(text in "\\PC{0,80}") {
            let _ = FramePeek::of(text.as_bytes());
        }
    }
}
