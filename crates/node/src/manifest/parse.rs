//! From a text to a [`Manifest`] (sections 3.2, 4.7 and 17.4). Pure.
//!
//! All faults of a text are found at once: a member that is wrong is reported and counts as absent from then on.

use spiderweb_protocol::strict::{Position, Value};
use spiderweb_protocol::{Dialect, ServiceId, is_identifier};
use spiderweb_runtime::ProbePolicy;

use super::fault::{FaultName, ManifestFault, Note};
use super::place::{Place, Report};
use super::values::Kind;
use super::{Manifest, Mount, Package, Runtime, members, runtime};

/// What a manifest is read for.
#[derive(Debug, Clone, Copy)]
pub struct Context<'c> {
    /// Decides the defaults, and whether members of the head generation are looked at in any case.
    pub dialect: Dialect,
    /// What `{node_id}` stands for (section 3.4).
    pub node_id: &'c str,
}

/// A manifest that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// What it declares; `None` if it is disabled, in which case nothing else in it was checked.
    pub manifest: Option<Manifest>,
    /// Members without effect.
    pub notes: Vec<Note>,
    /// The member that holds the service's id.
    pub id_member: &'static str,
    /// Where that is.
    pub id_position: Position,
    /// Where `runtime` is.
    pub runtime_position: Position,
}

/// What some editors of Windows put in front of UTF-8, and JSON does not have.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const IDENTIFIER: &str = "1 to 128 of the characters A-Z a-z 0-9 . _ -";

/// Reads a text. The faults, if there are any, are in the order of the members' checks, so the first one is what the
/// original would have said.
pub fn parse(text: &[u8], context: Context<'_>) -> Result<Parsed, Vec<ManifestFault>> {
    let root = Value::parse(text).map_err(|fault| {
        let mut fault = ManifestFault::from(fault);
        if text.starts_with(BYTE_ORDER_MARK) {
            "begins with a byte order mark".clone_into(&mut fault.what);
            "UTF-8 without one".clone_into(&mut fault.right);
        }
        vec![fault]
    })?;
    // It was UTF-8 a moment ago.
    let text = std::str::from_utf8(text).unwrap_or_default();
    let mut report = Report::new(text);
    let place = Place::root(&root);
    if root.as_object().is_none() {
        report.refuse(&place, FaultName::InvalidManifest, "one JSON object");
        return Err(report.faults);
    }
    let position = |name: &str| report.position(root.member(name).unwrap_or(&root));
    let id_member = id_member(&place, context.dialect);
    let id_position = position(id_member);
    let runtime_position = position("runtime");
    let is_disabled = root.member("enabled").and_then(Value::as_bool) == Some(false);
    let manifest = if is_disabled {
        None
    } else {
        let manifest = Reading {
            report: &mut report,
            root: &place,
            context,
        }
        .manifest();
        if !report.faults.is_empty() {
            return Err(report.faults);
        }
        manifest
    };
    Ok(Parsed {
        manifest,
        notes: report.notes,
        id_member,
        id_position,
        runtime_position,
    })
}

/// The member that holds the id: the dialect's own unless there is only the other one.
fn id_member(root: &Place<'_>, dialect: Dialect) -> &'static str {
    let [own, other] = [dialect, dialect.other()].map(Dialect::id_member);
    if root.member(own).is_none() && root.member(other).is_some() {
        other
    } else {
        own
    }
}

struct Reading<'r, 't> {
    report: &'r mut Report<'t>,
    root: &'r Place<'r>,
    context: Context<'r>,
}

impl Reading<'_, '_> {
    /// Everything. `None` only if there are faults.
    fn manifest(mut self) -> Option<Manifest> {
        let service_id = self.service_id();
        let kind = self
            .report
            .identifier(self.root, "kind", ServiceId::MAX, IDENTIFIER);
        let version = self.version();
        let state = self.state();
        let endpoints = self.endpoints(service_id.as_ref());
        let mounts = self.mounts(service_id.as_ref(), endpoints.first(), &state);
        let capabilities = self.report.json(self.root, "capabilities", Kind::Object, "{}");
        let ops = self.report.json(
            self.root,
            "ops",
            Kind::Object,
            r#"{"model":"namespace","style":"plan9"}"#,
        );
        let default_runtime = format!(
            r#"{{"type":"native_proc","abi":"{}"}}"#,
            self.context.dialect.abi()
        );
        let runtime_json = self
            .report
            .json(self.root, "runtime", Kind::Object, &default_runtime);
        let permissions = self.report.json(
            self.root,
            "permissions",
            Kind::Object,
            r#"{"default":"deny-by-default"}"#,
        );
        let schema = self
            .report
            .json(self.root, "schema", Kind::Object, self.default_schema());
        let invoke_template = self.report.json(self.root, "invoke_template", Kind::Object, "{}");
        let help_md = self.help();
        let package = self.package();
        let (runtime, probe) = self.runtime();
        self.note_unknown();
        Some(Manifest {
            service_id: service_id?,
            kind: kind?,
            version,
            state,
            endpoints,
            mounts,
            capabilities,
            ops,
            runtime_json,
            permissions,
            schema,
            invoke_template,
            help_md,
            package,
            runtime,
            probe,
        })
    }

    /// The id, under either name (section 18).
    fn service_id(&mut self) -> Option<ServiceId> {
        let own = self.context.dialect.id_member();
        let other = self.context.dialect.other().id_member();
        if let (Some(service), Some(venom)) = (self.root.member(own), self.root.member(other))
            && service.value.shape != venom.value.shape
        {
            let right = format!("the same as `{own}`, or be left out");
            self.report.refuse(&venom, FaultName::InvalidManifest, &right);
        }
        let name = id_member(self.root, self.context.dialect);
        let id = self
            .report
            .identifier(self.root, name, ServiceId::MAX, IDENTIFIER)?;
        ServiceId::new(&id).ok()
    }

    fn version(&mut self) -> String {
        let is_right = |text: &str| {
            (1..=members::MAX_VERSION).contains(&text.len()) && !text.chars().any(char::is_control)
        };
        self.report.lenient_text(
            self.root,
            "version",
            is_right,
            "1 to 64 bytes without control characters",
            "1",
        )
    }

    fn state(&mut self) -> String {
        let is_right = |text: &str| is_identifier(text) && text.len() <= members::MAX_STATE;
        self.report.lenient_text(
            self.root,
            "state",
            is_right,
            "1 to 64 of the characters A-Z a-z 0-9 . _ -",
            "online",
        )
    }

    fn endpoints(&mut self, id: Option<&ServiceId>) -> Vec<String> {
        let mut endpoints = Vec::new();
        if let Some(place) = self.root.member("endpoints") {
            match place.items() {
                Some(items) => {
                    endpoints.extend(items.filter_map(|item| self.report.path(&item, self.context.node_id)));
                }
                None => self
                    .report
                    .refuse(&place, FaultName::InvalidManifest, "an array of paths"),
            }
        }
        if let (Some(id), true) = (id, endpoints.is_empty()) {
            endpoints.push(format!("/nodes/{}/{id}", self.context.node_id));
        }
        endpoints
    }

    fn mounts(&mut self, id: Option<&ServiceId>, first_endpoint: Option<&String>, state: &str) -> Vec<Mount> {
        if let Some(place) = self.root.member("mounts") {
            if let Some(items) = place.items() {
                return items.filter_map(|item| self.mount(&item, state)).collect();
            }
            self.report
                .refuse(&place, FaultName::InvalidManifest, "an array of mounts");
            return Vec::new();
        }
        let default = id.zip(first_endpoint).map(|(id, path)| Mount {
            mount_id: id.to_string(),
            mount_path: path.clone(),
            state: state.to_owned(),
        });
        default.into_iter().collect()
    }

    fn mount(&mut self, place: &Place<'_>, state: &str) -> Option<Mount> {
        if place.value.as_object().is_none() {
            let right = "an object with `mount_id` and `mount_path`";
            self.report.refuse(place, FaultName::InvalidManifest, right);
            return None;
        }
        let mount_id = self
            .report
            .identifier(place, "mount_id", members::MAX_MOUNT_ID, IDENTIFIER);
        let mount_path = place.member("mount_path");
        if mount_path.is_none() {
            self.report
                .missing(place, "mount_path", "a path that begins with `/`");
        }
        let mount_path = mount_path.and_then(|path| self.report.path(&path, self.context.node_id));
        let own_state = place.member("state");
        let own_state = own_state.as_ref().and_then(|state| state.value.as_text());
        let is_known = |name: &str| members::knows(members::MOUNT, name);
        self.report.note_unknown(place, is_known, UNKNOWN);
        Some(Mount {
            mount_id: mount_id?,
            mount_path: mount_path?,
            state: own_state.unwrap_or(state).to_owned(),
        })
    }

    /// What clients are told of a service that says nothing itself (section 17.4).
    fn default_schema(&self) -> &'static str {
        const MOUNT: &str = r#"{"model":"namespace-mount"}"#;
        if self.context.dialect == Dialect::Seed {
            return MOUNT;
        }
        let ops = self.root.member("ops");
        let says_how = |place: Option<Place<'_>>| {
            place.is_some_and(|place| place.value.as_text().is_some_and(|text| !text.is_empty()))
        };
        let invoke = ops.as_ref().and_then(|ops| ops.member("invoke"));
        let paths = ops.as_ref().and_then(|ops| ops.member("paths")?.member("invoke"));
        if self.root.member("invoke_template").is_some() || says_how(invoke) || says_how(paths) {
            crate::catalog::SERVICE_SCHEMA
        } else {
            MOUNT
        }
    }

    fn help(&mut self) -> Option<String> {
        let place = self.root.member("help_md")?;
        match place.value.as_text() {
            Some(text) if (1..=members::MAX_HELP).contains(&text.len()) => Some(text.to_owned()),
            Some(_) => {
                let right = "1 to 65536 bytes, or be left out";
                self.report.refuse(&place, FaultName::InvalidManifest, right);
                None
            }
            None => {
                self.report.note(&place, "is not a string, so it is ignored");
                None
            }
        }
    }

    /// The members of the head generation. A seed manifest may have members of these names that mean something else.
    fn has_package(&self) -> bool {
        self.context.dialect == Dialect::Head || self.root.member(Dialect::Head.id_member()).is_some()
    }

    fn package(&mut self) -> Package {
        let default = Package::default();
        if !self.has_package() {
            return default;
        }
        Package {
            package_id: self
                .report
                .strict_text(self.root, "package_id", members::MAX_PACKAGE_ID),
            instance_id: self
                .report
                .strict_text(self.root, "instance_id", members::MAX_PACKAGE_ID),
            provider_scope: self
                .report
                .strict_text(self.root, "provider_scope", members::MAX_PROVIDER_SCOPE)
                .unwrap_or(default.provider_scope),
            categories: self
                .report
                .json(self.root, "categories", Kind::Array, &default.categories),
            hosts: self.report.json(self.root, "hosts", Kind::Array, &default.hosts),
            projection_modes: self.report.json(
                self.root,
                "projection_modes",
                Kind::Array,
                &default.projection_modes,
            ),
            requirements: self
                .report
                .json(self.root, "requirements", Kind::Object, &default.requirements),
        }
    }

    fn runtime(&mut self) -> (Runtime, ProbePolicy) {
        match self.root.member("runtime") {
            Some(place) if place.value.as_object().is_some() => {
                runtime::read(self.report, &place, self.context.dialect)
            }
            // The default names a runtime and no driver.
            _ => (
                Runtime::CatalogOnly {
                    kind: Some(spiderweb_runtime::RuntimeKind::NativeProc),
                },
                ProbePolicy::default(),
            ),
        }
    }

    fn note_unknown(&mut self) {
        let has_package = self.has_package();
        let is_known = |name: &str| {
            members::knows(members::MANIFEST, name) || has_package && members::knows(members::PACKAGE, name)
        };
        self.report.note_unknown(self.root, is_known, UNKNOWN);
    }
}

const UNKNOWN: &str = "is no member that is known here, so it is ignored";

#[cfg(test)]
mod tests;
