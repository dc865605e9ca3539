//! The tree every service shows, and a walk through the one a node shows (section 6).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::raw_peer::RawPeer;

/// How many entries a page holds, how many bytes a read.
const PAGE: u64 = 100;
const READ: u64 = 1 << 18;

/// Bits of an id that number a node within its export.
pub(super) const INODE: u64 = (1 << 48) - 1;

/// The nodes below a root: path (directories end in a slash), inode, mode with type bits, link count.
pub(super) const NODES: [(&str, u64, u64, u64); 18] = [
    ("/README.md", 2, 0o100_444, 1),
    ("/SCHEMA.json", 3, 0o100_444, 1),
    ("/schema.json", 4, 0o100_444, 1),
    ("/TEMPLATE.json", 5, 0o100_444, 1),
    ("/template.json", 6, 0o100_444, 1),
    ("/HOST.json", 7, 0o100_444, 1),
    ("/result.json", 8, 0o100_444, 1),
    ("/last_error.txt", 9, 0o100_444, 1),
    ("/status.json", 10, 0o100_444, 1),
    ("/metrics.json", 11, 0o100_444, 1),
    ("/config.json", 12, 0o100_644, 1),
    ("/health.json", 13, 0o100_444, 1),
    ("/control/", 14, 0o040_755, 2),
    ("/control/invoke.json", 15, 0o100_644, 1),
    ("/control/reset", 16, 0o100_644, 1),
    ("/control/enable", 17, 0o100_644, 1),
    ("/control/disable", 18, 0o100_644, 1),
    ("/control/restart", 19, 0o100_644, 1),
];

/// The mode and the link count of the root.
pub(super) const ROOT: (u64, u64) = (0o040_555, 2);

/// Something a node lists.
#[derive(Debug)]
pub(super) struct Found {
    /// Its attributes.
    pub(super) attr: Value,
    /// The bytes of a file.
    pub(super) content: Option<Vec<u8>>,
}

/// Sends a request that must succeed and returns its payload.
pub(super) fn ask(peer: &mut RawPeer, operation: &str, mut request: Value) -> Result<Value> {
    request["type"] = json!(format!("acheron.t_fs_{operation}"));
    let mut reply = peer.request(request.clone())?;
    ensure!(reply["ok"] == true, "{reply} in answer to {request}");
    Ok(reply["payload"].take())
}

/// Everything below a root by path, the root itself as `/`.
pub(super) fn walk(peer: &mut RawPeer, root: u64) -> Result<BTreeMap<String, Found>> {
    let mut found = BTreeMap::new();
    let attr = ask(peer, "getattr", json!({"node": root, "payload": {}}))?["attr"].take();
    found.insert("/".to_owned(), Found { attr, content: None });
    let mut unread = vec![("/".to_owned(), root)];
    while let Some((directory, id)) = unread.pop() {
        for (name, attr) in entries(peer, id)? {
            let id = attr["id"].as_u64().context("an id")?;
            if attr["k"] == 2 {
                let path = format!("{directory}{name}/");
                unread.push((path.clone(), id));
                found.insert(path, Found { attr, content: None });
            } else {
                let content = Some(read(peer, id)?);
                found.insert(format!("{directory}{name}"), Found { attr, content });
            }
        }
    }
    Ok(found)
}

/// The entries of a directory without `.` and `..`.
fn entries(peer: &mut RawPeer, directory: u64) -> Result<Vec<(String, Value)>> {
    let mut entries = Vec::new();
    let mut cookie = 0;
    loop {
        let payload = json!({"cookie": cookie, "max": PAGE});
        let mut page = ask(peer, "readdirp", json!({"node": directory, "payload": payload}))?;
        for entry in page["ents"].as_array_mut().context("a list of entries")? {
            let name = entry["name"].as_str().context("a name")?.to_owned();
            if name != "." && name != ".." {
                entries.push((name, entry["attr"].take()));
            }
        }
        if page["eof"] == true {
            return Ok(entries);
        }
        cookie = page["next"].as_u64().context("a cookie")?;
    }
}

/// The bytes of a file.
pub(super) fn read(peer: &mut RawPeer, file: u64) -> Result<Vec<u8>> {
    let opened = ask(peer, "open", json!({"node": file, "payload": {"flags": 0}}))?;
    let handle = &opened["h"];
    let mut bytes = Vec::new();
    loop {
        let payload = json!({"off": bytes.len(), "len": READ});
        let piece = ask(peer, "read", json!({"h": handle, "payload": payload}))?;
        let data = piece["data_b64"].as_str().context("data")?;
        bytes.extend(base64_simd::STANDARD.decode_to_vec(data)?);
        if piece["eof"] == true {
            break;
        }
        ensure!(!data.is_empty(), "a read that neither gives nor ends");
    }
    ask(peer, "close", json!({"h": handle, "payload": {}}))?;
    Ok(bytes)
}
