//! Archives: everything in one folder that names version and target, and a file with the archive's checksum.
//!
//! The same distribution gives the same archive, byte for byte: entries are in order and have neither owner nor time.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{Distribution, VERSION, mode, tell};
use crate::dist::{SUMS, System, sha256};

/// What an archive has a folder of, and what it is called itself without its extension.
pub(super) fn folder(target: &str, is_minimal: bool) -> String {
    let edition = if is_minimal { "-minimal" } else { "" };
    format!("spiderweb-fs-node-{VERSION}-{target}{edition}")
}

/// The file name of the archive for a target.
pub(super) fn file_name(target: &str) -> String {
    file_name_of(&folder(target, false), System::of(target))
}

fn file_name_of(folder: &str, system: System) -> String {
    let extension = if system == System::Windows {
        "zip"
    } else {
        "tar.gz"
    };
    format!("{folder}.{extension}")
}

pub(super) fn make(distribution: &Distribution, out: &Path) -> Result<()> {
    let Distribution {
        root, system, name, ..
    } = distribution;
    let files = files(root)?;
    let file_name = file_name_of(name, *system);
    let path = out.join(&file_name);
    let file = BufWriter::new(File::create(&path).with_context(|| format!("making {}", path.display()))?);
    if *system == System::Windows {
        zip(file, root, name, &files)?;
    } else {
        tar_gz(file, root, name, &files)?;
    }
    tell(&path)?;
    let sums = out.join(format!("{file_name}.sha256"));
    fs::write(&sums, format!("{}  {file_name}\n", sha256(&path)?))?;
    tell(&sums)
}

/// What was laid out, by its own list, and that list.
fn files(root: &Path) -> Result<Vec<String>> {
    let list = fs::read_to_string(root.join(SUMS)).context("this is no complete distribution")?;
    let names = list
        .lines()
        .filter_map(|line| Some(line.split_once("  ")?.1.to_owned()));
    Ok(names.chain([SUMS.to_owned()]).collect())
}

fn tar_gz(file: BufWriter<File>, root: &Path, folder: &str, files: &[String]) -> Result<()> {
    let mut archive = Builder::new(GzEncoder::new(file, Compression::best()));
    for name in files {
        let content = fs::read(root.join(name)).with_context(|| format!("reading {name}"))?;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(mode(name));
        header.set_mtime(0);
        archive.append_data(&mut header, PathBuf::from(format!("{folder}/{name}")), &*content)?;
    }
    archive
        .into_inner()?
        .finish()?
        .flush()
        .context("writing an archive")
}

fn zip(file: BufWriter<File>, root: &Path, folder: &str, files: &[String]) -> Result<()> {
    let mut archive = ZipWriter::new(file);
    for name in files {
        let content = fs::read(root.join(name)).with_context(|| format!("reading {name}"))?;
        let options = SimpleFileOptions::default().unix_permissions(mode(name));
        archive.start_file(format!("{folder}/{name}"), options)?;
        archive.write_all(&content)?;
    }
    archive.finish()?.flush().context("writing an archive")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn distribution(root: &Path, target: &str) -> Distribution {
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::write(root.join("bin/node"), "program").unwrap();
        fs::write(root.join("bin/echo.wasm"), "module").unwrap();
        fs::write(root.join("stranger"), "").unwrap();
        fs::write(root.join(SUMS), "00  bin/echo.wasm\n00  bin/node\n").unwrap();
        Distribution {
            root: root.to_owned(),
            target: target.to_owned(),
            system: System::of(target),
            name: folder(target, false),
        }
    }

    #[test]
    fn archives_have_what_was_laid_out_and_are_the_same_every_time() {
        let dir = tempfile::tempdir().unwrap();
        let target = "x86_64-unknown-linux-musl";
        let distribution = distribution(&dir.path().join("dist"), target);
        let path = dir.path().join(file_name(target));
        let make = || {
            make(&distribution, dir.path()).unwrap();
            fs::read(&path).unwrap()
        };
        let first = make();
        assert_eq!(first, make());
        let sums = fs::read_to_string(dir.path().join(format!("{}.sha256", file_name(target)))).unwrap();
        assert_eq!(
            sums,
            format!("{}  {}\n", sha256(&path).unwrap(), file_name(target))
        );
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&*first));
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            seen.push((path, entry.header().mode().unwrap()));
        }
        let inside = |name: &str, mode| (format!("{}/{name}", folder(target, false)), mode);
        assert_eq!(
            seen,
            [
                inside("bin/echo.wasm", 0o644),
                inside("bin/node", 0o755),
                inside(SUMS, 0o644)
            ]
        );
    }

    #[test]
    fn windows_gets_what_its_own_programs_open() {
        let dir = tempfile::tempdir().unwrap();
        let target = "x86_64-pc-windows-msvc";
        make(&distribution(&dir.path().join("dist"), target), dir.path()).unwrap();
        let mut archive =
            zip::ZipArchive::new(File::open(dir.path().join(file_name(target))).unwrap()).unwrap();
        let mut text = String::new();
        let name = format!("{}/bin/node", folder(target, false));
        archive.by_name(&name).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "program");
    }
}
