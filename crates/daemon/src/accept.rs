//! A listener that takes so many connections and tells the others.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use spiderweb_transport::{Link, Upgrade, UpgradeLimits};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::tasks::Tasks;

/// Pause after a failed accept: the usual cause, a full descriptor table, does not go away faster.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections beyond the limit that are told so at a time; further ones are dropped without a word.
const REFUSALS: usize = 64;

/// Has every connection served by a task of its own, `limit` at a time, until the tasks are stopped. One more is answered
/// with HTTP status 503.
pub async fn accept<F>(
    listener: TcpListener,
    limit: usize,
    tasks: Tasks,
    serve: impl Fn(Link) -> F + Send + Sync,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(limit));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    loop {
        let accepted = tokio::select! {
            () = tasks.stopped().cancelled() => return,
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
            match Link::tcp(stream) {
                Ok(link) => {
                    let session = serve(link);
                    tasks.spawn("session", async move {
                        session.await;
                        drop(place);
                    });
                }
                Err(error) => tracing::debug!(%error, "connection lost at once"),
            }
        } else if let Ok(refusal) = refusals.clone().try_acquire_owned() {
            tracing::warn!(limit, "refused a connection over the limit");
            tasks.spawn("refusal", async move {
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

async fn refuse(stream: TcpStream) {
    let Ok(link) = Link::tcp(stream) else { return };
    let limits = UpgradeLimits {
        timeout: Duration::from_secs(1),
        ..UpgradeLimits::default()
    };
    if let Ok(upgrade) = Upgrade::accept(link, &limits).await {
        // Whoever does not wait for it does not care.
        let _ = upgrade
            .refuse(503, "too many connections; try again later\n")
            .await;
    }
}
