//! Files and folders, and what one file may do to the others.

use std::fs;
use std::time::{Duration, Instant};

use spiderweb_node::manifest::{FaultName, Reserved, diff, settle};

use super::{ids, load_all, minimal, start, write};

#[test]
fn a_file_is_as_large_as_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    for (size, fault) in [(1_048_576, None), (1_048_577, Some(FaultName::FileTooBig))] {
        let text = minimal("s");
        let padding = " ".repeat(size - text.len());
        let file = write(folder.path(), "a.json", &(text + &padding));
        let settled = start(&[file], &[]);
        assert_eq!(settled.fatal.first().map(|fault| fault.name), fault);
    }
}

#[test]
fn help_is_as_long_as_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    for (length, fault) in [(65_536, None), (65_537, Some(FaultName::InvalidManifest))] {
        let help = "h".repeat(length);
        let text = format!(r#"{{"service_id":"s","kind":"k","help_md":"{help}"}}"#);
        let file = write(folder.path(), "a.json", &text);
        assert_eq!(start(&[file], &[]).fatal.first().map(|fault| fault.name), fault);
    }
}

#[test]
fn a_file_full_of_faults_is_told_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let args = "1,".repeat(300_000);
    let members = (0..30_000).map(|number| format!(r#","m{number}":0"#));
    let members = members.collect::<Vec<_>>().concat();
    let runtime = format!(r#"{{"type":"wasm","args":[{args}1]}}"#);
    let text = format!(r#"{{"service_id":"s","kind":"k"{members},"runtime":{runtime}}}"#);
    let file = write(folder.path(), "a.json", &text);
    let started = Instant::now();
    assert_eq!(start(&[file], &[]).fatal.len(), 64);
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn what_is_no_manifest_at_all_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "a.json", &minimal("s"));
    let bom = write(
        folder.path(),
        "bom.json",
        &("\u{feff}".to_owned() + &minimal("s")),
    );
    for (file, name) in [
        (folder.path().join("nope.json"), FaultName::FileNotFound),
        (folder.path().to_owned(), FaultName::IsDir),
        (bom, FaultName::SyntaxError),
    ] {
        assert_eq!(
            start(std::slice::from_ref(&file), &[]).fatal[0].name,
            name,
            "{}",
            file.display()
        );
    }
    for (folder, name) in [
        (folder.path().join("nope"), FaultName::FileNotFound),
        (file, FaultName::NotDir),
    ] {
        let fault = load_all(&[], std::slice::from_ref(&folder)).unwrap_err();
        // Wine 8 lists a file with an error of its own.
        let is_wine = std::env::var_os("WINELOADER").is_some();
        if name != FaultName::NotDir || !is_wine {
            assert_eq!(fault.name, name);
        }
        assert_eq!(fault.file, Some(folder));
    }
}

#[test]
fn a_folder_is_read_by_name_and_nothing_else_in_it() {
    // Where `B.json` is `b.json`, another that comes before `a.json`.
    let (before, its_id) = if cfg!(windows) {
        ("0.json", "0_json")
    } else {
        ("B.json", "B_json")
    };
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.json", before, "a.json", ".json", "X.JSON", "x.json.bak"] {
        write(folder.path(), name, &minimal(&name.replace('.', "_")));
    }
    fs::create_dir(folder.path().join("dir.json")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("a.json", folder.path().join("link.json")).unwrap();
    let named = tempfile::tempdir().unwrap();
    let named = write(named.path(), "z.json", &minimal("named"));
    let settled = start(&[named], &[folder.path().to_owned()]);
    assert_eq!(ids(&settled), ["named", "_json", its_id, "a_json", "b_json"]);
    assert!(settled.fatal.is_empty() && settled.left_out.is_empty());
}

#[test]
fn a_broken_file_in_a_folder_stops_nobody_but_itself() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.json", &minimal("a"));
    write(
        folder.path(),
        "b.json",
        "{\n \"service_id\": \"b\",\n \"kind\": 5}",
    );
    write(folder.path(), "c.json", &minimal("a"));
    write(folder.path(), "d.json", &minimal("fs"));
    let settled = start(&[], &[folder.path().to_owned()]);
    assert_eq!(ids(&settled), ["a"]);
    assert!(settled.fatal.is_empty());
    let told: Vec<String> = settled
        .left_out
        .iter()
        .map(|left| left.fault.to_string())
        .collect();
    let file = |name: &str| folder.path().join(name).display().to_string();
    assert_eq!(
        told,
        [
            format!(
                "{}:3:10: kind: is 5; must be 1 to 128 of the characters A-Z a-z 0-9 . _ -",
                file("b.json")
            ),
            format!(
                "{}:1:15: service_id: `a` is the id of a service in another manifest; must be an id of its own",
                file("c.json")
            ),
            format!(
                "{}:1:15: service_id: `fs` is the id of a service that is built in; must be another id",
                file("d.json")
            ),
        ]
    );
}

#[test]
fn a_conflict_with_a_named_file_is_fatal() {
    let folder = tempfile::tempdir().unwrap();
    let named = write(folder.path(), "a.json", &minimal("s"));
    let settled = start(&[named], &[folder.path().to_owned()]);
    assert_eq!(settled.fatal[0].name, FaultName::InvalidArguments);
}

#[test]
fn a_file_that_breaks_at_a_reload_leaves_its_last_good_version_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let folders = [folder.path().to_owned()];
    write(folder.path(), "a.json", &minimal("a"));
    write(folder.path(), "b.json", &minimal("b"));
    write(folder.path(), "c.json", &minimal("c"));
    let before = start(&[], &folders);

    write(folder.path(), "a.json", "{");
    write(folder.path(), "b.json", r#"{"service_id":"b","kind":"other"}"#);
    fs::remove_file(folder.path().join("c.json")).unwrap();
    write(folder.path(), "d.json", &minimal("d"));
    let after = settle(
        load_all(&[], &folders).unwrap(),
        &Reserved::default(),
        &before.services,
    );
    assert_eq!(ids(&after), ["a", "b", "d"]);
    assert_eq!(after.left_out.len(), 1);
    assert_eq!(after.left_out[0].kept.as_ref().unwrap().as_str(), "a");

    let manifests = |settled: &spiderweb_node::manifest::Settled| {
        let services = settled.services.iter();
        services
            .map(|service| service.manifest.clone())
            .collect::<Vec<_>>()
    };
    let diff = diff(&manifests(&before), &manifests(&after));
    let lists = [&diff.added, &diff.removed, &diff.changed, &diff.unchanged];
    let only = lists.map(|ids| ids.iter().map(ToString::to_string).collect::<String>());
    assert_eq!(only, ["d", "c", "b", "a"]);
    assert!(!diff.is_empty());
}

#[test]
fn a_running_service_keeps_its_id_against_new_files() {
    let folder = tempfile::tempdir().unwrap();
    let folders = [folder.path().to_owned()];
    write(folder.path(), "b.json", &minimal("x"));
    write(folder.path(), "c.json", &minimal("y"));
    let before = start(&[], &folders);

    // In front of it by name; and one that turns to an id that is taken.
    write(folder.path(), "a.json", &minimal("x"));
    write(folder.path(), "c.json", &minimal("x"));
    let after = settle(
        load_all(&[], &folders).unwrap(),
        &Reserved::default(),
        &before.services,
    );
    assert_eq!(ids(&after), ["x", "y"]);
    assert!(after.services[0].file.ends_with("b.json"));
    let kept: Vec<_> = after
        .left_out
        .iter()
        .map(|left_out| left_out.kept.clone())
        .collect();
    assert_eq!(kept[0], None, "a.json is new");
    assert_eq!(
        kept[1].as_ref().unwrap().as_str(),
        "y",
        "c.json stays what it was"
    );
}

#[test]
fn a_static_program_says_that_it_opens_no_library() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = r#"{"type":"native_inproc","library_path":"./static.so"}"#;
    let text = format!(r#"{{"service_id":"s","kind":"k","runtime":{runtime}}}"#);
    let file = write(folder.path(), "a.json", &text);
    let settled = start(&[file], &[]);
    let fault = settled.fatal.first().unwrap();
    assert_eq!(fault.name, FaultName::UnsupportedPlatform);
    let words = fault.to_string();
    assert!(
        words.contains("static.so") && words.contains("linked statically"),
        "{words}"
    );
}
