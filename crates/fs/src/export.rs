//! The exports of a node, by name and by id.

use std::collections::HashSet;
use std::sync::Arc;

use spiderweb_protocol::InodeId;
use spiderweb_protocol::fs::{Export as Announced, NodeCaps};

use crate::{FsError, Source};

/// A named tree with an access mode.
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

/// All exports of a node, in the order of its configuration. Never changes once it is built.
pub struct ExportTable {
    exports: Vec<Export>,
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
        let mut names = HashSet::new();
        if let Some(twice) = exports.iter().find(|export| !names.insert(export.name.as_str())) {
            return Err(TableError::DuplicateName(twice.name.clone()));
        }
        let announced = exports.iter().map(announce).collect();
        let all =
            |has: fn(&Announced) -> bool| -> bool { exports.iter().map(announce).all(|export| has(&export)) };
        let caps = NodeCaps {
            symlink: all(|export| export.caps.symlink),
            xattr: all(|export| export.caps.xattr),
            locks: all(|export| export.caps.locks),
            case_sensitive: all(|export| export.caps.case_sensitive),
        };
        Ok(Self {
            exports,
            announced,
            caps,
        })
    }

    /// The export an id belongs to.
    pub fn of(&self, id: InodeId) -> Result<&Export, FsError> {
        id.export_index()
            .and_then(|index| self.exports.get(index))
            .ok_or(FsError::NotFound)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Export> {
        self.exports.iter()
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
    let kind = export.source.kind().wire();
    Announced {
        name: export.name.clone(),
        root: export.source.root().get(),
        ro: export.read_only,
        desc: export.description.clone(),
        source_kind: kind.to_owned(),
        source_id: format!("{kind}:{}", export.name),
        caps: export.source.caps(),
    }
}
