//! `spiderweb hub invite`

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use spiderweb_client::Control;
use spiderweb_protocol::control::{CreateInvite, InviteInfo, NodeName};

use super::{minute, moment};
use crate::context::Context;
use crate::failure::Failure;
use crate::units::parse_duration;

#[derive(Debug, Subcommand)]
#[expect(clippy::doc_markdown, reason = "this is help text")]
pub(super) enum Invite {
    Create(Create),
    /// List the invites the hub remembers; their tokens are told once, when they are made.
    ///
    /// JSON: an array of {invite_id, node_name, max_uses, uses, created, expires, open}.
    List,
    Revoke(Revoke),
}

/// Make an invite and print its token, which a node takes as --invite-token.
///
/// JSON: {invite_id, invite_token, created, expires}.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "this is help text")]
pub(super) struct Create {
    /// How many nodes it pairs [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_uses: Option<u64>,

    /// How long it is good for, such as 30m or 12h [default: as the hub has it, 30m].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    expires: Option<Duration>,

    /// The only name under which a node can pair with it.
    #[arg(long, value_name = "NODE_NAME", value_parser = node_name)]
    name: Option<NodeName>,
}

/// Make an invite worthless. Nodes that it paired stay.
#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// Its id, such as invite-1.
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Serialize)]
struct CreatedJson<'a> {
    invite_id: &'a str,
    invite_token: &'a str,
    created: String,
    expires: String,
}

#[derive(Serialize)]
struct InviteJson<'a> {
    invite_id: &'a str,
    node_name: Option<&'a str>,
    max_uses: u64,
    uses: u64,
    created: String,
    expires: String,
    open: bool,
}

impl Invite {
    pub(super) async fn run(&self, control: &mut Control, context: &mut Context) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(control, context).await,
            Self::List => list(control, context).await,
            Self::Revoke(revoke) => Ok(control.revoke_invite(&revoke.id).await?),
        }
    }
}

impl Create {
    async fn run(&self, control: &mut Control, context: &mut Context) -> Result<(), Failure> {
        let expires_in_ms = self.expires.map(|time| time.as_millis() as u64);
        let wanted = CreateInvite {
            expires_in_ms,
            max_uses: self.max_uses,
            node_name: self.name.clone(),
        };
        let invite = control.create_invite(&wanted).await?;
        if context.out.is_json() {
            return context.out.json(&CreatedJson {
                invite_id: &invite.invite_id,
                invite_token: invite.invite_token.expose(),
                created: moment(invite.created_at_ms),
                expires: moment(invite.expires_at_ms),
            });
        }
        // Only the token, so that a script can take it.
        context.out.line(invite.invite_token.expose())?;
        context.out.flush()?;
        let nodes = match self.max_uses.unwrap_or(1) {
            1 => "one node".to_owned(),
            several => format!("{several} nodes"),
        };
        let (id, until) = (&invite.invite_id, minute(invite.expires_at_ms));
        anstream::eprintln!("{id} is good for {nodes}, until {until}");
        Ok(())
    }
}

async fn list(control: &mut Control, context: &mut Context) -> Result<(), Failure> {
    let invites = control.invites().await?;
    let out = &mut context.out;
    if out.is_json() {
        let list: Vec<_> = invites
            .iter()
            .map(|invite| InviteJson {
                invite_id: &invite.invite_id,
                node_name: invite.node_name.as_deref(),
                max_uses: invite.max_uses,
                uses: invite.uses,
                created: moment(invite.created_at_ms),
                expires: moment(invite.expires_at_ms),
                open: invite.is_open,
            })
            .collect();
        return out.json(&list);
    }
    let rows = invites.iter().map(|invite| {
        vec![
            invite.invite_id.clone(),
            state(invite).to_owned(),
            format!("{}/{}", invite.uses, invite.max_uses),
            minute(invite.expires_at_ms),
            invite.node_name.clone().unwrap_or_default(),
        ]
    });
    let rows = rows.collect();
    out.table(&["Invite", "State", "Uses", "Expires", "Only for"], rows)
}

fn state(invite: &InviteInfo) -> &'static str {
    match invite {
        InviteInfo { is_open: true, .. } => "open",
        InviteInfo { uses, max_uses, .. } if uses >= max_uses => "used",
        _ => "expired",
    }
}

fn node_name(text: &str) -> Result<NodeName, String> {
    NodeName::new(text).map_err(|_| "a name has 1 to 128 letters, digits, `.`, `_` and `-`".to_owned())
}
