//! Accepts connections and hands them to sessions.

use std::sync::Arc;

use spiderweb_daemon::accept;
use spiderweb_protocol::Errno;
use spiderweb_transport::{Link, Upgrade, UpgradeLimits};
use tokio::net::TcpListener;

use crate::session;
use crate::shared::Service;

/// Paths that lead to the file service (section 2.1).
const PATHS: [&str; 2] = ["/v2/fs", "/"];

pub(crate) async fn serve(listener: TcpListener, service: Arc<Service>) {
    let (limit, tasks) = (service.limits.connections, service.tasks.clone());
    accept(listener, limit, tasks, |link| connection(link, service.clone())).await;
}

async fn connection(link: Link, service: Arc<Service>) {
    let upgrade = async {
        let upgrade = Upgrade::accept(link, &UpgradeLimits::default()).await?;
        let path_is_right = PATHS.contains(&upgrade.path());
        let socket = upgrade.complete().await?;
        Ok::<_, spiderweb_transport::UpgradeError>((socket, path_is_right))
    };
    let (socket, path_is_right) = tokio::select! {
        () = service.tasks.stopped().cancelled() => return,
        upgraded = upgrade => match upgraded {
            Ok(upgraded) => upgraded,
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
