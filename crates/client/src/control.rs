//! A hub's control connection: which nodes there are, who may join, what projects mount.
//!
//! One connection, one request after the other, every id used once. What comes without having been asked for is
//! skipped, apart from catalog changes somebody watches. Every answer has a deadline: original hubs answer some requests
//! without saying which, or not at all.
//!
//! Nothing is dialled again. What a hub was asked is either answered, or it is not known what became of it; only the
//! caller can tell whether asking again does harm.

mod connection;
mod error;
mod event;

use std::time::Duration;

use spiderweb_protocol::canonical::ObjectWriter;
use spiderweb_protocol::control::{
    ApproveJoin, CatalogEntry, Code, CreateInvite, Credentials, DenyJoin, FieldFault, Fields, Invite,
    InviteInfo, Mount, MountView, NodeId, NodeInfo, NodeRef, Operation, PendingJoin, ProjectId, ProjectRef,
    ProjectSummary, RequestId, RevokeInvite, VersionAck, read_invites, read_mounts, read_nodes, read_pending,
    read_projects,
};
use spiderweb_protocol::{Dialect, Secret};
use spiderweb_transport::WsUrl;

use self::connection::{Connection, Question};
pub use self::error::ControlError;
pub use self::event::{CatalogChange, CatalogEvent, ServiceMark};

/// Past events a hub tells a new watcher, unless it is asked for more or fewer.
const REPLAY: u64 = 25;

/// Where the hub is, and what to show there.
#[derive(Clone, Debug)]
pub struct ControlOptions {
    /// The hub's control address.
    pub url: WsUrl,
    /// The bearer token: an admin's or a user's.
    pub token: Option<Secret>,
    /// The second factor for operations that change who may join.
    pub operator: Option<Secret>,
    /// Time for connecting and upgrading.
    pub dial_timeout: Duration,
    /// Time for one answer.
    pub timeout: Duration,
}

impl ControlOptions {
    /// The defaults for a hub at `url`: no tokens, 10 seconds to connect, 15 for an answer.
    pub fn new(url: WsUrl) -> Self {
        Self {
            url,
            token: None,
            operator: None,
            dial_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(15),
        }
    }
}

/// A control connection past its handshake.
#[derive(Debug)]
pub struct Control {
    connection: Connection,
    dialect: Dialect,
    options: ControlOptions,
}

impl Control {
    /// Dials, agrees on the version and says hello. Tries once.
    pub async fn connect(options: ControlOptions) -> Result<Self, ControlError> {
        let (connection, generation) = Connection::open(&options).await?;
        Ok(Self {
            connection,
            dialect: generation.map_or(Dialect::Seed, VersionAck::dialect),
            options,
        })
    }

    /// How the hub was reached.
    pub fn options(&self) -> &ControlOptions {
        &self.options
    }

    /// The nodes the hub knows.
    pub async fn nodes(&mut self) -> Result<Vec<NodeInfo>, ControlError> {
        self.ask(Operation::NodeList, "{}", read_nodes).await
    }

    /// One node.
    pub async fn node(&mut self, node: &NodeId) -> Result<NodeInfo, ControlError> {
        let payload = node_ref(node);
        let read = |fields: Fields<'_>| {
            let node = fields.object("node")?.ok_or(FieldFault::Missing)?;
            NodeInfo::decode(Fields::of(Some(node))?)
        };
        self.ask(Operation::NodeGet, &payload, read).await
    }

    /// What a node offers, as it told the hub.
    pub async fn catalog(&mut self, node: &NodeId) -> Result<Vec<CatalogEntry>, ControlError> {
        let dialect = self.dialect;
        let read = |fields: Fields<'_>| {
            let entries = fields.array(dialect.list_member())?.unwrap_or_default();
            let entries = entries.iter().map(CatalogEntry::read);
            // An entry that breaks a rule hides no other.
            Ok(entries.filter_map(Result::ok).collect())
        };
        self.ask(Operation::CatalogGet, &node_ref(node), read).await
    }

    /// Makes an invite. Its token is told this once.
    pub async fn create_invite(&mut self, invite: &CreateInvite) -> Result<Invite, ControlError> {
        let payload = invite.encode(self.options.operator.as_ref());
        self.ask(Operation::NodeInviteCreate, &payload, Invite::decode)
            .await
    }

    /// The invites the hub remembers. Original hubs cannot list them.
    pub async fn invites(&mut self) -> Result<Vec<InviteInfo>, ControlError> {
        let payload = self.operator_payload();
        self.ask(Operation::NodeInviteList, &payload, read_invites).await
    }

    /// Makes an invite worthless. Original hubs cannot do it.
    pub async fn revoke_invite(&mut self, invite_id: &str) -> Result<(), ControlError> {
        let revoke = RevokeInvite {
            invite_id: invite_id.to_owned(),
        };
        let payload = revoke.encode(self.options.operator.as_ref());
        self.ask(Operation::NodeInviteRevoke, &payload, |_| Ok(())).await
    }

    /// Who waits to be let in.
    pub async fn pending(&mut self) -> Result<Vec<PendingJoin>, ControlError> {
        let payload = self.operator_payload();
        self.ask(Operation::NodeJoinPendingList, &payload, read_pending)
            .await
    }

    /// Lets a node in; the result is its id and its name.
    ///
    /// The hub's answer holds the node's credentials, because original nodes fetch theirs with the same request. They
    /// are dropped here.
    pub async fn approve(&mut self, request_id: &RequestId) -> Result<(NodeId, String), ControlError> {
        let approve = ApproveJoin {
            request_id: request_id.clone(),
            lease_ttl_ms: None,
        };
        let payload = approve.encode(self.options.operator.as_ref());
        let read = |fields: Fields<'_>| {
            let credentials = Credentials::decode(fields)?;
            Ok((credentials.node_id, credentials.node_name.unwrap_or_default()))
        };
        self.ask(Operation::NodeJoinApprove, &payload, read).await
    }

    /// Turns a node away.
    pub async fn deny(&mut self, request_id: &RequestId) -> Result<(), ControlError> {
        let deny = DenyJoin {
            request_id: request_id.clone(),
        };
        let payload = deny.encode(self.options.operator.as_ref());
        self.ask(Operation::NodeJoinDeny, &payload, |_| Ok(())).await
    }

    /// The projects this token may see.
    pub async fn projects(&mut self) -> Result<Vec<ProjectSummary>, ControlError> {
        self.ask(Operation::ProjectList, "{}", read_projects).await
    }

    /// What a project mounts, as it was asked for.
    pub async fn mounts(&mut self, project: &ProjectId) -> Result<Vec<Mount>, ControlError> {
        let payload = self.project_ref(project);
        let read = |fields: Fields<'_>| {
            let mounts = fields.array("mounts")?.ok_or(FieldFault::Missing)?;
            let mount = |value| Mount::decode(Fields::of(Some(value))?);
            mounts.iter().map(mount).collect()
        };
        self.ask(Operation::MountList, &payload, read).await
    }

    /// What of a project can be mounted now, with the tickets for it.
    pub async fn workspace(&mut self, project: &ProjectId) -> Result<Vec<MountView>, ControlError> {
        let payload = self.project_ref(project);
        self.ask(Operation::WorkspaceStatus, &payload, read_mounts).await
    }

    /// Watches catalogs, of one node or of all. Past events come first, then [`next_event`](Self::next_event) waits
    /// for new ones.
    pub async fn watch(&mut self, node: Option<&NodeId>) -> Result<(), ControlError> {
        let payload = ObjectWriter::new();
        let payload = match node {
            Some(node) => payload.text("node_id", node.as_str()),
            None => payload,
        };
        let payload = payload.json("replay_limit", REPLAY).finish();
        self.ask(Operation::CatalogWatch, &payload, |_| Ok(())).await
    }

    /// The next change of a catalog, for as long as it takes. Cancel safe.
    pub async fn next_event(&mut self) -> Result<CatalogEvent, ControlError> {
        self.connection.next_event().await
    }

    fn operator_payload(&self) -> String {
        let payload = ObjectWriter::new();
        match &self.options.operator {
            Some(token) => payload.text("operator_token", token.expose()),
            None => payload,
        }
        .finish()
    }

    fn project_ref(&self, project: &ProjectId) -> String {
        let project = ProjectRef {
            project_id: project.clone(),
            project_token: None,
        };
        project.encode(self.dialect)
    }

    async fn ask<T>(
        &mut self,
        operation: Operation,
        payload: &str,
        read: impl FnOnce(Fields<'_>) -> Result<T, FieldFault>,
    ) -> Result<T, ControlError> {
        let name = operation.wire(self.dialect);
        let question = Question {
            name,
            reply: name,
            payload,
        };
        self.connection.ask(question, read).await
    }
}

fn node_ref(node: &NodeId) -> String {
    NodeRef {
        node_id: node.clone(),
    }
    .encode()
}

/// Whether a refusal says that this token has no right to the operation.
pub(crate) fn is_forbidden(error: &ControlError) -> bool {
    matches!(error.code(), Some(Code::Forbidden | Code::ProvisioningRequired))
}
