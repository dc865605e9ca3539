//! Flags for a hub inside the node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use spiderweb_node::WsUrl;

use super::{BadValue, CliError, bad, conflict, trimmed};

/// Variable with the folder that `--hub-data-dir` overrides; `spiderweb-hub` knows it as well.
const FOLDER_VARIABLE: &str = "SPIDERWEB_HUB_DATA";

/// Where the hub keeps its files unless a flag or the variable says otherwise.
const FOLDER: &str = "spiderweb-hub-data";

#[derive(Args, Debug)]
#[command(next_help_heading = "Hub inside the node")]
pub(super) struct HubFlags {
    /// Run a hub in this process, at this address or at 127.0.0.1:18790, and serve through it; port 0 takes a free one
    #[arg(
        long,
        value_name = "IP:PORT",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:18790",
        value_parser = address,
        conflicts_with_all = FOR_ANOTHER_HUB
    )]
    hub: Option<SocketAddr>,

    /// Folder for the hub's files and for this node's identity in it; ./spiderweb-hub-data unless given
    #[arg(long, value_name = "DIR")]
    hub_data_dir: Option<PathBuf>,
}

/// What only makes sense with a hub elsewhere.
const FOR_ANOTHER_HUB: [&str; 5] = [
    "control_url",
    "control_auth_token",
    "control_auth_token_file",
    "invite_token",
    "invite_token_file",
];

/// A hub to be run in this process.
#[derive(Debug)]
pub(crate) struct HubPlan {
    /// Where others find it; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// Where it keeps its files.
    pub(crate) folder: PathBuf,
}

fn address(text: &str) -> Result<SocketAddr, BadValue> {
    text.parse().map_err(|_| {
        bad(
            "InvalidIPAddressFormat",
            "expected a literal address and a port such as 127.0.0.1:18790, 0.0.0.0:18790 or [::1]:0",
        )
    })
}

impl HubFlags {
    /// The hub, if there is to be one.
    pub(super) fn plan(
        self,
        environment: &impl Fn(&str) -> Option<String>,
    ) -> Result<Option<HubPlan>, CliError> {
        let Some(listen) = self.hub else {
            return match self.hub_data_dir {
                Some(_) => Err(conflict(
                    "InvalidArguments",
                    "--hub-data-dir: there is no hub in this process without --hub".to_owned(),
                )),
                None => Ok(None),
            };
        };
        let folder = self
            .hub_data_dir
            .or_else(|| trimmed(environment(FOLDER_VARIABLE)).map(PathBuf::from))
            .unwrap_or_else(|| FOLDER.into());
        if folder.as_os_str().is_empty() {
            let words = "--hub-data-dir is empty; it needs a folder".to_owned();
            return Err(conflict("InvalidArguments", words));
        }
        Ok(Some(HubPlan { listen, folder }))
    }
}

impl HubPlan {
    /// The address of a hub that listens at `listening`, for peers on this machine.
    pub(crate) fn url(listening: SocketAddr) -> WsUrl {
        let ip = match listening.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        SocketAddr::new(ip, listening.port()).into()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use spiderweb_node::PairMode;

    use super::super::tests::{plan, run, run_with};
    use super::*;

    #[test]
    fn a_hub_has_a_usual_address_and_a_folder_that_holds_the_identity_too() {
        let hub = plan(&["--hub"]);
        assert_eq!(hub.hub.unwrap().listen.to_string(), "127.0.0.1:18790");
        let control = hub.node.control.unwrap();
        assert_eq!(
            control.state_file,
            Path::new(FOLDER).join("spiderweb-fs-node-state.json")
        );
        assert_eq!(
            (control.pair_mode, control.older_state_file),
            (PairMode::Request, None)
        );

        let plan = plan(&["--hub", "[::1]:0", "--hub-data-dir", "d", "--export", "a=."]);
        let hub = plan.hub.unwrap();
        assert_eq!((hub.listen.port(), hub.folder.as_path()), (0, Path::new("d")));
        assert!(plan.node.control.unwrap().state_file.starts_with("d"));

        let named = plan_of(&["--hub", "--state-file", "s"]);
        assert_eq!(named.control.unwrap().state_file, Path::new("s"));
        let elsewhere = run_with(&["--hub"], |name| {
            (name == FOLDER_VARIABLE).then(|| "e".to_owned())
        });
        assert!(elsewhere.control.unwrap().state_file.starts_with("e"));
    }

    fn plan_of(arguments: &[&str]) -> spiderweb_node::NodeConfig {
        plan(arguments).node
    }

    #[test]
    fn a_node_has_one_hub() {
        for (arguments, name, words) in [
            (
                &["--hub", "--control-url", "ws://h"][..],
                "InvalidArguments",
                "--control-url",
            ),
            (
                &["--hub", "--invite-token", "i"],
                "InvalidArguments",
                "--invite-token",
            ),
            (&["--hub-data-dir", "d"], "InvalidArguments", "--hub"),
            (
                &["--hub", "localhost:1"],
                "InvalidIPAddressFormat",
                "literal address",
            ),
            (&["--hub", "18790"], "InvalidIPAddressFormat", "literal address"),
        ] {
            let error = run(arguments).expect_err(&format!("{arguments:?}"));
            assert_eq!(error.name, name, "{arguments:?}: {error:?}");
            assert!(error.words.contains(words), "{arguments:?}: {error:?}");
        }
    }

    #[test]
    fn a_hub_for_all_addresses_is_found_at_this_machine() {
        for (listening, url) in [
            ("0.0.0.0:7", "ws://127.0.0.1:7/"),
            ("[::]:7", "ws://[::1]:7/"),
            ("10.0.0.1:7", "ws://10.0.0.1:7/"),
        ] {
            assert_eq!(HubPlan::url(listening.parse().unwrap()).to_string(), url);
        }
    }
}
