//! The bill of materials: `CycloneDX` 1.5, as JSON.
//!
//! It says nothing of when and where it was made, so that the same sources give the same file.

use serde_json::{Value, json};

use super::dependencies::{Id, Package, Packages};

/// The bill of materials of programs that are made of `packages`.
pub(super) fn bill(name: &str, version: &str, target: &str, packages: &Packages) -> Value {
    let components: Vec<_> = packages
        .iter()
        .map(|(id, package)| component(id, package))
        .collect();
    let dependencies: Vec<_> = packages
        .iter()
        .map(|(id, package)| {
            let uses: Vec<_> = package.uses.iter().map(reference).collect();
            json!({"ref": reference(id), "dependsOn": uses})
        })
        .collect();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": format!("{name}@{version}"),
                "name": name,
                "version": version,
            },
            "properties": [{"name": "cdx:rustc:target", "value": target}],
        },
        "components": components,
        "dependencies": dependencies,
    })
}

/// What the other parts of the bill call a package.
fn reference((name, version): &Id) -> String {
    // In a package URL, `+` stands for a blank.
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

fn component(id: &Id, package: &Package) -> Value {
    let (name, version) = id;
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(id),
        "name": name,
        "version": version,
        "purl": reference(id),
        "licenses": [{"expression": package.license}],
    });
    let mut add = |member: &str, value: Value| {
        if let Some(members) = component.as_object_mut() {
            members.insert(member.to_owned(), value);
        }
    };
    if let Some(checksum) = &package.checksum {
        add("hashes", json!([{"alg": "SHA-256", "content": checksum}]));
    }
    if let Some(repository) = &package.repository {
        add("externalReferences", json!([{"type": "vcs", "url": repository}]));
    }
    component
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_bill_has_what_the_format_demands() {
        let id = |name: &str| (name.to_owned(), "1.0.0+x".to_owned());
        let package = |uses: &[Id], checksum: Option<&str>| Package {
            license: "MIT OR Apache-2.0".to_owned(),
            repository: Some("https://example.org/a".to_owned()),
            checksum: checksum.map(str::to_owned),
            uses: uses.iter().cloned().collect(),
            ..Package::default()
        };
        let digest = "0".repeat(64);
        let packages = Packages::from([
            (id("node"), package(&[id("tokio")], None)),
            (id("tokio"), package(&[], Some(&digest))),
        ]);
        let bill = bill("programs", "1.0.0", "x86_64-unknown-linux-musl", &packages);

        assert_eq!(bill["bomFormat"], "CycloneDX");
        assert_eq!(bill["specVersion"], "1.5");
        assert_eq!(bill["version"], 1);
        let components = bill["components"].as_array().unwrap();
        let mut references = BTreeSet::new();
        for component in components.iter().chain([&bill["metadata"]["component"]]) {
            for member in ["type", "name", "version", "bom-ref"] {
                assert!(component[member].is_string(), "{member} of {component}");
            }
            assert!(
                references.insert(component["bom-ref"].as_str().unwrap()),
                "{component}"
            );
        }
        for component in components {
            assert!(component["licenses"][0]["expression"].is_string());
            assert!(component["purl"].as_str().unwrap().ends_with("@1.0.0%2Bx"));
        }
        assert_eq!(components[1]["hashes"][0]["content"], digest.as_str());
        for dependency in bill["dependencies"].as_array().unwrap() {
            let uses = dependency["dependsOn"].as_array().unwrap();
            for reference in uses.iter().chain([&dependency["ref"]]) {
                assert!(references.contains(reference.as_str().unwrap()), "{reference}");
            }
        }
        assert_eq!(
            bill["dependencies"][0]["dependsOn"][0],
            "pkg:cargo/tokio@1.0.0%2Bx"
        );
    }
}
