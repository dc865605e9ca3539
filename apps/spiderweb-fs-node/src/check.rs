//! `spiderweb-fs-node check FILE_OR_DIR…`: what would come of manifests, without starting anything.
//!
//! Everything is said at once: all faults of all files, and what each good file becomes. The exit code is 0 if there
//! is no fault, 1 if there is, 2 if the arguments make no sense.

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, ValueEnum};
use spiderweb_node::catalog::Entry;
use spiderweb_node::manifest::{
    Context, LibraryCheck, LoadedFile, Manifest, ManifestFault, Note, Reserved, Runtime, Sources, load,
    settle,
};
use spiderweb_protocol::Dialect;
use spiderweb_protocol::canonical::{ObjectWriter, quoted};
use spiderweb_runtime::library::verify;
use spiderweb_runtime::{DriverSpec, Fault, HelperCommand, LibrarySpec, RuntimeSpec, WasmHost};

/// Check manifests of namespace services without starting the node
#[derive(Parser, Debug)]
#[command(name = "spiderweb-fs-node check")]
struct Flags {
    /// Manifests, and folders whose `*.json` files are manifests
    #[arg(required = true, value_name = "FILE_OR_DIR")]
    paths: Vec<PathBuf>,

    /// Which words and defaults the control server has
    #[arg(long, value_name = "GENERATION", default_value = "seed")]
    dialect: Generation,

    /// How to print what was found
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Generation {
    Seed,
    Head,
}

impl From<Generation> for Dialect {
    fn from(generation: Generation) -> Self {
        match generation {
            Generation::Seed => Self::Seed,
            Generation::Head => Self::Head,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// The command's flags, for manual pages.
pub(crate) fn flags() -> clap::Command {
    Flags::command().name("check")
}

/// Runs the command with the arguments after its name.
pub(crate) fn run(
    args: impl Iterator<Item = OsString>,
    check_library: &LibraryCheck<'_>,
    out: &mut impl Write,
) -> ExitCode {
    let flags = match Flags::try_parse_from(std::iter::once("check".into()).chain(args)) {
        Ok(flags) => flags,
        Err(error) => {
            // A closed pipe is the reader's choice, here and below.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let dialect = flags.dialect.into();
    let findings = find(&flags.paths, dialect, check_library);
    let text = match flags.output {
        Format::Text => findings.iter().map(|finding| finding.text(dialect)).collect(),
        Format::Json => {
            let items: Vec<String> = findings.iter().map(|finding| finding.json(dialect)).collect();
            format!("[{}]\n", items.join(","))
        }
    };
    let _ = out.write_all(text.as_bytes());
    if findings.iter().all(|finding| finding.faults.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Opens a library in a helper, where it can do no harm to this program.
pub(crate) fn library_opens(spec: &LibrarySpec) -> Result<(), Fault> {
    verify(&HelperCommand::current()?, &spec.library, &spec.symbol)
}

/// What was found out about one file, or a folder that cannot be read.
struct Finding {
    file: PathBuf,
    faults: Vec<ManifestFault>,
    notes: Vec<Note>,
    /// `None` if it is disabled or has faults.
    manifest: Option<Manifest>,
}

fn find(paths: &[PathBuf], dialect: Dialect, check_library: &LibraryCheck<'_>) -> Vec<Finding> {
    let context = Context {
        dialect,
        node_id: "{node_id}",
    };
    let mut findings = Vec::new();
    let mut files = Vec::new();
    for path in paths {
        match load(&sources(path), context, check_library) {
            Ok(loaded) if loaded.is_empty() => {
                eprintln!("{}: there is no manifest in this folder (*.json)", path.display());
            }
            Ok(loaded) => files.extend(loaded.into_iter().map(|file| LoadedFile {
                // Every fault counts here, so that every conflict is reported.
                is_named: true,
                ..file
            })),
            Err(fault) => findings.push(Finding {
                file: path.clone(),
                faults: vec![fault],
                notes: Vec::new(),
                manifest: None,
            }),
        }
    }
    let reserved = Reserved {
        has_fs_service: true,
        ..Reserved::default()
    };
    let settled = settle(files.clone(), &reserved, &[]);
    // Both are in the order of the files: a broken one has given its faults, a good one a service or a conflict.
    let mut faults = settled.fatal.into_iter();
    let mut services = settled.services.into_iter().peekable();
    for LoadedFile { file, outcome, .. } in files {
        let fault_count = match &outcome {
            Err(faults) => faults.len(),
            Ok(parsed) if parsed.manifest.is_none() => 0,
            Ok(_) => usize::from(services.next_if(|service| service.file == file).is_none()),
        };
        let faults: Vec<_> = faults.by_ref().take(fault_count).collect();
        let (manifest, notes) = outcome.map_or_else(
            |_| (None, Vec::new()),
            |parsed| (parsed.manifest.filter(|_| faults.is_empty()), parsed.notes),
        );
        findings.push(Finding {
            file,
            faults,
            notes,
            manifest,
        });
    }
    findings
}

fn sources(path: &Path) -> Sources {
    let mut sources = Sources::default();
    let list = if path.is_dir() {
        &mut sources.folders
    } else {
        &mut sources.files
    };
    list.push(path.to_owned());
    sources
}

impl Finding {
    fn text(&self, dialect: Dialect) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_text(&mut text, dialect);
        text
    }

    fn write_text(&self, out: &mut String, dialect: Dialect) -> fmt::Result {
        let file = self.file.display();
        for fault in &self.faults {
            writeln!(out, "{fault} ({})", fault.name.as_str())?;
        }
        match &self.manifest {
            _ if !self.faults.is_empty() => {}
            None => writeln!(out, "{file}: ok, and disabled")?,
            Some(manifest) => {
                writeln!(out, "{file}: ok")?;
                let id = dialect.id_member();
                writeln!(out, "  {id:<10} {} ({})", manifest.service_id, manifest.kind)?;
                writeln!(out, "  {:<10} {}", "runtime", RuntimeWords(&manifest.runtime))?;
                let export = manifest.export_name();
                let export = export.as_deref().unwrap_or("none, it is published only");
                writeln!(out, "  {:<10} {export}", "export")?;
                for endpoint in &manifest.endpoints {
                    writeln!(out, "  {:<10} {endpoint}", "endpoint")?;
                }
                for mount in &manifest.mounts {
                    writeln!(
                        out,
                        "  {:<10} {} at {}",
                        "mount", mount.mount_id, mount.mount_path
                    )?;
                }
            }
        }
        for note in &self.notes {
            writeln!(out, "  note: {file}:{note}")?;
        }
        Ok(())
    }

    fn json(&self, dialect: Dialect) -> String {
        let faults = self.faults.iter().map(fault_json);
        let notes = self.notes.iter().map(|note| {
            ObjectWriter::new()
                .text("path", &note.path)
                .json("line", note.position.line)
                .json("column", note.position.column)
                .text("what", &note.what)
                .finish()
        });
        let becomes = self.manifest.as_ref().map_or_else(
            || "null".to_owned(),
            |manifest| Entry::declared(dialect, manifest).to_string(),
        );
        let export = self.manifest.as_ref().and_then(Manifest::export_name);
        ObjectWriter::new()
            .text("file", &self.file.to_string_lossy())
            .json("ok", self.faults.is_empty())
            .array("faults", faults)
            .array("notes", notes)
            .json("becomes", becomes)
            .json(
                "export",
                export.map_or_else(|| "null".to_owned(), |name| quoted(&name)),
            )
            .finish()
    }
}

fn fault_json(fault: &ManifestFault) -> String {
    let mut object = ObjectWriter::new().text("path", &fault.path);
    if let Some(position) = fault.position {
        object = object.json("line", position.line).json("column", position.column);
    }
    object
        .text("what", &fault.what)
        .text("right", &fault.right)
        .text("name", fault.name.as_str())
        .finish()
}

/// How a driver is run, for people.
struct RuntimeWords<'r>(&'r Runtime);

impl fmt::Display for RuntimeWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RuntimeSpec {
            driver,
            timeout,
            concurrency,
        } = match self.0 {
            Runtime::CatalogOnly { kind: None } => return f.write_str("built in"),
            Runtime::CatalogOnly { kind: Some(kind) } => {
                return write!(f, "{} without a driver", kind.wire());
            }
            Runtime::Executable(spec) => spec,
        };
        write!(f, "{} ", driver.kind().wire())?;
        match driver {
            DriverSpec::Process(process) => write!(f, "{}", process.executable.display())?,
            DriverSpec::Library(library) => write!(f, "{} ({})", library.library.display(), library.symbol)?,
            DriverSpec::Wasm(wasm) => {
                write!(f, "{}", wasm.module.display())?;
                if let WasmHost::Runner { program, .. } = &wasm.host {
                    write!(f, " by {}", program.display())?;
                }
            }
        }
        write!(f, ", timeout {} ms, {concurrency} at once", timeout.as_millis())
    }
}
