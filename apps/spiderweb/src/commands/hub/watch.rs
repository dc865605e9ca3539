//! `spiderweb hub watch`

use clap::Args;
use serde::Serialize;
use spiderweb_client::{CatalogChange, CatalogEvent, Control};

use super::{find, moment, nanoseconds};
use crate::context::Context;
use crate::failure::Failure;
use crate::units::local_exact;

/// Print changes of what nodes offer, until interrupted. The last ones of the past come first.
///
/// JSON: a line for each change: {time, node_id, node_name, what, service, version, state}. `what` is `added`,
/// `updated` or `removed`.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "this is help text")]
pub(super) struct Watch {
    /// Only this node, by its id or its unique name.
    #[arg(value_name = "NODE")]
    node: Option<String>,
}

#[derive(Serialize)]
struct ChangeJson<'a> {
    time: String,
    node_id: &'a str,
    node_name: &'a str,
    what: &'static str,
    service: &'a str,
    version: &'a str,
    state: Option<&'a str>,
}

impl Watch {
    pub(super) async fn run(&self, control: &mut Control, context: &mut Context) -> Result<(), Failure> {
        let node = match &self.node {
            Some(name) => Some(find(control, name).await?.node_id),
            None => None,
        };
        control.watch(node.as_ref()).await?;
        loop {
            let event = control.next_event().await?;
            show(context, &event)?;
            context.out.flush()?;
        }
    }
}

fn show(context: &mut Context, event: &CatalogEvent) -> Result<(), Failure> {
    let out = &mut context.out;
    for change in &event.changes {
        let (what, mark) = match change {
            CatalogChange::Added(mark) => ("added", mark),
            CatalogChange::Updated(mark) => ("updated", mark),
            CatalogChange::Removed(mark) => ("removed", mark),
        };
        if out.is_json() {
            out.json(&ChangeJson {
                time: moment(event.timestamp_ms),
                node_id: event.node_id.as_str(),
                node_name: &event.node_name,
                what,
                service: &mark.id,
                version: &mark.version,
                state: mark.state.as_deref(),
            })?;
            continue;
        }
        let time = local_exact(nanoseconds(event.timestamp_ms));
        let time = time.get(11..23).unwrap_or_default();
        let (node, service) = (out.name(&event.node_name), out.name(&mark.id));
        let state = out.name(mark.state.as_deref().unwrap_or_default());
        let line = format!("{time} {what:8} {node} {service} {state}");
        out.line(line.trim_end())?;
    }
    Ok(())
}
