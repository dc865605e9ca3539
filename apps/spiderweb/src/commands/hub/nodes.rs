//! `spiderweb hub nodes` and `node show`

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;
use spiderweb_client::Control;
use spiderweb_protocol::control::{CatalogEntry, NodeInfo};

use super::pairing::{PlatformJson, platform};
use super::{find, minute, moment};
use crate::context::Context;
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(super) enum Node {
    Show(Show),
}

/// Show a node and what it offers.
///
/// JSON: an object as of `hub nodes`, whose `services` are {service, state, mounts}.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The node, by its id or its unique name.
    #[arg(value_name = "NODE")]
    node: String,
}

#[derive(Serialize)]
struct NodeJson<'a, S> {
    node_id: &'a str,
    node_name: &'a str,
    /// `online`, `leased` or `expired`.
    state: &'static str,
    services: S,
    platform: PlatformJson<'a>,
    labels: Value,
    clients: usize,
    joined: String,
    last_seen: String,
    lease_expires: String,
}

#[derive(Serialize)]
struct OfferedJson<'a> {
    service: &'a str,
    state: &'a str,
    mounts: &'a [String],
}

impl<'a, S> NodeJson<'a, S> {
    fn new(node: &'a NodeInfo, services: S) -> Self {
        Self {
            node_id: node.node_id.as_str(),
            node_name: &node.node_name,
            state: state(node),
            services,
            platform: (&node.platform).into(),
            labels: serde_json::from_str(&node.labels).unwrap_or_default(),
            clients: node.tunnel.map_or(0, |tunnel| tunnel.clients),
            joined: moment(node.joined_at_ms),
            last_seen: moment(node.last_seen_ms),
            lease_expires: moment(node.lease_expires_at_ms),
        }
    }
}

/// How a node stands. Original hubs do not tell of tunnels, so all they can say is that the lease runs.
fn state(node: &NodeInfo) -> &'static str {
    let now = jiff::Timestamp::now().as_millisecond();
    let is_leased = i64::try_from(node.lease_expires_at_ms).is_ok_and(|end| end > now);
    match (node.tunnel, is_leased) {
        (Some(_), _) => "online",
        (None, true) => "leased",
        (None, false) => "expired",
    }
}

pub(super) async fn list(control: &mut Control, context: &mut Context) -> Result<(), Failure> {
    let mut nodes = control.nodes().await?;
    nodes.sort_by(|a, b| (&a.node_name, a.node_id.as_str()).cmp(&(&b.node_name, b.node_id.as_str())));
    let out = &mut context.out;
    if out.is_json() {
        let list: Vec<_> = nodes
            .iter()
            .map(|node| NodeJson::new(node, node.service_count))
            .collect();
        return out.json(&list);
    }
    let rows = nodes.iter().map(|node| {
        vec![
            node.node_name.clone(),
            node.node_id.to_string(),
            state(node).to_owned(),
            node.service_count.to_string(),
            node.tunnel.map_or(0, |tunnel| tunnel.clients).to_string(),
            platform(&node.platform),
            minute(node.last_seen_ms),
        ]
    });
    let header = ["Name", "Id", "State", "Services", "Clients", "Platform", "Seen"];
    let rows = rows.collect();
    out.table(&header, rows)
}

impl Node {
    pub(super) async fn run(&self, control: &mut Control, context: &mut Context) -> Result<(), Failure> {
        let Self::Show(show) = self;
        show.run(control, context).await
    }
}

impl Show {
    async fn run(&self, control: &mut Control, context: &mut Context) -> Result<(), Failure> {
        let node = find(control, &self.node).await?;
        let catalog = control.catalog(&node.node_id).await?;
        let out = &mut context.out;
        if out.is_json() {
            let offered = |entry| {
                let entry: &CatalogEntry = entry;
                OfferedJson {
                    service: entry.id(),
                    state: entry.state(),
                    mounts: entry.mounts(),
                }
            };
            let services: Vec<_> = catalog.iter().map(offered).collect();
            return out.json(&NodeJson::new(&node, services));
        }
        let name = out.name(&node.node_name);
        let labels = out.name(&node.labels);
        out.line(format_args!("    name  {name}"))?;
        out.line(format_args!("      id  {}", node.node_id))?;
        let clients = match node.tunnel.map(|tunnel| tunnel.clients) {
            Some(1) => ", 1 client".to_owned(),
            Some(clients) => format!(", {clients} clients"),
            None => String::new(),
        };
        out.line(format_args!("   state  {}{clients}", state(&node)))?;
        out.line(format_args!("platform  {}", platform(&node.platform)))?;
        out.line(format_args!("  labels  {labels}"))?;
        out.line(format_args!("  joined  {}", minute(node.joined_at_ms)))?;
        out.line(format_args!("    seen  {}", minute(node.last_seen_ms)))?;
        out.line(format_args!(
            "   lease  until {}",
            minute(node.lease_expires_at_ms)
        ))?;
        if catalog.is_empty() {
            return Ok(());
        }
        out.line("")?;
        let rows = catalog.iter().map(|entry| {
            let (id, state) = (entry.id().to_owned(), entry.state().to_owned());
            vec![id, state, entry.mounts().join(" ")]
        });
        let rows = rows.collect();
        out.table(&["Service", "State", "Paths"], rows)
    }
}
