//! Who a peer is, by what it says.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use spiderweb_daemon::private;
use spiderweb_protocol::Secret;
use spiderweb_protocol::canonical::ObjectWriter;

use crate::config::TokenConfig;
use crate::random::{NoRandomness, Random, hex};

/// The number the original writes into its file; programs that read the file look at the tokens only.
const SCHEMA: u64 = 3;

/// Who a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Principal {
    /// May do everything.
    Admin,
    /// A node.
    Node,
    /// A mount client.
    User,
    /// Said nothing.
    Anonymous,
}

impl Principal {
    /// The word for people.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Node => "node",
            Self::User => "user",
            Self::Anonymous => "anonymous",
        }
    }

    /// The agent that stands for the connection; clients know the name.
    pub(crate) const fn agent(self) -> &'static str {
        match self {
            Self::Admin => "mother",
            Self::Node | Self::User | Self::Anonymous => "user",
        }
    }
}

/// Which token is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Admin,
    Node,
    User,
}

/// A token file that cannot be used. Nothing of it was changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The system refuses.
    #[error("cannot {what} token file {}: {reason}", path.display())]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// It holds something else.
    #[error(
        "token file {} is not understood ({reason}); repair it, or move it away so that new tokens are made",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No token can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// The tokens in force.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) admin: Secret,
    pub(crate) node: Secret,
    pub(crate) user: Secret,
    pub(crate) operator: Option<Secret>,
    pub(crate) node_scope: Option<Secret>,
    pub(crate) project_scope: Option<Secret>,
    pub(crate) allows_anonymous: bool,
    file: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
struct Stored {
    #[serde(rename = "admin_token")]
    admin: Option<String>,
    #[serde(rename = "node_token")]
    node: Option<String>,
    #[serde(rename = "user_token")]
    user: Option<String>,
}

impl Tokens {
    /// Takes tokens from the configuration, else from the file, else makes them; what was made is written. Blocks.
    pub(crate) fn open(config: TokenConfig, random: &mut Random) -> Result<Self, TokenError> {
        let stored = match &config.file {
            Some(path) => read(path)?,
            None => Stored::default(),
        };
        let mut is_new = false;
        let mut pick = |given: Option<Secret>, stored: Option<String>, prefix: &str| {
            let known = given.or_else(|| stored.filter(|token| !token.is_empty()).map(Secret::new));
            if let Some(token) = known {
                return Ok(token);
            }
            is_new = true;
            random.secret(prefix)
        };
        let tokens = Self {
            admin: pick(config.admin, stored.admin, "sw-admin_")?,
            node: pick(config.node, stored.node, "sw-node_")?,
            user: pick(config.user, stored.user, "sw-user_")?,
            operator: config.operator,
            node_scope: config.node_scope,
            project_scope: config.project_scope,
            allows_anonymous: config.allows_anonymous,
            file: config.file,
        };
        if is_new {
            tokens.write()?;
        }
        Ok(tokens)
    }

    /// Who says this. `None`: a token nobody has. All are compared, so the time tells nothing.
    pub(crate) fn principal(&self, authorization: Option<&str>) -> Option<Principal> {
        let Some(token) = authorization.map(bearer).filter(|token| !token.is_empty()) else {
            return Some(Principal::Anonymous);
        };
        let known = [
            (Principal::Admin, self.admin.matches(token)),
            (Principal::Node, self.node.matches(token)),
            (Principal::User, self.user.matches(token)),
        ];
        known
            .into_iter()
            .find_map(|(who, is_right)| is_right.then_some(who))
    }

    /// Replaces a token and writes the file. Connections that stand stay. Blocks.
    pub(crate) fn rotate(&mut self, role: Role, random: &mut Random) -> Result<Secret, TokenError> {
        let (token, prefix) = match role {
            Role::Admin => (&mut self.admin, "sw-admin_"),
            Role::Node => (&mut self.node, "sw-node_"),
            Role::User => (&mut self.user, "sw-user_"),
        };
        let old = std::mem::replace(token, random.secret(prefix)?);
        let fresh = token.clone();
        if let Err(error) = self.write() {
            match role {
                Role::Admin => self.admin = old,
                Role::Node => self.node = old,
                Role::User => self.user = old,
            }
            return Err(error);
        }
        Ok(fresh)
    }

    /// The file, for people.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    fn write(&self) -> Result<(), TokenError> {
        let Some(path) = &self.file else { return Ok(()) };
        let text = ObjectWriter::new()
            .json("schema", SCHEMA)
            .text("admin_token", self.admin.expose())
            .text("user_token", self.user.expose())
            .text("node_token", self.node.expose())
            .finish();
        replace(path, &text).map_err(|reason| TokenError::Io {
            what: "write",
            path: path.clone(),
            reason,
        })
    }
}

/// The token of an `Authorization` header: with the scheme in any case, or bare.
fn bearer(header: &str) -> &str {
    let header = header.trim();
    let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        token.trim()
    } else {
        header
    }
}

/// A digest by which a token can be recognised and not used.
pub(crate) fn digest(authorization: Option<&str>) -> String {
    let token = authorization.map(bearer).unwrap_or_default();
    hex(&Sha256::digest(token.as_bytes()))
}

fn read(path: &Path) -> Result<Stored, TokenError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stored::default()),
        Err(reason) => {
            return Err(TokenError::Io {
                what: "read",
                path: path.to_owned(),
                reason,
            });
        }
    };
    serde_json::from_str(&text).map_err(|error| TokenError::Malformed {
        path: path.to_owned(),
        // The message of the library quotes no values.
        reason: error.to_string(),
    })
}

/// Writes to a temporary file that only its owner may read, then puts it in place.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let _ = fs::remove_file(&temporary);
    let mut file = private::create_new(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<Tokens, TokenError> {
        let config = TokenConfig {
            file: Some(path.to_owned()),
            ..TokenConfig::default()
        };
        Tokens::open(config, &mut Random::system())
    }

    #[test]
    fn tokens_are_made_once_and_kept_for_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ltm/auth_tokens.json");
        let mut first = open(&path).unwrap();
        let again = open(&path).unwrap();
        assert!(first.admin.matches(again.admin.expose()));
        assert!(first.admin.expose().starts_with("sw-admin_"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
        }
        let fresh = first.rotate(Role::User, &mut Random::system()).unwrap();
        assert!(open(&path).unwrap().user.matches(fresh.expose()));
        fs::write(&path, "{nope").unwrap();
        assert!(matches!(open(&path), Err(TokenError::Malformed { .. })));
    }

    #[test]
    fn tokens_are_told_apart_however_they_are_said() {
        let config = TokenConfig {
            admin: Some(Secret::new("a")),
            node: Some(Secret::new("n")),
            user: Some(Secret::new("u")),
            ..TokenConfig::default()
        };
        let tokens = Tokens::open(config, &mut Random::system()).unwrap();
        for (header, who) in [
            (Some("Bearer a"), Some(Principal::Admin)),
            (Some("bearer n"), Some(Principal::Node)),
            (Some("u"), Some(Principal::User)),
            (Some("Bearer x"), None),
            (Some("Bearer "), Some(Principal::Anonymous)),
            (None, Some(Principal::Anonymous)),
        ] {
            assert_eq!(tokens.principal(header), who, "{header:?}");
        }
        assert_eq!(digest(Some("Bearer a")), digest(Some("a")));
        assert_ne!(digest(Some("a")), digest(None));
    }
}
