//! The store in one file: a redb database, which is whole after a crash at any moment and locked while it is open.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableTable as _, TableDefinition, TableError};
use spiderweb_daemon::private;

use super::{Change, Store, StoreError};

const RECORDS: TableDefinition<'_, &str, &str> = TableDefinition::new("records");

/// The key that says which version of the format this is.
const FORMAT_KEY: &str = "format";
/// Ends the name of the file that says who has the database open.
const OWNER: &str = ".owner";
/// Ends the name of the copy that is made at every start.
const PREVIOUS: &str = ".previous";

/// What any of the library's many errors becomes on its way out.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The version this program writes.
const FORMAT: &str = "spiderweb-hub 1";

/// Why a database cannot be used. In no case was anything in it changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another hub has it.
    #[error("database {} is in use by {owner}", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
        /// Who, as far as known.
        owner: String,
    },
    /// It is no database, or a damaged one.
    #[error(
        "database {} is damaged ({reason}); it was left as it is. Put a backup in its place ({} is the state of the \
         last start, if it is there), or move it away to start without any node, in which case every node has to pair \
         again",
        path.display(),
        beside(path, PREVIOUS).display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It was written by another version.
    #[error("database {} has format `{format}`, which this version does not know; use a newer one", path.display())]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// What it says.
        format: String,
    },
    /// The system refuses.
    #[error("cannot open database {}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
}

/// Texts in a file. While it is open, a small file beside it says which process has it; another one holds a copy of
/// what it was when it was opened last.
#[derive(Debug)]
pub struct FileStore {
    database: Database,
    owner: PathBuf,
}

impl FileStore {
    /// Opens the file, or makes it with access for its owner only. Blocks.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |reason| OpenError::Io {
            path: path.to_owned(),
            reason,
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io)?;
        }
        make_private(path).map_err(io)?;
        let owner = beside(path, OWNER);
        let database = Database::create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse {
                path: path.to_owned(),
                owner: read_owner(&owner),
            },
            DatabaseError::Storage(redb::StorageError::Io(reason))
                if !matches!(
                    reason.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                io(reason)
            }
            other => damaged(path, &other),
        })?;
        let mut store = Self { database, owner };
        match store.read(FORMAT_KEY).map_err(|error| damaged(path, &error))? {
            Some(format) if format == FORMAT => {
                if let Err(error) = keep_copy(path) {
                    tracing::warn!(%error, "no copy of the database was kept");
                }
            }
            Some(format) => {
                return Err(OpenError::OtherFormat {
                    path: path.to_owned(),
                    format,
                });
            }
            None => store
                .commit(&[Change::Put {
                    key: FORMAT_KEY.to_owned(),
                    text: FORMAT.to_owned(),
                }])
                .map_err(|error| io(io::Error::other(error.to_string())))?,
        }
        // Who it is matters only to a person who wonders; without the note everything works.
        let _ = fs::write(&store.owner, format!("process {}\n", std::process::id()));
        Ok(store)
    }

    fn read(&self, key: &str) -> Result<Option<String>, Failure> {
        let transaction = self.database.begin_read()?;
        let table = match transaction.open_table(RECORDS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            table => table?,
        };
        Ok(table.get(key)?.map(|text| text.value().to_owned()))
    }

    fn load_all(&self) -> Result<Vec<(String, String)>, Failure> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(RECORDS)?;
        let mut texts = Vec::new();
        for entry in table.iter()? {
            let (key, text) = entry?;
            if key.value() != FORMAT_KEY {
                texts.push((key.value().to_owned(), text.value().to_owned()));
            }
        }
        Ok(texts)
    }

    fn write_all(&self, changes: &[Change]) -> Result<(), Failure> {
        // Commits are on the disk when they return: the library's default durability.
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for change in changes {
                match change {
                    Change::Put { key, text } => drop(table.insert(key.as_str(), text.as_str())?),
                    Change::Remove { key } => drop(table.remove(key.as_str())?),
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.owner);
    }
}

impl Store for FileStore {
    fn load(&mut self) -> Result<Vec<(String, String)>, StoreError> {
        self.load_all().map_err(|error| StoreError {
            what: "read",
            reason: error.to_string(),
        })
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.write_all(changes).map_err(|error| StoreError {
            what: "written",
            reason: error.to_string(),
        })
    }
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Keeps a copy of a database that could be opened and that nobody writes to yet.
fn keep_copy(path: &Path) -> io::Result<()> {
    let (temporary, previous) = (beside(path, ".copying"), beside(path, PREVIOUS));
    private::copy(path, &temporary)?;
    OpenOptions::new().append(true).open(&temporary)?.sync_all()?;
    fs::rename(&temporary, &previous)
}

fn read_owner(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    match text.trim() {
        "" => "another process".to_owned(),
        owner => owner.to_owned(),
    }
}

/// Makes an empty file that only its owner may read, unless there is a file.
fn make_private(path: &Path) -> io::Result<()> {
    match private::create_new(path) {
        Ok(mut file) => file.flush(),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, text: &str) -> Change {
        Change::Put {
            key: key.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn what_was_committed_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/hub.redb");
        let mut store = FileStore::open(&path).unwrap();
        store.commit(&[put("a", "1"), put("b", "2")]).unwrap();
        store
            .commit(&[Change::Remove { key: "a".to_owned() }, put("c", "3")])
            .unwrap();
        drop(store);
        let mut again = FileStore::open(&path).unwrap();
        let pair = |key: &str, text: &str| (key.to_owned(), text.to_owned());
        assert_eq!(again.load().unwrap(), [pair("b", "2"), pair("c", "3")]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "others could read it");
        }
    }

    #[test]
    fn a_second_hub_is_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.redb");
        let _first = FileStore::open(&path).unwrap();
        let error = FileStore::open(&path).unwrap_err().to_string();
        let owner = format!("in use by process {}", std::process::id());
        assert!(error.contains(&owner), "{error}");
    }

    #[test]
    fn a_damaged_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for (name, damage) in [("noise", vec![7_u8; 20_000]), ("short", b"redb".to_vec())] {
            let path = folder.path().join(name);
            fs::write(&path, &damage).unwrap();
            let error = FileStore::open(&path).unwrap_err();
            assert!(matches!(error, OpenError::Damaged { .. }), "{name}: {error}");
            assert_eq!(fs::read(&path).unwrap(), damage);
        }
    }

    #[test]
    fn the_copy_of_the_last_start_can_take_the_place_of_a_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.redb");
        for round in ["1", "2", "3"] {
            let mut store = FileStore::open(&path).unwrap();
            store.commit(&[put("round", round)]).unwrap();
        }
        fs::write(&path, b"noise").unwrap();
        let error = FileStore::open(&path).unwrap_err().to_string();
        let copy = beside(&path, PREVIOUS);
        assert!(error.contains(&copy.display().to_string()), "{error}");
        fs::rename(&copy, &path).unwrap();
        let kept = FileStore::open(&path).unwrap().load().unwrap();
        assert_eq!(kept, [("round".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn a_newer_format_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.redb");
        let mut store = FileStore::open(&path).unwrap();
        store.commit(&[put(FORMAT_KEY, "spiderweb-hub 2")]).unwrap();
        drop(store);
        let error = FileStore::open(&path).unwrap_err();
        assert!(matches!(error, OpenError::OtherFormat { .. }), "{error}");
    }
}
