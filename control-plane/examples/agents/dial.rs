//! Identities and connections of agents, as the agent has them: a key of its own, a certificate that joining gave, and
//! one connection for a session. What it does otherwise: the authority is read from the control plane's directory, and
//! not known by its fingerprint.

use crate::facts::facts;
use anyhow::{Context as _, Result};
use longshore_proto::v1::agent_service_client::AgentServiceClient;
use longshore_proto::{MAX_MESSAGE, SERVER_NAME, v1};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// As the agent's.
const KEEPALIVE: Duration = Duration::from_secs(10);
const WINDOW: u32 = 128 * 1024;

/// A host that has joined.
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
}

/// Connects to one port of this machine.
pub(crate) struct Dialler {
    roots: Arc<RootCertStore>,
    port: u16,
}

impl Dialler {
    pub(crate) fn new(authority: &CertificateDer<'static>, port: u16) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone())?;
        Ok(Self { roots: Arc::new(roots), port })
    }

    /// The nth host joins.
    pub(crate) async fn join(&self, n: usize, token: String) -> Result<Identity> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let csr = CertificateParams::default().serialize_request(&key)?;
        let mut client = self.dial(self.builder().with_no_client_auth()).await?;
        let request = v1::JoinRequest {
            token,
            csr: csr.der().to_vec().into(),
            facts: Some(facts(n).into()),
            cluster: String::new(),
        };
        let answer = client.join(request).await?.into_inner();
        let certificate = answer.certificate.context("a host that joined was given no certificate")?;
        let chain = certificate.chain.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect();
        Ok(Identity { chain, key: key.serialize_der().into() })
    }

    /// A connection of a host that has joined.
    pub(crate) async fn connect(&self, identity: &Identity) -> Result<AgentServiceClient<Channel>> {
        let key = PrivateKeyDer::from(identity.key.clone_key());
        self.dial(self.builder().with_client_auth_cert(identity.chain.clone(), key)?).await
    }

    fn builder(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_root_certificates(Arc::clone(&self.roots))
    }

    async fn dial(&self, mut tls: ClientConfig) -> Result<AgentServiceClient<Channel>> {
        tls.alpn_protocols = vec![b"h2".to_vec()];
        tls.resumption = rustls::client::Resumption::disabled();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.context("could not connect an agent")?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(SERVER_NAME)?;
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.context("no TLS")?;
        let endpoint = Endpoint::try_from(format!("http://{SERVER_NAME}"))?
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(2 * WINDOW);
        let made = Mutex::new(Some(stream));
        let connector = tower::service_fn(move |_| {
            let stream = made.lock().unwrap().take();
            let gone = || io::Error::new(io::ErrorKind::NotConnected, "the connection ended");
            std::future::ready(stream.map(hyper_util::rt::TokioIo::new).ok_or_else(gone))
        });
        let channel = endpoint.connect_with_connector(connector).await.context("no HTTP/2")?;
        Ok(AgentServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE))
    }
}
