//! Projects and their mounts.

use spiderweb_protocol::Secret;
use spiderweb_protocol::control::{
    Code, CreateProject, Mount, ProjectId, ProjectInfo, ProjectRef, ProjectUp, Refusal, RemoveMount,
    SetMount, UpdateProject,
};

use super::Registry;
use super::policy::{self, Action, Asker};
use super::record::Project;

/// Most projects at a time.
const MAX_PROJECTS: usize = 10_000;
/// Most mounts of a project.
const MAX_MOUNTS: usize = 4096;

impl Registry {
    /// Makes a project.
    pub fn create_project(&mut self, request: CreateProject, now_ms: u64) -> Result<ProjectId, Refusal> {
        if self.projects.len() >= MAX_PROJECTS {
            return Err(Refusal::saying(Code::TooMany, "too many projects"));
        }
        self.meta.projects += 1;
        let id = format!("proj-{}", self.meta.projects);
        let id = ProjectId::new(&id).map_err(|_| Refusal::new(Code::ControlPlaneError))?;
        let project = Project {
            id: id.clone(),
            name: request.name,
            vision: request.vision,
            status: request.status,
            access_policy: request.access_policy,
            token: None,
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
            mounts: Vec::new(),
        };
        self.save_meta()?;
        Self::save(&mut self.changes, format!("project/{id}"), &project)?;
        self.projects.insert(id.clone(), project);
        Ok(id)
    }

    /// A project, as it is shown.
    pub fn project(&self, id: &ProjectId) -> Result<ProjectInfo<'_>, Refusal> {
        self.projects.get(id).map(info).ok_or_else(|| not_found(id))
    }

    /// The same for somebody who may not be allowed to see it.
    pub fn project_for(&self, project: &ProjectRef, asker: Asker<'_>) -> Result<ProjectInfo<'_>, Refusal> {
        let known = self.projects.get(&project.project_id);
        let known = known.ok_or_else(|| not_found(&project.project_id))?;
        check_access(known, project.project_token.as_ref(), asker, Action::Read)?;
        Ok(info(known))
    }

    /// Projects the asker may know of: what a token would open is one of them.
    pub fn projects_for(&self, asker: Asker<'_>) -> impl Iterator<Item = ProjectInfo<'_>> {
        let projects = self.projects.values();
        let known = projects.filter(move |project| {
            check_access(project, project.token.as_ref(), asker, Action::Read).is_ok()
        });
        known.map(info)
    }

    /// All projects.
    pub fn projects(&self) -> impl Iterator<Item = ProjectInfo<'_>> {
        self.projects.values().map(info)
    }

    fn change_project(
        &mut self,
        id: &ProjectId,
        now_ms: u64,
        change: impl FnOnce(&mut Project) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let project = self.projects.get_mut(id).ok_or_else(|| not_found(id))?;
        change(project)?;
        project.updated_at_ms = now_ms;
        Self::save(&mut self.changes, format!("project/{id}"), project)
    }

    /// Changes what is said of a project.
    pub fn update_project(&mut self, request: UpdateProject, now_ms: u64) -> Result<(), Refusal> {
        self.change_project(&request.project.project_id, now_ms, |project| {
            let set = |field: &mut String, value: Option<String>| {
                if let Some(value) = value {
                    *field = value;
                }
            };
            set(&mut project.name, request.name);
            set(&mut project.vision, request.vision);
            set(&mut project.status, request.status);
            set(&mut project.access_policy, request.access_policy);
            Ok(())
        })
    }

    /// Removes a project.
    pub fn delete_project(&mut self, id: &ProjectId) -> Result<(), Refusal> {
        self.projects.remove(id).ok_or_else(|| not_found(id))?;
        self.selected.retain(|(project, _), _| project != id);
        self.forget(format!("project/{id}"));
        if self.meta.active_project.as_ref() == Some(id) {
            self.meta.active_project = None;
            self.save_meta()?;
        }
        Ok(())
    }

    /// Adds a mount. The same mount again changes nothing; another one at the same path stands in for the first.
    pub fn set_mount(&mut self, request: SetMount, now_ms: u64) -> Result<(), Refusal> {
        if !self.nodes.contains_key(&request.mount.node_id) {
            return Err(Code::NodeNotFound.into());
        }
        self.change_project(&request.project.project_id, now_ms, |project| {
            add_mount(&mut project.mounts, request.mount)
        })
    }

    /// Removes mounts.
    pub fn remove_mount(&mut self, request: &RemoveMount, now_ms: u64) -> Result<(), Refusal> {
        self.change_project(&request.project.project_id, now_ms, |project| {
            let before = project.mounts.len();
            project.mounts.retain(|mount| {
                let is_meant = request
                    .only
                    .as_ref()
                    .is_none_or(|(node, export)| *node == mount.node_id && *export == mount.export_name);
                mount.mount_path != request.mount_path || !is_meant
            });
            if project.mounts.len() == before {
                return Err(Code::MountNotFound.into());
            }
            Ok(())
        })
    }

    /// Gives a project a fresh token.
    pub fn rotate_project_token(&mut self, id: &ProjectId, now_ms: u64) -> Result<Secret, Refusal> {
        let token = self.random.secret("proj-")?;
        self.change_project(id, now_ms, |project| {
            project.token = Some(token.clone());
            Ok(())
        })?;
        Ok(token)
    }

    /// Takes a project's token away.
    pub fn revoke_project_token(&mut self, id: &ProjectId, now_ms: u64) -> Result<(), Refusal> {
        self.change_project(id, now_ms, |project| {
            project.token = None;
            Ok(())
        })
    }

    /// Makes a project the one that is meant when none is named.
    pub fn activate_project(&mut self, id: &ProjectId) -> Result<(), Refusal> {
        if !self.projects.contains_key(id) {
            return Err(not_found(id));
        }
        self.meta.active_project = Some(id.clone());
        self.save_meta()
    }

    /// Whether there is such a project.
    pub fn has_active_project(&self) -> bool {
        self.meta.active_project.is_some()
    }

    /// Makes or changes a project with all its mounts. Says whether it was made.
    pub fn bring_up(&mut self, request: ProjectUp, now_ms: u64) -> Result<(ProjectId, bool), Refusal> {
        // Everything is checked before anything is changed.
        let mut mounts = Vec::new();
        for mount in request.desired_mounts.iter().flatten() {
            if !self.nodes.contains_key(&mount.node_id) {
                return Err(Code::NodeNotFound.into());
            }
            add_mount(&mut mounts, mount.clone())?;
        }
        let (id, is_new) = match &request.project {
            Some(project) => {
                self.update_project(
                    UpdateProject {
                        project: project.clone(),
                        name: request.name,
                        vision: request.vision,
                        status: request.status,
                        access_policy: request.access_policy,
                    },
                    now_ms,
                )?;
                (project.project_id.clone(), false)
            }
            None => (self.create_project(request.creation()?, now_ms)?, true),
        };
        if request.desired_mounts.is_some() {
            self.change_project(&id, now_ms, |project| {
                project.mounts = mounts;
                Ok(())
            })?;
        }
        if request.activate {
            self.activate_project(&id)?;
        }
        Ok((id, is_new))
    }
}

fn add_mount(mounts: &mut Vec<Mount>, mount: Mount) -> Result<(), Refusal> {
    if mounts.contains(&mount) {
        return Ok(());
    }
    if mounts
        .iter()
        .any(|other| other.mount_path.conflicts_with(&mount.mount_path))
    {
        return Err(Code::MountConflict.into());
    }
    if mounts.len() >= MAX_MOUNTS {
        return Err(Refusal::saying(Code::TooMany, "too many mounts"));
    }
    mounts.push(mount);
    Ok(())
}

/// Whether somebody who says this token may do that.
pub(super) fn check_access(
    project: &Project,
    given: Option<&Secret>,
    asker: Asker<'_>,
    action: Action,
) -> Result<(), Refusal> {
    let has_token = match (&project.token, given) {
        (Some(token), Some(given)) => token.matches(given.expose()),
        _ => false,
    };
    policy::check(
        &project.access_policy,
        asker,
        action,
        project.token.is_some(),
        has_token,
    )
}

pub(super) fn not_found(id: &ProjectId) -> Refusal {
    // Recorded servers protect a built-in project of this name; here nobody has it.
    Refusal::new(if id.as_str() == "system" {
        Code::ProjectProtected
    } else {
        Code::ProjectNotFound
    })
}

fn info(project: &Project) -> ProjectInfo<'_> {
    ProjectInfo {
        project_id: &project.id,
        name: &project.name,
        vision: &project.vision,
        status: &project.status,
        token_locked: project.token.is_some(),
        created_at_ms: project.created_at_ms,
        updated_at_ms: project.updated_at_ms,
        access_policy: &project.access_policy,
        mounts: &project.mounts,
    }
}
