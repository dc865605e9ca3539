//! The last invokes of a service, each under a name of its own, so that every writer finds its result whoever
//! wrote after it.

use std::collections::VecDeque;

use bytes::Bytes;
use spiderweb_protocol::Base64Text;
use spiderweb_protocol::canonical::ObjectWriter;

/// Invokes that are remembered, and bytes of their records: enough for a writer far away to read its own before
/// others' results push it out.
const MOST_RECORDS: usize = 256;
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// Numbers of invokes that never began are counted down from here; no service counts up to them.
const SPARE: u64 = 1 << 40;

/// What is remembered of an invoke.
pub(crate) struct Record<'r> {
    pub(crate) number: u64,
    /// The name the client gave it.
    pub(crate) name: Option<&'r str>,
    /// As in `status.json`.
    pub(crate) state: &'r str,
    pub(crate) exit_code: i64,
    pub(crate) started_ms: u64,
    pub(crate) finished_ms: u64,
    pub(crate) result: &'r [u8],
    pub(crate) error: &'r [u8],
}

/// The remembered invokes, oldest first.
#[derive(Default)]
pub(crate) struct History {
    records: VecDeque<(u64, Box<str>, Bytes)>,
    bytes: usize,
    never_began: u64,
}

impl History {
    /// A number that no invoke has, for one that never began.
    pub(crate) fn spare_number(&mut self) -> u64 {
        self.never_began += 1;
        SPARE - self.never_began
    }

    pub(crate) fn add(&mut self, record: &Record<'_>) {
        let name: Box<str> = match record.name {
            Some(name) => name.into(),
            None => record.number.to_string().into(),
        };
        let text = Bytes::from(render(record, &name));
        self.bytes += text.len();
        self.records.push_back((record.number, name, text));
        while self.records.len() > MOST_RECORDS || self.bytes > MOST_BYTES && self.records.len() > 1 {
            if let Some((_, _, oldest)) = self.records.pop_front() {
                self.bytes -= oldest.len();
            }
        }
    }

    /// Numbers and names, oldest first.
    pub(crate) fn names(&self) -> impl Iterator<Item = (u64, &str)> {
        self.records.iter().map(|(number, name, _)| (*number, &**name))
    }

    pub(crate) fn get(&self, number: u64) -> Option<Bytes> {
        let found = self.records.iter().find(|(other, _, _)| *other == number);
        found.map(|(_, _, text)| text.clone())
    }
}

fn render(record: &Record<'_>, name: &str) -> String {
    let object = ObjectWriter::new()
        .text("invoke", name)
        .json("number", record.number)
        .text("state", record.state)
        .json("exit_code", record.exit_code)
        .json("started_ms", record.started_ms)
        .json("finished_ms", record.finished_ms);
    bytes(bytes(object, "result", record.result), "error", record.error).finish()
}

/// A text; as `<name>_b64` where the bytes are none.
fn bytes(object: ObjectWriter, name: &str, value: &[u8]) -> ObjectWriter {
    if let Ok(text) = std::str::from_utf8(value) {
        return object.text(name, text);
    }
    let encoded = Base64Text::encode(value);
    object.text(
        &format!("{name}_b64"),
        &String::from_utf8_lossy(encoded.as_bytes()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'r>(number: u64, name: Option<&'r str>, result: &'r [u8]) -> Record<'r> {
        Record {
            number,
            name,
            state: "ok",
            exit_code: 0,
            started_ms: 5,
            finished_ms: 9,
            result,
            error: b"",
        }
    }

    #[test]
    fn a_record_tells_all_of_its_invoke() {
        let mut history = History::default();
        history.add(&record(1, None, b"{\"a\":\"\n\"}"));
        history.add(&record(2, Some("mine"), &[0xff, 0xfe]));
        assert_eq!(history.names().collect::<Vec<_>>(), [(1, "1"), (2, "mine")]);
        assert_eq!(
            history.get(1).unwrap(),
            r#"{"invoke":"1","number":1,"state":"ok","exit_code":0,"started_ms":5,"finished_ms":9,"result":"{\"a\":\"\n\"}","error":""}"#
        );
        assert!(
            history
                .get(2)
                .unwrap()
                .ends_with(br#""result_b64":"//4=","error":""}"#)
        );
        assert_eq!(history.get(3), None);
    }

    #[test]
    fn only_so_much_is_remembered() {
        let mut history = History::default();
        for number in 0..300 {
            history.add(&record(number, None, b"{}"));
        }
        assert_eq!(history.names().next(), Some((300 - MOST_RECORDS as u64, "44")));
        let large = vec![b'x'; 12 * 1024 * 1024];
        for number in 300..310 {
            history.add(&record(number, None, &large));
        }
        assert_eq!(
            history.names().map(|(number, _)| number).collect::<Vec<_>>(),
            [308, 309]
        );
        assert!(history.bytes <= MOST_BYTES);
    }
}
