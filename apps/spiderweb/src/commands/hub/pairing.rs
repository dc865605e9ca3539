//! `spiderweb hub pending`, `approve` and `deny`

use clap::Args;
use serde::Serialize;
use spiderweb_client::Control;
use spiderweb_protocol::control::{Platform, RequestId};

use super::{minute, moment};
use crate::context::Context;
use crate::failure::Failure;

/// Let a node in; prints its id and name.
///
/// JSON: {node_id, node_name}.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "this is help text")]
pub(super) struct Approve {
    /// The request, as `hub pending` lists it.
    #[arg(value_name = "REQUEST_ID", value_parser = request_id)]
    request: RequestId,
}

/// Turn a node away; it is told so when it asks again.
#[derive(Debug, Args)]
pub(super) struct Deny {
    /// The request, as `hub pending` lists it.
    #[arg(value_name = "REQUEST_ID", value_parser = request_id)]
    request: RequestId,
}

#[derive(Serialize)]
struct PendingJson<'a> {
    request_id: &'a str,
    node_name: &'a str,
    platform: PlatformJson<'a>,
    address: Option<&'a str>,
    requested: String,
}

/// What a node is.
#[derive(Serialize)]
pub(super) struct PlatformJson<'a> {
    os: &'a str,
    arch: &'a str,
    runtime_kind: &'a str,
}

impl<'a> From<&'a Platform> for PlatformJson<'a> {
    fn from(platform: &'a Platform) -> Self {
        Self {
            os: &platform.os,
            arch: &platform.arch,
            runtime_kind: &platform.runtime_kind,
        }
    }
}

#[derive(Serialize)]
struct ApprovedJson<'a> {
    node_id: &'a str,
    node_name: &'a str,
}

/// A platform in a table.
pub(super) fn platform(platform: &Platform) -> String {
    format!("{}/{}", platform.os, platform.arch)
}

pub(super) async fn pending(control: &mut Control, context: &mut Context) -> Result<(), Failure> {
    let pending = control.pending().await?;
    let out = &mut context.out;
    if out.is_json() {
        let list: Vec<_> = pending
            .iter()
            .map(|join| PendingJson {
                request_id: join.request_id.as_str(),
                node_name: &join.node_name,
                platform: (&join.platform).into(),
                address: join.address.as_deref(),
                requested: moment(join.requested_at_ms),
            })
            .collect();
        return out.json(&list);
    }
    let rows = pending.iter().map(|join| {
        vec![
            join.request_id.to_string(),
            join.node_name.clone(),
            platform(&join.platform),
            join.address.clone().unwrap_or_default(),
            minute(join.requested_at_ms),
        ]
    });
    let rows = rows.collect();
    out.table(&["Request", "Name", "Platform", "Address", "Asked"], rows)
}

impl Approve {
    pub(super) async fn run(&self, control: &mut Control, context: &mut Context) -> Result<(), Failure> {
        let (id, name) = control.approve(&self.request).await?;
        if context.out.is_json() {
            return context.out.json(&ApprovedJson {
                node_id: id.as_str(),
                node_name: &name,
            });
        }
        let name = context.out.name(&name);
        context.out.line(format_args!("{id}  {name}"))
    }
}

impl Deny {
    pub(super) async fn run(&self, control: &mut Control) -> Result<(), Failure> {
        Ok(control.deny(&self.request).await?)
    }
}

fn request_id(text: &str) -> Result<RequestId, String> {
    RequestId::new(text)
        .map_err(|_| "no request is called that; `spiderweb hub pending` lists them".to_owned())
}
