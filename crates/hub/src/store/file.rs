//! The store in one file: a redb database, which is whole after a crash at any moment and locked while it is open.

use std::collections::{BTreeMap, BTreeSet};
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

/// Opens a database. Tests put a disk that can be full in between.
type Opener = fn(&Path) -> Result<Database, DatabaseError>;

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
///
/// The library does nothing more with a file after one failed write, so the file is opened again then. Until that works
/// what was committed is known from memory.
#[derive(Debug)]
pub struct FileStore {
    /// Nothing while the file cannot be opened again.
    database: Option<Database>,
    path: PathBuf,
    owner: PathBuf,
    open: Opener,
    /// What was committed.
    texts: BTreeMap<String, String>,
    /// Keys whose texts in the file may be others, because a write may fail at its very end.
    tried: BTreeSet<String>,
}

impl FileStore {
    /// Opens the file, or makes it with access for its owner only. Blocks.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, |path| Database::create(path))
    }

    fn open_with(path: &Path, open: Opener) -> Result<Self, OpenError> {
        let io = |reason| OpenError::Io {
            path: path.to_owned(),
            reason,
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io)?;
        }
        make_private(path).map_err(io)?;
        let owner = beside(path, OWNER);
        let database = open(path).map_err(|error| match error {
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
        let format = read_format(&database).map_err(|error| damaged(path, &error))?;
        let mut store = Self {
            database: Some(database),
            path: path.to_owned(),
            owner,
            open,
            texts: BTreeMap::new(),
            tried: BTreeSet::new(),
        };
        match format {
            Some(format) if format == FORMAT => {
                let database = store.database.as_ref();
                let texts = database.map_or_else(|| Ok(BTreeMap::new()), load_all);
                store.texts = texts.map_err(|error| damaged(path, &error))?;
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

    /// Opens the file once more, and makes it what was committed.
    fn reopen(&mut self) -> Result<Database, Failure> {
        // A file that is gone must not become an empty one.
        fs::metadata(&self.path)?;
        let database = (self.open)(&self.path)?;
        if read_format(&database)?.as_deref() != Some(FORMAT) {
            return Err("another file is in its place".into());
        }
        let there = load_all(&database)?;
        let keys: BTreeSet<_> = there.keys().chain(self.texts.keys()).collect();
        let mut changes = Vec::new();
        for key in keys {
            if there.get(key) == self.texts.get(key) {
                continue;
            }
            // The lock was open for a moment.
            if !self.tried.contains(key) {
                return Err("somebody else has changed it; restart this hub".into());
            }
            let key = key.clone();
            changes.push(match self.texts.get(&key) {
                Some(text) => Change::Put {
                    key,
                    text: text.clone(),
                },
                None => Change::Remove { key },
            });
        }
        if !changes.is_empty() {
            write_all(&database, &changes)?;
        }
        self.tried.clear();
        Ok(database)
    }

    /// Writes to the file, which is opened first if it is not open.
    fn write(&mut self, changes: &[Change]) -> Result<(), Failure> {
        let database = match self.database.take() {
            Some(database) => database,
            None => self.reopen()?,
        };
        let written = write_all(&database, changes);
        if written.is_ok() {
            self.database = Some(database);
        } else {
            self.tried
                .extend(changes.iter().map(|change| change.key().to_owned()));
            drop(database);
            // At once, because nobody has the lock meanwhile. If it does not work, the next change tries again.
            self.database = self.reopen().ok();
        }
        written
    }
}

fn read_format(database: &Database) -> Result<Option<String>, Failure> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(RECORDS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    Ok(table.get(FORMAT_KEY)?.map(|text| text.value().to_owned()))
}

fn load_all(database: &Database) -> Result<BTreeMap<String, String>, Failure> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(RECORDS)?;
    let mut texts = BTreeMap::new();
    for entry in table.iter()? {
        let (key, text) = entry?;
        if key.value() != FORMAT_KEY {
            texts.insert(key.value().to_owned(), text.value().to_owned());
        }
    }
    Ok(texts)
}

fn write_all(database: &Database, changes: &[Change]) -> Result<(), Failure> {
    // Commits are on the disk when they return: the library's default durability.
    let transaction = database.begin_write()?;
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

impl Drop for FileStore {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.owner);
    }
}

impl Store for FileStore {
    fn load(&mut self) -> Result<Vec<(String, String)>, StoreError> {
        Ok(self.texts.clone().into_iter().collect())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.write(changes).map_err(|error| StoreError {
            what: "written",
            reason: error.to_string(),
        })?;
        for change in changes {
            match change {
                Change::Put { key, .. } if key == FORMAT_KEY => {}
                Change::Put { key, text } => drop(self.texts.insert(key.clone(), text.clone())),
                Change::Remove { key } => drop(self.texts.remove(key)),
            }
        }
        Ok(())
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
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::StorageBackend;
    use redb::backends::FileBackend;

    use super::*;

    static IS_FULL: AtomicBool = AtomicBool::new(false);

    /// A file on a disk that can be full.
    #[derive(Debug)]
    struct Disk(FileBackend);

    impl Disk {
        fn open(path: &Path) -> Result<Database, DatabaseError> {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            Database::builder().create_with_backend(Self(FileBackend::new(file)?))
        }

        fn room() -> io::Result<()> {
            if IS_FULL.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
            self.0.read(offset, len)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            Self::room().and_then(|()| self.0.set_len(len))
        }

        fn sync_data(&self, eventual: bool) -> io::Result<()> {
            Self::room().and_then(|()| self.0.sync_data(eventual))
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            Self::room().and_then(|()| self.0.write(offset, data))
        }
    }

    #[test]
    fn a_disk_that_was_full_is_written_to_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.redb");
        let mut store = FileStore::open_with(&path, Disk::open).unwrap();
        store.commit(&[put("a", "1")]).unwrap();
        IS_FULL.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            let error = store.commit(&[put("a", "2"), put("b", "2")]).unwrap_err();
            assert!(error.to_string().starts_with("the database cannot be written"));
            let kept = store.load().unwrap();
            assert_eq!(kept, [("a".to_owned(), "1".to_owned())]);
        }
        IS_FULL.store(false, Ordering::SeqCst);
        store.commit(&[put("c", "3")]).unwrap();
        drop(store);
        let pair = |key: &str, text: &str| (key.to_owned(), text.to_owned());
        let kept = FileStore::open(&path).unwrap().load().unwrap();
        assert_eq!(kept, [pair("a", "1"), pair("c", "3")]);

        // The file is unlocked while it cannot be opened. What somebody else wrote then is not undone.
        let mut store = FileStore::open_with(&path, Disk::open).unwrap();
        IS_FULL.store(true, Ordering::SeqCst);
        store.commit(&[put("a", "4")]).unwrap_err();
        IS_FULL.store(false, Ordering::SeqCst);
        let mut other = FileStore::open(&path).unwrap();
        other.commit(&[put("a", "5"), put("d", "5")]).unwrap();
        store.commit(&[put("e", "6")]).unwrap_err();
        drop(other);
        let error = store.commit(&[put("e", "6")]).unwrap_err().to_string();
        assert!(error.contains("somebody else"), "{error}");
        drop(store);
        let kept = FileStore::open(&path).unwrap().load().unwrap();
        assert_eq!(kept, [pair("a", "5"), pair("c", "3"), pair("d", "5")]);
    }

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
