//! From a specification to a started program: where it is, what it sees, which pipes it has.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::driver::Fault;
use crate::process::Child;
use crate::spec::Surroundings;
use crate::system::{self, is_variable, variable_begins_with};

/// Variables of the node that start like this are its own business: tokens among them.
const PRIVATE_PREFIX: &str = "SPIDERWEB_";

/// The one a driver may inherit: where the web search driver sends its questions.
const SHARED_VARIABLE: &str = "SPIDERWEB_WEB_SEARCH_URL";

/// Marks every process of a run, so that those that left its group can be found.
pub(super) const INVOKE_ID_VARIABLE: &str = "SPIDERWEB_INVOKE_ID";

/// A program with all it is started with.
#[derive(Debug)]
pub(crate) struct Launch {
    /// A path, relative to the node's working directory, or a bare name that is searched in `PATH`.
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) surroundings: Surroundings,
}

impl Launch {
    /// Starts the program in a process group of its own, with `stdin` as its standard input and pipes for its
    /// outputs. Blocks, but does not wait for a program that is [busy](Fault::FileBusy).
    pub(crate) fn spawn(&self, id: &InvokeId, stdin: Stdio) -> Result<Child, Fault> {
        let mut command = self.command(id)?;
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        system::start(command).map_err(|error| {
            if system::is_no_program(&error) {
                return Fault::InvalidExecutable;
            }
            Fault::from(error)
        })
    }

    /// Whether [`Launch::spawn`] would find something it may start (section 13.1). Blocks.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let program = resolve(&self.program)?;
        if !program.metadata()?.is_file() {
            return Err(Fault::AccessDenied);
        }
        Ok(system::may_run(&program)?)
    }

    fn command(&self, id: &InvokeId) -> Result<Command, Fault> {
        let mut program = resolve(&self.program)?;
        if self.surroundings.cwd.is_some() {
            // The system would let a relative path start from the driver's directory.
            program = std::path::absolute(program)?;
        }
        let mut command = Command::new(program);
        system::add_arguments(&mut command, self);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_private(name)) {
            command.env_remove(name);
        }
        command
            .envs(&self.surroundings.env)
            .env(INVOKE_ID_VARIABLE, id.as_str());
        if let Some(cwd) = &self.surroundings.cwd {
            command.current_dir(cwd);
        }
        Ok(command)
    }
}

fn is_private(name: &OsStr) -> bool {
    variable_begins_with(name, PRIVATE_PREFIX) && !is_variable(name, SHARED_VARIABLE)
}

/// Where a program is: bare names are searched in `PATH`, paths stay as they are, since scripts are told them
/// (section 9.3).
fn resolve(program: &Path) -> Result<PathBuf, Fault> {
    if !system::is_bare(program) {
        return Ok(system::program_at(program));
    }
    search(program, &std::env::var_os("PATH").unwrap_or_default())
}

/// The first file of this name that may be executed. One that may not is reported only if nothing else is found.
fn search(name: &Path, path: &OsStr) -> Result<PathBuf, Fault> {
    let mut fault = Fault::NotFound;
    for folder in std::env::split_paths(path) {
        for candidate in system::program_files(std::path::absolute(folder.join(name))?) {
            if candidate.is_file() {
                if system::may_run(&candidate).is_ok() {
                    return Ok(candidate);
                }
                fault = Fault::AccessDenied;
            }
        }
    }
    Err(fault)
}

/// The name of one run, found in the environment of all its processes; no two runs of any node share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvokeId(String);

impl InvokeId {
    pub(crate) fn new() -> Self {
        static NODE: LazyLock<u64> = LazyLock::new(|| getrandom::u64().unwrap_or_default());
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{}-{:016x}-{number}", std::process::id(), *NODE))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_the_search_address_is_shared() {
        for (name, expected) in [
            ("SPIDERWEB_AUTH_TOKEN", true),
            ("SPIDERWEB_", true),
            ("SPIDERWEB_WEB_SEARCH_URL", false),
            ("SPIDERWEB_WEB_SEARCH_URL_2", true),
            ("PATH", false),
        ] {
            assert_eq!(is_private(OsStr::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_bare_name_is_the_first_program_in_path() {
        let root = tempfile::tempdir().unwrap();
        let folders: Vec<_> = ["none", "folder", "plain", "good", "late"]
            .iter()
            .map(|name| root.path().join(name))
            .collect();
        for folder in &folders[1..] {
            fs::create_dir(folder).unwrap();
        }
        fs::create_dir(folders[1].join("tool")).unwrap();
        for (folder, mode) in [(&folders[2], 0o644), (&folders[3], 0o755), (&folders[4], 0o755)] {
            fs::write(folder.join("tool"), "").unwrap();
            fs::set_permissions(folder.join("tool"), fs::Permissions::from_mode(mode)).unwrap();
        }
        let path = std::env::join_paths(&folders).unwrap();
        assert_eq!(search(Path::new("tool"), &path).unwrap(), folders[3].join("tool"));
        assert!(matches!(search(Path::new("other"), &path), Err(Fault::NotFound)));
        let plain = std::env::join_paths(&folders[..3]).unwrap();
        assert!(matches!(
            search(Path::new("tool"), &plain),
            Err(Fault::AccessDenied)
        ));
    }

    #[test]
    fn a_path_stays_as_it_is() {
        for path in ["./a/b", "a/b", "/a"] {
            assert_eq!(resolve(Path::new(path)).unwrap(), Path::new(path));
        }
    }

    #[test]
    fn ids_differ() {
        assert_ne!(InvokeId::new(), InvokeId::new());
    }
}
