//! Where links to a server come from.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::client::{DialError, DialOptions, dial, upgrade_over};
use crate::link::Link;
use crate::socket::WebSocket;
use crate::url::WsUrl;

type Connector = Arc<dyn Fn() -> io::Result<Link> + Send + Sync>;

/// Connects to a server: over TCP, or however its owner does.
///
/// A server in the same process needs no socket, and a test decides what a link does.
#[derive(Clone, Default)]
pub struct Dialer(Option<Connector>);

impl Dialer {
    /// Connects to the host and port of the address.
    pub const fn tcp() -> Self {
        Self(None)
    }

    /// Calls `connect` for every link, whatever the address says. It must not block.
    pub fn over(connect: impl Fn() -> io::Result<Link> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(connect)))
    }

    /// Connects and upgrades, within `options.timeout`. Cancel safe as [`dial`] is.
    pub async fn dial(&self, url: &WsUrl, options: &DialOptions) -> Result<WebSocket, DialError> {
        let Some(connect) = &self.0 else {
            return dial(url, options).await;
        };
        let link = connect().map_err(|source| DialError::Connect {
            address: url.authority(),
            source,
        })?;
        upgrade_over(link, url, options).await
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Dialer(over ..)"
        } else {
            "Dialer(tcp)"
        })
    }
}
