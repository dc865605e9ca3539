//! `spiderweb-fs-node service …`: the node as a service of Windows (contract: `docs/operations.md`).
//!
//! What is registered is decided in [`registration`], without asking the system; what the service manager is asked is in
//! `manager`, and what it starts in `process`. Other systems have no such command: their packages have units.

#[cfg(windows)]
mod folder;
#[cfg(windows)]
mod manager;
#[cfg(windows)]
mod process;
mod registration;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use spiderweb_protocol::is_identifier;

#[cfg(windows)]
pub(crate) use self::manager::run;

/// Most characters of a service's name; the system allows 256.
const MAX_NAME: usize = 80;

/// Run the node as a service of Windows, which starts with the system
#[derive(Debug, Parser)]
#[command(
    name = "spiderweb-fs-node service",
    bin_name = "spiderweb-fs-node service",
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage; of `status`: 0 running, 3 not running, 4 not installed."
)]
struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the service; it starts with the system from then on
    Install(Install),
    /// Stop the service and remove it; its folder stays
    Uninstall(Named),
    /// Start the service, and wait until the node serves
    Start(Named),
    /// Stop the service; requests may finish first
    Stop(Named),
    /// Say whether the service runs
    Status(Named),
    /// What the service manager starts
    #[command(hide = true)]
    Run(Run),
}

#[derive(Debug, Args)]
struct Named {
    /// Name of the service
    #[arg(long, default_value = "spiderweb-fs-node")]
    name: ServiceName,
}

#[derive(Debug, Args)]
struct Install {
    #[command(flatten)]
    named: Named,
    /// What the list of services calls it
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// The node's own flags, such as `-- --export work=C:\work`; paths are made absolute
    #[arg(last = true, value_name = "FLAGS")]
    flags: Vec<OsString>,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    named: Named,
    /// Said here, since the variable that it is found by may say something else to services
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    #[arg(last = true)]
    flags: Vec<OsString>,
}

/// The command's flags, for completions and manual pages.
#[cfg(windows)]
pub(crate) fn flags() -> clap::Command {
    Flags::command().name("service")
}

/// A name that is also one of a folder, and needs no quoting anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ServiceName(String);

#[derive(Debug, thiserror::Error)]
#[error("expected 1 to {MAX_NAME} of A-Z a-z 0-9 . _ -, with a letter or digit at both ends")]
struct BadName;

impl FromStr for ServiceName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let ends_well = |end: Option<char>| end.is_some_and(|end| end.is_ascii_alphanumeric());
        let is_good = text.len() <= MAX_NAME
            && is_identifier(text)
            && ends_well(text.chars().next())
            && ends_well(text.chars().next_back());
        is_good.then(|| Self(text.to_owned())).ok_or(BadName)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<std::ffi::OsStr> for ServiceName {
    fn as_ref(&self) -> &std::ffi::OsStr {
        self.0.as_ref()
    }
}

/// Where a service keeps its log and whatever is not placed by a flag; it is its current folder.
#[derive(Debug)]
struct Home(PathBuf);

impl Home {
    /// Below the folder that the system has for data of all users.
    fn new(name: &ServiceName, environment: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let data = environment("ProgramData").map(PathBuf::from);
        let data = data
            .filter(|data| data.is_absolute())
            .ok_or("the variable ProgramData, which the system sets, names no folder")?;
        Ok(Self(data.join("spiderweb-fs-node").join(&name.0)))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn log(&self) -> PathBuf {
        self.0.join("node.log")
    }
}

/// Numbers of the system for what goes wrong with services.
mod codes {
    pub(super) const ACCESS_DENIED: i32 = 5;
    pub(super) const NO_PROCESS: i32 = 1053;
    #[cfg(windows)]
    pub(super) const LOCKED: i32 = 1055;
    pub(super) const ALREADY_RUNNING: i32 = 1056;
    pub(super) const DISABLED: i32 = 1058;
    pub(super) const NOT_INSTALLED: i32 = 1060;
    pub(super) const NOT_RUNNING: i32 = 1062;
    pub(super) const NOT_FROM_THE_MANAGER: i32 = 1063;
    pub(super) const MARKED_FOR_DELETION: i32 = 1072;
    pub(super) const EXISTS: i32 = 1073;
    #[cfg(windows)]
    pub(super) const NEVER_STARTED: u32 = 1077;
    pub(super) const NAME_IN_USE: i32 = 1078;
}

/// What a number of the system means for this service and what to do; `None` for one we have no words for.
fn meaning(name: &ServiceName, code: i32) -> Option<String> {
    Some(match code {
        codes::ACCESS_DENIED => format!(
            "needs an elevated prompt: only administrators may do this to the service {name} (`Run as administrator`)"
        ),
        codes::NO_PROCESS => format!("{name}: the program did not answer the service manager in time"),
        codes::ALREADY_RUNNING => format!("{name} is running already"),
        codes::DISABLED => format!("{name} is disabled; `sc config {name} start= auto` enables it"),
        codes::NOT_INSTALLED => {
            format!("there is no service {name}; `spiderweb-fs-node service install` makes one")
        }
        codes::NOT_RUNNING => format!("{name} is not running"),
        codes::NOT_FROM_THE_MANAGER => format!(
            "`service run` is what the service manager starts; start the service with \
             `spiderweb-fs-node service start --name {name}`, or the node itself without `service`"
        ),
        codes::MARKED_FOR_DELETION => format!(
            "{name} is removed as soon as nobody has it open; close the list of services, the task manager and other \
             programs that show it, and try again"
        ),
        codes::EXISTS => format!(
            "there is a service {name} already; remove it with `spiderweb-fs-node service uninstall --name {name}`, \
             or give this one another --name"
        ),
        codes::NAME_IN_USE => {
            format!("another service is called {name} in the list of services; choose another --display-name")
        }
        _ => return None,
    })
}

/// What the state of a service is for scripts, as systemd has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Running,
    NotRunning,
    NotInstalled,
}

impl Status {
    const fn exit_code(self) -> u8 {
        match self {
            Self::Running => 0,
            Self::NotRunning => 3,
            Self::NotInstalled => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[&str]) -> Result<Action, clap::Error> {
        let line = std::iter::once("service").chain(line.iter().copied());
        Flags::try_parse_from(line).map(|flags| flags.action)
    }

    #[test]
    fn the_nodes_own_flags_follow_two_dashes() {
        Flags::command().debug_assert();
        let Action::Install(install) =
            read(&["install", "--name", "n", "--", "--export", "a=b", "--name"]).unwrap()
        else {
            panic!("another action");
        };
        assert_eq!((install.named.name.0.as_str(), install.flags.len()), ("n", 3));
        assert!(read(&["install", "--export", "a=b"]).is_err());
        assert!(read(&["start", "--", "--export", "a=b"]).is_err());
        assert!(read(&[]).is_err());
    }

    #[test]
    fn a_name_is_one_of_a_folder_too() {
        for name in ["spiderweb-fs-node", "a", "A.b_c-9"] {
            assert_eq!(name.parse::<ServiceName>().unwrap().to_string(), name);
        }
        let long = "n".repeat(MAX_NAME + 1);
        for name in [
            "", ".", "..", "a.", "-a", "a b", r"a\b", "a/b", "a\"b", "ä", &long,
        ] {
            assert!(name.parse::<ServiceName>().is_err(), "{name}");
        }
    }

    #[test]
    fn scripts_know_the_exit_codes_of_systemd() {
        let codes = [Status::Running, Status::NotRunning, Status::NotInstalled].map(Status::exit_code);
        assert_eq!(codes, [0, 3, 4]);
    }

    #[test]
    fn what_goes_wrong_is_said_with_what_to_do() {
        let name = "n".parse().unwrap();
        for (code, words) in [
            (codes::ACCESS_DENIED, "needs an elevated prompt: "),
            (codes::NO_PROCESS, "did not answer"),
            (codes::ALREADY_RUNNING, "running already"),
            (codes::DISABLED, "`sc config n start= auto`"),
            (codes::NOT_INSTALLED, "there is no service n"),
            (codes::NOT_RUNNING, "not running"),
            (codes::NOT_FROM_THE_MANAGER, "service start --name n"),
            (codes::MARKED_FOR_DELETION, "as soon as nobody has it open"),
            (codes::EXISTS, "there is a service n already"),
            (codes::NAME_IN_USE, "--display-name"),
        ] {
            let said = meaning(&name, code).unwrap();
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(meaning(&name, 2), None);
    }

    #[test]
    fn a_service_lives_below_the_data_of_all_users() {
        let name = "n".parse().unwrap();
        let data = std::env::temp_dir();
        let home = Home::new(&name, |variable| {
            assert_eq!(variable, "ProgramData");
            data.to_str().map(str::to_owned)
        });
        let home = home.unwrap();
        assert_eq!(home.path(), data.join("spiderweb-fs-node").join("n"));
        assert_eq!(home.log(), home.path().join("node.log"));
        Home::new(&name, |_| Some("relative".to_owned())).unwrap_err();
        Home::new(&name, |_| None).unwrap_err();
    }
}
