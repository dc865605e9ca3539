//! `spiderweb completions`

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::stdout_failed;

/// Print a completion script, as in `source <(spiderweb completions bash)`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "spiderweb", &mut script);
        std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(stdout_failed)
    }
}
