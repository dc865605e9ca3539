//! A hub inside the node's process (`docs/hub.md`, "Inside the node").
//!
//! The node reaches it through a pipe in memory, so it works however the hub's address is guarded; for everybody else
//! it is a hub like any other.

use std::io::ErrorKind;
use std::path::Path;

use spiderweb_hub::{Hub, HubConfig, StartError};
use spiderweb_node::{ControlConfig, Dialer, TokenKeeper, TokenSource};

use crate::Failure;
use crate::cli::HubPlan;

/// Starts a hub and makes it the one that `control` is about.
pub(crate) async fn start(plan: &HubPlan, control: &mut ControlConfig) -> Result<Hub, Failure> {
    let mut config = HubConfig::in_folder(plan.listen, &plan.folder);
    config.tokens.operator = control.operator_token.read().map_err(|error| Failure {
        name: "AccessDenied",
        words: format!("{error}; name a file that can be read with --operator-token-file"),
    })?;
    let hub = Hub::start(config)
        .await
        .map_err(|error| failure(error, &plan.folder))?;
    control.url = HubPlan::url(hub.address());
    control.token = TokenSource::Kept(TokenKeeper::new({
        let hub = hub.clone();
        move || hub.admin_token()
    }));
    control.dialer = Dialer::over({
        let hub = hub.clone();
        move || Ok(hub.connect())
    });
    Ok(hub)
}

fn failure(error: StartError, folder: &Path) -> Failure {
    let words = format!("cannot start the hub: {error}");
    let (name, hint) = match error {
        StartError::Listen { reason, .. } => match reason.kind() {
            ErrorKind::AddrInUse => (
                "AddressInUse",
                "; another program uses that port, choose one with --hub IP:PORT (port 0 takes a free one)",
            ),
            ErrorKind::PermissionDenied => ("AccessDenied", "; ports below 1024 need more rights"),
            ErrorKind::AddrNotAvailable => {
                ("AddressNotAvailable", "; --hub needs an address of this machine")
            }
            _ => ("Unexpected", ""),
        },
        _ => ("Unexpected", ""),
    };
    Failure {
        name,
        words: format!("{words}{hint} (its files are in {})", folder.display()),
    }
}
