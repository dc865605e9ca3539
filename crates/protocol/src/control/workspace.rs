//! A workspace: a project resolved to what can be mounted at this moment.

use super::fields::{FieldFault, Fields};
use super::ids::ProjectId;
use super::project::{Mount, TEMPLATE};
use crate::canonical::{ObjectWriter, quoted};
use crate::secret::Secret;

/// How a mount stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MountState {
    /// Its node is there.
    Online,
    /// Its node is known, but not there.
    Degraded,
    /// Its node is not known any more.
    Missing,
}

impl MountState {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
        }
    }
}

/// A mount as a client sees it.
#[derive(Debug, Clone)]
pub struct MountView {
    /// What was asked for.
    pub mount: Mount,
    /// What people call the node; nothing if it is missing.
    pub node_name: Option<String>,
    /// Where to dial.
    pub fs_url: Option<String>,
    /// What to say there.
    pub fs_auth_token: Option<Secret>,
    /// How it stands.
    pub state: MountState,
}

fn or_null(text: Option<&str>) -> String {
    text.map_or_else(|| "null".to_owned(), quoted)
}

impl MountView {
    /// Reads the object.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        let text = |name: &str| fields.text(name).map(str::to_owned);
        let state = match fields.text("state") {
            Some("online") => MountState::Online,
            Some("missing") => MountState::Missing,
            _ => MountState::Degraded,
        };
        Ok(Self {
            mount: Mount::decode(fields)?,
            node_name: text("node_name"),
            fs_url: text("fs_url"),
            fs_auth_token: fields.optional_secret("fs_auth_token")?,
            state,
        })
    }

    /// The JSON object.
    pub fn encode(&self) -> String {
        ObjectWriter::new()
            .text("mount_path", self.mount.mount_path.as_str())
            .text("node_id", self.mount.node_id.as_str())
            .text("export_name", self.mount.export_name.as_str())
            .json("node_name", or_null(self.node_name.as_deref()))
            .json("fs_url", or_null(self.fs_url.as_deref()))
            .json(
                "fs_auth_token",
                or_null(self.fs_auth_token.as_ref().map(Secret::expose)),
            )
            .json("online", self.state == MountState::Online)
            .text("state", self.state.word())
            .finish()
    }
}

/// Reads what can be mounted off the answer to `workspace_status`.
pub fn read_mounts(fields: Fields<'_>) -> Result<Vec<MountView>, FieldFault> {
    let mounts = fields.array("mounts")?.unwrap_or_default();
    mounts
        .iter()
        .map(|mount| MountView::decode(Fields::of(Some(mount))?))
        .collect()
}

/// Where wish and reality differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// At which path.
    pub mount_path: String,
    /// `missing_node`, `node_offline`, `failover_active`, `export_missing`.
    pub kind: &'static str,
    /// `error` or `warning`.
    pub severity: &'static str,
    /// Whose export is used.
    pub selected_node_id: String,
    /// Whose export comes first.
    pub desired_node_id: String,
    /// In words.
    pub message: &'static str,
}

impl Drift {
    fn encode(&self) -> String {
        ObjectWriter::new()
            .text("mount_path", &self.mount_path)
            .text("kind", self.kind)
            .text("severity", self.severity)
            .text("selected_node_id", &self.selected_node_id)
            .text("desired_node_id", &self.desired_node_id)
            .text("message", self.message)
            .finish()
    }
}

/// How many of the selected mounts stand how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Availability {
    /// Nodes that are there.
    pub online: usize,
    /// Nodes that are known.
    pub degraded: usize,
    /// Nodes that are not.
    pub missing: usize,
}

impl Availability {
    /// Counts one mount.
    pub fn count(&mut self, state: MountState) {
        match state {
            MountState::Online => self.online += 1,
            MountState::Degraded => self.degraded += 1,
            MountState::Missing => self.missing += 1,
        }
    }

    /// All of them.
    pub const fn total(self) -> usize {
        self.online + self.degraded + self.missing
    }

    fn encode(self) -> String {
        ObjectWriter::new()
            .json("mounts_total", self.total())
            .json("online", self.online)
            .json("degraded", self.degraded)
            .json("missing", self.missing)
            .finish()
    }
}

/// The answer to `workspace_status`.
#[derive(Debug, Clone)]
pub struct WorkspaceStatus<'w> {
    /// The agent that stands for the connection.
    pub agent_id: &'w str,
    /// The project, if there is one.
    pub project_id: Option<ProjectId>,
    /// The words of the request: it said `workspace_id`.
    pub says_workspace: bool,
    /// What can be mounted: one entry for each path.
    pub mounts: Vec<MountView>,
    /// Everything that was asked for.
    pub desired_mounts: Vec<MountView>,
    /// Where they differ.
    pub drift: Vec<Drift>,
    /// In numbers.
    pub availability: Availability,
}

impl WorkspaceStatus<'_> {
    /// The payload.
    pub fn encode(&self) -> String {
        let id = or_null(self.project_id.as_ref().map(ProjectId::as_str));
        let mounts: Vec<String> = self.mounts.iter().map(MountView::encode).collect();
        let drift = ObjectWriter::new()
            .json("count", self.drift.len())
            .array("items", self.drift.iter().map(Drift::encode));
        let out = ObjectWriter::new().text("agent_id", self.agent_id);
        let out = if self.says_workspace {
            let out = out.json("workspace_id", id).text("template_id", TEMPLATE);
            out.json("workspace_root", or_null(self.project_id.as_ref().map(|_| "/")))
        } else {
            let root = self
                .project_id
                .as_ref()
                .map(|id| format!("/spiderweb/projects/{id}/workspace"));
            out.json("project_id", id)
                .json("workspace_root", or_null(root.as_deref()))
        };
        out.array("mounts", &mounts)
            .array(
                "desired_mounts",
                self.desired_mounts.iter().map(MountView::encode),
            )
            .array("actual_mounts", &mounts)
            .json("drift", drift.finish())
            .json("availability", self.availability.encode())
            .text("reconcile_state", "idle")
            .json("last_reconcile_ms", 0)
            .json("last_success_ms", 0)
            .json("last_error", "null")
            .json("queue_depth", 0)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{ExportName, MountPath, NodeId};

    const M: &str = r#"{"mount_path":"/src","node_id":"node-2","export_name":"work","node_name":"edge","fs_url":"ws://127.0.0.1:20311/v2/fs/node/node-2","fs_auth_token":"secret-02f6","online":true,"state":"online"}"#;

    #[test]
    fn a_status_is_shown_as_recorded() {
        let view = MountView {
            mount: Mount {
                mount_path: MountPath::new("/src").unwrap(),
                node_id: NodeId::new("node-2").unwrap(),
                export_name: ExportName::new("work").unwrap(),
            },
            node_name: Some("edge".to_owned()),
            fs_url: Some("ws://127.0.0.1:20311/v2/fs/node/node-2".to_owned()),
            fs_auth_token: Some(Secret::new("secret-02f6")),
            state: MountState::Online,
        };
        let mut availability = Availability::default();
        availability.count(MountState::Online);
        let id = ProjectId::new("proj-1").unwrap();
        let status = WorkspaceStatus {
            agent_id: "mother",
            project_id: Some(id),
            says_workspace: false,
            mounts: vec![view.clone()],
            desired_mounts: vec![view],
            drift: Vec::new(),
            availability,
        };
        let text = status.encode();
        let value = crate::strict::Value::parse(text.as_bytes()).unwrap();
        let read = read_mounts(Fields::of(Some(&value)).unwrap()).unwrap();
        assert_eq!(read.iter().map(MountView::encode).collect::<Vec<_>>(), [M]);
        assert_eq!(
            text,
            format!(
                r#"{{"agent_id":"mother","project_id":"proj-1","workspace_root":"/spiderweb/projects/proj-1/workspace","mounts":[{M}],"desired_mounts":[{M}],"actual_mounts":[{M}],"drift":{{"count":0,"items":[]}},"availability":{{"mounts_total":1,"online":1,"degraded":0,"missing":0}},"reconcile_state":"idle","last_reconcile_ms":0,"last_success_ms":0,"last_error":null,"queue_depth":0}}"#
            )
        );
    }
}
