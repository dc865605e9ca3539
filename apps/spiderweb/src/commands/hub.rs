//! `spiderweb hub`

mod invite;
mod nodes;
mod pairing;
mod projects;
mod watch;

use clap::{Args, Subcommand};
use spiderweb_client::{Control, KnownNode, NodeError};
use spiderweb_protocol::control::NodeInfo;

use crate::context::Context;
use crate::failure::Failure;
use crate::hub;
use crate::units::{local_minute, rfc3339};

/// Look after a hub: who may join, which nodes there are, what projects mount.
///
/// The hub is named by --hub or SPIDERWEB_HUB. Its tokens come from files or variables, never from the command line.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "this is help text")]
pub(crate) struct HubArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::doc_markdown, reason = "this is help text")]
enum Command {
    /// Make, list and revoke invites.
    #[command(subcommand)]
    Invite(invite::Invite),
    /// List the nodes that ask to be let in.
    ///
    /// JSON: an array of {request_id, node_name, platform, address, requested}.
    Pending,
    Approve(pairing::Approve),
    Deny(pairing::Deny),
    /// List the nodes.
    ///
    /// A node is `online` while its tunnel stands; without one it is `leased` as long as the hub expects it back, then
    /// `expired`.
    ///
    /// JSON: an array of {node_id, node_name, state, services, platform, labels, clients, joined, last_seen,
    /// lease_expires}.
    Nodes,
    /// Show one node.
    #[command(subcommand)]
    Node(nodes::Node),
    /// List the projects.
    ///
    /// JSON: an array of {project_id, name, status, mounts}.
    Projects,
    Mounts(projects::Mounts),
    Watch(watch::Watch),
}

impl HubArgs {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let mut control = hub::control(&context.global).await?;
        let control = &mut control;
        match &self.command {
            Command::Invite(invite) => invite.run(control, context).await,
            Command::Pending => pairing::pending(control, context).await,
            Command::Approve(approve) => approve.run(control, context).await,
            Command::Deny(deny) => deny.run(control).await,
            Command::Nodes => nodes::list(control, context).await,
            Command::Node(node) => node.run(control, context).await,
            Command::Projects => projects::list(control, context).await,
            Command::Mounts(mounts) => mounts.run(control, context).await,
            Command::Watch(watch) => watch.run(control, context).await,
        }
    }
}

/// The node of this id or unique name.
async fn find(control: &mut Control, name: &str) -> Result<NodeInfo, Failure> {
    let nodes: Vec<_> = control.nodes().await?.into_iter().map(KnownNode::from).collect();
    let id = KnownNode::find(&nodes, name)?.id.clone();
    let found = nodes.into_iter().find(|node| node.id == id);
    let info = found.and_then(|node| node.info);
    info.ok_or_else(|| {
        let known = Vec::new();
        let name = name.to_owned();
        NodeError::Unknown { name, known }.into()
    })
}

fn nanoseconds(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}

/// A moment on the wire for people.
fn minute(ms: u64) -> String {
    local_minute(nanoseconds(ms))
}

/// The same for programs.
fn moment(ms: u64) -> String {
    rfc3339(nanoseconds(ms))
}
