//! The catalog on its way to the hub: what there is to say, and whether the hub has heard it.

use std::sync::{Arc, Mutex, PoisonError};

use spiderweb_protocol::control::{CatalogEntry, Mark};
use spiderweb_protocol::{Dialect, ServiceId};
use spiderweb_runtime::{ProbeStatus, PublishedState};

use super::probes::ProbeBook;
use crate::catalog::{Catalog, Disclosure, Entry, Standing};
use crate::manifest::Runtime;
use crate::services::Services;

/// The help text of a service without one, where every entry needs one: hubs of the newer generation answer with
/// broken JSON otherwise.
const NO_HELP: &str = "Namespace service driver";

/// Where the catalog is made from.
#[derive(Clone)]
pub(super) struct Inventory {
    pub(super) services: Arc<Mutex<Services>>,
    pub(super) probes: ProbeBook,
    pub(super) labels: Vec<(String, String)>,
    pub(super) disclosure: Disclosure,
}

impl Inventory {
    /// Everything this node offers now. Blocks.
    pub(super) fn catalog(&self, dialect: Dialect, node_id: &str) -> Catalog {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        // So that what is said of the drivers belongs to these services.
        self.probes.follow(&services);
        let mut entries = Vec::new();
        if services.has_fs_service() {
            let (is_any_writable, count) = services.folders();
            entries.push(Entry::fs(dialect, node_id, is_any_writable, count));
        }
        for (id, health) in services.terminals() {
            entries.push(Entry::terminal(dialect, node_id, id, health));
        }
        for offered in services.offered() {
            let standing = match (&offered.manifest.runtime, offered.hosted) {
                (Runtime::Executable(_), Some(hosted)) => Standing {
                    probe: self
                        .probes
                        .status(&offered.manifest.service_id)
                        .unwrap_or(ProbeStatus::unprobed(PublishedState::Online)),
                    health: hosted.health,
                },
                _ => Standing::catalog_only(offered.manifest),
            };
            let entry = if dialect == Dialect::Head && offered.manifest.help_md.is_none() {
                let mut manifest = offered.manifest.clone();
                manifest.help_md = Some(NO_HELP.to_owned());
                Entry::observed(dialect, &manifest, &standing, self.disclosure)
            } else {
                Entry::observed(dialect, offered.manifest, &standing, self.disclosure)
            };
            entries.push(entry);
        }
        Catalog {
            dialect,
            labels: self.labels.clone(),
            entries,
        }
    }

    /// How services stand by their invokes; nobody tells when that changes. Blocks.
    pub(super) fn healths(&self) -> Vec<(ServiceId, PublishedState)> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let offered = services.offered().into_iter();
        offered
            .filter_map(|offered| Some((offered.manifest.service_id.clone(), offered.hosted?.health)))
            .collect()
    }
}

/// What a catalog says, clocks left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest {
    dialect: Dialect,
    labels: Vec<(String, String)>,
    marks: Vec<Option<Mark>>,
}

impl Digest {
    pub(super) fn of(catalog: &Catalog) -> Self {
        let marks = catalog.entries.iter();
        let marks = marks.map(|entry| {
            let entry = CatalogEntry::parse(entry.as_str()).ok()?;
            Some(entry.mark())
        });
        Self {
            dialect: catalog.dialect,
            labels: catalog.labels.clone(),
            marks: marks.collect(),
        }
    }
}

/// Leaves out what a hub would refuse the whole catalog for, and says which.
pub(super) fn leave_out_invalid(catalog: &mut Catalog) -> Vec<String> {
    let mut left_out = Vec::new();
    catalog
        .entries
        .retain(|entry| match CatalogEntry::parse(entry.as_str()) {
            Ok(_) => true,
            Err(fault) => {
                left_out.push(fault.to_string());
                false
            }
        });
    left_out
}

/// Leaves out what belongs to packages the hub may not know, and says which.
pub(super) fn leave_out_packages(catalog: &mut Catalog) -> Vec<String> {
    let mut left_out = Vec::new();
    catalog.entries.retain(|entry| {
        let Ok(parsed) = CatalogEntry::parse(entry.as_str()) else {
            return false;
        };
        let is_built_in = parsed.id() == "fs" || parsed.id().starts_with("terminal-");
        if !is_built_in {
            left_out.push(parsed.id().to_owned());
        }
        is_built_in
    });
    left_out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(entries: Vec<Entry>) -> Catalog {
        Catalog {
            dialect: Dialect::Head,
            labels: Vec::new(),
            entries,
        }
    }

    #[test]
    fn catalogs_differ_when_they_say_something_else() {
        let fs = |count| Entry::fs(Dialect::Head, "n", true, count);
        let one = Digest::of(&catalog(vec![fs(1)]));
        assert_eq!(one, Digest::of(&catalog(vec![fs(1)])));
        assert_ne!(one, Digest::of(&catalog(vec![fs(2)])));
        assert_ne!(one, Digest::of(&catalog(Vec::new())));
    }

    #[test]
    fn what_needs_no_package_stays() {
        let terminal = Entry::terminal(Dialect::Head, "n", "1", PublishedState::Online);
        let mut catalog = catalog(vec![Entry::fs(Dialect::Head, "n", true, 1), terminal]);
        assert!(leave_out_packages(&mut catalog).is_empty());
        assert!(leave_out_invalid(&mut catalog).is_empty());
        assert_eq!(catalog.entries.len(), 2);
    }
}
