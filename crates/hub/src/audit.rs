//! Who changed what, and who tried: the last records in memory, all of them in a file if there is one.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use spiderweb_daemon::private;
use spiderweb_protocol::canonical::{ObjectWriter, quoted};
use tokio::sync::Notify;

/// Records kept in memory.
const KEPT: usize = 2048;
/// Characters of a correlation id that are kept; peers without any rights choose them.
const MOST_CORRELATION: usize = 256;
/// Bytes that may wait for the disk.
const MOST_UNWRITTEN: usize = 1024 * 1024;
/// Bytes of the file; then a new one begins, and one is kept beside it.
const MOST_IN_FILE: u64 = 64 * 1024 * 1024;
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

/// The records. Noting one never waits for a disk.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    records: Mutex<Records>,
    file: Option<Mutex<AuditFile>>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Records {
    kept: VecDeque<(u64, Entry)>,
    last_id: u64,
    /// Lines for the file.
    unwritten: String,
    /// Lines there was no room for.
    lost: u64,
}

#[derive(Debug)]
struct AuditFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Audit {
    /// Appends to this file as well. Blocks.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(AuditFile::open).transpose()?;
        Ok(Self {
            file: file.map(Mutex::new),
            ..Self::default()
        })
    }

    /// Notes what happened. What others made up is cut.
    pub(crate) fn note(&self, mut entry: Entry) {
        if let Some(correlation) = &mut entry.correlation_id
            && correlation.len() > MOST_CORRELATION
        {
            *correlation = correlation.chars().take(MOST_CORRELATION).collect();
        }
        let mut records = self.records();
        records.last_id += 1;
        let id = records.last_id;
        if self.file.is_some() {
            let line = encode(id, &entry);
            if records.unwritten.len() + line.len() < MOST_UNWRITTEN {
                records.unwritten.push_str(&line);
                records.unwritten.push('\n');
            } else {
                records.lost += 1;
            }
            self.news.notify_one();
        }
        if records.kept.len() >= KEPT {
            records.kept.pop_front();
        }
        records.kept.push_back((id, entry));
    }

    /// Resolves when there is something to [`flush`](Self::flush); also if that came before.
    pub(crate) async fn has_news(&self) {
        self.news.notified().await;
    }

    /// Writes what was noted to the file, if there is one. Blocks.
    pub(crate) fn flush(&self) {
        let Some(file) = &self.file else { return };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, lost) = {
            let mut records = self.records();
            (mem::take(&mut records.unwritten), mem::take(&mut records.lost))
        };
        if lost > 0 {
            tracing::error!(
                lost,
                "the disk is too slow for the audit file; records are missing in it"
            );
        }
        if let Err(error) = file.append(lines.as_bytes()) {
            tracing::error!(%error, "the audit file cannot be written");
        }
    }

    /// The answer to `audit_tail`: the newest first.
    pub(crate) fn tail(&self, limit: Option<u64>, agent: Option<&str>) -> String {
        let limit = limit.map_or(USUALLY_SHOWN, |limit| {
            usize::try_from(limit).unwrap_or(MOST_SHOWN)
        });
        let records = self.records();
        let newest = records.kept.iter().rev();
        let wanted = newest.filter(|(_, entry)| agent.is_none_or(|agent| entry.agent_id == agent));
        let shown = wanted.take(limit.min(MOST_SHOWN));
        let shown = shown.map(|(id, entry)| encode(*id, entry));
        ObjectWriter::new().array("audit", shown).finish()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AuditFile {
    fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = private::append(path)?;
        Ok(Self {
            path: path.to_owned(),
            bytes: file.metadata()?.len(),
            file,
        })
    }

    /// Appends; a file that is full becomes the previous one.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + lines.len() as u64 > MOST_IN_FILE {
            let mut previous = self.path.clone().into_os_string();
            previous.push(".previous");
            fs::rename(&self.path, previous)?;
            *self = Self::open(&self.path)?;
        }
        self.file.write_all(lines)?;
        self.bytes += lines.len() as u64;
        Ok(())
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
        let audit = Audit::default();
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
        assert_eq!(audit.records().kept.len(), KEPT);
    }

    fn entry(correlation: &str) -> Entry {
        Entry {
            timestamp_ms: 1,
            agent_id: "user".to_owned(),
            control_type: "control.node_join".to_owned(),
            scope: "pairing",
            correlation_id: Some(correlation.to_owned()),
            error: Some("invite_not_found".to_owned()),
            address: None,
        }
    }

    #[test]
    fn what_strangers_say_fills_neither_memory_nor_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("of a hub without other files/audit.jsonl");
        let audit = Audit::open(Some(&path)).unwrap();
        for _ in 0..2 * KEPT {
            audit.note(entry(&"é".repeat(100_000)));
        }
        assert!(audit.records().unwritten.len() <= MOST_UNWRITTEN);
        let kept = audit.records().kept[0].1.correlation_id.clone().unwrap();
        assert_eq!(kept.chars().count(), MOST_CORRELATION);
        audit.flush();
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.ends_with("}\n") && written.len() <= MOST_UNWRITTEN);

        let file = audit.file.as_ref().unwrap();
        file.lock().unwrap().bytes = MOST_IN_FILE;
        audit.note(entry("q-last"));
        audit.flush();
        let previous = fs::read_to_string(path.with_extension("jsonl.previous")).unwrap();
        assert_eq!(previous, written);
        let now = fs::read_to_string(&path).unwrap();
        assert!(now.contains("q-last") && now.lines().count() == 1, "{now}");
    }
}
