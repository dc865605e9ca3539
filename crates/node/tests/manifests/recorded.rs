//! Every recorded case, from `cases.txt`.

use spiderweb_node::manifest::{Reserved, settle};

use super::{load_all, write};

/// One line of the table.
pub(crate) struct Case {
    expected: String,
    options: Vec<String>,
    pub(crate) manifest: String,
}

pub(crate) fn cases() -> Vec<Case> {
    let lines = include_str!("cases.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(case).collect()
}

fn case(line: &str) -> Case {
    let (expected, rest) = line.split_once(' ').unwrap();
    let mut rest = rest.trim_start();
    if let Some(original) = rest.strip_prefix('(') {
        rest = original.split_once(')').unwrap().1.trim_start();
    }
    let mut options = Vec::new();
    while rest.starts_with("--")
        || options
            .last()
            .is_some_and(|option| option == "--terminal-id" || option == "--export")
    {
        let (option, after) = rest.split_once(' ').unwrap();
        options.push(option.to_owned());
        rest = after;
    }
    let manifest = match rest.strip_prefix("text ") {
        Some(text) => serde_json::from_str(text).unwrap(),
        None => rest.to_owned(),
    };
    Case {
        expected: expected.to_owned(),
        options,
        manifest,
    }
}

#[test]
fn every_recorded_case_ends_as_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let cases = cases();
    assert_eq!(cases.len(), 114);
    for case in cases {
        let value_of = |name: &str| {
            let at = case.options.iter().position(|option| option == name);
            at.map(|at| case.options[at + 1].clone())
        };
        let terminals: Vec<String> = value_of("--terminal-id").into_iter().collect();
        let exports: Vec<String> = value_of("--export")
            .map(|export| export.split_once('=').unwrap().0.to_owned())
            .into_iter()
            .collect();
        let reserved = Reserved {
            has_fs_service: !case.options.iter().any(|option| option == "--no-fs-service"),
            terminals: &terminals,
            exports: &exports,
        };
        let file = write(folder.path(), "a.json", &case.manifest);
        let settled = settle(load_all(&[file], &[]).unwrap(), &reserved, &[]);
        let actual = match (settled.fatal.first(), settled.services.first()) {
            (Some(fault), _) => {
                assert_eq!(settled.fatal.len(), 1, "{:?}", settled.fatal);
                fault.name.as_str()
            }
            (None, Some(service)) if service.manifest.export_name().is_some() => "export",
            (None, Some(_)) => "catalog",
            (None, None) => "off",
        };
        assert_eq!(actual, case.expected, "{} {:?}", case.manifest, settled.fatal);
    }
}
