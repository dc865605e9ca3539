//! Where our node does otherwise than the recorded ones, and why.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::Difference;

/// Scenario (`*` stands for any rest of its name), what was recorded, what ours does, why.
#[rustfmt::skip]
const DIFFERENCES: &[(&str, &str, &str, &str)] = &[
    ("*", "node 1: exit -15", "exit 0", "a node that is told to end says goodbye and ends well"),
    ("*", "r_fs_readdirp.next_cookie missing", "0", "a member our clients ask for; others ignore it"),
    ("control/*", "r_fs_hello.caps.max_read: 1048576", "131072", "what fits into the frames that servers of this generation take"),
    ("control/*", "r_fs_hello.caps.max_write: 1048576", "131072", "what fits into the frames that servers of this generation take"),
    ("control/18-large-read", "tunnel 1: end", "nothing", "the reply that was too long is refused, so the tunnel stays"),
    ("control/18-large-read", "tunnel 1: nothing", "err_fs {\"errno\":22,\"message\":\"the reply is larger than the 262144 bytes this hub takes; ask for at most 131072 bytes at a time\"}", "the reply that was too long is refused, so the tunnel stays"),
    ("control/22-catalog-executable-service", "control: node_join upsert node_lease_refresh upsert", "node_join upsert node_lease_refresh", "services are looked at before the catalog is published for the first time"),
    ("control/25-tunnel-edge-frames", "control: node_join upsert node_lease_refresh node_join upsert node_lease_refresh", "node_join upsert node_lease_refresh node_join upsert node_lease_refresh node_join upsert node_lease_refresh", "the name of the refusal is looked for in `error` too, so that tunnel 4 makes it pair anew"),
    ("control/25-tunnel-edge-frames", "err_fs.tag missing", "8", "a tag that can be read is given back"),
    ("control/25-tunnel-edge-frames", "err_fs.tag missing", "9", "a tag that can be read is given back"),
    ("control/25-tunnel-edge-frames", "tunnel 2: end", "nothing", "a message may come in fragments"),
    ("control/25-tunnel-edge-frames", "tunnel 2: nothing", "r_fs_exports", "a message may come in fragments"),
    ("control-head/19-tunnel-drop-in-flight", "venom_upsert.venoms[].package_id missing", "\"terminal\"", "without a package the server refuses the whole catalog"),
    ("control/09-node-deleted-while-running", "control: node_join upsert node_lease_refresh | node_lease_refresh:node_not_found", "node_join upsert node_lease_refresh | node_lease_refresh:node_not_found node_join", "whoever lost its identity pairs anew at once"),
    ("control/13-server-data-lost", "control: node_join upsert node_lease_refresh | node_lease_refresh:node_not_found node_join:invite_not_found", "node_join upsert node_lease_refresh | node_join:invite_not_found", "the refusal of the tunnel is believed; no refresh is needed to learn it"),
    ("control/24-tunnel-takeover", "control: node_join upsert node_lease_refresh | upsert node_lease_refresh | -", "node_join upsert node_lease_refresh | - | -", "the second node does not start while the first holds the state file"),
    ("control/24-tunnel-takeover", "tunnels: hello | hello | -", "hello | - | -", "the second node does not start while the first holds the state file"),
    ("control/24-tunnel-takeover", "node 2: runs", "exit 1", "the second node does not start while the first holds the state file"),
    ("control/29-lease-expiry", "control: node_join upsert node_lease_refresh | - | node_lease_refresh:node_not_found", "node_join upsert node_lease_refresh | - | node_lease_refresh:node_not_found node_join", "whoever lost its identity pairs anew at once"),
    ("control/cli-cases", "control unreachable, default state path: .spiderweb-fs-node-state.json", "spiderweb-fs-node-state.json spiderweb-fs-node-state.json.lock spiderweb-fs-node-state.json.runtime-services.json", "the name the product documents, locked, and the services' state beside it"),
    ("control-head/09-node-deleted-while-running", "control: node_join upsert node_lease_refresh | node_lease_refresh:node_not_found", "node_join upsert node_lease_refresh | node_lease_refresh:node_not_found node_join", "whoever lost its identity pairs anew at once"),
    ("control-head/13-server-data-lost", "control: node_join upsert node_lease_refresh | node_lease_refresh:node_not_found node_join:invite_not_found", "node_join upsert node_lease_refresh | node_join:invite_not_found", "the refusal of the tunnel is believed; no refresh is needed to learn it"),
    ("control-head/24-tunnel-takeover", "control: node_join upsert node_lease_refresh | upsert node_lease_refresh | -", "node_join upsert node_lease_refresh | - | -", "the second node does not start while the first holds the state file"),
    ("control-head/24-tunnel-takeover", "tunnels: hello | hello | -", "hello | - | -", "the second node does not start while the first holds the state file"),
    ("control-head/24-tunnel-takeover", "node 2: runs", "exit 1", "the second node does not start while the first holds the state file"),
    ("control-head/29-lease-expiry", "control: node_join upsert node_lease_refresh | - | node_lease_refresh:node_not_found", "node_join upsert node_lease_refresh | - | node_lease_refresh:node_not_found node_join", "whoever lost its identity pairs anew at once"),
    ("control-head/cli-cases", "control unreachable, default state path: .spiderweb-fs-node-state.json", "spiderweb-fs-node-state.json spiderweb-fs-node-state.json.lock spiderweb-fs-node-state.json.runtime-services.json", "the name the product documents, locked, and the services' state beside it"),
    ("control/cli-cases", "invite mode without token but paired state: state {\"schema\":1,\"node_id\":\"node-9\",\"node_secret\":\"secret-x\"}", "{\"schema\":1,\"node_id\":\"node-9\",\"node_secret\":\"secret-x\",\"lease_token\":null,\"lease_expires_at_ms\":0,\"request_id\":null,\"node_name\":null,\"fs_url\":null}", "the file is written at the start, so that one that cannot be written shows before it is needed"),
    ("control/cli-cases", "state file only node_id: state {\"schema\":1,\"node_id\":\"node-9\",\"node_secret\":null,\"lease_token\":null,\"lease_expires_at_ms\":0,\"request_id\":null,\"node_name\":null,\"fs_url\":null}", "{\"schema\":1,\"node_id\":null,\"node_secret\":null,\"lease_token\":null,\"lease_expires_at_ms\":0,\"request_id\":null,\"node_name\":null,\"fs_url\":null}", "half an identity is none"),
    ("control/cli-cases", "url http: runs", "url http: exit 1 InvalidUrl", "an address that can never be dialled ends the start"),
    ("control/cli-cases", "url http: state {\"schema\":1,\"node_id\":null,\"node_secret\":null,\"lease_token\":null,\"lease_expires_at_ms\":0,\"request_id\":null,\"node_name\":null,\"fs_url\":null}", "no file", "an address that can never be dialled ends the start"),
    ("control/cli-cases", "url bad port: runs", "url bad port: exit 1 InvalidUrl", "an address that can never be dialled ends the start"),
    ("control/cli-cases", "url bad port: state {\"schema\":1,\"node_id\":null,\"node_secret\":null,\"lease_token\":null,\"lease_expires_at_ms\":0,\"request_id\":null,\"node_name\":null,\"fs_url\":null}", "no file", "an address that can never be dialled ends the start"),
    ("control-head/cli-cases", "invite mode without token but paired state: state {\"schema\":1,\"node_id\":\"node-9\",\"node_secret\":\"secret-x\"}", "{\"schema\":1,\"node_id\":\"node-9\",\"node_secret\":\"secret-x\",\"lease_token\":null,\"lease_expires_at_ms\":0,\"request_id\":null,\"node_name\":null,\"fs_url\":null}", "the file is written at the start, so that one that cannot be written shows before it is needed"),
    ("control-head/cli-cases", "state file only node_id: state {\"schema\":1,\"node_id\":\"node-9\",\"node_secret\":null,\"lease_token\":null,\"lease_expires_at_ms\":0,\"request_id\":null,\"node_name\":null,\"fs_url\":null}", "{\"schema\":1,\"node_id\":null,\"node_secret\":null,\"lease_token\":null,\"lease_expires_at_ms\":0,\"request_id\":null,\"node_name\":null,\"fs_url\":null}", "half an identity is none"),
    ("control-head/cli-cases", "url http: runs", "url http: exit 1 InvalidUrl", "an address that can never be dialled ends the start"),
    ("control-head/cli-cases", "url http: state {\"schema\":1,\"node_id\":null,\"node_secret\":null,\"lease_token\":null,\"lease_expires_at_ms\":0,\"request_id\":null,\"node_name\":null,\"fs_url\":null}", "no file", "an address that can never be dialled ends the start"),
    ("control-head/cli-cases", "url bad port: runs", "url bad port: exit 1 InvalidUrl", "an address that can never be dialled ends the start"),
    ("control-head/cli-cases", "url bad port: state {\"schema\":1,\"node_id\":null,\"node_secret\":null,\"lease_token\":null,\"lease_expires_at_ms\":0,\"request_id\":null,\"node_name\":null,\"fs_url\":null}", "no file", "an address that can never be dialled ends the start"),
];

/// The listed differences, and which of them occurred.
#[derive(Debug, Default)]
pub(super) struct Expected {
    seen: Mutex<BTreeSet<usize>>,
}

impl Expected {
    /// What is left of `found` without the listed ones.
    pub(super) fn without(&self, scenario: &str, found: Vec<Difference>) -> Vec<Difference> {
        let mut seen = self.seen.lock().expect("no holder of the list panics");
        let mut left = BTreeSet::new();
        for difference in found {
            let listed = DIFFERENCES.iter().position(|(of, recorded, ours, _)| {
                is_for(of, scenario) && *recorded == difference.recorded && *ours == difference.ours
            });
            match listed {
                Some(at) => drop(seen.insert(at)),
                None => drop(left.insert(difference)),
            }
        }
        left.into_iter().collect()
    }

    /// The entries for `played` scenarios that did not occur.
    pub(super) fn gone(&self, played: &[&str]) -> Vec<String> {
        let seen = self.seen.lock().expect("no holder of the list panics");
        let gone = DIFFERENCES.iter().enumerate().filter(|(at, (of, ..))| {
            !seen.contains(at) && played.iter().any(|scenario| is_for(of, scenario))
        });
        gone.map(|(_, (of, recorded, ours, _))| format!("{of}: no longer {recorded:?} but {ours:?}"))
            .collect()
    }
}

/// What a sequence of this scenario is known to be here.
pub(super) fn known_sequence(scenario: &str, recorded: &str) -> Option<&'static str> {
    let mut entries = DIFFERENCES.iter();
    entries
        .find(|(of, listed, ..)| is_for(of, scenario) && *listed == recorded)
        .map(|(_, _, ours, _)| *ours)
}

fn is_for(of: &str, scenario: &str) -> bool {
    of.strip_suffix('*')
        .map_or(of == scenario, |start| scenario.starts_with(start))
}
