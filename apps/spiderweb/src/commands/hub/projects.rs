//! `spiderweb hub projects` and `mounts`

use clap::Args;
use serde::Serialize;
use spiderweb_client::Control;
use spiderweb_protocol::control::ProjectSummary;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::shown;

/// List what projects mount, and how it stands.
///
/// JSON: an array of {project_id, path, node_id, node_name, export, state}.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "this is help text")]
pub(super) struct Mounts {
    /// The project, by its id or its unique name; all of them otherwise.
    #[arg(value_name = "PROJECT")]
    project: Option<String>,
}

#[derive(Serialize)]
struct ProjectJson<'a> {
    project_id: &'a str,
    name: &'a str,
    status: &'a str,
    mounts: u64,
}

#[derive(Serialize)]
struct MountJson {
    project_id: String,
    path: String,
    node_id: String,
    node_name: Option<String>,
    export: String,
    /// `online`, `degraded` or `missing`.
    state: &'static str,
}

pub(super) async fn list(control: &mut Control, context: &mut Context) -> Result<(), Failure> {
    let projects = control.projects().await?;
    let out = &mut context.out;
    if out.is_json() {
        let list: Vec<_> = projects
            .iter()
            .map(|project| ProjectJson {
                project_id: project.project_id.as_str(),
                name: &project.name,
                status: &project.status,
                mounts: project.mount_count,
            })
            .collect();
        return out.json(&list);
    }
    let rows = projects.iter().map(|project| {
        vec![
            project.name.clone(),
            project.project_id.to_string(),
            project.status.clone(),
            project.mount_count.to_string(),
        ]
    });
    let rows = rows.collect();
    out.table(&["Name", "Id", "Status", "Mounts"], rows)
}

impl Mounts {
    pub(super) async fn run(&self, control: &mut Control, context: &mut Context) -> Result<(), Failure> {
        let mut projects = control.projects().await?;
        if let Some(name) = &self.project {
            let id = only(&projects, name)?.project_id.clone();
            projects.retain(|project| project.project_id == id);
        }
        let mut mounts = Vec::new();
        for project in &projects {
            // Its answer holds tickets, too; they go nowhere.
            for view in control.workspace(&project.project_id).await? {
                mounts.push(MountJson {
                    project_id: project.project_id.to_string(),
                    path: view.mount.mount_path.as_str().to_owned(),
                    node_id: view.mount.node_id.to_string(),
                    node_name: view.node_name,
                    export: view.mount.export_name.to_string(),
                    state: view.state.word(),
                });
            }
        }
        let out = &mut context.out;
        if out.is_json() {
            return out.json(&mounts);
        }
        let rows = mounts.into_iter().map(|mount| {
            let node = mount.node_name.unwrap_or(mount.node_id);
            vec![
                mount.project_id,
                mount.path,
                node,
                mount.export,
                mount.state.to_owned(),
            ]
        });
        let rows = rows.collect();
        out.table(&["Project", "Path", "Node", "Export", "State"], rows)
    }
}

/// The project of this id, or the only one of this name.
fn only<'p>(projects: &'p [ProjectSummary], name: &str) -> Result<&'p ProjectSummary, Failure> {
    if let Some(project) = projects
        .iter()
        .find(|project| project.project_id.as_str() == name)
    {
        return Ok(project);
    }
    let called: Vec<_> = projects.iter().filter(|project| project.name == name).collect();
    let name = shown(name, true);
    match called.as_slice() {
        [project] => Ok(*project),
        [] => Err(
            Failure::message(format!("the hub shows no project {name:?} to this token"))
                .hint("`spiderweb hub projects` lists the projects"),
        ),
        several => {
            let ids: Vec<_> = several
                .iter()
                .map(|project| project.project_id.as_str())
                .collect();
            Err(Failure::message(format!(
                "several projects are called {name:?}: {}",
                ids.join(", ")
            ))
            .hint("name the project by its id"))
        }
    }
}
