//! Files and folders of manifests (section 3.1).

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use spiderweb_protocol::limits::MAX_MANIFEST;
use spiderweb_runtime::{DriverSpec, Fault, LibrarySpec};

use super::Runtime;
use super::fault::{FaultName, ManifestFault};
use super::parse::{Context, Parsed, parse};

/// Tells whether a library can be opened and has its symbol.
pub type LibraryCheck<'c> = dyn Fn(&LibrarySpec) -> Result<(), Fault> + 'c;

/// Where manifests are, in the order of the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Files, each named by itself.
    pub files: Vec<PathBuf>,
    /// Folders, whose files named `*.json` are read.
    pub folders: Vec<PathBuf>,
}

/// A file that was read, or could not be.
#[derive(Debug, Clone)]
pub struct LoadedFile {
    /// The file.
    pub file: PathBuf,
    /// It was named by itself rather than found in a folder.
    pub is_named: bool,
    /// What it declares, or all that is wrong with it.
    pub outcome: Result<Parsed, Vec<ManifestFault>>,
}

/// Reads everything, files first, then each folder by name. Blocks.
///
/// The error is a folder that cannot be read: what is in it is then unknown, so nothing can be said of the whole.
pub fn load(
    sources: &Sources,
    context: Context<'_>,
    check_library: &LibraryCheck<'_>,
) -> Result<Vec<LoadedFile>, ManifestFault> {
    let named = sources.files.iter().map(|file| (file.clone(), true));
    let mut files: Vec<(PathBuf, bool)> = named.collect();
    for folder in &sources.folders {
        files.extend(list(folder)?.into_iter().map(|file| (file, false)));
    }
    let files = files.into_iter().map(|(file, is_named)| LoadedFile {
        outcome: load_file(&file, context, check_library),
        file,
        is_named,
    });
    Ok(files.collect())
}

/// The manifests of a folder. Sub-folders, links and other names are passed over.
fn list(folder: &Path) -> Result<Vec<PathBuf>, ManifestFault> {
    let fault = |error: io::Error| unreadable(folder, &error, "a folder of manifests that can be read");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let name = entry.file_name();
        if name.as_encoded_bytes().ends_with(b".json") && entry.file_type().map_err(fault)?.is_file() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn load_file(
    file: &Path,
    context: Context<'_>,
    check_library: &LibraryCheck<'_>,
) -> Result<Parsed, Vec<ManifestFault>> {
    let text = read(file).map_err(|fault| vec![fault])?;
    let parsed = parse(&text, context)
        .map_err(|faults| -> Vec<_> { faults.into_iter().map(|fault| fault.in_file(file)).collect() })?;
    if let Some(library) = library_of(&parsed)
        && let Err(fault) = check_library(library)
    {
        return Err(vec![library_fault(file, &parsed, library, &fault)]);
    }
    Ok(parsed)
}

fn read(file: &Path) -> Result<Vec<u8>, ManifestFault> {
    let fault = |error: io::Error| unreadable(file, &error, "a file that can be read");
    // Opening a pipe would wait for its other end.
    let metadata = fs::metadata(file).map_err(fault)?;
    if metadata.is_dir() {
        return Err(fault(io::ErrorKind::IsADirectory.into()));
    }
    if !metadata.is_file() {
        return Err(ManifestFault::of_file(
            file,
            FaultName::Unexpected,
            "is neither a file nor a folder",
            "a file",
        ));
    }
    let mut text = Vec::new();
    let mut file_handle = File::open(file).map_err(fault)?.take(MAX_MANIFEST + 1);
    file_handle.read_to_end(&mut text).map_err(fault)?;
    if text.len() as u64 > MAX_MANIFEST {
        let what = "is larger than 1048576 bytes";
        return Err(ManifestFault::of_file(file, FaultName::FileTooBig, what, ""));
    }
    Ok(text)
}

fn unreadable(path: &Path, error: &io::Error, right: &str) -> ManifestFault {
    let (name, what) = match error.kind() {
        io::ErrorKind::NotFound => (FaultName::FileNotFound, "does not exist".to_owned()),
        io::ErrorKind::NotADirectory => (FaultName::NotDir, "is no folder".to_owned()),
        io::ErrorKind::IsADirectory => (FaultName::IsDir, "is a folder".to_owned()),
        io::ErrorKind::PermissionDenied => (FaultName::AccessDenied, "may not be read".to_owned()),
        _ => (FaultName::Unexpected, format!("cannot be read: {error}")),
    };
    ManifestFault::of_file(path, name, &what, right)
}

fn library_of(parsed: &Parsed) -> Option<&LibrarySpec> {
    match &parsed.manifest.as_ref()?.runtime {
        Runtime::Executable(spec) => match &spec.driver {
            DriverSpec::Library(library) => Some(library),
            _ => None,
        },
        Runtime::CatalogOnly { .. } => None,
    }
}

fn library_fault(file: &Path, parsed: &Parsed, library: &LibrarySpec, fault: &Fault) -> ManifestFault {
    let shown = library.library.display();
    let symbol = &library.symbol;
    let (path, what, right, name) = match fault {
        Fault::MissingSymbol => (
            "runtime.invoke_symbol",
            format!("library {shown} has no function {symbol}"),
            "a function of the library",
            FaultName::MissingInvokeSymbol,
        ),
        Fault::AccessDenied => (
            "runtime.library_path",
            format!("library {shown} may not be read"),
            "a library that can be opened",
            FaultName::AccessDenied,
        ),
        Fault::Unsupported => (
            "runtime.library_path",
            format!("library {shown} cannot be opened by this program, which is linked statically"),
            "a driver of type native_proc or wasm, or the dynamically linked program",
            FaultName::UnsupportedPlatform,
        ),
        // The original has one name for a library that is missing and for one that is none.
        other => (
            "runtime.library_path",
            format!("library {shown} cannot be opened ({other})"),
            "a library that can be opened from the node's working directory",
            FaultName::FileNotFound,
        ),
    };
    ManifestFault {
        file: Some(file.to_owned()),
        path: path.to_owned(),
        position: Some(parsed.runtime_position),
        what,
        right: right.to_owned(),
        name,
    }
}
