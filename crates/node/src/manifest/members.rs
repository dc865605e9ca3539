//! The one table of what a manifest may say.
//!
//! The parser takes its limits and the names it knows from here, the JSON Schema its rules and descriptions.

use serde_json::{Value, json};
use spiderweb_protocol::ServiceId;
use spiderweb_runtime::LibrarySpec;

/// Most bytes of `version`.
pub(super) const MAX_VERSION: usize = 64;
/// Most bytes of `state` (section 4.7).
pub(super) const MAX_STATE: usize = 64;
/// Most bytes of an endpoint or a mount path, `{node_id}` expanded (section 4.7).
pub(super) const MAX_PATH: usize = 512;
/// Most bytes of a mount's id (section 4.7).
pub(super) const MAX_MOUNT_ID: usize = 128;
/// Most bytes of `help_md`.
pub(super) const MAX_HELP: usize = 65_536;
/// Most bytes of `package_id` and `instance_id`.
pub(super) const MAX_PACKAGE_ID: usize = 128;
/// Most bytes of `provider_scope`.
pub(super) const MAX_PROVIDER_SCOPE: usize = 64;
/// Most invokes of one service at once.
pub(super) const MAX_CONCURRENT: u64 = 64;

/// One member.
pub(super) struct Rule {
    pub(super) name: &'static str,
    /// What it means, for the schema's readers.
    pub(super) about: &'static str,
    /// What its value must be, as JSON Schema.
    pub(super) schema: fn() -> Value,
}

/// Whether the table has this member.
pub(super) fn knows(table: &[Rule], name: &str) -> bool {
    table.iter().any(|rule| rule.name == name)
}

const fn rule(name: &'static str, about: &'static str, schema: fn() -> Value) -> Rule {
    Rule { name, about, schema }
}

/// The members of a manifest (section 3.2).
pub(super) const MANIFEST: &[Rule] = &[
    rule("service_id", "The service's id, unique within the node.", id),
    rule("venom_id", "The same, in the words of newer control servers.", id),
    rule(
        "enabled",
        "`false` turns the manifest off, and nothing else in it is checked.",
        anything,
    ),
    rule("kind", "What kind of thing the service is.", id),
    rule("version", "Its version. Not a string: `1`.", || {
        with(
            text(MAX_VERSION),
            "pattern",
            json!("^[^\\u0000-\\u001f\\u007f-\\u009f]*$"),
        )
    }),
    rule(
        "state",
        "Its declared state, an identifier. Not a string: `online`.",
        || with(text(MAX_STATE), "pattern", json!(IDENTIFIER)),
    ),
    rule(
        "endpoints",
        "Paths in the control server's namespace; `{node_id}` is replaced. Empty: `/nodes/{node_id}/<service_id>`.",
        || json!({"type": "array", "items": path()}),
    ),
    rule(
        "mounts",
        "Where it is mounted there. Absent: one mount at the first endpoint.",
        || json!({"type": "array", "items": {"$ref": "#/$defs/mount"}}),
    ),
    rule("capabilities", "What it can do, as published.", object),
    rule("ops", "How it is used, as published.", object),
    rule(
        "runtime",
        "How its driver is run.",
        || json!({"$ref": "#/$defs/runtime"}),
    ),
    rule("permissions", "Published only, never enforced.", object),
    rule("schema", "Becomes `SCHEMA.json`.", object),
    rule("invoke_template", "Becomes `TEMPLATE.json`.", object),
    rule("help_md", "Becomes `README.md`. Not a string: ignored.", || {
        text(MAX_HELP)
    }),
];

/// The members that newer control servers know besides (section 17.4). Others ignore them.
pub(super) const PACKAGE: &[Rule] = &[
    rule(
        "package_id",
        "The package on the control server. Absent: the id.",
        || strict_text(MAX_PACKAGE_ID),
    ),
    rule("instance_id", "Which of several instances this is.", || {
        strict_text(MAX_PACKAGE_ID)
    }),
    rule(
        "provider_scope",
        "Who provides it. Absent: `node_export`.",
        || strict_text(MAX_PROVIDER_SCOPE),
    ),
    rule("categories", "Published as it is.", array),
    rule("hosts", "Published as it is. Absent: `[\"node\"]`.", array),
    rule(
        "projection_modes",
        "Published as it is. Absent: `[\"node_export\"]`.",
        array,
    ),
    rule("requirements", "What it needs of others.", object),
];

/// The members of a mount.
pub(super) const MOUNT: &[Rule] = &[
    rule(
        "mount_id",
        "The mount's id.",
        || json!({"type": "string", "pattern": IDENTIFIER, "maxLength": MAX_MOUNT_ID}),
    ),
    rule("mount_path", "Its path; `{node_id}` is replaced.", path),
    rule(
        "state",
        "Its declared state. Not a string: the manifest's.",
        anything,
    ),
];

/// The members of `runtime` that count for drivers of any type (section 3.3).
pub(super) const RUNTIME: &[Rule] = &[
    rule(
        "type",
        "How the driver is run. Absent: built in, so there is no driver.",
        || json!({"enum": ["builtin", "native_proc", "native_inproc", "wasm"]}),
    ),
    rule("abi", "The driver ABI.", anything),
    rule(
        "executable_path",
        "The program: a path relative to the node's working directory, or a bare name.",
        filled,
    ),
    rule("library_path", "The dynamic library, likewise.", filled),
    rule("module_path", "The WebAssembly module.", filled),
    rule(
        "runner_path",
        "A program that runs the module. Absent: the node itself does.",
        filled,
    ),
    rule(
        "entrypoint",
        "The module's function to run instead of the default.",
        filled,
    ),
    rule(
        "args",
        "Arguments, passed as they are.",
        || json!({"type": "array", "items": filled()}),
    ),
    rule("timeout_ms", "Time one invoke has. Absent or 0: 30000.", unsigned),
    rule(
        "in_process",
        "`false` starts a process for every invoke instead of keeping one.",
        || json!({"type": "boolean"}),
    ),
    rule("invoke_symbol", "The library's function to call.", || {
        with(filled(), "default", json!(LibrarySpec::DEFAULT_SYMBOL))
    }),
    rule(
        "supervision",
        "When the driver is probed.",
        || json!({"$ref": "#/$defs/supervision"}),
    ),
    rule(
        "fuel",
        "Instructions one invoke of a module may execute.",
        unsigned,
    ),
    rule(
        "max_memory_bytes",
        "Bytes a module's memory may grow to.",
        unsigned,
    ),
    rule(
        "env",
        "Variables set for the driver beside those of the node.",
        || json!({"type": "object", "propertyNames": {"pattern": "^[^=\\u0000]+$"}, "additionalProperties": no_nul()}),
    ),
    rule(
        "cwd",
        "The driver's working directory. Absent: the node's.",
        filled,
    ),
    rule(
        "max_concurrent",
        "Invokes of this service that may run at once.",
        || json!({"type": "integer", "minimum": 1, "maximum": MAX_CONCURRENT, "default": 1}),
    ),
];

/// The members of `runtime.supervision` (section 13.2).
pub(super) const SUPERVISION: &[Rule] = &[
    rule(
        "health_check_interval_ms",
        "Time between two checks. Absent or 0: 5000.",
        unsigned,
    ),
    rule(
        "restart_backoff_ms",
        "Pause after the first failure. Absent: 500.",
        unsigned,
    ),
    rule(
        "restart_backoff_max_ms",
        "Longest pause. Absent or 0: 30000.",
        unsigned,
    ),
    rule(
        "max_consecutive_failures",
        "Failures in a row that disable. 0: never.",
        || with(unsigned(), "maximum", json!(u32::MAX)),
    ),
    rule(
        "auto_disable_on_failures",
        "Whether that limit disables at all.",
        || json!({"type": "boolean"}),
    ),
];

/// What an identifier looks like (section 2).
const IDENTIFIER: &str = "^[A-Za-z0-9._-]+$";

fn id() -> Value {
    json!({"type": "string", "pattern": IDENTIFIER, "maxLength": ServiceId::MAX})
}

fn path() -> Value {
    json!({"type": "string", "pattern": "^/"})
}

/// Says nothing of values that are no strings: they take the default.
fn text(max: usize) -> Value {
    json!({"minLength": 1, "maxLength": max})
}

fn strict_text(max: usize) -> Value {
    with(text(max), "type", json!("string"))
}

fn filled() -> Value {
    with(no_nul(), "minLength", json!(1))
}

fn no_nul() -> Value {
    json!({"type": "string", "pattern": "^[^\\u0000]*$"})
}

fn unsigned() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": i64::MAX})
}

fn object() -> Value {
    json!({"type": "object"})
}

fn array() -> Value {
    json!({"type": "array"})
}

fn anything() -> Value {
    json!({})
}

fn with(mut schema: Value, keyword: &str, value: Value) -> Value {
    if let Some(keywords) = schema.as_object_mut() {
        keywords.insert(keyword.to_owned(), value);
    }
    schema
}
