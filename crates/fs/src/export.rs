//! The exports of a node, by name and by id.

use std::collections::HashSet;
use std::sync::Arc;

use spiderweb_protocol::InodeId;
use spiderweb_protocol::fs::{Export as Announced, NodeCaps};

use crate::{FsError, Source};

/// A named tree with an access mode.
#[derive(Clone)]
pub struct Export {
    name: String,
    description: String,
    read_only: bool,
    source: Arc<dyn Source>,
}

impl Export {
    /// Offers `source` as `name`. `description` is what clients are shown: for a folder, the path as it was
    /// configured.
    pub fn new(
        name: impl Into<String>,
        description: impl Into<String>,
        read_only: bool,
        source: Arc<dyn Source>,
    ) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            read_only,
            source,
        }
    }

    /// The name clients choose it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stands behind it.
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// Fails with [`FsError::ExportReadOnly`] where changes are refused.
    pub fn check_writable(&self) -> Result<(), FsError> {
        if self.read_only {
            Err(FsError::ExportReadOnly)
        } else {
            Ok(())
        }
    }

    /// Whether changes are refused.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }
}

/// All exports of a node, in the order of its configuration.
///
/// A table never changes. A node whose exports do replaces it by another, in which every export keeps its place for
/// as long as it exists: ids carry the place, so they keep their meaning (`services.md`, section 19, no 18).
pub struct ExportTable {
    /// A place whose export is gone stays empty, unless its own export returns.
    places: Vec<Option<Export>>,
    announced: Arc<[Announced]>,
    caps: NodeCaps,
}

/// Why exports do not make a table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Two exports of one name.
    #[error("two exports are called `{0}`; give each its own name")]
    DuplicateName(String),
}

impl ExportTable {
    /// Builds the table; names must be unique.
    pub fn new(exports: Vec<Export>) -> Result<Self, TableError> {
        Self::of_places(exports.into_iter().map(Some).collect())
    }

    /// Builds the table from places, some of which may be empty; names must be unique.
    pub fn of_places(places: Vec<Option<Export>>) -> Result<Self, TableError> {
        let mut names = HashSet::new();
        let mut exports = places.iter().flatten();
        if let Some(twice) = exports.find(|export| !names.insert(export.name.as_str())) {
            return Err(TableError::DuplicateName(twice.name.clone()));
        }
        let announced: Arc<[Announced]> = places.iter().flatten().map(announce).collect();
        let all = |has: fn(&Announced) -> bool| announced.iter().all(has);
        let caps = NodeCaps {
            symlink: all(|export| export.caps.symlink),
            xattr: all(|export| export.caps.xattr),
            locks: all(|export| export.caps.locks),
            case_sensitive: all(|export| export.caps.case_sensitive),
        };
        Ok(Self {
            places,
            announced,
            caps,
        })
    }

    /// The export an id belongs to.
    pub fn of(&self, id: InodeId) -> Result<&Export, FsError> {
        id.export_index()
            .and_then(|index| self.places.get(index)?.as_ref())
            .ok_or(FsError::NotFound)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Export> {
        self.places.iter().flatten()
    }

    /// Their places, empty ones included.
    pub fn places(&self) -> &[Option<Export>] {
        &self.places
    }

    /// What `exports` answers.
    pub fn announced(&self) -> &Arc<[Announced]> {
        &self.announced
    }

    /// The logical AND over all exports (section 4).
    pub fn caps(&self) -> NodeCaps {
        self.caps
    }
}

fn announce(export: &Export) -> Announced {
    Announced {
        name: export.name.clone(),
        root: export.source.root().get(),
        ro: export.read_only,
        desc: export.description.clone(),
        source_kind: export.source.kind().wire().to_owned(),
        source_id: export.source.source_id(&export.name),
        caps: export.source.caps(),
    }
}
