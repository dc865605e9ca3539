//! One process for each state file.
//!
//! Two processes with one identity would take the tunnel from each other for ever. So whoever uses a state file holds
//! a lock on a file beside it, which says who it is. The system lets go of the lock when the process ends, however
//! that happens; the file stays and means nothing.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

#[cfg(unix)]
use self::unix as system;
#[cfg(windows)]
use self::windows as system;
use super::file::{folder_of, with_suffix};

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("state file {} is in use by process {holder}", path.display())]
    Held {
        /// The state file.
        path: PathBuf,
        /// What it says of itself: its number.
        holder: String,
    },
    /// The file beside the state file cannot be made.
    #[error("cannot lock state file {}", path.display())]
    Io {
        /// The state file.
        path: PathBuf,
        /// What the system says.
        #[source]
        reason: io::Error,
    },
}

impl StateLock {
    /// Takes the lock of a state file, which need not exist. Does not wait. Makes the folders above if need be.
    pub fn take(state_file: &Path) -> Result<Self, LockError> {
        let failed = |reason| LockError::Io {
            path: state_file.to_owned(),
            reason,
        };
        let make = || {
            fs::create_dir_all(folder_of(state_file))?;
            system::take(&with_suffix(state_file, ".lock"))
        };
        let (mut file, is_ours) = make().map_err(failed)?;
        if !is_ours {
            let mut holder = String::new();
            // Who it is is a courtesy; that there is somebody is known.
            let _ = file.take(64).read_to_string(&mut holder);
            let is_number = !holder.is_empty() && holder.trim().bytes().all(|byte| byte.is_ascii_digit());
            return Err(LockError::Held {
                path: state_file.to_owned(),
                holder: if is_number {
                    holder.trim().to_owned()
                } else {
                    "unknown".to_owned()
                },
            });
        }
        let written = file
            .set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/state.json");
        let first = StateLock::take(&path).unwrap();
        let error = StateLock::take(&path).unwrap_err();
        let expected = format!("in use by process {}", std::process::id());
        assert!(error.to_string().ends_with(&expected), "{error}");
        drop(first);
        StateLock::take(&path).unwrap();
    }
}
