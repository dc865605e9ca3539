//! The namespace services of a node: which there are, and what a reload makes of them.
//!
//! ```text
//!   manifest files ─ load ─▶ settle ─▶ diff ─▶ added    a new export at the end, or at its old place
//!                                          ├─▶ changed  other texts, driver and limits; state, ids and handles stay
//!                                          ├─▶ removed  its export and its state go
//!                                          └─▶ unchanged  not touched
//! ```

mod journal;
mod loader;
mod port;
mod reload;
mod texts;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spiderweb_fs::namespace::{Identity, LiveFile, Namespace, Texts};
use spiderweb_fs::{Export, Invalidations, Source as _};
use spiderweb_protocol::fs::{Change, Event};
use spiderweb_protocol::{Dialect, ServiceId};
use spiderweb_runtime::{
    DEFAULT_TIMEOUT, Definition, Driver, Drivers, Health, HelperCommand, Host, Journal, PublishedState,
    RuntimeKind, RuntimeSpec, Saved, Service,
};

use self::journal::StateJournal;
pub(crate) use self::loader::Loader;
use self::port::Port;
pub(crate) use self::reload::Reloader;
use crate::config::ServicesConfig;
use crate::manifest::{
    Diff, LeftOut, LoadedFile, Manifest, ManifestFault, Reserved, Runtime, Service as Declared, diff, settle,
};
use crate::state::services_file;
use spiderweb_daemon::Tasks;

/// The services of a node, and the places of its exports.
pub(crate) struct Services {
    config: ServicesConfig,
    /// Names of exported folders; no service may take one.
    folders: Vec<String>,
    drivers: Drivers,
    host: Host,
    journal: Option<StateJournal>,
    news: Arc<Invalidations>,
    places: Vec<Place>,
    hosted: HashMap<ServiceId, Hosted>,
    /// The services in force, catalog entries without an export included, in load order.
    in_force: Vec<Declared>,
    /// The state of services that are not in force because their manifest has a fault.
    waiting: HashMap<ServiceId, Saved>,
    /// Faults that were told already.
    told: HashSet<String>,
    /// Tells of the exports that went; nobody is told before they are no longer served.
    gone: Vec<Event>,
}

/// A place in the export table. It keeps its name when its export goes, so that only the same one can return to it.
struct Place {
    name: String,
    export: Option<Export>,
}

/// A service with an export.
struct Hosted {
    place: usize,
    tree: Arc<Namespace>,
    service: Service,
    driver: Arc<dyn Driver>,
}

/// A declared service, as the catalog wants to know it.
#[derive(Clone, Copy)]
pub(crate) struct Offered<'a> {
    pub(crate) manifest: &'a Manifest,
    /// `None` where there is nothing but the entry.
    pub(crate) hosted: Option<OfferedDriver<'a>>,
}

/// The driver of a service that has one.
#[derive(Clone, Copy)]
pub(crate) struct OfferedDriver<'a> {
    pub(crate) driver: &'a Arc<dyn Driver>,
    /// What `health.json` says.
    pub(crate) health: PublishedState,
}

fn published(health: Health) -> PublishedState {
    match health {
        Health::Online => PublishedState::Online,
        Health::Degraded => PublishedState::Degraded,
        Health::Offline => PublishedState::Offline,
    }
}

/// Why services cannot be set up: everything that is wrong, at least one thing.
#[derive(Debug, thiserror::Error)]
#[error("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ManifestFaults {
    /// What is wrong.
    pub faults: Vec<ManifestFault>,
}

pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl Services {
    /// Sets up every service for the first time, behind the exported `folders`. Blocks.
    pub(crate) fn start(
        config: ServicesConfig,
        node_id: String,
        folders: Vec<Export>,
        news: Arc<Invalidations>,
        tasks: &Tasks,
    ) -> Result<(Self, Loader), ManifestFaults> {
        let helper = HelperCommand {
            program: config.helper.clone(),
        };
        let drivers = Drivers::new(helper.clone(), config.module_cache.clone());
        let mut loader = Loader::new(&config, node_id, helper);
        let (journal, saved) = config
            .state_file
            .as_deref()
            .and_then(|file| StateJournal::open(&services_file(file), config.dialect, now_ms()))
            .map_or((None, Vec::new()), |(journal, saved)| (Some(journal), saved));
        let mut saved: HashMap<ServiceId, Saved> = saved.into_iter().collect();
        let spawner = tasks.clone();
        let host = Host {
            spawn: Arc::new(move |task| spawner.spawn("service", task)),
            now_ms,
            journal: journal
                .clone()
                .map(|journal| -> Arc<dyn Journal> { Arc::new(journal) }),
        };
        let mut services = Self {
            folders: folders.iter().map(|export| export.name().to_owned()).collect(),
            drivers,
            host,
            journal,
            news,
            places: folders
                .into_iter()
                .map(|export| Place {
                    name: export.name().to_owned(),
                    export: Some(export),
                })
                .collect(),
            hosted: HashMap::new(),
            in_force: Vec::new(),
            waiting: HashMap::new(),
            told: HashSet::new(),
            gone: Vec::new(),
            config,
        };
        for id in services.config.terminals.clone() {
            services.add_terminal(&id, &mut saved);
        }
        let files = loader
            .load()
            .map_err(|fault| ManifestFaults { faults: vec![fault] })?;
        let settled = settle(files, &services.reserved(), &[]);
        if !settled.fatal.is_empty() {
            return Err(ManifestFaults {
                faults: settled.fatal,
            });
        }
        for declared in &settled.services {
            services.add(&declared.manifest, &mut saved);
        }
        loader.await_better(!settled.left_out.is_empty());
        if !settled.left_out.is_empty() {
            // Perhaps it is theirs; they have it back when their manifest is mended.
            services.waiting = saved;
        }
        services.tell_faults(settled.left_out);
        services.in_force = settled.services;
        services.arrange();
        Ok((services, loader))
    }

    fn reserved(&self) -> Reserved<'_> {
        Reserved {
            has_fs_service: self.config.has_fs_service,
            terminals: &self.config.terminals,
            exports: &self.folders,
        }
    }

    /// The exports at their places, folders first.
    pub(crate) fn exports(&self) -> Vec<Option<Export>> {
        self.places.iter().map(|place| place.export.clone()).collect()
    }

    /// Serves one more folder, at the end.
    pub(crate) fn add_folder(&mut self, export: Export) {
        self.folders.push(export.name().to_owned());
        self.places.push(Place {
            name: export.name().to_owned(),
            export: Some(export),
        });
    }

    /// The declared services in load order.
    pub(crate) fn offered(&self) -> Vec<Offered<'_>> {
        let now = now_ms();
        let declared = self.in_force.iter();
        let offered = declared.map(|Declared { manifest, .. }| Offered {
            manifest,
            hosted: self.hosted.get(&manifest.service_id).map(|hosted| OfferedDriver {
                driver: &hosted.driver,
                health: published(hosted.service.machine().health(now)),
            }),
        });
        offered.collect()
    }

    /// The terminals in the order of their flags, and how they are.
    pub(crate) fn terminals(&self) -> Vec<(&str, PublishedState)> {
        let now = now_ms();
        let health = |id: &str| {
            let id = ServiceId::new(&format!("terminal-{id}")).ok()?;
            Some(published(self.hosted.get(&id)?.service.machine().health(now)))
        };
        let ids = self.config.terminals.iter();
        ids.map(|id| (id.as_str(), health(id).unwrap_or(PublishedState::Offline)))
            .collect()
    }

    /// Whether the folders are published.
    pub(crate) fn has_fs_service(&self) -> bool {
        self.config.has_fs_service
    }

    /// Whether any folder can be written to, and how many there are.
    pub(crate) fn folders(&self) -> (bool, usize) {
        let is_folder = |export: &&Export| self.folders.iter().any(|name| name == export.name());
        let exports = self.places.iter().filter_map(|place| place.export.as_ref());
        let folders: Vec<_> = exports.filter(is_folder).collect();
        (folders.iter().any(|export| !export.is_read_only()), folders.len())
    }

    /// Whether nothing but folders is served.
    pub(crate) fn is_empty(&self) -> bool {
        self.hosted.is_empty()
    }

    fn add_terminal(&mut self, id: &str, saved: &mut HashMap<ServiceId, Saved>) {
        let name = format!("terminal-{id}");
        let Ok(service_id) = ServiceId::new(&name) else {
            // Flags were checked when the configuration was made.
            return;
        };
        let definition = Definition {
            dialect: self.config.dialect,
            id: service_id.clone(),
            runtime: RuntimeKind::NativeProc,
            timeout: DEFAULT_TIMEOUT,
            concurrency: 1,
            driver: self.drivers.terminal(id),
        };
        let driver = definition.driver.clone();
        let service = Service::new(definition, self.host.clone(), saved.remove(&service_id));
        let description = format!("Terminal namespace service ({id})");
        let identity = Identity::Terminal(id.to_owned());
        let texts = texts::of_terminal(self.config.dialect);
        self.place(name, &description, service_id, (service, driver), identity, texts);
    }

    fn add(&mut self, manifest: &Manifest, saved: &mut HashMap<ServiceId, Saved>) {
        log_loaded(self.config.dialect, manifest);
        let (Runtime::Executable(spec), Some(name)) = (&manifest.runtime, manifest.export_name()) else {
            return;
        };
        let id = manifest.service_id.clone();
        let definition = self.definition(manifest, spec);
        let driver = definition.driver.clone();
        let service = Service::new(definition, self.host.clone(), saved.remove(&id));
        let description = format!("namespace service {}", id.as_str());
        let identity = Identity::Service(id.as_str().to_owned());
        let texts = texts::of_manifest(manifest, spec.driver.kind(), self.config.dialect);
        self.place(name, &description, id, (service, driver), identity, texts);
    }

    /// Adds a service, in the state that waited for it if there is one.
    fn add_waiting(&mut self, manifest: &Manifest) {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.add(manifest, &mut waiting);
        self.waiting = waiting;
    }

    fn definition(&self, manifest: &Manifest, spec: &RuntimeSpec) -> Definition {
        Definition {
            dialect: self.config.dialect,
            id: manifest.service_id.clone(),
            runtime: spec.driver.kind(),
            timeout: spec.timeout,
            concurrency: spec.concurrency,
            driver: self.drivers.build(spec),
        }
    }

    /// Gives a service an export: at its old place if it was there before, else at the end.
    fn place(
        &mut self,
        name: String,
        description: &str,
        id: ServiceId,
        (service, driver): (Service, Arc<dyn Driver>),
        identity: Identity,
        texts: Texts,
    ) {
        let old = self.places.iter().position(|place| place.name == name);
        let place = old.unwrap_or(self.places.len());
        let shown = match &identity {
            Identity::Service(id) => format!("service:{id}"),
            Identity::Terminal(id) => format!("/terminal/{id}"),
        };
        let port = Arc::new(Port(service.clone()));
        let Some(tree) = Namespace::new(identity, place, texts, port) else {
            tracing::warn!("{name} is not served: there are too many exports");
            return;
        };
        let tree = Arc::new(tree);
        let (ears, news) = (Arc::downgrade(&tree), self.news.clone());
        service.listen(Box::new(move |changed| {
            if let Some(tree) = ears.upgrade() {
                news.publish(&tree.changed(&port::files(changed)), None);
            }
        }));
        tracing::info!("Export {name} => {shown} (rw)");
        let export = Some(Export::new(&name, description, false, tree.clone()));
        match self.places.get_mut(place) {
            Some(old) => old.export = export,
            None => self.places.push(Place { name, export }),
        }
        self.hosted.insert(
            id,
            Hosted {
                place,
                tree,
                service,
                driver,
            },
        );
    }

    fn remove(&mut self, id: &ServiceId) {
        let Some(Hosted {
            place, tree, service, ..
        }) = self.hosted.remove(id)
        else {
            return;
        };
        service.retire();
        tree.retire();
        if let Some(place) = self.places.get_mut(place) {
            place.export = None;
        }
        self.gone.push(Event::Inode {
            id: tree.root(),
            change: Change::All,
            generation: None,
        });
        tracing::info!("Removed service: {}", id.as_str());
    }

    /// Takes over what the files declare now, as far as they can be used. Whether the exports changed, and whether some
    /// file could not be used.
    fn reload(&mut self, files: Vec<LoadedFile>) -> (bool, bool) {
        let settled = settle(files, &self.reserved(), &self.in_force);
        if !settled.fatal.is_empty() {
            for fault in &settled.fatal {
                self.tell_once(format!("manifest reload failed: {fault}"));
            }
            return (false, true);
        }
        let has_faults = !settled.left_out.is_empty();
        self.tell_faults(settled.left_out);
        let is_changed = self.apply(settled.services);
        if !has_faults && !self.waiting.is_empty() {
            // Nobody is left who could come for it.
            self.waiting.clear();
            self.arrange();
        }
        (is_changed, has_faults)
    }

    fn tell_once(&mut self, warning: String) {
        if !self.told.contains(&warning) {
            tracing::warn!("{warning}");
            self.told.insert(warning);
        }
    }

    /// Says what is wrong, in the log and in the health of the services that it is about; and that nothing is any more.
    fn tell_faults(&mut self, left_out: Vec<LeftOut>) {
        let mut faults: HashMap<ServiceId, String> = HashMap::new();
        let mut warnings = HashSet::new();
        for LeftOut { fault, kept } in left_out {
            let Some(id) = kept else {
                warnings.insert(format!("left out: {fault}"));
                continue;
            };
            warnings.insert(format!("{fault}; the last good version stays in force"));
            let text = faults.entry(id).or_default();
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&fault.to_string());
        }
        for warning in &warnings {
            self.tell_once(warning.clone());
        }
        // What was mended and breaks again is news.
        self.told.retain(|told| warnings.contains(told));
        let hosted = self.hosted.iter();
        let news: Vec<ServiceId> = hosted
            .filter(|(id, hosted)| hosted.service.set_manifest_error(faults.remove(*id)))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &news {
            self.tell_health(id);
        }
    }

    /// Tells of the exports that went, once they are no longer served.
    fn tell_gone(&mut self) {
        self.news.publish(&std::mem::take(&mut self.gone), None);
    }

    fn tell_health(&self, id: &ServiceId) {
        if let Some(hosted) = self.hosted.get(id) {
            let health = [LiveFile::Health];
            self.news.publish(&hosted.tree.changed(&health), None);
        }
    }

    fn apply(&mut self, declared: Vec<Declared>) -> bool {
        let difference: Diff = diff(
            self.in_force.iter().map(|service| &service.manifest),
            declared.iter().map(|service| &service.manifest),
        );
        if difference.is_empty() {
            self.in_force = declared;
            return false;
        }
        for id in &difference.removed {
            self.remove(id);
        }
        for Declared { manifest, .. } in &declared {
            if difference.added.contains(&manifest.service_id) {
                self.add_waiting(manifest);
            } else if difference.changed.contains(&manifest.service_id) {
                self.change(manifest);
            }
        }
        self.in_force = declared;
        self.arrange();
        true
    }

    /// Another version of a manifest. Only what differs is touched.
    fn change(&mut self, manifest: &Manifest) {
        let id = &manifest.service_id;
        let definition = match &manifest.runtime {
            Runtime::Executable(spec) => Some(self.definition(manifest, spec)),
            Runtime::CatalogOnly { .. } => None,
        };
        match (&manifest.runtime, self.hosted.get_mut(id)) {
            (Runtime::Executable(spec), Some(hosted)) => {
                let texts = texts::of_manifest(manifest, spec.driver.kind(), self.config.dialect);
                let mut events = hosted.tree.set_texts(texts);
                let before = self.in_force.iter().find(|old| old.manifest.service_id == *id);
                if before.is_none_or(|old| old.manifest.runtime != manifest.runtime) {
                    if let Some(definition) = definition {
                        hosted.driver = definition.driver.clone();
                        hosted.service.redefine(definition);
                    }
                    events.extend(hosted.tree.changed(&[LiveFile::Health]));
                }
                self.news.publish(&events, None);
                log_loaded(self.config.dialect, manifest);
            }
            (_, None) => self.add_waiting(manifest),
            (Runtime::CatalogOnly { .. }, Some(_)) => {
                self.remove(id);
                log_loaded(self.config.dialect, manifest);
            }
        }
    }

    /// Has the journal hold the services there are, in the order of their exports.
    fn arrange(&self) {
        let Some(journal) = &self.journal else { return };
        let mut hosted: Vec<_> = self.hosted.iter().collect();
        hosted.sort_by_key(|(_, hosted)| hosted.place);
        let saved = hosted
            .into_iter()
            .map(|(id, hosted)| (id.clone(), hosted.service.saved()));
        let waiting = self.waiting.iter().map(|(id, saved)| (id.clone(), saved.clone()));
        (self.host.spawn)(journal.arrange(saved.chain(waiting).collect()));
    }

    /// Handles on every service, to stop them by.
    pub(crate) fn handles(&self) -> Vec<Service> {
        self.hosted
            .values()
            .map(|hosted| hosted.service.clone())
            .collect()
    }
}

fn log_loaded(dialect: Dialect, manifest: &Manifest) {
    tracing::info!(
        "Loaded {}: {}",
        dialect.manifest_words(),
        manifest.service_id.as_str()
    );
}
