use proptest::prelude::*;
use spiderweb_protocol::canonical;
use spiderweb_runtime::{DriverSpec, RuntimeSpec, WasmHost};

use super::*;

fn read(text: &str, dialect: Dialect) -> Result<Manifest, Vec<ManifestFault>> {
    let context = Context {
        dialect,
        node_id: "node-1",
    };
    Ok(parse(text.as_bytes(), context)?.manifest.unwrap())
}

fn spec(runtime: &str, dialect: Dialect) -> RuntimeSpec {
    let text = format!(r#"{{"service_id":"s","kind":"k","runtime":{runtime}}}"#);
    match read(&text, dialect).unwrap().runtime {
        Runtime::Executable(spec) => spec,
        catalog_only @ Runtime::CatalogOnly { .. } => panic!("{catalog_only:?}"),
    }
}

#[test]
fn defaults_are_those_of_the_dialect() {
    let manifest = read(r#"{"service_id":"s","kind":"k"}"#, Dialect::Seed).unwrap();
    assert_eq!(manifest.endpoints, ["/nodes/node-1/s"]);
    assert_eq!(manifest.mounts[0].mount_path, "/nodes/node-1/s");
    assert_eq!(
        manifest.runtime_json,
        r#"{"type":"native_proc","abi":"namespace-driver-v1"}"#
    );
    assert_eq!(manifest.export_name(), None);
    let ops = r#"{"service_id":"s","kind":"k","ops":{"paths":{"invoke":"x"}}}"#;
    for (text, dialect, schema) in [
        (ops, Dialect::Seed, r#"{"model":"namespace-mount"}"#),
        (ops, Dialect::Head, crate::catalog::SERVICE_SCHEMA),
        (
            r#"{"service_id":"s","kind":"k","invoke_template":{}}"#,
            Dialect::Head,
            crate::catalog::SERVICE_SCHEMA,
        ),
        (
            r#"{"service_id":"s","kind":"k","ops":{"invoke":""}}"#,
            Dialect::Head,
            r#"{"model":"namespace-mount"}"#,
        ),
    ] {
        assert_eq!(read(text, dialect).unwrap().schema, schema, "{text}");
    }
}

#[test]
fn every_runtime_takes_what_it_needs() {
    let process = spec(
        r#"{"type":"native_proc","executable_path":"./x","args":["a b"],"timeout_ms":0,
            "env":{"K":"v"},"cwd":"/tmp","max_concurrent":3}"#,
        Dialect::Seed,
    );
    assert_eq!((process.timeout.as_secs(), process.concurrency), (30, 3));
    let DriverSpec::Process(process) = process.driver else {
        panic!()
    };
    assert_eq!(
        (process.args, &process.surroundings.env["K"]),
        (vec!["a b".to_owned()], &"v".to_owned())
    );

    let library = spec(
        r#"{"type":"native_inproc","library_path":"./x.so","in_process":false,"invoke_symbol":"f"}"#,
        Dialect::Seed,
    );
    let DriverSpec::Library(library) = library.driver else {
        panic!()
    };
    assert_eq!((library.fresh, library.symbol.as_str()), (true, "f"));

    let module =
        r#"{"type":"wasm","module_path":"x.wasm","runner_path":"wasmtime","fuel":5,"max_memory_bytes":6}"#;
    for (dialect, is_embedded) in [(Dialect::Seed, false), (Dialect::Head, true)] {
        let DriverSpec::Wasm(wasm) = spec(module, dialect).driver else {
            panic!()
        };
        let embedded = WasmHost::Embedded {
            fuel: Some(5),
            max_memory: Some(6),
        };
        assert_eq!(wasm.host == embedded, is_embedded);
    }
    let without_runner = spec(r#"{"type":"wasm","module_path":"x.wasm"}"#, Dialect::Seed);
    let DriverSpec::Wasm(wasm) = without_runner.driver else {
        panic!()
    };
    assert!(matches!(wasm.host, WasmHost::Embedded { .. }));
}

#[test]
fn the_probe_policy_is_filled_in() {
    let text = r#"{"service_id":"s","kind":"k","runtime":{"type":"wasm","supervision":
        {"health_check_interval_ms":0,"restart_backoff_ms":60000,"max_consecutive_failures":4294967295}}}"#;
    let probe = read(text, Dialect::Seed).unwrap().probe;
    assert_eq!(probe.check_interval.as_millis(), 5000);
    assert_eq!(
        (probe.backoff.as_millis(), probe.max_backoff.as_millis()),
        (60_000, 60_000)
    );
    assert_eq!(probe.max_consecutive_failures, u32::MAX);
}

#[test]
fn what_has_no_effect_is_noted() {
    let text = r#"{"service_id":"s","kind":"k","version":1,"zzz":1,"mounts":[{"mount_id":"m","mount_path":"/m","extra":1}],
        "runtime":{"executable_path":"x","typo":1}}"#;
    let context = Context {
        dialect: Dialect::Seed,
        node_id: "n",
    };
    let notes = parse(text.as_bytes(), context).unwrap().notes;
    let paths: Vec<&str> = notes.iter().map(|note| note.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "version",
            "mounts[0].extra",
            "runtime.typo",
            "runtime.executable_path",
            "zzz"
        ]
    );
}

#[test]
fn all_faults_are_told_with_their_place() {
    let text = "{\"service_id\": \"s\",\n \"endpoints\": [\"/a\", \"b\"],\n \"mounts\": [{\"mount_id\": \"é\"}],\n \
                \"runtime\": {\"type\": \"wasm\", \"args\": [\"a\", \"\"], \"env\": {\"A=\": \"x\"}}}";
    let faults = read(text, Dialect::Seed).unwrap_err();
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "1:1: kind: is missing; must be 1 to 128 of the characters A-Z a-z 0-9 . _ -",
            "2:22: endpoints[1]: is \"b\"; must be a string of 1 to 512 bytes that begins with `/`",
            "3:26: mounts[0].mount_id: is \"é\"; must be 1 to 128 of the characters A-Z a-z 0-9 . _ -",
            "3:13: mounts[0].mount_path: is missing; must be a path that begins with `/`",
            "4:44: runtime.args[1]: is empty; must be a string that is not empty",
            "4:63: runtime.env.A=: cannot name a variable; must be a name that is not empty, without `=` and NUL",
        ]
    );
}

#[test]
fn paths_count_once_the_node_id_is_in_them() {
    let endpoint = |length: usize| {
        let path = format!("/{{node_id}}{}", "x".repeat(length - 7));
        read(
            &format!(r#"{{"service_id":"s","kind":"k","endpoints":["{path}"]}}"#),
            Dialect::Seed,
        )
    };
    assert_eq!(endpoint(512).unwrap().endpoints[0].len(), 512);
    assert!(endpoint(513).is_err());
}

proptest! {
    /// Whatever a manifest says, it becomes something or has a fault; and what it becomes can be published.
    #[test]
    fn nothing_makes_it_fall_over(
        members in prop::collection::btree_map(
            "service_id|venom_id|kind|version|state|endpoints|mounts|ops|runtime|help_md|enabled|hosts",
            r#""[a-z/]{0,3}"|\["/[a-z]?"\]|\{\}|\[\]|null|5|true|\{"type":"(wasm|native_proc)","args":\["a"?\]\}"#,
            0..8,
        ),
        is_head: bool,
    ) {
        let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let text = format!("{{{}}}", members.join(","));
        let dialect = if is_head { Dialect::Head } else { Dialect::Seed };
        let context = Context { dialect, node_id: "n" };
        match parse(text.as_bytes(), context) {
            Err(faults) => prop_assert!(!faults.is_empty()),
            Ok(Parsed { manifest: Some(manifest), .. }) => {
                let entry = crate::catalog::Entry::declared(dialect, &manifest);
                prop_assert!(canonical::check_object(entry.as_str().as_bytes()).is_ok());
            }
            Ok(_) => prop_assert!(text.contains("\"enabled\"")),
        }
    }
}

#[test]
fn a_byte_order_mark_is_called_one() {
    let text = "\u{feff}{\"service_id\":\"a\"}";
    let faults = read(text, Dialect::Seed).unwrap_err();
    assert_eq!(
        faults[0].to_string(),
        "1:1: begins with a byte order mark; must be UTF-8 without one"
    );
}
