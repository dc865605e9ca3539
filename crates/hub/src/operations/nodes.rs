//! Pairing, leases, catalogs.

use std::sync::{Arc, PoisonError};

use spiderweb_protocol::Dialect;
use spiderweb_protocol::control::{
    ApproveJoin, Code, CreateInvite, Credentials, DeleteNode, DenyJoin, EnsureNode, Fields, JoinByInvite,
    NodeRef, Operation, RefreshLease, Refusal, RequestJoin, RevokeInvite, UpsertCatalog, denied_payload,
    event, invite_revoked, invites_payload, node_deleted, nodes_payload, pending_payload,
};
use spiderweb_protocol::limits::MAX_FRAME;

use super::Call;
use crate::metrics::count;
use crate::registry::Registry;
use crate::tokens::Principal;
use crate::watch::CatalogEvent;

/// Most bytes of a list of nodes that has labels: what is around it in a frame has room as well.
const LARGEST_LIST: usize = MAX_FRAME - 64 * 1024;

pub(super) async fn run(call: &Call<'_>, fields: Fields<'_>) -> Result<String, Refusal> {
    let counters = &call.shared.counters;
    match call.operation {
        Operation::NodeInviteCreate => {
            let request = CreateInvite::decode(fields)?;
            let made = call
                .shared
                .registry(move |registry, now| registry.create_invite(&request, now));
            let made = made.await?;
            count(&counters.invites_created);
            Ok(made.encode())
        }
        Operation::NodeInviteList => {
            let invites = call
                .shared
                .registry(|registry, now| Ok(registry.invites(now)))
                .await?;
            Ok(invites_payload(&invites))
        }
        Operation::NodeInviteRevoke => {
            let RevokeInvite { invite_id } = RevokeInvite::decode(fields)?;
            let id = invite_id.clone();
            call.shared
                .registry(move |registry, _| registry.revoke_invite(&id))
                .await?;
            tracing::info!(invite = %invite_id, "an invite was revoked");
            Ok(invite_revoked(&invite_id))
        }
        Operation::NodeJoin => {
            let request = JoinByInvite::decode(fields)?;
            let (joined, is_new) =
                pair(call, "invite", move |registry, now| registry.join(&request, now)).await?;
            if is_new {
                count(&counters.invites_redeemed);
            }
            Ok(joined)
        }
        Operation::NodeJoinRequest => {
            let request = RequestJoin::decode(fields)?;
            let bearer = call.peer.bearer.clone();
            let address = call.peer.address.map(|address| address.to_string());
            let filed = call.shared.registry(move |registry, now| {
                registry.request_join(request, &bearer, address.as_deref(), now)
            });
            let filed = filed.await?;
            tracing::info!(request = %filed.request_id, name = filed.node_name, "a node asks to join");
            Ok(filed.encode())
        }
        Operation::NodeJoinPendingList => {
            let pending = call
                .shared
                .registry(|registry, _| Ok(registry.pending_joins()))
                .await?;
            Ok(pending_payload(&pending))
        }
        Operation::NodeJoinApprove => approve(call, fields).await,
        Operation::NodeJoinDeny => {
            let request = DenyJoin::decode(fields)?;
            let id = request.request_id.clone();
            call.shared
                .registry(move |registry, now| registry.deny_join(&request, now))
                .await?;
            tracing::info!(request = %id, "a request to join was denied");
            Ok(denied_payload(&id))
        }
        Operation::NodeLeaseRefresh => {
            let request = RefreshLease::decode(fields)?;
            let is_connected = call.shared.router.is_connected(&request.node_id);
            let refreshed = call.shared.registry(move |registry, now| {
                let was_online = registry.has_lease(&request.node_id, is_connected, now);
                Ok((registry.refresh_lease(&request, now)?, was_online))
            });
            let (refreshed, was_online) = refreshed.await?;
            count(&counters.refreshes);
            if !was_online {
                call.shared.topology_changed("availability_changed");
            }
            Ok(refreshed.encode())
        }
        Operation::NodeEnsure => {
            let request = EnsureNode::decode(fields)?;
            let (ensured, _) = pair(call, "ensure", move |registry, now| {
                registry.ensure_node(&request, now)
            })
            .await?;
            count(&counters.ensured);
            Ok(ensured)
        }
        Operation::NodeDelete => {
            let request = DeleteNode::decode(fields)?;
            let id = request.node_id.clone();
            call.shared
                .registry(move |registry, _| registry.delete_node(&request))
                .await?;
            count(&counters.deletes);
            tracing::info!(node = %id, "node deleted");
            call.shared.node_is_gone(&id);
            Ok(node_deleted(&id))
        }
        Operation::CatalogUpsert => upsert(call, UpsertCatalog::decode(fields)?).await,
        _ => show(call, fields).await,
    }
}

/// What only looks.
async fn show(call: &Call<'_>, fields: Fields<'_>) -> Result<String, Refusal> {
    let dialect = call.dialect();
    if call.operation == Operation::NodeList {
        let mut nodes = call.shared.registry(|registry, _| Ok(registry.nodes())).await?;
        for node in &mut nodes {
            node.tunnel = call.shared.router.tunnel_info(&node.node_id);
        }
        let payload = nodes_payload(&nodes, call.words);
        if payload.len() <= LARGEST_LIST {
            return Ok(payload);
        }
        // Labels are the only part of a node that can be large, and those of one node are shown by themselves. All are
        // left out, so that nobody takes some for all.
        for node in &mut nodes {
            node.labels.clear();
        }
        return Ok(nodes_payload(&nodes, call.words));
    }
    let NodeRef { node_id } = NodeRef::decode(fields)?;
    if call.operation == Operation::CatalogGet {
        let shown = call.shared.registry(move |registry, _| {
            let catalog = registry.catalog(&node_id, None)?;
            Ok(catalog.encode(dialect))
        });
        return shown.await;
    }
    let mut node = call
        .shared
        .registry(move |registry, _| registry.node(&node_id))
        .await?;
    node.tunnel = call.shared.router.tunnel_info(&node.node_id);
    Ok(format!(r#"{{"node":{}}}"#, node.encode(call.words)))
}

/// Pairs a node, or gives it its credentials once more. Whether it is a new one is said, too.
async fn pair(
    call: &Call<'_>,
    how: &str,
    work: impl FnOnce(&mut Registry, u64) -> Result<Credentials, Refusal> + Send + 'static,
) -> Result<(String, bool), Refusal> {
    let done = call.shared.registry(move |registry, now| {
        let before = registry.nodes_made();
        let credentials = work(registry, now)?;
        Ok((credentials, registry.nodes_made() > before))
    });
    let (credentials, is_new) = done.await?;
    if is_new {
        count(&call.shared.counters.joins);
        tracing::info!(node = %credentials.node_id, name = credentials.node_name, how, "node paired");
    }
    call.shared.topology_changed("availability_changed");
    Ok((credentials.encode(), is_new))
}

/// An operator approves, or the node asks for the outcome.
async fn approve(call: &Call<'_>, fields: Fields<'_>) -> Result<String, Refusal> {
    let request = ApproveJoin::decode(fields)?;
    if call.is_operator {
        let approved = pair(call, "approval", move |registry, now| {
            registry.approve_join(&request, now)
        });
        return approved.await.map(|(approved, _)| approved);
    }
    let (bearer, is_admin) = (call.peer.bearer.clone(), call.who == Principal::Admin);
    let collected = call.shared.registry(move |registry, now| {
        let id = &request.request_id;
        match registry.collect_join(id, &bearer, now) {
            // This is no node, but a person who forgot the second factor. A request that was decided is still not there
            // for another bearer, so that a node whose token became the admin's files a new one.
            Err(refusal)
                if is_admin && refusal.code == Code::PendingJoinNotFound && registry.is_waiting(id) =>
            {
                Err(Code::MissingField.into())
            }
            collected => collected,
        }
    });
    Ok(collected.await?.encode())
}

async fn upsert(call: &Call<'_>, request: UpsertCatalog) -> Result<String, Refusal> {
    let dialect = call.dialect();
    let done = call.shared.registry(move |registry, now| {
        let node_id = request.node_id.clone();
        let upserted = registry.upsert_catalog(request, now)?;
        let catalog = registry.catalog(&node_id, Some(&upserted.delta))?;
        // Only the older generation can watch.
        let told = upserted.is_changed.then(|| catalog.encode(Dialect::Seed));
        let answer = catalog.encode(dialect);
        Ok((node_id, told, answer))
    });
    let (node_id, told, answer) = done.await?;
    if let Some(payload) = told {
        let frame = event("node_service_event", &payload);
        let at_ms = call.shared.clock.now_ms();
        let event = Arc::new(CatalogEvent {
            node_id,
            at_ms,
            frame,
        });
        let mut history = call.shared.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.push(event.clone());
        drop(history);
        count(&call.shared.counters.watch.events);
        // Nobody may watch.
        let _ = call.shared.catalog_feed.send(event);
    }
    Ok(answer)
}
