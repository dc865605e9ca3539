//! What holds between manifests: ids and export names are unique (section 3.6). Pure.
//!
//! A fault is fatal if it concerns a file that somebody named; a file that was merely found in a folder is left out
//! and everything else goes on (section 19.20).

use std::collections::HashMap;
use std::path::PathBuf;

use spiderweb_protocol::ServiceId;
use spiderweb_protocol::strict::Position;

use super::Manifest;
use super::fault::{FaultName, ManifestFault};
use super::load::LoadedFile;
use super::parse::Parsed;

/// Names that are taken before any manifest is looked at.
#[derive(Debug, Clone, Default)]
pub struct Reserved<'r> {
    /// The service `fs` is published.
    pub has_fs_service: bool,
    /// The ids of terminals, each of which is the service and the export `terminal-<id>`.
    pub terminals: &'r [String],
    /// The names of exported folders.
    pub exports: &'r [String],
}

/// A service in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The file that declares it.
    pub file: PathBuf,
    /// The file was named by itself rather than found in a folder.
    pub is_named: bool,
    /// What it declares.
    pub manifest: Manifest,
}

/// What came of a set of files.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    /// The services, in load order.
    pub services: Vec<Service>,
    /// Faults with which a node does not start, and a reload is dropped.
    pub fatal: Vec<ManifestFault>,
    /// Files that are not in force as they are.
    pub left_out: Vec<LeftOut>,
}

/// A fault of a file that does not stop the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// What is wrong.
    pub fault: ManifestFault,
    /// The service whose last good version stays in force instead.
    pub kept: Option<ServiceId>,
}

/// Decides which services are in force.
///
/// `last_good` are the services in force until now; at start there are none. They take their names first, so that no new
/// file gets a running service's, and one whose file is broken or in conflict stays as it is.
pub fn settle(files: Vec<LoadedFile>, reserved: &Reserved<'_>, last_good: &[Service]) -> Settled {
    let mut found = Findings::default();
    let mut candidates: Vec<Candidate<'_>> = files
        .into_iter()
        .enumerate()
        .filter_map(|(place, file)| Candidate::new(place, file, last_good, &mut found))
        .collect();
    candidates.sort_by_key(|candidate| (!candidate.is_settled(), candidate.place));
    let mut taken = Taken::new(reserved);
    for candidate in candidates {
        candidate.settle(&mut taken, &mut found);
    }
    Settled {
        services: in_order(found.services),
        fatal: in_order(found.fatal),
        left_out: in_order(found.left_out),
    }
}

/// What is found out about files, each with its file's place.
#[derive(Default)]
struct Findings {
    services: Vec<(usize, Service)>,
    fatal: Vec<(usize, ManifestFault)>,
    left_out: Vec<(usize, LeftOut)>,
}

fn in_order<T>(mut found: Vec<(usize, T)>) -> Vec<T> {
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, item)| item).collect()
}

/// A file that declares a service, or did until now.
struct Candidate<'l> {
    place: usize,
    file: PathBuf,
    is_named: bool,
    manifest: Manifest,
    /// Where its id stands, if the file is good.
    id: Option<(&'static str, Position)>,
    /// What the file declared until now.
    last: Option<&'l Manifest>,
}

impl<'l> Candidate<'l> {
    /// What a file declares; nothing if it is disabled, or broken and new.
    fn new(place: usize, file: LoadedFile, last_good: &'l [Service], found: &mut Findings) -> Option<Self> {
        let LoadedFile {
            file,
            is_named,
            outcome,
        } = file;
        let last = last_good.iter().find(|service| service.file == file);
        let last = last.map(|service| &service.manifest);
        let (manifest, id) = match outcome {
            Ok(Parsed {
                manifest,
                id_member,
                id_position,
                ..
            }) => (manifest?, Some((id_member, id_position))),
            Err(faults) if is_named && last.is_none() => {
                found.fatal.extend(faults.into_iter().map(|fault| (place, fault)));
                return None;
            }
            Err(faults) => {
                let kept = last.map(|last| last.service_id.clone());
                let left_out = |fault| LeftOut {
                    fault,
                    kept: kept.clone(),
                };
                found
                    .left_out
                    .extend(faults.into_iter().map(|fault| (place, left_out(fault))));
                (last?.clone(), None)
            }
        };
        Some(Self {
            place,
            file,
            is_named,
            manifest,
            id,
            last,
        })
    }

    /// Whether the file declares the service that it declared until now.
    fn is_settled(&self) -> bool {
        self.last
            .is_some_and(|last| last.service_id == self.manifest.service_id)
    }

    fn settle(mut self, taken: &mut Taken<'_>, found: &mut Findings) {
        if let Err(conflict) = taken.take(&self.manifest, self.is_named) {
            // What it was until now is better than nothing, if that is still to be had.
            let last = self.last.filter(|_| !self.is_settled());
            let kept = last.filter(|last| !conflict.is_fatal && taken.take(last, self.is_named).is_ok());
            let fault = ManifestFault {
                file: Some(self.file.clone()),
                path: self.id.map_or("", |(member, _)| member).to_owned(),
                position: self.id.map(|(_, position)| position),
                what: conflict.what,
                right: conflict.right,
                name: conflict.name,
            };
            if conflict.is_fatal {
                found.fatal.push((self.place, fault));
            } else {
                let kept = kept.map(|last| last.service_id.clone());
                found.left_out.push((self.place, LeftOut { fault, kept }));
            }
            match kept {
                Some(last) => self.manifest = last.clone(),
                None => return,
            }
        }
        let service = Service {
            file: self.file,
            is_named: self.is_named,
            manifest: self.manifest,
        };
        found.services.push((self.place, service));
    }
}

struct Conflict {
    what: String,
    right: String,
    name: FaultName,
    is_fatal: bool,
}

/// The names in use, each with whether a file that somebody named uses it.
struct Taken<'r> {
    reserved: &'r Reserved<'r>,
    services: HashMap<ServiceId, bool>,
}

impl<'r> Taken<'r> {
    fn new(reserved: &'r Reserved<'r>) -> Self {
        Self {
            reserved,
            services: HashMap::new(),
        }
    }

    fn take(&mut self, manifest: &Manifest, is_named: bool) -> Result<(), Conflict> {
        let id = manifest.service_id.as_str();
        let is_terminal = id
            .strip_prefix("terminal-")
            .is_some_and(|id| self.reserved.terminals.iter().any(|terminal| terminal == id));
        if is_terminal || id == "fs" && self.reserved.has_fs_service {
            return Err(Conflict {
                what: format!("`{id}` is the id of a service that is built in"),
                right: "another id".to_owned(),
                name: FaultName::InvalidProviderConfig,
                is_fatal: is_named,
            });
        }
        if let Some(export) = manifest.export_name()
            && self.is_export(&export)
        {
            return Err(Conflict {
                what: format!("its export would be `{export}`, which there is already"),
                right: "another id, or the other export another name".to_owned(),
                name: FaultName::InvalidArguments,
                is_fatal: is_named,
            });
        }
        if let Some(other_is_named) = self.services.get(&manifest.service_id) {
            return Err(Conflict {
                what: format!("`{id}` is the id of a service in another manifest"),
                right: "an id of its own".to_owned(),
                name: FaultName::InvalidArguments,
                is_fatal: is_named || *other_is_named,
            });
        }
        self.services.insert(manifest.service_id.clone(), is_named);
        Ok(())
    }

    /// Whether an export besides those of services has this name. Services cannot take each other's, since their ids
    /// differ.
    fn is_export(&self, name: &str) -> bool {
        let terminal = name.strip_prefix("terminal-");
        self.reserved.exports.iter().any(|export| export == name)
            || terminal.is_some_and(|id| self.reserved.terminals.iter().any(|terminal| terminal == id))
    }
}
