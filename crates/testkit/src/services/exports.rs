//! What a node of many services offers.
//!
//! ```text
//! exports exports
//! place file services/v-echo.json 0644 {"service_id":"v-echo",…}
//! node ["--terminal-id","1","--services-dir","services"]
//! hello {"protocol":"unified-v2-fs",…}
//! export {"name":"svc-v-echo",…}
//! root 204492391159338
//! ```
//!
//! Exports stand in the order in which the node must tell them: terminals, then the services of a folder by the names
//! of their files. The original went through a folder in the folder's own order.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::content::Content;
use super::place::{self, Artifacts};
use super::script::{Placed, Setup, Thing};
use super::{golden, player, tree, vector};
use crate::process::NodeCommand;
use crate::raw_peer::{PATIENCE, RawPeer};
use crate::replay::Difference;
use crate::replay::term::{Scanner, Term};

/// The folder of the manifests.
const FOLDER: &str = "services";

/// Manifests that make no export but were in the folder.
const WITHOUT_EXPORT: [&str; 2] = ["v-builtin", "v-catalog-only"];

/// Makes the golden text of a vector; `manifests` is the folder with those it was taken with.
pub(super) fn from_vector(topic: &str, vector: &Term, manifests: &Path) -> Result<String> {
    let exports = vector::member(vector, "exports")?.as_list().context("exports")?;
    let mut exports: Vec<(String, &Term)> = exports
        .iter()
        .map(|export| Ok((vector::text(export, "name")?, export)))
        .collect::<Result<_>>()?;
    // The files of a folder are read by name, extension included.
    exports.sort_by_key(|(name, _)| (!name.starts_with("terminal-"), format!("{name}.json")));
    let ids = exports.iter().filter_map(|(name, _)| name.strip_prefix("svc-"));
    let mut ids: Vec<&str> = ids.chain(WITHOUT_EXPORT).collect();
    ids.sort_unstable();
    let mut lines = vec![format!("exports {topic}")];
    for id in ids {
        let path = manifests.join(id).with_extension("json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let manifest = Scanner::new(&text)
            .term()
            .with_context(|| format!("in {}", path.display()))?;
        lines.push(golden::print_placed(&Placed {
            path: format!("{FOLDER}/{id}.json"),
            what: Thing::File {
                mode: 0o644,
                content: Content::from(&*vector::json(&manifest)),
            },
        }));
    }
    let arguments = ["--terminal-id", "1", "--services-dir", FOLDER].map(str::to_owned);
    lines.push(golden::print_arguments(&arguments));
    lines.push(format!(
        "hello {}",
        vector::value(vector::member(vector, "hello")?)?
    ));
    for (_, export) in exports {
        let root = vector::member(vector::member(export, "root")?, "low48")?;
        let mut export = vector::value(export)?;
        export.as_object_mut().context("an export")?.remove("root");
        lines.extend([format!("export {export}"), format!("root {root}")]);
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// Starts the node and asks.
pub(super) fn play(topic: &str, text: &str, artifacts: &Artifacts) -> Result<Vec<Difference>> {
    let mut setup = Setup::default();
    let mut hello = Value::Null;
    let mut want: Vec<(Value, u64)> = Vec::new();
    for line in text.lines().skip(1) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "" | "#" => {}
            "place" => setup.placed.push(golden::placed(rest)?),
            "node" => setup.arguments = golden::arguments(rest)?,
            "hello" => hello = serde_json::from_str(rest)?,
            "export" => want.push((serde_json::from_str(rest)?, 0)),
            "root" => want.last_mut().context("a root without export")?.1 = rest.parse()?,
            _ => bail!("{line:?} has no place here"),
        }
    }
    let folder = tempfile::Builder::new().prefix("exports-").tempdir()?;
    place::build(folder.path(), artifacts, &setup)?;
    let node = NodeCommand::new(&artifacts.node)
        .directory(folder.path())
        .arguments(&setup.arguments)
        .start()?;
    let mut peer = RawPeer::connect(node.addr(), crate::raw_peer::ENDPOINT)?;
    let request = json!({"protocol": "unified-v2-fs", "proto": 2});
    peer.send_json(
        &json!({"channel": "acheron", "type": "acheron.t_fs_hello", "tag": 0, "payload": request}),
    )?;
    let welcome = peer.reply(PATIENCE)?;
    let mut found = Vec::new();
    for (name, want) in hello.as_object().into_iter().flatten() {
        let got = &welcome["payload"][name];
        if got != want {
            found.push(format!("{name} of the hello is {got} instead of {want}"));
        }
    }
    let exports = tree::ask(&mut peer, "exports", json!({"payload": {}}))?;
    let exports = exports["exports"].as_array().context("exports")?;
    let name = |export: &Value| export["name"].as_str().unwrap_or_default().to_owned();
    let names: Vec<String> = exports.iter().map(name).collect();
    let wanted: Vec<String> = want.iter().map(|(export, _)| name(export)).collect();
    if names != wanted {
        found.push(format!("the exports are {names:?} instead of {wanted:?}"));
    }
    for (export, root) in &want {
        if let Some(got) = exports.iter().find(|got| got["name"] == export["name"]) {
            let problems = player::export_differs(export, *root, got);
            found.extend(
                problems
                    .iter()
                    .map(|problem| format!("{}: {problem}", export["name"])),
            );
        }
    }
    let differences = found.into_iter().map(|found| Difference {
        topic: topic.to_owned(),
        line: 0,
        step: "hello and exports".to_owned(),
        found,
    });
    Ok(differences.collect())
}
