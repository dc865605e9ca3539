//! One entry of a catalog, checked by the rules of the original server (`control.md`, section 7.2).

use crate::canonical::{self, ObjectWriter, quoted};
use crate::control::ids::NodeName;
use crate::dialect::Dialect;
use crate::name::is_identifier;
use crate::strict::{Shape, Value};

/// Most bytes of a state.
const MAX_STATE: usize = 64;
/// Most bytes of a version.
const MAX_VERSION: usize = 64;
/// Most bytes of an endpoint or mount path.
const MAX_PATH: usize = 512;
/// Most bytes of a help text.
const MAX_HELP: usize = 65_536;

/// Members of `runtime.supervision_status` that move without anything having changed.
const CLOCKS: [&str; 4] = [
    "backoff_until_ms",
    "last_transition_ms",
    "last_healthy_ms",
    "updated_at_ms",
];

/// Members the newer generation expects, with what stands there when a node said nothing.
const HEAD_MEMBERS: [(&str, &str); 4] = [
    ("categories", "[]"),
    ("hosts", "[]"),
    ("projection_modes", "[]"),
    ("requirements", "{}"),
];

/// One service of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogEntry {
    id: String,
    version: String,
    state: String,
    mounts: Vec<String>,
    /// All members but the id, in the node's order, each a compact JSON text.
    members: Vec<(String, String)>,
    hash: u64,
}

/// An entry that breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("catalog entry: {0}")]
pub struct EntryFault(&'static str);

impl CatalogEntry {
    /// Reads an entry in the words of either generation.
    pub fn parse(text: &str) -> Result<Self, EntryFault> {
        let value = Value::parse(text.as_bytes()).map_err(|_| EntryFault("not JSON"))?;
        Self::read(&value)
    }

    /// The same from a tree.
    pub fn read(value: &Value<'_>) -> Result<Self, EntryFault> {
        let members = value.as_object().ok_or(EntryFault("not an object"))?;
        let text = |name: &str| value.member(name).and_then(Value::as_text);
        let id = text("service_id").or_else(|| text("venom_id"));
        let id = id.ok_or(EntryFault("it has no id"))?;
        NodeName::new(id).map_err(|_| EntryFault("its id is no identifier"))?;
        let kind = text("kind").ok_or(EntryFault("it has no kind"))?;
        NodeName::new(kind).map_err(|_| EntryFault("its kind is no identifier"))?;
        let state = match value.member("state") {
            None => "online",
            Some(state) => state.as_text().unwrap_or_default(),
        };
        if !is_identifier(state) || state.len() > MAX_STATE {
            return Err(EntryFault("its state is no identifier"));
        }
        let version = match value.member("version") {
            None => "1",
            Some(version) => version.as_text().unwrap_or_default(),
        };
        let is_printable = version.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if !is_printable || !(1..=MAX_VERSION).contains(&version.len()) {
            return Err(EntryFault("its version is not 1 to 64 printable characters"));
        }
        check_endpoints(value)?;
        let mounts = check_mounts(value)?;
        for name in [
            "capabilities",
            "ops",
            "runtime",
            "permissions",
            "schema",
            "invoke_template",
        ] {
            if value
                .member(name)
                .is_some_and(|member| member.as_object().is_none())
            {
                return Err(EntryFault("one of its objects is none"));
            }
        }
        if let Some(help) = value.member("help_md") {
            let help = help.as_text().ok_or(EntryFault("its help is no text"))?;
            if !(1..=MAX_HELP).contains(&help.len()) {
                return Err(EntryFault("its help is empty or too long"));
            }
        }
        let mut kept = Vec::new();
        for member in members {
            if !matches!(&*member.name, "service_id" | "venom_id") {
                kept.push((member.name.to_string(), compact(&member.value)?));
            }
        }
        let hash = digest(id, value, &kept);
        Ok(Self {
            id: id.to_owned(),
            version: version.to_owned(),
            state: state.to_owned(),
            mounts,
            members: kept,
            hash,
        })
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `online`, `degraded`, `offline`, …
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The paths it wants to be mounted at.
    pub fn mounts(&self) -> &[String] {
        &self.mounts
    }

    /// What it is at this moment, for comparison.
    pub fn mark(&self) -> super::Mark {
        super::Mark {
            id: self.id.clone(),
            version: self.version.clone(),
            hash: self.hash,
        }
    }

    /// The JSON object in a generation's words.
    pub fn encode(&self, dialect: Dialect) -> String {
        let mut out = ObjectWriter::new().text(dialect.id_member(), &self.id);
        let has = |name: &str| self.members.iter().any(|(other, _)| other == name);
        for (name, value) in &self.members {
            if dialect == Dialect::Head && name == "endpoints" {
                for (missing, empty) in HEAD_MEMBERS.into_iter().filter(|(name, _)| !has(name)) {
                    out = out.json(missing, empty);
                }
            }
            out = out.json(name, value);
        }
        out.finish()
    }
}

fn compact(value: &Value<'_>) -> Result<String, EntryFault> {
    canonical::render(value.source.as_bytes()).map_err(|_| EntryFault("not JSON"))
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.len() <= MAX_PATH
}

fn check_endpoints(entry: &Value<'_>) -> Result<(), EntryFault> {
    let endpoints = entry
        .member("endpoints")
        .and_then(Value::as_array)
        .unwrap_or_default();
    let are_paths = endpoints
        .iter()
        .all(|endpoint| endpoint.as_text().is_some_and(is_path));
    if endpoints.is_empty() || !are_paths {
        return Err(EntryFault(
            "it needs an endpoint, and endpoints are absolute paths",
        ));
    }
    Ok(())
}

fn check_mounts(entry: &Value<'_>) -> Result<Vec<String>, EntryFault> {
    let Some(mounts) = entry.member("mounts") else {
        return Ok(Vec::new());
    };
    let mounts = mounts.as_array().ok_or(EntryFault("its mounts are no list"))?;
    let mount = |mount: &Value<'_>| {
        let text = |name: &str| mount.member(name).and_then(Value::as_text).unwrap_or_default();
        let (id, path) = (text("mount_id"), text("mount_path"));
        let is_valid = NodeName::new(id).is_ok() && is_path(path);
        is_valid
            .then(|| path.to_owned())
            .ok_or(EntryFault("a mount needs an id and an absolute path"))
    };
    mounts.iter().map(mount).collect()
}

/// A digest of what an entry says, clocks left out. It is stored nowhere, so it may change between versions.
fn digest(id: &str, value: &Value<'_>, members: &[(String, String)]) -> u64 {
    let mut hash = Fnv::default();
    hash.add(id);
    for (name, text) in members {
        hash.add(name);
        let runtime = (name == "runtime").then(|| value.member("runtime")).flatten();
        match runtime {
            Some(runtime) => hash.add(&without_clocks(runtime)),
            None => hash.add(text),
        }
    }
    hash.0
}

fn without_clocks(runtime: &Value<'_>) -> String {
    let Shape::Object(members) = &runtime.shape else {
        return runtime.source.to_owned();
    };
    members.iter().fold(String::new(), |mut out, member| {
        out.push_str(&quoted(&member.name));
        match member.value.as_object() {
            Some(status) if member.name == "supervision_status" => {
                for member in status.iter().filter(|member| !CLOCKS.contains(&&*member.name)) {
                    out.push_str(&quoted(&member.name));
                    out.push_str(member.value.source);
                }
            }
            _ => out.push_str(member.value.source),
        }
        out
    })
}

/// FNV-1a: small, the same on every machine, and nobody gains anything from a collision.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, text: &str) {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
