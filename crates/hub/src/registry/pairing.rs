//! How a node becomes known: by an invite, or by a request that somebody approves.

use spiderweb_protocol::control::{
    ApproveJoin, Code, CreateInvite, Credentials, DenyJoin, Invite, InviteInfo, JoinByInvite, NodeId,
    PendingJoin, Platform, Refusal, RequestId, RequestJoin,
};

use super::record::{self, Join, JoinState, Use};
use super::{Registry, millis};

impl Registry {
    /// Makes an invite.
    pub fn create_invite(&mut self, request: &CreateInvite, now_ms: u64) -> Result<Invite, Refusal> {
        if self.open_invites(now_ms) >= self.terms.open_invites {
            return Err(Refusal::saying(Code::TooMany, "too many invites are open"));
        }
        self.meta.invites += 1;
        let lifetime = request.expires_in_ms.unwrap_or(millis(self.terms.default_invite));
        let invite = record::Invite {
            id: format!("invite-{}", self.meta.invites),
            token: self.random.secret("inv-")?,
            created_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(lifetime.min(millis(self.terms.max_invite))),
            max_uses: request.max_uses.unwrap_or(1).max(1),
            uses: 0,
            node_name: request.node_name.as_ref().map(ToString::to_string),
            last_use: None,
        };
        let made = Invite {
            invite_id: invite.id.clone(),
            invite_token: invite.token.clone(),
            created_at_ms: invite.created_at_ms,
            expires_at_ms: invite.expires_at_ms,
        };
        self.save_meta()?;
        Self::save(&mut self.changes, format!("invite/{}", invite.id), &invite)?;
        self.invites.insert(invite.id.clone(), invite);
        Ok(made)
    }

    /// All invites that are remembered, the oldest first. Their tokens are told once, when they are made.
    pub fn invites(&self, now_ms: u64) -> Vec<InviteInfo> {
        let shown = |invite: &record::Invite| InviteInfo {
            invite_id: invite.id.clone(),
            node_name: invite.node_name.clone(),
            max_uses: invite.max_uses,
            uses: invite.uses,
            created_at_ms: invite.created_at_ms,
            expires_at_ms: invite.expires_at_ms,
            is_open: invite.is_open(now_ms),
        };
        let mut invites: Vec<_> = self.invites.values().map(shown).collect();
        // Ids are numbered, and 10 comes after 9.
        invites.sort_by_cached_key(|invite| {
            (
                invite.created_at_ms,
                invite.invite_id.len(),
                invite.invite_id.clone(),
            )
        });
        invites
    }

    /// Forgets an invite. Nodes that it paired stay.
    pub fn revoke_invite(&mut self, id: &str) -> Result<(), Refusal> {
        self.invites.remove(id).ok_or(Code::InviteNotFound)?;
        self.forget(format!("invite/{id}"));
        Ok(())
    }

    /// Pairs a node that has an invite.
    pub fn join(&mut self, request: &JoinByInvite, now_ms: u64) -> Result<Credentials, Refusal> {
        let token = request.invite_token.expose();
        let invite = self.invites.values().find(|invite| invite.token.matches(token));
        let invite = invite.ok_or(Code::InviteNotFound)?;
        let asked = request.node_name.as_ref().map(ToString::to_string);
        if invite.uses >= invite.max_uses {
            let repeated = self.repeated_join(invite, asked.as_deref(), now_ms);
            return repeated.unwrap_or_else(|| Err(Code::InviteRedeemed.into()));
        }
        if invite.expires_at_ms <= now_ms {
            return Err(Code::InviteExpired.into());
        }
        let invite_id = invite.id.clone();
        let name = invite.node_name.clone().or_else(|| asked.clone());
        let url = request.fs_url.as_deref().unwrap_or_default();
        let id = self.add_node(
            name.as_deref(),
            url,
            Platform::default(),
            request.lease_ttl_ms,
            now_ms,
        )?;
        if let Some(invite) = self.invites.get_mut(&invite_id) {
            invite.uses += 1;
            invite.last_use = Some(Use {
                at_ms: now_ms,
                node_id: id.clone(),
                node_name: asked,
            });
            Self::save(&mut self.changes, format!("invite/{invite_id}"), invite)?;
        }
        self.credentials(&id)
    }

    /// The same credentials for the same node, if it seems that it never got them.
    fn repeated_join(
        &self,
        invite: &record::Invite,
        asked: Option<&str>,
        now_ms: u64,
    ) -> Option<Result<Credentials, Refusal>> {
        let last = invite.last_use.as_ref()?;
        let is_recent = now_ms.saturating_sub(last.at_ms) <= millis(self.terms.repeat_join);
        let node = self.nodes.get(&last.node_id)?;
        let is_lost =
            is_recent && !node.has_refreshed && asked.is_some() && last.node_name.as_deref() == asked;
        is_lost.then(|| self.credentials(&last.node_id))
    }

    /// Files a request to join. `bearer` is a digest of the token it came with, `address` where it came from.
    pub fn request_join(
        &mut self,
        request: RequestJoin,
        bearer: &str,
        address: Option<&str>,
        now_ms: u64,
    ) -> Result<PendingJoin, Refusal> {
        let waiting = || {
            self.joins
                .values()
                .filter(|join| join.state == JoinState::Waiting)
        };
        let from_there =
            waiting().filter(|join| join.address.is_some() && join.address.as_deref() == address);
        if waiting().count() >= self.terms.waiting_requests
            || from_there.count() >= self.terms.waiting_per_address
        {
            return Err(Code::TooMany.into());
        }
        let id = self.random.text("pending-join-")?;
        // Half of the digits are plenty: a request is good for nothing without the bearer token.
        let id = id.get(.."pending-join-".len() + 16).unwrap_or(&id);
        let id = RequestId::new(id).map_err(|_| Refusal::new(Code::ControlPlaneError))?;
        let join = Join {
            node_name: request
                .node_name
                .map_or_else(|| id.to_string(), |name| name.to_string()),
            id: id.clone(),
            fs_url: request.fs_url.unwrap_or_default(),
            platform: request.platform.unwrap_or_default(),
            requested_at_ms: now_ms,
            touched_at_ms: now_ms,
            address: address.map(str::to_owned),
            bearer: bearer.to_owned(),
            state: JoinState::Waiting,
        };
        let mut filed = pending(&join);
        filed.address = None;
        Self::save(&mut self.changes, format!("join/{id}"), &join)?;
        self.joins.insert(id, join);
        Ok(filed)
    }

    /// Requests that wait.
    pub fn pending_joins(&self) -> Vec<PendingJoin> {
        let waiting = self
            .joins
            .values()
            .filter(|join| join.state == JoinState::Waiting);
        let mut waiting: Vec<_> = waiting.map(pending).collect();
        waiting.sort_by_key(|join| join.requested_at_ms);
        waiting
    }

    /// Somebody with the right to do so approves.
    pub fn approve_join(&mut self, request: &ApproveJoin, now_ms: u64) -> Result<Credentials, Refusal> {
        let join = self
            .joins
            .get(&request.request_id)
            .ok_or(Code::PendingJoinNotFound)?;
        let id = match &join.state {
            JoinState::Approved { node_id } => return self.credentials(&node_id.clone()),
            JoinState::Denied => return Err(Code::JoinDenied.into()),
            JoinState::Waiting => {
                let (name, url) = (join.node_name.clone(), join.fs_url.clone());
                let platform = join.platform.clone();
                self.add_node(Some(&name), &url, platform, request.lease_ttl_ms, now_ms)?
            }
        };
        self.decide(
            &request.request_id,
            JoinState::Approved { node_id: id.clone() },
            now_ms,
        )?;
        self.credentials(&id)
    }

    /// Whether the request waits for somebody to decide.
    pub fn is_waiting(&self, id: &RequestId) -> bool {
        let join = self.joins.get(id);
        join.is_some_and(|join| join.state == JoinState::Waiting)
    }

    /// The node asks what became of its request. Under another bearer token there is no such request: that tells a
    /// stranger nothing, and makes a node whose token changed file a new one.
    pub fn collect_join(
        &mut self,
        id: &RequestId,
        bearer: &str,
        now_ms: u64,
    ) -> Result<Credentials, Refusal> {
        let join = self.joins.get_mut(id).filter(|join| join.bearer == bearer);
        let join = join.ok_or(Code::PendingJoinNotFound)?;
        join.touched_at_ms = now_ms;
        match &join.state {
            JoinState::Waiting => Err(Code::ApprovalPending.into()),
            JoinState::Denied => Err(Code::JoinDenied.into()),
            JoinState::Approved { node_id } => {
                let node_id = node_id.clone();
                self.credentials(&node_id)
                    .map_err(|_| Code::PendingJoinNotFound.into())
            }
        }
    }

    /// Denies a request. It is remembered, so that the node is told.
    pub fn deny_join(&mut self, request: &DenyJoin, now_ms: u64) -> Result<(), Refusal> {
        match self.joins.get(&request.request_id) {
            Some(join) if join.state == JoinState::Waiting => {
                self.decide(&request.request_id, JoinState::Denied, now_ms)
            }
            _ => Err(Code::PendingJoinNotFound.into()),
        }
    }

    fn decide(&mut self, id: &RequestId, state: JoinState, now_ms: u64) -> Result<(), Refusal> {
        let join = self.joins.get_mut(id).ok_or(Code::PendingJoinNotFound)?;
        join.state = state;
        join.touched_at_ms = now_ms;
        Self::save(&mut self.changes, format!("join/{id}"), join)
    }

    /// Forgets invites and requests that nobody will ask for any more. The answer are nodes that were approved and
    /// never came for their credentials: nobody has those now.
    pub(super) fn forget_old_pairings(&mut self, now_ms: u64) -> Vec<NodeId> {
        let (invites, requests) = (
            millis(self.terms.invite_memory),
            millis(self.terms.request_memory),
        );
        let is_over = |since: u64, memory: u64| since.saturating_add(memory) <= now_ms;
        let (mut keys, mut uncollected) = (Vec::new(), Vec::new());
        self.invites.retain(|id, invite| {
            let used_up = invite
                .last_use
                .as_ref()
                .filter(|_| invite.uses >= invite.max_uses);
            let is_old = is_over(used_up.map_or(invite.expires_at_ms, |last| last.at_ms), invites);
            if is_old {
                keys.push(format!("invite/{id}"));
            }
            !is_old
        });
        self.joins.retain(|id, join| {
            let is_old = is_over(join.touched_at_ms, requests);
            if is_old {
                keys.push(format!("join/{id}"));
                uncollected.extend(join.state.node().cloned());
            }
            !is_old
        });
        for key in keys {
            self.forget(key);
        }
        uncollected
    }

    /// Invites that can still be used, for the metrics.
    pub fn open_invites(&self, now_ms: u64) -> usize {
        self.invites
            .values()
            .filter(|invite| invite.is_open(now_ms))
            .count()
    }
}

fn pending(join: &Join) -> PendingJoin {
    PendingJoin {
        request_id: join.id.clone(),
        node_name: join.node_name.clone(),
        fs_url: join.fs_url.clone(),
        platform: join.platform.clone(),
        requested_at_ms: join.requested_at_ms,
        address: join.address.clone(),
    }
}
