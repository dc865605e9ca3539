//! What a reload changes (sections 12 and 19.18). Pure.

use std::collections::HashMap;

use spiderweb_protocol::ServiceId;

use super::Manifest;

/// The services of two sets, by what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Only in the new set, in its order.
    pub added: Vec<ServiceId>,
    /// Only in the old set, in its order.
    pub removed: Vec<ServiceId>,
    /// In both, and not the same, in the new order.
    pub changed: Vec<ServiceId>,
    /// In both and the same, in the new order.
    pub unchanged: Vec<ServiceId>,
}

impl Diff {
    /// Whether there is anything to do.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// Compares two sets in which every id is unique.
pub fn diff<'m>(
    old: impl IntoIterator<Item = &'m Manifest>,
    new: impl IntoIterator<Item = &'m Manifest>,
) -> Diff {
    let old: Vec<&Manifest> = old.into_iter().collect();
    let mut left: HashMap<&ServiceId, &Manifest> = old
        .iter()
        .map(|manifest| (&manifest.service_id, *manifest))
        .collect();
    let mut diff = Diff::default();
    for manifest in new {
        let list = match left.remove(&manifest.service_id) {
            None => &mut diff.added,
            Some(old) if old == manifest => &mut diff.unchanged,
            Some(_) => &mut diff.changed,
        };
        list.push(manifest.service_id.clone());
    }
    let ids = old.iter().map(|manifest| &manifest.service_id);
    diff.removed = ids.filter(|id| left.contains_key(id)).cloned().collect();
    diff
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spiderweb_protocol::Dialect;

    use super::*;
    use crate::manifest::{Context, parse};

    fn manifest(id: u8, kind: u8) -> Manifest {
        let text = format!(r#"{{"service_id":"s{id}","kind":"k{kind}"}}"#);
        let context = Context {
            dialect: Dialect::Seed,
            node_id: "n",
        };
        parse(text.as_bytes(), context).unwrap().manifest.unwrap()
    }

    fn any_set() -> impl Strategy<Value = Vec<Manifest>> {
        let kinds = prop::collection::btree_map(0u8..8, 0u8..2, 0..8);
        kinds.prop_map(|set| set.into_iter().map(|(id, kind)| manifest(id, kind)).collect())
    }

    proptest! {
        /// Applying the difference to the old set gives the new one, and nothing is named twice.
        #[test]
        fn every_service_is_in_one_list(old in any_set(), new in any_set()) {
            let diff = diff(&old, &new);
            let find = |set: &[Manifest], id: &ServiceId| {
                set.iter().find(|manifest| manifest.service_id == *id).cloned()
            };
            for id in &diff.added {
                prop_assert!(find(&old, id).is_none() && find(&new, id).is_some());
            }
            for id in &diff.removed {
                prop_assert!(find(&old, id).is_some() && find(&new, id).is_none());
            }
            for id in &diff.changed {
                prop_assert!(find(&old, id) != find(&new, id) && find(&old, id).is_some());
            }
            for id in &diff.unchanged {
                prop_assert_eq!(find(&old, id), find(&new, id));
            }
            prop_assert_eq!(diff.added.len() + diff.changed.len() + diff.unchanged.len(), new.len());
            prop_assert_eq!(diff.removed.len() + diff.changed.len() + diff.unchanged.len(), old.len());
            prop_assert_eq!(diff.is_empty(), old == new);
        }
    }
}
