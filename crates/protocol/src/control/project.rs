//! Projects: named sets of mounts. The newer generation calls them workspaces.

use super::fields::{FieldFault, Fields};
use super::ids::{ExportName, MountPath, NodeId, ProjectId};
use super::refusal::{Code, Refusal};
use crate::canonical::{self, ObjectWriter};
use crate::dialect::Dialect;
use crate::name::{InvalidIdentifier, is_identifier};
use crate::secret::Secret;

/// Most bytes of a project's name.
const MAX_NAME: usize = 128;
/// Most bytes of a project's vision.
const MAX_VISION: usize = 1024;
/// Most bytes of a project's status.
const MAX_STATUS: usize = 64;
/// Most bytes of an access policy.
const MAX_POLICY: usize = 64 * 1024;

/// The policy of a project that has none.
const OPEN_POLICY: &str = r#"{"actions":{},"agents":{}}"#;

/// The template of every workspace.
pub(super) const TEMPLATE: &str = "minimum";

const fn id_member(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Seed => "project_id",
        Dialect::Head => "workspace_id",
    }
}

const fn token_member(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Seed => "project_token",
        Dialect::Head => "workspace_token",
    }
}

fn name(fields: Fields<'_>) -> Result<Option<String>, FieldFault> {
    fields.optional("name", |name| {
        let is_valid = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte >= 0x20);
        is_valid.then(|| name.to_owned()).ok_or(FieldFault::Invalid)
    })
}

fn vision(fields: Fields<'_>) -> Result<Option<String>, FieldFault> {
    fields.optional("vision", |vision| {
        (vision.len() <= MAX_VISION)
            .then(|| vision.to_owned())
            .ok_or(FieldFault::Invalid)
    })
}

fn status(fields: Fields<'_>) -> Result<Option<String>, FieldFault> {
    fields.optional("status", |status| {
        let is_valid = is_identifier(status) && status.len() <= MAX_STATUS;
        is_valid.then(|| status.to_owned()).ok_or(InvalidIdentifier)
    })
}

fn policy(fields: Fields<'_>) -> Result<Option<String>, FieldFault> {
    let Some(policy) = fields.object("access_policy")? else {
        return Ok(None);
    };
    let text = canonical::render(policy.source.as_bytes()).map_err(|_| FieldFault::Invalid)?;
    if text.len() > MAX_POLICY {
        Err(FieldFault::Invalid)
    } else {
        Ok(Some(text))
    }
}

fn project_id(fields: Fields<'_>) -> Result<Option<ProjectId>, FieldFault> {
    fields
        .either("project_id", "workspace_id")
        .map(ProjectId::new)
        .transpose()
        .map_err(|_| FieldFault::Invalid)
}

fn project_token(fields: Fields<'_>) -> Result<Option<Secret>, FieldFault> {
    match fields.optional_secret("project_token")? {
        Some(token) => Ok(Some(token)),
        None => fields.optional_secret("workspace_token"),
    }
}

/// The payload of operations about one project.
#[derive(Debug, Clone)]
pub struct ProjectRef {
    /// Which one.
    pub project_id: ProjectId,
    /// Its token, if it is locked.
    pub project_token: Option<Secret>,
}

impl ProjectRef {
    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Self::optional(fields)?.ok_or(FieldFault::Missing)
    }

    /// The same where no project may be named.
    pub fn optional(fields: Fields<'_>) -> Result<Option<Self>, FieldFault> {
        let Some(project_id) = project_id(fields)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            project_id,
            project_token: project_token(fields)?,
        }))
    }

    /// The payload.
    pub fn encode(&self, dialect: Dialect) -> String {
        self.begin(dialect).finish()
    }

    fn begin(&self, dialect: Dialect) -> ObjectWriter {
        let payload = ObjectWriter::new().text(id_member(dialect), self.project_id.as_str());
        match &self.project_token {
            Some(token) => payload.text(token_member(dialect), token.expose()),
            None => payload,
        }
    }
}

/// `project_create`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateProject {
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub vision: String,
    /// `active` unless it says otherwise.
    pub status: String,
    /// Who may do what, as JSON; stored and shown.
    pub access_policy: String,
}

impl CreateProject {
    /// Reads the payload. The newer generation insists on a vision and knows templates, of which there is one here.
    pub fn decode(fields: Fields<'_>, dialect: Dialect) -> Result<Self, Refusal> {
        let vision = match (vision(fields)?, dialect) {
            (Some(vision), _) => vision,
            (None, Dialect::Seed) => String::new(),
            (None, Dialect::Head) => return Err(FieldFault::Missing.into()),
        };
        let request = Self {
            name: name(fields)?.ok_or(FieldFault::Missing)?,
            vision,
            status: status(fields)?.unwrap_or_else(|| "active".to_owned()),
            access_policy: policy(fields)?.unwrap_or_else(|| OPEN_POLICY.to_owned()),
        };
        match (fields.text("template_id"), dialect) {
            (None | Some(TEMPLATE), _) | (_, Dialect::Seed) => Ok(request),
            (Some(_), Dialect::Head) => Err(Code::TemplateNotFound.into()),
        }
    }

    /// The payload.
    pub fn encode(&self) -> String {
        ObjectWriter::new()
            .text("name", &self.name)
            .text("vision", &self.vision)
            .text("status", &self.status)
            .json("access_policy", &self.access_policy)
            .finish()
    }
}

/// `project_update`: what is absent stays.
#[derive(Debug, Clone)]
pub struct UpdateProject {
    /// Which one.
    pub project: ProjectRef,
    /// Another name.
    pub name: Option<String>,
    /// Another vision.
    pub vision: Option<String>,
    /// Another status.
    pub status: Option<String>,
    /// Another policy.
    pub access_policy: Option<String>,
}

impl UpdateProject {
    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Ok(Self {
            project: ProjectRef::decode(fields)?,
            name: name(fields)?,
            vision: vision(fields)?,
            status: status(fields)?,
            access_policy: policy(fields)?,
        })
    }
}

/// A mount: an export of a node at a path.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mount {
    /// Where.
    pub mount_path: MountPath,
    /// Whose.
    pub node_id: NodeId,
    /// What.
    pub export_name: ExportName,
}

impl Mount {
    /// Reads the members of a mount.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Ok(Self {
            node_id: fields.checked("node_id", NodeId::new)?,
            export_name: fields.checked("export_name", ExportName::new)?,
            mount_path: fields.checked("mount_path", |path| MountPath::new(path).ok_or(()))?,
        })
    }

    /// The JSON object.
    pub fn encode(&self) -> String {
        ObjectWriter::new()
            .text("mount_path", self.mount_path.as_str())
            .text("node_id", self.node_id.as_str())
            .text("export_name", self.export_name.as_str())
            .finish()
    }
}

/// `project_mount_set`.
#[derive(Debug, Clone)]
pub struct SetMount {
    /// Which project.
    pub project: ProjectRef,
    /// The mount.
    pub mount: Mount,
}

impl SetMount {
    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Ok(Self {
            project: ProjectRef::decode(fields)?,
            mount: Mount::decode(fields)?,
        })
    }

    /// The payload.
    pub fn encode(&self, dialect: Dialect) -> String {
        self.project
            .begin(dialect)
            .text("node_id", self.mount.node_id.as_str())
            .text("export_name", self.mount.export_name.as_str())
            .text("mount_path", self.mount.mount_path.as_str())
            .finish()
    }
}

/// `project_mount_remove`.
#[derive(Debug, Clone)]
pub struct RemoveMount {
    /// Which project.
    pub project: ProjectRef,
    /// Where.
    pub mount_path: MountPath,
    /// Only this one; everything at the path otherwise.
    pub only: Option<(NodeId, ExportName)>,
}

impl RemoveMount {
    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        let node = fields.optional("node_id", NodeId::new)?;
        let export = fields.optional("export_name", ExportName::new)?;
        let only = match (node, export) {
            (None, None) => None,
            (Some(node), Some(export)) => Some((node, export)),
            _ => return Err(FieldFault::Missing),
        };
        Ok(Self {
            project: ProjectRef::decode(fields)?,
            mount_path: fields.checked("mount_path", |path| MountPath::new(path).ok_or(()))?,
            only,
        })
    }

    /// The payload.
    pub fn encode(&self, dialect: Dialect) -> String {
        let payload = self
            .project
            .begin(dialect)
            .text("mount_path", self.mount_path.as_str());
        match &self.only {
            Some((node, export)) => payload
                .text("node_id", node.as_str())
                .text("export_name", export.as_str()),
            None => payload,
        }
        .finish()
    }
}

/// `project_up`: a project with all its mounts in one go.
#[derive(Debug, Clone)]
pub struct ProjectUp {
    /// An existing project; a new one otherwise.
    pub project: Option<ProjectRef>,
    /// Its name; a new one needs one.
    pub name: Option<String>,
    /// Its vision.
    pub vision: Option<String>,
    /// Its status.
    pub status: Option<String>,
    /// Its policy.
    pub access_policy: Option<String>,
    /// All its mounts; absent leaves them.
    pub desired_mounts: Option<Vec<Mount>>,
    /// Whether it becomes the default.
    pub activate: bool,
}

impl ProjectUp {
    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        let mounts = fields.array("desired_mounts")?;
        let mount = |value| Mount::decode(Fields::of(Some(value))?);
        Ok(Self {
            project: ProjectRef::optional(fields)?,
            name: name(fields)?,
            vision: vision(fields)?,
            status: status(fields)?,
            access_policy: policy(fields)?,
            desired_mounts: mounts.map(|list| list.iter().map(mount).collect()).transpose()?,
            activate: fields.flag("activate")?.unwrap_or(true),
        })
    }

    /// The payload of a new project, if this can make one.
    pub fn creation(&self) -> Result<CreateProject, FieldFault> {
        Ok(CreateProject {
            name: self.name.clone().ok_or(FieldFault::Missing)?,
            vision: self.vision.clone().unwrap_or_default(),
            status: self.status.clone().unwrap_or_else(|| "active".to_owned()),
            access_policy: self
                .access_policy
                .clone()
                .unwrap_or_else(|| OPEN_POLICY.to_owned()),
        })
    }
}

/// A project as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectInfo<'p> {
    /// Names it.
    pub project_id: &'p ProjectId,
    /// What people call it.
    pub name: &'p str,
    /// What it is for.
    pub vision: &'p str,
    /// Its status.
    pub status: &'p str,
    /// Whether it has a token.
    pub token_locked: bool,
    /// When it was made.
    pub created_at_ms: u64,
    /// When it was changed last.
    pub updated_at_ms: u64,
    /// Who may do what, as JSON.
    pub access_policy: &'p str,
    /// Its mounts.
    pub mounts: &'p [Mount],
}

impl ProjectInfo<'_> {
    /// The JSON object.
    pub fn encode(&self, dialect: Dialect) -> String {
        let mut out = ObjectWriter::new()
            .text(id_member(dialect), self.project_id.as_str())
            .text("name", self.name)
            .text("vision", self.vision)
            .text("status", self.status);
        if dialect == Dialect::Head {
            out = out.text("template_id", TEMPLATE);
        }
        out = out
            .text("kind", "normal")
            .json("is_delete_protected", false)
            .json("token_locked", self.token_locked)
            .json("created_at_ms", self.created_at_ms)
            .json("updated_at_ms", self.updated_at_ms)
            .json("access_policy", self.access_policy)
            .array("mounts", self.mounts.iter().map(Mount::encode));
        if dialect == Dialect::Head {
            out = out.json("binds", "[]");
        }
        out.finish()
    }

    /// The shorter object of lists.
    fn summary(&self, dialect: Dialect) -> String {
        ObjectWriter::new()
            .text(id_member(dialect), self.project_id.as_str())
            .text("name", self.name)
            .text("status", self.status)
            .text("kind", "normal")
            .json("is_delete_protected", false)
            .json("mount_count", self.mounts.len())
            .finish()
    }

    /// The answer to `project_mount_list`.
    pub fn mounts_payload(&self, dialect: Dialect) -> String {
        ObjectWriter::new()
            .text(id_member(dialect), self.project_id.as_str())
            .array("mounts", self.mounts.iter().map(Mount::encode))
            .finish()
    }
}

/// The answer to `project_list`.
pub fn projects_payload<'p>(projects: impl IntoIterator<Item = ProjectInfo<'p>>, dialect: Dialect) -> String {
    let list = match dialect {
        Dialect::Seed => "projects",
        Dialect::Head => "workspaces",
    };
    let projects = projects.into_iter().map(|project| project.summary(dialect));
    ObjectWriter::new().array(list, projects).finish()
}

/// A project in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectSummary {
    /// Names it.
    pub project_id: ProjectId,
    /// What people call it.
    pub name: String,
    /// Its status.
    pub status: String,
    /// How many mounts it has.
    pub mount_count: u64,
}

impl ProjectSummary {
    fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Ok(Self {
            project_id: project_id(fields)?.ok_or(FieldFault::Missing)?,
            name: fields.text("name").unwrap_or_default().to_owned(),
            status: fields.text("status").unwrap_or_default().to_owned(),
            mount_count: fields.unsigned("mount_count")?.unwrap_or_default(),
        })
    }
}

/// Reads the answer to `project_list`, in either generation's words.
pub fn read_projects(fields: Fields<'_>) -> Result<Vec<ProjectSummary>, FieldFault> {
    let projects = match fields.array("projects")? {
        Some(projects) => projects,
        None => fields.array("workspaces")?.ok_or(FieldFault::Missing)?,
    };
    projects
        .iter()
        .map(|value| ProjectSummary::decode(Fields::of(Some(value))?))
        .collect()
}

/// The answer to `project_delete`.
pub fn project_deleted(project_id: &ProjectId, dialect: Dialect) -> String {
    ObjectWriter::new()
        .json("deleted", true)
        .text(id_member(dialect), project_id.as_str())
        .finish()
}

/// The answer to `project_token_rotate`, or without a token to `project_token_revoke`.
pub fn token_payload(
    project_id: &ProjectId,
    token: Option<&Secret>,
    updated_at_ms: u64,
    dialect: Dialect,
) -> String {
    let member = token_member(dialect);
    let out = ObjectWriter::new().text(id_member(dialect), project_id.as_str());
    match token {
        Some(token) => out.text(member, token.expose()).json("rotated", true),
        None => out.json(member, "null").json("revoked", true),
    }
    .json("updated_at_ms", updated_at_ms)
    .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strict::Value;

    fn decode<T, E>(text: &str, decode: impl FnOnce(Fields<'_>) -> Result<T, E>) -> Result<T, E> {
        let value = Value::parse(text.as_bytes()).unwrap();
        decode(Fields::of(Some(&value)).unwrap())
    }

    fn create(fields: Fields<'_>) -> Result<CreateProject, Refusal> {
        CreateProject::decode(fields, Dialect::Seed)
    }

    #[test]
    fn a_project_is_shown_as_recorded() {
        let created = decode(r#"{"name":"demo","vision":"first"}"#, create).unwrap();
        let id = ProjectId::new("proj-1").unwrap();
        let set = r#"{"project_id":"proj-1","node_id":"node-2","export_name":"work","mount_path":"src/"}"#;
        let mounts = [decode(set, SetMount::decode).unwrap().mount];
        let project = ProjectInfo {
            project_id: &id,
            name: &created.name,
            vision: &created.vision,
            status: &created.status,
            token_locked: false,
            created_at_ms: 1_795_405_380_858,
            updated_at_ms: 1_795_405_380_910,
            access_policy: &created.access_policy,
            mounts: &mounts,
        };
        assert_eq!(
            project.encode(Dialect::Seed),
            r#"{"project_id":"proj-1","name":"demo","vision":"first","status":"active","kind":"normal","is_delete_protected":false,"token_locked":false,"created_at_ms":1795405380858,"updated_at_ms":1795405380910,"access_policy":{"actions":{},"agents":{}},"mounts":[{"mount_path":"/src","node_id":"node-2","export_name":"work"}]}"#
        );
        assert!(project.encode(Dialect::Head).starts_with(
            r#"{"workspace_id":"proj-1","name":"demo","vision":"first","status":"active","template_id":"minimum","kind":"normal""#
        ));
        assert_eq!(
            projects_payload([project.clone()], Dialect::Head),
            r#"{"workspaces":[{"workspace_id":"proj-1","name":"demo","status":"active","kind":"normal","is_delete_protected":false,"mount_count":1}]}"#
        );
        assert_eq!(
            token_payload(&id, None, 5, Dialect::Seed),
            r#"{"project_id":"proj-1","project_token":null,"revoked":true,"updated_at_ms":5}"#
        );
    }

    #[test]
    fn requests_say_the_same_in_both_generations() {
        let set = r#"{"project_id":"proj-1","project_token":"t","node_id":"node-2","export_name":"work","mount_path":"/src"}"#;
        let read = decode(set, SetMount::decode).unwrap();
        assert_eq!(read.encode(Dialect::Seed), set);
        let head = read.encode(Dialect::Head);
        assert_eq!(
            decode(&head, SetMount::decode).unwrap().encode(Dialect::Seed),
            set
        );
        let remove = r#"{"project_id":"proj-1","mount_path":"/src","node_id":"node-2","export_name":"work"}"#;
        assert_eq!(
            decode(remove, RemoveMount::decode).unwrap().encode(Dialect::Seed),
            remove
        );
        let made = r#"{"name":"n","vision":"","status":"active","access_policy":{"actions":{},"agents":{}}}"#;
        assert_eq!(decode(made, create).unwrap().encode(), made);
        let id = r#"{"workspace_id":"proj-1"}"#;
        assert_eq!(decode(id, ProjectRef::decode).unwrap().encode(Dialect::Head), id);
    }

    #[test]
    fn half_a_mount_is_none() {
        for (text, fault) in [
            (
                r#"{"project_id":"p","mount_path":"/src","node_id":"n"}"#,
                FieldFault::Missing,
            ),
            (r#"{"project_id":"p"}"#, FieldFault::Missing),
            (r#"{"project_id":"p","mount_path":" "}"#, FieldFault::Invalid),
        ] {
            assert_eq!(decode(text, RemoveMount::decode).unwrap_err(), fault, "{text}");
        }
        assert_eq!(decode("{}", create).unwrap_err().code, Code::MissingField);
        assert!(decode(r#"{"workspace_id":"p"}"#, ProjectRef::decode).is_ok());
        assert_eq!(
            decode(r#"{"name":""}"#, create).unwrap_err().code,
            Code::InvalidPayload
        );
    }
}
