use proptest::prelude::*;

use super::*;
use crate::frame::{Frame, MAX_PAYLOAD, Masking};

/// A frame with every field chosen freely; `mask` is a key or none.
fn raw(first: u8, mask: Option<MaskKey>, payload: &[u8]) -> Vec<u8> {
    let frame = Frame::text(Masking::None, payload.len(), |bytes| bytes.extend(payload));
    let mut bytes = frame.as_bytes().to_vec();
    bytes[0] = first;
    if let Some(key) = mask {
        let header = bytes.len() - payload.len();
        bytes[1] |= MASKED;
        mask::apply(key, &mut bytes[header..]);
        bytes.splice(header..header, key);
    }
    bytes
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    raw(first, Some([1, 2, 3, 4]), payload)
}

/// Everything a server's decoder makes of `bytes`, and what it then wants.
fn decode_all(bytes: &[u8]) -> (Vec<Message>, Result<usize, FrameError>) {
    let mut decoder = Decoder::of_client_frames(MAX_PAYLOAD);
    drain(&mut decoder, &mut BytesMut::from(bytes))
}

fn drain(decoder: &mut Decoder, buffer: &mut BytesMut) -> (Vec<Message>, Result<usize, FrameError>) {
    let mut messages = Vec::new();
    loop {
        match decoder.decode(buffer) {
            Ok(Decoded::Message(message)) => messages.push(message),
            Ok(Decoded::Need(missing)) => return (messages, Ok(missing)),
            Err(error) => return (messages, Err(error)),
        }
    }
}

fn text(payload: &str) -> Message {
    Message::Text(payload.into())
}

#[test]
fn every_opcode_of_a_whole_frame() {
    for opcode in 0..=15 {
        let expected = match opcode {
            TEXT => text("abc"),
            CLOSE => Message::Close("abc".into()),
            PING => Message::Ping("abc".into()),
            PONG => Message::Pong,
            opcode => Message::Unsupported { opcode },
        };
        for reserved in [0, 0x10, 0x40, 0x70] {
            let decoded = decode_all(&masked(FINAL | reserved | opcode, b"abc"));
            assert_eq!(
                decoded,
                (vec![expected.clone()], Ok(2)),
                "opcode {opcode}, reserved {reserved:#x}"
            );
        }
    }
}

#[test]
fn masks_are_required_of_clients_except_for_close_and_forbidden_to_servers() {
    for opcode in 0..=15 {
        let plain = raw(FINAL | opcode, None, b"abc");
        let hidden = masked(FINAL | opcode, b"abc");
        let (messages, end) = decode_all(&plain);
        if opcode == CLOSE {
            assert_eq!(messages, [Message::Close("abc".into())]);
        } else {
            assert_eq!((messages, end), (vec![], Err(FrameError::NotMasked { opcode })));
        }

        let mut client = Decoder::of_server_frames(MAX_PAYLOAD);
        assert_eq!(
            drain(&mut client, &mut plain[..].into()).0.len(),
            1,
            "opcode {opcode}"
        );
        assert_eq!(
            drain(&mut client, &mut hidden[..].into()).1,
            Err(FrameError::Masked { opcode })
        );
    }
}

#[test]
fn fragments_in_every_order() {
    type Row<'a> = (
        &'a str,
        &'a [(u8, &'a str)],
        &'a [Message],
        Result<usize, FrameError>,
    );
    let concat = |rows: &[(u8, &str)]| -> Vec<u8> {
        rows.iter()
            .flat_map(|(first, payload)| masked(*first, payload.as_bytes()))
            .collect()
    };
    let ping = Message::Ping("p".into());
    let unsupported = |opcode| Message::Unsupported { opcode };
    let rows: &[Row<'_>] = &[
        (
            "two fragments",
            &[(0x01, "ab"), (0x80, "cd")],
            &[text("abcd")],
            Ok(2),
        ),
        (
            "empty fragments",
            &[(0x01, ""), (0x00, ""), (0x80, "")],
            &[text("")],
            Ok(2),
        ),
        (
            "a ping between",
            &[
                (0x01, "ab"),
                (0x89, "p"),
                (0x00, "c"),
                (0x8a, ""),
                (0x80, "d"),
                (0x81, "e"),
            ],
            &[ping.clone(), Message::Pong, text("abcd"), text("e")],
            Ok(2),
        ),
        ("unfinished", &[(0x01, "ab"), (0x00, "cd")], &[], Ok(2)),
        (
            "binary is reported once",
            &[(0x02, "ab"), (0x89, "p"), (0x00, "cd"), (0x80, "ef"), (0x81, "g")],
            &[unsupported(2), ping, text("g")],
            Ok(2),
        ),
        (
            "a lone last fragment is answered",
            &[(0x80, "ab"), (0x81, "c")],
            &[unsupported(0), text("c")],
            Ok(2),
        ),
        (
            "a whole binary inside a text",
            &[(0x01, "ab"), (0x82, "x"), (0x80, "cd")],
            &[unsupported(2), text("abcd")],
            Ok(2),
        ),
        (
            "a lone middle fragment",
            &[(0x00, "ab")],
            &[],
            Err(FrameError::NothingToContinue),
        ),
        (
            "a text inside a text",
            &[(0x01, "ab"), (0x81, "x")],
            &[],
            Err(FrameError::Interleaved { opcode: 1 }),
        ),
        (
            "a second first fragment",
            &[(0x01, "ab"), (0x02, "x")],
            &[],
            Err(FrameError::Interleaved { opcode: 2 }),
        ),
        (
            "a split ping",
            &[(0x09, "p")],
            &[],
            Err(FrameError::FragmentedControl { opcode: 9 }),
        ),
    ];
    for (name, input, messages, end) in rows {
        assert_eq!(
            decode_all(&concat(input)),
            (messages.to_vec(), end.clone()),
            "{name}"
        );
    }
}

#[test]
fn lengths_need_not_be_minimal() {
    let rows: [&[u8]; 3] = [
        &[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'],
        &[0x81, 0xfe, 0, 2, 0, 0, 0, 0, b'h', b'i'],
        &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, b'h', b'i'],
    ];
    for row in rows {
        assert_eq!(decode_all(row), (vec![text("hi")], Ok(2)));
    }
}

#[test]
fn the_limit_is_inclusive_and_judged_by_the_header_alone() {
    for opcode in [1_u8, 2, 8, 9] {
        let whole = masked(FINAL | opcode, &vec![b'x'; MAX_PAYLOAD]);
        assert_eq!(decode_all(&whole).0.len(), 1, "opcode {opcode}");

        for length in [MAX_PAYLOAD as u64 + 1, u64::MAX] {
            let mut header = vec![FINAL | opcode, MASKED | LENGTH_64];
            header.extend(length.to_be_bytes());
            let error = FrameError::TooLarge {
                length,
                limit: MAX_PAYLOAD,
            };
            assert_eq!(decode_all(&header), (vec![], Err(error)), "opcode {opcode}");
        }
    }
}

#[test]
fn fragments_together_obey_the_limit_and_control_frames_do_not_count() {
    let mut decoder = Decoder::of_client_frames(10);
    let mut stream: Vec<u8> = [
        masked(0x01, b"12345"),
        masked(0x89, b"0123456789"),
        masked(0x80, b"67890"),
    ]
    .concat();
    let (messages, end) = drain(&mut decoder, &mut stream[..].into());
    assert_eq!(messages, [Message::Ping("0123456789".into()), text("1234567890")]);
    assert_eq!(end, Ok(2));

    stream = [masked(0x01, b"12345"), masked(0x00, b"678901")[..2].to_vec()].concat();
    let error = FrameError::TooLarge {
        length: 11,
        limit: 10,
    };
    assert_eq!(drain(&mut decoder, &mut stream[..].into()), (vec![], Err(error)));
}

#[test]
fn what_is_missing_is_exact_once_the_length_is_known() {
    let frame = masked(0x81, &[b'x'; 300]);
    let mut decoder = Decoder::of_client_frames(MAX_PAYLOAD);
    for have in 0..frame.len() {
        let Ok(Decoded::Need(missing)) = decoder.decode(&mut frame[..have].into()) else {
            panic!("complete after {have} of {} bytes", frame.len());
        };
        let expected = match have {
            0..2 => 2 - have,
            // The mask key counts as soon as its presence is known.
            2..4 => 8 - have,
            _ => frame.len() - have,
        };
        assert_eq!(missing, expected, "after {have} bytes");
    }
}

/// Streams of frames as peers may send them, well-formed and otherwise.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let frame = (
        any::<u8>(),
        any::<Option<MaskKey>>(),
        prop::collection::vec(any::<u8>(), 0..200),
    );
    let likely = (
        prop_oneof![Just(0x81), Just(0x01), Just(0x00), Just(0x80), Just(0x89)],
        any::<MaskKey>(),
    );
    let likely = (likely, prop::collection::vec(any::<u8>(), 0..200));
    let frame = prop_oneof![
        1 => frame.prop_map(|(first, mask, payload)| raw(first, mask, &payload)),
        9 => likely.prop_map(|((first, key), payload)| raw(first, Some(key), &payload)),
    ];
    prop::collection::vec(frame, 0..20).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn any_split_of_a_stream_decodes_to_the_same(
        stream in frames(),
        cuts in prop::collection::vec(1_usize..50, 1..40),
    ) {
        let whole = decode_all(&stream);
        let mut decoder = Decoder::of_client_frames(MAX_PAYLOAD);
        let mut buffer = BytesMut::new();
        let mut seen = Vec::new();
        let mut end = Ok(2);
        let mut rest = &stream[..];
        for size in cuts.iter().cycle() {
            let (piece, later) = rest.split_at(rest.len().min(*size));
            buffer.extend_from_slice(piece);
            rest = later;
            let (messages, now) = drain(&mut decoder, &mut buffer);
            seen.extend(messages);
            end = now;
            if end.is_err() || rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!((seen, end), whole);
    }

    #[test]
    fn random_bytes_never_panic_and_never_ask_for_more_than_the_limit(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        client in any::<bool>(),
    ) {
        let mut decoder =
            if client { Decoder::of_server_frames(1000) } else { Decoder::of_client_frames(1000) };
        if let (_, Ok(missing)) = drain(&mut decoder, &mut bytes[..].into()) {
            prop_assert!((1..=1014).contains(&missing));
        }
    }
}
