//! The private certificate authority of a control plane, and the certificates it gives.
//!
//! Owns: the authority (made at the first start, kept with its key in one file of mode 0600), the agent port's
//! own certificate (key in memory only, renewed while serving), certificates for agents, and reading who an
//! agent is from the certificate it shows. Never: decides whether an agent may have one; `agents` asks the core.
//!
//! An agent's request gives nothing but its public key. Subject, names, purpose and lifetime are ours.

use crate::files::{self, FileError};
use longshore_model::InstanceId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
    SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// The authority's file in the data directory: its certificate and its key, PEM.
pub const AUTHORITY_FILE: &str = "authority.pem";

/// Begins the URI that names an instance in its certificate.
const INSTANCE_URI: &str = "longshore://instance/";
/// The authority outlives the machines: replacing it means that every host joins again.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(30 * 365 * 86_400);
/// Certificates begin to be valid this long before they are made, for hosts whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(600);

/// Why something about certificates failed.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The authority's file could not be read or written.
    #[error("could not keep the certificate authority in its file")]
    File(#[from] FileError),
    /// The authority's file is there and is not what this wrote.
    #[error("the certificate authority's file `{path}` is damaged: {why}; restore it from a backup, or remove it \
             and let every host join again", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate could not be made.
    #[error("could not make a certificate for {subject}")]
    Make {
        /// Whom it was for.
        subject: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The TLS library refused what was made for it.
    #[error("could not set up TLS for the agent port")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why an agent's certificate request is refused.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// Not a request, or its signature is not made with its key.
    #[error("field `csr` is not a certificate request (PKCS#10, DER) signed with its own key: {0}")]
    Unreadable(rcgen::Error),
    /// Another kind of key.
    #[error("field `csr` must have an ECDSA P-256 key")]
    Algorithm,
    /// Ours, not the request's.
    #[error(transparent)]
    Make(PkiError),
}

/// Why a client certificate names no instance. The authority signed it, so this is a mistake of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client certificate names no container instance")]
pub struct NoInstance;

/// The authority.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The authority kept in `data_dir`; made and kept there when there is none.
    ///
    /// # Errors
    /// See [`PkiError`]. A damaged file is never replaced.
    pub fn open(data_dir: &Path) -> Result<Self, PkiError> {
        let path = data_dir.join(AUTHORITY_FILE);
        if let Some(text) = files::read_private(&path)? {
            return Self::from_pem(&path, &text);
        }
        let (authority, text) = Self::make()?;
        files::write_private(&path, text.as_bytes())?;
        Ok(authority)
    }

    fn make() -> Result<(Self, String), PkiError> {
        let subject = format!("Longshore authority {}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let failed = |source| PkiError::Make { subject: subject.clone(), source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = params(&subject, AUTHORITY_LIFETIME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(failed)?;
        let text = format!("{}{}", certificate.pem(), key.serialize_pem());
        Ok((Self { certificate: certificate.into(), issuer: Issuer::new(params, key) }, text))
    }

    fn from_pem(path: &Path, text: &str) -> Result<Self, PkiError> {
        let damaged = |why: String| PkiError::Damaged { path: path.to_owned(), why };
        let certificate = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|error| damaged(format!("certificate: {error}")))?;
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| damaged(format!("key: {error}")))?;
        let key = KeyPair::try_from(&key).map_err(|error| damaged(format!("key: {error}")))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|error| damaged(format!("certificate: {error}")))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(damaged("its key is not its certificate's".to_owned()));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|error| damaged(error.to_string()))?;
        Ok(Self { certificate, issuer })
    }

    /// The authority's certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of the certificate: what join tokens pin.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut fingerprint = [0; 32];
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.certificate);
        fingerprint.copy_from_slice(digest.as_ref());
        fingerprint
    }

    /// A certificate for `instance`, valid from now for `lifetime`, over the key of its request and nothing else
    /// of it. DER, the certificate alone.
    ///
    /// # Errors
    /// See [`CsrError`].
    pub fn certify_agent(
        &self,
        request: &[u8],
        instance: InstanceId,
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, CsrError> {
        let request = read_request(request)?;
        let subject = instance.to_string();
        let failed = |source| CsrError::Make(PkiError::Make { subject: subject.clone(), source });
        let mut params = params(&subject, lifetime);
        let uri = format!("{INSTANCE_URI}{instance}").try_into().map_err(failed)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(params.signed_by(&request.public_key, &self.issuer).map_err(failed)?.into())
    }

    /// A new key and certificate for the agent port, with the authority behind it.
    fn certify_server(&self, names: &[String], lifetime: Duration) -> Result<CertifiedKey, PkiError> {
        let subject = longshore_proto::SERVER_NAME;
        let failed = |source| PkiError::Make { subject: subject.to_owned(), source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = params(subject, lifetime);
        for name in std::iter::once(subject).chain(names.iter().map(String::as_str)) {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.try_into().map_err(failed)?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let chain = vec![certificate.into(), self.certificate.clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        CertifiedKey::from_der(chain, key, &provider).map_err(|error| PkiError::Tls(error.into()))
    }
}

/// The public key (SubjectPublicKeyInfo, DER) that a request asks to certify. Whoever made the request has its private
/// key.
///
/// # Errors
/// See [`CsrError`].
pub fn requested_key(request: &[u8]) -> Result<Vec<u8>, CsrError> {
    Ok(read_request(request)?.public_key.subject_public_key_info())
}

fn read_request(request: &[u8]) -> Result<CertificateSigningRequestParams, CsrError> {
    let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
        .map_err(CsrError::Unreadable)?;
    if request.public_key.algorithm() == &PKCS_ECDSA_P256_SHA256 { Ok(request) } else { Err(CsrError::Algorithm) }
}

/// What every certificate here has in common.
fn params(subject: &str, lifetime: Duration) -> CertificateParams {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, subject);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + now + lifetime;
    // 127 random bits: positive, and never twice.
    let mut serial = *uuid::Uuid::new_v4().as_bytes();
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = true;
    params
}

/// The instance that a client certificate belongs to. The chain was verified when the connection was made.
///
/// # Errors
/// When it names none.
pub fn instance_of(certificate: &[u8]) -> Result<InstanceId, NoInstance> {
    use x509_parser::extensions::GeneralName;
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).map_err(|_| NoInstance)?;
    let names = certificate.subject_alternative_name().map_err(|_| NoInstance)?.ok_or(NoInstance)?;
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => uri.strip_prefix(INSTANCE_URI).and_then(|id| id.parse().ok()),
        _ => None,
    };
    names.value.general_names.iter().find_map(uri).ok_or(NoInstance)
}

/// The agent port's certificate: served to every handshake, replaced while serving.
pub struct ServerCertificate {
    authority: Arc<Authority>,
    names: Vec<String>,
    lifetime: Duration,
    current: arc_swap::ArcSwap<CertifiedKey>,
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCertificate").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl ServerCertificate {
    /// A certificate for the agent port, reachable as `names` (names or addresses).
    ///
    /// # Errors
    /// See [`PkiError`].
    pub fn new(authority: Arc<Authority>, names: Vec<String>, lifetime: Duration) -> Result<Self, PkiError> {
        let current = authority.certify_server(&names, lifetime)?;
        Ok(Self { authority, names, lifetime, current: arc_swap::ArcSwap::from_pointee(current) })
    }

    /// Replaces the certificate after two thirds of its life, until `shutdown`.
    pub async fn keep_fresh(self: Arc<Self>, shutdown: CancellationToken) {
        let mut wait = self.lifetime * 2 / 3;
        while shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
            wait = match self.authority.certify_server(&self.names, self.lifetime) {
                Ok(fresh) => {
                    self.current.store(Arc::new(fresh));
                    tracing::info!("renewed the agent port's certificate");
                    self.lifetime * 2 / 3
                }
                Err(error) => {
                    tracing::error!(error = %crate::chain(&error), "could not renew the agent port's certificate");
                    self.lifetime / 30
                }
            };
        }
    }
}

/// TLS of the agent port: version 1.3, our certificate, clients verified if they show a certificate. Sessions are
/// not resumed: a resumed one would not look at the client's certificate again.
///
/// # Errors
/// When the TLS library refuses.
pub fn server_tls(certificate: &Arc<ServerCertificate>) -> Result<rustls::ServerConfig, PkiError> {
    let tls = |error: Box<dyn std::error::Error + Send + Sync>| PkiError::Tls(error);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.authority.certificate.clone()).map_err(|error| tls(error.into()))?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| tls(error.into()))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| tls(error.into()))?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::clone(certificate) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[cfg(test)]
mod tests;
