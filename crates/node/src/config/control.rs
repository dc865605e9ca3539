//! What a node in control mode is started with: which hub, and how to become and stay known to it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spiderweb_protocol::Secret;
use spiderweb_protocol::control::NodeName;
use spiderweb_transport::{Dialer, WsUrl};

use crate::catalog::Disclosure;

/// A node's relation to its hub.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// The hub's control address; the tunnel goes to the same host and port.
    pub url: WsUrl,
    /// How it is connected to; a hub in the same process needs no socket.
    pub dialer: Dialer,
    /// What is said to the hub as bearer token.
    pub token: TokenSource,
    /// What approves the node's own request to join, where the hub asks for it.
    pub operator_token: TokenSource,
    /// How to become known.
    pub pair_mode: PairMode,
    /// Invites to become known by.
    pub invites: Invites,
    /// The operator said how to pair, so a node whose state file is damaged may become a new one.
    pub may_replace_damaged_state: bool,
    /// What the node wants to be called.
    pub node_name: NodeName,
    /// Where clients could reach the node without the hub; usually empty.
    pub fs_url: String,
    /// Where the identity is kept.
    pub state_file: PathBuf,
    /// Where the original keeps it; read once if `state_file` is not there.
    pub older_state_file: Option<PathBuf>,
    /// How long a lease is asked for.
    pub lease_ttl: Duration,
    /// How often the lease is renewed, at least; not zero.
    pub refresh_interval: Duration,
    /// First and usual delay between attempts; not zero.
    pub backoff: Duration,
    /// Longest delay between attempts.
    pub backoff_max: Duration,
    /// Labels of the node, in order.
    pub labels: Vec<(String, String)>,
    /// What the catalog says of this machine.
    pub disclosure: Disclosure,
}

/// How a node becomes known to its hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairMode {
    /// It shows an invite.
    Invite,
    /// It asks, and somebody approves.
    Request,
}

impl fmt::Display for PairMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invite => "invite",
            Self::Request => "request",
        })
    }
}

/// Where a token comes from.
#[derive(Debug, Clone, Default)]
pub enum TokenSource {
    /// There is none.
    #[default]
    Absent,
    /// It was given.
    Given(Secret),
    /// It is the first line of this file, which is read whenever the token is needed.
    File(PathBuf),
    /// Somebody in this process knows it.
    Kept(TokenKeeper),
}

/// Somebody who knows a token that may change.
#[derive(Clone)]
pub struct TokenKeeper(Arc<dyn Fn() -> Secret + Send + Sync>);

impl TokenKeeper {
    /// Asks `current` whenever the token is needed.
    pub fn new(current: impl Fn() -> Secret + Send + Sync + 'static) -> Self {
        Self(Arc::new(current))
    }
}

impl fmt::Debug for TokenKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKeeper(..)")
    }
}

impl TokenSource {
    /// The token, white space around it cut off. Blocks.
    pub fn read(&self) -> Result<Option<Secret>, TokenFileError> {
        match self {
            Self::Absent => Ok(None),
            Self::Given(token) => Ok(Some(token.clone())),
            Self::File(path) => Ok(lines_of(path)?.into_iter().next()),
            Self::Kept(keeper) => Ok(Some((keeper.0)())),
        }
    }
}

/// Invites: each pairs once, so there may be several.
#[derive(Debug, Clone, Default)]
pub struct Invites {
    /// Those that were given.
    pub tokens: Vec<Secret>,
    /// A file of further ones, one on a line; it is read before every attempt.
    pub file: Option<PathBuf>,
}

impl Invites {
    /// Whether there can never be one.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.file.is_none()
    }

    /// Those of the file first: whoever writes one there wants it to be used. Blocks.
    pub fn read(&self) -> Result<Vec<Secret>, TokenFileError> {
        let mut invites = match &self.file {
            Some(path) => lines_of(path)?,
            None => Vec::new(),
        };
        invites.extend(self.tokens.iter().cloned());
        Ok(invites)
    }
}

/// A file with a token that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read token file {}: {reason}", path.display())]
pub struct TokenFileError {
    path: PathBuf,
    reason: std::io::Error,
}

fn lines_of(path: &std::path::Path) -> Result<Vec<Secret>, TokenFileError> {
    let text = std::fs::read_to_string(path).map_err(|reason| TokenFileError {
        path: path.to_owned(),
        reason,
    })?;
    let lines = text.lines().map(str::trim);
    Ok(lines.filter(|line| !line.is_empty()).map(Secret::new).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_when_they_are_needed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let source = TokenSource::File(path.clone());
        let error = source.read().unwrap_err().to_string();
        assert!(error.starts_with("cannot read token file"), "{error}");
        for (text, token) in [("\n t0ken \nother\n", Some("t0ken")), (" \n", None)] {
            std::fs::write(&path, text).unwrap();
            let read = source.read().unwrap();
            assert_eq!(read.as_ref().map(Secret::expose), token);
        }
        std::fs::write(&path, "inv-2\n\ninv-3").unwrap();
        let invites = Invites {
            tokens: vec![Secret::new("inv-1")],
            file: Some(path),
        };
        let read = invites.read().unwrap();
        let read: Vec<_> = read.iter().map(Secret::expose).collect();
        assert_eq!(read, ["inv-2", "inv-3", "inv-1"]);
    }
}
