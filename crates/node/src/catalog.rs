//! What this node tells the control server of itself (section 4 of the contract): pure values.
//!
//! An [`Entry`] describes one service; [`Catalog`] is the list of them with the node around it. Two catalogs are
//! equal exactly if their texts are, so what was sent last is compared with what would be sent now.

use std::fmt;

use spiderweb_protocol::canonical::{ObjectWriter, quoted};
use spiderweb_protocol::strict::Value;
use spiderweb_protocol::{Dialect, Secret};
use spiderweb_runtime::{ProbeStatus, PublishedState};

use crate::manifest::{Manifest, Mount};

/// `SCHEMA.json` of a service that can be invoked and says nothing itself (section 6).
pub const SERVICE_SCHEMA: &str = concat!(
    r#"{"model":"namespace-service-v1","control":{"invoke":"control/invoke.json","reset":"control/reset","#,
    r#""enable":"control/enable","disable":"control/disable","restart":"control/restart"},"#,
    r#""result":"result.json","status":"status.json","last_error":"last_error.txt","#,
    r#""metrics":"metrics.json","config":"config.json","health":"health.json","host":"HOST.json"}"#
);

/// `SCHEMA.json` of a terminal (section 14).
pub const TERMINAL_SCHEMA: &str = concat!(
    r#"{"model":"terminal-driver-v1","arguments":{"command":"string (optional)","argv":"string[] (optional)","#,
    r#""cwd":"string (optional)","max_output_bytes":"number (optional)"}}"#
);

/// `TEMPLATE.json` of a terminal (section 14).
pub const TERMINAL_TEMPLATE: &str = r#"{"tool_name":"terminal_exec","arguments":{"command":"echo hello"}}"#;

/// The package that terminals belong to on head control servers (section 19.34).
const TERMINAL_PACKAGE: &str = "terminal";

/// One service as it is published: a JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry(String);

impl Entry {
    /// The folders of this node (section 4.2).
    pub fn fs(dialect: Dialect, node_id: &str, is_any_writable: bool, export_count: usize) -> Self {
        let path = format!("/nodes/{node_id}/fs");
        let runtime = ObjectWriter::new()
            .text("type", "builtin")
            .text("abi", dialect.abi());
        let capabilities = ObjectWriter::new()
            .json("rw", is_any_writable)
            .json("export_count", export_count);
        let entry = begin_built_in(dialect, "fs", None, "fs", &path, PublishedState::Online)
            .json("capabilities", capabilities.finish())
            .array("mounts", [mount_json("fs", &path, "online")])
            .json("ops", r#"{"model":"namespace","style":"plan9"}"#)
            .json("runtime", runtime.finish())
            .json(
                "permissions",
                r#"{"default":"deny-by-default","allow_roles":["admin","user"],"fs_roots":"export-scoped"}"#,
            )
            .json("schema", r#"{"model":"namespace-mount"}"#)
            .text("help_md", "Builtin filesystem namespace driver");
        Self(entry.finish())
    }

    /// The terminal of this id (section 4.3), and how it stands.
    pub fn terminal(dialect: Dialect, node_id: &str, id: &str, state: PublishedState) -> Self {
        let service_id = format!("terminal-{id}");
        let path = format!("/nodes/{node_id}/terminal/{id}");
        let runtime = ObjectWriter::new()
            .text("type", "native_proc")
            .text("abi", dialect.abi())
            .text("entry", "internal-terminal-invoke");
        let capabilities = ObjectWriter::new()
            .json("pty", true)
            .text("terminal_id", id)
            .json("invoke", true);
        // Without it head control servers refuse the whole catalog.
        let package = (dialect == Dialect::Head).then_some(TERMINAL_PACKAGE);
        let entry = begin_built_in(dialect, &service_id, package, "terminal", &path, state)
            .json("capabilities", capabilities.finish())
            .array("mounts", [mount_json(&service_id, &path, state.wire())])
            .json(
                "ops",
                concat!(
                    r#"{"model":"namespace","style":"plan9","interactive":true,"invoke":"control/invoke.json","#,
                    r#""paths":{"exec":"control/invoke.json"}}"#
                ),
            )
            .json("runtime", runtime.finish())
            .json(
                "permissions",
                r#"{"default":"deny-by-default","allow_roles":["admin","user"],"device":"terminal"}"#,
            );
        let entry = match dialect {
            Dialect::Seed => entry.json("schema", r#"{"model":"namespace-service-v1"}"#),
            Dialect::Head => entry
                .json("schema", TERMINAL_SCHEMA)
                .json("invoke_template", TERMINAL_TEMPLATE),
        };
        Self(entry.text("help_md", "Terminal namespace driver").finish())
    }

    /// A service as its manifest declares it (section 4.4).
    pub fn declared(dialect: Dialect, manifest: &Manifest) -> Self {
        let mounts = manifest.mounts.iter().map(|mount| (mount, mount.state.as_str()));
        Self(manifest_json(
            dialect,
            manifest,
            &manifest.state,
            mounts,
            &manifest.runtime_json,
        ))
    }

    /// The same with what is known of it now (section 4.5), as much of it as others may know.
    pub fn observed(
        dialect: Dialect,
        manifest: &Manifest,
        standing: &Standing,
        disclosure: Disclosure,
    ) -> Self {
        let state = standing.state().wire();
        let mounts = manifest.mounts.iter().map(|mount| (mount, state));
        let runtime = published(&manifest.runtime_json, &standing.status_json(), disclosure);
        Self(manifest_json(dialect, manifest, state, mounts, &runtime))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Entry {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is known of a service: from its probes, and from its invokes (section 19.23).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What the probes say.
    pub probe: ProbeStatus,
    /// What `health.json` says.
    pub health: PublishedState,
}

impl Standing {
    /// Of a service that has no driver (section 4.5): what it declares counts if that is bad.
    pub fn catalog_only(manifest: &Manifest) -> Self {
        let states = [PublishedState::Degraded, PublishedState::Offline];
        let declared = states.into_iter().find(|state| state.wire() == manifest.state);
        Self {
            probe: ProbeStatus::unprobed(declared.unwrap_or(PublishedState::Online)),
            health: PublishedState::Online,
        }
    }

    /// The worse of the two.
    pub fn state(&self) -> PublishedState {
        self.probe.state.max(self.health)
    }

    fn status_json(&self) -> String {
        let ProbeStatus { last_error, .. } = &self.probe;
        let or_null = |instant: Option<u64>| instant.map_or("null".to_owned(), |ms| ms.to_string());
        let error = last_error.as_deref().map_or_else(|| "null".to_owned(), quoted);
        ObjectWriter::new()
            .text("state", self.state().wire())
            .json(
                "enabled",
                self.probe.enabled && self.health != PublishedState::Offline,
            )
            .json("running", self.probe.running)
            .json("start_attempts_total", self.probe.start_attempts_total)
            .json("restarts_total", self.probe.restarts_total)
            .json("consecutive_failures", self.probe.consecutive_failures)
            .json("backoff_until_ms", self.probe.backoff_until_ms)
            .json("last_transition_ms", self.probe.last_transition_ms)
            .json("last_healthy_ms", or_null(self.probe.last_healthy_ms))
            .json("last_error", error)
            .json("updated_at_ms", or_null(self.probe.updated_at_ms()))
            .finish()
    }
}

/// Everything a node offers, in order: `fs`, terminals, manifest services in load order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// Decides the words.
    pub dialect: Dialect,
    /// Labels of the node, in the order of the command line.
    pub labels: Vec<(String, String)>,
    /// The services.
    pub entries: Vec<Entry>,
}

impl Catalog {
    /// The payload of the request that publishes it (section 4.1). It holds the secret.
    pub fn payload(&self, node_id: &str, node_secret: &Secret) -> String {
        self.write(node_id, node_secret, !self.labels.is_empty())
    }

    /// The same, with a list of labels even if it is empty: that removes those which the control server has.
    pub fn payload_with_labels(&self, node_id: &str, node_secret: &Secret) -> String {
        self.write(node_id, node_secret, true)
    }

    fn write(&self, node_id: &str, node_secret: &Secret, has_labels: bool) -> String {
        let platform = ObjectWriter::new()
            .text("os", std::env::consts::OS)
            .text("arch", std::env::consts::ARCH)
            .text("runtime_kind", "native");
        let mut payload = ObjectWriter::new()
            .text("node_id", node_id)
            .text("node_secret", node_secret.expose())
            .json("platform", platform.finish());
        if has_labels {
            let labels = self.labels.iter();
            let labels = labels.fold(ObjectWriter::new(), |labels, (key, value)| {
                labels.text(key, value)
            });
            payload = payload.json("labels", labels.finish());
        }
        payload.array(self.dialect.list_member(), &self.entries).finish()
    }
}

/// The members that built-in services have in common, up to their endpoint.
fn begin_built_in(
    dialect: Dialect,
    id: &str,
    package: Option<&str>,
    kind: &str,
    path: &str,
    state: PublishedState,
) -> ObjectWriter {
    let mut entry = ObjectWriter::new().text(dialect.id_member(), id);
    if let Some(package) = package {
        entry = entry.text("package_id", package);
    }
    entry
        .text("kind", kind)
        .text("version", "1")
        .text("state", state.wire())
        .array("endpoints", [quoted(path)])
}

fn manifest_json<'m>(
    dialect: Dialect,
    manifest: &Manifest,
    state: &str,
    mounts: impl Iterator<Item = (&'m Mount, &'m str)>,
    runtime: &str,
) -> String {
    let id = manifest.service_id.as_str();
    let package = &manifest.package;
    let mounts = mounts.map(|(mount, state)| mount_json(&mount.mount_id, &mount.mount_path, state));
    let mut entry = ObjectWriter::new().text(dialect.id_member(), id);
    if dialect == Dialect::Head {
        entry = entry.text("package_id", package.package_id.as_deref().unwrap_or(id));
    }
    entry = entry
        .text("kind", &manifest.kind)
        .text("version", &manifest.version)
        .text("state", state);
    if dialect == Dialect::Head {
        entry = entry
            .text("provider_scope", &package.provider_scope)
            .json("categories", &package.categories)
            .json("hosts", &package.hosts)
            .json("projection_modes", &package.projection_modes)
            .json("requirements", &package.requirements);
    }
    entry = entry
        .array("endpoints", manifest.endpoints.iter().map(|path| quoted(path)))
        .json("capabilities", &manifest.capabilities)
        .array("mounts", mounts)
        .json("ops", &manifest.ops)
        .json("runtime", runtime)
        .json("permissions", &manifest.permissions)
        .json("schema", &manifest.schema)
        .json("invoke_template", &manifest.invoke_template);
    if let Some(help) = &manifest.help_md {
        entry = entry.text("help_md", help);
    }
    if let (Dialect::Head, Some(instance)) = (dialect, &package.instance_id) {
        entry = entry.text("instance_id", instance);
    }
    entry.finish()
}

fn mount_json(id: &str, path: &str, state: &str) -> String {
    ObjectWriter::new()
        .text("mount_id", id)
        .text("mount_path", path)
        .text("state", state)
        .finish()
}

/// A manifest's `runtime` with `supervision_status` in the place it has already, or at the end.
/// What a catalog says of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Disclosure {
    /// Where drivers are, and how they are called, as originals say it.
    #[default]
    Full,
    /// The names of their files alone.
    NamesOnly,
}

/// The member `runtime` with how the service stands. What drivers find in their environment is nobody's business, and
/// unknown to originals.
fn published(runtime: &str, status: &str, disclosure: Disclosure) -> String {
    const NAME: &str = "supervision_status";
    const PATHS: [&str; 4] = ["executable_path", "library_path", "module_path", "runner_path"];
    let root = Value::parse(runtime.as_bytes());
    let members = root.as_ref().ok().and_then(Value::as_object).unwrap_or_default();
    let mut is_placed = false;
    let mut out = ObjectWriter::new();
    for member in members {
        let name = &*member.name;
        let is_hidden = match disclosure {
            Disclosure::Full => name == "env",
            Disclosure::NamesOnly => matches!(name, "env" | "cwd" | "args"),
        };
        if is_hidden {
            continue;
        }
        is_placed |= name == NAME;
        out = match member.value.as_text() {
            _ if name == NAME => out.json(name, status),
            Some(path) if disclosure == Disclosure::NamesOnly && PATHS.contains(&name) => {
                let file = path.rsplit(['/', '\\']).next().unwrap_or_default();
                out.text(name, file)
            }
            _ => out.json(name, member.value.source),
        };
    }
    if !is_placed {
        out = out.json(NAME, status);
    }
    out.finish()
}
