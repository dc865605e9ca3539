//! One file of state on the disk.
//!
//! Only reading gives the right to write: a [`StateFile`] comes out of [`StateFile::open`], which has read what was
//! there, and has put it aside if it could not be understood. A write goes to a temporary file beside it, to the disk,
//! and then takes the place of the old one, so there is a whole file at any moment.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use spiderweb_daemon::private;

/// A file whose contents are known, so that it may be replaced. There must be one for each path only.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
}

/// A file that was opened.
#[derive(Debug)]
pub struct Opened<T> {
    /// For writing.
    pub file: StateFile,
    /// What was in it, as far as it could be understood; `None` if there was no file, or nothing of use in it.
    pub contents: Option<T>,
    /// What was wrong with it, and where it is now.
    pub set_aside: Option<SetAside>,
}

/// A file that is kept for a person to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// What is wrong with it.
    pub reason: String,
    /// Where it is.
    pub path: PathBuf,
}

/// What a text was understood as.
#[derive(Debug)]
pub struct Contents<T> {
    /// As much of it as can be used.
    pub value: Option<T>,
    /// Why that is not all.
    pub fault: Option<String>,
}

/// A state file that cannot be used. Nothing of it was changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} state file {}", path.display())]
pub struct StateError {
    what: &'static str,
    path: PathBuf,
    #[source]
    reason: io::Error,
}

impl StateError {
    /// What kind of thing the system says.
    pub fn kind(&self) -> io::ErrorKind {
        self.reason.kind()
    }
}

/// The text of a file as it is, if there is one; nothing is changed. Blocks.
pub(super) fn read_text(path: &Path, max: u64) -> Result<Option<Vec<u8>>, StateError> {
    let failed = |reason| StateError {
        what: "read",
        path: path.to_owned(),
        reason,
    };
    match read(path, max) {
        Ok(Some(text)) => Ok(Some(text)),
        Ok(None) => Err(failed(io::ErrorKind::FileTooLarge.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Where the file really is: whoever keeps a link to it there wants to keep the link, and two names of one file are
/// one file. Blocks.
pub(super) fn resolve(path: &Path) -> PathBuf {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    let target = is_link.then(|| fs::canonicalize(path).ok()).flatten();
    target.unwrap_or_else(|| path.to_owned())
}

impl StateFile {
    /// Reads the file, at most `max` bytes of it. What is larger, or has a fault, is renamed to
    /// `<file>.corrupt-<now_ms>`. Blocks.
    pub fn open<T>(
        path: &Path,
        max: u64,
        now_ms: u64,
        understand: impl FnOnce(&[u8]) -> Contents<T>,
    ) -> Result<Opened<T>, StateError> {
        let failed = |what, reason| StateError {
            what,
            path: path.to_owned(),
            reason,
        };
        let file = Self {
            path: path.to_owned(),
        };
        let contents = match read(path, max) {
            Ok(Some(text)) => understand(&text),
            Ok(None) => Contents {
                value: None,
                fault: Some(format!("larger than {max} bytes")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Contents {
                value: None,
                fault: None,
            },
            Err(error) => return Err(failed("read", error)),
        };
        let set_aside = match contents.fault {
            None => None,
            Some(reason) => {
                let aside = with_suffix(path, &format!(".corrupt-{now_ms}"));
                fs::rename(path, &aside).map_err(|error| failed("set aside", error))?;
                sync_folder(path).map_err(|error| failed("set aside", error))?;
                Some(SetAside { reason, path: aside })
            }
        };
        Ok(Opened {
            file,
            contents: contents.value,
            set_aside,
        })
    }

    /// Replaces the contents. When this returns, they are on the disk; if it fails, or the machine stops at any
    /// moment, the old ones are. Makes the folders above if need be. Blocks.
    pub fn write(&mut self, text: &[u8]) -> Result<(), StateError> {
        let temporary = with_suffix(&self.path, ".tmp");
        let result = self.replace_by(&temporary, text);
        if result.is_err() {
            // What is left of a failed write is of no use, and the next one removes it if this cannot.
            let _ = fs::remove_file(&temporary);
        }
        result.map_err(|reason| StateError {
            what: "write",
            path: self.path.clone(),
            reason,
        })
    }

    fn replace_by(&self, temporary: &Path, text: &[u8]) -> io::Result<()> {
        fs::create_dir_all(folder_of(&self.path))?;
        match fs::remove_file(temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private::create_new(temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        drop(file);
        fs::rename(temporary, &self.path)?;
        sync_folder(&self.path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// `None` if there is more.
fn read(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = Vec::new();
    File::open(path)?
        .take(max.saturating_add(1))
        .read_to_end(&mut text)?;
    Ok((text.len() as u64 <= max).then_some(text))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A name is only on the disk when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder_of(path))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_text(text: &[u8]) -> Contents<String> {
        match std::str::from_utf8(text) {
            Ok(text) => Contents {
                value: Some(text.to_owned()),
                fault: text.contains("bad").then(|| "bad".to_owned()),
            },
            Err(_) => Contents {
                value: None,
                fault: Some("not text".to_owned()),
            },
        }
    }

    fn open(path: &Path) -> Opened<String> {
        StateFile::open(path, 100, 77, as_text).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again_and_nobody_elses_business() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/state.json");
        let mut opened = open(&path);
        assert_eq!((&opened.contents, &opened.set_aside), (&None, &None));
        opened.file.write(b"one").unwrap();
        opened.file.write(b"two").unwrap();
        assert_eq!(open(&path).contents.as_deref(), Some("two"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_cannot_be_understood_is_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let long = "x".repeat(101);
        for (text, value, reason) in [
            (&b"\xff"[..], None, "not text"),
            (b"half bad", Some("half bad"), "bad"),
            (long.as_bytes(), None, "larger than 100 bytes"),
        ] {
            fs::write(&path, text).unwrap();
            let mut opened = open(&path);
            assert_eq!(opened.contents.as_deref(), value);
            let aside = opened.set_aside.unwrap();
            assert_eq!(aside.reason, reason);
            assert_eq!(aside.path, folder.path().join("state.json.corrupt-77"));
            opened.file.write(b"new").unwrap();
            assert_eq!(fs::read(aside.path).unwrap(), text);
        }
    }

    #[test]
    fn a_left_over_of_a_crash_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        fs::write(&path, "old").unwrap();
        fs::write(folder.path().join("state.json.tmp"), "half").unwrap();
        let mut opened = open(&path);
        assert_eq!(opened.contents.as_deref(), Some("old"));
        opened.file.write(b"new").unwrap();
        assert_eq!(open(&path).contents.as_deref(), Some("new"));
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let mut opened = open(&path);
        opened.file.write(b"old").unwrap();
        fs::create_dir(folder.path().join("state.json.tmp")).unwrap();
        let error = opened.file.write(b"new").unwrap_err();
        assert!(error.to_string().contains("state.json"), "{error}");
        assert_eq!(open(&path).contents.as_deref(), Some("old"));
    }

    #[test]
    fn a_folder_is_not_taken_for_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = StateFile::open(folder.path(), 100, 1, as_text).unwrap_err();
        assert!(error.to_string().starts_with("cannot read state file"), "{error}");
        assert!(folder.path().is_dir());
    }
}
