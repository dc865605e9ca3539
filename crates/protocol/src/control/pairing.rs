//! Becoming known to a hub: invites, requests to join, approval.

use super::fields::{FieldFault, Fields};
use super::ids::{NodeName, RequestId};
use super::lease::with_ttl;
use super::platform::{Platform, fs_url};
use crate::canonical::ObjectWriter;
use crate::secret::Secret;

/// `node_join`: pairs with an invite.
#[derive(Debug, Clone)]
pub struct JoinByInvite {
    /// The invite.
    pub invite_token: Secret,
    /// What the node wants to be called.
    pub node_name: Option<NodeName>,
    /// Where it can be reached.
    pub fs_url: Option<String>,
    /// How long its lease is to be.
    pub lease_ttl_ms: Option<u64>,
}

impl JoinByInvite {
    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Ok(Self {
            invite_token: fields.secret("invite_token")?,
            node_name: fields.optional("node_name", NodeName::new)?,
            fs_url: fs_url(fields)?,
            lease_ttl_ms: fields.unsigned("lease_ttl_ms")?,
        })
    }

    /// The payload.
    pub fn encode(&self) -> String {
        let mut payload = ObjectWriter::new().text("invite_token", self.invite_token.expose());
        if let Some(name) = &self.node_name {
            payload = payload.text("node_name", name.as_str());
        }
        payload = payload.text("fs_url", self.fs_url.as_deref().unwrap_or_default());
        with_ttl(payload, self.lease_ttl_ms).finish()
    }
}

/// `node_join_request`: asks to be paired.
#[derive(Debug, Clone)]
pub struct RequestJoin {
    /// What the node wants to be called.
    pub node_name: Option<NodeName>,
    /// Where it can be reached.
    pub fs_url: Option<String>,
    /// What it is.
    pub platform: Option<Platform>,
}

impl RequestJoin {
    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Ok(Self {
            node_name: fields.optional("node_name", NodeName::new)?,
            fs_url: fs_url(fields)?,
            platform: Platform::decode(fields)?,
        })
    }

    /// The payload.
    pub fn encode(&self) -> String {
        let mut payload = ObjectWriter::new();
        if let Some(name) = &self.node_name {
            payload = payload.text("node_name", name.as_str());
        }
        payload = payload.text("fs_url", self.fs_url.as_deref().unwrap_or_default());
        if let Some(platform) = &self.platform {
            payload = payload.json("platform", platform.encode());
        }
        payload.finish()
    }
}

/// A request to join that was filed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingJoin {
    /// Names it.
    pub request_id: RequestId,
    /// What the node wants to be called.
    pub node_name: String,
    /// Where it can be reached.
    pub fs_url: String,
    /// What it is.
    pub platform: Platform,
    /// When it asked.
    pub requested_at_ms: u64,
    /// Where it asked from; left out in the reply to the node.
    pub address: Option<String>,
}

impl PendingJoin {
    /// The JSON object.
    pub fn encode(&self) -> String {
        let mut payload = ObjectWriter::new()
            .text("request_id", self.request_id.as_str())
            .text("node_name", &self.node_name)
            .text("fs_url", &self.fs_url)
            .json("platform", self.platform.encode())
            .json("requested_at_ms", self.requested_at_ms);
        if let Some(address) = &self.address {
            payload = payload.text("address", address);
        }
        payload.finish()
    }

    /// Reads the object. Only the id has to be there.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Ok(Self {
            request_id: fields.checked("request_id", RequestId::new)?,
            node_name: fields.text("node_name").unwrap_or_default().to_owned(),
            fs_url: fields.text("fs_url").unwrap_or_default().to_owned(),
            platform: Platform::decode(fields)?.unwrap_or_default(),
            requested_at_ms: fields.unsigned("requested_at_ms")?.unwrap_or_default(),
            address: fields.text("address").map(str::to_owned),
        })
    }
}

/// The answer to `node_join_pending_list`.
pub fn pending_payload<'p>(pending: impl IntoIterator<Item = &'p PendingJoin>) -> String {
    let pending = pending.into_iter().map(PendingJoin::encode);
    ObjectWriter::new().array("pending", pending).finish()
}

/// Reads the answer to `node_join_pending_list`.
pub fn read_pending(fields: Fields<'_>) -> Result<Vec<PendingJoin>, FieldFault> {
    let pending = fields.array("pending")?.ok_or(FieldFault::Missing)?;
    pending
        .iter()
        .map(|value| PendingJoin::decode(Fields::of(Some(value))?))
        .collect()
}

/// `node_join_approve`: an operator approves, or the node asks for the outcome.
#[derive(Debug, Clone)]
pub struct ApproveJoin {
    /// The request.
    pub request_id: RequestId,
    /// How long the lease is to be.
    pub lease_ttl_ms: Option<u64>,
}

impl ApproveJoin {
    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Ok(Self {
            request_id: fields.checked("request_id", RequestId::new)?,
            lease_ttl_ms: fields.unsigned("lease_ttl_ms")?,
        })
    }

    /// The payload, with the operator's token if there is one.
    pub fn encode(&self, operator_token: Option<&Secret>) -> String {
        let payload = ObjectWriter::new().text("request_id", self.request_id.as_str());
        let payload = with_ttl(payload, self.lease_ttl_ms);
        match operator_token {
            Some(token) => payload.text("operator_token", token.expose()),
            None => payload,
        }
        .finish()
    }
}

/// `node_join_deny`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenyJoin {
    /// The request.
    pub request_id: RequestId,
}

impl DenyJoin {
    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        let request_id = fields.checked("request_id", RequestId::new)?;
        Ok(Self { request_id })
    }

    /// The payload, with the operator's token if there is one.
    pub fn encode(&self, operator_token: Option<&Secret>) -> String {
        let payload = ObjectWriter::new().text("request_id", self.request_id.as_str());
        match operator_token {
            Some(token) => payload.text("operator_token", token.expose()),
            None => payload,
        }
        .finish()
    }
}

/// The answer to `node_join_deny`.
pub fn denied_payload(request_id: &RequestId) -> String {
    ObjectWriter::new()
        .json("denied", true)
        .text("request_id", request_id.as_str())
        .finish()
}

/// `node_invite_create`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateInvite {
    /// How long it is good for.
    pub expires_in_ms: Option<u64>,
    /// How many nodes it pairs; one by default. The original knows no other number.
    pub max_uses: Option<u64>,
    /// The only name it pairs. The original has no such thing.
    pub node_name: Option<NodeName>,
}

impl CreateInvite {
    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Ok(Self {
            expires_in_ms: fields.unsigned("expires_in_ms")?,
            max_uses: fields.unsigned("max_uses")?,
            node_name: fields.optional("node_name", NodeName::new)?,
        })
    }

    /// The payload, with the operator's token if there is one.
    pub fn encode(&self, operator_token: Option<&Secret>) -> String {
        let mut payload = ObjectWriter::new();
        if let Some(expires_in_ms) = self.expires_in_ms {
            payload = payload.json("expires_in_ms", expires_in_ms);
        }
        if let Some(max_uses) = self.max_uses {
            payload = payload.json("max_uses", max_uses);
        }
        if let Some(name) = &self.node_name {
            payload = payload.text("node_name", name.as_str());
        }
        if let Some(token) = operator_token {
            payload = payload.text("operator_token", token.expose());
        }
        payload.finish()
    }
}

/// A fresh invite.
#[derive(Debug, Clone)]
pub struct Invite {
    /// Names it.
    pub invite_id: String,
    /// What a node has to say.
    pub invite_token: Secret,
    /// When it was made.
    pub created_at_ms: u64,
    /// When it ends.
    pub expires_at_ms: u64,
}

impl Invite {
    /// The payload.
    pub fn encode(&self) -> String {
        ObjectWriter::new()
            .text("invite_id", &self.invite_id)
            .text("invite_token", self.invite_token.expose())
            .json("created_at_ms", self.created_at_ms)
            .json("expires_at_ms", self.expires_at_ms)
            .finish()
    }

    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Ok(Self {
            invite_id: fields.required("invite_id")?.to_owned(),
            invite_token: fields.secret("invite_token")?,
            created_at_ms: fields.unsigned("created_at_ms")?.unwrap_or_default(),
            expires_at_ms: fields.unsigned("expires_at_ms")?.unwrap_or_default(),
        })
    }
}

/// An invite as it is listed: everything but its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteInfo {
    /// Names it.
    pub invite_id: String,
    /// The only name a node can pair under with it.
    pub node_name: Option<String>,
    /// How many nodes it pairs.
    pub max_uses: u64,
    /// How many it has paired.
    pub uses: u64,
    /// When it was made.
    pub created_at_ms: u64,
    /// When it ends.
    pub expires_at_ms: u64,
    /// It can still be used.
    pub is_open: bool,
}

impl InviteInfo {
    /// The JSON object.
    pub fn encode(&self) -> String {
        let out = ObjectWriter::new().text("invite_id", &self.invite_id);
        match &self.node_name {
            Some(name) => out.text("node_name", name),
            None => out,
        }
        .json("max_uses", self.max_uses)
        .json("uses", self.uses)
        .json("created_at_ms", self.created_at_ms)
        .json("expires_at_ms", self.expires_at_ms)
        .json("open", self.is_open)
        .finish()
    }

    /// Reads the object.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        let number = |name| fields.unsigned(name).map(Option::unwrap_or_default);
        Ok(Self {
            invite_id: fields.required("invite_id")?.to_owned(),
            node_name: fields.text("node_name").map(str::to_owned),
            max_uses: number("max_uses")?,
            uses: number("uses")?,
            created_at_ms: number("created_at_ms")?,
            expires_at_ms: number("expires_at_ms")?,
            is_open: fields.flag("open")?.unwrap_or_default(),
        })
    }
}

/// The answer to a list of invites.
pub fn invites_payload<'i>(invites: impl IntoIterator<Item = &'i InviteInfo>) -> String {
    let invites = invites.into_iter().map(InviteInfo::encode);
    ObjectWriter::new().array("invites", invites).finish()
}

/// Reads that answer.
pub fn read_invites(fields: Fields<'_>) -> Result<Vec<InviteInfo>, FieldFault> {
    let invites = fields.array("invites")?.ok_or(FieldFault::Missing)?;
    invites
        .iter()
        .map(|value| InviteInfo::decode(Fields::of(Some(value))?))
        .collect()
}

/// Makes an invite worthless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeInvite {
    /// Which one.
    pub invite_id: String,
}

impl RevokeInvite {
    /// Reads the payload.
    pub fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        Ok(Self {
            invite_id: fields.required("invite_id")?.to_owned(),
        })
    }

    /// The payload.
    pub fn encode(&self, operator_token: Option<&Secret>) -> String {
        let payload = ObjectWriter::new().text("invite_id", &self.invite_id);
        match operator_token {
            Some(token) => payload.text("operator_token", token.expose()),
            None => payload,
        }
        .finish()
    }
}

/// The answer to that.
pub fn invite_revoked(invite_id: &str) -> String {
    ObjectWriter::new()
        .json("revoked", true)
        .text("invite_id", invite_id)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Credentials, RefreshLease};
    use crate::strict::Value;

    /// Recorded payloads; each is read and written again.
    #[test]
    fn recorded_payloads_are_read_and_written_alike() {
        fn round_trip(text: &str, again: impl FnOnce(Fields<'_>) -> Result<String, FieldFault>) {
            let value = Value::parse(text.as_bytes()).unwrap();
            assert_eq!(again(Fields::of(Some(&value)).unwrap()).unwrap(), text);
        }
        round_trip(
            r#"{"invite_token":"inv-d1d10263afd5df156ac1c1bbef08a38c","node_name":"edge","fs_url":"","lease_ttl_ms":900000}"#,
            |fields| Ok(JoinByInvite::decode(fields)?.encode()),
        );
        round_trip(
            r#"{"node_name":"edge","fs_url":"","platform":{"os":"linux","arch":"x86_64","runtime_kind":"native"}}"#,
            |fields| Ok(RequestJoin::decode(fields)?.encode()),
        );
        round_trip(
            r#"{"request_id":"pending-join-1","node_name":"later","fs_url":"","platform":{"os":"linux","arch":"x86_64","runtime_kind":"native"},"requested_at_ms":1795405380175}"#,
            |fields| Ok(PendingJoin::decode(fields)?.encode()),
        );
        round_trip(
            r#"{"request_id":"pending-join-1","lease_ttl_ms":900000,"operator_token":"op"}"#,
            |fields| {
                Ok(ApproveJoin::decode(fields)?.encode(fields.optional_secret("operator_token")?.as_ref()))
            },
        );
        round_trip(
            r#"{"node_id":"node-2","node_name":"edge","fs_url":"","node_secret":"secret-02f62bf3d91c8a3f1ebdcd6223dcc70f","lease_token":"lease-ac46b8a299cf53a3f5cbc23c64b7a427","platform":{"os":"unknown","arch":"unknown","runtime_kind":"unknown"},"lease_expires_at_ms":1795406278689}"#,
            |fields| Ok(Credentials::decode(fields)?.encode()),
        );
        round_trip(
            r#"{"node_id":"node-2","node_secret":"secret-02f6","fs_url":"ws://127.0.0.1:20311/v2/fs/node/node-2","lease_ttl_ms":900000}"#,
            |fields| Ok(RefreshLease::decode(fields)?.encode()),
        );
    }

    #[test]
    fn listed_invites_round_trip() {
        let mut invites = vec![InviteInfo {
            invite_id: "invite-1".to_owned(),
            node_name: None,
            max_uses: 2,
            uses: 1,
            created_at_ms: 3,
            expires_at_ms: 4,
            is_open: true,
        }];
        invites.push(InviteInfo {
            node_name: Some("edge".to_owned()),
            is_open: false,
            ..invites[0].clone()
        });
        let text = invites_payload(&invites);
        let value = Value::parse(text.as_bytes()).unwrap();
        assert_eq!(read_invites(Fields::of(Some(&value)).unwrap()).unwrap(), invites);
    }

    #[test]
    fn bad_requests_to_join_are_refused_and_odd_ones_are_not() {
        for (text, accepted) in [
            (r#"{"node_name":"a b"}"#, false),
            (r#"{"node_name":5}"#, true),
            ("{}", true),
            (r#"{"node_name":"a","fs_url":"http://x/v2/fs"}"#, false),
            (r#"{"node_name":"a","fs_url":"ws://x/"}"#, false),
            (r#"{"node_name":"a","platform":{"os":"a b"}}"#, false),
        ] {
            let value = Value::parse(text.as_bytes()).unwrap();
            let read = RequestJoin::decode(Fields::of(Some(&value)).unwrap());
            assert_eq!(read.is_ok(), accepted, "{text}");
        }
    }

    #[test]
    fn credentials_without_secret_are_none() {
        for text in [
            r#"{"node_id":"n","node_secret":"","lease_token":"l"}"#,
            r#"{"node_id":"n","lease_token":"l"}"#,
            r#"{"node_secret":"s","lease_token":"l"}"#,
        ] {
            let value = Value::parse(text.as_bytes()).unwrap();
            assert!(
                Credentials::decode(Fields::of(Some(&value)).unwrap()).is_err(),
                "{text}"
            );
        }
        let value = Value::parse(
            br#"{"node_id":"n","node_secret":"s","lease_token":"l","lease_expires_at_ms":"x","fs_url":null}"#,
        )
        .unwrap();
        let read = Credentials::decode(Fields::of(Some(&value)).unwrap()).unwrap();
        assert_eq!(read.lease_expires_at_ms, 0);
    }
}
