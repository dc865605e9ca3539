//! Projects, mounts, and workspaces.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use spiderweb_protocol::Dialect;
use spiderweb_protocol::canonical::ObjectWriter;
use spiderweb_protocol::control::{
    CreateProject, Fields, Operation, ProjectId, ProjectRef, ProjectUp, Refusal, RemoveMount, SetMount,
    UpdateProject, project_deleted, projects_payload, token_payload,
};

use super::Call;
use crate::metrics::count;
use crate::registry::{Asker, Viewer};
use crate::tokens::Principal;

pub(super) async fn run(call: &Call<'_>, fields: Fields<'_>) -> Result<String, Refusal> {
    let answer = match call.operation {
        Operation::ProjectList | Operation::ProjectGet | Operation::MountList => {
            return show(call, fields).await;
        }
        Operation::WorkspaceStatus => return status(call, fields).await,
        _ => change(call, fields).await?,
    };
    count_change(call);
    let reason = format!("control.{}", call.operation.wire(call.dialect()));
    call.shared.topology_changed(&reason);
    Ok(answer)
}

/// `project_up`, which may be several, has counted itself.
fn count_change(call: &Call<'_>) {
    let counters = &call.shared.counters.projects;
    count(match call.operation {
        Operation::ProjectCreate => &counters.creates,
        Operation::ProjectUpdate => &counters.updates,
        Operation::ProjectDelete => &counters.deletes,
        Operation::MountSet => &counters.mount_sets,
        Operation::MountRemove => &counters.mount_removes,
        Operation::TokenRotate => &counters.token_rotates,
        Operation::TokenRevoke => &counters.token_revokes,
        Operation::ProjectActivate => &counters.activations,
        _ => return,
    });
}

async fn show(call: &Call<'_>, fields: Fields<'_>) -> Result<String, Refusal> {
    let dialect = call.dialect();
    let asker = Asker {
        agent_id: call.who.agent(),
        is_admin: call.who == Principal::Admin,
    };
    if call.operation == Operation::ProjectList {
        let shown = call
            .shared
            .registry(move |registry, _| Ok(projects_payload(registry.projects_for(asker), dialect)));
        return shown.await;
    }
    let project = ProjectRef::decode(fields)?;
    let mounts_only = call.operation == Operation::MountList;
    let shown = call.shared.registry(move |registry, _| {
        let project = registry.project_for(&project, asker)?;
        Ok(if mounts_only {
            project.mounts_payload(dialect)
        } else {
            project.encode(dialect)
        })
    });
    shown.await
}

/// How a project is shown after a change.
fn shown(registry: &crate::registry::Registry, id: &ProjectId, dialect: Dialect) -> Result<String, Refusal> {
    Ok(registry.project(id)?.encode(dialect))
}

async fn change(call: &Call<'_>, fields: Fields<'_>) -> Result<String, Refusal> {
    let dialect = call.dialect();
    let shared = call.shared;
    match call.operation {
        Operation::ProjectCreate => {
            let request = CreateProject::decode(fields, dialect)?;
            let done = shared.registry(move |registry, now| {
                let id = registry.create_project(request, now)?;
                shown(registry, &id, dialect)
            });
            done.await
        }
        Operation::ProjectUpdate => {
            let request = UpdateProject::decode(fields)?;
            let done = shared.registry(move |registry, now| {
                let id = request.project.project_id.clone();
                registry.update_project(request, now)?;
                shown(registry, &id, dialect)
            });
            done.await
        }
        Operation::MountSet => {
            let request = SetMount::decode(fields)?;
            let done = shared.registry(move |registry, now| {
                let id = request.project.project_id.clone();
                registry.set_mount(request, now)?;
                shown(registry, &id, dialect)
            });
            done.await
        }
        Operation::MountRemove => {
            let request = RemoveMount::decode(fields)?;
            let done = shared.registry(move |registry, now| {
                registry.remove_mount(&request, now)?;
                shown(registry, &request.project.project_id, dialect)
            });
            done.await
        }
        Operation::ProjectUp => {
            bring_up(call, ProjectUp::decode(fields)?, says_workspace(call, fields)).await
        }
        _ => change_whole(call, ProjectRef::decode(fields)?.project_id).await,
    }
}

/// Changes that need no more than the project's id.
async fn change_whole(call: &Call<'_>, id: ProjectId) -> Result<String, Refusal> {
    let dialect = call.dialect();
    let agent = call.who.agent();
    let operation = call.operation;
    let done = call.shared.registry(move |registry, now| match operation {
        Operation::ProjectDelete => {
            registry.delete_project(&id)?;
            Ok(project_deleted(&id, dialect))
        }
        Operation::TokenRotate => {
            let token = registry.rotate_project_token(&id, now)?;
            Ok(token_payload(&id, Some(&token), now, dialect))
        }
        Operation::TokenRevoke => {
            registry.revoke_project_token(&id, now)?;
            Ok(token_payload(&id, None, now, dialect))
        }
        _ => {
            registry.activate_project(&id)?;
            let out = ObjectWriter::new().text("agent_id", agent);
            Ok(match dialect {
                Dialect::Seed => out
                    .text("project_id", id.as_str())
                    .text("workspace_root", &format!("/spiderweb/projects/{id}/workspace")),
                Dialect::Head => out.text("workspace_id", id.as_str()).text("workspace_root", "/"),
            }
            .finish())
        }
    });
    done.await
}

async fn bring_up(call: &Call<'_>, request: ProjectUp, says_workspace: bool) -> Result<String, Refusal> {
    let activate = request.activate;
    let mounts = request.desired_mounts.as_ref().map_or(0, Vec::len) as u64;
    let (shared, host, who) = (Arc::clone(call.shared), call.peer.host.clone(), call.who);
    let dialect = call.dialect();
    let done = call.shared.registry(move |registry, now| {
        let (id, is_new) = registry.bring_up(request, now)?;
        let viewer = Viewer {
            agent_id: who.agent(),
            is_admin: who == Principal::Admin,
            host: host.as_deref(),
            says_workspace,
        };
        let project = ProjectRef {
            project_id: id.clone(),
            project_token: None,
        };
        let is_connected = |node: &_| shared.router.is_connected(node);
        let workspace = registry.workspace(Some(&project), viewer, is_connected, now)?;
        let (id_member, token_member) = match dialect {
            Dialect::Seed => ("project_id", "project_token"),
            Dialect::Head => ("workspace_id", "workspace_token"),
        };
        let answer = ObjectWriter::new()
            .text(id_member, id.as_str())
            .json(token_member, "null")
            .json("created", is_new)
            .json("activated", activate)
            .json("workspace", workspace.encode())
            .finish();
        Ok((answer, is_new))
    });
    let (answer, is_new) = done.await?;
    let counters = &call.shared.counters.projects;
    count(if is_new {
        &counters.creates
    } else {
        &counters.updates
    });
    counters.mount_sets.fetch_add(mounts, Ordering::Relaxed);
    if activate {
        count(&counters.activations);
    }
    Ok(answer)
}

/// Whether a status is to be in the words of the newer generation: those of the request, or else of the peer.
fn says_workspace(call: &Call<'_>, fields: Fields<'_>) -> bool {
    fields.text("workspace_id").is_some() || call.words == Some(Dialect::Head)
}

async fn status(call: &Call<'_>, fields: Fields<'_>) -> Result<String, Refusal> {
    let project = ProjectRef::optional(fields)?;
    let says_workspace = says_workspace(call, fields);
    let (shared, host, who) = (Arc::clone(call.shared), call.peer.host.clone(), call.who);
    let done = call.shared.registry(move |registry, now| {
        let viewer = Viewer {
            agent_id: who.agent(),
            is_admin: who == Principal::Admin,
            host: host.as_deref(),
            says_workspace,
        };
        let is_connected = |node: &_| shared.router.is_connected(node);
        let status = registry.workspace(project.as_ref(), viewer, is_connected, now)?;
        Ok(status.encode())
    });
    done.await
}
