//! The member `runtime`: how a driver is run and probed (sections 3.3, 3.5 and 13.2).

use std::collections::BTreeMap;
use std::time::Duration;

use spiderweb_protocol::Dialect;
use spiderweb_runtime::{
    DEFAULT_TIMEOUT, DriverSpec, LibrarySpec, ProbePolicy, ProcessSpec, RuntimeKind, RuntimeSpec,
    Surroundings, WasmHost, WasmSpec,
};

use super::fault::FaultName;
use super::place::{Place, Report};
use super::{Runtime, members};

const PUBLISHED: &str = "is no member that is known here, so it is only published";

/// Reads the object.
pub(super) fn read(report: &mut Report<'_>, place: &Place<'_>, dialect: Dialect) -> (Runtime, ProbePolicy) {
    let is_known = |member: &str| members::knows(members::RUNTIME, member);
    report.note_unknown(place, is_known, PUBLISHED);
    let Some(kind) = kind(report, place) else {
        let mut paths = ["executable_path", "library_path", "module_path"].into_iter();
        if let Some(path) = paths.find_map(|name| place.member(name)) {
            report.note(&path, "has no effect: `type` names no runtime that would use it");
        }
        return (Runtime::CatalogOnly { kind: None }, ProbePolicy::default());
    };
    let mut reading = Reading {
        report,
        place,
        kind,
        dialect,
    };
    let driver = reading.driver();
    let timeout = match reading.unsigned("timeout_ms") {
        None | Some(0) => DEFAULT_TIMEOUT,
        Some(timeout) => Duration::from_millis(timeout),
    };
    let concurrency = reading.concurrency();
    let probe = reading.probe();
    let runtime = match driver {
        None => Runtime::CatalogOnly { kind: Some(kind) },
        Some(driver) => Runtime::Executable(RuntimeSpec {
            driver,
            timeout,
            concurrency,
        }),
    };
    (runtime, probe)
}

/// The runtime's kind; `None` for a built-in service, or a fault.
fn kind(report: &mut Report<'_>, place: &Place<'_>) -> Option<RuntimeKind> {
    let word = place.member("type")?;
    match word.value.as_text() {
        Some("native_proc") => Some(RuntimeKind::NativeProc),
        Some("native_inproc") => Some(RuntimeKind::NativeInproc),
        Some("wasm") => Some(RuntimeKind::Wasm),
        Some("builtin") => None,
        _ => {
            let right = "`native_proc`, `native_inproc`, `wasm` or `builtin`";
            report.refuse(&word, FaultName::InvalidArguments, right);
            None
        }
    }
}

struct Reading<'r, 't> {
    report: &'r mut Report<'t>,
    place: &'r Place<'r>,
    kind: RuntimeKind,
    dialect: Dialect,
}

impl Reading<'_, '_> {
    /// All members are checked, those too that this runtime does not use.
    fn driver(&mut self) -> Option<DriverSpec> {
        let executable = self.filled("executable_path");
        let library = self.filled("library_path");
        let module = self.filled("module_path");
        let runner = self.filled("runner_path");
        let entrypoint = self.entrypoint();
        let args = self.args();
        let fuel = self.unsigned("fuel");
        let max_memory = self.unsigned("max_memory_bytes");
        let surroundings = Surroundings {
            env: self.env(),
            cwd: self.filled("cwd").map(Into::into),
        };
        match self.kind {
            RuntimeKind::NativeProc => Some(DriverSpec::Process(ProcessSpec {
                executable: executable?.into(),
                args,
                surroundings,
            })),
            RuntimeKind::NativeInproc => {
                self.abi();
                let fresh = self.boolean("in_process") == Some(false);
                let symbol = self.filled("invoke_symbol");
                self.without_effect(&["args"], "libraries take no arguments");
                Some(DriverSpec::Library(LibrarySpec {
                    library: library?.into(),
                    symbol: symbol.unwrap_or_else(|| LibrarySpec::DEFAULT_SYMBOL.to_owned()),
                    fresh,
                    surroundings,
                }))
            }
            RuntimeKind::Wasm => {
                let host = match runner {
                    Some(program) if self.dialect == Dialect::Seed => {
                        self.without_effect(&["fuel", "max_memory_bytes"], "the runner runs the module");
                        WasmHost::Runner {
                            program: program.into(),
                            surroundings,
                        }
                    }
                    _ => {
                        self.without_effect(
                            &["runner_path", "env", "cwd"],
                            "the node itself runs the module",
                        );
                        WasmHost::Embedded { fuel, max_memory }
                    }
                };
                Some(DriverSpec::Wasm(WasmSpec {
                    module: module?.into(),
                    entrypoint,
                    args,
                    host,
                }))
            }
        }
    }

    fn refuse(&mut self, place: &Place<'_>, name: FaultName, right: &str) {
        self.report.refuse(place, name, right);
    }

    fn without_effect(&mut self, names: &[&str], why: &str) {
        for place in names.iter().filter_map(|name| self.place.member(name)) {
            self.report.note(&place, format!("has no effect: {why}"));
        }
    }

    /// How the original calls a text that must not be run.
    const fn unsafe_name(&self) -> FaultName {
        match self.kind {
            RuntimeKind::NativeProc | RuntimeKind::NativeInproc => FaultName::InvalidPluginConfig,
            RuntimeKind::Wasm => FaultName::InvalidWasmHostConfig,
        }
    }

    /// Whether a text may be a part of a command line.
    fn is_safe(&self, text: &str) -> bool {
        match self.kind {
            RuntimeKind::NativeProc | RuntimeKind::NativeInproc => !text.contains('\0'),
            RuntimeKind::Wasm => !text.contains(['\0', '\r', '\n']),
        }
    }

    const fn safe_words(&self) -> &'static str {
        match self.kind {
            RuntimeKind::NativeProc | RuntimeKind::NativeInproc => "without NUL",
            RuntimeKind::Wasm => "without NUL, CR and LF",
        }
    }

    /// An optional string that is not empty.
    fn filled(&mut self, name: &str) -> Option<String> {
        let place = self.place.member(name)?;
        match place.value.as_text() {
            Some("") => {
                let own = match self.kind {
                    RuntimeKind::NativeProc => "executable_path",
                    RuntimeKind::NativeInproc => "library_path",
                    RuntimeKind::Wasm => "module_path",
                };
                let fault = if name == own {
                    self.unsafe_name()
                } else {
                    FaultName::InvalidArguments
                };
                self.refuse(&place, fault, "a string that is not empty");
                None
            }
            Some(text) if !self.is_safe(text) => {
                self.refuse(&place, self.unsafe_name(), self.safe_words());
                None
            }
            Some(text) => Some(text.to_owned()),
            None => {
                self.refuse(&place, FaultName::InvalidArguments, "a string");
                None
            }
        }
    }

    fn entrypoint(&mut self) -> Option<String> {
        let name = self.filled("entrypoint")?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':');
        if self.kind == RuntimeKind::Wasm
            && !name.bytes().all(is_plain)
            && let Some(place) = self.place.member("entrypoint")
        {
            let right = "a name of letters, digits and _ - . :";
            self.refuse(&place, FaultName::InvalidWasmHostConfig, right);
        }
        Some(name)
    }

    fn args(&mut self) -> Vec<String> {
        let Some(place) = self.place.member("args") else {
            return Vec::new();
        };
        let Some(items) = place.items() else {
            self.refuse(&place, FaultName::InvalidArguments, "an array of strings");
            return Vec::new();
        };
        items.filter_map(|item| self.arg(&item)).collect()
    }

    fn arg(&mut self, place: &Place<'_>) -> Option<String> {
        match place.value.as_text() {
            Some("") => {
                let name = match self.kind {
                    RuntimeKind::Wasm => FaultName::InvalidArguments,
                    _ => FaultName::InvalidPluginConfig,
                };
                self.refuse(place, name, "a string that is not empty");
            }
            Some(text) if !self.is_safe(text) => self.refuse(place, self.unsafe_name(), self.safe_words()),
            Some(text) => return Some(text.to_owned()),
            None => self.refuse(place, FaultName::InvalidArguments, "a string"),
        }
        None
    }

    fn abi(&mut self) {
        let Some(place) = self.place.member("abi") else {
            return;
        };
        let abi = place.value.as_text();
        if !Dialect::ALL.iter().any(|dialect| Some(dialect.abi()) == abi) {
            let right = "`namespace-driver-v1` or `venom-driver-v1`";
            self.refuse(&place, FaultName::InvalidArguments, right);
        }
    }

    fn env(&mut self) -> BTreeMap<String, String> {
        let Some(place) = self.place.member("env") else {
            return BTreeMap::new();
        };
        let Some(members) = place.value.as_object() else {
            self.refuse(&place, FaultName::InvalidArguments, "an object of strings");
            return BTreeMap::new();
        };
        let mut env = BTreeMap::new();
        for member in members {
            let variable = Place {
                value: &member.value,
                path: place.path_of(&member.name),
            };
            match member.value.as_text() {
                _ if member.name.is_empty() || member.name.contains(['=', '\0']) => {
                    let what = "cannot name a variable";
                    let right = "a name that is not empty, without `=` and NUL";
                    self.report
                        .wrong(&variable, FaultName::InvalidArguments, what, right);
                }
                Some(text) if !text.contains('\0') => {
                    env.insert(member.name.to_string(), text.to_owned());
                }
                _ => self.refuse(&variable, FaultName::InvalidArguments, "a string without NUL"),
            }
        }
        env
    }

    fn unsigned(&mut self, name: &str) -> Option<u64> {
        self.report
            .unsigned(self.place, name, FaultName::InvalidArguments)
    }

    fn boolean(&mut self, name: &str) -> Option<bool> {
        self.report.boolean(self.place, name, FaultName::InvalidArguments)
    }

    fn concurrency(&mut self) -> usize {
        let Some(place) = self.place.member("max_concurrent") else {
            return 1;
        };
        if let Some(number @ 1..=members::MAX_CONCURRENT) = place.value.as_unsigned() {
            return number as usize;
        }
        self.refuse(&place, FaultName::InvalidArguments, "an integer from 1 to 64");
        1
    }

    fn probe(&mut self) -> ProbePolicy {
        let mut policy = ProbePolicy::default();
        let Some(place) = self.place.member("supervision") else {
            return policy;
        };
        if place.value.as_object().is_none() {
            self.refuse(&place, FaultName::InvalidServiceCatalog, "an object");
            return policy;
        }
        let name = FaultName::InvalidServiceCatalog;
        let report = &mut *self.report;
        if let Some(interval @ 1..) = report.unsigned(&place, "health_check_interval_ms", name) {
            policy.check_interval = Duration::from_millis(interval);
        }
        if let Some(backoff) = report.unsigned(&place, "restart_backoff_ms", name) {
            policy.backoff = Duration::from_millis(backoff);
        }
        if let Some(backoff @ 1..) = report.unsigned(&place, "restart_backoff_max_ms", name) {
            policy.max_backoff = Duration::from_millis(backoff);
        }
        policy.max_backoff = policy.max_backoff.max(policy.backoff);
        if let Some(failures) = report.unsigned(&place, "max_consecutive_failures", name) {
            match (u32::try_from(failures), place.member("max_consecutive_failures")) {
                (Err(_), Some(member)) => report.refuse(&member, name, "an integer from 0 to 4294967295"),
                (failures, _) => policy.max_consecutive_failures = failures.unwrap_or_default(),
            }
        }
        policy.auto_disable = report
            .boolean(&place, "auto_disable_on_failures", name)
            .unwrap_or(policy.auto_disable);
        let is_known = |member: &str| members::knows(members::SUPERVISION, member);
        report.note_unknown(&place, is_known, PUBLISHED);
        policy
    }
}
