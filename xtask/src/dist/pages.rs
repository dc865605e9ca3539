//! Completions and manual pages, from the programs' own definitions of their command lines.

use std::fs;

use anyhow::{Context as _, Result};
use clap::Command;
use clap_complete::Shell;

use super::layout::Layout;

/// Where the manual pages of programs are.
pub(crate) const MANUAL: &str = "share/man/man1";

/// Per shell, where it looks for completions below a prefix, and what is put around a program's name there.
const SHELLS: [(Shell, &str, &str, &str); 4] = [
    (Shell::Bash, "share/bash-completion/completions", "", ""),
    (Shell::Zsh, "share/zsh/site-functions", "_", ""),
    (Shell::Fish, "share/fish/vendor_completions.d", "", ".fish"),
    (Shell::PowerShell, "share/powershell/completions", "", ".ps1"),
];

/// The page of the program `spiderweb-hub`, and the one of the client's command `spiderweb hub`, which would have the
/// same name.
const HUB: &str = "spiderweb-hub.1";
const CLIENT_HUB: &str = "spiderweb-hub-commands.1";

/// Lays out the pages of every program.
pub(super) fn lay_out(layout: &mut Layout) -> Result<()> {
    for command in [
        spiderweb_fs_node::command(),
        spiderweb_hub_app::command(),
        spiderweb::command(),
    ] {
        let name = command.get_name().to_owned();
        for (shell, folder, before, after) in SHELLS {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command.clone(), &name, &mut script);
            layout.write(&format!("{folder}/{before}{name}{after}"), script)?;
        }
        manual(layout, command)?;
    }
    Ok(())
}

/// A page for a command, and one for each below it.
fn manual(layout: &mut Layout, command: Command) -> Result<()> {
    let is_client = command.get_name() == "spiderweb";
    let made = layout.path("pages.part");
    fs::create_dir_all(&made).context("making a folder for manual pages")?;
    clap_mangen::generate_to(named_once(command), &made).context("making manual pages")?;
    if is_client {
        fs::rename(made.join(HUB), made.join(CLIENT_HUB)).context("renaming a manual page")?;
        let page = made.join("spiderweb.1");
        let text = fs::read_to_string(&page)?.replace(r"spiderweb\-hub(1)", r"spiderweb\-hub\-commands(1)");
        fs::write(page, text)?;
    }
    layout.copy(&made, MANUAL)?;
    fs::remove_dir_all(&made).context("removing what manual pages were made in")
}

/// The description without the program's name in front of it, which the page writes there itself.
fn named_once(command: Command) -> Command {
    let prefix = format!("{} - ", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    match about.strip_prefix(&prefix) {
        Some(rest) => command.about(rest.to_owned()),
        None => command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_and_subcommand_has_its_pages() {
        let dir = tempfile::tempdir().unwrap();
        let mut layout = Layout::new(dir.path());
        lay_out(&mut layout).unwrap();
        for (page, words) in [
            ("share/man/man1/spiderweb-fs-node.1", "\\-\\-export"),
            ("share/man/man1/spiderweb-fs-node-check.1", "FILE_OR_DIR"),
            ("share/man/man1/spiderweb-hub.1", "\\-\\-data\\-dir"),
            (
                "share/man/man1/spiderweb-fs-node.1",
                "spiderweb\\-fs\\-node \\- Distributed filesystem",
            ),
            (
                "share/man/man1/spiderweb-hub.1",
                "spiderweb\\-hub \\- pairs nodes",
            ),
            ("share/man/man1/spiderweb.1", "spiderweb\\-ls(1)"),
            ("share/man/man1/spiderweb.1", "spiderweb\\-hub\\-commands(1)"),
            ("share/man/man1/spiderweb-hub-commands.1", "invite"),
            ("share/man/man1/spiderweb-hub-invite-create.1", "\\-\\-max\\-uses"),
            ("share/bash-completion/completions/spiderweb-fs-node", "--export"),
            ("share/zsh/site-functions/_spiderweb", "#compdef spiderweb"),
            (
                "share/fish/vendor_completions.d/spiderweb-hub.fish",
                "-c spiderweb-hub",
            ),
            (
                "share/powershell/completions/spiderweb.ps1",
                "Register-ArgumentCompleter",
            ),
        ] {
            let text = fs::read_to_string(dir.path().join(page)).expect(page);
            assert!(text.contains(words), "{page}: {text}");
        }
        assert!(!dir.path().join("pages.part").exists());
    }
}
