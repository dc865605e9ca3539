//! The command line as it is typed.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::bench::BenchArgs;
use crate::commands::{
    cat, completions, cp, df, exec, exports, hub, invoke, ln, ls, mkdir, mv, put, rm, services, stat, tree,
    watch,
};
use crate::global::{Global, Variables, variable};

/// Show, read and write what spiderweb nodes export.
///
/// A file on a node is named /EXPORT/PATH, as in /work/notes.txt, and `/` is the list of exports. With --export the
/// name is /PATH within that export.
///
/// Through a hub (--hub) the name is /nodes/NODE/EXPORT/PATH, as in /nodes/edge/work/notes.txt, and `/nodes` is the list
/// of nodes. With --node the name is that of a file on this node.
#[derive(Debug, Parser)]
#[command(
    name = "spiderweb",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads the command line; ends the program when it makes no sense.
    pub(crate) fn read() -> Self {
        Self::understand(&Self::command().get_matches(), &variable).unwrap_or_else(|error| error.exit())
    }

    /// What was typed counts before what the environment says.
    fn understand(matches: &ArgMatches, variables: Variables<'_>) -> Result<Self, clap::Error> {
        let mut cli = Self::from_arg_matches(matches)?;
        let is_typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        if is_typed("url") && is_typed("hub") {
            let message = "--url names a node and --hub a hub: use one of them";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        let completed = cli.global.complete(is_typed, variables);
        completed.map_err(|wrong| Self::command().error(ErrorKind::InvalidValue, wrong))?;
        Ok(cli)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Ls(ls::Ls),
    Tree(tree::Tree),
    Stat(stat::Stat),
    Cat(cat::Cat),
    Put(put::Put),
    Cp(cp::Cp),
    Mv(mv::Mv),
    Rm(rm::Rm),
    Mkdir(mkdir::Mkdir),
    Ln(ln::Ln),
    Watch(watch::Watch),
    Df(df::Df),
    Exports(exports::Exports),
    Services(services::Services),
    Invoke(invoke::Invoke),
    Exec(exec::Exec),
    Hub(hub::HubArgs),
    Bench(Box<BenchArgs>),
    Completions(completions::Completions),
}

impl Command {
    /// Whether an interrupt leaves something to clean up; all others end at once.
    pub(crate) const fn cleans_up(&self) -> bool {
        matches!(
            self,
            Self::Put(_) | Self::Cp(_) | Self::Invoke(_) | Self::Exec(_) | Self::Bench(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lines_are_understood_or_refused() {
        for (line, understood) in [
            ("ls", true),
            ("ls /", true),
            ("ls -lah /work", true),
            ("ls work", false),
            ("ls :/work", false),
            ("tree -L 2 /work", true),
            ("tree -L 0", false),
            ("cat", false),
            ("cat /work/a /work/b", true),
            ("put /work/a", true),
            ("put - /work/a", true),
            ("put ./file /work/a", true),
            ("cp a", false),
            ("cp -r a :/work", true),
            ("mv /work/a /work/b", true),
            ("mv /work/a", false),
            ("rm -rf /work/a", true),
            ("rm", false),
            ("mkdir -p /work/a/b", true),
            ("ln -s target /work/link", true),
            ("watch", true),
            ("df -h", true),
            ("exports --output json", true),
            ("--output json exports", true),
            ("exports --output xml", false),
            ("exports --url http://x", false),
            ("exports --url ws://host:99999/", false),
            ("exports --token a --token-file b", false),
            ("exports --timeout 5", true),
            ("exports --timeout 2m", true),
            ("exports --timeout never", false),
            ("exports --timeout 0", false),
            ("bench --op getattr --connections 16 --depth 16", true),
            ("bench --op nothing", false),
            ("bench --block 4KiB --duration 500ms", true),
            ("bench --block 2MiB", false),
            ("bench --compare ws://a:1/ ws://b:2/", true),
            ("bench --compare ws://a:1/", false),
            ("services --output json", true),
            ("services x", false),
            ("services /nodes/edge --hub ws://h:1", true),
            ("ls --hub http://h:1", false),
            ("ls --hub ws://h:1 --node edge --hub-token-file f", true),
            ("ls --hub-token t", false),
            ("hub nodes", true),
            ("hub", false),
            ("hub invite create --max-uses 5 --expires 12h --name edge", true),
            ("hub invite create --max-uses 0", false),
            ("hub invite create --name a/b", false),
            ("hub invite revoke", false),
            ("hub approve pending-join-1 --operator-token-file f", true),
            ("hub deny", false),
            ("hub node show edge", true),
            ("hub mounts", true),
            ("hub mounts proj-1", true),
            ("hub watch edge", true),
            ("invoke", false),
            ("invoke echo-main", true),
            ("invoke echo-main {}", true),
            ("invoke svc-echo-main @file", true),
            ("invoke echo-main - --timeout 5s", true),
            ("invoke echo-main {} {}", false),
            ("exec", false),
            ("exec --", false),
            ("exec ls -l --color", true),
            ("exec -- ls -l", true),
            ("exec --service terminal-1 --cwd /tmp --timeout 5 -- ls", true),
            ("exec -c ls", true),
            ("exec -c ls -- ls", false),
            ("exec --max-output much -- ls", false),
            ("completions bash", true),
            ("completions klingon", false),
            ("frobnicate", false),
        ] {
            let words = std::iter::once("spiderweb").chain(line.split(' '));
            let parsed = Cli::try_parse_from(words);
            assert_eq!(parsed.is_ok(), understood, "{line}: {parsed:?}");
        }
    }

    #[test]
    fn usage_errors_say_what_would_work() {
        for (line, hint) in [
            ("ls work", "as in /work/file"),
            ("ls :/work", "only cp"),
            ("exports --timeout soon", "15s"),
            ("bench --block 12parsec", "4KiB"),
            ("exports --url http://x", "neither ws nor wss; expected ws://host"),
            ("hub invite create --expires soon", "24h"),
            ("exec", "-c <LINE>|COMMAND"),
        ] {
            let words = std::iter::once("spiderweb").chain(line.split(' '));
            let error = Cli::try_parse_from(words).unwrap_err();
            assert!(error.to_string().contains(hint), "{line}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn usage_errors_say_a_thing_once() {
        for (line, message) in [
            (
                "ls work",
                "error: invalid value 'work' for '[PATH]...': remote paths begin with `/`, as in /work/file\n",
            ),
            (
                "ls --hub ws://h:0",
                "error: invalid value 'ws://h:0' for '--hub <URL>': its port is not between 1 and 65535; expected",
            ),
        ] {
            let words = std::iter::once("spiderweb").chain(line.split(' '));
            let error = Cli::try_parse_from(words).unwrap_err().to_string();
            assert!(error.starts_with(message), "{line}: {error}");
        }
    }

    /// Reads a line where some variables are set.
    fn read(line: &str, set: &[(&str, &str)]) -> Result<Cli, clap::Error> {
        let words = std::iter::once("spiderweb").chain(line.split(' '));
        let variables = |name: &str| {
            let found = set.iter().find(|(set, _)| *set == name);
            found.map(|(_, value)| std::ffi::OsString::from(value))
        };
        Cli::understand(&Cli::command().try_get_matches_from(words)?, &variables)
    }

    #[test]
    fn variables_say_what_was_not_typed() {
        let set = [
            ("SPIDERWEB_URL", "ws://node/"),
            ("SPIDERWEB_HUB_TOKEN_FILE", "hub-token"),
            ("SPIDERWEB_FS_NODE_AUTH_TOKEN", "t0ken"),
        ];
        let global = read("ls", &set).unwrap().global;
        assert_eq!(global.url.to_string(), "ws://node:80/");
        assert_eq!(global.hub_token_file.unwrap().to_str(), Some("hub-token"));
        assert_eq!(global.token.unwrap(), "t0ken");
        let line = "--url ws://typed/ ls --hub-token-file typed --token typed";
        let global = read(line, &set).unwrap().global;
        assert_eq!(global.url.to_string(), "ws://typed:80/");
        assert_eq!(global.hub_token_file.unwrap().to_str(), Some("typed"));
        assert_eq!(global.token.unwrap(), "typed");
        let global = read("ls --token-file typed", &set).unwrap().global;
        assert_eq!((global.token, global.token_file.is_some()), (None, true));
    }

    #[test]
    fn a_variable_that_is_wrong_is_named_unless_something_typed_counts() {
        for variable in ["SPIDERWEB_URL", "SPIDERWEB_HUB"] {
            let set = [(variable, "http://x")];
            let error = read("ls", &set).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let begin = format!("error: invalid value 'http://x' of {variable}: its scheme is neither");
            assert!(error.to_string().starts_with(&begin), "{error}");
            assert!(read("ls --url ws://node/", &set).is_ok());
            assert!(read("ls --hub ws://hub/", &set).is_ok());
        }
    }

    #[test]
    fn variables_do_not_appear_as_flags_to_type() {
        let set = [
            ("SPIDERWEB_URL", "ws://node/"),
            ("SPIDERWEB_HUB_TOKEN_FILE", "hub-token"),
        ];
        let error = read("completions", &set).unwrap_err().to_string();
        assert!(error.contains("Usage: spiderweb completions <SHELL>"), "{error}");
    }

    #[test]
    fn a_typed_address_turns_the_other_kind_off() {
        assert!(read("ls --hub ws://h:1", &[]).unwrap().global.hub.is_some());
        let error = read("ls --hub ws://h:1 --url ws://n:1/v2/fs", &[]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("use one of them"), "{error}");
        let set = [("SPIDERWEB_HUB", "ws://h:1"), ("SPIDERWEB_URL", "ws://n:1/v2/fs")];
        assert!(read("ls", &set).unwrap().global.hub.is_some());
        assert!(
            read("ls --url ws://n:1/v2/fs", &set)
                .unwrap()
                .global
                .hub
                .is_none()
        );
    }

    /// The members of the first JSON object in a text.
    fn members(text: &str) -> Option<Vec<&str>> {
        let (_, rest) = text.split_once('{')?;
        let (members, _) = rest.split_once('}')?;
        Some(members.split(',').map(str::trim).collect())
    }

    #[test]
    fn help_and_the_page_name_the_same_json() {
        let page = include_str!("../../../docs/client.md");
        let (_, table) = page.split_once("| command | JSON |").unwrap();
        let rows: Vec<_> = table
            .lines()
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .collect();
        for row in &rows {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            for command in cells[1].split(", ") {
                let command = command.trim_matches('`');
                let mut found = Cli::command();
                for word in command.split(' ').filter(|word| !word.starts_with('-')) {
                    found = found.find_subcommand(word).unwrap().clone();
                }
                let help = found.get_long_about().unwrap().to_string();
                let (_, json) = help.split_once("JSON: ").unwrap();
                let json = match command.split_once(" --") {
                    Some((_, flag)) => json.split_once(&format!("With --{flag}: ")).unwrap().1,
                    None => json,
                };
                // Some rows only say what is different from the one above.
                if cells[2].starts_with("a line for each file") || cells[2].starts_with("one of these") {
                    continue;
                }
                assert_eq!(members(json), members(cells[2]), "{command}");
            }
        }
        assert!(rows.len() > 15, "{rows:?}");
    }

    #[test]
    fn tokens_are_not_shown_in_help() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("SPIDERWEB_HUB_TOKEN") && help.contains("SPIDERWEB_OPERATOR_TOKEN"));
        assert!(help.contains("SPIDERWEB_FS_NODE_AUTH_TOKEN") && help.contains("SPIDERWEB_URL"));
    }
}
