//! Flags for control mode: which hub, how to become known to it, how to stay so.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use spiderweb_node::{
    Authorization, ControlConfig, Dialer, Disclosure, Invites, PairMode, TokenSource, WsUrl, WsUrlError,
};
use spiderweb_protocol::Secret;
use spiderweb_protocol::control::NodeName;

use super::{BadValue, CliError, HubPlan, bad, conflict, trimmed};

/// Variable with the token that `--control-auth-token` overrides.
const TOKEN_VARIABLE: &str = "SPIDERWEB_AUTH_TOKEN";

/// Name of the file with the identity, unless a flag says otherwise.
const STATE_FILE_NAME: &str = "spiderweb-fs-node-state.json";

/// Where it is for a hub elsewhere.
const STATE_FILE: &str = "./spiderweb-fs-node-state.json";

/// Where the original keeps it.
const HIDDEN_STATE_FILE: &str = ".spiderweb-fs-node-state.json";

/// Shortest pause between attempts, whatever is configured.
const SHORTEST: Duration = Duration::from_millis(100);

/// Bounds of a lease: shorter ones are lost between two attempts, longer ones are none.
const LEASE_MS: std::ops::RangeInclusive<u64> = 1_000..=30 * 24 * 60 * 60 * 1_000;

/// Most bytes of a label's value.
const MAX_LABEL: usize = 512;

#[derive(Args, Debug)]
#[command(next_help_heading = "Control mode")]
pub(super) struct ControlFlags {
    /// Serve through the hub at this address instead of listening: `ws://HOST[:PORT][/PATH]`, or `wss://…` for TLS
    #[arg(long, value_name = "URL", value_parser = url, allow_hyphen_values = true)]
    control_url: Option<WsUrl>,

    /// Bearer token for the hub; better in the environment, where other users do not see it
    #[arg(long, value_name = "TOKEN", value_parser = bearer, allow_hyphen_values = true)]
    control_auth_token: Option<String>,

    /// File with that token, read whenever the node connects
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    control_auth_token_file: Option<PathBuf>,

    /// Token with which the node approves its own request to join
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    operator_token: Option<String>,

    /// File with that token
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    operator_token_file: Option<PathBuf>,

    /// How to become known to the hub: `invite`, or `request` and be approved; `invite` if there is an invite
    #[arg(long, value_name = "MODE", value_parser = pair_mode, allow_hyphen_values = true)]
    pair_mode: Option<PairMode>,

    /// Invite to pair with; it works once, so repeat for more
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    invite_token: Vec<String>,

    /// File with invites, one on a line, read before every attempt
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    invite_token_file: Option<PathBuf>,

    /// Address under which clients could reach this node without the hub
    #[arg(long, value_name = "URL", allow_hyphen_values = true)]
    fs_url: Option<String>,

    /// Length of the lease to ask for: 1000 (a second) to 2592000000 (30 days)
    #[arg(long, value_name = "MS", value_parser = lease, default_value = "900000", allow_hyphen_values = true)]
    lease_ttl_ms: Duration,

    /// How often the lease is renewed; earlier where a third of the lease is shorter
    #[arg(long, value_name = "MS", value_parser = pause, default_value = "60000", allow_hyphen_values = true)]
    refresh_interval_ms: Duration,

    /// First pause before something that failed is tried again; it doubles
    #[arg(long, value_name = "MS", value_parser = pause, default_value = "5000", allow_hyphen_values = true)]
    reconnect_backoff_ms: Duration,

    /// Longest such pause
    #[arg(long, value_name = "MS", value_parser = pause, default_value = "60000", allow_hyphen_values = true)]
    reconnect_backoff_max_ms: Duration,

    /// Label of the node in the catalog; repeat for more
    #[arg(long, value_name = "KEY=VALUE", value_parser = label, allow_hyphen_values = true)]
    label: Vec<(String, String)>,

    /// Tell the hub no paths and arguments of drivers, only the names of their files
    #[arg(long)]
    redact_paths: bool,
}

fn url(text: &str) -> Result<WsUrl, BadValue> {
    text.parse()
        .map_err(|error: WsUrlError| bad("InvalidUrl", error.to_string()))
}

fn bearer(text: &str) -> Result<String, BadValue> {
    check_bearer(text).map(|()| text.to_owned())
}

fn check_bearer(text: &str) -> Result<(), BadValue> {
    match Authorization::bearer(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(bad("InvalidArguments", error.to_string())),
    }
}

fn pair_mode(text: &str) -> Result<PairMode, BadValue> {
    match text {
        "invite" => Ok(PairMode::Invite),
        "request" => Ok(PairMode::Request),
        _ => Err(bad("InvalidArguments", "expected `invite` or `request`")),
    }
}

fn milliseconds(text: &str) -> Result<Duration, BadValue> {
    super::number(text, "expected a number of milliseconds").map(Duration::from_millis)
}

fn pause(text: &str) -> Result<Duration, BadValue> {
    milliseconds(text).map(|pause| pause.max(SHORTEST))
}

fn lease(text: &str) -> Result<Duration, BadValue> {
    const VALID: &str = "expected milliseconds: a number from 1000 (a second) to 2592000000 (30 days)";
    let lease: u64 = super::number(text, VALID)?;
    if LEASE_MS.contains(&lease) {
        Ok(Duration::from_millis(lease))
    } else {
        Err(bad("InvalidArguments", VALID))
    }
}

fn label(text: &str) -> Result<(String, String), BadValue> {
    let parts = text.split_once('=');
    let parts = parts.filter(|(key, value)| !key.is_empty() && !value.is_empty());
    let (key, value) = parts.ok_or_else(|| bad("InvalidArguments", "expected KEY=VALUE"))?;
    if NodeName::new(key).is_err() {
        return Err(bad(
            "InvalidProviderConfig",
            "expected a key of 1 to 128 letters, digits, `.`, `_` or `-`",
        ));
    }
    if value.len() > MAX_LABEL || value.bytes().any(|byte| byte < 0x20) {
        return Err(bad(
            "InvalidProviderConfig",
            "expected a value of 1 to 512 bytes without control characters",
        ));
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn source(token: Option<String>, file: Option<PathBuf>) -> TokenSource {
    match (token, file) {
        (Some(token), _) => TokenSource::Given(Secret::new(token)),
        (None, Some(file)) => TokenSource::File(file),
        (None, None) => TokenSource::Absent,
    }
}

impl ControlFlags {
    /// The relation to a hub, if there is to be one: `own` is the one that runs in this process.
    pub(super) fn configuration(
        self,
        node_name: &str,
        state_file: Option<PathBuf>,
        own: Option<&HubPlan>,
        environment: &impl Fn(&str) -> Option<String>,
    ) -> Result<Option<ControlConfig>, CliError> {
        for (index, (key, _)) in self.label.iter().enumerate() {
            if self.label.iter().take(index).any(|(other, _)| other == key) {
                return Err(conflict(
                    "InvalidProviderConfig",
                    format!("--label {key}: this key was given already"),
                ));
            }
        }
        let (url, usual_state_file, older_state_file) = match (self.control_url, own) {
            (Some(url), _) => (url, PathBuf::from(STATE_FILE), Some(HIDDEN_STATE_FILE.into())),
            // An identity is good for one hub, so this one lies beside its hub.
            (None, Some(own)) => (HubPlan::url(own.listen), own.folder.join(STATE_FILE_NAME), None),
            (None, None) => return Ok(None),
        };
        let node_name = NodeName::new(node_name).map_err(|_| {
            let words =
                format!("--node-name {node_name}: hubs take 1 to 128 letters, digits, `.`, `_` or `-`");
            conflict("InvalidArguments", words)
        })?;
        let mut token = source(
            self.control_auth_token.filter(|token| !token.is_empty()),
            self.control_auth_token_file,
        );
        if let (TokenSource::Absent, Some(text)) = (&token, trimmed(environment(TOKEN_VARIABLE))) {
            check_bearer(&text)
                .map_err(|error| conflict(error.name, format!("{TOKEN_VARIABLE}: {}", error.words)))?;
            token = TokenSource::Given(Secret::new(text));
        }
        let invites = Invites {
            tokens: self.invite_token.into_iter().map(Secret::new).collect(),
            file: self.invite_token_file,
        };
        let usual = if invites.is_empty() {
            PairMode::Request
        } else {
            PairMode::Invite
        };
        Ok(Some(ControlConfig {
            url,
            dialer: Dialer::tcp(),
            token,
            operator_token: source(self.operator_token, self.operator_token_file),
            may_replace_damaged_state: self.pair_mode.is_some() || !invites.is_empty(),
            pair_mode: self.pair_mode.unwrap_or(usual),
            invites,
            node_name,
            fs_url: self.fs_url.unwrap_or_default(),
            older_state_file: older_state_file.filter(|_| state_file.is_none()),
            state_file: state_file.unwrap_or(usual_state_file),
            lease_ttl: self.lease_ttl_ms,
            refresh_interval: self.refresh_interval_ms,
            backoff: self.reconnect_backoff_ms,
            backoff_max: self.reconnect_backoff_max_ms,
            labels: self.label,
            disclosure: if self.redact_paths {
                Disclosure::NamesOnly
            } else {
                Disclosure::Full
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, run, run_with};
    use super::*;

    const URL: [&str; 2] = ["--control-url", "ws://hub:7"];

    fn control(arguments: &[&str]) -> ControlConfig {
        let all: Vec<&str> = URL.iter().chain(arguments).copied().collect();
        config(&all).control.unwrap()
    }

    #[test]
    fn without_a_hub_nothing_changes() {
        let plain = config(&[
            "--invite-token",
            "inv-1",
            "--label",
            "a=b",
            "--pair-mode",
            "request",
        ]);
        assert!(plain.control.is_none());
        assert_eq!(plain.services.state_file, None);
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let control = control(&[]);
        assert_eq!(control.url.to_string(), "ws://hub:7/");
        assert_eq!(
            (control.pair_mode, control.may_replace_damaged_state),
            (PairMode::Request, false)
        );
        assert_eq!(control.node_name.as_str(), "spiderweb-fs-node");
        assert_eq!(control.state_file, PathBuf::from(STATE_FILE));
        assert_eq!(control.older_state_file, Some(PathBuf::from(HIDDEN_STATE_FILE)));
        let seconds = |wait: Duration| wait.as_secs();
        assert_eq!(
            (
                seconds(control.lease_ttl),
                seconds(control.refresh_interval),
                seconds(control.backoff),
                seconds(control.backoff_max)
            ),
            (900, 60, 5, 60)
        );
        let services = config(&URL).services;
        assert_eq!(services.state_file, Some(PathBuf::from(STATE_FILE)));
    }

    #[test]
    fn an_invite_implies_its_mode() {
        for (arguments, mode, may_replace) in [
            (&["--invite-token", "x"][..], PairMode::Invite, true),
            (&["--invite-token-file", "f"], PairMode::Invite, true),
            (
                &["--invite-token", "x", "--pair-mode", "request"],
                PairMode::Request,
                true,
            ),
            (&["--pair-mode", "invite"], PairMode::Invite, true),
        ] {
            let control = control(arguments);
            assert_eq!(
                (control.pair_mode, control.may_replace_damaged_state),
                (mode, may_replace),
                "{arguments:?}"
            );
        }
        assert_eq!(
            control(&["--invite-token", "x", "--invite-token", "y"])
                .invites
                .tokens
                .len(),
            2
        );
        let other = control(&["--state-file", "s", "--reconnect-backoff-ms", "0"]);
        assert_eq!((other.older_state_file, other.backoff), (None, SHORTEST));
    }

    #[test]
    fn tokens_come_from_flags_files_or_the_environment_and_are_never_shown() {
        let token = |arguments: &[&str]| {
            let all: Vec<&str> = URL.iter().chain(arguments).copied().collect();
            let config = run_with(&all, |name| (name == TOKEN_VARIABLE).then(|| " env\n".to_owned()));
            assert!(!format!("{config:?}").contains("t0ken"));
            config.control.unwrap().token
        };
        for (arguments, expected) in [
            (&[][..], "env"),
            (&["--control-auth-token", ""], "env"),
            (&["--control-auth-token", "t0ken"], "t0ken"),
        ] {
            let TokenSource::Given(token) = token(arguments) else {
                panic!("{arguments:?}")
            };
            assert_eq!(token.expose(), expected);
        }
        let file = token(&["--control-auth-token-file", "f"]);
        assert!(matches!(file, TokenSource::File(path) if path.to_str() == Some("f")));
    }

    #[test]
    fn mistakes_have_the_originals_name_and_our_words() {
        for (arguments, name, words) in [
            (
                &["--control-url", "http://h/"][..],
                "InvalidUrl",
                "its scheme is neither ws nor wss",
            ),
            (
                &["--control-url", "ws://h:99999/"],
                "InvalidUrl",
                "its port is not between",
            ),
            (
                &["--pair-mode", "Invite"],
                "InvalidArguments",
                "expected `invite` or `request`",
            ),
            (&["--lease-ttl-ms", "999"], "InvalidArguments", "from 1000"),
            (&["--lease-ttl-ms", "x"], "InvalidCharacter", "from 1000"),
            (
                &["--refresh-interval-ms", "99999999999999999999"],
                "Overflow",
                "milliseconds",
            ),
            (&["--label", "a"], "InvalidArguments", "expected KEY=VALUE"),
            (&["--label", "=b"], "InvalidArguments", "expected KEY=VALUE"),
            (&["--label", "a="], "InvalidArguments", "expected KEY=VALUE"),
            (&["--label", "a b=c"], "InvalidProviderConfig", "expected a key"),
            (
                &["--label", "a=b\tc"],
                "InvalidProviderConfig",
                "expected a value",
            ),
            (
                &["--label", "a=b", "--label", "a=c"],
                "InvalidProviderConfig",
                "given already",
            ),
            (
                &["--control-auth-token", "a b"],
                "InvalidArguments",
                "token has a blank",
            ),
            (
                &["--control-url", "ws://h", "--node-name", "a b"],
                "InvalidArguments",
                "hubs take 1 to 128",
            ),
        ] {
            let error = run(arguments).expect_err(&format!("{arguments:?}"));
            assert_eq!(error.name, name, "{arguments:?}: {error:?}");
            assert!(error.words.contains(words), "{arguments:?}: {error:?}");
        }
        assert_eq!(control(&[]).disclosure, Disclosure::Full);
        assert_eq!(control(&["--redact-paths"]).disclosure, Disclosure::NamesOnly);
        let labelled = control(&["--label", "a=b=c d"]);
        assert_eq!(labelled.labels, [("a".to_owned(), "b=c d".to_owned())]);
    }
}
