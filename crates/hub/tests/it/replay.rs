//! The recorded exchanges of the original server, played against ours by scripted nodes and clients.
//!
//! Every frame a node or client sent is sent again; every frame the original answered is waited for and compared by
//! type and by code or errno, and if these are the same, by the names of all members and by the values that depend on
//! nothing but the request. Ids and secrets are learned on the way. What differs on purpose is listed with its reason,
//! and a listed difference that does not occur any more is a failure too.

mod differences;
mod expected;
mod shape;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use spiderweb_hub::{Clock, Hub};
use spiderweb_protocol::Secret;
use spiderweb_protocol::control::VersionAck;

use self::differences::{DIFFERENCES, INSIDE};
use self::expected::{Expected, is_inside};
use self::shape::{Shape, without_own};
use crate::generations::{HEAD, SEED};
use crate::peer::{ADMIN, Control, Peer, USER, start};

/// Recordings that need something a replay has not got.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "12-server-restart",
        "the server is killed and started; `restart.rs` does that",
    ),
    ("13-server-data-lost", "the server loses its database"),
    ("23-other-generation-server", "a server of one generation alone"),
    ("25-tunnel-edge-frames", "the server side is scripted"),
    (
        "29-lease-expiry",
        "here a tunnel that answers keeps its lease, and expired nodes stay known; `lease.rs` does that",
    ),
];

fn recordings(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/vectors")
        .join(folder);
    path.is_dir().then_some(path)
}

/// What of a frame must be the same.
fn gist(frame: &Value) -> String {
    if !frame["close"].is_null() {
        return "close".to_owned();
    }
    let kind = frame["type"]
        .as_str()
        .or(frame["ended"].as_bool().map(|_| "end"))
        .unwrap_or("?");
    let detail = match (&frame["error"]["code"], &frame["error"]["errno"]) {
        (Value::String(code), _) => format!(" {code}"),
        (_, Value::Number(errno)) => format!(
            " {errno} {}",
            frame["error"]["message"].as_str().unwrap_or_default()
        ),
        _ => frame["category"]
            .as_str()
            .map(|word| format!(" {word}"))
            .unwrap_or_default(),
    };
    let id = if frame["id"].is_string() || frame["request"].is_string() {
        " id"
    } else {
        ""
    };
    format!("{kind}{detail}{id}")
}

struct Replay {
    hub: Hub,
    clock: Clock,
    admin: Control,
    peers: BTreeMap<u64, Peer>,
    /// Recorded texts and what they are called here.
    names: BTreeMap<String, String>,
    /// Recorded tags of the tunnel and ours.
    tags: BTreeMap<u64, Value>,
    /// Frames that came before the one that was waited for.
    early: BTreeMap<u64, Vec<Value>>,
    /// Recorded answers that do not come here.
    quiet: BTreeSet<String>,
    differences: BTreeSet<(String, String)>,
    /// Frames of the same gist, and how they differ inside.
    inside: BTreeSet<(String, String)>,
    now: u64,
}

impl Replay {
    async fn new(environment: &Value, generations: VersionAck, quiet: BTreeSet<String>) -> Self {
        let (hub, clock) = start(|config| {
            let operator = environment["SPIDERWEB_CONTROL_OPERATOR_TOKEN"].as_str();
            config.tokens.operator = operator.map(Secret::new);
            config.terms.min_lease = Duration::from_secs(1);
            config.terms.repeat_join = Duration::ZERO;
            config.generations = generations;
        })
        .await;
        let admin = Control::dial(&hub, Some(ADMIN)).await;
        Self {
            hub,
            clock,
            admin,
            peers: BTreeMap::new(),
            names: BTreeMap::new(),
            tags: BTreeMap::new(),
            early: BTreeMap::new(),
            quiet,
            differences: BTreeSet::new(),
            inside: BTreeSet::new(),
            now: 0,
        }
    }

    fn renamed(&self, text: &str) -> String {
        // Longer names first: one may be the beginning of another.
        let mut names: Vec<_> = self.names.iter().collect();
        names.sort_by_key(|(recorded, _)| std::cmp::Reverse(recorded.len()));
        let quoted = |name: &str| format!("\"{name}\"");
        names.iter().fold(text.to_owned(), |text, (recorded, ours)| {
            text.replace(&quoted(recorded), &quoted(ours))
        })
    }

    /// Learns what the recorded ids and secrets are called here.
    fn learn(&mut self, recorded: &Value, ours: &Value) {
        // Lists have no order that could be relied on.
        let (Value::Object(recorded), Value::Object(ours)) = (recorded, ours) else {
            return;
        };
        for (name, value) in recorded {
            // Agents and templates are words, which the generations choose differently.
            if matches!(&**name, "agent_id" | "template_id") {
                continue;
            }
            let is_name = name.ends_with("_id") || name.ends_with("_token") || name == "node_secret";
            match (value.as_str(), ours.get(name).and_then(Value::as_str)) {
                // A built-in project has nothing to stand for it here.
                (Some("system"), _) => {}
                (Some(value), Some(ours)) if is_name && !value.is_empty() && value != ours => {
                    self.names.insert(value.to_owned(), ours.to_owned());
                }
                _ => self.learn(value, ours.get(name).unwrap_or(&Value::Null)),
            }
        }
    }

    /// Invites were made where the recorder did not see it.
    async fn prepare(&mut self, frame: &Value, answer: &str) {
        let Some(token) = frame["payload"]["invite_token"].as_str() else {
            return;
        };
        if self.names.contains_key(token) || answer.contains("invite_not_found") {
            return;
        }
        let lifetime = if answer.contains("invite_expired") {
            0
        } else {
            1_800_000
        };
        let payload = json!({"expires_in_ms": lifetime, "operator_token": "op-secret"});
        let ours = self.admin.invite(payload).await;
        self.names.insert(token.to_owned(), ours);
    }

    /// Projects too. What they are is told by the lines that come.
    async fn prepare_project(&mut self, frame: &Value, answer: &Value, lines: &[Value]) {
        let payload = &frame["payload"];
        let id = payload["project_id"]
            .as_str()
            .or(payload["workspace_id"].as_str());
        let Some(id) = id.filter(|id| *id != "system" && answer["ok"] == true) else {
            return;
        };
        let ours = self.names.get(id).map_or(id, String::as_str);
        let known = self.admin.call("project_get", json!({"project_id": ours})).await;
        if known["ok"] == true {
            return;
        }
        let operator = json!("op-secret");
        let shown = |member: &str| {
            let shown = lines.iter().map(|line| &line["frame"]["payload"]);
            let mut shown = shown.filter(|shown| shown["project_id"] == id || shown["workspace_id"] == id);
            shown.find_map(|shown| shown.get(member)).unwrap_or(&Value::Null)
        };
        let name = shown("name").as_str().unwrap_or("p");
        let make = json!({"name": name, "vision": shown("vision"), "operator_token": operator});
        let made = self.admin.ok("project_create", make).await;
        let ours = made["project_id"].clone();
        self.names
            .insert(id.to_owned(), ours.as_str().unwrap().to_owned());
        for mount in shown("desired_mounts").as_array().into_iter().flatten() {
            let node = mount["node_id"].as_str().unwrap();
            let node = self.names.get(node).map_or(node, String::as_str);
            let set = json!({"project_id": ours, "node_id": node, "export_name": mount["export_name"],
                "mount_path": mount["mount_path"], "operator_token": operator});
            // Mounts of the server's own node have nothing to stand for them here.
            let _ = self.admin.call("project_mount_set", set).await;
        }
    }

    async fn dial(&mut self, conn: u64, head: &str) {
        let path = head.split(' ').nth(1).unwrap();
        let bearer = head
            .lines()
            .find_map(|line| line.strip_prefix("Authorization: Bearer "));
        let token = bearer.map(|token| match token {
            token if token.starts_with("sw-admin_") => ADMIN,
            token if token.starts_with("sw-user_") => USER,
            token => token,
        });
        let path = match path.strip_prefix("/v2/fs/node/") {
            Some(node) => format!(
                "/v2/fs/node/{}",
                self.names.get(node).map_or(node, String::as_str)
            ),
            None => path.to_owned(),
        };
        let peer = Peer::dial(&self.hub, &path, token).await;
        self.peers.insert(conn, peer);
    }

    async fn send(&mut self, conn: u64, is_tunnel: bool, frame: &Value) {
        let text = match frame {
            Value::String(text) => text.clone(),
            frame => {
                let mut frame = frame.clone();
                if is_tunnel && let Some(tag) = frame["tag"].as_u64().and_then(|tag| self.tags.get(&tag)) {
                    frame["tag"] = tag.clone();
                }
                self.renamed(&frame.to_string())
            }
        };
        if let Some(peer) = self.peers.get_mut(&conn) {
            // A peer that was turned away goes on talking in the recording.
            let frame = spiderweb_transport::Frame::text_from(spiderweb_transport::Masking::Client, &text);
            let _ = peer.0.send(frame).await;
        }
    }

    async fn expect(&mut self, conn: u64, is_tunnel: bool, recorded: &Value) {
        let wanted = gist(recorded);
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        // What is known not to come is not waited for long.
        let is_quiet = self.quiet.contains(&wanted);
        let patience = Duration::from_millis(if is_quiet { 200 } else { 5000 });
        let early = self.early.entry(conn).or_default();
        let ours = loop {
            // Requests of two clients may be forwarded in either order.
            if let Some(at) = early.iter().position(|frame| gist(frame) == wanted) {
                break early.remove(at);
            }
            let next = peer.next_within(patience).await;
            let next = next.unwrap_or_else(|| json!({"type": "nothing"}));
            let is_pushed = next["type"] == "debug.event" && !wanted.starts_with("debug.event");
            if gist(&next) == wanted || next["type"] == "nothing" || !is_file_frame(&next) && !is_pushed {
                break next;
            }
            if !is_pushed {
                early.push(next);
            }
        };
        let ours = match early.first() {
            Some(_) if ours["type"] == "nothing" => early.remove(0),
            _ => ours,
        };
        if is_tunnel && let Some(tag) = recorded["tag"].as_u64() {
            self.tags.insert(tag, ours["tag"].clone());
        }
        self.learn(&recorded["payload"], &ours["payload"]);
        let got = gist(&ours);
        if wanted != got {
            self.differences.insert((wanted, got));
        } else if recorded["type"].is_string() {
            let recorded = serde_json::from_str(&self.renamed(&recorded.to_string())).unwrap();
            let differences = Shape::of(&without_own(recorded)).differences(&Shape::of(&without_own(ours)));
            self.inside
                .extend(differences.into_iter().map(|what| (wanted.clone(), what)));
        }
    }
}

fn is_file_frame(frame: &Value) -> bool {
    frame["type"].as_str().is_some_and(|kind| kind.contains("_fs"))
}

/// Frames the original pushes and ours does not.
fn is_left_to_the_client(frame: &Value) -> bool {
    let category = frame["category"].as_str().unwrap_or_default();
    matches!(
        category,
        "control.workspace_topology_delta" | "control.workspace_availability" | "control.reconcile"
    )
}

async fn replay(path: &Path, scenario: &str, generations: VersionAck) -> Replay {
    let quiet = DIFFERENCES
        .iter()
        .filter(|(of, _, ours, _)| *of == scenario && *ours == "nothing")
        .map(|(_, recorded, ..)| (*recorded).to_owned())
        .collect();
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut replay = Replay::new(&lines[0]["setup"]["server_env"], generations, quiet).await;
    for (number, line) in lines.iter().enumerate() {
        let Some(conn) = line["conn"].as_u64() else {
            continue;
        };
        if let Some(at) = line["t_ms"].as_u64() {
            replay.clock.advance(at.saturating_sub(replay.now));
            replay.now = replay.now.max(at);
        }
        let from_peer = line["dir"] == "n2s" || line["dir"] == "c2s";
        let is_tunnel = line["path"]
            .as_str()
            .is_some_and(|path| path.starts_with("/v2/node"));
        match (line["event"].as_str(), line["op"].as_str(), from_peer) {
            (Some("http"), _, true) => replay.dial(conn, line["frame"].as_str().unwrap()).await,
            (Some("eof"), _, true) => drop(replay.peers.remove(&conn)),
            (None, None, true) => {
                let answer = lines[number..].iter().find(|other| {
                    other["conn"] == conn
                        && other["event"].is_null()
                        && matches!(other["dir"].as_str(), Some("s2n" | "s2c"))
                });
                let answer = answer.map_or(&Value::Null, |answer| &answer["frame"]);
                replay.prepare(&line["frame"], &answer.to_string()).await;
                replay
                    .prepare_project(&line["frame"], answer, &lines[number..])
                    .await;
                replay.send(conn, is_tunnel, &line["frame"]).await;
            }
            (None, None, false) if !is_left_to_the_client(&line["frame"]) => {
                replay.expect(conn, is_tunnel, &line["frame"]).await;
            }
            _ => {}
        }
    }
    replay
}

/// Replays a folder. `looks_inside`: the hub speaks as the recorded server did, so that frames can be compared whole.
async fn replay_all(folder: &str, generations: VersionAck, looks_inside: bool) {
    let Some(folder) = recordings(folder) else {
        println!("skipped: there are no recordings beside the checkout");
        return;
    };
    let generation = folder.file_name().unwrap().to_str().unwrap().to_owned();
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let mut wrong = Vec::new();
    let listed = DIFFERENCES
        .iter()
        .map(|(of, recorded, ours, _)| [*of, *recorded, *ours]);
    let mut expected = Expected::of(&generation, listed);
    let listed = INSIDE
        .iter()
        .flat_map(|(of, kind, members, _)| members.iter().map(|at| [*of, *kind, *at]));
    let mut expected_inside = Expected::of(&generation, listed.filter(|_| looks_inside));
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_scenario = name.starts_with(|first: char| first.is_ascii_digit());
        if !is_scenario || LEFT_OUT.iter().any(|(left_out, _)| *left_out == name) {
            continue;
        }
        let scenario = format!("{generation}/{name}");
        let replay = replay(&path, &scenario, generations).await;
        for (recorded, ours) in replay.differences {
            if !expected.meets(|listed| *listed == [scenario.as_str(), &recorded, &ours]) {
                wrong.push(format!("(\"{scenario}\", \"{recorded}\", \"{ours}\", \"\"),"));
            }
        }
        for (kind, what) in replay.inside.iter().filter(|_| looks_inside) {
            if !expected_inside.meets(|listed| is_inside(listed, &scenario, kind, what)) {
                wrong.push(format!("inside: \"{scenario}\", \"{kind}\", {what}"));
            }
        }
    }
    wrong.extend(expected.gone().chain(expected_inside.gone()));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_older_generations_recordings() {
    replay_all("control", SEED, true).await;
}

#[tokio::test]
async fn the_newer_generations_recordings() {
    replay_all("control-head", HEAD, true).await;
}

#[tokio::test]
async fn the_recordings_of_both_at_a_hub_that_speaks_both() {
    replay_all("control", VersionAck::BOTH, false).await;
    replay_all("control-head", VersionAck::BOTH, false).await;
}
