//! Accepts connections and hands them to sessions.

use std::net::IpAddr;
use std::sync::Arc;

use spiderweb_daemon::accept;
use spiderweb_protocol::Errno;
use spiderweb_transport::{Link, Upgrade, UpgradeError, UpgradeLimits};
use tokio::net::TcpListener;

use crate::session;
use crate::shared::Service;

/// Paths that lead to the file service (section 2.1).
const PATHS: [&str; 2] = ["/v2/fs", "/"];

/// What a page of a web site is told.
const FOR_PROGRAMS: &str =
    "a node without a token serves no pages of web sites: start it with --auth-token-file";

pub(crate) async fn serve(listener: TcpListener, service: Arc<Service>) {
    let (limit, tasks) = (service.limits.connections, service.tasks.clone());
    accept(listener, limit, tasks, |link| connection(link, service.clone())).await;
}

async fn connection(link: Link, service: Arc<Service>) {
    let upgrade = async {
        let upgrade = Upgrade::accept(link, &UpgradeLimits::default()).await?;
        if service.token.is_none() && upgrade.origin().is_some_and(is_strange_page) {
            tracing::info!(origin = upgrade.origin(), "refused a page in a browser");
            upgrade.refuse(403, FOR_PROGRAMS).await?;
            return Ok(None);
        }
        let path_is_right = PATHS.contains(&upgrade.path());
        let socket = upgrade.complete().await?;
        Ok::<_, UpgradeError>(Some((socket, path_is_right)))
    };
    let (socket, path_is_right) = tokio::select! {
        () = service.tasks.stopped().cancelled() => return,
        upgraded = upgrade => match upgraded {
            Ok(Some(upgraded)) => upgraded,
            Ok(None) => return,
            Err(error) => return tracing::debug!(%error, "connection without upgrade"),
        },
    };
    if path_is_right {
        session::serve(socket, service).await;
    } else {
        // The original upgrades first and complains afterwards; its clients expect that.
        session::refuse(socket, None, Errno::EINVAL, "invalid FS endpoint path").await;
    }
}

/// Whether this origin (RFC 6454) is a web site, which a browser on this machine would let through to a node that listens
/// for this machine only. Sites of this machine itself are not strange, and neither is what is no web site: applications
/// and extensions have schemes of their own. A page that hides where it comes from says `null`.
fn is_strange_page(origin: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return !origin.is_empty();
    };
    if !["http", "https"]
        .iter()
        .any(|web| scheme.eq_ignore_ascii_case(web))
    {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    host.parse::<IpAddr>()
        .map_or(!host.eq_ignore_ascii_case("localhost"), |address| {
            !address.is_loopback()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_sites_are_strange_and_this_machine_is_not() {
        for strange in [
            "https://evil.example",
            "http://evil.example:18891",
            "HTTPS://evil.example",
            "http://127.0.0.1.evil.example",
            "http://localhost.evil.example",
            "http://192.168.1.5",
            "http://[2001:db8::1]:80",
            "http://",
            "null",
        ] {
            assert!(is_strange_page(strange), "{strange}");
        }
        for ours in [
            "http://localhost",
            "http://LocalHost:3000",
            "https://127.0.0.1:8443",
            "http://[::1]:5173",
            "app://spiderapp",
            "file://",
            "",
        ] {
            assert!(!is_strange_page(ours), "{ours}");
        }
    }
}
