//! The program that runs a library, which is the node itself under another first argument.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::{library_helper, terminal};

/// First argument: run a library once.
pub(crate) const INVOKE: &str = "--internal-inproc-invoke";
/// First argument: keep a library loaded and run it whenever asked.
pub(crate) const SERVE: &str = "--internal-inproc-serve";
const TERMINAL: &str = "--internal-terminal-invoke";

pub(crate) const LIBRARY_PATH: &str = "--library-path";
pub(crate) const INVOKE_SYMBOL: &str = "--invoke-symbol";
/// Only say whether the library could be run.
pub(crate) const CHECK: &str = "--check";

/// Exit code of a helper that could not do its work; the reason is on standard error.
pub(crate) const HELPER_FAILED: u8 = 125;

/// How to start a helper: a program that hands its arguments to [`run_helper`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HelperCommand {
    /// The program.
    pub program: PathBuf,
}

impl HelperCommand {
    /// The program that is running.
    pub fn current() -> io::Result<Self> {
        std::env::current_exe().map(|program| Self { program })
    }
}

/// Acts as a helper if the arguments, without the program's name, ask for one. To be called before the program does
/// anything else.
pub fn run_helper(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter();
    match args.next()?.to_str()? {
        INVOKE => Some(library_helper::invoke(args)),
        SERVE => Some(library_helper::serve(args)),
        TERMINAL => Some(terminal::helper(args)),
        _ => None,
    }
}
