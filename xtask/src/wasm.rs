//! The WASM module of the echo driver: built from source where that is possible, and a committed copy elsewhere.
//!
//! `cargo xtask check-wasm` builds it and compares: with the compiler that made the copy, the code of both must be the
//! same; with another one, what they import and export.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use wasmparser::{ExternalKind, Parser, Payload};

use crate::build::{Build, Compiler, Std, named, project_root};

/// The module's file name.
pub(crate) const MODULE: &str = "spiderweb-echo-driver-wasm.wasm";
const PACKAGE: &str = "spiderweb-echo-driver-wasm";
const TARGET: &str = "wasm32-wasip1";
const PROFILE: &str = "module";
/// Flags of the compiler for this target alone.
const FLAGS: &str = "CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS";
/// Where the committed copy is, and the page that says where it comes from.
const PREBUILT: &str = "drivers/echo-wasm/prebuilt";
/// What the module is made of.
const SOURCES: &[&str] = &["drivers/echo-wasm/src", "crates/driver-sdk/src"];
/// Beginning of the line of that page that names the compiler.
const COMPILER: &str = "| compiler | ";

/// Arguments of `cargo xtask check-wasm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Replace the committed copy by what the source gives
    #[arg(long)]
    update: bool,
}

/// Where a module is, and how it came there.
pub(crate) struct Module {
    pub(crate) path: PathBuf,
    pub(crate) origin: &'static str,
}

/// The committed copy.
fn prebuilt() -> PathBuf {
    project_root().join(PREBUILT).join(MODULE)
}

/// The module from source, or else the committed copy.
pub(crate) fn module(compiler: &Compiler) -> Result<Module> {
    Ok(match built(compiler)? {
        Some(path) => Module {
            path,
            origin: "built from source",
        },
        None => Module {
            path: prebuilt(),
            origin: "the committed copy: this compiler has no wasm32-wasip1",
        },
    })
}

/// The module from source; `None` where the target cannot be had.
fn built(compiler: &Compiler) -> Result<Option<PathBuf>> {
    if compiler.std_of(TARGET) == Std::Missing {
        return Ok(None);
    }
    // Panic messages name source files. They are to be the same wherever it is built, and as short.
    let flags = format!(
        "{} --remap-path-prefix={}=/rustc/{}",
        std::env::var(FLAGS).unwrap_or_default(),
        compiler.std_sources().display(),
        compiler.commit
    );
    let build = Build {
        packages: &[PACKAGE],
        profile: PROFILE,
        target: Some(TARGET),
        features: None,
        environment: &[(FLAGS.to_owned(), flags)],
    };
    let made = build.run(compiler)?;
    Ok(Some(named(&made, MODULE)?.to_owned()))
}

pub(crate) fn check(arguments: &Arguments) -> Result<()> {
    let compiler = Compiler::found()?;
    let Some(built) = built(&compiler)? else {
        ensure!(
            !arguments.update,
            "{TARGET} is not installed: `rustup target add {TARGET}`"
        );
        Shape::of(&fs::read(prebuilt()).context("reading the committed module")?)?;
        println!("skipped: this compiler has no {TARGET}; the committed module is well-formed");
        return Ok(());
    };
    let built = fs::read(built)?;
    if arguments.update {
        return update(&built, &compiler);
    }
    let committed = fs::read(prebuilt()).context("reading the committed module")?;
    if built == committed {
        println!("the committed module is what its source gives, byte for byte");
        return Ok(());
    }
    let page = fs::read_to_string(project_root().join(PREBUILT).join("README.md"))?;
    let is_same_compiler = page.contains(&format!("{COMPILER}{} |", compiler.version));
    compare(&Shape::of(&committed)?, &Shape::of(&built)?, is_same_compiler)?;
    if is_same_compiler {
        println!("the committed module has the imports, exports and code that its source gives");
    } else {
        println!(
            "the committed module has the imports and exports that its source gives; {} is not the compiler that made \
             it, so the code was not compared",
            compiler.version
        );
    }
    Ok(())
}

fn update(module: &[u8], compiler: &Compiler) -> Result<()> {
    let directory = project_root().join(PREBUILT);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join(MODULE), module)?;
    let page = format!(
        "# The echo module, prebuilt\n\n\
         `{MODULE}` is `drivers/echo-wasm` for `{TARGET}`, for machines whose compiler lacks that target.\n\
         `cargo xtask check-wasm --update` made it and this page; `cargo xtask check-wasm` compares it with its source.\n\n\
         | | |\n|---|---|\n\
         {COMPILER}{} |\n\
         | command | `cargo build --profile {PROFILE} --target {TARGET} --package {PACKAGE}` |\n\
         | source | commit {} |\n\
         | size | {} bytes |\n",
        compiler.version,
        source_commit()?,
        module.len()
    );
    fs::write(directory.join("README.md"), page)?;
    println!("wrote {PREBUILT}/{MODULE}, {} bytes", module.len());
    Ok(())
}

/// The last commit that changed the module's source.
fn source_commit() -> Result<String> {
    let output = Command::new("git")
        .args(["log", "-1", "--format=%H", "--"])
        .args(SOURCES)
        .current_dir(project_root())
        .output()
        .context("cannot run git")?;
    ensure!(output.status.success(), "git log failed");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// What counts about a module.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    /// Module and name of each import.
    imports: BTreeSet<(String, String)>,
    /// Name and kind of each export.
    exports: BTreeSet<(String, &'static str)>,
    /// The bodies of all functions.
    code: Vec<u8>,
}

impl Shape {
    fn of(module: &[u8]) -> Result<Self> {
        let mut shape = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload.context("this is no WASM module")? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        shape
                            .imports
                            .insert((import.module.to_owned(), import.name.to_owned()));
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        shape.exports.insert((export.name.to_owned(), kind(export.kind)));
                    }
                }
                Payload::CodeSectionEntry(body) => shape.code.extend_from_slice(body.as_bytes()),
                _ => {}
            }
        }
        ensure!(!shape.code.is_empty(), "this WASM module has no code");
        Ok(shape)
    }
}

fn kind(kind: ExternalKind) -> &'static str {
    match kind {
        ExternalKind::Func => "function",
        ExternalKind::Memory => "memory",
        ExternalKind::Table => "table",
        ExternalKind::Global => "global",
        _ => "other",
    }
}

/// An error that says in what two modules differ.
fn compare(committed: &Shape, built: &Shape, with_code: bool) -> Result<()> {
    let mut differences = Vec::new();
    if committed.imports != built.imports {
        let changed: Vec<_> = committed.imports.symmetric_difference(&built.imports).collect();
        differences.push(format!("imports {changed:?}"));
    }
    if committed.exports != built.exports {
        let changed: Vec<_> = committed.exports.symmetric_difference(&built.exports).collect();
        differences.push(format!("exports {changed:?}"));
    }
    if with_code && committed.code != built.code {
        differences.push("the code".to_owned());
    }
    if !differences.is_empty() {
        bail!(
            "the committed module is not what its source gives: {}; `cargo xtask check-wasm --update` replaces it",
            differences.join(", ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_module_is_a_small_wasi_command() {
        let module = fs::read(prebuilt()).unwrap();
        assert!(module.len() < 150 * 1024, "{} bytes", module.len());
        let shape = Shape::of(&module).unwrap();
        for export in [("_start", "function"), ("memory", "memory")] {
            assert!(
                shape.exports.contains(&(export.0.to_owned(), export.1)),
                "{:?}",
                shape.exports
            );
        }
        let modules: BTreeSet<_> = shape.imports.iter().map(|(module, _)| module.as_str()).collect();
        assert_eq!(modules, BTreeSet::from(["wasi_snapshot_preview1"]));
    }

    #[test]
    fn its_page_says_where_it_comes_from() {
        let page = fs::read_to_string(project_root().join(PREBUILT).join("README.md")).unwrap();
        let size = fs::metadata(prebuilt()).unwrap().len();
        assert!(page.contains(&format!("| size | {size} bytes |")), "{page}");
        assert!(page.contains(&format!("{COMPILER}rustc ")), "{page}");
    }

    #[test]
    fn differences_are_named_and_code_counts_with_the_same_compiler() {
        let shape = |import: &str, export: &str, code: &[u8]| Shape {
            imports: [("wasi".to_owned(), import.to_owned())].into(),
            exports: [(export.to_owned(), "function")].into(),
            code: code.to_vec(),
        };
        let committed = shape("fd_write", "_start", b"a");
        assert!(compare(&committed, &shape("fd_write", "_start", b"a"), true).is_ok());
        assert!(compare(&committed, &shape("fd_write", "_start", b"b"), false).is_ok());
        for (built, words) in [
            (shape("fd_write", "_start", b"b"), "the code"),
            (shape("fd_read", "_start", b"a"), "imports"),
            (shape("fd_write", "main", b"a"), "exports"),
        ] {
            let error = compare(&committed, &built, true).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_is_no_module_is_refused() {
        for bytes in [&b""[..], b"no module", b"\0asm\x01\0\0\0"] {
            assert!(Shape::of(bytes).is_err());
        }
    }
}
