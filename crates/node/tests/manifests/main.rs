//! Manifests from the outside: files and folders in, services and faults out (section 3).
#![allow(clippy::unwrap_used, reason = "test helpers")]

mod folders;
mod recorded;
mod schema;

use std::path::{Path, PathBuf};

use spiderweb_node::manifest::{
    Context, LoadedFile, ManifestFault, Reserved, Settled, Sources, load, settle,
};
use spiderweb_protocol::Dialect;
use spiderweb_runtime::{Fault, LibrarySpec};

const SEED: Context<'static> = Context {
    dialect: Dialect::Seed,
    node_id: "node-1",
};

/// Stands for the helper process that opens libraries: `echo.so` is one, `libm.so.6` is one of another kind.
fn libraries(spec: &LibrarySpec) -> Result<(), Fault> {
    let name = spec.library.file_name().and_then(|name| name.to_str());
    match name {
        Some("echo.so") if spec.symbol == LibrarySpec::DEFAULT_SYMBOL => Ok(()),
        Some("echo.so" | "libm.so.6") => Err(Fault::MissingSymbol),
        Some("text.so") => Err(Fault::InvalidExecutable),
        Some("static.so") => Err(Fault::Unsupported),
        _ => Err(Fault::NotFound),
    }
}

fn load_all(files: &[PathBuf], folders: &[PathBuf]) -> Result<Vec<LoadedFile>, ManifestFault> {
    let sources = Sources {
        files: files.to_vec(),
        folders: folders.to_vec(),
    };
    load(&sources, SEED, &libraries)
}

fn start(files: &[PathBuf], folders: &[PathBuf]) -> Settled {
    let reserved = Reserved {
        has_fs_service: true,
        ..Reserved::default()
    };
    settle(load_all(files, folders).unwrap(), &reserved, &[])
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn minimal(id: &str) -> String {
    format!(r#"{{"service_id":"{id}","kind":"k"}}"#)
}

fn ids(settled: &Settled) -> Vec<&str> {
    let ids = settled
        .services
        .iter()
        .map(|service| service.manifest.service_id.as_str());
    ids.collect()
}
