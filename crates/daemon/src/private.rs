//! Files for their owner only: tokens, identities, what was done.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

#[cfg(unix)]
use self::unix as system;
#[cfg(windows)]
use self::windows as system;

/// Makes a file that nobody but its owner may open, and opens it for writing.
///
/// # Errors
///
/// [`io::ErrorKind::AlreadyExists`]: there is one, whoever may open it.
pub fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    system::create_new(&mut options, path)
}

/// Opens a file for writing at its end. If there is none, it is made like by [`create_new`].
pub fn append(path: &Path) -> io::Result<File> {
    system::append(path)
}

/// Copies a private file to another that nobody else may open either, and replaces what is there.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    system::copy(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_kept() {
        use std::io::Write as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        append(&path).unwrap().write_all(b"one ").unwrap();
        append(&path).unwrap().write_all(b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one two");
        assert_eq!(
            create_new(&path).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        let copied = folder.path().join("b");
        std::fs::write(&copied, "what was there before").unwrap();
        std::fs::remove_file(&copied).unwrap();
        copy(&path, &copied).unwrap();
        assert_eq!(std::fs::read(&copied).unwrap(), b"one two");
        for path in [path, copied] {
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                let mode = std::fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600);
            }
            std::fs::remove_file(path).unwrap();
        }
    }
}
