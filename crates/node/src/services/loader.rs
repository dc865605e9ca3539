//! Reading the manifests: all of them at first, and again when one may have changed.
//!
//! Reading takes time: files on slow disks, libraries that are opened in a helper. So whoever reads holds nothing that
//! others wait for, and a library that did not change is not looked at again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use spiderweb_protocol::Dialect;
use spiderweb_runtime::library::verify;
use spiderweb_runtime::{Fault, HelperCommand, LibrarySpec};

use crate::config::ServicesConfig;
use crate::manifest::{Context, LoadedFile, ManifestFault, Sources, load};

/// Reads the manifests of a node.
pub(crate) struct Loader {
    sources: Sources,
    dialect: Dialect,
    /// The name under which manifests know this node.
    node_id: String,
    helper: HelperCommand,
    /// Libraries that were found good, as they were then.
    good: Mutex<HashMap<PathBuf, (LibrarySpec, Version)>>,
    /// The files as they were when they were last read; nothing before that.
    seen: Option<Fingerprint>,
    /// Something could not be used, perhaps for a reason that shows in no manifest.
    is_hopeful: bool,
}

impl Loader {
    pub(super) fn new(config: &ServicesConfig, node_id: String, helper: HelperCommand) -> Self {
        Self {
            sources: config.manifests.clone(),
            dialect: config.dialect,
            node_id,
            helper,
            good: Mutex::default(),
            seen: None,
            is_hopeful: false,
        }
    }

    /// Where the manifests are.
    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Has the manifests read again under another name, if it is one and they are any. Whether it has.
    pub(super) fn rename(&mut self, node_id: String) -> bool {
        if self.node_id == node_id || self.sources == Sources::default() {
            return false;
        }
        self.node_id = node_id;
        self.seen = None;
        true
    }

    /// What manifests are told the node is called.
    pub(super) fn node_id(&self) -> &str {
        &self.node_id
    }

    /// Whether reading again may give something else. Blocks.
    pub(super) fn is_stale(&self) -> bool {
        let may_differ = |seen: &Fingerprint| Fingerprint::take(&self.sources).may_differ_from(seen);
        self.is_hopeful || self.seen.as_ref().is_none_or(may_differ)
    }

    /// Has the files read again at every look, or no longer.
    pub(super) fn await_better(&mut self, is_hopeful: bool) {
        self.is_hopeful = is_hopeful;
    }

    /// Reads every manifest. Blocks; a library that is new is looked at in a helper.
    pub(super) fn load(&mut self) -> Result<Vec<LoadedFile>, ManifestFault> {
        // Before they are read, so that no change falls in between.
        self.seen = Some(Fingerprint::take(&self.sources));
        let context = Context {
            dialect: self.dialect,
            node_id: &self.node_id,
        };
        let loaded = load(&self.sources, context, &|library| self.check(library));
        self.is_hopeful = loaded.is_err();
        loaded
    }

    fn check(&self, library: &LibrarySpec) -> Result<(), Fault> {
        let version = Version::of(&library.library);
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(version), Some((spec, known))) = (&version, good.get(&library.library))
            && (spec, known) == (library, version)
        {
            return Ok(());
        }
        verify(&self.helper, &library.library, &library.symbol)?;
        if let Some(version) = version {
            good.insert(library.library.clone(), (library.clone(), version));
        }
        Ok(())
    }
}

/// Two changes within this time can leave one time of modification: file systems count in ticks.
const TICK: Duration = Duration::from_secs(1);

/// What tells one version of the manifests' files from another without reading them.
struct Fingerprint {
    files: Vec<(PathBuf, Option<Version>)>,
    taken: SystemTime,
}

/// What changes with a file: its content, or whether it may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    modified: SystemTime,
    length: u64,
    /// Number, and time of the last change of anything about it, where there are such.
    inode: (u64, i64, i64),
}

impl Fingerprint {
    /// The files as they are now. Blocks.
    fn take(sources: &Sources) -> Self {
        let taken = SystemTime::now();
        let mut paths = sources.files.clone();
        for folder in &sources.folders {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let found = entries.map(|entry| entry.path());
            paths.extend(found.filter(|path| path.extension().is_some_and(|end| end == "json")));
        }
        paths.sort_unstable();
        let files = paths.into_iter().map(|path| {
            let version = Version::of(&path);
            (path, version)
        });
        Self {
            files: files.collect(),
            taken,
        }
    }

    /// Whether the files may have changed since `earlier`: what had just been written then may have been written
    /// once more without a trace.
    fn may_differ_from(&self, earlier: &Self) -> bool {
        let was_fresh = |version: &Version| version.modified + TICK > earlier.taken;
        self.files != earlier.files
            || earlier
                .files
                .iter()
                .filter_map(|file| file.1.as_ref())
                .any(was_fresh)
    }
}

impl Version {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let inode = {
            use std::os::unix::fs::MetadataExt as _;
            (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
        };
        #[cfg(not(unix))]
        let inode = (0, 0, 0);
        Some(Self {
            modified: metadata.modified().ok()?,
            length: metadata.len(),
            inode,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_second_change_within_one_tick_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.json");
        let sources = Sources {
            files: Vec::new(),
            folders: vec![folder.path().to_owned()],
        };
        fs::write(&file, "1").unwrap();
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        let first = Fingerprint::take(&sources);
        fs::write(&file, "2").unwrap();
        fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        let mut second = Fingerprint::take(&sources);
        assert!(second.may_differ_from(&first));
        second.taken = modified + TICK;
        assert!(
            !Fingerprint::take(&sources).may_differ_from(&second),
            "it rested since"
        );
        fs::write(folder.path().join("b.json"), "").unwrap();
        assert!(Fingerprint::take(&sources).may_differ_from(&second));
    }
}
