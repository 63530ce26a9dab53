//! Connections to the control plane: TCP, TLS, HTTP/2.
//!
//! The name in the control plane's certificate is fixed ([`SERVER_NAME`]) whatever address was dialled; what counts
//! is the authority behind it. A host that joins knows that authority by the fingerprint in its token, one that
//! has joined by its identity.

use super::{Credential, Identity};
use longshore_proto::v1::agent_service_client::AgentServiceClient;
use longshore_proto::{MAX_MESSAGE, SERVER_NAME};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

/// How often an idle connection is asked whether it is there, and how long the answer may take. The session's
/// heartbeats notice a dead peer sooner; this covers the rest.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Flow-control windows: an assignment crosses in a few of them, and memory stays small.
const WINDOW: u32 = 128 * 1024;

/// Why the control plane could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Not an address.
    #[error("`{0}` is not host:port, such as control.example.net:7421")]
    Address(String),
    /// No TCP connection.
    #[error("could not connect to the control plane at {control}")]
    Connect {
        /// Where.
        control: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No TLS.
    #[error("could not make a TLS connection to the control plane at {control}")]
    Tls {
        /// Where.
        control: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Someone else, or someone in between.
    #[error(
        "what answers at {control} is not the control plane that is expected there: its authority is not the \
             one that was pinned"
    )]
    WrongAuthority {
        /// Where.
        control: String,
    },
    /// It took too long.
    #[error("the control plane at {control} did not answer within {} ms", limit.as_millis())]
    Timeout {
        /// Where.
        control: String,
        /// The limit.
        limit: Duration,
    },
    /// The key or certificate of this host cannot be used.
    #[error("this host's certificate cannot be used for TLS")]
    Credential(#[source] rustls::Error),
    /// TLS was made, and HTTP/2 was not.
    #[error("the control plane at {control} broke the connection off")]
    Http {
        /// Where.
        control: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

/// TLS for a host that has joined.
pub(super) fn joined_tls(credential: &Credential) -> Result<ClientConfig, DialError> {
    let mut roots = RootCertStore::empty();
    for authority in &credential.authorities {
        roots.add(authority.clone()).map_err(DialError::Credential)?;
    }
    let config = builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(credential.chain.clone(), credential.key())
        .map_err(DialError::Credential)?;
    Ok(finish(config))
}

/// TLS for a host that knows the control plane's authority by its SHA-256 only.
pub(super) fn joining_tls(fingerprint: [u8; 32]) -> ClientConfig {
    let verifier = Arc::new(PinnedAuthority { fingerprint, provider: provider() });
    finish(builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
}

fn finish(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    // The control plane resumes no session.
    config.resumption = rustls::client::Resumption::disabled();
    config
}

/// Connects as `identity` to `control`.
pub(crate) async fn connect(
    identity: &Identity,
    control: &str,
    limit: Duration,
) -> Result<AgentServiceClient<Channel>, DialError> {
    dial(control, joined_tls(&identity.credential)?, limit).await
}

/// Connects to `control`, all of it within `limit`.
pub(super) async fn dial(
    control: &str,
    tls: ClientConfig,
    limit: Duration,
) -> Result<AgentServiceClient<Channel>, DialError> {
    match control.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0) => {}
        Some(_) | None => return Err(DialError::Address(control.to_owned())),
    }
    match tokio::time::timeout(limit, Box::pin(dial_in_time(control, tls))).await {
        Ok(result) => result,
        Err(_) => Err(DialError::Timeout { control: control.to_owned(), limit }),
    }
}

async fn dial_in_time(control: &str, tls: ClientConfig) -> Result<AgentServiceClient<Channel>, DialError> {
    let connect = |source| DialError::Connect { control: control.to_owned(), source };
    let stream = TcpStream::connect(control).await.map_err(connect)?;
    stream.set_nodelay(true).map_err(connect)?;
    let name = ServerName::try_from(SERVER_NAME).expect("the name in the protocol is a DNS name");
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.map_err(|source| {
        let control = control.to_owned();
        match tls_fault(&source) {
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                DialError::WrongAuthority { control }
            }
            Some(_) | None => DialError::Tls { control, source },
        }
    })?;
    let endpoint = Endpoint::try_from(format!("http://{SERVER_NAME}"))
        .expect("the name in the protocol makes a URI")
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW);
    let channel = endpoint.connect_with_connector(Made::connector(stream)).await;
    let channel = channel.map_err(|source| DialError::Http { control: control.to_owned(), source })?;
    Ok(AgentServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
}

/// Hands out the one connection that was made; a second one is never made behind the caller's back.
struct Made;

impl Made {
    fn connector(
        stream: TlsStream<TcpStream>,
    ) -> impl tower::Service<
        tonic::transport::Uri,
        Response = hyper_util::rt::TokioIo<TlsStream<TcpStream>>,
        Error = io::Error,
        Future = std::future::Ready<io::Result<hyper_util::rt::TokioIo<TlsStream<TcpStream>>>>,
    > + Send
    + 'static {
        let made = Mutex::new(Some(stream));
        tower::service_fn(move |_| {
            let stream = made.lock().unwrap_or_else(PoisonError::into_inner).take();
            std::future::ready(match stream {
                Some(stream) => Ok(hyper_util::rt::TokioIo::new(stream)),
                None => Err(io::Error::new(io::ErrorKind::NotConnected, "the connection ended")),
            })
        })
    }
}

/// Trusts a server whose chain holds the authority with this fingerprint, and that this authority certified.
#[derive(Debug)]
struct PinnedAuthority {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let digest = |der: &[u8]| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        let pinned = intermediates.iter().find(|der| digest(der).as_ref() == self.fingerprint);
        let Some(authority) = pinned else {
            return Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The TLS library's own error somewhere behind `error`.
fn tls_fault<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // An `io::Error` hides what it was made from: its `source` is that one's source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(inner) = inner {
            let inner: &(dyn Error + 'static) = inner;
            next = Some(inner);
        } else {
            next = error.source();
        }
    }
    None
}
