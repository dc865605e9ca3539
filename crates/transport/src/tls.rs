//! TLS for dialled links (`wss://`).
//!
//! Certificates are checked against the authorities that the system trusts, or those in the file that
//! `SSL_CERT_FILE` names. They are read when the first link needs them.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where a failure usually comes from, for people.
pub(crate) const HINT: &str = "authorities are those of the system, or in the file SSL_CERT_FILE names";

static CONFIG: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

/// Secures a connection to `host`, which its certificate has to name.
pub(crate) async fn secure(stream: TcpStream, host: &str) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let config = CONFIG.get_or_try_init(config).await?;
    TlsConnector::from(config.clone()).connect(name, stream).await
}

async fn config() -> io::Result<Arc<ClientConfig>> {
    // Reads files.
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await?;
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let reason = found.errors.first().map(ToString::to_string);
        return Err(io::Error::other(format!(
            "no certificate authorities are known here{}",
            reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
        )));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
