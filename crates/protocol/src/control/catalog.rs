//! What a node offers, as it tells its hub, and as the hub tells others.
//!
//! An entry is kept in neutral form: the generations call the id `service_id` or `venom_id`, everything else is the
//! same. Members nobody here knows are kept where they are.

mod entry;

use super::fields::{FieldFault, Fields};
use super::ids::{NodeId, NodeName};
use super::platform::Platform;
use crate::canonical::ObjectWriter;
use crate::dialect::Dialect;
use crate::secret::Secret;

pub use entry::{CatalogEntry, EntryFault};

/// Most entries of a catalog.
const MAX_ENTRIES: usize = 4096;
/// Most labels of a node.
const MAX_LABELS: usize = 256;
/// Most bytes of a label's value.
const MAX_LABEL_VALUE: usize = 512;

/// A node's labels, in its own order.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    /// Reads the object of labels.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        if fields.members().len() > MAX_LABELS {
            return Err(FieldFault::Invalid);
        }
        let label = |member: &crate::strict::Member<'_>| {
            let value = member.value.as_text().ok_or(FieldFault::Invalid)?;
            // Keys obey the rule for node names.
            NodeName::new(&member.name).map_err(|_| FieldFault::Invalid)?;
            let is_valid =
                (1..=MAX_LABEL_VALUE).contains(&value.len()) && value.bytes().all(|byte| byte >= 0x20);
            is_valid
                .then(|| (member.name.to_string(), value.to_owned()))
                .ok_or(FieldFault::Invalid)
        };
        fields
            .members()
            .iter()
            .map(label)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The JSON object.
    pub fn encode(&self) -> String {
        let labels = self.0.iter();
        labels
            .fold(ObjectWriter::new(), |out, (key, value)| out.text(key, value))
            .finish()
    }

    /// The pairs.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

/// Publishes a catalog. What is absent stays as it was.
#[derive(Debug, Clone)]
pub struct UpsertCatalog {
    /// Whose it is.
    pub node_id: NodeId,
    /// The node's proof.
    pub node_secret: Secret,
    /// What the node is.
    pub platform: Option<Platform>,
    /// Its labels, all of them.
    pub labels: Option<Labels>,
    /// Its services, all of them.
    pub entries: Option<Vec<CatalogEntry>>,
}

impl UpsertCatalog {
    /// Reads the payload; the list may go by either name.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        let list = match fields.array(Dialect::Seed.list_member())? {
            Some(list) => Some(list),
            None => fields.array(Dialect::Head.list_member())?,
        };
        let labels = fields.object("labels")?;
        Ok(Self {
            node_id: fields.checked("node_id", NodeId::new)?,
            node_secret: fields.secret("node_secret")?,
            platform: Platform::decode(fields)?,
            labels: labels
                .map(|labels| Labels::decode(Fields::of(Some(labels))?))
                .transpose()?,
            entries: list.map(read_entries).transpose()?,
        })
    }

    /// The payload.
    pub fn encode(&self, dialect: Dialect) -> String {
        let mut payload = ObjectWriter::new()
            .text("node_id", self.node_id.as_str())
            .text("node_secret", self.node_secret.expose());
        if let Some(platform) = &self.platform {
            payload = payload.json("platform", platform.encode());
        }
        if let Some(labels) = &self.labels {
            payload = payload.json("labels", labels.encode());
        }
        if let Some(entries) = &self.entries {
            let entries = entries.iter().map(|entry| entry.encode(dialect));
            payload = payload.array(dialect.list_member(), entries);
        }
        payload.finish()
    }
}

/// Reads a list of entries whose ids differ.
fn read_entries(list: &[crate::strict::Value<'_>]) -> Result<Vec<CatalogEntry>, FieldFault> {
    if list.len() > MAX_ENTRIES {
        return Err(FieldFault::Invalid);
    }
    let entries: Vec<_> = list
        .iter()
        .map(|value| CatalogEntry::read(value).map_err(|_| FieldFault::Invalid))
        .collect::<Result<_, _>>()?;
    let mut ids: Vec<_> = entries.iter().map(CatalogEntry::id).collect();
    ids.sort_unstable();
    let repeats = ids.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
    if repeats {
        Err(FieldFault::Invalid)
    } else {
        Ok(entries)
    }
}

/// An entry at one moment, for comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The entry's id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// A digest of what it says, clocks left out.
    pub hash: u64,
}

/// An entry that says something else than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As it is.
    pub now: Mark,
    /// As it was.
    pub before: Mark,
}

/// What an upsert changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// When.
    pub timestamp_ms: u64,
    /// New entries.
    pub added: Vec<Mark>,
    /// Other entries under the same id.
    pub updated: Vec<Change>,
    /// Entries that are gone.
    pub removed: Vec<Mark>,
}

impl Delta {
    /// How the second list differs from the first.
    pub fn between(before: &[CatalogEntry], now: &[CatalogEntry], timestamp_ms: u64) -> Self {
        let find = |list: &[CatalogEntry], id: &str| {
            list.iter().find(|entry| entry.id() == id).map(CatalogEntry::mark)
        };
        let mut delta = Self {
            timestamp_ms,
            ..Self::default()
        };
        for entry in now {
            let mark = entry.mark();
            match find(before, entry.id()) {
                None => delta.added.push(mark),
                Some(old) if old.hash != mark.hash => delta.updated.push(Change {
                    now: mark,
                    before: old,
                }),
                Some(_) => {}
            }
        }
        let gone = before.iter().filter(|entry| find(now, entry.id()).is_none());
        delta.removed = gone.map(CatalogEntry::mark).collect();
        delta
    }

    /// Whether anything is different.
    pub fn is_changed(&self) -> bool {
        !(self.added.is_empty() && self.updated.is_empty() && self.removed.is_empty())
    }

    /// The JSON object.
    pub fn encode(&self, dialect: Dialect) -> String {
        let mark = |mark: &Mark| {
            ObjectWriter::new()
                .text(dialect.id_member(), &mark.id)
                .text("version", &mark.version)
                .text("hash", &format!("{:#018x}", mark.hash))
        };
        let change = |change: &Change| {
            mark(&change.now)
                .text("previous_version", &change.before.version)
                .text("previous_hash", &format!("{:#018x}", change.before.hash))
                .finish()
        };
        let marks = |list: &[Mark]| list.iter().map(|item| mark(item).finish()).collect::<Vec<_>>();
        ObjectWriter::new()
            .json("changed", self.is_changed())
            .json("timestamp_ms", self.timestamp_ms)
            .array("added", marks(&self.added))
            .array("updated", self.updated.iter().map(change))
            .array("removed", marks(&self.removed))
            .finish()
    }
}

/// A catalog as a hub shows it: the answer to an upsert, to a get, and what watchers are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogReply<'c> {
    /// Whose it is.
    pub node_id: &'c NodeId,
    /// What people call the node.
    pub node_name: &'c str,
    /// What the node is.
    pub platform: &'c Platform,
    /// Its labels.
    pub labels: &'c Labels,
    /// Its services.
    pub entries: &'c [CatalogEntry],
    /// What an upsert changed.
    pub delta: Option<&'c Delta>,
}

impl CatalogReply<'_> {
    /// The payload.
    pub fn encode(&self, dialect: Dialect) -> String {
        let entries = self.entries.iter().map(|entry| entry.encode(dialect));
        let payload = ObjectWriter::new()
            .text("node_id", self.node_id.as_str())
            .text("node_name", self.node_name)
            .json("platform", self.platform.encode())
            .json("labels", self.labels.encode())
            .array(dialect.list_member(), entries);
        match (self.delta, dialect) {
            (None, _) => payload,
            (Some(delta), Dialect::Seed) => payload.json("service_delta", delta.encode(dialect)),
            (Some(delta), Dialect::Head) => payload.json("venom_delta", delta.encode(dialect)),
        }
        .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strict::Value;

    const SEED: &str = r#"{"node_id":"node-2","node_secret":"secret-02f6","platform":{"os":"linux","arch":"x86_64","runtime_kind":"native"},"labels":{"site":"lab"},"services":[{"service_id":"fs","kind":"fs","version":"1","state":"online","endpoints":["/nodes/node-2/fs"],"capabilities":{"rw":true,"export_count":1},"mounts":[{"mount_id":"fs","mount_path":"/nodes/node-2/fs","state":"online"}],"ops":{"model":"namespace","style":"plan9"},"runtime":{"type":"builtin","abi":"namespace-driver-v1"},"permissions":{"default":"deny-by-default","allow_roles":["admin","user"],"fs_roots":"export-scoped"},"schema":{"model":"namespace-mount"},"help_md":"Builtin filesystem namespace driver"}]}"#;

    fn upsert(text: &str) -> Result<UpsertCatalog, FieldFault> {
        let value = Value::parse(text.as_bytes()).unwrap();
        UpsertCatalog::decode(Fields::of(Some(&value)).unwrap())
    }

    #[test]
    fn a_recorded_upsert_is_read_and_written_alike() {
        assert_eq!(upsert(SEED).unwrap().encode(Dialect::Seed), SEED);
    }

    #[test]
    fn the_reply_is_the_recorded_one() {
        let upsert = upsert(SEED).unwrap();
        let entries = upsert.entries.unwrap();
        let delta = Delta::between(&entries, &entries, 1_795_405_287_732);
        let reply = CatalogReply {
            node_id: &upsert.node_id,
            node_name: "edge",
            platform: &upsert.platform.unwrap(),
            labels: &upsert.labels.unwrap(),
            entries: &entries,
            delta: Some(&delta),
        };
        let text = reply.encode(Dialect::Seed);
        assert!(
            text.starts_with(r#"{"node_id":"node-2","node_name":"edge","platform":{"os":"linux","arch":"x86_64","runtime_kind":"native"},"labels":{"site":"lab"},"services":[{"service_id":"fs","kind":"fs","#),
            "{text}"
        );
        assert!(
            text.ends_with(r#""service_delta":{"changed":false,"timestamp_ms":1795405287732,"added":[],"updated":[],"removed":[]}}"#),
            "{text}"
        );
        let head = reply.encode(Dialect::Head);
        assert!(
            head.contains(r#""venoms":[{"venom_id":"fs","kind":"fs","version":"1","state":"online","categories":[],"hosts":[],"projection_modes":[],"requirements":{},"endpoints":"#),
            "{head}"
        );
    }

    #[test]
    fn one_bad_part_refuses_the_whole() {
        for (from, to) in [
            (r#""service_id":"fs""#, r#""service_id":"f s""#),
            (r#""endpoints":["/nodes/node-2/fs"]"#, r#""endpoints":[]"#),
            (r#""endpoints":["/nodes/node-2/fs"]"#, r#""endpoints":["nodes"]"#),
            (r#""ops":{"model":"namespace","style":"plan9"}"#, r#""ops":[]"#),
            (r#""site":"lab""#, r#""si te":"lab""#),
            (r#""os":"linux""#, r#""os":"li nux""#),
            (r#""version":"1""#, r#""version":"""#),
        ] {
            let text = SEED.replace(from, to);
            assert_ne!(text, SEED, "{from}");
            assert_eq!(upsert(&text).unwrap_err(), FieldFault::Invalid, "{to}");
        }
        let (head, tail) = SEED.split_once("\"services\":[").unwrap();
        let entry = tail.strip_suffix("]}").unwrap();
        let twice = format!("{head}\"services\":[{entry},{entry}]}}");
        assert_eq!(upsert(&twice).unwrap_err(), FieldFault::Invalid);
    }

    #[test]
    fn clocks_in_a_status_are_no_change() {
        let status = |at: u32, state: &str| {
            let text = SEED.replace(
                r#""abi":"namespace-driver-v1""#,
                &format!(r#""abi":"x","supervision_status":{{"state":"{state}","updated_at_ms":{at}}}"#),
            );
            upsert(&text).unwrap().entries.unwrap()
        };
        let delta = |a: &[CatalogEntry], b: &[CatalogEntry]| Delta::between(a, b, 0);
        assert!(!delta(&status(1, "online"), &status(2, "online")).is_changed());
        let changed = delta(&status(1, "online"), &status(1, "offline"));
        assert_eq!(
            (changed.added.len(), changed.updated.len(), changed.removed.len()),
            (0, 1, 0)
        );
        assert_eq!(delta(&[], &status(1, "online")).added.len(), 1);
        assert_eq!(delta(&status(1, "online"), &[]).removed.len(), 1);
        assert!(changed.encode(Dialect::Seed).contains(r#""previous_hash":"0x"#));
    }
}
