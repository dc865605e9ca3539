//! Which crate of this workspace may depend on which.
//!
//! The table is the architecture: an arrow that is not in it fails the build, and so does a crate that is
//! not.

use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// Per directory, what it may use: directories of `crates/`, and for chores programs, whose command lines they describe.
const ALLOWED: &[(&str, &[&str])] = &[
    ("crates/protocol", &[]),
    ("crates/transport", &[]),
    ("crates/daemon", &["transport"]),
    ("crates/fs", &["protocol"]),
    ("crates/runtime", &["protocol"]),
    (
        "crates/node",
        &["protocol", "transport", "daemon", "fs", "runtime"],
    ),
    ("crates/hub", &["protocol", "transport", "daemon"]),
    ("crates/client", &["protocol", "transport"]),
    ("crates/driver-sdk", &[]),
    ("crates/testkit", LIBRARIES),
    ("drivers/echo", &["driver-sdk"]),
    ("drivers/echo-inproc", &["driver-sdk"]),
    ("drivers/echo-wasm", &["driver-sdk"]),
    ("drivers/web-search", &["driver-sdk"]),
    ("apps/spiderweb-fs-node", LIBRARIES),
    ("apps/spiderweb-hub", LIBRARIES),
    ("apps/spiderweb", LIBRARIES),
    (
        "xtask",
        &[
            "node",
            "testkit",
            "apps/spiderweb-fs-node",
            "apps/spiderweb-hub",
            "apps/spiderweb",
        ],
    ),
];

/// What tests and programs may put together.
const LIBRARIES: &[&str] = &[
    "protocol",
    "transport",
    "daemon",
    "fs",
    "runtime",
    "node",
    "hub",
    "client",
    "driver-sdk",
];

/// What any crate may use in its tests besides.
const TESTKIT: &str = "crates/testkit";

/// One crate's use of another, both by directory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Arrow {
    from: String,
    to: String,
    in_tests: bool,
}

pub(crate) fn run() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let (crates, arrows) = read_metadata(&metadata)?;
    let wrong = violations(&crates, &arrows);
    if !wrong.is_empty() {
        bail!("{}\nThe table is in xtask/src/check_deps.rs.", wrong.join("\n"));
    }
    println!("{} crates, {} arrows, all allowed", crates.len(), arrows.len());
    Ok(())
}

/// The crates of the workspace and the arrows between them.
fn read_metadata(metadata: &Value) -> Result<(Vec<String>, Vec<Arrow>)> {
    let root = metadata["workspace_root"]
        .as_str()
        .context("metadata without a root")?;
    let relative = |path: &str| {
        let path = path
            .strip_prefix(root)?
            .trim_start_matches(['/', '\\'])
            .replace('\\', "/");
        Some(path.trim_end_matches("/Cargo.toml").to_owned())
    };
    let mut crates = Vec::new();
    let mut arrows = Vec::new();
    for package in metadata["packages"]
        .as_array()
        .context("metadata without packages")?
    {
        let from = package["manifest_path"]
            .as_str()
            .and_then(relative)
            .context("a package outside the project")?;
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            // Only our own dependencies have a path.
            if let Some(to) = dependency["path"].as_str().and_then(relative) {
                arrows.push(Arrow {
                    from: from.clone(),
                    to,
                    in_tests: dependency["kind"] == "dev",
                });
            }
        }
        crates.push(from);
    }
    Ok((crates, arrows))
}

/// What is not in the table, one line each.
fn violations(crates: &[String], arrows: &[Arrow]) -> Vec<String> {
    let allowed = |from: &str| {
        ALLOWED
            .iter()
            .find(|(name, _)| *name == from)
            .map(|(_, targets)| *targets)
    };
    let unknown = crates.iter().filter(|name| allowed(name).is_none());
    let mut wrong: Vec<String> = unknown
        .map(|name| format!("{name} is not in the table"))
        .collect();
    for Arrow { from, to, in_tests } in arrows {
        let target = to.strip_prefix("crates/").unwrap_or(to);
        let in_table = allowed(from).is_some_and(|targets| targets.contains(&target));
        let is_allowed = in_table || (*in_tests && to == TESTKIT);
        if !is_allowed {
            let place = if *in_tests { " in its tests" } else { "" };
            wrong.push(format!("{from} must not use {to}{place}"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arrow(from: &str, to: &str, in_tests: bool) -> Arrow {
        Arrow {
            from: from.to_owned(),
            to: to.to_owned(),
            in_tests,
        }
    }

    #[test]
    fn a_wrong_arrow_is_reported() {
        for (from, to, in_tests) in [
            ("crates/fs", "crates/transport", false),
            ("crates/transport", "crates/protocol", false),
            ("crates/protocol", "crates/fs", true),
            ("crates/node", "crates/testkit", false),
            ("apps/spiderweb", "apps/spiderweb-fs-node", false),
            ("crates/node", "xtask", true),
            ("drivers/echo", "crates/protocol", false),
            ("crates/driver-sdk", "crates/protocol", false),
        ] {
            let wrong = violations(&[], &[arrow(from, to, in_tests)]);
            assert_eq!(wrong.len(), 1, "{from} to {to}");
            assert!(
                wrong[0].starts_with(&format!("{from} must not use {to}")),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn arrows_of_the_table_and_testkit_in_tests_are_fine() {
        let arrows = [
            arrow("crates/node", "crates/fs", false),
            arrow("crates/protocol", "crates/testkit", true),
            arrow("apps/spiderweb", "crates/client", false),
            arrow("xtask", "crates/testkit", false),
            arrow("xtask", "apps/spiderweb", false),
        ];
        assert_eq!(violations(&["crates/node".to_owned()], &arrows), [""; 0]);
    }

    #[test]
    fn a_crate_without_a_row_is_reported() {
        assert_eq!(
            violations(&["crates/misc".to_owned()], &[]),
            ["crates/misc is not in the table"]
        );
    }

    #[test]
    fn arrows_are_read_from_metadata() {
        let metadata = json!({
            "workspace_root": "/p",
            "packages": [{
                "manifest_path": "/p/crates/node/Cargo.toml",
                "dependencies": [
                    {"name": "serde", "kind": null},
                    {"name": "spiderweb-fs", "kind": null, "path": "/p/crates/fs"},
                    {"name": "spiderweb-testkit", "kind": "dev", "path": "/p/crates/testkit"},
                ],
            }],
        });
        let (crates, arrows) = read_metadata(&metadata).unwrap();
        assert_eq!(crates, ["crates/node"]);
        let expected = [
            arrow("crates/node", "crates/fs", false),
            arrow("crates/node", "crates/testkit", true),
        ];
        assert_eq!(arrows, expected);
    }
}
