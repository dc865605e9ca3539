//! The schema and the parser agree, as far as a schema can say what the parser knows.

use std::path::Path;

use serde_json::Value;
use spiderweb_node::manifest::{Context, parse, schema};
use spiderweb_protocol::Dialect;

use super::SEED;
use super::recorded::cases;

/// What the parser refuses and a schema cannot say.
const BEYOND_A_SCHEMA: &[(&str, &str)] = &[
    ("a repeated member", r#"{"service_id":"s","kind":"k","kind":"z"}"#),
    (
        "an integer written with a fraction",
        r#"{"service_id":"s","kind":"k","runtime":{"type":"wasm","timeout_ms":5.0}}"#,
    ),
    (
        "an integer written with an exponent",
        r#"{"service_id":"s","kind":"k","runtime":{"type":"wasm","timeout_ms":1e3}}"#,
    ),
    (
        "two ids that differ",
        r#"{"service_id":"s","venom_id":"t","kind":"k"}"#,
    ),
    (
        "a length in bytes",
        r#"{"service_id":"s","kind":"k","version":"éééééééééééééééééééééééééééééééééééé"}"#,
    ),
];

/// What no recorded case shows.
const MORE: &[(bool, &str)] = &[
    (true, r#"{"venom_id":"v","kind":"k"}"#),
    (true, r#"{"service_id":"s","venom_id":"s","kind":"k"}"#),
    (true, r#"{"service_id":"s","kind":"k","categories":5}"#),
    (false, r#"{"venom_id":"s","kind":"k","categories":5}"#),
    (false, r#"{"venom_id":"s","kind":"k","package_id":""}"#),
    (false, r#"{"venom_id":"s","kind":"k","requirements":[]}"#),
    (false, r#"{"service_id":"s","kind":"k","version":"a\nb"}"#),
    (false, r#"{"service_id":"s","kind":"k","mounts":[5]}"#),
    (
        true,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"builtin","args":5,"supervision":5}}"#,
    ),
    (true, r#"{"service_id":"s","kind":"k","runtime":{"args":5}}"#),
    (
        true,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"native_proc","executable_path":"x","env":{"A":"b"},"cwd":"/","max_concurrent":64}}"#,
    ),
    (
        false,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"wasm","env":{"A=":"b"}}}"#,
    ),
    (
        false,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"wasm","env":{"":"b"}}}"#,
    ),
    (
        false,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"wasm","env":{"A":5}}}"#,
    ),
    (
        false,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"wasm","env":[]}}"#,
    ),
    (
        false,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"wasm","cwd":""}}"#,
    ),
    (
        false,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"wasm","max_concurrent":0}}"#,
    ),
    (
        false,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"wasm","max_concurrent":65}}"#,
    ),
    (
        false,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"wasm","fuel":-1}}"#,
    ),
    (
        false,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"wasm","max_memory_bytes":"1"}}"#,
    ),
    (
        false,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"native_proc","executable_path":"a\u0000b"}}"#,
    ),
    (
        true,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"native_proc","executable_path":"a\nb"}}"#,
    ),
    (
        true,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"native_proc","in_process":5,"invoke_symbol":5}}"#,
    ),
    (
        false,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"native_inproc","invoke_symbol":""}}"#,
    ),
    (
        false,
        r#"{"service_id":"s","kind":"k","runtime":{"type":"native_inproc","timeout_ms":9223372036854775808}}"#,
    ),
];

fn parser_takes(manifest: &str, dialect: Dialect) -> bool {
    parse(manifest.as_bytes(), Context { dialect, ..SEED }).is_ok()
}

#[test]
fn the_schema_and_the_parser_agree() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let schema_takes = |manifest: &Value| validator.is_valid(manifest);
    for (why, manifest) in BEYOND_A_SCHEMA {
        assert!(!parser_takes(manifest, Dialect::Seed), "{why}");
        assert!(schema_takes(&serde_json::from_str(manifest).unwrap()), "{why}");
    }
    let recorded = cases().into_iter().map(|case| case.manifest);
    let more = MORE.iter().map(|(_, manifest)| (*manifest).to_owned());
    let mut compared = 0;
    for manifest in recorded.chain(more) {
        if BEYOND_A_SCHEMA.iter().any(|(_, beyond)| *beyond == manifest) {
            continue;
        }
        let Ok(value) = serde_json::from_str(&manifest) else {
            assert!(!parser_takes(&manifest, Dialect::Seed), "{manifest}");
            continue;
        };
        let told = parse(manifest.as_bytes(), SEED).err();
        assert_eq!(schema_takes(&value), told.is_none(), "{manifest}: {told:?}");
        compared += 1;
    }
    assert!(compared > 130, "{compared}");
}

#[test]
fn what_no_recorded_case_shows_is_as_expected() {
    for (is_good, manifest) in MORE {
        assert_eq!(parser_takes(manifest, Dialect::Seed), *is_good, "{manifest}");
    }
    // Newer control servers look at their members in any case.
    assert!(!parser_takes(
        r#"{"service_id":"s","kind":"k","categories":5}"#,
        Dialect::Head
    ));
}

#[test]
fn the_checked_in_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema/manifest.schema.json");
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text, format!("{:#}\n", schema()), "run `cargo xtask schema`");
}
