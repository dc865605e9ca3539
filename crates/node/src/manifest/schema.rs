//! The JSON Schema of manifests, made of the table of members.
//!
//! What it refuses, the parser refuses. The parser refuses more, which JSON Schema cannot say: repeated members,
//! integers written as `5.0` or `1e3`, lengths in bytes, `service_id` and `venom_id` that differ, paths that are too
//! long once `{node_id}` is replaced, and everything that depends on other files.

use serde_json::{Map, Value, json};
use spiderweb_protocol::Dialect;

use super::members::{MANIFEST, MOUNT, PACKAGE, RUNTIME, Rule, SUPERVISION};

/// The members that only libraries have.
const LIBRARY_ONLY: [&str; 2] = ["in_process", "invoke_symbol"];

/// The schema.
pub fn schema() -> Value {
    let head_id = Dialect::Head.id_member();
    let ids = Dialect::ALL.map(|dialect| json!({"required": [dialect.id_member()]}));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Manifest of a namespace service",
        "type": "object",
        "if": {"properties": {"enabled": {"const": false}}, "required": ["enabled"]},
        "else": {"$ref": "#/$defs/manifest"},
        "$defs": {
            "manifest": {
                "anyOf": ids,
                "required": ["kind"],
                "properties": properties(MANIFEST.iter()),
                "if": {"required": [head_id]},
                "then": {"properties": properties(PACKAGE.iter())},
            },
            "mount": {
                "type": "object",
                "required": ["mount_id", "mount_path"],
                "properties": properties(MOUNT.iter()),
            },
            "runtime": {
                "type": "object",
                "properties": {"type": property(RUNTIME, "type")},
                "if": {"required": ["type"], "properties": {"type": {"not": {"const": "builtin"}}}},
                "then": {"properties": properties(RUNTIME.iter().filter(|rule| !LIBRARY_ONLY.contains(&rule.name)))},
                "allOf": [of_libraries(), of_modules()],
            },
            "supervision": {"type": "object", "properties": properties(SUPERVISION.iter())},
        },
    })
}

fn of_libraries() -> Value {
    let mut members = properties(RUNTIME.iter().filter(|rule| LIBRARY_ONLY.contains(&rule.name)));
    members.insert("abi".to_owned(), json!({"enum": Dialect::ALL.map(Dialect::abi)}));
    only_for("native_inproc", &Value::Object(members))
}

fn of_modules() -> Value {
    let one_line = json!({"pattern": "^[^\\u0000\\r\\n]*$"});
    only_for(
        "wasm",
        &json!({
            "module_path": one_line,
            "runner_path": one_line,
            "cwd": one_line,
            "args": {"items": one_line},
            "entrypoint": {"pattern": "^[A-Za-z0-9_.:-]*$"},
        }),
    )
}

fn only_for(kind: &str, members: &Value) -> Value {
    json!({
        "if": {"required": ["type"], "properties": {"type": {"const": kind}}},
        "then": {"properties": members},
    })
}

fn property(table: &[Rule], name: &str) -> Value {
    let rule = table.iter().find(|rule| rule.name == name);
    rule.map_or(Value::Null, described)
}

fn properties<'r>(rules: impl Iterator<Item = &'r Rule>) -> Map<String, Value> {
    rules
        .map(|rule| (rule.name.to_owned(), described(rule)))
        .collect()
}

fn described(rule: &Rule) -> Value {
    let mut schema = (rule.schema)();
    if let Some(keywords) = schema.as_object_mut() {
        keywords.insert("description".to_owned(), json!(rule.about));
    }
    schema
}
