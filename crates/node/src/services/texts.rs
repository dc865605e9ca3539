//! The texts of a service that never change while its manifest does not (sections 6 and 14).

use bytes::Bytes;
use spiderweb_fs::namespace::Texts;
use spiderweb_protocol::Dialect;
use spiderweb_runtime::RuntimeKind;

use crate::catalog::{TERMINAL_SCHEMA, TERMINAL_TEMPLATE};
use crate::manifest::Manifest;

/// `README.md` of a manifest without `help_md`.
const README: &str =
    "Namespace service driver.\nWrite JSON to control/invoke.json.\nRead result.json and status.json.\n";

const TERMINAL_README: &str =
    "Terminal namespace driver.\nWrite JSON payloads to control/invoke.json with command or argv.";

/// Of a service from a manifest.
pub(super) fn of_manifest(manifest: &Manifest, runtime: RuntimeKind, dialect: Dialect) -> Texts {
    Texts {
        readme: manifest
            .help_md
            .clone()
            .unwrap_or_else(|| README.to_owned())
            .into(),
        schema: manifest.schema.clone().into(),
        template: manifest.invoke_template.clone().into(),
        host: host(runtime, dialect),
    }
}

/// Of a built-in terminal.
pub(super) fn of_terminal(dialect: Dialect) -> Texts {
    Texts {
        readme: TERMINAL_README.into(),
        schema: TERMINAL_SCHEMA.into(),
        template: TERMINAL_TEMPLATE.into(),
        host: host(RuntimeKind::NativeProc, dialect),
    }
}

/// `HOST.json`
fn host(runtime: RuntimeKind, dialect: Dialect) -> Bytes {
    let (abi, host_kind, runtime) = (dialect.abi(), runtime.host_kind(), runtime.wire());
    let text = format!(
        r#"{{"schema":1,"contract":"acheron.namespace-driver","abi":"{abi}","host_kind":"{host_kind}","runtime_kind":"{runtime}","features":{{"supervision":true,"hot_reload":true,"dynamic_mounts":true}}}}"#
    );
    text.into()
}
