//! The registry against whatever order things happen in.

use std::collections::BTreeMap;

use proptest::prelude::*;
use spiderweb_hub::Random;
use spiderweb_hub::registry::{Registry, Terms};
use spiderweb_hub::store::Change;
use spiderweb_protocol::Secret;
use spiderweb_protocol::control::{
    ApproveJoin, Code, CreateInvite, CreateProject, Credentials, DeleteNode, DenyJoin, ExportName,
    JoinByInvite, Mount, MountPath, NodeName, ProjectRef, RefreshLease, Refusal, RequestId, RequestJoin,
    SetMount,
};

const DAY: u64 = 24 * 60 * 60 * 1000;

#[derive(Debug, Clone)]
enum Step {
    Invite,
    Join(usize),
    Ask,
    Approve(usize),
    Collect(usize),
    Deny(usize),
    Refresh(usize),
    Delete(usize),
    Mount(usize, usize),
    Pass(u64),
    Sweep,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = 0..4_usize;
    let step = prop_oneof![
        Just(Step::Invite),
        index.clone().prop_map(Step::Join),
        Just(Step::Ask),
        index.clone().prop_map(Step::Approve),
        index.clone().prop_map(Step::Collect),
        index.clone().prop_map(Step::Deny),
        index.clone().prop_map(Step::Refresh),
        index.clone().prop_map(Step::Delete),
        (index.clone(), index).prop_map(|(node, path)| Step::Mount(node, path)),
        prop_oneof![Just(1_000), Just(600_000), Just(90_000_000)].prop_map(Step::Pass),
        Just(Step::Sweep),
        Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..80)
}

/// A registry and the store it writes to.
struct World {
    registry: Registry,
    stored: BTreeMap<String, String>,
    now: u64,
}

impl World {
    fn restore(stored: BTreeMap<String, String>, random: Random, now: u64) -> Self {
        let records = stored.clone();
        let registry = Registry::restore(records, Terms::default(), random, now).unwrap();
        Self {
            registry,
            stored,
            now,
        }
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Registry, u64) -> Result<T, Refusal>) -> Result<T, Code> {
        let result = act(&mut self.registry, self.now);
        let changes = self.registry.take_changes();
        assert!(
            result.is_ok() || changes.is_empty(),
            "a refusal changed something"
        );
        for change in changes {
            match change {
                Change::Put { key, text } => self.stored.insert(key, text),
                Change::Remove { key } => self.stored.remove(&key),
            };
        }
        result.map_err(|refusal| refusal.code)
    }
}

fn refresh(known: &Credentials) -> RefreshLease {
    RefreshLease {
        node_id: known.node_id.clone(),
        node_secret: known.node_secret.clone(),
        fs_url: None,
        lease_ttl_ms: Some(900_000),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens: an invite pairs once, credentials that were given work until the node is deleted or long
    /// forgotten, ids are never used twice, and what is stored is all there is.
    #[test]
    fn what_was_acknowledged_stays_true(steps in steps()) {
        // The system's randomness, so that a restart does not repeat secrets.
        let mut world = World::restore(BTreeMap::new(), Random::system(), 1_000_000_000);
        let mut invites: Vec<(Secret, u64)> = Vec::new();
        let mut requests: Vec<RequestId> = Vec::new();
        // With the time until which each is known at least.
        let mut nodes: Vec<(Credentials, u64)> = Vec::new();
        let mut ids = Vec::new();
        world.act(|registry, now| registry.create_project(CreateProject {
            name: "p".to_owned(), vision: String::new(), status: "active".to_owned(), access_policy: "{}".to_owned(),
        }, now)).unwrap();
        let project = ProjectRef {
            project_id: spiderweb_protocol::control::ProjectId::new("proj-1").unwrap(),
            project_token: None,
        };
        for step in steps {
            let now = world.now;
            match step {
                Step::Invite => {
                    let made = world.act(|registry, now| registry.create_invite(&CreateInvite::default(), now)).unwrap();
                    invites.push((made.invite_token, made.expires_at_ms));
                }
                Step::Join(index) if index < invites.len() => {
                    let (token, ends) = invites[index].clone();
                    let join = JoinByInvite {
                        invite_token: token, node_name: None, fs_url: None, lease_ttl_ms: None,
                    };
                    match world.act(|registry, now| registry.join(&join, now)) {
                        Ok(given) => {
                            prop_assert!(now < ends, "an expired invite paired a node");
                            prop_assert!(!ids.contains(&given.node_id), "an id was given twice");
                            ids.push(given.node_id.clone());
                            nodes.push((given, now + 900_000 + 7 * DAY));
                            // Used up: every further use is refused.
                            invites.remove(index);
                            let again = world.act(|registry, now| registry.join(&join, now)).unwrap_err();
                            prop_assert_eq!(again, Code::InviteRedeemed);
                        }
                        Err(code) => prop_assert!(
                            now >= ends && matches!(code, Code::InviteExpired | Code::InviteNotFound), "{:?}", code
                        ),
                    }
                }
                Step::Ask => {
                    let ask = RequestJoin {
                        node_name: Some(NodeName::new("edge").unwrap()), fs_url: None, platform: None,
                    };
                    if let Ok(filed) = world.act(|registry, now| registry.request_join(ask, "bearer", None, now)) {
                        requests.push(filed.request_id);
                    }
                }
                Step::Approve(index) if index < requests.len() => {
                    let approve = ApproveJoin { request_id: requests[index].clone(), lease_ttl_ms: None };
                    if let Ok(given) = world.act(|registry, now| registry.approve_join(&approve, now))
                        && !ids.contains(&given.node_id)
                    {
                        ids.push(given.node_id.clone());
                        // Until it shows that it has its credentials.
                        nodes.push((given, now + DAY));
                    }
                }
                Step::Collect(index) if index < requests.len() => {
                    let id = requests[index].clone();
                    let thief = world.act(|registry, now| registry.collect_join(&id, "other", now)).unwrap_err();
                    prop_assert_eq!(thief, Code::PendingJoinNotFound);
                    if let Ok(given) = world.act(|registry, now| registry.collect_join(&id, "bearer", now)) {
                        prop_assert!(ids.contains(&given.node_id), "credentials nobody approved");
                    }
                }
                Step::Deny(index) if index < requests.len() => {
                    let deny = DenyJoin { request_id: requests[index].clone() };
                    let _ = world.act(|registry, now| registry.deny_join(&deny, now));
                }
                Step::Refresh(index) if index < nodes.len() => {
                    let request = refresh(&nodes[index].0);
                    let refreshed = world.act(|registry, now| registry.refresh_lease(&request, now));
                    let forgotten = now >= nodes[index].1;
                    prop_assert!(refreshed.is_ok() || forgotten, "{:?}", refreshed.err());
                    if refreshed.is_ok() {
                        nodes[index].1 = now + 900_000 + 7 * DAY;
                    }
                    let forged = RefreshLease { node_secret: Secret::new("guess"), ..request };
                    let code = world.act(|registry, now| registry.refresh_lease(&forged, now)).unwrap_err();
                    prop_assert!(matches!(code, Code::NodeAuthFailed | Code::NodeNotFound));
                }
                Step::Delete(index) if index < nodes.len() => {
                    let (known, _) = nodes.remove(index);
                    let delete = DeleteNode { node_id: known.node_id.clone(), node_secret: None };
                    let _ = world.act(|registry, _| registry.delete_node(&delete));
                    let code = world.act(|registry, now| registry.refresh_lease(&refresh(&known), now)).unwrap_err();
                    prop_assert_eq!(code, Code::NodeNotFound);
                }
                Step::Mount(index, path) if index < nodes.len() => {
                    let mount = Mount {
                        mount_path: MountPath::new(["/a", "/a/b", "/c", "/"][path]).unwrap(),
                        node_id: nodes[index].0.node_id.clone(),
                        export_name: ExportName::new("work").unwrap(),
                    };
                    let set = SetMount { project: project.clone(), mount };
                    let _ = world.act(|registry, now| registry.set_mount(set, now));
                    let shown = world.registry.project(&project.project_id).unwrap();
                    for a in shown.mounts {
                        prop_assert!(shown.mounts.iter().all(|b| !a.mount_path.conflicts_with(&b.mount_path)));
                    }
                }
                Step::Pass(ms) => world.now += ms,
                Step::Sweep => {
                    world.act(|registry, now| registry.sweep(|_| false, now)).unwrap();
                }
                Step::Restart => {
                    let before = world.registry.nodes();
                    let pending = world.registry.pending_joins();
                    world = World::restore(world.stored, Random::system(), world.now);
                    let after = world.registry.nodes();
                    let known = |nodes: &[spiderweb_protocol::control::NodeInfo]| {
                        nodes.iter().map(|node| (node.node_id.clone(), node.joined_at_ms)).collect::<Vec<_>>()
                    };
                    prop_assert_eq!(known(&before), known(&after));
                    prop_assert_eq!(pending, world.registry.pending_joins());
                }
                _ => {}
            }
        }
    }
}
