//! Tokens, the audit, numbers.

use std::sync::Arc;

use spiderweb_protocol::canonical::{ObjectWriter, quoted};
use spiderweb_protocol::control::{Availability, Code, Fields, Operation, ProjectRef, Refusal};

use super::Call;
use crate::registry::Viewer;
use crate::tokens::Role;

pub(super) async fn run(call: &Call<'_>, fields: Fields<'_>) -> Result<String, Refusal> {
    match call.operation {
        Operation::AuthRotate => rotate(call, fields).await,
        Operation::AuthStatus => Ok(auth_status(call)),
        Operation::AuditTail => Ok(call
            .shared
            .audit_tail(fields.unsigned("limit")?, fields.text("agent_id"))),
        Operation::Metrics => Ok(call.shared.counters.json(call.shared.gauges().await?)),
        _ => reconcile(call, fields).await,
    }
}

/// Where the tokens are, not what they are.
fn auth_status(call: &Call<'_>) -> String {
    let tokens = call.shared.tokens();
    let path = tokens.file().map(|path| path.display().to_string());
    ObjectWriter::new()
        .text("admin_token", "sw-admin_…")
        .text("user_token", "sw-user_…")
        .text("node_token", "sw-node_…")
        .json("path", path.as_deref().map_or_else(|| "null".to_owned(), quoted))
        .json("admin_last_target", "null")
        .json("user_last_target", "null")
        .json("operator_token_set", tokens.operator.is_some())
        .finish()
}

async fn rotate(call: &Call<'_>, fields: Fields<'_>) -> Result<String, Refusal> {
    let role = match fields.required("role")? {
        "admin" => Role::Admin,
        "user" => Role::User,
        "node" => Role::Node,
        _ => return Err(Code::InvalidPayload.into()),
    };
    let shared = Arc::clone(call.shared);
    let rotated = call.shared.tasks.blocking(move || {
        let mut random = shared.random.clone();
        shared.tokens().rotate(role, &mut random)
    });
    let failed = |words: String| Refusal::saying(Code::ControlPlaneError, words);
    let token = rotated
        .await
        .ok_or_else(|| failed("the operation failed".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    let word = fields.required("role")?;
    tracing::info!(role = word, "token replaced");
    Ok(ObjectWriter::new()
        .text("role", word)
        .text("token", token.expose())
        .finish())
}

/// How wish and reality differ, computed when asked for: there is nothing that would have to be reconciled.
async fn reconcile(call: &Call<'_>, fields: Fields<'_>) -> Result<String, Refusal> {
    let only = ProjectRef::optional(fields)?;
    let shared = Arc::clone(call.shared);
    let who = call.who;
    let done = call.shared.registry(move |registry, now| {
        let ids: Vec<_> = registry
            .projects()
            .map(|project| project.project_id.clone())
            .collect();
        let mut shown = Vec::new();
        for id in ids {
            if only.as_ref().is_some_and(|only| only.project_id != id) {
                continue;
            }
            let viewer = Viewer {
                agent_id: who.agent(),
                is_admin: true,
                host: None,
                says_workspace: false,
            };
            let project = ProjectRef {
                project_id: id.clone(),
                project_token: None,
            };
            let is_connected = |node: &_| shared.router.is_connected(node);
            let status = registry.workspace(Some(&project), viewer, is_connected, now)?;
            let Availability {
                online,
                degraded,
                missing,
            } = status.availability;
            let numbers = ObjectWriter::new()
                .text("project_id", id.as_str())
                .json("mounts", status.desired_mounts.len())
                .json("selected_mounts", status.availability.total())
                .json("online_mounts", online)
                .json("degraded_mounts", degraded)
                .json("missing_mounts", missing)
                .json("drift_count", status.drift.len())
                .json("queue_depth", 0);
            shown.push(numbers.finish());
        }
        Ok(ObjectWriter::new()
            .text("reconcile_state", "idle")
            .json("last_reconcile_ms", now)
            .json("last_success_ms", now)
            .json("last_error", "null")
            .json("queue_depth", 0)
            .json("failed_ops_total", 0)
            .json("cycles_total", 0)
            .json("failed_ops", "[]")
            .array("projects", shown)
            .finish())
    });
    done.await
}
