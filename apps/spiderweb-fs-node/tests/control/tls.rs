//! A hub behind TLS.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{CertificateParams, Issuer, KeyPair};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::hub::{Generation, Hub, Manner};
use crate::place::{Place, says};
use crate::script::play;

/// Ends TLS for `localhost` in front of a hub, as a proxy does.
struct Proxy {
    _runtime: Runtime,
    address: SocketAddr,
    /// The authority that vouches for it.
    authority: String,
}

impl Proxy {
    fn start(hub: SocketAddr) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let authority_certificate = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A node that does not trust us hangs up.
                    let Ok(mut secured) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut plain = TcpStream::connect(hub).await.unwrap();
                    let _ = copy_bidirectional(&mut secured, &mut plain).await;
                });
            }
        });
        Self {
            _runtime: runtime,
            address,
            authority: authority_certificate.pem(),
        }
    }

    fn url(&self) -> String {
        format!("wss://localhost:{}/", self.address.port())
    }
}

#[test]
fn a_hub_behind_tls_is_joined_and_served() {
    let (place, mut hub) = (Place::paired(), Hub::start(Manner::Polite(Generation::Seed)));
    let proxy = Proxy::start(hub.address());
    fs::write(place.path("authority.pem"), &proxy.authority).unwrap();
    let node = place
        .command(&proxy.url(), &[])
        .variable("SSL_CERT_FILE", place.path("authority.pem"))
        .launch()
        .unwrap();
    let routed = format!("ws://localhost:{}/v2/fs/node/node-2", proxy.address.port());
    play(
        &mut hub,
        &format!(
            "> node_service_upsert {{\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"platform\":\"*\",\"services\":\"*\"}}\n< {{}}\n\
             > node_lease_refresh {{\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"fs_url\":\"{routed}\",\"lease_ttl_ms\":900000}}\n\
             < {{\"node_id\":\"node-2\",\"node_secret\":\"secret-a\",\"lease_token\":\"l\"}}\n\
             > tunnel {{\"node_id\":\"node-2\"}}\n< welcome"
        ),
    )
    .unwrap();
    says(&node, "info: control tunnel established");
}

#[test]
fn a_hub_nobody_vouches_for_is_told_nothing() {
    let (place, mut hub) = (Place::paired(), Hub::start(Manner::Polite(Generation::Seed)));
    let proxy = Proxy::start(hub.address());
    let other = Proxy::start(hub.address());
    fs::write(place.path("authority.pem"), &other.authority).unwrap();
    let node = place
        .command(&proxy.url(), &[])
        .variable("SSL_CERT_FILE", place.path("authority.pem"))
        .launch()
        .unwrap();
    says(&node, "no TLS with localhost:");
    says(&node, "SSL_CERT_FILE");
    says(&node, "invalid peer certificate");
    assert!(hub.rest().is_empty());
}
