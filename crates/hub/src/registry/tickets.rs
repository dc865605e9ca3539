//! File tickets: what mount clients say to be routed to a node, instead of the node's own secret.
//!
//! A ticket is derived, not stored: the same question gives the same ticket for an epoch, because mount clients drop
//! everything when it changes. It is good for one node, as long as the project it was given for has a mount of it.

use sha2::{Digest as _, Sha256};
use spiderweb_protocol::Secret;
use spiderweb_protocol::control::{NodeId, Refusal, TunnelFault};

use super::policy::{Action, Asker};
use super::projects::check_access;
use super::record::Project;
use super::{Registry, millis};
use crate::random::hex;

/// Who a ticket is given to. The words go into the derivation, so they must not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Admin,
    User,
}

impl Holder {
    const ALL: [Self; 2] = [Self::Admin, Self::User];

    const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
        }
    }
}

impl Registry {
    /// Makes the key of all tickets, once.
    pub fn ensure_ticket_key(&mut self) -> Result<(), Refusal> {
        if self.meta.ticket_key.is_none() {
            self.choose_first_node()?;
            let key = self.random.text("")? + &self.random.text("")?;
            self.meta.ticket_key = Some(Secret::new(key));
            self.save_meta()?;
        }
        Ok(())
    }

    /// The ticket for a node's files through a project.
    pub(super) fn ticket(
        &self,
        node: &NodeId,
        project: &Project,
        is_admin: bool,
        now_ms: u64,
    ) -> Option<Secret> {
        let holder = if is_admin { Holder::Admin } else { Holder::User };
        self.derive(node, project, holder, self.epoch(now_ms))
    }

    fn epoch(&self, now_ms: u64) -> u64 {
        now_ms / millis(self.terms.ticket_epoch).max(1)
    }

    fn derive(&self, node: &NodeId, project: &Project, holder: Holder, epoch: u64) -> Option<Secret> {
        let key = self.meta.ticket_key.as_ref()?.expose();
        // A new token of the project, and its users need new tickets.
        let token = match (holder, &project.token) {
            (Holder::User, Some(token)) => token.expose(),
            _ => "",
        };
        let (project, holder) = (&project.id, holder.word());
        // No part can hold a newline, so no two questions read alike; two rounds keep a ticket from being extended.
        let question = format!("{key}\n{node}\n{project}\n{holder}\n{token}\n{epoch}");
        let inner = Sha256::digest(question.as_bytes());
        let outer = Sha256::new().chain_update(key).chain_update(inner).finalize();
        Some(Secret::new(format!("ticket-{}", hex(outer.get(..16)?))))
    }

    /// An admin may be routed to every node that is known. The answer is as below.
    pub fn admit_admin(&self, id: &NodeId) -> Result<Secret, TunnelFault> {
        let node = self.nodes.get(id).ok_or(TunnelFault::NodeNotFound)?;
        Ok(node.secret.clone())
    }

    /// Whether a client may be routed to a node. The answer is the node's own secret, for nodes that ask for it.
    pub fn admit_client(&self, id: &NodeId, token: &Secret, now_ms: u64) -> Result<Secret, TunnelFault> {
        let node = self.nodes.get(id).ok_or(TunnelFault::NodeNotFound)?;
        if node.secret.matches(token.expose()) {
            return Ok(node.secret.clone());
        }
        let epoch = self.epoch(now_ms);
        let projects = self.projects.values();
        let mut projects = projects.filter(|project| project.mounts.iter().any(|mount| mount.node_id == *id));
        let is_ticket = projects.any(|project| {
            Holder::ALL.into_iter().any(|holder| {
                let is_one = [epoch, epoch.saturating_sub(1)].into_iter().any(|epoch| {
                    self.derive(id, project, holder, epoch)
                        .is_some_and(|ticket| ticket.matches(token.expose()))
                });
                is_one && may_mount(project, holder)
            })
        });
        if is_ticket {
            Ok(node.secret.clone())
        } else {
            Err(TunnelFault::NodeAuthFailed)
        }
    }
}

/// A policy that changed since the ticket was given counts.
fn may_mount(project: &Project, holder: Holder) -> bool {
    let asker = Asker {
        agent_id: holder.word(),
        is_admin: holder == Holder::Admin,
    };
    check_access(project, project.token.as_ref(), asker, Action::Mount).is_ok()
}
