//! Who changed what, and who tried: the last records in memory, all of them in a file if there is one.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use spiderweb_protocol::canonical::{ObjectWriter, quoted};

/// Records kept in memory.
const KEPT: usize = 2048;
/// Records shown at once.
const MOST_SHOWN: usize = 500;
/// Records shown to those who ask for no number.
const USUALLY_SHOWN: usize = 50;

/// What happened.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) timestamp_ms: u64,
    pub(crate) agent_id: String,
    /// The operation, or `tunnel.takeover` and the like.
    pub(crate) control_type: String,
    pub(crate) scope: &'static str,
    pub(crate) correlation_id: Option<String>,
    /// The code of the refusal.
    pub(crate) error: Option<String>,
    pub(crate) address: Option<String>,
}

/// The records.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    records: VecDeque<(u64, Entry)>,
    last_id: u64,
    file: Option<File>,
}

impl Audit {
    /// Appends to this file as well. Blocks.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options.append(true).create(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(path)
        };
        Ok(Self {
            file: path.map(open).transpose()?,
            ..Self::default()
        })
    }

    /// Notes what happened.
    pub(crate) fn note(&mut self, entry: Entry) {
        self.last_id += 1;
        if let Some(file) = &mut self.file {
            let line = encode(self.last_id, &entry) + "\n";
            if let Err(error) = file.write_all(line.as_bytes()) {
                tracing::error!(%error, "the audit file cannot be written");
            }
        }
        if self.records.len() >= KEPT {
            self.records.pop_front();
        }
        self.records.push_back((self.last_id, entry));
    }

    /// The answer to `audit_tail`: the newest first.
    pub(crate) fn tail(&self, limit: Option<u64>, agent: Option<&str>) -> String {
        let limit = limit.map_or(USUALLY_SHOWN, |limit| {
            usize::try_from(limit).unwrap_or(MOST_SHOWN)
        });
        let records = self.records.iter().rev();
        let wanted = records.filter(|(_, entry)| agent.is_none_or(|agent| entry.agent_id == agent));
        let shown = wanted.take(limit.min(MOST_SHOWN));
        let shown = shown.map(|(id, entry)| encode(*id, entry));
        ObjectWriter::new().array("audit", shown).finish()
    }
}

fn encode(id: u64, entry: &Entry) -> String {
    let or_null = |text: Option<&str>| text.map_or_else(|| "null".to_owned(), quoted);
    ObjectWriter::new()
        .json("id", id)
        .json("timestamp_ms", entry.timestamp_ms)
        .text("agent_id", &entry.agent_id)
        .text("control_type", &entry.control_type)
        .text("scope", entry.scope)
        .json("correlation_id", or_null(entry.correlation_id.as_deref()))
        .text("result", if entry.error.is_some() { "error" } else { "ok" })
        .json("error_code", or_null(entry.error.as_deref()))
        .json("address", or_null(entry.address.as_deref()))
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_come_first_and_no_more_than_asked_for() {
        let mut audit = Audit::default();
        for number in 0..3000_u64 {
            audit.note(Entry {
                timestamp_ms: number,
                agent_id: "mother".to_owned(),
                control_type: "control.node_delete".to_owned(),
                scope: "node",
                correlation_id: Some("q".to_owned()),
                error: (number == 2999).then(|| "node_not_found".to_owned()),
                address: None,
            });
        }
        assert_eq!(
            audit.tail(Some(1), None),
            r#"{"audit":[{"id":3000,"timestamp_ms":2999,"agent_id":"mother","control_type":"control.node_delete","scope":"node","correlation_id":"q","result":"error","error_code":"node_not_found","address":null}]}"#
        );
        assert_eq!(
            audit.tail(Some(9999), None).matches("\"id\":").count(),
            MOST_SHOWN
        );
        assert_eq!(audit.tail(None, Some("bob")), r#"{"audit":[]}"#);
        assert_eq!(audit.records.len(), KEPT);
    }
}
