//! Manifests: the JSON files that declare namespace services (section 3 of the contract, `docs/services.md` for
//! people).
//!
//! ```text
//! command line ─► load.rs ──text──► parse.rs ──► Manifest ──► rules.rs ──► Settled: services in force, faults
//!                 files, folders    pure; all    checked,     pure; ids     │
//!                                   faults of    defaults     and names     └─► diff.rs: what a reload changes
//!                                   a file       filled in    are unique
//! ```
//!
//! Whatever is wrong anywhere is one [`ManifestFault`]: the file, the place in it, what is wrong, what would be
//! right. `members.rs` is the one table of members; `schema.rs` makes the JSON Schema of it.

mod diff;
mod fault;
mod load;
mod members;
mod parse;
mod place;
mod rules;
mod runtime;
mod schema;
mod values;

use spiderweb_protocol::ServiceId;
use spiderweb_runtime::{ProbePolicy, RuntimeKind, RuntimeSpec};

pub use diff::{Diff, diff};
pub use fault::{FaultName, ManifestFault, Note};
pub use load::{LibraryCheck, LoadedFile, Sources, load};
pub use parse::{Context, Parsed, parse};
pub use rules::{LeftOut, Reserved, Service, Settled, settle};
pub use schema::schema;

/// What one file declares, checked and with every default filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// Its id, unique within the node.
    pub service_id: ServiceId,
    /// What kind of thing it is: an identifier.
    pub kind: String,
    /// Its version: 1 to 64 bytes.
    pub version: String,
    /// Its declared state, usually `online`.
    pub state: String,
    /// Paths at which it is found in the control server's namespace; never empty.
    pub endpoints: Vec<String>,
    /// Where it is mounted there.
    pub mounts: Vec<Mount>,
    /// Object, canonical JSON.
    pub capabilities: String,
    /// Object, canonical JSON.
    pub ops: String,
    /// The member `runtime` as published, canonical JSON. What of it is acted on is in `runtime`.
    pub runtime_json: String,
    /// Object, canonical JSON; published only.
    pub permissions: String,
    /// `SCHEMA.json`, canonical JSON.
    pub schema: String,
    /// `TEMPLATE.json`, canonical JSON.
    pub invoke_template: String,
    /// `README.md`, if there is one.
    pub help_md: Option<String>,
    /// What only the head generation publishes.
    pub package: Package,
    /// How its driver is run, if it has one.
    pub runtime: Runtime,
    /// When its driver is probed.
    pub probe: ProbePolicy,
}

impl Manifest {
    /// The name of its export, if it gets one (sections 3.5 and 5).
    pub fn export_name(&self) -> Option<String> {
        match self.runtime {
            Runtime::CatalogOnly { .. } => None,
            Runtime::Executable(_) => Some(format!("svc-{}", self.service_id)),
        }
    }
}

/// Where a service is mounted in the control server's namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// An identifier of at most 128 bytes.
    pub mount_id: String,
    /// An absolute path of at most 512 bytes.
    pub mount_path: String,
    /// Its declared state.
    pub state: String,
}

/// The members that the head generation adds (section 17.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    /// The package on the control server; the service's id unless declared.
    pub package_id: Option<String>,
    /// Which of several instances this is.
    pub instance_id: Option<String>,
    /// Who provides it.
    pub provider_scope: String,
    /// Array, canonical JSON.
    pub categories: String,
    /// Array, canonical JSON.
    pub hosts: String,
    /// Array, canonical JSON.
    pub projection_modes: String,
    /// Object, canonical JSON.
    pub requirements: String,
}

impl Default for Package {
    fn default() -> Self {
        Self {
            package_id: None,
            instance_id: None,
            provider_scope: "node_export".to_owned(),
            categories: "[]".to_owned(),
            hosts: r#"["node"]"#.to_owned(),
            projection_modes: r#"["node_export"]"#.to_owned(),
            requirements: "{}".to_owned(),
        }
    }
}

/// Whether a service can be invoked (section 3.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Runtime {
    /// It is published and nothing more.
    CatalogOnly {
        /// The runtime it names without a driver; `None` for a built-in one.
        kind: Option<RuntimeKind>,
    },
    /// It gets an export whose files run its driver.
    Executable(RuntimeSpec),
}
