//! Accepts connections and hands them to sessions.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use spiderweb_protocol::Errno;
use spiderweb_transport::{Link, Upgrade, UpgradeLimits};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::dispatch::Service;
use crate::session;

/// Paths that lead to the file service (section 2.1).
const PATHS: [&str; 2] = ["/v2/fs", "/"];

/// Pause after a failed accept: the usual cause, a full descriptor table, does not go away faster.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections beyond the limit that are told so at a time; further ones are dropped without a word.
const REFUSALS: usize = 64;

pub(crate) async fn serve(listener: TcpListener, service: Arc<Service>) {
    let places = Arc::new(Semaphore::new(service.limits.connections));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    loop {
        let accepted = tokio::select! {
            () = service.tasks.stopped().cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if is_per_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Ok(place) = places.clone().try_acquire_owned() {
            let service = service.clone();
            service.tasks.clone().spawn("session", async move {
                connection(stream, service).await;
                drop(place);
            });
        } else if let Ok(refusal) = refusals.clone().try_acquire_owned() {
            tracing::warn!(
                limit = service.limits.connections,
                "refused a connection over the limit"
            );
            service.tasks.spawn("refusal", async move {
                refuse(stream).await;
                drop(refusal);
            });
        }
    }
}

/// Failures of the connection that was to be accepted, not of the listener.
fn is_per_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

async fn connection(stream: TcpStream, service: Arc<Service>) {
    let upgrade = async {
        let upgrade = Upgrade::accept(Link::tcp(stream)?, &UpgradeLimits::default()).await?;
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

async fn refuse(stream: TcpStream) {
    let Ok(link) = Link::tcp(stream) else { return };
    let limits = UpgradeLimits {
        timeout: Duration::from_secs(1),
        ..UpgradeLimits::default()
    };
    if let Ok(upgrade) = Upgrade::accept(link, &limits).await {
        let _ = upgrade
            .refuse(503, "too many connections; try again later\n")
            .await;
    }
}
