//! The control protocol as values: how nodes and tools talk to a hub, for both generations and in both directions.
//!
//! ```text
//! text ──► ControlEnvelope::parse ──► type, id, payload        (any frame of the control channel)
//!              │ hub                        │ node, tool
//!              ▼                            ▼
//!          Operation + request::decode   Answer::of + reply::decode
//!          reply::encode, refusal        request::encode
//! ```
//!
//! Every message is a struct with `encode`, which gives the text of its payload, and `decode`, which reads it. What
//! differs between the generations is a [`Dialect`](crate::Dialect) in the arguments; everything else is the same.
//!
//! How strict a decoder is follows the original server (`hub.md`, section 3.1): a string of another type counts as
//! absent, a number or boolean of another type is a fault, unknown members are ignored.
//!
//! The tunnel's hello is here as well ([`TunnelHello`], [`RoutedHello`]): it names the identity that pairing made.

mod catalog;
mod envelope;
mod fields;
mod handshake;
mod ids;
mod lease;
mod node;
mod operation;
mod pairing;
mod platform;
mod project;
mod refusal;
mod routing;
mod tunnel;
mod workspace;

pub use catalog::{CatalogEntry, CatalogReply, Change, Delta, EntryFault, Labels, Mark, UpsertCatalog};
pub use envelope::{
    Answer, ControlEnvelope, ControlFault, debug_event, error, event, reply, reply_without_id, request,
    server_error,
};
pub use fields::{FieldFault, Fields};
pub use handshake::{CONTROL_PROTOCOL, ConnectAck, VersionAck, check_version, version_payload};
pub use ids::{ExportName, MountPath, NodeId, NodeName, ProjectId, RequestId};
pub use lease::{Credentials, RefreshLease};
pub use node::{
    DeleteNode, EnsureNode, NodeInfo, NodeRef, TunnelInfo, node_deleted, nodes_payload, read_nodes,
};
pub use operation::{Operation, Scope};
pub use pairing::{
    ApproveJoin, CreateInvite, DenyJoin, Invite, InviteInfo, JoinByInvite, PendingJoin, RequestJoin,
    RevokeInvite, denied_payload, invite_revoked, invites_payload, pending_payload, read_invites,
    read_pending,
};
pub use platform::Platform;
pub use project::{
    CreateProject, Mount, ProjectInfo, ProjectRef, ProjectSummary, ProjectUp, RemoveMount, SetMount,
    UpdateProject, project_deleted, projects_payload, read_projects, token_payload,
};
pub use refusal::{Code, Refusal, one_line};
pub use routing::{FrameKind, FramePeek};
pub use tunnel::{
    CLIENT_TAG_BITS, NODE_GONE_CLOSE, RoutedHello, TunnelAnswer, TunnelFault, TunnelHello, tunnel_refusal,
    tunnel_welcome,
};
pub use workspace::{Availability, Drift, MountState, MountView, WorkspaceStatus, read_mounts};
