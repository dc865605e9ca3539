//! Projects resolved to what can be mounted now.

use spiderweb_protocol::control::{
    Availability, Drift, Mount, MountPath, MountState, MountView, NodeId, ProjectRef, Refusal,
    WorkspaceStatus,
};

use super::Registry;
use super::policy::{Action, Asker};
use super::projects::{check_access, not_found};
use super::record::{Node, Project};

/// Who looks at a workspace.
#[derive(Debug, Clone, Copy)]
pub struct Viewer<'v> {
    /// The agent that stands for the connection.
    pub agent_id: &'v str,
    /// It holds the admin token.
    pub is_admin: bool,
    /// What it calls this hub: a host and a port.
    pub host: Option<&'v str>,
    /// It said `workspace_id`.
    pub says_workspace: bool,
}

/// A mount and what is known of its node.
struct Candidate<'r> {
    mount: &'r Mount,
    node: Option<&'r Node>,
    state: MountState,
    is_expired: bool,
}

impl Registry {
    /// Resolves a project; without one, the active project.
    ///
    /// A node is online while its lease runs and its tunnel stands. Of several nodes at one path the one that was
    /// chosen stays chosen until it is not online and another is.
    pub fn workspace<'v>(
        &mut self,
        project: Option<&ProjectRef>,
        viewer: Viewer<'v>,
        is_connected: impl Fn(&NodeId) -> bool,
        now_ms: u64,
    ) -> Result<WorkspaceStatus<'v>, Refusal> {
        let mut status = WorkspaceStatus {
            agent_id: viewer.agent_id,
            project_id: None,
            says_workspace: viewer.says_workspace,
            mounts: Vec::new(),
            desired_mounts: Vec::new(),
            drift: Vec::new(),
            availability: Availability::default(),
        };
        let id = match (project, &self.meta.active_project) {
            (Some(project), _) => project.project_id.clone(),
            (None, Some(active)) => active.clone(),
            (None, None) => return Ok(status),
        };
        let known = self.projects.get(&id).ok_or_else(|| not_found(&id))?;
        let asker = Asker {
            agent_id: viewer.agent_id,
            is_admin: viewer.is_admin,
        };
        let token = project.and_then(|project| project.project_token.as_ref());
        check_access(known, token, asker, Action::Mount)?;
        let candidates: Vec<_> = known
            .mounts
            .iter()
            .map(|mount| self.candidate(mount, &is_connected, now_ms))
            .collect();
        let view = |candidate: &Candidate<'_>| self.view(candidate, known, viewer, now_ms);
        status.desired_mounts = candidates.iter().map(view).collect();

        let mut chosen = Vec::new();
        for path in paths(&candidates) {
            let group = || {
                candidates
                    .iter()
                    .filter(|candidate| candidate.mount.mount_path == *path)
            };
            let sticky = self.selected.get(&(id.clone(), path.clone()));
            let best = group().min_by_key(|candidate| {
                let is_other = sticky.is_some_and(|node| *node != candidate.mount.node_id);
                (candidate.state, is_other)
            });
            let (Some(best), Some(first)) = (best, group().next()) else {
                continue;
            };
            status.availability.count(best.state);
            status.drift.extend(drift(best, first));
            // The files of a node that is expired or not known are nowhere; one whose tunnel is down may be back in a
            // moment.
            if best.node.is_some() && !best.is_expired {
                status.mounts.push(view(best));
            }
            chosen.push((path.clone(), best.mount.node_id.clone()));
        }
        for (path, node) in chosen {
            self.selected.insert((id.clone(), path), node);
        }
        status.project_id = Some(id);
        Ok(status)
    }

    fn candidate<'r>(
        &'r self,
        mount: &'r Mount,
        is_connected: &impl Fn(&NodeId) -> bool,
        now_ms: u64,
    ) -> Candidate<'r> {
        let node = self.nodes.get(&mount.node_id);
        let is_connected = is_connected(&mount.node_id);
        let has_lease = self.has_lease(&mount.node_id, is_connected, now_ms);
        let state = match node {
            None => MountState::Missing,
            Some(node) if has_lease && (is_direct(node) || is_connected) => MountState::Online,
            Some(_) => MountState::Degraded,
        };
        Candidate {
            mount,
            node,
            state,
            is_expired: node.is_some() && !has_lease,
        }
    }

    fn view(
        &self,
        candidate: &Candidate<'_>,
        project: &Project,
        viewer: Viewer<'_>,
        now_ms: u64,
    ) -> MountView {
        let node = candidate.node;
        let fs_url = node.map(|node| match viewer.host {
            // What the node calls this hub may lead nowhere for others.
            Some(host) if !is_direct(node) => format!("ws://{host}/v2/fs/node/{}", node.id),
            _ => node.fs_url.clone(),
        });
        let token = node.and_then(|node| {
            if is_direct(node) {
                // Nobody but the node itself checks what is said to it directly.
                viewer.is_admin.then(|| node.secret.clone())
            } else {
                self.ticket(&node.id, project, viewer.is_admin, now_ms)
            }
        });
        MountView {
            mount: candidate.mount.clone(),
            node_name: node.map(|node| node.name.clone()),
            fs_url,
            fs_auth_token: token,
            state: candidate.state,
        }
    }
}

/// Whether clients reach a node without this hub: it has an address of its own.
fn is_direct(node: &Node) -> bool {
    !node.fs_url.is_empty() && !node.fs_url.contains("/v2/fs/node/")
}

/// Every path once, in the order of the mounts.
fn paths<'r>(candidates: &[Candidate<'r>]) -> Vec<&'r MountPath> {
    let mut paths = Vec::new();
    for candidate in candidates {
        if !paths.contains(&&candidate.mount.mount_path) {
            paths.push(&candidate.mount.mount_path);
        }
    }
    paths
}

fn drift(best: &Candidate<'_>, first: &Candidate<'_>) -> Option<Drift> {
    let (kind, severity, message) = match best.state {
        MountState::Missing => ("missing_node", "error", "selected node is missing"),
        MountState::Degraded if best.is_expired => {
            ("node_offline", "error", "selected node lease is expired")
        }
        MountState::Degraded => ("node_offline", "error", "selected node has no tunnel"),
        MountState::Online if best.mount.node_id != first.mount.node_id => {
            ("failover_active", "warning", "using healthy failover node")
        }
        MountState::Online if !has_export(best) => (
            "export_missing",
            "warning",
            "selected node does not offer this export",
        ),
        MountState::Online => return None,
    };
    Some(Drift {
        mount_path: best.mount.mount_path.to_string(),
        kind,
        severity,
        selected_node_id: best.mount.node_id.to_string(),
        desired_node_id: first.mount.node_id.to_string(),
        message,
    })
}

/// Whether the catalog offers the export. Folders have one entry together, so only services are told apart.
fn has_export(candidate: &Candidate<'_>) -> bool {
    let export = candidate.mount.export_name.as_str();
    let Some(service) = export.strip_prefix("svc-") else {
        return true;
    };
    let entries = candidate
        .node
        .map(|node| node.entries.as_slice())
        .unwrap_or_default();
    entries.is_empty() || entries.iter().any(|entry| entry.id() == service)
}
