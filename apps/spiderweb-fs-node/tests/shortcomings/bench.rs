//! A node with a folder to serve and a folder it must never touch.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use spiderweb_testkit::{Answer, FilePeer, NodeCommand, NodeProcess, RawPeer};
use tempfile::TempDir;

/// The node under test.
const BINARY: &str = env!("CARGO_BIN_EXE_spiderweb-fs-node");

/// What the file outside says; no client may ever read it.
pub(crate) const SECRET: &str = "what nobody may read";

/// How long anything may take on a busy machine. The original never answers where this runs out.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Bench {
    pub(crate) node: NodeProcess,
    /// What export 0 serves read-write, and export 1 read-only.
    pub(crate) export: PathBuf,
    /// A folder beside it with the file `secret` and the empty folder `room`.
    pub(crate) outside: PathBuf,
    _home: TempDir,
}

impl Bench {
    pub(crate) fn start() -> Self {
        Self::start_with(|export| fs::write(export.join("file"), "inside").unwrap(), &[])
    }

    /// Prepares the folder, then starts a node with further arguments.
    pub(crate) fn start_with(prepare: impl FnOnce(&Path), arguments: &[&str]) -> Self {
        Self::start_command(prepare, |command| command.arguments(arguments))
    }

    pub(crate) fn start_command(
        prepare: impl FnOnce(&Path),
        adjust: impl FnOnce(NodeCommand) -> NodeCommand,
    ) -> Self {
        let home = TempDir::new().unwrap();
        let (export, outside) = (home.path().join("export"), home.path().join("outside"));
        fs::create_dir(&export).unwrap();
        fs::create_dir_all(outside.join("room")).unwrap();
        fs::write(outside.join("secret"), SECRET).unwrap();
        prepare(&export);
        let command = NodeCommand::new(BINARY).arguments([
            "--export".to_owned(),
            format!("work={}", export.display()),
            "--export".to_owned(),
            format!("still={}:ro", export.display()),
        ]);
        let node = adjust(command).start().unwrap();
        Self {
            node,
            export,
            outside,
            _home: home,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.node.addr()
    }

    pub(crate) fn peer(&self) -> FilePeer {
        FilePeer::connect(self.addr())
    }

    /// Proves that the node lives and takes new clients.
    #[track_caller]
    pub(crate) fn assert_serves(&self) {
        let mut peer = RawPeer::hello(self.addr()).expect("a node that still takes new clients");
        peer.ping(b"alive").expect("a node that still answers");
    }

    /// Proves that nothing outside was touched.
    #[track_caller]
    pub(crate) fn assert_outside_untouched(&self) {
        assert_eq!(fs::read_to_string(self.outside.join("secret")).unwrap(), SECRET);
        assert_eq!(names(&self.outside), ["room", "secret"]);
        assert!(names(&self.outside.join("room")).is_empty());
    }

    /// How many descriptors the node has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.node.id()))
            .unwrap()
            .count()
    }

    /// Processor time the node has used, in ticks of 10 ms.
    pub(crate) fn processor_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.node.id())).unwrap();
        // The name of the program, in parentheses, may contain anything; user and system time come after it.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Resident memory of the node, in bytes.
    pub(crate) fn resident(&self) -> usize {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.node.id())).unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * rustix::param::page_size()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the node's log:\n{}", self.node.log());
        }
    }
}

/// Sorted names in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "still not so after {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The number of a refusal, which must be one.
#[track_caller]
pub(crate) fn errno<T: std::fmt::Debug>(answer: Answer<T>) -> i64 {
    answer.expect_err("a refusal").errno
}

/// The id an object would have in an export, as the original computes it from its inode number.
pub(crate) fn guessed_id(export: u64, path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    ((export + 1) << 48) | fs::metadata(path).unwrap().ino()
}
