//! What watchers of catalogs are told.

use spiderweb_protocol::control::{FieldFault, Fields, NodeId};

/// A catalog that was published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogEvent {
    /// Whose it is.
    pub node_id: NodeId,
    /// What people call the node.
    pub node_name: String,
    /// When it changed, in milliseconds since 1970.
    pub timestamp_ms: u64,
    /// What is different; nothing when the hub does not say.
    pub changes: Vec<CatalogChange>,
}

/// One difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CatalogChange {
    /// A new service.
    Added(ServiceMark),
    /// A service that says something else than before.
    Updated(ServiceMark),
    /// A service that is gone.
    Removed(ServiceMark),
}

/// A service in an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceMark {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its state, unless it is gone.
    pub state: Option<String>,
}

impl CatalogEvent {
    /// Reads the payload of an event.
    pub(super) fn decode(fields: Fields<'_>) -> Result<Self, FieldFault> {
        let services = fields.array("services")?.unwrap_or_default();
        let state = |id: &str| {
            let service = services.iter().find(|service| {
                let named = service.member("service_id").and_then(|id| id.as_text());
                named == Some(id)
            });
            Some(service?.member("state")?.as_text()?.to_owned())
        };
        let delta = Fields::of(fields.object("service_delta")?)?;
        let marks = |list: &str| -> Result<Vec<ServiceMark>, FieldFault> {
            let list = delta.array(list)?.unwrap_or_default();
            let mark = |value| {
                let fields = Fields::of(Some(value))?;
                let id = fields.required("service_id")?;
                Ok(ServiceMark {
                    id: id.to_owned(),
                    version: fields.text("version").unwrap_or_default().to_owned(),
                    state: state(id),
                })
            };
            list.iter().map(mark).collect()
        };
        let mut changes: Vec<_> = marks("added")?.into_iter().map(CatalogChange::Added).collect();
        changes.extend(marks("updated")?.into_iter().map(CatalogChange::Updated));
        changes.extend(marks("removed")?.into_iter().map(CatalogChange::Removed));
        Ok(Self {
            node_id: fields.checked("node_id", NodeId::new)?,
            node_name: fields.text("node_name").unwrap_or_default().to_owned(),
            timestamp_ms: delta.unsigned("timestamp_ms")?.unwrap_or_default(),
            changes,
        })
    }
}
